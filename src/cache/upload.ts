// Sends one file. The bytes that are sent are those of one moment: their hash is taken first and travels along, and an
// upload during which the file changes is cut off and sent again later.

import { createHash } from 'node:crypto';
import type { Clock } from '../clock.js';
import { CloudError, isCloudError } from '../errors.js';
import type { RemotePath } from '../ids.js';
import type { PosixMeta, Precondition, PutResult, Remote, RemoteEntry, UploadSource } from '../remote/remote.js';
import type { ActiveContent } from './active_content.js';
import type { Contents } from './contents.js';
import { crashPoint } from './crash_points.js';
import type { Hydrator } from './hydrator.js';
import { type BasePlace, Dirty, type NodeRecord, type Sending } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';

const STEP_BYTES = 1024 * 1024;
const SMALL_BYTES = 256 * 1024;

export interface UploadServices {
  readonly remote: Remote;
  readonly store: NodeStore;
  readonly contents: Contents;
  readonly hydrator: Hydrator;
  readonly clock: Clock;
}

export interface UploadDone {
  readonly result: PutResult;
  readonly sha256: string;
  readonly size_bytes: number;
  /** Dirty bits that the server knows now; content only if the file did not change meanwhile. */
  readonly sent: number;
  readonly unchanged: boolean;
}

/** `place`: where a file without a base is to be made. Nothing is sent that is not durable here: neither the bytes nor the
 * note of what was on its way, by which a later start knows its own upload whose answer was lost. */
export async function upload(
  node: NodeRecord,
  path: RemotePath,
  place: BasePlace | null,
  services: UploadServices,
  signal: AbortSignal,
  onProgress: (sent_bytes: number) => void,
): Promise<UploadDone> {
  const { remote, contents, hydrator, store } = services;
  const content = await contents.acquire(node);
  try {
    if (node.base === null && !content.complete) throw lostParts(node);
    await hydrator.need(content, 0, node.size_bytes, { priority: 'pin', signal });
    const seq = content.writeSeq;
    const size_bytes = node.size_bytes;
    const { mtime, mode, uid, gid } = node;
    const stillSame = () => content.writeSeq === seq && node.size_bytes === size_bytes;
    await unlessFull(contents.saveIfNeeded(content));
    const bytes = size_bytes <= SMALL_BYTES ? await readSmall(content, size_bytes, stillSame) : null;
    const sha256 =
      bytes === null
        ? await hashContent(content, size_bytes, stillSame, signal)
        : createHash('sha256').update(bytes).digest('hex');
    if (node.parent === null && node.base === null)
      throw new CloudError('again', `sending "${node.name}": removed meanwhile`);
    await unlessFull(note(node, { place, sha256, size_bytes }, store));
    const precondition: Precondition =
      node.base === null || node.baseEtag === null ? { kind: 'if_absent' } : { kind: 'if_match', etag: node.baseEtag };
    const meta: PosixMeta = {
      mtime,
      ...(mode !== null ? { mode } : {}),
      ...(uid !== null ? { uid } : {}),
      ...(gid !== null ? { gid } : {}),
    };
    const source: UploadSource = {
      size_bytes,
      sha256,
      open: (start, end) =>
        bytes === null ? readContent(content, start, end, stillSame) : sendSmall(content, bytes, start, end, stillSame),
    };
    crashPoint('writeback.before_put');
    const result = await remote.put(
      path,
      source,
      precondition,
      meta,
      {
        state: node.uploadState,
        save(state) {
          node.uploadState = state;
          store.save(node);
        },
        progress: onProgress,
      },
      {
        signal,
        ...(node.lockInfo?.mine === true && node.lockInfo.token !== null ? { lockToken: node.lockInfo.token } : {}),
      },
    );
    crashPoint('writeback.after_put');
    const unchanged = stillSame();
    let sent: number = Dirty.mtime;
    if (remote.capabilities.posix) sent |= Dirty.mode | Dirty.owner;
    if (node.mtime !== mtime && (node.mtime.s !== mtime.s || node.mtime.ns !== mtime.ns)) sent &= ~Dirty.mtime;
    if (node.mode !== mode) sent &= ~Dirty.mode;
    if (node.uid !== uid || node.gid !== gid) sent &= ~Dirty.owner;
    if (unchanged) sent |= Dirty.content;
    content.unsaved = true;
    return { result, sha256, size_bytes, sent, unchanged };
  } finally {
    contents.release(content);
  }
}

/** A file that was changed here while only a part of it was here, and whose version on the server is gone. */
export function lostParts(node: NodeRecord): CloudError {
  return new CloudError(
    'stale',
    `sending "${node.name}": it was removed or replaced on the server while only a part of it was here; the changed parts are kept, ` +
      'the others are lost unless somebody has a copy. Write the file anew, or "cloudmount discard" it',
  );
}

async function note(node: NodeRecord, sending: Sending, store: NodeStore): Promise<void> {
  noteSending(node, sending, store);
  await store.durable();
}

/** On a full disk sending goes on all the same: it is what makes room. */
async function unlessFull(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isCloudError(error, 'no_space')) throw error;
  }
}

const SENDINGS_KEPT = 8;

/** Before the server is told: what it is told, and where. The caller makes it durable. */
export function noteSending(node: NodeRecord, sending: Sending, store: NodeStore): void {
  const last = node.sending.at(-1);
  const known =
    last !== undefined &&
    last.sha256 === sending.sha256 &&
    last.place?.parent === sending.place?.parent &&
    last.place?.name === sending.place?.name;
  if (known) return;
  node.sending = [...node.sending, sending].slice(-SENDINGS_KEPT);
  store.save(node);
}

/** Is what the server has something that we sent ourselves, since the base version and without an answer? */
export async function wasSentByUs(
  node: NodeRecord,
  entry: RemoteEntry,
  remote: Remote,
  signal: AbortSignal,
): Promise<boolean> {
  if (entry.kind !== 'file') return false;
  const candidates = node.sending.filter((sent) => sent.sha256 !== null && sent.size_bytes === entry.size_bytes);
  if (candidates.length === 0) return false;
  let theirs: string;
  if (entry.checksum?.toUpperCase().startsWith('SHA256:') === true) theirs = entry.checksum.slice(7).toLowerCase();
  else {
    if (entry.size_bytes > COMPARE_LIMIT_BYTES) return false;
    const hash = createHash('sha256');
    await remote.read(
      entry.path,
      { start: 0, end: entry.size_bytes },
      entry.etag,
      (chunk) => {
        hash.update(chunk);
      },
      { signal },
    );
    theirs = hash.digest('hex');
  }
  return candidates.some((sent) => sent.sha256 === theirs);
}

/** Are the server's bytes the ones we have? By checksum where the server knows one, else by reading them. */
export async function sameContent(
  node: NodeRecord,
  entry: RemoteEntry,
  services: UploadServices,
  signal: AbortSignal,
): Promise<boolean> {
  const { contents, remote } = services;
  if (entry.kind !== 'file' || entry.size_bytes !== node.size_bytes || !contents.isComplete(node)) return false;
  const content = await contents.acquire(node);
  try {
    const seq = content.writeSeq;
    const stillSame = () => content.writeSeq === seq;
    if (entry.checksum?.toUpperCase().startsWith('SHA256:') === true) {
      const mine = await hashContent(content, entry.size_bytes, stillSame, signal);
      return entry.checksum.slice(7).toLowerCase() === mine;
    }
    if (entry.size_bytes > COMPARE_LIMIT_BYTES) return false;
    let same = true;
    await remote.read(
      entry.path,
      { start: 0, end: entry.size_bytes },
      entry.etag,
      async (chunk, offset) => {
        if (!same) return;
        const mine = await content.file.readAsync(offset, chunk.length).catch((error: unknown) => {
          if (stillSame()) throw error;
          return null;
        });
        same = mine !== null && chunk.equals(mine);
      },
      { signal },
    );
    return same && stillSame();
  } finally {
    contents.release(content);
  }
}

/** A dirty file of which only parts are here, while the version it was based on is gone: the parts nobody changed here
 * come from the server's new version (or are zeros, where it is shorter). */
export async function completeFrom(
  node: NodeRecord,
  entry: RemoteEntry,
  services: UploadServices,
  signal: AbortSignal,
): Promise<void> {
  const { contents, remote } = services;
  const content = await contents.acquire(node);
  try {
    for (const gap of content.extents.missing(0, node.size_bytes)) {
      const end = Math.min(gap.end, entry.size_bytes);
      if (end > gap.start) {
        await remote.read(
          entry.path,
          { start: gap.start, end },
          entry.etag,
          (chunk, offset) => {
            for (const free of content.extents.missing(offset, offset + chunk.length)) {
              content.file.write(free.start, chunk.subarray(free.start - offset, free.end - offset));
              content.extents.insertDirty(free.start, free.end);
            }
          },
          { signal },
        );
      }
      for (const rest of content.extents.missing(gap.start, gap.end)) content.extents.insertDirty(rest.start, rest.end);
    }
    await contents.save(content);
  } finally {
    contents.release(content);
  }
}

async function hashContent(
  content: ActiveContent,
  size_bytes: number,
  stillSame: () => boolean,
  signal: AbortSignal,
): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of readContent(content, 0, size_bytes, stillSame)) {
    signal.throwIfAborted();
    hash.update(chunk);
  }
  return hash.digest('hex');
}

async function* readContent(
  content: ActiveContent,
  start: number,
  end: number,
  stillSame: () => boolean,
): AsyncGenerator<Buffer> {
  for (let at = start; at < end; at += STEP_BYTES) {
    const chunk = await content.file.readAsync(at, Math.min(STEP_BYTES, end - at)).catch((error: unknown) => {
      // Cut short under the read: a truncate, not damage.
      if (stillSame()) throw error;
      return null;
    });
    if (chunk === null || !stillSame())
      throw new CloudError('again', `sending "${content.node.name}": it changed meanwhile`);
    yield chunk;
  }
}

/** All of a short file, read once for its hash and for the request. */
async function readSmall(content: ActiveContent, size_bytes: number, stillSame: () => boolean): Promise<Buffer> {
  const warm = size_bytes === 0 ? Buffer.alloc(0) : content.file.readWarm(0, size_bytes);
  if (warm !== null) return Buffer.from(warm); // the shared buffer is the next reader's
  const parts: Buffer[] = [];
  for await (const chunk of readContent(content, 0, size_bytes, stillSame)) parts.push(chunk);
  return Buffer.concat(parts);
}

async function* sendSmall(
  content: ActiveContent,
  bytes: Buffer,
  start: number,
  end: number,
  stillSame: () => boolean,
): AsyncGenerator<Buffer> {
  if (!stillSame()) throw new CloudError('again', `sending "${content.node.name}": it changed meanwhile`);
  if (end > start) yield bytes.subarray(start, end);
}

const COMPARE_LIMIT_BYTES = 256 * 1024 * 1024;
