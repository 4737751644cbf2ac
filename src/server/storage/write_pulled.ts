// A long upload into a file, past the kernel's page cache where the file system can (O_DIRECT): its pages would be fresh
// memory, and take the place of what others are reading. Two blocks: one fills while the other is written.

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { type NativeCalls, nativeCalls } from '../native_calls.js';
import { ALIGNMENT_BYTES, giveBlock, takeBlock } from './aligned_buffers.js';
import type { PullSource } from './byte_source.js';
import { SYNC_BYTES, type WriteOptions, writeAt } from './file_writes.js';

export async function writePulled(
  file: FileHandle,
  source: PullSource,
  { signal, tap, room }: WriteOptions,
): Promise<number> {
  const native = await nativeCalls();
  // Before a descriptor is opened: memory may be refused.
  let [block, spare] = [takeBlock(native), takeBlock(native)];
  const target = await Target.open(file, native);
  let [filled, at] = [0, 0];
  let writing: Promise<void> = Promise.resolve();
  const flush = async () => {
    await writing;
    await room?.(filled);
    writing = target.write(block.subarray(0, filled), at);
    writing.catch(() => undefined);
    at += filled;
    filled = 0;
    [block, spare] = [spare, block];
  };
  try {
    for (;;) {
      signal?.throwIfAborted();
      const n = await source.fill(block.subarray(filled));
      if (n === 0) break;
      tap?.(block.subarray(filled, filled + n));
      filled += n;
      if (filled === block.length) await flush();
    }
    signal?.throwIfAborted();
    if (filled > 0) await flush();
    await writing;
    return at;
  } finally {
    source.close(); // others may wait for what it counts
    // Not lent to others, and no file closed, while one is still being written.
    await writing.catch(() => undefined);
    await target.close();
    giveBlock(block);
    giveBlock(spare);
  }
}

class Target {
  readonly #file: FileHandle;
  #direct: FileHandle | null;
  #unsynced_bytes = 0;

  private constructor(file: FileHandle, direct: FileHandle | null) {
    this.#file = file;
    this.#direct = direct;
  }

  static async open(file: FileHandle, native: NativeCalls | null): Promise<Target> {
    if (native === null) return new Target(file, null);
    // Refused where the file system cannot (EINVAL): some in memory, some of the network.
    const direct = await open(`/proc/self/fd/${file.fd}`, constants.O_WRONLY | constants.O_DIRECT).catch(() => null);
    return new Target(file, direct);
  }

  async write(bytes: Buffer, at: number): Promise<void> {
    if (this.#direct !== null && bytes.length % ALIGNMENT_BYTES === 0) {
      const written = await this.#writeDirect(this.#direct, bytes, at);
      if (written === bytes.length) return;
      // Nearly full, or larger blocks are asked for: how far it goes is found out the other way.
      return await writeAt(this.#file, bytes.subarray(written), at + written);
    }
    await writeAt(this.#file, bytes, at);
    this.#unsynced_bytes += bytes.length;
    if (this.#unsynced_bytes < SYNC_BYTES) return;
    this.#unsynced_bytes = 0;
    await this.#file.datasync();
  }

  async #writeDirect(direct: FileHandle, bytes: Buffer, at: number): Promise<number> {
    try {
      return (await direct.write(bytes, 0, bytes.length, at)).bytesWritten;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
      this.#direct = null;
      await direct.close();
      return 0;
    }
  }

  async close(): Promise<void> {
    await this.#direct?.close();
  }
}
