// Names are bytes to the kernel and to the server (percent-encoded), strings in between. Valid UTF-8 is the string it
// looks like; a byte that is no part of valid UTF-8 becomes the lone surrogate U+DC80..U+DCFF (PEP 383), so that every
// name round-trips exactly.

import { CloudError } from './errors.js';
import type { Name, RemotePath } from './ids.js';

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Longest name in bytes (NAME_MAX of Linux). */
export const NAME_MAX_BYTES = 255;

/** Bytes of a name -> the string the program carries. Never fails. */
export function decodeName(bytes: Uint8Array): Name {
  try {
    return strict.decode(bytes) as Name;
  } catch {
    return decodeBroken(bytes) as Name;
  }
}

function decodeBroken(bytes: Uint8Array): string {
  let out = '';
  let i = 0;
  while (i < bytes.length) {
    const length = sequenceLength(bytes, i);
    if (length === 0) {
      out += String.fromCharCode(0xdc00 + (bytes[i] ?? 0));
      i += 1;
    } else {
      out += strict.decode(bytes.subarray(i, i + length));
      i += length;
    }
  }
  return out;
}

/** Length of the valid UTF-8 sequence at `i`, 0 if there is none. */
function sequenceLength(bytes: Uint8Array, i: number): number {
  const first = bytes[i] ?? 0;
  if (first < 0x80) return 1;
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (length === 0 || i + length > bytes.length) return 0;
  try {
    strict.decode(bytes.subarray(i, i + length));
    return length;
  } catch {
    return 0;
  }
}

/** The string -> the exact bytes it was made from. */
export function encodeName(name: string): Buffer {
  if (name.isWellFormed()) return Buffer.from(name, 'utf8');
  const parts: Buffer[] = [];
  let from = 0;
  for (let i = 0; i < name.length; i++) {
    const unit = name.charCodeAt(i);
    if (unit >= 0xd800 && unit <= 0xdbff && i + 1 < name.length) {
      const next = name.charCodeAt(i + 1);
      if (next >= 0xdc00 && next <= 0xdfff) {
        i += 1;
        continue;
      }
    }
    if (unit >= 0xdc80 && unit <= 0xdcff) {
      parts.push(Buffer.from(name.slice(from, i), 'utf8'), Buffer.from([unit - 0xdc00]));
      from = i + 1;
    }
  }
  parts.push(Buffer.from(name.slice(from), 'utf8'));
  return Buffer.concat(parts);
}

/** How a name is stored in SQLite: TEXT when it is valid UTF-8, BLOB otherwise (the two never compare equal). */
export function nameToSql(name: Name): string | Buffer {
  return name.isWellFormed() ? name : encodeName(name);
}

export function nameFromSql(value: string | Buffer): Name {
  return typeof value === 'string' ? (value as Name) : decodeName(value);
}

const UNRESERVED = /^[A-Za-z0-9\-._~]*$/;
const HEX = Array.from({ length: 256 }, (_, i) => `%${i.toString(16).toUpperCase().padStart(2, '0')}`);

/** What a name or path is to a server that minds neither case nor how accents are composed. */
export function folded(name: string): string {
  return name.normalize('NFC').toLowerCase();
}

/** Percent-encodes one path segment (RFC 3986 section 2.3: all but unreserved). */
export function encodeSegment(name: string): string {
  if (UNRESERVED.test(name)) return name;
  let out = '';
  for (const byte of encodeName(name)) {
    const unreserved =
      (byte >= 0x30 && byte <= 0x39) ||
      (byte >= 0x41 && byte <= 0x5a) ||
      (byte >= 0x61 && byte <= 0x7a) ||
      byte === 0x2d ||
      byte === 0x2e ||
      byte === 0x5f ||
      byte === 0x7e;
    out += unreserved ? String.fromCharCode(byte) : HEX[byte];
  }
  return out;
}

/** Percent-decodes one path segment. Throws `invalid` on `%` without two hex digits. */
export function decodeSegment(segment: string): Name {
  if (!segment.includes('%') && segment.isWellFormed()) return segment as Name;
  const raw = Buffer.from(segment, 'utf8');
  const out = Buffer.allocUnsafe(raw.length);
  let n = 0;
  for (let i = 0; i < raw.length; i++) {
    const byte = raw[i] ?? 0;
    if (byte !== 0x25) {
      out[n++] = byte;
      continue;
    }
    const hex = raw.toString('latin1', i + 1, i + 3);
    if (!/^[0-9A-Fa-f]{2}$/.test(hex)) {
      throw new CloudError('invalid', `decoding a path segment: "%" needs two hex digits after it, found "%${hex}"`);
    }
    out[n++] = Number.parseInt(hex, 16);
    i += 2;
  }
  return decodeName(out.subarray(0, n));
}

/** One spelling of an address for all that mean the same to a server: `%7e` is `~`, `%40` is `@`. `%2F` is no slash. */
export function spelledAlike(address: string): string {
  return address.replaceAll(/%[0-9a-f]{2}/gi, (code) =>
    /^%(2f|25|[89a-f].)$/i.test(code) ? code.toUpperCase() : decodeURIComponent(code),
  );
}

/** A remote path -> the path part of a URL, without a leading `/`. */
export function encodePath(path: RemotePath): string {
  return path === '' ? '' : path.split('/').map(encodeSegment).join('/');
}

/** Byte length of a name as the kernel counts it. */
export function nameBytes(name: string): number {
  return name.isWellFormed() ? Buffer.byteLength(name, 'utf8') : encodeName(name).length;
}

/** The longest prefix of whole characters with at most `limit` bytes. */
export function cutName(text: string, limit: number): string {
  if (nameBytes(text) <= limit) return text;
  let out = '';
  let used = 0;
  for (const character of text) {
    const bytes = nameBytes(character);
    if (used + bytes > limit) break;
    out += character;
    used += bytes;
  }
  return out;
}

/** `Plan.ods`, ` (2)` -> `Plan (2).ods`, in at most 255 bytes. `isDir`: what follows a dot is no extension. */
export function labelled(name: Name, label: string, isDir = false): Name {
  const dot = name.lastIndexOf('.');
  const hasExtension = !isDir && dot > 0 && name.length - dot <= 16;
  const stem = hasExtension ? name.slice(0, dot) : name;
  const end = label + (hasExtension ? name.slice(dot) : '');
  return (cutName(stem, NAME_MAX_BYTES - nameBytes(end)) + end) as Name;
}
