// Entity tags (RFC 9110 section 8.8.3): `"opaque"` or `W/"opaque"`. Carried as strings, quotes included, everywhere.

import { CloudError } from '../../errors.js';

// etagc = %x21 / %x23-7E / obs-text; a space is tolerated, servers send it.
const ETAG = /^(W\/)?"([\x20\x21\x23-\x7e\x80-\uffff]*)"$/;

export interface EtagParts {
  readonly weak: boolean;
  readonly opaque: string;
}

/** Null when it is no entity tag. */
export function parseEtag(text: string): EtagParts | null {
  const match = ETAG.exec(text.trim());
  return match === null ? null : { weak: match[1] !== undefined, opaque: match[2] ?? '' };
}

export function formatEtag(opaque: string, weak = false): string {
  if (!/^[\x21\x23-\x7e\x80-\xff]*$/.test(opaque)) {
    throw new CloudError(
      'invalid',
      `formatting an entity tag: no quotes, spaces or controls, found ${JSON.stringify(opaque)}`,
    );
  }
  return `${weak ? 'W/' : ''}"${opaque}"`;
}

/** What a server sent as ETag (header or getetag) in canonical form: bare tokens get their quotes, `w/` its case.
 * Null when there is nothing usable. */
export function normalizeEtag(text: string | null | undefined): string | null {
  const trimmed = text?.trim() ?? '';
  if (trimmed === '') return null;
  const parts = parseEtag(trimmed.replace(/^w\//, 'W/'));
  if (parts !== null) return `${parts.weak ? 'W/' : ''}"${parts.opaque}"`;
  return /^[\x21\x23-\x7e]+$/.test(trimmed) ? `"${trimmed}"` : null;
}

/** What an answer's headers say of the version. The ownCloud family says it twice, because proxies change ETag: made weak, or
 * with `-gzip` inside. */
export function etagOfHeaders(headers: Readonly<Record<string, string>>): string | null {
  return normalizeEtag(headers['oc-etag']) ?? normalizeEtag(headers['etag']);
}

export function isWeak(etag: string): boolean {
  return etag.startsWith('W/');
}

/** Strong comparison: equal and neither weak (RFC 9110 section 8.8.3.2). */
export function strongMatch(a: string, b: string): boolean {
  return a === b && !isWeak(a);
}

/** Weak comparison: opaque parts equal. */
export function weakMatch(a: string, b: string): boolean {
  return (isWeak(a) ? a.slice(2) : a) === (isWeak(b) ? b.slice(2) : b);
}

/** Value of If-Match / If-None-Match: `*` or a list. Bare tokens are taken as quoted (old clients). Throws `invalid`. */
export function parseEtagList(value: string): '*' | readonly string[] {
  const text = value.trim();
  if (text === '*') return '*';
  const out: string[] = [];
  // White space in one place only at a time: in two, a long run of it would be tried in every split.
  const item = /\s*(?:(?:((?:W\/)?"[\x20\x21\x23-\x7e\x80-\uffff]*")|([^\s",]+))\s*)?(,|$)/y;
  while (item.lastIndex < text.length) {
    const match = item.exec(text);
    if (match === null) {
      throw new CloudError(
        'invalid',
        `reading a list of entity tags: quoted tags separated by commas are required, found ${JSON.stringify(value.slice(0, 200))}`,
      );
    }
    if (match[1] !== undefined) out.push(match[1]);
    else if (match[2] !== undefined) out.push(`"${match[2]}"`);
  }
  if (out.length === 0)
    throw new CloudError('invalid', 'reading a list of entity tags: at least one is required, found none');
  return out;
}
