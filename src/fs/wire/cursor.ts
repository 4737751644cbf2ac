// A bounds-checked reader over one request. Every read states what it needs; a request that ends too early is a
// `ShortReadError` with the field's place, never garbage from the previous request in the same buffer.

import { CloudError } from '../../errors.js';
import type { Name } from '../../ids.js';
import { decodeName, NAME_MAX_BYTES } from '../../names.js';

const HIGH = 4_294_967_296;

/** The kernel sent less than the operation's structure needs. */
export class ShortReadError extends Error {
  override readonly name = 'ShortReadError';

  constructor(what: string, at: number, needed_bytes: number, end: number) {
    super(`decoding a request: ${what} at byte ${at} needs ${needed_bytes} bytes, the request ends at byte ${end}`);
  }
}

export class Cursor {
  readonly #bytes: Buffer;
  readonly #view: DataView;
  #at = 0;
  #end = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Places the cursor; it may not go past `end`. */
  reset(at: number, end: number): void {
    if (at > end || end > this.#bytes.length) throw new ShortReadError('the request', at, end - at, this.#bytes.length);
    this.#at = at;
    this.#end = end;
  }

  get remaining_bytes(): number {
    return this.#end - this.#at;
  }

  #take(what: string, size: number): number {
    const at = this.#at;
    if (size > this.#end - at) throw new ShortReadError(what, at, size, this.#end);
    this.#at = at + size;
    return at;
  }

  skip(size: number): void {
    this.#take('padding', size);
  }

  u16(): number {
    return this.#view.getUint16(this.#take('u16', 2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take('u32', 4), true);
  }

  /** An unsigned 64-bit number. Throws `too_large` above 2^53 - 1, which no offset or size of this drive reaches. */
  u64(): number {
    const at = this.#take('u64', 8);
    const value = this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * HIGH;
    if (value > Number.MAX_SAFE_INTEGER) {
      throw new CloudError('too_large', `decoding a request: offsets and sizes are below 2^53, found ${value}`);
    }
    return value;
  }

  /** A signed 64-bit number (seconds before 1970 are negative). Throws `invalid` beyond what a double holds exactly. */
  i64(): number {
    const at = this.#take('i64', 8);
    const value = this.#view.getUint32(at, true) + this.#view.getInt32(at + 4, true) * HIGH;
    if (!Number.isSafeInteger(value)) {
      throw new CloudError('invalid', `decoding a request: times are within 2^53 seconds of 1970, found ${value}`);
    }
    return value;
  }

  /** A view of the next `size` bytes: valid as long as the buffer is not read into again. */
  bytes(size: number): Buffer {
    const at = this.#take('data', size);
    return this.#bytes.subarray(at, at + size);
  }

  /** Bytes up to the next NUL, which is consumed. */
  #untilNul(what: string): [number, number] {
    const from = this.#at;
    const nul = this.#bytes.indexOf(0, from);
    if (nul < 0 || nul >= this.#end) throw new ShortReadError(`${what} without its NUL`, from, 1, this.#end);
    this.#at = nul + 1;
    return [from, nul];
  }

  /** One NUL-terminated directory entry name. Throws `name_too_long` above 255 bytes. */
  fileName(): Name {
    const [from, to] = this.#untilNul('a name');
    if (to - from > NAME_MAX_BYTES) {
      throw new CloudError('name_too_long', `a name has at most ${NAME_MAX_BYTES} bytes, found ${to - from}`);
    }
    return this.#text(from, to) as Name;
  }

  /** A NUL-terminated string of any length (symlink target, xattr name). */
  text(): string {
    const [from, to] = this.#untilNul('a string');
    return this.#text(from, to);
  }

  #text(from: number, to: number): string {
    for (let i = from; i < to; i++) {
      if ((this.#bytes[i] ?? 0) >= 0x80) return decodeName(this.#bytes.subarray(from, to));
    }
    return this.#bytes.toString('latin1', from, to);
  }
}
