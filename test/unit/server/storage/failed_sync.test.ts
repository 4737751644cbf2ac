// The kernel tells once of pages it could not write: the sync after a failed one succeeds without them.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { SqliteDatabase } from '../../../../src/server/storage/metadata/sqlite/database.js';

type Done = (error: Error | null) => void;
/** Syncs that wait for the test; null = they go to the disk. */
let held: Done[] | null = null;
let syncs = 0;
vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>();
  return {
    ...real,
    fdatasync: (fd: number, done: Done) => {
      syncs += 1;
      if (held === null) real.fdatasync(fd, done);
      else held.push(done);
    },
  };
});

async function within(use: (database: SqliteDatabase) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'cloudmount-sync-'));
  const path = join(dir, 'db.sqlite');
  const database = SqliteDatabase.open(path, [{ name: 'notes', migrations: ['CREATE TABLE notes (text TEXT)'] }]);
  try {
    await use(database);
  } finally {
    held = null;
    await database.close();
    await rm(dir, { recursive: true, force: true });
  }
}

const add = (database: SqliteDatabase, text: string, isEnough?: () => boolean) =>
  database.write(() => database.writer.prepare('INSERT INTO notes (text) VALUES (?)').run(text), isEnough);

test('after a failed sync nothing that waited, and nothing later, is said to be on the disk', async () => {
  await within(async (database) => {
    held = [];
    const first = add(database, 'first');
    await vi.waitFor(() => expect(held).toHaveLength(1));
    // Committed while the sync runs that will fail, and somebody waits for what is there so far.
    const second = add(database, 'second');
    await vi.waitFor(() => expect(database.reader.prepare('SELECT * FROM notes').all()).toHaveLength(2));
    const durable = database.durable();
    const fail = held[0];
    held = null;
    fail?.(Object.assign(new Error('the disk is broken'), { code: 'EIO' }));
    for (const waiting of [first, second, durable, database.durable(), add(database, 'third')]) {
      await expect(waiting).rejects.toThrow('the disk is broken');
    }
  });
});

test('what nobody waits for is synced together', async () => {
  await within(async (database) => {
    await add(database, 'before');
    const before = syncs;
    await Promise.all(
      Array.from({ length: 3 }, async (_, n) => {
        for (let turn = 0; turn < n; turn++) await new Promise((resolve) => setImmediate(resolve));
        await add(database, `lapses ${n}`, () => true);
      }),
    );
    expect(syncs - before).toBe(1);
  });
});
