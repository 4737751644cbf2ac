// The kernel tells once of pages it could not write: the sync after a failed one succeeds without them.

import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { Database } from '../../../../src/cache/metadata/database.js';
import { silentLog } from '../../../../src/log.js';

let failing = 0;
vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>();
  return {
    ...real,
    fdatasync: (fd: number, done: (error: Error | null) => void) => {
      if (failing === 0) return real.fdatasync(fd, done);
      failing -= 1;
      setImmediate(() => done(Object.assign(new Error('the disk is broken'), { code: 'EIO' })));
    },
  };
});

it('after a failed sync the journal is written anew before anything counts as durable', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'cm-sync-'));
  const path = join(dir, 'metadata.db');
  const database = await Database.open(path, silentLog);
  try {
    database.sql.prepare("INSERT OR REPLACE INTO setting VALUES ('a', 'b')").run();
    failing = 1;
    await expect(database.durable()).rejects.toThrow('the disk is broken');
    expect((await stat(`${path}-wal`)).size).toBeGreaterThan(0);
    await database.durable();
    expect((await stat(`${path}-wal`)).size).toBe(0);
    database.sql.prepare("INSERT OR REPLACE INTO setting VALUES ('c', 'd')").run();
    await database.durable();
    expect((await stat(`${path}-wal`)).size).toBeGreaterThan(0);
  } finally {
    await database.close(false);
    await rm(dir, { recursive: true });
  }
});
