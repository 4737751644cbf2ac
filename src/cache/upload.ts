// Sends one file. The bytes that are sent are those of one moment: their hash is taken first and travels along, and an
// upload during which the file changes is cut off and sent again later.

import { createHash } from 'node:crypto';
import type { Clock } from '../clock.js';
import { CloudError } from '../errors.js';
import type { RemotePath } from '../ids.js';
import type { PosixMeta, Precondition, PutResult, Remote, RemoteEntry, UploadSource } from '../remote/remote.js';
import type { ActiveContent } from './active_content.js';
import type { Contents } from './contents.js';
import { crashPoint } from './crash_points.js';
import type { Hydrator } from './hydrator.js';
import { Dirty, type NodeRecord } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';

const STEP_BYTES = 1024 * 1024;

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

export async function upload(
  node: NodeRecord,
  path: RemotePath,
  services: UploadServices,
  signal: AbortSignal,
  onProgress: (sent_bytes: number) => void,
): Promise<UploadDone> {
  const { remote, contents, hydrator, store } = services;
  const content = await contents.acquire(node);
  try {
    await hydrator.need(content, 0, node.size_bytes, { priority: 'pin', signal });
    const seq = content.writeSeq;
    const size_bytes = node.size_bytes;
    const { mtime, mode, uid, gid } = node;
    const stillSame = () => content.writeSeq === seq && node.size_bytes === size_bytes;
    const sha256 = await hashContent(content, size_bytes, stillSame, signal);
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
      open: (start, end) => readContent(content, start, end, stillSame),
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
    if (unchanged) {
      sent |= Dirty.content;
      content.extents.markClean();
    }
    content.unsaved = true;
    return { result, sha256, size_bytes, sent, unchanged };
  } finally {
    contents.release(content);
  }
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
        if (same) same = chunk.equals(await content.file.readAsync(offset, chunk.length));
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
    const chunk = await content.file.readAsync(at, Math.min(STEP_BYTES, end - at));
    if (!stillSame()) throw new CloudError('again', `sending "${content.node.name}": it changed meanwhile`);
    yield chunk;
  }
}

const COMPARE_LIMIT_BYTES = 256 * 1024 * 1024;
