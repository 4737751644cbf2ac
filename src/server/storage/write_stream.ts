// Bytes of the network into a file: in large pieces, one write under way while the next bytes arrive, and the disk is set
// to work while the upload goes on, so that the last sync is short.

import type { FileHandle } from 'node:fs/promises';
import { type ByteSource, isPulled } from './byte_source.js';
import { SYNC_BYTES, type WriteOptions, writeAt } from './file_writes.js';
import { writePulled } from './write_pulled.js';

/** Bytes gathered for one write call. */
const WRITE_BYTES = 1 << 20;

/** Takes the source to its end and returns how many bytes it had; the last of them may not be on the disk yet. Rejects
 * with `no_space`, with what the source rejects with, with the signal's reason. */
export async function writeStream(file: FileHandle, source: ByteSource, options: WriteOptions): Promise<number> {
  return isPulled(source) ? await writePulled(file, source, options) : await writeChunks(file, source, options);
}

async function writeChunks(
  file: FileHandle,
  source: AsyncIterable<Buffer>,
  { signal, tap, room }: WriteOptions,
): Promise<number> {
  let size_bytes = 0;
  let gathered: Buffer[] = [];
  let gathered_bytes = 0;
  let unsynced_bytes = 0;
  let writing: Promise<void> = Promise.resolve();
  let syncing: Promise<void> = Promise.resolve();
  const flush = async () => {
    const chunks = gathered;
    const length = gathered_bytes;
    gathered = [];
    gathered_bytes = 0;
    await writing;
    await room?.(length);
    writing = writevAll(file, chunks, length);
    writing.catch(() => undefined);
    unsynced_bytes += length;
    if (unsynced_bytes >= SYNC_BYTES) {
      unsynced_bytes = 0;
      await syncing;
      syncing = writing.then(() => file.datasync());
      syncing.catch(() => undefined);
    }
  };
  try {
    for await (const chunk of source) {
      signal?.throwIfAborted();
      tap?.(chunk);
      size_bytes += chunk.length;
      gathered.push(chunk);
      gathered_bytes += chunk.length;
      if (gathered_bytes >= WRITE_BYTES) await flush();
    }
    signal?.throwIfAborted();
    if (gathered_bytes > 0) await flush();
    await writing;
    await syncing;
  } catch (error) {
    await Promise.allSettled([writing, syncing]);
    throw error;
  }
  return size_bytes;
}

async function writevAll(file: FileHandle, chunks: readonly Buffer[], length: number): Promise<void> {
  const { bytesWritten } = await file.writev(chunks as Buffer[]);
  if (bytesWritten === length) return;
  // A short write (a nearly full disk): go on with the rest until it is written or refused.
  await writeAt(file, Buffer.concat(chunks).subarray(bytesWritten), null);
}
