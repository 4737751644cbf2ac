// Sends one file. The bytes that are sent are those of one moment: their hash travels along, and an upload during which
// the file changes is cut off and sent again later.

import { createHash } from 'node:crypto';
import type { Clock } from '../../clock.js';
import { CloudError, isCloudError } from '../../errors.js';
import type { RemotePath } from '../../ids.js';
import type { PosixMeta, Precondition, PutResult, Remote, UploadSource } from '../../remote/remote.js';
import type { ActiveContent } from '../active_content.js';
import type { Contents } from '../contents.js';
import { notStored } from '../contents_saving.js';
import { crashPoint } from '../crash_points.js';
import type { Hydrator } from '../hydrator.js';
import { type BasePlace, Dirty, type NodeRecord } from '../metadata/node.js';
import type { NodeStore } from '../metadata/node_store.js';
import { lostParts, requireRoom } from './merge.js';
import { Outgoing, readSmall, sendSmall } from './outgoing.js';
import { asHolder, posixOf } from './request.js';
import { Saving } from './saving.js';
import { noteSending } from './sent.js';

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

/** `place`: where a file without a base is to be made. Nothing is put in place there that is not durable here: neither the
 * bytes nor the note of what was on its way, by which a later start knows its own upload whose answer was lost. The parts
 * of a large file may go while the disk still takes it; where they are is noted when it has, because after a power cut
 * they would be parts of something else. */
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
  let saved: Promise<void> = Promise.resolve();
  try {
    if (node.base === null && !content.complete) throw lostParts(node);
    if (content.file.isDoubtful) throw notStored(node, 'as it said before');
    requireQuiet(content);
    requireRoom(content, node.size_bytes - content.extents.presentBytes, contents.limit_bytes);
    await hydrator.need(content, 0, node.size_bytes, { priority: 'pin', signal });
    requireQuiet(content);
    const { size_bytes, mtime, mode, uid, gid } = node;
    const stillSame = content.snapshot();
    const saving = new Saving(unlessFull(contents.saveIfNeeded(content)));
    saved = saving.done;
    const precondition: Precondition =
      node.base === null || node.baseEtag === null ? { kind: 'if_absent' } : { kind: 'if_match', etag: node.baseEtag };
    const meta: PosixMeta = { mtime, ...posixOf({ mode, uid, gid }) };
    const source = await sourceOf(content, size_bytes, stillSame, signal);
    const result = await remote.put(
      path,
      { ...source, open: (start, end) => saving.guard(source.open(start, end)) },
      precondition,
      meta,
      {
        state: node.uploadState,
        save: (state) =>
          saving.afterwards(() => {
            node.uploadState = stillSame() ? state : null;
            store.save(node);
          }),
        progress: onProgress,
        async committing() {
          await saved;
          const sha256 = await source.sha256();
          if (node.parent === null && node.base === null)
            throw new CloudError('again', `sending "${node.name}": removed meanwhile`);
          await unlessFull(noteSending(node, { place, sha256, size_bytes }, store));
          crashPoint('writeback.before_put');
        },
      },
      asHolder(node, signal),
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
    return { result, sha256: await source.sha256(), size_bytes, sent, unchanged };
  } finally {
    // The disk may still be at it when the network has failed.
    await saved.catch(() => undefined);
    contents.release(content);
  }
}

/** Small files are read once, for the hash and for the request. */
async function sourceOf(
  content: ActiveContent,
  size_bytes: number,
  stillSame: () => boolean,
  signal: AbortSignal,
): Promise<UploadSource & Required<Pick<UploadSource, 'sha256'>>> {
  if (size_bytes > SMALL_BYTES) {
    const outgoing = new Outgoing(content, size_bytes, stillSame, signal);
    return { size_bytes, open: (start, end) => outgoing.open(start, end), sha256: () => outgoing.sha256() };
  }
  const bytes = await readSmall(content, size_bytes, stillSame);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return {
    size_bytes,
    open: (start, end) => sendSmall(content, bytes, start, end, stillSame),
    sha256: async () => sha256,
  };
}

function requireQuiet(content: ActiveContent): void {
  if (content.changing) throw new CloudError('again', `sending "${content.node.name}": it is being changed`);
}

/** On a full disk sending goes on all the same: it is what makes room. Returns whether it was not full. */
async function unlessFull(work: Promise<void>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    if (!isCloudError(error, 'no_space')) throw error;
    return false;
  }
}
