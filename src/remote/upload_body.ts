// The bytes of an upload on their way: counted, reported, and refused when the source does not give what it promised.

import type { Clock } from '../clock.js';
import { CloudError, toCloudError } from '../errors.js';
import type { UploadSource } from './remote.js';

/** Bytes [start, end) of the source, chunks as there. Throws `io` when it gives more or fewer: nothing wrong is committed, the server gets
 * an incomplete request. */
export async function* counted(
  source: UploadSource,
  start: number,
  end: number,
  progress: (sent_bytes: number) => void,
): AsyncGenerator<Buffer> {
  let at = start;
  if (start === end) return;
  for await (const chunk of source.open(start, end)) {
    at += chunk.length;
    if (at > end) break;
    yield chunk;
    progress(at);
  }
  if (at !== end) {
    throw new CloudError('io', `uploading: ${end - start} bytes are required, the local source gave ${at - start}`);
  }
}

/** The bytes of the source from `start` on, as many as go in `slice_ms`, but not fewer than `least_bytes` unless it ends.
 * Afterwards `end` says how far they went. */
export class Slice {
  readonly #source: UploadSource;
  readonly #least_bytes: number;
  readonly #slice_ms: number;
  readonly #clock: Clock;
  readonly start: number;
  end: number;

  constructor(source: UploadSource, start: number, least_bytes: number, slice_ms: number, clock: Clock) {
    this.#source = source;
    this.start = start;
    this.end = start;
    this.#least_bytes = least_bytes;
    this.#slice_ms = slice_ms;
    this.#clock = clock;
  }

  async *body(progress: (sent_bytes: number) => void): AsyncGenerator<Buffer> {
    const until_ms = this.#clock.monotonic_ms() + this.#slice_ms;
    for await (const chunk of counted(this.#source, this.start, this.#source.size_bytes, progress)) {
      this.end += chunk.length;
      yield chunk;
      if (this.end - this.start >= this.#least_bytes && this.#clock.monotonic_ms() >= until_ms) return;
    }
  }
}

/** The whole of a short body. A source that fails is `io`, as `counted` says. */
export async function collect(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  try {
    for await (const chunk of chunks) parts.push(Buffer.from(chunk)); // valid until the next one is asked for
  } catch (error) {
    throw toCloudError(error, 'uploading: reading what is to be sent');
  }
  return Buffer.concat(parts);
}
