import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../../../src/clock.js';
import type { Name } from '../../../../src/ids.js';
import { collectGarbage } from '../../../../src/server/storage/blobs/collector.js';
import { LocalBlobStore } from '../../../../src/server/storage/blobs/local_blob_store.js';
import type { NodeRecord } from '../../../../src/server/storage/metadata/metadata_store.js';
import { SqliteDatabase } from '../../../../src/server/storage/metadata/sqlite/database.js';
import { METADATA_SCHEMA } from '../../../../src/server/storage/metadata/sqlite/schema.js';
import { SqliteMetadataStore } from '../../../../src/server/storage/metadata/sqlite/sqlite_metadata_store.js';

const HOUR_MS = 3_600_000;

let dir: string;
let database: SqliteDatabase;
let metadata: SqliteMetadataStore;
let blobs: LocalBlobStore;
let root: NodeRecord;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloudmount-gc-'));
  database = SqliteDatabase.open(join(dir, 'db.sqlite'), [METADATA_SCHEMA]);
  metadata = new SqliteMetadataStore(database, { clock: systemClock });
  blobs = await LocalBlobStore.open(join(dir, 'blobs'));
  root = await metadata.write((tx) => tx.ensureRoot('anna'));
});
afterEach(async () => {
  await metadata.close();
  await database.close();
  await rm(dir, { recursive: true, force: true });
});

async function* bytes(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text);
}

/** Stores content long ago; with a node when `name` is given. */
async function store(text: string, name: string | null): Promise<string> {
  const { sha256, size_bytes, release } = await blobs.put(bytes(text));
  if (name !== null) {
    await metadata.write((tx) =>
      tx.create(root, name as Name, { kind: 'file', content: { kind: 'blob', sha256, size_bytes } }),
    );
  }
  release();
  await blobs.setModified(sha256, Date.now() - 2 * HOUR_MS);
  return sha256;
}

const remove = (name: string) =>
  metadata.write(async (tx) => {
    const { node } = await tx.resolve(root.id, [name as Name]);
    if (node !== null) await tx.remove(node);
  });

test('orphans go after the grace time, what is used stays', async () => {
  const used = await store('used', 'f');
  const orphan = await store('orphan', null);
  const young = await blobs.put(bytes('young'));
  young.release();
  const options = { now_ms: Date.now(), orphans: true };
  expect(await collectGarbage(metadata, blobs, { ...options, dryRun: true })).toEqual({
    unused: 0,
    orphans: 1,
    freed_bytes: 6,
  });
  expect(await blobs.has(orphan)).toBe(true);
  expect(await collectGarbage(metadata, blobs, options)).toEqual({ unused: 0, orphans: 1, freed_bytes: 6 });
  expect(await blobs.has(orphan)).toBe(false);
  expect(await blobs.has(used)).toBe(true);
  expect(await blobs.has(young.sha256)).toBe(true);
});

test('content whose last file went is kept for the grace time, then taken', async () => {
  const hash = await store('going', 'f');
  await remove('f');
  const soon = { now_ms: Date.now(), orphans: true };
  expect(await collectGarbage(metadata, blobs, soon)).toMatchObject({ unused: 0, orphans: 0 });
  const later = { now_ms: Date.now() + 2 * HOUR_MS, orphans: false };
  expect(await collectGarbage(metadata, blobs, { ...later, dryRun: true })).toMatchObject({
    unused: 1,
    freed_bytes: 5,
  });
  expect(await blobs.has(hash)).toBe(true);
  expect(await collectGarbage(metadata, blobs, later)).toMatchObject({ unused: 1, freed_bytes: 5 });
  expect(await blobs.has(hash)).toBe(false);
});

test('an upload of the same bytes that is about to commit is not robbed of them', async () => {
  const hash = await store('twice', 'f');
  await remove('f');
  const pin = await blobs.put(bytes('twice'));
  await collectGarbage(metadata, blobs, { now_ms: Date.now() + 2 * HOUR_MS, orphans: true });
  await metadata.write((tx) =>
    tx.create(root, 'g' as Name, { kind: 'file', content: { kind: 'blob', sha256: hash, size_bytes: 5 } }),
  );
  pin.release();
  expect(await blobs.has(hash)).toBe(true);
  expect(await metadata.knownContents([hash])).toEqual(new Set([hash]));
  expect(await collectGarbage(metadata, blobs, { now_ms: Date.now(), orphans: true })).toMatchObject({ orphans: 0 });
});
