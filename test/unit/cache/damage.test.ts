// "a damaged or truncated cache file served, or uploaded" must not happen; nor may a damaged database cost anything that
// only this machine has.

import { copyFile, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Log } from '../../../src/log.js';
import { FakeRemote, FakeServer } from '../../support/fake_remote.js';
import { CALLER, TestCache } from '../../support/test_cache.js';

const CLEAN = 'as the server has it. '.repeat(40_000);
const MINE = 'written here, not sent. '.repeat(30_000);

let remote: FakeRemote;
let drive: TestCache;
let said: string[];

const log: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: (_fields, message) => void said.push(message),
  error: (_fields, message) => void said.push(message),
};

beforeEach(async () => {
  said = [];
  remote = new FakeRemote(new FakeServer());
  remote.server.write('docs/clean.txt', CLEAN);
  remote.server.write('docs/mine.txt', 'older');
  drive = await TestCache.open({ remote, log });
  await drive.until('the tree is here', async () => (await drive.node('docs/mine.txt')) !== null);
  expect(await drive.read('docs/clean.txt')).toBe(CLEAN);
});

afterEach(async () => {
  await drive.close();
});

/** Closes the drive with an unsent `docs/mine.txt` and `docs/new/only-here.txt` in it, offline. */
async function leaveUnsent(): Promise<void> {
  await goOffline();
  await drive.write('docs/mine.txt', MINE);
  await drive.mkdir('docs/new');
  await drive.write('docs/new/only-here.txt', 'nobody else has this');
  expect(await drive.check()).toEqual([]);
  await drive.close();
}

async function goOffline(): Promise<void> {
  await drive.close();
  remote.goOffline();
  await reopen();
}

async function reopen(): Promise<void> {
  drive = await TestCache.open({ dir: drive.dir, remote, log });
}

async function goOnline(): Promise<void> {
  remote.goOnline();
  await drive.cache.reconnect();
  await drive.until('it is online', () => drive.cache.status().connection === 'online');
}

/** The content file of a path, while the drive is open. */
async function contentFile(path: string): Promise<string> {
  const { ino } = await drive.must(path);
  const folder = join(drive.dir, 'content', (ino % 256).toString(16).padStart(2, '0'));
  const names = (await readdir(folder)).filter((name) => name.startsWith(`${ino}.`));
  const [name] = names;
  if (name === undefined || names.length > 1) throw new Error(`${path} has the content files ${names.join()}`);
  return join(folder, name);
}

async function alter(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[at] = (bytes[at] ?? 0) ^ 0xff;
  await writeFile(path, bytes);
}

const damages = {
  altered: (path: string) => alter(path, 300_000),
  'cut short': (path: string) => truncate(path, 300_000),
  removed: (path: string) => rm(path),
};

for (const [how, damage] of Object.entries(damages)) {
  describe(`a content file that was ${how} while the drive was closed`, () => {
    it('is fetched again when the server has its bytes', async () => {
      const file = await contentFile('docs/clean.txt');
      await drive.close();
      await damage(file);
      await reopen();
      expect(await drive.read('docs/clean.txt')).toBe(CLEAN);
      expect(await drive.check()).toEqual([]);
    });

    it('is not served offline either', async () => {
      const file = await contentFile('docs/clean.txt');
      await goOffline();
      await drive.close();
      await damage(file);
      await reopen();
      await expect(drive.read('docs/clean.txt')).rejects.toMatchObject({ code: 'offline' });
    });

    it('is reported, kept, and neither served nor uploaded when its bytes are only here', async () => {
      await leaveUnsent();
      await reopen();
      const file = await contentFile('docs/mine.txt');
      await drive.close();
      await copyFile(file, `${drive.dir}/good-copy`);
      await damage(file);
      const left = await readFile(file).catch(() => null);
      await reopen();
      expect((await drive.check()).join()).toContain('mine.txt');
      await goOnline();
      await expect(drive.read('docs/mine.txt')).rejects.toMatchObject({
        code: 'corrupt',
        message: expect.stringContaining('unsent changes'),
      });
      await expect(drive.flush('docs/mine.txt')).rejects.toThrow('mine.txt');
      expect(drive.server.text('docs/mine.txt')).toBe('older');
      expect(await drive.cache.pathStatus('docs/mine.txt')).toMatchObject({
        status: 'failed',
        error: expect.stringContaining('cloudmount check'),
      });
      expect(said).toContain('cached content with unsent changes is damaged');
      expect(await readFile(file).catch(() => null)).toEqual(left);
      // Everything else goes on.
      await drive.flush('docs/new');
      expect(drive.server.text('docs/new/only-here.txt')).toBe('nobody else has this');
      // Whoever has a copy puts it back.
      await drive.close();
      await copyFile(`${drive.dir}/good-copy`, file);
      await reopen();
      expect(await drive.read('docs/mine.txt')).toBe(MINE);
      await drive.flush();
      expect(drive.server.text('docs/mine.txt')).toBe(MINE);
      expect(await drive.check()).toEqual([]);
    });

    it('goes when the user discards it', async () => {
      await leaveUnsent();
      await reopen();
      const file = await contentFile('docs/mine.txt');
      await drive.close();
      await damage(file);
      await reopen();
      await goOnline();
      await expect(drive.read('docs/mine.txt')).rejects.toMatchObject({ code: 'corrupt' });
      await drive.cache.discard('docs/mine.txt');
      expect(await drive.read('docs/mine.txt')).toBe('older');
      await drive.flush();
      expect(await drive.check()).toEqual([]);
    });
  });
}

it('of a large file only the damaged block is fetched again', async () => {
  const big = Buffer.alloc(3_000_000, 'a large file ');
  remote.server.write('big.bin', big);
  await drive.until('it is here', async () => (await drive.node('big.bin')) !== null);
  const handle = await drive.open('big.bin');
  // All but the end, so that no checksum of the whole can tell.
  for (let at = 0; at < 2_500_000; at += 100_000) await handle.read(at, 100_000, CALLER);
  handle.release();
  const file = await contentFile('big.bin');
  await drive.close();
  await alter(file, 1_000_000);
  await reopen();
  remote.resetCounters();
  const again = await drive.open('big.bin');
  for (let at = 0; at < 2_500_000; at += 100_000) {
    const bytes = Buffer.from(await again.read(at, 100_000, CALLER));
    expect(bytes.equals(big.subarray(at, at + 100_000))).toBe(true);
  }
  again.release();
  expect(remote.bytesRead).toBeGreaterThan(0);
  expect(remote.bytesRead).toBeLessThan(1_500_000);
});

it('content that was only touched or copied is proven by its sums and served', async () => {
  await leaveUnsent();
  await reopen();
  const files = [await contentFile('docs/mine.txt'), await contentFile('docs/clean.txt')];
  await drive.close();
  for (const file of files) {
    // As a backup that was restored: other inode, other times, the same bytes.
    await copyFile(file, `${file}~`);
    await rm(file);
    await copyFile(`${file}~`, file);
    await rm(`${file}~`);
  }
  await reopen();
  expect(await drive.read('docs/clean.txt')).toBe(CLEAN);
  expect(await drive.read('docs/mine.txt')).toBe(MINE);
  await goOnline();
  await drive.flush();
  expect(drive.server.text('docs/mine.txt')).toBe(MINE);
  expect(await drive.check()).toEqual([]);
});

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

describe('a damaged database', () => {
  const database = () => join(drive.dir, 'metadata.db');

  async function recoveredFolder(): Promise<string> {
    const [folder] = drive.cache.status().recovered;
    if (folder === undefined) throw new Error('no folder with recovered files is shown');
    return folder;
  }

  it('is set aside with a clear message; unsent files keep their names, the drive goes on from the server', async () => {
    await leaveUnsent();
    await overwriteIndex(database());
    remote.goOnline();
    await reopen();
    expect(said.join()).toContain('the cache database is damaged');
    const folder = await recoveredFolder();
    expect(await readFile(join(folder, 'unsent/docs/mine.txt'), 'utf8')).toBe(MINE);
    expect(await readFile(join(folder, 'unsent/docs/new/only-here.txt'), 'utf8')).toBe('nobody else has this');
    expect(await readdir(folder)).not.toContain('content');
    expect((await readdir(folder)).sort()).toEqual(expect.arrayContaining(['README.txt', 'metadata.db', 'unsent']));
    expect((await drive.check()).join()).toContain('keeps what was unsent');
    await drive.until('the tree is here', async () => (await drive.node('docs/clean.txt')) !== null);
    expect(await drive.read('docs/clean.txt')).toBe(CLEAN);
    await rm(folder, { recursive: true });
    expect(await drive.check()).toEqual([]);
    expect(drive.cache.status().recovered).toEqual([]);
  });

  it('that was cut short: all that was unsent is kept, by name or, where its record is lost, by number', async () => {
    await leaveUnsent();
    await truncate(database(), (await stat(database())).size - 1024);
    remote.goOnline();
    await reopen();
    const files = await readdir(await recoveredFolder(), { recursive: true, withFileTypes: true });
    const kept = await Promise.all(
      files.filter((file) => file.isFile()).map((file) => readFile(join(file.parentPath, file.name), 'utf8')),
    );
    expect(kept).toContain(MINE);
    expect(kept).toContain('nobody else has this');
  });

  it('of which nothing can be read: contents are kept by number', async () => {
    await leaveUnsent();
    await writeFile(database(), Buffer.alloc((await stat(database())).size, 'no database '));
    remote.goOnline();
    await reopen();
    const folder = await recoveredFolder();
    const kept = await Promise.all(
      (await readdir(join(folder, 'unknown'))).map((name) => readFile(join(folder, 'unknown', name), 'utf8')),
    );
    expect(kept).toContain(MINE);
    expect(kept).toContain('nobody else has this');
    expect(await readFile(join(folder, 'README.txt'), 'utf8')).toContain('unknown/');
  });

  it('that shows only while it is used is set aside at the next start', async () => {
    await leaveUnsent();
    // Every page but the first is gone, and the mark of a good end is made to fit.
    const bytes = await readFile(database());
    bytes.fill(0x5a, 4096 * 3);
    await writeFile(database(), bytes);
    const { size, mtimeNs, ctimeNs, ino } = await stat(database(), { bigint: true });
    await writeFile(`${database()}.clean`, `${size}:${mtimeNs}:${ctimeNs}:${ino}`);
    remote.goOnline();
    const first = await TestCache.open({ dir: drive.dir, remote, log }).catch((error: unknown) => error);
    if (first instanceof TestCache) {
      await first.list('docs').catch(() => undefined);
      await first.cache.check({ content: false }).catch(() => undefined);
      await first.close().catch(() => undefined);
    }
    await reopen();
    const folder = await recoveredFolder();
    const all = await Promise.all(
      (await readdir(folder, { recursive: true, withFileTypes: true }))
        .filter((entry) => entry.isFile())
        .map((entry) => readFile(join(entry.parentPath, entry.name), 'utf8')),
    );
    expect(all).toContain(MINE);
    expect(all).toContain('nobody else has this');
  });
});
