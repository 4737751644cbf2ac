// Checks what lies on the disk against what was recorded when it was stored. Reads on the thread pool, block by block:
// never on the way of a kernel request that could be answered without it.

import { crc32 } from 'node:zlib';
import { isCloudError } from '../../errors.js';
import { type BlockSums, SUM_BLOCK_BYTES } from './block_sums.js';
import type { ContentFile } from './content_file.js';
import { type ByteRange, ExtentSet } from './extents.js';

export interface Verification {
  /** Bytes whose sum matched. */
  readonly proven: readonly ByteRange[];
  /** Clean bytes that are not what was stored (or are beyond the end of the file): fetch them again. */
  readonly damaged: readonly ByteRange[];
  /** The same for bytes that exist only here: report and preserve them, never serve or upload them silently. */
  readonly damagedDirty: readonly ByteRange[];
  /** Present bytes without a sum: nothing is known. */
  readonly unproven: readonly ByteRange[];
}

/** Compares all present bytes of `file` with `sums`. Works on copies: what changes meanwhile is not seen. Ends early
 * with the signal's reason. */
export async function verifyContent(
  file: ContentFile,
  extents: ExtentSet,
  sums: BlockSums,
  signal?: AbortSignal,
): Promise<Verification> {
  const present = extents.clone();
  const proven = new ExtentSet();
  const damaged = new ExtentSet();
  const size = file.stat().size_bytes;
  if (present.end > size)
    for (const lost of present.presentWithin(size, present.end)) damaged.insert(lost.start, lost.end);
  for (const block of sums.blocks()) {
    signal?.throwIfAborted();
    const sum = sums.get(block);
    const start = block * SUM_BLOCK_BYTES;
    if (sum === undefined) continue;
    const end = start + sum.length;
    if (!present.covers(start, end) || end > size) continue;
    const fine = await matches(file, start, sum.length, sum.crc);
    if (sums.get(block) !== sum) continue; // changed while it was read
    (fine ? proven : damaged).insert(start, end);
  }
  return {
    proven: proven.presentRanges(),
    damaged: damaged.presentRanges().flatMap((range) => without(range, present.dirtyWithin(range.start, range.end))),
    damagedDirty: damaged.presentRanges().flatMap((range) => present.dirtyWithin(range.start, range.end)),
    unproven: present
      .presentRanges()
      .flatMap((range) => proven.missing(range.start, range.end))
      .flatMap((range) => damaged.missing(range.start, range.end)),
  };
}

async function matches(file: ContentFile, start: number, length: number, crc: number): Promise<boolean> {
  try {
    return crc32(await file.readAsync(start, length)) === crc;
  } catch (error) {
    // A sector that cannot be read, or a file cut short meanwhile: damaged as well.
    if (isCloudError(error, 'io', 'corrupt')) return false;
    throw error;
  }
}

/** `range` without the (ascending, disjoint) `holes`. */
function without(range: ByteRange, holes: readonly ByteRange[]): ByteRange[] {
  const rest = new ExtentSet();
  rest.insert(range.start, range.end);
  for (const hole of holes) rest.remove(hole.start, hole.end);
  return rest.presentRanges();
}

/** Records the sums of the blocks that are wholly present and have none yet: blocks that came in pieces, and what was
 * written here. The last block may be short. `changed()` must say whether bytes changed since the call (a write
 * during the reading would be summed half old, half new): then nothing more is recorded. */
export async function fillSums(
  file: ContentFile,
  extents: ExtentSet,
  size_bytes: number,
  sums: BlockSums,
  changed: () => boolean,
  signal?: AbortSignal,
): Promise<void> {
  for (const { block, start, end } of withoutSum(extents, size_bytes, sums)) {
    signal?.throwIfAborted();
    const bytes = await file.readAsync(start, end - start);
    if (changed()) return;
    sums.record(block, bytes);
  }
}

/** Has every block that is wholly present its sum? */
export function isSummed(extents: ExtentSet, size_bytes: number, sums: BlockSums): boolean {
  return withoutSum(extents, size_bytes, sums).next().done === true;
}

function* withoutSum(
  extents: ExtentSet,
  size_bytes: number,
  sums: BlockSums,
): Generator<{ readonly block: number } & ByteRange, void> {
  for (const range of extents.presentRanges()) {
    const first = Math.ceil(range.start / SUM_BLOCK_BYTES);
    for (let block = first; block * SUM_BLOCK_BYTES < Math.min(range.end, size_bytes); block++) {
      const start = block * SUM_BLOCK_BYTES;
      const end = Math.min(start + SUM_BLOCK_BYTES, size_bytes);
      if (end <= range.end && sums.get(block)?.length !== end - start) yield { block, start, end };
    }
  }
}
