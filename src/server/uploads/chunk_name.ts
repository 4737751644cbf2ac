// Names of chunks. Nextcloud's clients count (`0000000000000000`, `…01`), rclone writes byte ranges (`000…0-000…9`),
// ownCloud's write offsets. All order by their first number; text order would put 10 before 9.

import { CloudError } from '../../errors.js';

export interface ChunkName {
  readonly name: string;
  /** Index or offset. */
  readonly start: number;
  /** Last byte, where the name is a range. */
  readonly last: number | null;
}

const SHAPE = /^(\d{1,20})(?:-(\d{1,20}))?$/;

/** Throws `invalid`. */
export function parseChunkName(name: string): ChunkName {
  const match = SHAPE.exec(name);
  const start = Number(match?.[1] ?? Number.NaN);
  const last = match?.[2] === undefined ? null : Number(match[2]);
  if (
    match === null ||
    !Number.isSafeInteger(start) ||
    (last !== null && (!Number.isSafeInteger(last) || last < start))
  ) {
    throw new CloudError(
      'invalid',
      `chunk ${JSON.stringify(name.slice(0, 60))}: a chunk is named by its number, its offset or its range, digits only`,
    );
  }
  return { name, start, last };
}

export function compareChunks(a: ChunkName, b: ChunkName): number {
  return a.start - b.start || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
}

/** How many of the sorted chunks certainly follow each other from the first one on, so that they can be put together
 * before the upload is complete. */
export function contiguousCount(chunks: readonly (ChunkName & { readonly size_bytes: number })[]): number {
  const [first] = chunks;
  if (first === undefined || first.start > 1) return 0;
  let count = 1;
  let end_bytes = first.size_bytes;
  let previous = first.start;
  for (const chunk of chunks.slice(1)) {
    const follows =
      chunk.last === null ? chunk.start === previous + 1 || chunk.start === end_bytes : chunk.start === end_bytes;
    if (!follows) break;
    count += 1;
    end_bytes += chunk.size_bytes;
    previous = chunk.start;
  }
  return count;
}

/** Of sorted chunks: names that are ranges say where each belongs, so what is missing, or there twice, is known although
 * the client does not say how much all of it is. Throws `invalid`. */
export function demandGapless(chunks: readonly (ChunkName & { readonly size_bytes: number })[]): void {
  let end_bytes = 0;
  for (const { name, start, last, size_bytes } of chunks) {
    if (last !== null && start !== end_bytes) {
      throw new CloudError(
        'invalid',
        `chunked upload: chunk ${name} belongs at byte ${start}, the chunks before it end at ${end_bytes}`,
      );
    }
    end_bytes += size_bytes;
  }
}
