// Memory that the disk can be written from without a copy in between (O_DIRECT): it must begin at a multiple of the disk's
// blocks. Lent again and again, because fresh memory costs as much as copying into it.

import type { NativeCalls } from '../native_calls.js';

export const BLOCK_BYTES = 1 << 20;
/** Of every file system's: a page. */
export const ALIGNMENT_BYTES = 4096;
/** For some uploads at a time; further ones get theirs fresh. */
export const MAX_IDLE = 16;
const idle: Buffer[] = [];

/** `native`: null = nobody can tell where memory begins, and so nothing is written without a copy. */
export function takeBlock(native: NativeCalls | null): Buffer {
  const block = idle.pop();
  if (block !== undefined) return block;
  const raw = Buffer.allocUnsafeSlow(BLOCK_BYTES + ALIGNMENT_BYTES);
  const over = native === null ? 0 : Number(native.addressOf(raw) % BigInt(ALIGNMENT_BYTES));
  const start = over === 0 ? 0 : ALIGNMENT_BYTES - over;
  return raw.subarray(start, start + BLOCK_BYTES);
}

/** Nobody reads it or writes into it any more. */
export function giveBlock(block: Buffer): void {
  if (idle.length < MAX_IDLE) idle.push(block);
}
