// hrefs, Destination headers and resource tags <-> RemotePath. A base is the encoded URL path of a tree's root, with a
// slash at both ends (`/dav/files/USER/`). Judged by path alone: behind a proxy scheme and host differ from what we know.
// Everything that could mean another resource than it seems is refused: `.`, `..`, empty segments, an encoded slash, NUL.

import { CloudError } from '../../errors.js';
import type { Name, RemotePath } from '../../ids.js';
import { decodeSegment, encodePath } from '../../names.js';

export interface HrefTarget {
  readonly path: RemotePath;
  /** Written with a slash at the end. */
  readonly slash: boolean;
}

function bad(href: string, problem: string): CloudError {
  return new CloudError('invalid', `reading the address ${JSON.stringify(href.slice(0, 300))}: ${problem}`);
}

/** The path part of an absolute URL or bare path, still encoded. Throws `invalid`. */
export function pathOfHref(href: string): string {
  const trimmed = href.trim();
  const path = trimmed.replace(/^https?:\/\/[^/?#]*/i, '') || '/';
  if (path[0] !== '/') throw bad(href, 'an http(s) URL or a path that begins with "/" is required');
  if (path.startsWith('//')) throw bad(href, 'empty path segments are not allowed');
  if (/[?#]/.test(path)) throw bad(href, 'a query or fragment is not allowed');
  return path;
}

function safeSegment(segment: string, href: string): Name {
  if (segment === '') throw bad(href, 'empty path segments are not allowed');
  const name = decodeSegment(segment);
  if (name === '.' || name === '..') throw bad(href, '"." and ".." are not allowed');
  if (name.includes('/')) throw bad(href, 'an encoded slash is not allowed');
  if (name.includes('\0')) throw bad(href, 'NUL is not allowed');
  return name;
}

/** Decoded, safe segments of an href's path; the slash at the end is told apart. Throws `invalid`. */
export function segmentsOfHref(href: string): { readonly segments: readonly Name[]; readonly slash: boolean } {
  const path = pathOfHref(href);
  const parts = path.slice(1).split('/');
  const slash = parts.at(-1) === '';
  if (slash) parts.pop();
  return { segments: parts.map((part) => safeSegment(part, href)), slash };
}

/** Path of `href` relative to `base`, null when it is outside. Throws `invalid` when it is no safe address. `fold`: what of a
 * name counts for being the base. */
export function hrefToPath(base: string, href: string, fold = (name: string): string => name): HrefTarget | null {
  const root = segmentsOfHref(base).segments;
  const { segments, slash } = segmentsOfHref(href);
  if (segments.length < root.length || root.some((name, i) => fold(segments[i] ?? '') !== fold(name))) return null;
  return { path: segments.slice(root.length).join('/') as RemotePath, slash };
}

/** As `hrefToPath`, with the base parsed once: for listings. */
export function hrefResolver(base: string): (href: string) => HrefTarget | null {
  const prefix = base.endsWith('/') ? base : `${base}/`;
  // Members of one collection follow one another: what is above them is read once.
  let known = { address: prefix, path: '' };
  return (href) => {
    // The common case: the server writes its base as we do.
    if (!href.startsWith(prefix) || href.includes('?') || href.includes('#')) return hrefToPath(base, href);
    if (href.length === prefix.length) return { path: '' as RemotePath, slash: true };
    const slash = href.endsWith('/');
    const end = slash ? href.length - 1 : href.length;
    const start = href.lastIndexOf('/', end - 1) + 1;
    if (start !== known.address.length || !href.startsWith(known.address)) {
      const above = href.slice(prefix.length, start).split('/').slice(0, -1);
      const path = above.map((part) => `${safeSegment(part, href)}/`).join('');
      known = { address: href.slice(0, start), path };
    }
    return { path: (known.path + safeSegment(href.slice(start, end), href)) as RemotePath, slash };
  };
}

/** `href` with what it lacks: some servers escape nothing, or (`encodeURI`) not what ends a path. */
export function escapedFully(href: string): string {
  return href
    .replaceAll(/%(?![0-9A-Fa-f]{2})/g, '%25')
    .replaceAll('?', '%3F')
    .replaceAll('#', '%23');
}

/** Encoded URL path of `path` below `base`; collections end in a slash. */
export function pathToHref(base: string, path: RemotePath, collection: boolean): string {
  const root = base.endsWith('/') ? base : `${base}/`;
  if (path === '') return root;
  return root + encodePath(path) + (collection ? '/' : '');
}

/** Header values arrive as latin1 from node:http; clients that send raw UTF-8 in Destination meant the UTF-8. */
export function headerText(value: string): string {
  if (!/[\x80-\xff]/.test(value)) return value;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(value, 'latin1'));
  } catch {
    return value;
  }
}
