// Byte ranges (RFC 9110 sections 14.1 to 14.4). Ranges are half-open here, [start, end); on the wire the end is inclusive.

import { CloudError } from '../../errors.js';

export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export type RangeRequest =
  /** No Range header, another unit, or a syntax that must be ignored: send the whole. */
  | { readonly kind: 'whole' }
  | { readonly kind: 'ranges'; readonly ranges: readonly ByteRange[] }
  /** 416. */
  | { readonly kind: 'unsatisfiable' };

const SPEC = /^(?:(\d+)-(\d*)|-(\d+))$/;

/** Range header against a representation of `size_bytes`. More than `maxRanges` ranges are answered with the whole, and so are
 * ranges that overlap so much that together they are longer than it (RFC 9110 section 14.2). */
export function parseRange(header: string | undefined, size_bytes: number, maxRanges = 16): RangeRequest {
  const set = header === undefined ? null : /^\s*bytes\s*=(.*)$/i.exec(header)?.[1];
  if (set === null || set === undefined) return { kind: 'whole' };
  const ranges: ByteRange[] = [];
  let specs = 0;
  for (const raw of set.split(',')) {
    const text = raw.trim();
    if (text === '') continue;
    const match = SPEC.exec(text);
    if (match === null) return { kind: 'whole' };
    if (++specs > maxRanges) return { kind: 'whole' };
    if (match[3] !== undefined) {
      // The end of nothing can be had (RFC 9110 section 14.1.2), and no Content-Range can say where it is.
      if (size_bytes === 0 && Number(match[3]) > 0) return { kind: 'whole' };
      const length = Math.min(Number(match[3]), size_bytes);
      if (length > 0) ranges.push({ start: size_bytes - length, end: size_bytes });
      continue;
    }
    const start = Number(match[1]);
    const last = match[2] === '' ? Number.POSITIVE_INFINITY : Number(match[2]);
    if (last < start) return { kind: 'whole' };
    if (start < size_bytes) ranges.push({ start, end: Math.min(last + 1, size_bytes) });
  }
  if (specs === 0) return { kind: 'whole' };
  if (ranges.reduce((sum, { start, end }) => sum + end - start, 0) > size_bytes) return { kind: 'whole' };
  return ranges.length === 0 ? { kind: 'unsatisfiable' } : { kind: 'ranges', ranges };
}

/** Value of a Range header for one range. */
export function formatRange(range: ByteRange): string {
  if (!(range.start >= 0 && range.end > range.start)) {
    throw new CloudError(
      'invalid',
      `asking for bytes [${range.start}, ${range.end}): a range of at least one byte is required`,
    );
  }
  return `bytes=${range.start}-${range.end - 1}`;
}

/** Content-Range: the range sent (null in a 416) and the size of the whole (null = `*`). */
export interface ContentRange {
  readonly range: ByteRange | null;
  readonly total_bytes: number | null;
}

/** Null when it is not a valid `bytes` Content-Range. */
export function parseContentRange(header: string): ContentRange | null {
  const match = /^\s*bytes\s+(?:(\d+)-(\d+)|\*)\/(\d+|\*)\s*$/i.exec(header);
  if (match === null) return null;
  const total_bytes = match[3] === '*' ? null : Number(match[3]);
  if (match[1] === undefined) return total_bytes === null ? null : { range: null, total_bytes };
  const range = { start: Number(match[1]), end: Number(match[2]) + 1 };
  if (range.end <= range.start || (total_bytes !== null && range.end > total_bytes)) return null;
  return { range, total_bytes };
}

export function formatContentRange(range: ByteRange, total_bytes: number): string {
  return `bytes ${range.start}-${range.end - 1}/${total_bytes}`;
}

/** For a 416. */
export function formatUnsatisfied(total_bytes: number): string {
  return `bytes */${total_bytes}`;
}
