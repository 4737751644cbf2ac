// Values of our own and ownCloud's properties, as text: times to the nanosecond, xattr names as XML names, permission
// letters, modes. Used by both ends, so that they cannot disagree.

import type { Timestamp } from '../../clock.js';
import { CloudError } from '../../errors.js';
import { decodeName, encodeName } from '../../names.js';

function bad(what: string, wanted: string, found: string): CloudError {
  return new CloudError(
    'invalid',
    `reading ${what}: ${wanted} is required, found ${JSON.stringify(found.slice(0, 100))}`,
  );
}

/** `SECONDS.NNNNNNNNN`, exact; seconds may be negative, the fraction counts upwards from them. */
export function formatTimestamp(time: Timestamp): string {
  return `${time.s}.${String(time.ns).padStart(9, '0')}`;
}

/** Seconds with up to 9 digits of fraction. Throws `invalid`. */
export function parseTimestamp(text: string): Timestamp {
  const match = /^(-?\d{1,15})(?:\.(\d{1,9})\d*)?$/.exec(text.trim());
  if (match === null) throw bad('a time', 'SECONDS or SECONDS.FRACTION', text);
  return { s: Number(match[1]) + 0, ns: Number((match[2] ?? '0').padEnd(9, '0')) };
}

/** Permission bits in octal, `0644`. */
export function formatMode(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

/** Throws `invalid`. */
export function parseMode(text: string): number {
  const value = text.trim();
  if (!/^[0-7]{1,5}$/.test(value)) throw bad('a mode', 'octal digits up to 7777', text);
  const mode = Number.parseInt(value, 8);
  if (mode > 0o7777) throw bad('a mode', 'octal digits up to 7777', text);
  return mode;
}

/** uid or gid. Throws `invalid`. */
export function parseOwnerId(text: string): number {
  const value = text.trim();
  const id = Number(value);
  if (!/^\d{1,10}$/.test(value) || id > 0xffff_fffe) throw bad('a user or group id', 'a number below 2^32 - 1', text);
  return id;
}

/** xattr name -> NCName: bytes other than letters, digits, `.`, `-` as `_xHH_`; the first one unless it is a letter. */
export function xattrToLocalName(name: string): string {
  let out = '';
  for (const byte of encodeName(name)) {
    const letter = (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);
    const inner = (byte >= 0x30 && byte <= 0x39) || byte === 0x2d || byte === 0x2e;
    out +=
      letter || (inner && out !== '')
        ? String.fromCharCode(byte)
        : `_x${byte.toString(16).toUpperCase().padStart(2, '0')}_`;
  }
  return out;
}

/** Throws `invalid` on what `xattrToLocalName` cannot have written. */
export function localNameToXattr(local: string): string {
  const bytes: number[] = [];
  const part = /_x([0-9A-Fa-f]{2})_|([A-Za-z0-9.-])/y;
  while (part.lastIndex < local.length) {
    const match = part.exec(local);
    if (match === null) throw bad('an extended attribute name', 'letters, digits, ".", "-" and _xHH_', local);
    bytes.push(match[1] === undefined ? (match[2] ?? '').charCodeAt(0) : Number.parseInt(match[1], 16));
  }
  return decodeName(Uint8Array.from(bytes));
}

/** Value of `cm:xattrs`: a JSON object, name -> base64. Throws `invalid`. */
export function parseXattrs(json: string): Map<string, Buffer> {
  const out = new Map<string, Buffer>();
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw bad('cm:xattrs', 'a JSON object', json);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw bad('cm:xattrs', 'a JSON object', json);
  for (const [name, content] of Object.entries(value)) {
    if (typeof content !== 'string') throw bad('cm:xattrs', 'base64 text for each name', json);
    out.set(name, Buffer.from(content, 'base64'));
  }
  return out;
}

export function formatXattrs(xattrs: ReadonlyMap<string, Uint8Array>): string {
  const out: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, content] of xattrs) out[name] = Buffer.from(content).toString('base64');
  return JSON.stringify(out);
}

/** What `oc:permissions` can say. */
export interface PermissionLetters {
  readonly read: boolean;
  readonly write: boolean;
  readonly createFile: boolean;
  readonly createDir: boolean;
  readonly remove: boolean;
  readonly rename: boolean;
  readonly move: boolean;
  readonly share: boolean;
}

/** S shared with me, R may share, M mounted, G read, D delete, N rename, V move, W write, C create file, K create folder. */
export function formatPermissions(
  rights: PermissionLetters,
  flags: { sharedIn?: boolean; mounted?: boolean } = {},
): string {
  return (
    (flags.sharedIn === true ? 'S' : '') +
    (rights.share ? 'R' : '') +
    (flags.mounted === true ? 'M' : '') +
    (rights.read ? 'G' : '') +
    (rights.remove ? 'D' : '') +
    (rights.rename ? 'N' : '') +
    (rights.move ? 'V' : '') +
    (rights.write ? 'W' : '') +
    (rights.createFile ? 'C' : '') +
    (rights.createDir ? 'K' : '')
  );
}

/** `readLetter`: the server writes G (Nextcloud and ours do, ownCloud 10 does not: there everything shown is readable). */
export function parsePermissions(
  letters: string,
  readLetter: boolean,
): PermissionLetters & { readonly sharedIn: boolean } {
  const has = (letter: string) => letters.includes(letter);
  return {
    read: !readLetter || has('G'),
    write: has('W'),
    createFile: has('C'),
    createDir: has('K'),
    remove: has('D'),
    rename: has('N'),
    move: has('V'),
    share: has('R'),
    sharedIn: has('S'),
  };
}
