// Which bytes of a file are here, and which of those exist only here. Two layers of sorted, disjoint, half-open byte
// ranges: `present` (the content file holds the bytes) and `dirty` (the server does not have them yet; always a part of
// `present`). In memory a flat array [start, end, start, end, …] per layer with binary search; on disk a few varints.

import { CloudError } from '../../errors.js';

/** Bytes [start, end). */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export function lengthOf(ranges: readonly ByteRange[]): number {
  let total = 0;
  for (const { start, end } of ranges) total += end - start;
  return total;
}

/** Index of the first range in `list` that ends after `offset` (touching ranges count when `touching`). */
function firstEndingAfter(list: readonly number[], offset: number, touching: boolean): number {
  let low = 0;
  let high = list.length >> 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    const end = list[2 * middle + 1] ?? 0;
    if (touching ? end < offset : end <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

function add(list: number[], start: number, end: number): void {
  const first = firstEndingAfter(list, start, true);
  if (2 * first === list.length) {
    list.push(start, end);
    return;
  }
  let last = first; // one past the last range that overlaps or touches
  const length = list.length >> 1;
  while (last < length && (list[2 * last] ?? 0) <= end) last += 1;
  if (last === first) {
    list.splice(2 * first, 0, start, end);
    return;
  }
  const newStart = Math.min(start, list[2 * first] ?? start);
  const newEnd = Math.max(end, list[2 * last - 1] ?? end);
  if (last - first > 1) list.splice(2 * first + 2, 2 * (last - first - 1));
  list[2 * first] = newStart;
  list[2 * first + 1] = newEnd;
}

function subtract(list: number[], start: number, end: number): void {
  const first = firstEndingAfter(list, start, false);
  let last = first;
  const length = list.length >> 1;
  while (last < length && (list[2 * last] ?? 0) < end) last += 1;
  if (last === first) return;
  const rest: number[] = [];
  const firstStart = list[2 * first] ?? 0;
  const lastEnd = list[2 * last - 1] ?? 0;
  if (firstStart < start) rest.push(firstStart, start);
  if (lastEnd > end) rest.push(end, lastEnd);
  list.splice(2 * first, 2 * (last - first), ...rest);
}

function contains(list: readonly number[], start: number, end: number): boolean {
  if (start >= end) return true;
  const at = 2 * firstEndingAfter(list, start, false);
  return at < list.length && (list[at] ?? 0) <= start && (list[at + 1] ?? 0) >= end;
}

function within(list: readonly number[], start: number, end: number): ByteRange[] {
  const found: ByteRange[] = [];
  for (let at = 2 * firstEndingAfter(list, start, false); at < list.length; at += 2) {
    const from = Math.max(list[at] ?? 0, start);
    if (from >= end) break;
    found.push({ start: from, end: Math.min(list[at + 1] ?? 0, end) });
  }
  return found;
}

function outside(list: readonly number[], start: number, end: number): ByteRange[] {
  if (contains(list, start, end)) return EMPTY;
  const gaps: ByteRange[] = [];
  let from = start;
  for (let at = 2 * firstEndingAfter(list, start, false); at < list.length && from < end; at += 2) {
    const rangeStart = list[at] ?? 0;
    if (rangeStart > from) gaps.push({ start: from, end: Math.min(rangeStart, end) });
    from = Math.max(from, list[at + 1] ?? 0);
  }
  if (from < end) gaps.push({ start: from, end });
  return gaps;
}

function bytesOf(list: readonly number[]): number {
  let total = 0;
  for (let at = 0; at < list.length; at += 2) total += (list[at + 1] ?? 0) - (list[at] ?? 0);
  return total;
}

function assertRange(start: number, end: number): void {
  if (!(Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && end >= start)) {
    throw new RangeError(`a byte range needs integers 0 <= start <= end, found [${start}, ${end})`);
  }
}

const FORMAT = 1;
/** LEB128 of a number below 2^53. */
const VARINT_MAX_BYTES = 8;
const EMPTY: ByteRange[] = [];

export class ExtentSet {
  #present: number[] = [];
  #dirty: number[] = [];
  #presentBytes = 0;
  #dirtyBytes = 0;
  #removals = 0;

  /** Bytes in the `present` layer (dirty ones included). */
  get presentBytes(): number {
    return this.#presentBytes;
  }

  get dirtyBytes(): number {
    return this.#dirtyBytes;
  }

  get isEmpty(): boolean {
    return this.#present.length === 0;
  }

  get isDirty(): boolean {
    return this.#dirty.length > 0;
  }

  /** End of the last present range, 0 when empty: a content file shorter than this has lost data. */
  get end(): number {
    return this.#present.at(-1) ?? 0;
  }

  /** Number of separate present ranges. */
  get fragments(): number {
    return this.#present.length >> 1;
  }

  /** Moves whenever bytes left the set; a reader that waited compares it to know whether what it read was still here. */
  get removals(): number {
    return this.#removals;
  }

  /** [start, end) is here and the server has it. What is dirty stays dirty. */
  insert(start: number, end: number): void {
    assertRange(start, end);
    if (start === end || contains(this.#present, start, end)) return;
    this.#presentBytes += end - start - this.#count(this.#present, start, end);
    add(this.#present, start, end);
  }

  /** [start, end) was written (or zeroed) here and the server does not have it. */
  insertDirty(start: number, end: number): void {
    this.insert(start, end);
    if (start === end || contains(this.#dirty, start, end)) return;
    this.#dirtyBytes += end - start - this.#count(this.#dirty, start, end);
    add(this.#dirty, start, end);
  }

  /** [start, end) is not here any more, in either layer. */
  remove(start: number, end: number): void {
    assertRange(start, end);
    const present = this.#count(this.#present, start, end);
    if (present === 0) return;
    this.#removals += 1;
    this.#presentBytes -= present;
    subtract(this.#present, start, end);
    const dirty = this.#count(this.#dirty, start, end);
    if (dirty === 0) return;
    this.#dirtyBytes -= dirty;
    subtract(this.#dirty, start, end);
  }

  /** Drops everything at and after `size` (truncate). */
  clip(size: number): void {
    if (this.end > size) this.remove(size, this.end);
  }

  clear(): void {
    this.clip(0);
  }

  covers(start: number, end: number): boolean {
    return contains(this.#present, start, end);
  }

  /** Is every byte of a file of `size` bytes here? */
  isComplete(size: number): boolean {
    return contains(this.#present, 0, size);
  }

  /** The parts of [start, end) that are not here, ascending. */
  missing(start: number, end: number): ByteRange[] {
    assertRange(start, end);
    return outside(this.#present, start, end);
  }

  /** The parts of [start, end) that are not dirty, ascending: the server's, whether they are here or not. */
  notDirty(start: number, end: number): ByteRange[] {
    assertRange(start, end);
    return outside(this.#dirty, start, end);
  }

  /** The first gap in [start, end), without building the others; null when all is here. */
  firstMissing(start: number, end: number): ByteRange | null {
    if (start >= end) return null;
    const list = this.#present;
    let from = start;
    let at = 2 * firstEndingAfter(list, start, false);
    if (at < list.length && (list[at] ?? 0) <= from) {
      from = list[at + 1] ?? 0;
      at += 2;
    }
    if (from >= end) return null;
    return { start: from, end: Math.min(end, at < list.length ? (list[at] ?? end) : end) };
  }

  /** The parts of [start, end) that are here. */
  presentWithin(start: number, end: number): ByteRange[] {
    return within(this.#present, start, end);
  }

  /** The parts of [start, end) that are dirty. */
  dirtyWithin(start: number, end: number): ByteRange[] {
    return within(this.#dirty, start, end);
  }

  presentRanges(): ByteRange[] {
    return within(this.#present, 0, Number.MAX_SAFE_INTEGER);
  }

  dirtyRanges(): ByteRange[] {
    return within(this.#dirty, 0, Number.MAX_SAFE_INTEGER);
  }

  /** The server has everything now. */
  markClean(): void {
    this.#dirty = [];
    this.#dirtyBytes = 0;
  }

  clone(): ExtentSet {
    const copy = new ExtentSet();
    copy.#present = this.#present.slice();
    copy.#dirty = this.#dirty.slice();
    copy.#presentBytes = this.#presentBytes;
    copy.#dirtyBytes = this.#dirtyBytes;
    return copy;
  }

  /** Compact form for one database column: format byte, then per layer a count and (gap, length) pairs as LEB128. */
  serialise(): Buffer {
    const longest = 1 + VARINT_MAX_BYTES * (2 + this.#present.length + this.#dirty.length);
    const cursor = { bytes: Buffer.allocUnsafe(longest), at: 1 };
    cursor.bytes[0] = FORMAT;
    writeLayer(cursor, this.#present);
    writeLayer(cursor, this.#dirty);
    return Buffer.from(cursor.bytes.subarray(0, cursor.at));
  }

  /** The inverse of `serialise`. Null = nothing is here. Throws `corrupt` on anything `serialise` does not write. */
  static parse(blob: Uint8Array | null): ExtentSet {
    const set = new ExtentSet();
    if (blob === null) return set;
    const cursor = { bytes: blob, at: 1 };
    if (blob[0] !== FORMAT) throw damaged(`format ${FORMAT}`, `${blob[0] ?? 'no bytes'}`);
    set.#present = readLayer(cursor);
    set.#dirty = readLayer(cursor);
    if (cursor.at !== blob.length) throw damaged('nothing after the two layers', `${blob.length - cursor.at} bytes`);
    for (let at = 0; at < set.#dirty.length; at += 2) {
      const start = set.#dirty[at] ?? 0;
      const end = set.#dirty[at + 1] ?? 0;
      if (!contains(set.#present, start, end)) throw damaged('dirty bytes to be present', `[${start}, ${end}) absent`);
    }
    set.#presentBytes = bytesOf(set.#present);
    set.#dirtyBytes = bytesOf(set.#dirty);
    return set;
  }

  #count(list: readonly number[], start: number, end: number): number {
    let total = 0;
    for (let at = 2 * firstEndingAfter(list, start, false); at < list.length; at += 2) {
      const from = Math.max(list[at] ?? 0, start);
      if (from >= end) break;
      total += Math.min(list[at + 1] ?? 0, end) - from;
    }
    return total;
  }
}

interface Cursor {
  readonly bytes: Uint8Array;
  at: number;
}

function damaged(required: string, found: string): CloudError {
  return new CloudError('corrupt', `reading the extents of a file: required ${required}, found ${found}`);
}

function writeVarint(cursor: Cursor, value: number): void {
  let rest = value;
  while (rest >= 0x80) {
    cursor.bytes[cursor.at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  cursor.bytes[cursor.at++] = rest;
}

function readVarint(cursor: Cursor): number {
  let value = 0;
  let scale = 1;
  for (;;) {
    const byte = cursor.bytes[cursor.at];
    if (byte === undefined) throw damaged('a whole number', 'the end of the data');
    cursor.at += 1;
    value += (byte & 0x7f) * scale;
    if (!Number.isSafeInteger(value)) throw damaged('a number below 2^53', 'a larger one');
    if (byte < 0x80) return value;
    scale *= 0x80;
    if (scale > 2 ** 49) throw damaged('a number below 2^53', 'a longer one');
  }
}

function writeLayer(cursor: Cursor, list: readonly number[]): void {
  writeVarint(cursor, list.length >> 1);
  let previous = 0;
  for (let at = 0; at < list.length; at += 2) {
    const start = list[at] ?? 0;
    const end = list[at + 1] ?? 0;
    writeVarint(cursor, start - previous);
    writeVarint(cursor, end - start);
    previous = end;
  }
}

function readLayer(cursor: Cursor): number[] {
  const count = readVarint(cursor);
  // Two bytes at least per range: a lying count must not make us allocate.
  if (count > (cursor.bytes.length - cursor.at) / 2) throw damaged(`${count} ranges`, 'fewer bytes than that needs');
  const list: number[] = [];
  let previous = 0;
  for (let i = 0; i < count; i++) {
    const gap = readVarint(cursor);
    const length = readVarint(cursor);
    if (i > 0 && gap === 0) throw damaged('ranges that do not touch', `two that meet at ${previous}`);
    if (length === 0) throw damaged('ranges that are not empty', `an empty one at ${previous + gap}`);
    const start = previous + gap;
    const end = start + length;
    if (!Number.isSafeInteger(end)) throw damaged('offsets below 2^53', `${end}`);
    list.push(start, end);
    previous = end;
  }
  return list;
}
