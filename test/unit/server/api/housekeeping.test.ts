import { mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Clock, systemClock } from '../../../../src/clock.js';
import type { Name } from '../../../../src/ids.js';
import { silentLog } from '../../../../src/log.js';
import { SERVER_SCHEMA } from '../../../../src/server/accounts/open_accounts.js';
import { takeBackupLease } from '../../../../src/server/backup/lease.js';
import { type DataDir, prepareDataDir } from '../../../../src/server/data_dir.js';
import { Housekeeping } from '../../../../src/server/housekeeping.js';
import { LocalBlobStore } from '../../../../src/server/storage/blobs/local_blob_store.js';
import { SqliteDatabase } from '../../../../src/server/storage/metadata/sqlite/database.js';
import { SqliteMetadataStore } from '../../../../src/server/storage/metadata/sqlite/sqlite_metadata_store.js';
import { ChunkedUploads } from '../../../../src/server/uploads/chunked_uploads.js';

const HOUR_MS = 3_600_000;

let root: string;
let dir: DataDir;
let database: SqliteDatabase;
let metadata: SqliteMetadataStore;
let blobs: LocalBlobStore;
let uploads: ChunkedUploads;
let housekeeping: Housekeeping;
let ahead_ms = 0;

const clock: Clock = {
  now_ms: () => systemClock.now_ms() + ahead_ms,
  timestamp: () => systemClock.timestamp(),
  monotonic_ms: () => systemClock.monotonic_ms(),
  sleep: (delay_ms, signal) => systemClock.sleep(delay_ms, signal),
};

beforeEach(async () => {
  ahead_ms = 0;
  root = await mkdtemp(join(tmpdir(), 'housekeeping-'));
  dir = await prepareDataDir(join(root, 'data'));
  database = SqliteDatabase.open(dir.database, SERVER_SCHEMA);
  metadata = new SqliteMetadataStore(database, { clock });
  blobs = await LocalBlobStore.open(dir.blobs);
  uploads = new ChunkedUploads(dir.uploads, blobs, silentLog);
  const uploadAge_ms = 48 * HOUR_MS;
  housekeeping = new Housekeeping({ dir, metadata, blobs, uploads, clock, log: silentLog, uploadAge_ms });
});

afterEach(async () => {
  await housekeeping.close();
  await uploads.close();
  await blobs.close();
  await metadata.close();
  await database.close();
  await rm(root, { recursive: true, force: true });
});

async function* once(data: Buffer) {
  yield data;
}

/** A stored content that one file refers to, until that is removed. */
async function fileWithBlob(name: string): Promise<{ readonly sha256: string; remove(): Promise<void> }> {
  const pin = await blobs.put(once(Buffer.from(name.repeat(1000))));
  await metadata.write(async (tx) => {
    const content = { kind: 'blob', sha256: pin.sha256, size_bytes: pin.size_bytes } as const;
    await tx.create(await tx.ensureRoot('anna'), name as Name, { kind: 'file', content });
  });
  pin.release();
  const remove = () =>
    metadata.write(async (tx) => {
      const { node } = await tx.resolve((await tx.ensureRoot('anna')).id, [name as Name]);
      if (node !== null) await tx.remove(node);
    });
  return { sha256: pin.sha256, remove };
}

test('contents nobody refers to go after a grace time, others stay', async () => {
  const [kept, gone] = [await fileWithBlob('kept'), await fileWithBlob('gone')];
  await gone.remove();
  expect((await housekeeping.round()).collected).toMatchObject({ unused: 0 });
  ahead_ms = 2 * HOUR_MS;
  expect((await housekeeping.round()).collected).toMatchObject({ unused: 1 });
  expect([await blobs.has(kept.sha256), await blobs.has(gone.sha256)]).toEqual([true, false]);
});

test('nothing is collected while a backup runs', async () => {
  const gone = await fileWithBlob('gone');
  await gone.remove();
  ahead_ms = 2 * HOUR_MS;
  const giveBack = await takeBackupLease(dir);
  const [lease = ''] = (await readdir(dir.root)).filter((name) => name.endsWith('.lease'));
  const now = new Date(clock.now_ms());
  await utimes(join(dir.root, lease), now, now);
  expect((await housekeeping.round()).collected).toBeNull();
  expect(await blobs.has(gone.sha256)).toBe(true);
  giveBack();
  expect((await housekeeping.round()).collected).toMatchObject({ unused: 1 });
});

test('a file that is none of the server’s keeps nothing from being cleaned up', async () => {
  const gone = await fileWithBlob('gone');
  await gone.remove();
  await writeFile(join(dir.uploads, '.DS_Store'), 'x');
  ahead_ms = 2 * HOUR_MS;
  expect((await housekeeping.round()).collected).toMatchObject({ unused: 1 });
});

test('abandoned uploads go', async () => {
  await uploads.create({ userId: 'anna', upload: '1' });
  await uploads.create({ userId: 'anna', upload: '2' });
  ahead_ms = 47 * HOUR_MS;
  expect(await housekeeping.round()).toMatchObject({ removedUploads: 0 });
  ahead_ms = 49 * HOUR_MS;
  expect(await housekeeping.round()).toMatchObject({ removedUploads: 2 });
  expect(await readdir(join(dir.uploads, 'anna'))).toEqual([]);
});

test('room on the disk is kept from the start on', async () => {
  await housekeeping.close();
  expect((await stat(dir.spare)).size).toBeGreaterThan(100_000);
});

test('room on the disk is kept for when others have filled it', async () => {
  await housekeeping.round();
  const kept = await stat(dir.spare);
  expect(kept.size).toBeGreaterThan(100_000);
  expect(kept.blocks * 512).toBeGreaterThanOrEqual(kept.size);
  await housekeeping.round();
  expect((await stat(dir.spare)).ino).toBe(kept.ino);
});
