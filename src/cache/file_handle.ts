// One open file: the way of a read and of a write.
//
// read: what is here is read at once; what is missing goes through the hydrator, with read-ahead for this handle.
// write: room is reserved, the first change of a clean file is recorded durably with the version it is based on, then the
// bytes go to the content file. close(2) queues the file; fsync(2) makes bytes, record and journal durable.

import type { Clock } from '../clock.js';
import { CloudError } from '../errors.js';
import type { Ino } from '../ids.js';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from '../libc.js';
import { andThen, type MaybePromise } from '../maybe_promise.js';
import type { ActiveContent } from './active_content.js';
import type { Caller, OpenFile, Seek } from './cache_api.js';
import { SUM_BLOCK_BYTES } from './content/block_sums.js';
import { ExtentSet, lengthOf } from './content/extents.js';
import type { Contents } from './contents.js';
import { crashPoint } from './crash_points.js';
import type { Hydrator } from './hydrator.js';
import type { ContentState, MappedWrites } from './mapped_writes.js';
import { Dirty, type NodeRecord } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';
import { ReadAhead } from './read_ahead.js';
import type { SpaceBudget } from './space.js';
import type { Tree } from './tree.js';

/** Largest offset a file may have: what all file systems below us and JavaScript's integers can hold. */
const MAX_FILE_BYTES = 2 ** 43;

const READ_AHEAD_MAX_BYTES = 32 * 1024 * 1024;

export interface FileServices {
  readonly store: NodeStore;
  readonly tree: Tree;
  readonly contents: Contents;
  readonly hydrator: Hydrator;
  readonly space: SpaceBudget;
  readonly clock: Clock;
  readonly mapped: MappedWrites;
  /** A file that lost its name while it was open is written to after all. */
  readonly putBack: (node: NodeRecord) => void;
  /** What the server has of a file that counts as unchanged after all must be asked for. */
  readonly lookAgain: (node: NodeRecord) => void;
  /** Waits until the file is on the server (`--write-through`), or null. */
  readonly writeThrough: ((content: ActiveContent, caller: Caller) => Promise<void>) | null;
}

export class FileHandle implements OpenFile {
  readonly ino: Ino;
  readonly content: ActiveContent;
  readonly #s: FileServices;
  readonly #writable: boolean;
  readonly #ahead: ReadAhead;
  /** Ends the read-ahead of this handle; made when there is one. */
  #closing: AbortController | null = null;
  /** `content.revoked` as it was when this was opened. */
  readonly #revoked: number;
  #open = true;

  constructor(content: ActiveContent, writable: boolean, services: FileServices) {
    this.ino = content.ino;
    this.content = content;
    this.#writable = writable;
    this.#revoked = content.revoked;
    this.#s = services;
    this.#ahead = new ReadAhead({ max_bytes: Math.min(READ_AHEAD_MAX_BYTES, services.space.limit_bytes / 4) });
    content.handles += 1;
    if (writable) {
      content.writers += 1;
      content.lastWrite_ms = services.clock.monotonic_ms();
    }
  }

  read(offset: number, size: number, caller: Caller): MaybePromise<Buffer> {
    const { content } = this;
    const end = Math.min(offset + size, content.size_bytes);
    if (end <= offset) return EMPTY;
    content.positions.set(this, offset);
    const ahead = content.complete ? null : this.#ahead.onRead(offset, end - offset, content.size_bytes);
    // A signal costs a controller: only who may have to wait asks for one.
    const signal = content.extents.covers(offset, end) ? undefined : caller.signal;
    const answer = this.#s.hydrator.read(content, offset, end - offset, signal);
    if (ahead !== null) {
      this.#closing ??= new AbortController();
      this.#s.hydrator.ahead(content, ahead.start, ahead.end, this.#closing.signal);
    }
    return answer;
  }

  write(at: number | 'end', data: Buffer, caller: Caller): MaybePromise<void> {
    const start = at === 'end' ? this.content.size_bytes : at;
    const end = start + data.length;
    if (end > MAX_FILE_BYTES) {
      throw new CloudError('too_large', `writing at ${start}: a file has at most ${MAX_FILE_BYTES} bytes`);
    }
    this.#demandRight();
    if (data.length === 0) return;
    const fresh = data.length - heldBytes(this.content, start, end);
    const room = fresh > 0 ? this.#s.space.reserve(fresh, caller) : undefined;
    return andThen(room, () => {
      // Another version may have come while this waited for room; once the file is marked none can.
      const offset = at === 'end' ? this.content.size_bytes : at;
      try {
        const marked = markDirty(this.content, this.#s);
        if (marked === undefined) return this.#store(offset, data, fresh);
        return Promise.resolve(marked)
          .catch((error: unknown) => this.#giveBack(fresh, error))
          .then(() => this.#store(offset, data, fresh));
      } catch (error) {
        return this.#giveBack(fresh, error);
      }
    });
  }

  flush(caller: Caller): MaybePromise<void> {
    const { content } = this;
    this.#noteKernelWrites();
    if (content.node.errorCode === 'corrupt')
      throw new CloudError('corrupt', content.node.error ?? 'content is damaged');
    if (!this.#writable) return;
    if (!content.node.contentDirty) {
      if (content.revoked !== this.#revoked) this.#demandRight();
      return;
    }
    content.unsaved = true;
    this.#s.contents.scheduleSave();
    this.#s.tree.rewritten(content.node);
    this.#demandRight();
    if (this.#s.writeThrough !== null) return this.#s.writeThrough(content, caller);
  }

  async fsync(_caller: Caller): Promise<void> {
    this.#noteKernelWrites();
    await this.#s.contents.save(this.content);
    this.#s.store.requireInPlace();
  }

  fallocate(mode: number, offset: number, length: number, caller: Caller): MaybePromise<void> {
    const { content } = this;
    this.#demandRight();
    const known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
    if ((mode & ~known) !== 0) throw new CloudError('unsupported', `fallocate: mode ${mode} is not supported`);
    const end = offset + length;
    if (end > MAX_FILE_BYTES)
      throw new CloudError('too_large', `fallocate: a file has at most ${MAX_FILE_BYTES} bytes`);
    const keepSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0;
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) !== 0) {
      return andThen(markDirty(content, this.#s), () => this.#zero(offset, end, keepSize));
    }
    const room = this.#s.space.reserve(length, caller);
    return andThen(room, async () => {
      try {
        await markDirty(content, this.#s);
        content.file.fallocate(FALLOC_FL_KEEP_SIZE, offset, length);
      } catch (error) {
        this.#giveBack(length, error);
      }
      content.accounted_bytes += length;
      if (!keepSize && end > content.size_bytes) resize(content, end, this.#s);
      content.unsaved = true;
      this.#s.contents.scheduleSave();
    });
  }

  seek(offset: number, whence: Seek, _caller: Caller): number {
    const { content } = this;
    noteKernelWrites(content, this.#s);
    const size = content.size_bytes;
    if (offset >= size || offset < 0)
      throw new CloudError('past_end', `seeking ${whence} at ${offset}: the file has ${size} bytes`);
    let at = offset;
    while (at < size) {
      const gap = content.extents.firstMissing(at, size);
      // Bytes that are not here are data: only the server knows its holes, and it does not tell.
      if (gap !== null && gap.start <= at) {
        if (whence === 'data') return at;
        at = gap.end;
        continue;
      }
      const hereEnd = gap === null ? size : gap.start;
      const found = whence === 'data' ? content.file.seekData(at) : content.file.seekHole(at);
      if (found !== null && found < hereEnd) return found;
      at = hereEnd;
    }
    if (whence === 'hole') return size;
    throw new CloudError('past_end', `seeking data at ${offset}: only a hole follows`);
  }

  passthroughFd(): number | null {
    const { content } = this;
    if (content.access === 'undecided') {
      // Who closes only when the server has it must be asked for each write.
      const fits = content.complete && !this.#writable && content.handles === 1 && this.#s.writeThrough === null;
      content.access = fits ? 'passthrough' : 'cached';
    }
    if (content.access !== 'passthrough') return null;
    return content.file.fd;
  }

  release(): void {
    if (!this.#open) return;
    this.#open = false;
    const { content } = this;
    this.#closing?.abort();
    content.positions.delete(this);
    content.handles -= 1;
    this.#noteKernelWrites();
    if (this.#writable) {
      content.writers -= 1;
      if (content.writers === 0) {
        content.sendNow = false;
        const { kernelWrites } = content;
        endKernelWrites(content);
        if (kernelWrites !== null) this.#s.mapped.follow(content, kernelWrites);
        this.#s.tree.rewritten(content.node);
        if (content.node.surpassed && !content.node.contentDirty) this.#s.lookAgain(content.node);
      }
    }
    if (content.handles === 0 && !this.#s.mapped.isFollowing(content)) content.access = 'undecided';
    this.#s.contents.release(content);
  }

  /** The right to write may end while the file is open. A lock does not count: it is waited for. */
  #demandRight(): void {
    const { node, revoked } = this.content;
    if (node.rights.write && revoked === this.#revoked) return;
    const copy = node.conflict === null ? 'what was written is kept' : `what was written is kept as "${node.name}"`;
    throw new CloudError(
      'no_access',
      `writing "${node.conflict?.original ?? node.name}": the right to was taken away; ${copy}`,
    );
  }

  #giveBack(reserved_bytes: number, error: unknown): never {
    this.#s.space.refund(reserved_bytes);
    throw error;
  }

  #store(offset: number, data: Buffer, reserved_bytes: number): void {
    const { content } = this;
    const { node } = content;
    // Another write may have filled the range while this one waited for room.
    const fresh = Math.min(reserved_bytes, data.length - heldBytes(content, offset, offset + data.length));
    try {
      stayDirty(content, this.#s);
      content.file.write(offset, data);
    } catch (error) {
      // A part may have been stored (a full disk): what was there before is not sure any more, what is new does not count.
      content.sums.forget(offset, offset + data.length);
      content.writeSeq += 1;
      if (content.file.stat().size_bytes > node.size_bytes) content.file.truncate(node.size_bytes);
      this.#giveBack(reserved_bytes, error);
    }
    crashPoint('write.after_data');
    this.#s.space.refund(reserved_bytes - fresh);
    content.accounted_bytes += fresh;
    if (offset > node.size_bytes) content.extents.insertDirty(node.size_bytes, offset);
    content.wrote(offset, offset + data.length, this.#s.clock.monotonic_ms());
    if (offset + data.length > node.size_bytes) node.size_bytes = offset + data.length;
    // Of a small file that is written at once the sum is taken here, where its bytes are.
    if (data.length === node.size_bytes && data.length <= SUM_BLOCK_BYTES) content.sums.record(0, data);
    const now = this.#s.clock.timestamp();
    node.mtime = now;
    node.ctime = now;
    this.#s.contents.scheduleSave();
  }

  #zero(offset: number, end: number, keepSize: boolean): void {
    const { content } = this;
    const { node } = content;
    const stop = keepSize ? Math.min(end, node.size_bytes) : end;
    if (!keepSize && end > node.size_bytes) resize(content, end, this.#s);
    if (offset >= stop) return;
    stayDirty(content, this.#s);
    content.file.punchHole(offset, stop);
    content.wrote(offset, stop, this.#s.clock.monotonic_ms());
    const now = this.#s.clock.timestamp();
    node.mtime = now;
    node.ctime = now;
    this.#s.contents.scheduleSave();
  }

  /** The kernel writes to a passed-through file without asking: its size and time say whether it did. Only the first
   * handle of a file is asked for its descriptor, but whoever was opened for writing may have written. */
  #noteKernelWrites(): void {
    if (this.#writable) noteKernelWrites(this.content, this.#s);
  }
}

/** Records durably that the file is about to differ from the version it is based on, from a settled content, or (`cutTo`)
 * by being truncated. The record goes first: it must never claim bytes that are gone. */
export function markDirty(
  content: ActiveContent,
  services: Pick<FileServices, 'store' | 'tree' | 'putBack'>,
  cutTo_bytes = Number.MAX_SAFE_INTEGER,
): MaybePromise<void> {
  const { node } = content;
  const wasClean = !node.contentDirty;
  const settled = node.fingerprint !== null || node.sums !== null;
  const cuts = cutTo_bytes < node.size_bytes;
  const begun = node.uploadState !== null; // of the bytes as they were
  if (!wasClean && !settled && !cuts && !begun) return;
  const { displaced: place } = node;
  const displaced = wasClean && place !== null;
  if (displaced && !content.extents.isComplete(Math.min(node.size_bytes, cutTo_bytes))) {
    throw displacedInParts(node);
  }
  const claimed = cuts && node.extents !== null && ExtentSet.parse(node.extents).end > cutTo_bytes;
  const { cut_bytes, torn, cutting } = wasClean ? { cut_bytes: null, torn: false, cutting: false } : node;
  const notCut = (error: unknown): never => {
    content.cutting_bytes = null;
    content.uncut = null;
    if (cuts) Object.assign(node, { cut_bytes, torn, cutting });
    throw error;
  };
  try {
    services.store.transaction(() => {
      if (displaced) services.putBack(node);
      node.fingerprint = null;
      node.sums = null;
      node.uploadState = null;
      if (wasClean) {
        node.dirty |= Dirty.content | Dirty.mtime;
        node.cut_bytes = null;
        node.torn = false;
        node.cutting = false;
      }
      if (cuts) {
        content.uncut ??= { cut_bytes, torn, cutting, extents: node.extents };
        cutRecord(content, cutTo_bytes, wasClean);
      }
      if (wasClean) services.tree.changed(node);
      else services.store.save(node);
    });
  } catch (error) {
    node.displaced = place; // it has not been put back
    notCut(error);
  }
  crashPoint('write.after_dirty_mark');
  const mustLast = (wasClean && node.base !== null) || (!wasClean && settled) || claimed || begun;
  if (!mustLast) return undefined;
  return content.announce(services.store.durable().catch(notCut));
}

/** The row without what a truncate is about to take away. `wasClean`: before it the file was the base version. */
function cutRecord(content: ActiveContent, size_bytes: number, wasClean: boolean): void {
  const { node } = content;
  content.cutting_bytes = Math.min(content.cutting_bytes ?? size_bytes, size_bytes);
  node.cut_bytes = Math.min(node.cut_bytes ?? size_bytes, size_bytes);
  if (wasClean && node.base !== null) node.torn = true;
  // What was never fetched is a hole that must not pass for zeros somebody wrote, if the daemon is killed right now.
  if (!content.complete && node.cut_bytes === size_bytes) node.cutting = true;
  if (node.extents === null) return;
  const claims = ExtentSet.parse(node.extents);
  claims.clip(size_bytes);
  node.extents = claims.isEmpty ? null : claims.serialise();
}

/** Right before the bytes change (or when the kernel has changed them): while the change waited for its journal record an
 * upload may have sent the file as it was and taken the mark away. */
function stayDirty(content: ActiveContent, services: Pick<FileServices, 'store' | 'tree' | 'putBack'>): void {
  const { node } = content;
  if (node.contentDirty) return;
  const { displaced } = node;
  if (displaced !== null && !content.complete) throw displacedInParts(node);
  try {
    services.store.transaction(() => {
      if (displaced !== null) services.putBack(node);
      node.dirty |= Dirty.content | Dirty.mtime;
      services.tree.changed(node);
    });
  } catch (error) {
    node.displaced = displaced; // it has not been put back
    throw error;
  }
}

function displacedInParts(node: NodeRecord): CloudError {
  return new CloudError(
    'stale',
    `writing "${node.name}": all of it must be here, but only a part is, and the server has another version by now; open it again`,
  );
}

/** truncate(2) and growth: the content file, the extents and the size change together. The caller has marked it dirty, and
 * cut its record when it shrinks. */
export function resize(
  content: ActiveContent,
  size_bytes: number,
  services: Pick<FileServices, 'clock' | 'contents' | 'store' | 'tree' | 'putBack'>,
): void {
  if (size_bytes > MAX_FILE_BYTES) {
    throw new CloudError(
      'too_large',
      `truncating: a file has at most ${MAX_FILE_BYTES} bytes, asked for ${size_bytes}`,
    );
  }
  const { node } = content;
  const old = node.size_bytes;
  const { uncut } = content;
  content.cutting_bytes = null;
  content.uncut = null;
  try {
    stayDirty(content, services);
    content.file.truncate(size_bytes);
  } catch (error) {
    // All of it is still here, and what is written to it now must not be cut at the next start.
    Object.assign(node, uncut ?? { cutting: false });
    content.unsaved = true;
    services.store.save(node);
    throw error;
  }
  if (size_bytes < old) {
    content.extents.clip(size_bytes);
    content.sums.clip(size_bytes);
  } else if (size_bytes > old) {
    content.extents.insertDirty(old, size_bytes);
  }
  node.size_bytes = size_bytes;
  if (node.cutting && node.cut_bytes === size_bytes) {
    node.cutting = false;
    services.store.save(node);
  }
  content.writeSeq += 1;
  content.lastWrite_ms = services.clock.monotonic_ms();
  content.unsaved = true;
  const now = services.clock.timestamp();
  node.mtime = now;
  node.ctime = now;
  services.contents.scheduleSave();
}

/** The kernel may write the content file by itself from now on. After `markDirty`. */
export function beginKernelWrites(content: ActiveContent, wasDirty: boolean): void {
  if (content.kernelWrites !== null) return;
  // A write within the clock tick of the last one would not show otherwise.
  content.file.forgetTime();
  const { size_bytes, mtime_ns } = content.file.stat();
  content.kernelWrites = { size_bytes, mtime_ns, untouchedSince: wasDirty ? null : content.node.mtime };
}

/** Looks at the content file and takes over what the kernel wrote. */
export function noteKernelWrites(
  content: ActiveContent,
  services: Pick<FileServices, 'clock' | 'contents' | 'store' | 'tree' | 'putBack'>,
): void {
  const before = content.kernelWrites;
  if (before === null) return;
  const { size_bytes, mtime_ns } = content.file.stat();
  if (size_bytes === before.size_bytes && mtime_ns === before.mtime_ns) return;
  kernelWrote(content, { size_bytes, mtime_ns }, services);
  content.kernelWrites = { size_bytes, mtime_ns, untouchedSince: null };
}

/** The kernel wrote to a file that no handle writes any more: through a mapping. */
export async function takeOverMapped(
  content: ActiveContent,
  services: Pick<FileServices, 'clock' | 'contents' | 'store' | 'tree' | 'putBack'>,
): Promise<ContentState> {
  await markDirty(content, services);
  const state = content.file.stat();
  kernelWrote(content, state, services);
  services.tree.rewritten(content.node);
  content.file.forgetTime(); // as where it begins
  return content.file.stat();
}

function kernelWrote(
  content: ActiveContent,
  { size_bytes, mtime_ns }: ContentState,
  services: Pick<FileServices, 'clock' | 'contents' | 'store' | 'tree' | 'putBack'>,
): void {
  const { node } = content;
  stayDirty(content, services);
  if (size_bytes < node.size_bytes) content.extents.clip(size_bytes);
  content.wrote(0, size_bytes, services.clock.monotonic_ms());
  node.size_bytes = size_bytes;
  node.mtime = { s: Number(mtime_ns / 1_000_000_000n), ns: Number(mtime_ns % 1_000_000_000n) };
  node.ctime = node.mtime;
  node.dataVersion += 1;
  services.contents.scheduleSave();
}

/** The last writer closed. Opened for writing but not written: not dirty after all. */
function endKernelWrites(content: ActiveContent): void {
  const { kernelWrites, node } = content;
  content.kernelWrites = null;
  if (kernelWrites === null || kernelWrites.untouchedSince === null) return;
  node.dirty &= ~Dirty.content;
  if (node.mtime === kernelWrites.untouchedSince) node.dirty &= ~Dirty.mtime;
}

/** What of this range takes room on the disk. A hole is present too, and takes none before something is written there. */
function heldBytes({ extents, file, accounted_bytes }: ActiveContent, start: number, end: number): number {
  const ranges = extents.presentWithin(start, end);
  const present_bytes = lengthOf(ranges);
  const holes_bytes = extents.presentBytes - accounted_bytes;
  if (holes_bytes <= 0) return present_bytes;
  let stored_bytes = 0;
  for (const range of ranges) {
    let data = file.seekData(range.start);
    while (data !== null && data < range.end) {
      const hole = Math.min(file.seekHole(data) ?? range.end, range.end);
      stored_bytes += hole - data;
      data = file.seekData(hole);
    }
  }
  return Math.max(stored_bytes, present_bytes - holes_bytes);
}

const EMPTY = Buffer.alloc(0);
