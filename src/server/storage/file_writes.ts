// What the ways of storing an upload share.

import type { FileHandle } from 'node:fs/promises';
import { CloudError } from '../../errors.js';

/** Bytes in the kernel's hands after which the disk is set to work. */
export const SYNC_BYTES = 32 << 20;

export interface WriteOptions {
  readonly signal?: AbortSignal | undefined;
  /** Sees every byte in order, once, as it arrives. */
  readonly tap?: ((chunk: Buffer) => void) | undefined;
  /** Asked before so many bytes are written; rejects when there is none for them. */
  readonly room?: ((bytes: number) => Promise<void>) | undefined;
}

/** All of `bytes`; `position` null = where the file stands. */
export async function writeAt(file: FileHandle, bytes: Buffer, position: number | null): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const left = bytes.length - at;
    const { bytesWritten } = await file.write(bytes, at, left, position === null ? null : position + at);
    if (bytesWritten === 0) throw new CloudError('no_space', 'storing an upload: the disk takes no more bytes');
    at += bytesWritten;
  }
}
