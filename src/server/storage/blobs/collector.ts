// Takes away contents nobody refers to. Two kinds: contents whose last reference went (the metadata knows since when), and
// files that never got one (a crash between writing the bytes and committing the metadata: only a walk finds those).
// Both wait for the grace time, which must be longer than any upload's way from the last byte to its transaction.

import type { MetadataStore } from '../metadata/metadata_store.js';
import type { BlobStore } from './blob_store.js';

export interface CollectOptions {
  readonly now_ms: number;
  /** Default one hour. */
  readonly grace_ms?: number;
  /** Look for orphans too: walks the whole store. */
  readonly orphans: boolean;
  /** Only say what would go. */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
}

export interface CollectResult {
  readonly unused: number;
  readonly orphans: number;
  readonly freed_bytes: number;
}

const BATCH = 500;
const GRACE_MS = 3_600_000;

export async function collectGarbage(
  metadata: MetadataStore,
  blobs: BlobStore,
  options: CollectOptions,
): Promise<CollectResult> {
  const before_ms = options.now_ms - (options.grace_ms ?? GRACE_MS);
  const unused = await collectUnused(metadata, blobs, before_ms, options);
  const orphans = options.orphans ? await collectOrphans(metadata, blobs, before_ms, options) : { count: 0, bytes: 0 };
  return { unused: unused.count, orphans: orphans.count, freed_bytes: unused.bytes + orphans.bytes };
}

interface Tally {
  count: number;
  bytes: number;
}

async function collectUnused(
  metadata: MetadataStore,
  blobs: BlobStore,
  before_ms: number,
  options: CollectOptions,
): Promise<Tally> {
  const tally: Tally = { count: 0, bytes: 0 };
  if (options.dryRun === true) {
    for (const { size_bytes } of await metadata.unusedContents(before_ms, Number.MAX_SAFE_INTEGER)) {
      tally.count += 1;
      tally.bytes += size_bytes;
    }
    return tally;
  }
  for (;;) {
    options.signal?.throwIfAborted();
    const batch = await metadata.unusedContents(before_ms, BATCH);
    if (batch.length === 0) return tally;
    const sizes = new Map(batch.map(({ sha256, size_bytes }) => [sha256, size_bytes]));
    const forgotten = await metadata.forgetContents([...sizes.keys()]);
    for (const sha256 of forgotten) {
      // A pinned or fresh one is an upload of the same bytes about to commit: its transaction makes the row anew.
      if (!(await blobs.delete(sha256, before_ms))) continue;
      tally.count += 1;
      tally.bytes += sizes.get(sha256) ?? 0;
    }
    if (forgotten.length === 0) return tally;
  }
}

async function collectOrphans(
  metadata: MetadataStore,
  blobs: BlobStore,
  before_ms: number,
  options: CollectOptions,
): Promise<Tally> {
  const tally: Tally = { count: 0, bytes: 0 };
  let batch: { sha256: string; size_bytes: number }[] = [];
  const judge = async () => {
    const known = await metadata.knownContents(batch.map(({ sha256 }) => sha256));
    for (const { sha256, size_bytes } of batch) {
      if (known.has(sha256)) continue;
      if (options.dryRun !== true && !(await blobs.delete(sha256, before_ms))) continue;
      tally.count += 1;
      tally.bytes += size_bytes;
    }
    batch = [];
  };
  for await (const info of blobs.list()) {
    options.signal?.throwIfAborted();
    if (info.modified_ms >= before_ms) continue;
    batch.push(info);
    if (batch.length >= BATCH) await judge();
  }
  if (batch.length > 0) await judge();
  return tally;
}
