// `OC-Checksum: ALGO:hex` of an upload, computed while the bytes pass and compared at the end.

import { createHash, type Hash } from 'node:crypto';
import { CloudError } from '../../errors.js';

interface Expected {
  readonly algorithm: string;
  readonly hex: string;
}

const LENGTH: Readonly<Record<string, number>> = { SHA1: 40, MD5: 32, SHA256: 64, ADLER32: 8 };

/** Checksums we can verify; others are none of our business. Throws `invalid` on a known one of the wrong form. */
export function parseChecksums(header: string | undefined): readonly Expected[] {
  const out: Expected[] = [];
  for (const part of (header ?? '').split(/[\s,]+/)) {
    const match = /^([A-Za-z0-9-]+):([0-9A-Fa-f]*)$/.exec(part);
    if (match === null) continue;
    const algorithm = (match[1] ?? '').toUpperCase().replace('-', '');
    const length = LENGTH[algorithm];
    if (length === undefined) continue;
    const hex = (match[2] ?? '').toLowerCase().padStart(algorithm === 'ADLER32' ? 8 : 0, '0');
    if (hex.length !== length) {
      throw new CloudError('invalid', `reading OC-Checksum: ${algorithm} has ${length} hex digits, found ${part}`);
    }
    out.push({ algorithm, hex });
  }
  return out;
}

export class ChecksumVerifier {
  readonly #expected: readonly Expected[];
  readonly #hashes = new Map<string, Hash>();
  #adler: { a: number; b: number } | null = null;

  constructor(expected: readonly Expected[]) {
    this.#expected = expected;
    for (const { algorithm } of expected) {
      if (algorithm === 'ADLER32') this.#adler = { a: 1, b: 0 };
      else if (algorithm !== 'SHA256') this.#hashes.set(algorithm, createHash(algorithm.toLowerCase()));
    }
  }

  /** False when nothing has to be fed. */
  get isNeeded(): boolean {
    return this.#hashes.size > 0 || this.#adler !== null;
  }

  update(chunk: Buffer): void {
    for (const hash of this.#hashes.values()) hash.update(chunk);
    if (this.#adler !== null) adler32(this.#adler, chunk);
  }

  /** Throws `invalid` when the received bytes are not the ones that were sent. */
  verify(sha256: string): void {
    for (const { algorithm, hex } of this.#expected) {
      const found = this.#found(algorithm, sha256);
      if (found !== hex) {
        throw new CloudError(
          'invalid',
          `storing an upload: its checksum must be ${algorithm}:${hex}, the received bytes have ${algorithm}:${found}`,
        );
      }
    }
  }

  #found(algorithm: string, sha256: string): string {
    if (algorithm === 'SHA256') return sha256;
    if (this.#adler !== null && algorithm === 'ADLER32') {
      return ((this.#adler.b * 65536 + this.#adler.a) >>> 0).toString(16).padStart(8, '0');
    }
    return this.#hashes.get(algorithm)?.digest('hex') ?? '';
  }
}

/** RFC 1950 section 8.2; the modulo is taken once per 3800 bytes, before the sums can leave 32 bits. */
function adler32(state: { a: number; b: number }, chunk: Buffer): void {
  let { a, b } = state;
  for (let from = 0; from < chunk.length; from += 3800) {
    const to = Math.min(from + 3800, chunk.length);
    for (let i = from; i < to; i++) {
      a += chunk[i] ?? 0;
      b += a;
    }
    a %= 65521;
    b %= 65521;
  }
  state.a = a;
  state.b = b;
}
