// CRC-32 per block of content, recorded as bytes arrive, so that damage by the disk or by a foreign hand is noticed
// before it is served or uploaded. A block without a sum is simply not checked. The last block of a file may be short.

import { crc32 } from 'node:zlib';
import { CloudError } from '../../errors.js';

/** Bytes per checked block: 4 GiB of content need 16,384 sums (64 KiB stored). */
export const SUM_BLOCK_BYTES = 256 * 1024;

interface Sum {
  readonly crc: number;
  /** Bytes of the block that the sum covers, from its start. */
  readonly length: number;
}

const FORMAT = 1;

export class BlockSums {
  readonly #sums = new Map<number, Sum>();

  get size(): number {
    return this.#sums.size;
  }

  get(block: number): Sum | undefined {
    return this.#sums.get(block);
  }

  set(block: number, crc: number, length: number): void {
    this.#sums.set(block, { crc, length });
  }

  /** Computes and keeps the sum of `data`, the first `data.length` bytes of `block`. */
  record(block: number, data: Uint8Array): void {
    this.set(block, crc32(data), data.length);
  }

  /** Bytes [start, end) change: what was known of their blocks is void. Call on every write, truncate, hole, eviction. */
  forget(start: number, end: number): void {
    if (this.#sums.size === 0 || start >= end) return;
    const first = Math.floor(start / SUM_BLOCK_BYTES);
    const last = Math.ceil(end / SUM_BLOCK_BYTES);
    if (last - first <= this.#sums.size) {
      for (let block = first; block < last; block++) this.#sums.delete(block);
      return;
    }
    for (const block of this.#sums.keys()) if (block >= first && block < last) this.#sums.delete(block);
  }

  /** The file ends at `size` now. */
  clip(size: number): void {
    this.forget(size, Number.MAX_SAFE_INTEGER);
  }

  clear(): void {
    this.#sums.clear();
  }

  blocks(): number[] {
    return [...this.#sums.keys()].sort((a, b) => a - b);
  }

  /** Format byte, then 14 bytes per block: number (u48), length (u32), crc (u32), little endian. Null when there is none. */
  serialise(): Buffer | null {
    if (this.#sums.size === 0) return null;
    const out = Buffer.allocUnsafe(1 + this.#sums.size * RECORD);
    out[0] = FORMAT;
    let at = 1;
    for (const block of this.blocks()) {
      const sum = this.#sums.get(block);
      if (sum === undefined) continue;
      out.writeUIntLE(block, at, 6);
      out.writeUInt32LE(sum.length, at + 6);
      out.writeUInt32LE(sum.crc, at + 10);
      at += RECORD;
    }
    return out;
  }

  /** Throws `corrupt` on anything `serialise` does not write. */
  static parse(blob: Uint8Array | null): BlockSums {
    const sums = new BlockSums();
    if (blob === null) return sums;
    const bytes = Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength);
    if (bytes[0] !== FORMAT || (bytes.length - 1) % RECORD !== 0) {
      throw new CloudError(
        'corrupt',
        `reading the block sums of a file: required format ${FORMAT} and records of ${RECORD} bytes, found format ${bytes[0] ?? 'none'} and ${bytes.length} bytes`,
      );
    }
    let previous = -1;
    for (let at = 1; at < bytes.length; at += RECORD) {
      const block = bytes.readUIntLE(at, 6);
      const length = bytes.readUInt32LE(at + 6);
      if (block <= previous || length === 0 || length > SUM_BLOCK_BYTES) {
        throw new CloudError(
          'corrupt',
          `reading the block sums of a file: required ascending blocks of 1 to ${SUM_BLOCK_BYTES} bytes, found block ${block} after ${previous} with ${length} bytes`,
        );
      }
      sums.set(block, bytes.readUInt32LE(at + 10), length);
      previous = block;
    }
    return sums;
  }
}

const RECORD = 14;

/** Sums up bytes as they arrive in order. Feed pieces; a gap between two pieces starts over at the next block. */
export class RunningSum {
  #at = -1;
  #crc = 0;
  #length = 0;

  /** `data` are the bytes at `offset`. `done` gets each block that is full, or short and ends at `fileEnd`. */
  feed(offset: number, data: Uint8Array, fileEnd: number, done: (block: number, crc: number, length: number) => void) {
    let from = 0;
    if (offset !== this.#at) {
      // Not where we were: only a block that starts here or later can be summed.
      from = (SUM_BLOCK_BYTES - (offset % SUM_BLOCK_BYTES)) % SUM_BLOCK_BYTES;
      this.#crc = 0;
      this.#length = 0;
      if (from >= data.length) {
        this.#at = from === data.length ? offset + from : -1;
        return;
      }
    }
    while (from < data.length) {
      const take = Math.min(data.length - from, SUM_BLOCK_BYTES - this.#length);
      this.#crc = crc32(data.subarray(from, from + take), this.#crc);
      this.#length += take;
      from += take;
      const at = offset + from;
      if (this.#length === SUM_BLOCK_BYTES || at === fileEnd) {
        done(Math.floor((at - this.#length) / SUM_BLOCK_BYTES), this.#crc, this.#length);
        this.#crc = 0;
        this.#length = 0;
      }
    }
    this.#at = offset + data.length;
  }
}
