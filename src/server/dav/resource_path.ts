// The address of a resource inside one tree, as decoded names. Can only be made by parsing, and parsing refuses what
// could leave the tree or mean something else than it seems (`.`, `..`, empty segments, encoded slashes, NUL).

import { CloudError } from '../../errors.js';
import type { Name } from '../../ids.js';
import { encodeSegment, NAME_MAX_BYTES, nameBytes } from '../../names.js';
import { segmentsOfHref } from '../../remote/wire/href.js';

declare const parsed: unique symbol;

export interface ResourcePath {
  /** From the root of the tree; [] = the root itself. */
  readonly names: readonly Name[];
  /** Written with a slash at the end. */
  readonly slash: boolean;
  readonly [parsed]: true;
}

/** The root of the tree, without a slash. */
export const ROOT: ResourcePath = { names: [], slash: false } as unknown as ResourcePath;

/** What is left of an address below the first `count` of its segments, which have been read by `segmentsOfHref`. */
export function pathBelow(address: { readonly segments: readonly Name[]; readonly slash: boolean }, count: number) {
  return { names: address.segments.slice(count), slash: address.slash } as unknown as ResourcePath;
}

const baseCache = new Map<string, readonly Name[]>();

function baseSegments(base: string): readonly Name[] {
  let segments = baseCache.get(base);
  if (segments === undefined) {
    segments = segmentsOfHref(base).segments;
    if (baseCache.size > 10_000) baseCache.clear();
    baseCache.set(base, segments);
  }
  return segments;
}

/** The resource `href` (request target without query, bare path, or absolute URL judged by its path) means below one of
 * the bases; null when it is outside of all. Throws `invalid` when it is no safe address. */
export function parseResourcePath(bases: readonly string[], href: string): ResourcePath | null {
  const { segments, slash } = segmentsOfHref(href);
  for (const base of bases) {
    const root = baseSegments(base);
    if (segments.length >= root.length && root.every((name, i) => segments[i] === name)) {
      return pathBelow({ segments, slash }, root.length);
    }
  }
  return null;
}

/** Path part of a request target. A fragment does not belong there (RFC 9112 section 3.2) and is left in, to be refused:
 * `DELETE /a#b` must not delete `/a`. */
export function targetPath(url: string): string {
  const cut = url.indexOf('?');
  return cut < 0 ? url : url.slice(0, cut);
}

/** Encoded URL path; collections end in a slash. */
export function hrefOf(base: string, names: readonly Name[], collection: boolean): string {
  if (names.length === 0) return base;
  let out = base + encodeSegment(names[0] ?? '');
  for (let i = 1; i < names.length; i++) out += `/${encodeSegment(names[i] ?? '')}`;
  return collection ? `${out}/` : out;
}

/** Last name of a path that is to be created. Throws `no_access` for the root, `name_too_long` beyond 255 bytes. */
export function newName(path: ResourcePath): Name {
  const name = path.names.at(-1);
  if (name === undefined) throw new CloudError('no_access', 'writing: the root of the tree cannot be replaced');
  const bytes = nameBytes(name);
  if (bytes > NAME_MAX_BYTES) {
    throw new CloudError(
      'name_too_long',
      `naming a resource: a name of at most ${NAME_MAX_BYTES} bytes is required, found ${bytes}`,
    );
  }
  return name;
}

export function isAtOrBelow(path: ResourcePath, above: ResourcePath): boolean {
  return path.names.length >= above.names.length && above.names.every((name, i) => path.names[i] === name);
}
