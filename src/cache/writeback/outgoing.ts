// The bytes of a file as they are at one moment. Reading ends with `again` when the file changes meanwhile.

import { createHash } from 'node:crypto';
import { CloudError } from '../../errors.js';
import type { ActiveContent } from '../active_content.js';

const STEP_BYTES = 256 * 1024;

/** One upload's bytes, and their hash: taken while they are read from start to end, else by reading. */
export class Outgoing {
  readonly #content: ActiveContent;
  readonly #size_bytes: number;
  readonly #stillSame: () => boolean;
  readonly #signal: AbortSignal;
  readonly #hash = createHash('sha256');
  #hashed_bytes = 0;
  #digest: Promise<string> | null = null;

  constructor(content: ActiveContent, size_bytes: number, stillSame: () => boolean, signal: AbortSignal) {
    this.#content = content;
    this.#size_bytes = size_bytes;
    this.#stillSame = stillSame;
    this.#signal = signal;
  }

  async *open(start: number, end: number): AsyncGenerator<Buffer> {
    let at = start;
    for await (const chunk of readContent(this.#content, start, end, this.#stillSame)) {
      if (at === this.#hashed_bytes && this.#digest === null) this.#feed(chunk);
      at += chunk.length;
      yield chunk;
    }
  }

  sha256(): Promise<string> {
    this.#digest ??= this.#finish();
    return this.#digest;
  }

  async #finish(): Promise<string> {
    for await (const chunk of readContent(this.#content, this.#hashed_bytes, this.#size_bytes, this.#stillSame)) {
      this.#signal.throwIfAborted();
      this.#feed(chunk);
    }
    return this.#hash.digest('hex');
  }

  #feed(chunk: Buffer): void {
    this.#hash.update(chunk);
    this.#hashed_bytes += chunk.length;
  }
}

/** A chunk is valid until the next one is asked for: what is sent would otherwise be collected as garbage by the 64 MiB, a
 * buffer for each chunk. Two in turns, so that even who asks for one ahead sends what was read. */
async function* readContent(
  content: ActiveContent,
  start: number,
  end: number,
  stillSame: () => boolean,
): AsyncGenerator<Buffer> {
  let [buffer, other] = [EMPTY, EMPTY];
  for (let at = start; at < end; at += STEP_BYTES) {
    [buffer, other] = [other, buffer];
    const size = Math.min(STEP_BYTES, end - at);
    if (buffer.length < size) buffer = Buffer.allocUnsafeSlow(size);
    yield await readPart(content, at, size, stillSame, buffer);
  }
}

async function readPart(
  content: ActiveContent,
  start: number,
  size: number,
  stillSame: () => boolean,
  into: Buffer,
): Promise<Buffer> {
  const chunk = await content.file.readAsync(start, size, into).catch((error: unknown) => {
    // Cut short under the read: a truncate, not damage.
    if (stillSame()) throw error;
    return null;
  });
  if (chunk === null || !stillSame())
    throw new CloudError('again', `sending "${content.node.name}": it changed meanwhile`);
  return chunk;
}

const EMPTY = Buffer.alloc(0);

/** All of a short file, read once for its hash and for the request. */
export async function readSmall(content: ActiveContent, size_bytes: number, stillSame: () => boolean): Promise<Buffer> {
  const warm = size_bytes === 0 ? EMPTY : content.file.readWarm(0, size_bytes);
  if (warm !== null) return Buffer.from(warm); // the shared buffer is the next reader's
  return readPart(content, 0, size_bytes, stillSame, Buffer.allocUnsafe(size_bytes));
}

export async function* sendSmall(
  content: ActiveContent,
  bytes: Buffer,
  start: number,
  end: number,
  stillSame: () => boolean,
): AsyncGenerator<Buffer> {
  if (!stillSame()) throw new CloudError('again', `sending "${content.node.name}": it changed meanwhile`);
  if (end > start) yield bytes.subarray(start, end);
}
