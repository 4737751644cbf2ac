// Conditional requests (RFC 9110 section 13): the four headers and their order of evaluation (section 13.2.2), and
// If-Range. A request whose headers say nothing always goes ahead.

import { parseEtagList, strongMatch, weakMatch } from './etag.js';
import { parseHttpDate } from './http_date.js';

export interface Conditions {
  readonly ifMatch: '*' | readonly string[] | null;
  readonly ifNoneMatch: '*' | readonly string[] | null;
  readonly ifModifiedSince_s: number | null;
  readonly ifUnmodifiedSince_s: number | null;
}

/** The representation the conditions are judged against; null = nothing is there. */
export type Selected = { readonly etag: string; readonly mtime_s: number } | null;

export type Verdict = 'proceed' | 'not_modified' | 'failed';

type Headers = Readonly<Record<string, string | string[] | undefined>>;

function single(headers: Headers, name: string): string | null {
  const value = headers[name];
  return value === undefined ? null : Array.isArray(value) ? value.join(', ') : value;
}

/** From headers with lower-case names. Throws `invalid` on broken entity tags; broken dates are ignored (13.1.3). */
export function parseConditions(headers: Headers): Conditions {
  const list = (name: string) => {
    const value = single(headers, name);
    return value === null ? null : parseEtagList(value);
  };
  const date = (name: string) => {
    const value = single(headers, name);
    return value === null ? null : parseHttpDate(value);
  };
  return {
    ifMatch: list('if-match'),
    ifNoneMatch: list('if-none-match'),
    ifModifiedSince_s: date('if-modified-since'),
    ifUnmodifiedSince_s: date('if-unmodified-since'),
  };
}

/** `failed` = 412, `not_modified` = 304 (only for GET and HEAD). */
export function evaluateConditions(conditions: Conditions, selected: Selected, method: string): Verdict {
  const safe = method === 'GET' || method === 'HEAD';
  const { ifMatch, ifNoneMatch, ifModifiedSince_s, ifUnmodifiedSince_s } = conditions;
  if (ifMatch !== null) {
    const found = selected !== null && (ifMatch === '*' || ifMatch.some((etag) => strongMatch(etag, selected.etag)));
    if (!found) return 'failed';
  } else if (ifUnmodifiedSince_s !== null && selected !== null && selected.mtime_s > ifUnmodifiedSince_s) {
    return 'failed';
  }
  if (ifNoneMatch !== null) {
    const found =
      selected !== null && (ifNoneMatch === '*' || ifNoneMatch.some((etag) => weakMatch(etag, selected.etag)));
    if (found) return safe ? 'not_modified' : 'failed';
  } else if (safe && ifModifiedSince_s !== null && selected !== null && selected.mtime_s <= ifModifiedSince_s) {
    return 'not_modified';
  }
  return 'proceed';
}

/** Does If-Range let the Range header count? Strong tags only: clients choose the times of files, so two versions of one
 * may have the same, and a date is no strong validator (section 8.8.2.2); what does not hold is answered with the whole. */
export function ifRangeHolds(header: string | undefined, etag: string): boolean {
  return header === undefined || strongMatch(header.trim(), etag);
}
