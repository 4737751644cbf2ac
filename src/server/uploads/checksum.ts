// `OC-Checksum: TYPE:HEX`, as Nextcloud's and ownCloud's clients send it.

import { createHash } from 'node:crypto';
import { CloudError } from '../../errors.js';

export interface Checksum {
  readonly type: 'SHA256' | 'SHA1' | 'MD5' | 'ADLER32';
  /** Lower-case hex. */
  readonly hex: string;
}

const LENGTHS: Readonly<Record<Checksum['type'], number>> = { SHA256: 64, SHA1: 40, MD5: 32, ADLER32: 8 };

/** Null when there is none or of a type we do not know (which then cannot be verified). Throws `invalid` on a known
 * type with a value that is none. */
export function parseChecksum(header: string | undefined): Checksum | null {
  const match = /^\s*([A-Za-z0-9-]+)\s*:\s*([0-9A-Fa-f]+)\s*$/.exec(header ?? '');
  const type = (match?.[1] ?? '').toUpperCase().replace('-', '');
  if (match === null || !isKnown(type)) return null;
  const hex = (match[2] ?? '').toLowerCase();
  const padded = type === 'ADLER32' ? hex.padStart(8, '0') : hex;
  if (padded.length !== LENGTHS[type]) {
    throw new CloudError('invalid', `OC-Checksum: ${type} needs ${LENGTHS[type]} hex digits, found ${hex.length}`);
  }
  return { type, hex: padded };
}

function isKnown(type: string): type is Checksum['type'] {
  return Object.hasOwn(LENGTHS, type);
}

export interface Digest {
  update(bytes: Buffer): void;
  hex(): string;
}

export function newDigest(type: Checksum['type']): Digest {
  if (type === 'ADLER32') return new Adler32();
  const hash = createHash(type.toLowerCase());
  return {
    update: (bytes) => {
      hash.update(bytes);
    },
    hex: () => hash.digest('hex'),
  };
}

/** RFC 1950 section 8.2. */
class Adler32 implements Digest {
  #a = 1;
  #b = 0;

  update(bytes: Buffer): void {
    let a = this.#a;
    let b = this.#b;
    for (let from = 0; from < bytes.length; from += 3800) {
      // 3800 bytes keep both sums below 2^32.
      const to = Math.min(bytes.length, from + 3800);
      for (let i = from; i < to; i++) {
        a += bytes[i] ?? 0;
        b += a;
      }
      a %= 65_521;
      b %= 65_521;
    }
    this.#a = a;
    this.#b = b;
  }

  hex(): string {
    return ((this.#b * 65_536 + this.#a) >>> 0).toString(16).padStart(8, '0');
  }
}
