// One open sparse content file: the bytes of one generation of one inode. Shared by all handles of that generation and
// counted; the descriptor closes with the last user. Calls that only touch the page cache are synchronous (a few
// microseconds, and atomic towards everything else on the event loop, which is what keeps fetched bytes from landing on
// top of written ones); what has to wait for the disk goes to the thread pool.

import * as fs from 'node:fs';
import { CloudError, type ErrorCode, toCloudError } from '../../errors.js';
import type { Ino } from '../../ids.js';
import * as libc from '../../libc.js';
import type { MaybePromise } from '../../maybe_promise.js';
import { WarmReader } from './warm_reader.js';

export interface ContentStat {
  readonly size_bytes: number;
  /** What it takes on the disk (st_blocks). */
  readonly allocated_bytes: number;
  readonly mtime_ns: bigint;
}

/** What the store gives a file it opens. */
export interface ContentFileHooks {
  /** Makes the directory entry of a new file durable. */
  syncEntry(): Promise<void>;
  /** The last user closed. Closes the descriptor. */
  closed(): void;
}

/** Largest read served from the shared buffer; longer ones get a buffer of their own. */
const WARM_READ_BYTES = 1024 * 1024;
const warm = new WarmReader(WARM_READ_BYTES);

export class ContentFile {
  readonly ino: Ino;
  readonly gen: number;
  readonly fd: number;
  readonly #hooks: ContentFileHooks;
  #users = 1;
  #entryDurable: boolean;
  #running: Promise<void> | null = null;
  #next: Promise<void> | null = null;
  #syncFailure: CloudError | null = null;
  /** How often it was emptied: a sync that began before tells nothing of what was written after. */
  #emptied = 0;

  constructor(ino: Ino, gen: number, fd: number, created: boolean, hooks: ContentFileHooks) {
    this.ino = ino;
    this.gen = gen;
    this.fd = fd;
    this.#entryDurable = !created;
    this.#hooks = hooks;
  }

  get users(): number {
    return this.#users;
  }

  /** One more user; each `retain` needs its `close`. */
  retain(): this {
    // The descriptor's number may belong to another file by now: a second close would be the end of that one.
    if (this.#users === 0) throw new CloudError('stale', `${this.#name}: used after it was closed`);
    this.#users += 1;
    return this;
  }

  close(): void {
    if (this.#users === 0) throw new Error(`${this.#name}: closed more often than opened`);
    this.#users -= 1;
    if (this.#users === 0) this.#hooks.closed();
  }

  /** Exactly `size` bytes at `offset`: at once when the page cache has them, else from the thread pool. The buffer of
   * a synchronous answer is shared: use it before the next read of any content file. Throws or rejects with `corrupt`
   * when the file is shorter than that: callers ask only for bytes that were stored. */
  read(offset: number, size: number): MaybePromise<Buffer> {
    if (size === 0) return EMPTY;
    return this.readWarm(offset, size) ?? this.readAsync(offset, size);
  }

  /** The same if the page cache has all of it, else null: never waits. The buffer is shared, see `read`. */
  readWarm(offset: number, size: number): Buffer | null {
    if (size > WARM_READ_BYTES || warm.read(this.fd, offset, size) !== size) return null;
    return warm.buffer.subarray(0, size);
  }

  /** Exactly `size` bytes in a buffer of their own, or in the beginning of `into`, waiting for the disk on the thread pool. */
  async readAsync(offset: number, size: number, into?: Buffer): Promise<Buffer> {
    const buffer = into === undefined ? Buffer.allocUnsafe(size) : into.subarray(0, size);
    let done = 0;
    this.retain(); // the descriptor must not be closed (and reused) under a running call
    try {
      while (done < size) {
        const count = await new Promise<number>((resolve, reject) => {
          fs.read(this.fd, buffer, done, size - done, offset + done, (error, bytes) =>
            error === null ? resolve(bytes) : reject(localError(error, `reading ${this.#name}`)),
          );
        });
        if (count === 0) throw this.#tooShort(offset, size, done);
        done += count;
      }
      return buffer;
    } finally {
      this.close();
    }
  }

  /** Exactly `target.length` bytes, waiting for the disk on this thread: for small checks only. */
  readSync(offset: number, target: Buffer): void {
    let done = 0;
    while (done < target.length) {
      const count = this.#try('reading', () => fs.readSync(this.fd, target, done, target.length - done, offset + done));
      if (count === 0) throw this.#tooShort(offset, target.length, done);
      done += count;
    }
  }

  /** Stores all of `data` in the page cache, or throws (`no_space`, `quota`, `io`). */
  write(offset: number, data: Uint8Array): void {
    let done = 0;
    while (done < data.length) {
      done += this.#try('writing', () => fs.writeSync(this.fd, data, done, data.length - done, offset + done));
    }
  }

  /** The disk has refused bytes of it, and it has not been emptied since: what is read need not be what was written. */
  get isDoubtful(): boolean {
    return this.#syncFailure !== null;
  }

  /** So it was when it was open before. */
  doubt(): void {
    this.#syncFailure = new CloudError('io', `making ${this.#name} durable: the disk has refused it before`);
  }

  truncate(size_bytes: number): void {
    this.#try('truncating', () => fs.ftruncateSync(this.fd, size_bytes));
    // Nothing that was lost is part of it any more: what is written now is synced for itself.
    if (size_bytes > 0) return;
    this.#syncFailure = null;
    this.#emptied += 1;
  }

  /** fallocate(2) with the kernel's mode bits. */
  fallocate(mode: number, offset: number, length: number): void {
    this.#try('allocating', () => libc.fallocate(this.fd, mode, offset, length));
  }

  /** Gives the disk blocks of [start, end) back; the bytes read as zeros, the size stays. */
  punchHole(start: number, end: number): void {
    if (start < end) {
      this.fallocate(libc.FALLOC_FL_PUNCH_HOLE | libc.FALLOC_FL_KEEP_SIZE, start, end - start);
    }
  }

  /** SEEK_DATA of the content file itself; null when only holes follow. */
  seekData(offset: number): number | null {
    return this.#try('seeking in', () => libc.seekDataHole(this.fd, offset, 'data'));
  }

  /** SEEK_HOLE of the content file itself; null past its end. */
  seekHole(offset: number): number | null {
    return this.#try('seeking in', () => libc.seekDataHole(this.fd, offset, 'hole'));
  }

  stat(): ContentStat {
    const stat = this.#try('stat of', () => fs.fstatSync(this.fd, { bigint: true }));
    return {
      size_bytes: Number(stat.size),
      allocated_bytes: Number(stat.blocks) * 512,
      mtime_ns: stat.mtimeNs,
    };
  }

  /** Has anybody but this process it open or mapped? Not to be asked while the kernel may be opening it. */
  isHeldElsewhere(): boolean {
    return libc.isHeldElsewhere(this.fd);
  }

  /** So that the next write shows, whatever the clock does meanwhile: sets the time to one that no write has. */
  forgetTime(): void {
    this.#try('setting the time of', () => fs.futimesSync(this.fd, 0, 0));
  }

  /** Changes whenever anything touches the file: size, mtime, ctime, inode. Not the device, whose number may differ
   * after a reboot. Another fingerprint is no proof of damage; the same one means that nothing happened to it. */
  fingerprint(): string {
    return fingerprintOf(this.#try('stat of', () => fs.fstatSync(this.fd, { bigint: true })));
  }

  /** All that was written before the call is on the disk, and the file's name is. Callers that come while a sync runs
   * share the next one. After a failure every later sync of this open file fails too, until it is emptied: the kernel
   * reports lost pages only once, and a second answer of "fine" would be a lie. */
  sync(): Promise<void> {
    if (this.#users === 0) return Promise.resolve(); // dropped meanwhile: nothing left to keep
    if (this.#syncFailure !== null) return Promise.reject(this.#syncFailure);
    if (this.#running === null) {
      this.#running = this.#sync(fs.fdatasync).finally(() => {
        this.#running = null;
      });
      return this.#running;
    }
    this.#next ??= this.#running.then(
      () => this.#startNext(),
      () => this.#startNext(),
    );
    return this.#next;
  }

  #startNext(): Promise<void> {
    this.#next = null;
    return this.sync();
  }

  async #sync(call: typeof fs.fsync): Promise<void> {
    this.retain();
    const emptied = this.#emptied;
    try {
      await new Promise<void>((resolve, reject) => {
        call(this.fd, (error) => (error === null ? resolve() : reject(error)));
      });
      if (!this.#entryDurable) {
        await this.#hooks.syncEntry();
        this.#entryDurable = true;
      }
    } catch (error) {
      const failure = toCloudError(error, `making ${this.#name} durable`);
      if (emptied === this.#emptied) this.#syncFailure = failure;
      throw failure;
    } finally {
      this.close();
    }
  }

  /** As `sync`, and the times are on the disk too: `fingerprint` then survives a power cut. */
  syncTimes(): Promise<void> {
    if (this.#users === 0) return Promise.resolve();
    if (this.#syncFailure !== null) return Promise.reject(this.#syncFailure);
    return this.#sync(fs.fsync);
  }

  /** Starts writing to the disk without waiting for it, so that the syncs of many files share commits. */
  async startSync(): Promise<void> {
    if (this.#users === 0) return; // dropped meanwhile
    this.retain();
    try {
      await libc.startWriteback(this.fd);
    } finally {
      this.close();
    }
  }

  /** The same on this thread: for files of a few pages, and not many (a disk with much to do makes the call wait). */
  startSyncHere(): void {
    if (this.#users > 0) libc.startShortWriteback(this.fd);
  }

  get #name(): string {
    return `content ${this.ino}.${this.gen}`;
  }

  #try<T>(doing: string, call: () => T): T {
    try {
      return call();
    } catch (error) {
      throw localError(error, `${doing} ${this.#name}`);
    }
  }

  #tooShort(offset: number, size: number, done: number): CloudError {
    return new CloudError(
      'corrupt',
      `reading ${this.#name}: required ${size} bytes at ${offset}, found the end of the file after ${done}`,
    );
  }
}

export function fingerprintOf({ size, mtimeNs, ctimeNs, ino }: fs.BigIntStats): string {
  return `${size}:${mtimeNs}:${ctimeNs}:${ino}`;
}

const EMPTY = Buffer.alloc(0);

/** What the local file system says about sizes and operations, beyond what `toCloudError` knows. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  EFBIG: 'too_large',
  EINVAL: 'invalid',
  EOPNOTSUPP: 'unsupported',
  ENOTSUP: 'unsupported', // the same number; libuv's name for it
  ENOSYS: 'unsupported',
  ENODEV: 'unsupported',
};

function localError(error: unknown, doing: string): CloudError {
  const code = CODES[(error as NodeJS.ErrnoException).code ?? ''];
  if (code === undefined) return toCloudError(error, doing);
  return new CloudError(code, `${doing}: ${(error as Error).message}`, { cause: error });
}
