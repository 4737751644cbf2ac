// Contents as files of a local folder: `objects/ab/cdef…` by SHA-256, `tmp/` for what is being written. A blob is written
// to a temporary file, hashed on the way, synced, renamed into its place, and the folder synced: at no moment does a name
// under `objects/` stand for anything but the whole content. `tmp/` is emptied at start.

import { createHash, randomBytes } from 'node:crypto';
import {
  type FileHandle,
  mkdir,
  open,
  opendir,
  readdir,
  rename,
  rm,
  stat,
  statfs,
  unlink,
  utimes,
} from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError, isCloudError, toCloudError } from '../../../errors.js';
import type { ByteSource } from '../byte_source.js';
import { syncPath } from '../sync_path.js';
import { writeStream } from '../write_stream.js';
import type { BlobInfo, BlobPin, BlobStore, ChunkTaker, OpenBlob, PutOptions, StoredBlob } from './blob_store.js';

const READ_BYTES = 1 << 18;
/** How long the free space is believed. */
const FREE_MS = 2000;
/** Of the disk, this is not for contents, or this part where the disk is small: the WAL grows to a fourth of it. */
const RESERVE_BYTES = 256 << 20;
const RESERVE_PART = 1 / 20;
const HASH = /^[0-9a-f]{64}$/;

export class LocalBlobStore implements BlobStore {
  readonly #objects: string;
  readonly #tmp: string;
  readonly #pins = new Map<string, number>();
  /** A blob that is stored again while it is being deleted waits for the end of that. */
  readonly #deleting = new Map<string, Promise<void>>();
  #free = { at_ms: Number.NEGATIVE_INFINITY, bytes: 0, reserve_bytes: 0 };
  readonly #shards = new Map<string, Promise<void>>();

  private constructor(dir: string) {
    this.#objects = join(dir, 'objects');
    this.#tmp = join(dir, 'tmp');
  }

  /** Creates the folders and clears what a crash left in `tmp/`. One process at a time may own the folder. */
  static async open(dir: string): Promise<LocalBlobStore> {
    const store = new LocalBlobStore(dir);
    await mkdir(store.#objects, { recursive: true, mode: 0o700 });
    await mkdir(store.#tmp, { recursive: true, mode: 0o700 });
    for (const name of await readdir(store.#tmp)) await rm(join(store.#tmp, name), { recursive: true, force: true });
    await syncPath(dir);
    return store;
  }

  temporaryPath(): string {
    return join(this.#tmp, randomBytes(16).toString('hex'));
  }

  async put(source: ByteSource, options: PutOptions = {}): Promise<BlobPin> {
    const path = this.temporaryPath();
    let file: FileHandle | null = null;
    try {
      file = await open(path, 'wx', 0o600);
      const blob = await writeAll(file, source, options, (bytes) => this.demandRoom(bytes));
      await file.datasync();
      await file.close();
      file = null;
      return await this.adopt(path, blob);
    } catch (error) {
      await file?.close().catch(() => undefined);
      await unlink(path).catch(() => undefined);
      throw toCloudError(error, 'storing an upload');
    }
  }

  async adopt(path: string, blob: StoredBlob): Promise<BlobPin> {
    const release = this.#pin(blob.sha256);
    try {
      const { dir, file } = this.#place(blob.sha256);
      await this.#ensureShard(dir);
      await this.#deleting.get(blob.sha256);
      // Also when the content is there already: the fresh file is as good, and its age protects it from the collector.
      const now_s = Date.now() / 1000;
      await utimes(path, now_s, now_s);
      await rename(path, file);
      await syncPath(dir);
      return { ...blob, release };
    } catch (error) {
      release();
      throw toCloudError(error, 'moving an upload into place');
    }
  }

  async open(sha256: string): Promise<OpenBlob> {
    let handle: FileHandle;
    try {
      handle = await open(this.#place(sha256).file, 'r');
    } catch (error) {
      throw this.#readError(error, sha256);
    }
    try {
      const { size } = await handle.stat();
      return new LocalOpenBlob(handle, size, sha256);
    } catch (error) {
      await handle.close();
      throw this.#readError(error, sha256);
    }
  }

  async has(sha256: string): Promise<boolean> {
    try {
      await stat(this.#place(sha256).file);
      return true;
    } catch (error) {
      const mapped = this.#readError(error, sha256);
      if (mapped.code === 'not_found') return false;
      throw mapped;
    }
  }

  async delete(sha256: string, before_ms = Number.POSITIVE_INFINITY): Promise<boolean> {
    if (this.#pins.has(sha256)) return false;
    const deleting = this.#deleteOlder(this.#place(sha256).file, before_ms);
    const settled = deleting.then(
      () => undefined,
      () => undefined,
    );
    this.#deleting.set(sha256, settled);
    try {
      return await deleting;
    } finally {
      if (this.#deleting.get(sha256) === settled) this.#deleting.delete(sha256);
    }
  }

  async #deleteOlder(file: string, before_ms: number): Promise<boolean> {
    try {
      if (before_ms !== Number.POSITIVE_INFINITY && (await stat(file)).mtimeMs >= before_ms) return false;
      await unlink(file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw toCloudError(error, 'deleting a content');
    }
    return true;
  }

  async *list(): AsyncIterable<BlobInfo> {
    for await (const shard of await opendir(this.#objects)) {
      if (!shard.isDirectory()) continue;
      const dir = join(this.#objects, shard.name);
      for await (const entry of await opendir(dir)) {
        const sha256 = shard.name + entry.name;
        if (!entry.isFile() || !HASH.test(sha256)) continue;
        try {
          const info = await stat(join(dir, entry.name));
          yield { sha256, size_bytes: info.size, modified_ms: info.mtimeMs };
        } catch (error) {
          if (this.#readError(error, sha256).code !== 'not_found') throw error;
        }
      }
    }
  }

  async free(): Promise<number | null> {
    const now_ms = performance.now();
    if (now_ms - this.#free.at_ms > FREE_MS) {
      const { bavail, blocks, bsize } = await statfs(this.#objects);
      const reserve_bytes = Math.min(RESERVE_BYTES, blocks * bsize * RESERVE_PART);
      this.#free = { at_ms: now_ms, bytes: bavail * bsize, reserve_bytes };
    }
    return Math.max(0, this.#free.bytes - this.#free.reserve_bytes);
  }

  async demandRoom(bytes: number, use: 'new' | 'change' = 'new'): Promise<void> {
    // A file system that does not tell (some of the network) says so when it is written to.
    // What the database takes meanwhile counts when it matters.
    if (this.#free.bytes < 2 * this.#free.reserve_bytes) this.#free.at_ms = Number.NEGATIVE_INFINITY;
    const free = await this.free().catch(() => null);
    if (this.#free.reserve_bytes === 0 || free === null) return;
    const isFull = free === 0 && (use === 'new' || this.#free.bytes < this.#free.reserve_bytes / 2);
    if (isFull || free < bytes) {
      throw new CloudError('no_space', 'storing content: the disk is full but for what the database needs');
    }
    this.#free.bytes -= bytes;
  }

  /** Makes a blob look as old as `when_ms`; for tests of the collector and for restored backups. */
  async setModified(sha256: string, when_ms: number): Promise<void> {
    await utimes(this.#place(sha256).file, when_ms / 1000, when_ms / 1000);
  }

  async close(): Promise<void> {
    this.#shards.clear();
  }

  #pin(sha256: string): () => void {
    this.#pins.set(sha256, (this.#pins.get(sha256) ?? 0) + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = (this.#pins.get(sha256) ?? 1) - 1;
      if (left === 0) this.#pins.delete(sha256);
      else this.#pins.set(sha256, left);
    };
  }

  #place(sha256: string): { readonly dir: string; readonly file: string } {
    if (!HASH.test(sha256)) {
      throw new CloudError('invalid', `naming a blob: a lower-case hex SHA-256 is required, found ${sha256}`);
    }
    const dir = join(this.#objects, sha256.slice(0, 2));
    return { dir, file: join(dir, sha256.slice(2)) };
  }

  #ensureShard(dir: string): Promise<void> {
    let made = this.#shards.get(dir);
    if (made === undefined) {
      made = mkdir(dir, { recursive: true, mode: 0o700 }).then(() => syncPath(this.#objects));
      made.catch(() => this.#shards.delete(dir));
      this.#shards.set(dir, made);
    }
    return made;
  }

  #readError(error: unknown, sha256: string): CloudError {
    if (isCloudError(error)) return error;
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return new CloudError('not_found', `opening the content ${sha256}: it is not in the store`, { cause: error });
    }
    return toCloudError(error, `opening the content ${sha256}`);
  }
}

// Fresh memory costs a page fault per 4 KiB, as much as the copy itself: buffers are lent again and again. Large ones save
// hand-overs to the thread pool, which cost more than the bytes; they are few, so that many slow readers stay cheap.
const LARGE_BYTES = 1 << 20;
const MAX_LARGE = 32;
const MAX_IDLE = 32;
const idleSmall: Buffer[] = [];
const idleLarge: Buffer[] = [];
let large = 0;

/** For a transfer of `size_bytes`. */
function takeBuffer(size_bytes: number): Buffer {
  if (size_bytes > READ_BYTES) {
    const idle = idleLarge.pop();
    if (idle !== undefined) return idle;
    if (large < MAX_LARGE) {
      large += 1;
      return Buffer.allocUnsafeSlow(LARGE_BYTES);
    }
  }
  return idleSmall.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES);
}

function giveBuffers(...buffers: readonly Buffer[]): void {
  for (const buffer of buffers) {
    if (buffer.length === LARGE_BYTES) idleLarge.push(buffer);
    else if (idleSmall.length < MAX_IDLE) idleSmall.push(buffer);
  }
}

/** They will not come back. */
function forgetBuffers(...buffers: readonly Buffer[]): void {
  for (const buffer of buffers) if (buffer.length === LARGE_BYTES) large -= 1;
}

class LocalOpenBlob implements OpenBlob {
  readonly size_bytes: number;
  readonly #handle: FileHandle;
  readonly #sha256: string;

  constructor(handle: FileHandle, size_bytes: number, sha256: string) {
    this.#handle = handle;
    this.size_bytes = size_bytes;
    this.#sha256 = sha256;
  }

  get fd(): number {
    return this.#handle.fd;
  }

  async *stream(start: number, end: number): AsyncIterable<Buffer> {
    for (let at = start; at < end; ) {
      const chunk = await this.#read(Buffer.allocUnsafeSlow(Math.min(READ_BYTES, end - at)), at, end);
      at += chunk.length;
      yield chunk;
    }
  }

  async send(start: number, end: number, taker: ChunkTaker): Promise<void> {
    let [buffer, spare] = [takeBuffer(end - start), takeBuffer(end - start)];
    let taking: Promise<void> = Promise.resolve();
    try {
      for (let at = start; at < end; ) {
        const chunk = await this.#read(buffer, at, end);
        at += chunk.length;
        await taking;
        taking = taker(chunk);
        taking.catch(() => undefined);
        [buffer, spare] = [spare, buffer];
      }
      await taking;
    } catch (error) {
      // A socket may still be reading from them: let these two go instead of lending them again.
      await taking.catch(() => undefined);
      forgetBuffers(buffer, spare);
      throw error;
    }
    giveBuffers(buffer, spare);
  }

  async #read(into: Buffer, at: number, end: number): Promise<Buffer> {
    const length = Math.min(into.length, end - at);
    const { bytesRead } = await this.#handle.read(into, 0, length, at);
    if (bytesRead === 0) {
      throw new CloudError(
        'corrupt',
        `reading the content ${this.#sha256}: ${end} bytes are required, the file ends at ${at}`,
      );
    }
    return bytesRead === into.length ? into : into.subarray(0, bytesRead);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

async function writeAll(
  file: FileHandle,
  source: ByteSource,
  { signal, tap }: PutOptions,
  room: (bytes: number) => Promise<void>,
): Promise<StoredBlob> {
  const hash = createHash('sha256');
  const size_bytes = await writeStream(file, source, {
    signal,
    room,
    tap(chunk) {
      hash.update(chunk);
      tap?.(chunk);
    },
  });
  return { sha256: hash.digest('hex'), size_bytes };
}
