// Listings compress to a twentieth. That is worth the computing where the way to the server is long, and a loss on the
// machine itself, so it is asked for by the time that answers take (RFC 9110 section 12.5.3).

import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { CloudError, isCloudError } from '../errors.js';

/** On the same machine or the same cable a question is answered faster than this. */
const LONG_WAY_MS = 6;
/** Answers after which the fastest is forgotten: the machine may be elsewhere now. So many that a busy server seems near. */
const REMEMBERED = 64;

/** How far the server is: the fastest of the last answers, others were waited for. */
export class Way {
  #fastest_ms = Number.POSITIVE_INFINITY;
  #fastestBefore_ms = Number.POSITIVE_INFINITY;
  #answers = 0;

  /** A question was answered in so long. */
  answered(took_ms: number): void {
    this.#fastest_ms = Math.min(this.#fastest_ms, took_ms);
    this.#answers += 1;
    if (this.#answers % REMEMBERED !== 0) return;
    this.#fastestBefore_ms = this.#fastest_ms;
    this.#fastest_ms = Number.POSITIVE_INFINITY;
  }

  /** False while nothing is known. */
  get isLong(): boolean {
    const fastest_ms = Math.min(this.#fastest_ms, this.#fastestBefore_ms);
    return this.#answers > 0 && fastest_ms >= LONG_WAY_MS;
  }
}

/** What `source` holds in gzip coding (RFC 1952). Rejects with what `source` rejects with, with `network` when it ends too
 * early, with `protocol` when it is damaged. Leaving it early ends the source. */
export async function* gunzip(source: AsyncIterable<Buffer>, doing: string): AsyncGenerator<Buffer> {
  const plain = createGunzip();
  // What goes wrong on either side ends the other, and is thrown by the loop below.
  pipeline(Readable.from(source), plain, () => undefined);
  try {
    for await (const chunk of plain) yield chunk as Buffer;
  } catch (error) {
    if (isCloudError(error)) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw code === 'Z_BUF_ERROR'
      ? new CloudError('network', `${doing}: the compressed answer was cut short`, { cause: error })
      : new CloudError('protocol', `${doing}: the compressed answer is damaged (${message})`, { cause: error });
  } finally {
    plain.destroy();
  }
}
