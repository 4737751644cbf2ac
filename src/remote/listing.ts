// What is at a path and in a collection, by PROPFIND (RFC 4918 section 9.1), as entries: in our spelling, with the size of
// every file. Repeated on transient failures.

import { CloudError, isCloudError } from '../errors.js';
import type { Name, RemotePath } from '../ids.js';
import { isMember, joinPath, splitPath } from '../ids.js';
import { encodeSegment, folded } from '../names.js';
import { type Dav, show, XML_TYPE } from './dav.js';
import { entryOf, lacksSize } from './entry.js';
import type { HttpRequest } from './http.js';
import { codeOfStatus } from './http_failure.js';
import type { LockRoots } from './lock_roots.js';
import type { CallOptions, RemoteEntry } from './remote.js';
import { retry } from './retry.js';
import type { HrefTarget } from './wire/href.js';
import type { MultistatusResponse } from './wire/multistatus.js';

/** Members that may come before the folder they are in: they are kept until it is known to be one. */
const EARLY_MEMBERS = 100_000;

/** Rejects with `not_found` where nothing is. */
export async function stat(dav: Dav, path: RemotePath, options: CallOptions = {}): Promise<RemoteEntry> {
  return await retry(() => statOnce(dav, path, options), dav.retrying(options));
}

async function statOnce(dav: Dav, path: RemotePath, options: CallOptions): Promise<RemoteEntry> {
  let found: RemoteEntry | null = null;
  for await (const batch of propfind(dav, path, 0, options)) {
    for (const entry of batch) if (entry.path === path) found = entry;
  }
  if (found === null) throw dav.protocol(`looking at ${show(path)}`, 'the answer does not describe it');
  return found;
}

/** The collection first, then its members, as they arrive. Begins again on transient failures until the first batch is
 * there: what was handed out cannot be taken back. */
export async function* list(
  dav: Dav,
  path: RemotePath,
  options: CallOptions = {},
): AsyncGenerator<readonly RemoteEntry[]> {
  const { batches, first } = await retry(async () => {
    const begun = collection(dav, path, options);
    return { batches: begun, first: await begun.next() };
  }, dav.retrying(options));
  try {
    if (first.done !== true) yield first.value;
    yield* batches;
  } finally {
    await batches.return(undefined);
  }
}

async function* collection(
  dav: Dav,
  path: RemotePath,
  options: CallOptions,
): AsyncGenerator<readonly RemoteEntry[], undefined> {
  const doing = `listing ${show(path)}`;
  let self: RemoteEntry | null = null;
  let begun = false;
  let members: RemoteEntry[] = [];
  for await (const batch of propfind(dav, path, 1, options)) {
    for (const entry of batch) {
      if (entry.path === path) self = entry;
      else if (!isMember(entry.path, path)) {
        const found = joinPath(path, encodeSegment(entry.path) as Name);
        members.push(dav.leftOut.entry(found, entry.path, `a member of ${show(path)} is required`));
      } else if (!isLockNull(entry)) members.push(entry);
    }
    if (self === null && members.length > EARLY_MEMBERS) {
      throw dav.protocol(doing, 'the answer goes on and on, and does not describe the directory itself');
    }
    if (self === null) continue;
    if (self.kind !== 'dir') {
      throw new CloudError('not_dir', `${doing}: a directory is required, found a ${self.kind}`);
    }
    const out = begun ? members : [self, ...members];
    begun = true;
    members = [];
    if (out.length > 0) yield out;
  }
  if (self === null) throw dav.protocol(doing, 'the answer does not describe the directory itself');
}

async function* propfind(
  dav: Dav,
  path: RemotePath,
  depth: 0 | 1,
  options: CallOptions,
): AsyncGenerator<readonly RemoteEntry[]> {
  const doing = depth === 0 ? `looking at ${show(path)}` : `listing ${show(path)}`;
  const request: HttpRequest = {
    method: 'PROPFIND',
    path: dav.href(path),
    headers: { depth: String(depth), 'content-type': XML_TYPE, prefer: 'return=minimal' },
    body: dav.propfindBody,
    signal: options.signal,
  };
  const roots = dav.lockRoots();
  for await (const page of dav.multistatus(request, doing)) {
    const entries: (RemoteEntry | (() => Promise<RemoteEntry>))[] = [];
    for (const response of page.responses) {
      const target = targetIn(dav, path, depth, response, doing);
      if (!('slash' in target)) {
        entries.push(target);
        continue;
      }
      if (response.status === 404 || response.status === 410) {
        if (target.path === path) {
          throw new CloudError('not_found', `${doing}: nothing is there`, { status: 404, path });
        }
        continue; // gone while the server listed it
      }
      if (response.status !== null && response.status >= 400 && target.path === path) {
        throw new CloudError(codeOfStatus(response.status), `${doing}: the server answered ${response.status}`, {
          status: response.status,
          path,
        });
      }
      entries.push(described(dav, path, target, response, roots, options));
    }
    if (entries.length > 0) yield await Promise.all(entries.map((one) => (typeof one === 'function' ? one() : one)));
  }
}

/** Where a response to a question about `path` points, in our spelling: the server may have another for the same name (case,
 * accents). What it names in a way that cannot be is left out of a listing. */
function targetIn(
  dav: Dav,
  path: RemotePath,
  depth: 0 | 1,
  response: MultistatusResponse,
  doing: string,
): HrefTarget | RemoteEntry {
  let target: HrefTarget;
  try {
    target = dav.targetOf(response, doing);
  } catch (error) {
    if (depth === 0) throw error;
    const [href = ''] = response.hrefs;
    return dav.leftOut.entry(joinPath(path, encodeSegment(href) as Name), href, error);
  }
  if (target.path === path || isMember(target.path, path)) return target;
  if (folded(target.path) === folded(path)) return { ...target, path };
  const { parent, name } = splitPath(target.path);
  return folded(parent) === folded(path) ? { ...target, path: joinPath(path, name) } : target;
}

/** The entry, or how to get it. `protocol` where `path` itself is told in a way that cannot be; a member of it is left out
 * then. */
function described(
  dav: Dav,
  path: RemotePath,
  target: HrefTarget,
  response: MultistatusResponse,
  roots: LockRoots,
  options: CallOptions,
): RemoteEntry | (() => Promise<RemoteEntry>) {
  const read = (length?: string) => entryOf(response, target.path, target.slash, dav.dialect, dav.self, roots, length);
  const failed = (error: unknown) => {
    if (target.path === path || !isCloudError(error, 'protocol')) throw error;
    return dav.leftOut.entry(target.path, target.path, error);
  };
  try {
    const entry = read();
    if (!lacksSize(response, entry)) return entry;
    return () => askForSize(dav, entry, options).then(read).catch(failed);
  } catch (error) {
    return failed(error);
  }
}

/** Of a file whose size is not told with it: shown as empty, it would be copied as empty. Rejects with `protocol` where it is
 * not told at all. */
async function askForSize(dav: Dav, { path, etag }: RemoteEntry, { signal }: CallOptions): Promise<string> {
  const headers = { 'accept-encoding': 'identity' };
  // Not in the lane of the listing, which goes on when this is answered.
  const response = await dav.http.request({ method: 'HEAD', path: dav.href(path), headers, lane: 'read', signal });
  await response.discard();
  const found = dav.versionOf(response);
  const isSame = etag === null || found === null || found === etag;
  const length = response.headers['content-length'];
  if (response.status === 200 && isSame && length !== undefined) return length;
  throw dav.protocol(`asking for the size of ${show(path)}`, 'the server does not tell it');
}

/** A name that is locked and free (mod_dav, after RFC 2518): described, with nothing that a file has. */
export function isLockNull(entry: RemoteEntry): boolean {
  return (
    entry.kind === 'file' && entry.etag === null && entry.size_bytes === 0 && entry.mtime.s === 0 && entry.rights.read
  );
}
