// Uploads: one PUT, or chunks put together on the server (`chunked_upload.ts`). The promise is that nothing is overwritten
// that was not the base of our change, and that a lost answer is neither taken for a conflict nor for success: after a
// failure that leaves it open whether the server took it, we look, and compare contents.

import { CloudError, isCloudError, toCloudError } from '../errors.js';
import { type RemotePath, splitPath } from '../ids.js';
import { CHUNKED_FROM_bytes, type Commit, uploadInChunks } from './chunked_upload.js';
import { ANSWER_PATIENCE, type Dav, show } from './dav.js';
import { guarded, lockLost, lookAt, mismatch, SMALL_bytes } from './guard.js';
import type { HttpRequest, HttpResponse } from './http.js';
import type {
  CallOptions,
  PosixMeta,
  Precondition,
  PutResult,
  RemoteEntry,
  UploadSession,
  UploadSource,
} from './remote.js';
import { isTransient, pause } from './retry.js';
import { hasSameContent, isBeginning } from './same_content.js';
import { collect, counted } from './upload_body.js';
import { etagOfHeaders, isWeak } from './wire/etag.js';

const TRIES = 4;
/** mod_dav loses about one lock in ten on free names when several are taken in one folder at once. */
const LOST_LOCK_TRIES = 12;
/** State of a session: an upload of this file was cut off or is on its way, and some servers (Go's: rclone, Caddy) write what comes in place. */
const CUT = JSON.stringify({ cut: true });

/** Was an upload cut off, so that a half of it may be there? It is no other's version, and nothing is lost by replacing it. */
interface Cut {
  off: boolean;
}

/** See `Remote.put`. */
export async function upload(
  dav: Dav,
  path: RemotePath,
  source: UploadSource,
  precondition: Precondition,
  meta: PosixMeta,
  session: UploadSession,
  options: CallOptions,
): Promise<PutResult> {
  const { capabilities, uploads } = dav.info;
  if (capabilities.chunkedUpload && uploads !== null && source.size_bytes > CHUNKED_FROM_bytes) {
    const commit: Commit = (send) =>
      committing(dav, path, precondition, source, session, { off: false }, options, async (lockToken) =>
        resultOf(dav, path, source, await send(lockToken), options),
      );
    return await uploadInChunks(dav, path, source, precondition, meta, session, options, commit);
  }
  const headers = { ...dav.dialect.metaHeaders(meta), ...dav.dialect.checksumHeaders(await source.sha256?.()) };
  return await putFile(dav, path, source, precondition, headers, session, options);
}

/** PUT of a whole body with whatever check of the version the server knows. */
export async function putFile(
  dav: Dav,
  path: RemotePath,
  source: UploadSource,
  precondition: Precondition,
  headers: Readonly<Record<string, string>>,
  session: Pick<UploadSession, 'progress' | 'committing'> & Partial<UploadSession>,
  options: CallOptions,
): Promise<PutResult> {
  const writesInPlace = dav.info.dialect === 'generic' && dav.info.conditional === 'none';
  const cut: Cut = { off: writesInPlace && session.state === CUT };
  const send = async (condition: Readonly<Record<string, string>>, sent: () => void) => {
    const stream = counted(source, 0, source.size_bytes, (sent) => session.progress(sent));
    // One write with the headers: a server that refuses before it reads has nothing to cut off.
    const body = source.size_bytes <= SMALL_bytes ? await collect(stream) : stream;
    const request: HttpRequest = {
      method: 'PUT',
      path: dav.href(path),
      headers: { 'content-type': 'application/octet-stream', ...headers, ...condition },
      body,
      contentLength: source.size_bytes,
      lane: 'write',
      answer_ms: dav.http.timeout_ms * ANSWER_PATIENCE,
      signal: options.signal,
    };
    // Before, too: who is killed in the middle of it has no other time to say so.
    if (writesInPlace && body === stream) session.save?.(CUT);
    const response = await dav.send(request, [200, 201, 204], `uploading ${show(path)}`).catch((error: unknown) => {
      if (writesInPlace) {
        cut.off ||= !isRefusal(error);
        session.save?.(cut.off ? CUT : null);
      }
      throw error;
    });
    sent();
    return await resultOf(dav, path, source, response, options);
  };
  return await committing(dav, path, precondition, source, session, cut, options, (lockToken, now) =>
    guarded(dav, path, now, source.size_bytes, withToken(options, lockToken), send),
  );
}

function withToken(options: CallOptions, lockToken: string | undefined): CallOptions {
  return {
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(lockToken === undefined ? {} : { lockToken }),
  };
}

/** Does it leave open what became of the request? */
function isOpen(error: unknown): boolean {
  return isCloudError(error) && (isTransient(error) || error.code === 'timeout');
}

/** Did the server answer that it does not do it? */
function isRefusal(error: unknown): boolean {
  return isCloudError(error) && error.details.status !== undefined && !isOpen(error);
}

/** Sends, and finds out what became of it when the answer does not say. */
async function committing(
  dav: Dav,
  path: RemotePath,
  wanted: Precondition,
  source: UploadSource,
  session: Pick<UploadSession, 'committing'>,
  cut: Readonly<Cut>,
  options: CallOptions,
  send: (lockToken: string | undefined, precondition: Precondition) => Promise<PutResult>,
): Promise<PutResult> {
  await session.committing();
  let precondition = wanted;
  let lockToken = options.lockToken;
  let lost = 0;
  for (let tried = 0; ; tried++) {
    let failure: CloudError;
    try {
      return await send(lockToken, precondition);
    } catch (error) {
      failure = toCloudError(error, `uploading ${show(path)}`);
    }
    const open = isOpen(failure);
    await explain(dav, path, precondition, failure, options);
    if (!open && failure.code !== 'precondition') throw failure;
    const state = await whatHappened(dav, path, source, precondition, options).catch((error: unknown) => {
      throw open ? failure : error;
    });
    if (state.kind === 'ours') return state.result;
    if (state.kind === 'other') {
      const { entry } = state;
      const isLast = failure.code === 'precondition' && tried + 1 >= TRIES;
      const isHalf = cut.off && !isLast && (await isBeginning(dav, path, entry, source, options));
      if (!isHalf || entry.etag === null) throw mismatch(path, precondition, entry.etag ?? entry.kind);
      precondition = { kind: 'if_match', etag: entry.etag };
      if (!open) continue;
    }
    if (state.kind === 'gone') throw mismatch(path, precondition, null);
    if (failure.code === 'precondition') {
      // The version is right, so it is a lock that did not hold: ours has run out, or the server lost it (mod_dav does,
      // with several at once). The version still protects.
      lockToken = undefined;
      failure = lockLost(path, failure);
      if (++lost < LOST_LOCK_TRIES) {
        tried -= 1;
        await pause(20 + Math.random() * 100, options.signal);
        continue;
      }
    }
    if (failure.code === 'timeout' || tried + 1 >= TRIES) throw failure;
    const asked_ms = (failure.details.retryAfter_s ?? 0) * 1000;
    if (asked_ms > dav.http.timeout_ms) throw failure;
    await pause(Math.max(asked_ms, Math.random() * 200 * 2 ** tried), options.signal);
  }
}

/** Some refusals mean different things on different servers: a look at the tree tells. Throws what it finds. */
async function explain(
  dav: Dav,
  path: RemotePath,
  precondition: Precondition,
  failure: CloudError,
  options: CallOptions,
): Promise<void> {
  const { status } = failure.details;
  const isSentOn = status !== undefined && status >= 301 && status <= 308;
  if (status === 404 || status === 405 || status === 409 || isSentOn) {
    // A directory has the name (then some send on to its address): another version than the caller knows.
    if ((await lookAt(dav, path, options))?.kind !== 'dir') return;
    if (precondition.kind !== 'none') throw mismatch(path, precondition, 'a directory');
    throw new CloudError('is_dir', `uploading ${show(path)}: a directory is there`, { status, path });
  }
  // LOCK below a missing parent: Go's, lighttpd's.
  if ((status === 500 || status === 403) && (await lookAt(dav, splitPath(path).parent, options)) === null) {
    throw new CloudError('not_found', `uploading ${show(path)}: the parent is missing`, { status, path });
  }
}

type State =
  | { readonly kind: 'ours'; readonly result: PutResult }
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'gone' }
  | { readonly kind: 'other'; readonly entry: RemoteEntry };

async function whatHappened(
  dav: Dav,
  path: RemotePath,
  source: UploadSource,
  precondition: Precondition,
  options: CallOptions,
): Promise<State> {
  const entry = await lookAt(dav, path, options);
  if (entry === null) {
    return precondition.kind === 'if_match' ? { kind: 'gone' } : { kind: 'unchanged' };
  }
  if (precondition.kind === 'if_match' && entry.etag === precondition.etag) return { kind: 'unchanged' };
  if (await hasSameContent(dav, path, entry, source, options)) {
    const created = precondition.kind === 'if_absent';
    return { kind: 'ours', result: { etag: entry.etag, fileid: entry.fileid, created } };
  }
  return precondition.kind === 'none' ? { kind: 'unchanged' } : { kind: 'other', entry };
}

async function resultOf(
  dav: Dav,
  path: RemotePath,
  source: UploadSource,
  response: HttpResponse,
  options: CallOptions,
): Promise<PutResult> {
  const created = response.status === 201;
  const raw = etagOfHeaders(response.headers);
  const fileid = dav.fileidOf(response);
  const known = fileid !== null || !dav.info.capabilities.fileIds;
  if (raw !== null && !isWeak(raw) && known) return { etag: dav.dialect.version(raw), fileid, created };
  const entry = await lookAt(dav, path, options);
  // Already replaced or removed by somebody: our version has no name any more, and theirs must not be taken for ours.
  const replaced = entry === null || entry.kind !== 'file' || entry.size_bytes !== source.size_bytes;
  const sumDiffers =
    source.sha256 !== undefined &&
    (entry?.checksum?.startsWith('SHA256:') ?? false) &&
    entry?.checksum !== `SHA256:${(await source.sha256()).toLowerCase()}`;
  const etagDiffers = raw !== null && entry?.etag !== dav.dialect.version(raw);
  if (replaced || sumDiffers || etagDiffers)
    return { etag: raw === null ? null : dav.dialect.version(raw), fileid, created };
  return { etag: entry.etag, fileid: entry.fileid, created };
}
