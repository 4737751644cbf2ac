// A start that sets a damaged database aside may itself be killed, or find no room, at any step: the next one goes on.

import { open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { FakeRemote, FakeServer } from '../../support/fake_remote.js';
import { TestCache } from '../../support/test_cache.js';

const rename = vi.hoisted(() => ({ endsAt: null as RegExp | null }));

vi.mock('node:fs/promises', async (original) => {
  const fs = await original<typeof import('node:fs/promises')>();
  return {
    ...fs,
    rename: async (from: string, to: string) => {
      if (rename.endsAt?.test(to) === true) throw Object.assign(new Error('test: killed here'), { code: 'EIO' });
      await fs.rename(from, to);
    },
  };
});

let remote: FakeRemote;
let drive: TestCache;

beforeEach(async () => {
  remote = new FakeRemote(new FakeServer());
  remote.server.write('docs/mine.txt', 'older');
  drive = await TestCache.open({ remote });
  await drive.until('the tree is here', async () => (await drive.node('docs/mine.txt')) !== null);
  remote.goOffline();
  await drive.write('docs/mine.txt', 'changed here');
  await drive.write('docs/new.txt', 'made here');
  await drive.close();
});

afterEach(async () => {
  rename.endsAt = null;
  await drive.close();
});

/** All that lies in the cache folder, by content. */
async function kept(): Promise<string[]> {
  const files = await readdir(drive.dir, { recursive: true, withFileTypes: true });
  return Promise.all(
    files.filter((file) => file.isFile()).map((file) => readFile(join(file.parentPath, file.name), 'utf8')),
  );
}

/** A page of the database that holds no record of a file. */
async function overwriteIndex(path: string): Promise<void> {
  const db = new Sqlite(path);
  const page = db.prepare("SELECT rootpage FROM sqlite_master WHERE name = 'node_place'").pluck().get() as number;
  const page_bytes = db.pragma('page_size', { simple: true }) as number;
  db.close();
  const file = await open(path, 'r+');
  await file.write(Buffer.alloc(page_bytes, 'no page '), 0, page_bytes, (page - 1) * page_bytes);
  await file.close();
}

for (const [where, endsAt] of Object.entries({
  'before the contents are moved': /\/content$/,
  'when half of the database is moved': /metadata\.db-wal$|\/content$/,
  'before a content without a record gets its place': /\/unknown\//,
})) {
  it(`ended ${where} loses nothing that was unsent`, async () => {
    const database = join(drive.dir, 'metadata.db');
    await writeFile(database, Buffer.alloc((await stat(database)).size, 'no database '));
    remote.goOnline();
    rename.endsAt = endsAt;
    await expect(TestCache.open({ dir: drive.dir, remote })).rejects.toThrow();
    rename.endsAt = null;
    drive = await TestCache.open({ dir: drive.dir, remote });
    await drive.check(); // what no record knows has been collected
    const all = await kept();
    expect(all).toContain('changed here');
    expect(all).toContain('made here');
    const [folder = ''] = drive.cache.status().recovered;
    expect(await readdir(folder)).toEqual(expect.arrayContaining(['README.txt', 'unknown']));
    expect(await readFile(join(folder, 'README.txt'), 'utf8')).toContain('unknown/  2 contents');
  });
}

it('a content that was changed after what can be read of its record is kept', async () => {
  const copy = await TestCache.open({ remote: new FakeRemote(remote.server) });
  await copy.until('the tree is here', async () => (await copy.node('docs/mine.txt')) !== null);
  expect(await copy.read('docs/mine.txt')).toBe('older');
  await copy.close(); // all is in the database itself
  const before = await readFile(join(copy.dir, 'metadata.db'));
  remote.goOffline();
  drive = await TestCache.open({ dir: copy.dir, remote });
  await drive.write('docs/mine.txt', 'changed here');
  await drive.close();
  // The newer records are lost, and of the older ones the index is damaged.
  await writeFile(join(drive.dir, 'metadata.db'), before);
  await overwriteIndex(join(drive.dir, 'metadata.db'));
  remote.goOnline();
  drive = await TestCache.open({ dir: drive.dir, remote });
  expect(drive.cache.status().recovered).toHaveLength(1);
  expect(await kept()).toContain('changed here');
});

for (const [how, lose] of Object.entries({
  emptied: (path: string) => truncate(path, 0),
  removed: (path: string) => rm(path),
})) {
  it(`a database that was ${how}, as a broken disk leaves it, takes no unsent content along`, async () => {
    await lose(join(drive.dir, 'metadata.db'));
    remote.goOnline();
    drive = await TestCache.open({ dir: drive.dir, remote });
    await drive.check(); // what no record knows has been collected
    expect(await kept()).toEqual(expect.arrayContaining(['changed here', 'made here']));
    expect(drive.cache.status().recovered).toHaveLength(1);
    await drive.until('the tree is here', async () => (await drive.node('docs/mine.txt')) !== null);
  });
}

it('a database that is removed while the drive runs is no good order, and the next start keeps what was unsent', async () => {
  drive = await TestCache.open({ dir: drive.dir, remote });
  for (const name of ['metadata.db', 'metadata.db-wal', 'metadata.db-shm']) {
    await rm(join(drive.dir, name), { force: true });
  }
  expect((await drive.check()).join()).toContain('was removed or replaced while the drive uses it');
  await drive.close().catch(() => undefined); // its journal cannot be stored
  remote.goOnline();
  drive = await TestCache.open({ dir: drive.dir, remote });
  expect(await kept()).toEqual(expect.arrayContaining(['changed here', 'made here']));
});

it('nor does it keep the drive from closing', async () => {
  drive = await TestCache.open({ dir: drive.dir, remote });
  await rm(join(drive.dir, 'metadata.db'));
  await drive.close();
  expect(await readdir(drive.dir)).not.toContain('lock');
});
