// The change feed: REPORT sync-collection (RFC 6578) on the whole tree, page by page. A cursor is opaque JSON around the
// server's token. Pages of a first listing are `full`. What changes while it is read is told with it: our server, the only
// one whose feed is used, tells nodes in the order of their last change, and of what was removed since the listing began.

import { CloudError, isCloudError } from '../errors.js';
import { type Dav, namesCondition, propElement } from './dav.js';
import { entryOf } from './entry.js';
import type { LockRoots } from './lock_roots.js';
import type { CallOptions, ChangePage, RemoteChange } from './remote.js';
import { retry } from './retry.js';
import { pathOfHref } from './wire/href.js';
import type { MultistatusResponse } from './wire/multistatus.js';
import { ROOT_XMLNS } from './wire/ns.js';
import { escapeText, XML_DECLARATION } from './wire/xml.js';

/** Changes asked for at once: some megabytes of XML, some milliseconds to read. */
const PAGE_entries = 5000;
/** What a page never has, whatever the server makes of the limit: all of one is kept until it is whole. */
const ENDLESS_entries = 20 * PAGE_entries;

type FeedOptions = CallOptions & { readonly limit?: number };

interface Cursor {
  readonly token: string;
  /** Belongs to a listing from nothing that is not complete yet. */
  readonly full: boolean;
}

function parseCursor(text: string | null): Cursor | null {
  if (text === null) return null;
  try {
    const { token, full } = JSON.parse(text) as Partial<Cursor>;
    return typeof token === 'string' ? { token, full: full === true } : null;
  } catch {
    return null; // not one of ours: begin again
  }
}

/** See `Remote.changes`. */
export async function changePage(dav: Dav, cursorText: string | null, options: FeedOptions): Promise<ChangePage> {
  const cursor = parseCursor(cursorText);
  try {
    return await retry(() => readPage(dav, cursor, options), dav.retrying(options));
  } catch (error) {
    if (cursor === null || !isUnknownToken(error)) throw error;
    dav.log.info({}, 'the server no longer knows where we were: listing everything again');
    return { ...(await retry(() => readPage(dav, null, options), dav.retrying(options))), anew: true };
  }
}

/** RFC 6578 section 3.2: valid-sync-token with 403; some say 409, 410 or 412. */
function isUnknownToken(error: unknown): boolean {
  return namesCondition(error, 'valid-sync-token') || (isCloudError(error) && error.details.status === 410);
}

async function readPage(dav: Dav, cursor: Cursor | null, options: FeedOptions): Promise<ChangePage> {
  const doing = 'asking for changes';
  const prop = propElement(dav.dialect.properties);
  const request = {
    method: 'REPORT',
    path: dav.info.base,
    headers: { depth: '0', 'content-type': 'application/xml; charset=utf-8', prefer: 'return=minimal' },
    body:
      `${XML_DECLARATION}<d:sync-collection${ROOT_XMLNS}><d:sync-token>${escapeText(cursor?.token ?? '')}</d:sync-token>` +
      `<d:sync-level>infinite</d:sync-level><d:limit><d:nresults>${Math.min(options.limit ?? PAGE_entries, PAGE_entries)}</d:nresults></d:limit>${prop}</d:sync-collection>`,
    signal: options.signal,
  };
  const present: RemoteChange[] = [];
  const gone: RemoteChange[] = [];
  let token: string | null = null;
  let truncated = false;
  const roots = dav.lockRoots();
  for await (const page of dav.multistatus(request, doing)) {
    for (const response of page.responses) {
      if (isTruncation(response, dav.info.base)) {
        truncated = true;
        continue;
      }
      if (present.length + gone.length === ENDLESS_entries) {
        throw new CloudError('protocol', `${doing}: at most ${PAGE_entries} changes were asked for, found no end`);
      }
      const change = changeOf(dav, response, roots, doing);
      (change.kind === 'gone' ? gone : present).push(change);
    }
    token = page.syncToken ?? token;
  }
  if (token === null || token === '')
    throw new CloudError('protocol', `${doing}: a sync-token is required, found none`);
  if (truncated && cursor?.token === token) {
    throw new CloudError('protocol', `${doing}: the server says there is more but does not move on`);
  }
  const full = cursor === null || cursor.full;
  const next: Cursor = { token, full: full && truncated };
  // What is there first: a node that moved is found at its new place before its old one is dropped.
  return { changes: [...present, ...gone], next: JSON.stringify(next), more: truncated, full };
}

/** 507 for the collection itself: the answer was cut at the limit (RFC 6578 section 3.6). */
function isTruncation(response: MultistatusResponse, base: string): boolean {
  if (response.status !== 507) return false;
  const trimmed = (path: string) => decodeURI(path).replace(/\/$/, '');
  return trimmed(pathOfHref(response.hrefs[0] ?? '/')) === trimmed(base);
}

function changeOf(dav: Dav, response: MultistatusResponse, roots: LockRoots, doing: string): RemoteChange {
  const { path, slash } = dav.targetOf(response, doing);
  if (response.status === 404 || response.status === 410) return { kind: 'gone', path };
  return { kind: 'present', entry: entryOf(response, path, slash, dav.dialect, dav.self, roots) };
}
