// What the disk has once said it could not store is not sent, whatever the kernel gives when it is read: Linux takes pages
// that it failed to write for clean, and tells of them once.

import nodeFs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { FakeRemote } from '../../support/fake_remote.js';
import { CALLER, TestCache } from '../../support/test_cache.js';

let drive: TestCache;

beforeEach(async () => {
  drive = await TestCache.open({ quiet_ms: 60_000 });
  drive.server.write('known.txt', 'as the server has it');
  await drive.until('it is here', async () => (await drive.node('known.txt')) !== null);
});
afterEach(() => drive.close().catch(() => undefined));

/** Runs `work` while the next sync of each content fails, and the pages that were to be written are lost. */
async function withLostPages(code: string, work: (told: ReadonlySet<number>) => Promise<unknown>): Promise<void> {
  const { fdatasync, fsync } = nodeFs;
  const told = new Set<number>();
  const failing = (real: typeof fsync) =>
    ((fd: number, done: (error: Error | null) => void) => {
      const path = nodeFs.readlinkSync(`/proc/self/fd/${fd}`);
      if (!path.startsWith(join(drive.dir, 'content')) || told.has(fd)) return real(fd, done);
      told.add(fd);
      const { size } = nodeFs.fstatSync(fd);
      if (size > 0) nodeFs.writeSync(fd, Buffer.alloc(size), 0, size, 0);
      done(Object.assign(new Error(`${code}: test`), { code }));
    }) as typeof fsync;
  Object.assign(nodeFs, { fdatasync: failing(fdatasync), fsync: failing(fsync) });
  syncBuiltinESMExports();
  try {
    await work(told);
  } finally {
    Object.assign(nodeFs, { fdatasync, fsync });
    syncBuiltinESMExports();
  }
}

/** Written, closed, and the disk has refused it. */
async function refused(path: string, code: string): Promise<void> {
  await withLostPages(code, async () => {
    const file = await drive.open(path, 'w');
    await file.write(0, Buffer.from('worth keeping'), CALLER);
    await expect(file.fsync(CALLER)).rejects.toMatchObject({ code: 'io' });
    await file.flush(CALLER);
    file.release();
  });
}

async function again(dir = drive.dir): Promise<void> {
  const remote = new FakeRemote(drive.server);
  await drive.close().catch(() => undefined);
  drive = await TestCache.open({ dir, remote, quiet_ms: 20 });
}

for (const code of ['EIO', 'ENOSPC', 'EDQUOT']) {
  for (const path of ['new.txt', 'known.txt']) {
    it(`what the disk did not take (${code}) is not sent, now or after the next start: ${path}`, async () => {
      await refused(path, code);
      await expect(drive.flush()).rejects.toThrow('write it anew');
      await again();
      await expect(drive.flush()).rejects.toThrow('write it anew');
      expect(drive.server.paths()).toEqual(['known.txt']);
      expect(drive.server.text('known.txt')).toBe('as the server has it');
      expect(await drive.check()).toContainEqual(expect.stringContaining('did not take'));
    });
  }
}

it('written anew it is sent, and nothing is said of it any more', async () => {
  await refused('new.txt', 'EIO');
  await again();
  await expect(drive.flush()).rejects.toThrow('write it anew');
  await drive.write('new.txt', 'written anew');
  await drive.flush();
  expect(drive.server.text('new.txt')).toBe('written anew');
  expect(drive.cache.status().queue).toEqual([]);
});

it('moved meanwhile it is not sent either', async () => {
  await refused('known.txt', 'EIO');
  await again();
  await drive.rename('known.txt', 'moved.txt');
  await expect(drive.flush()).rejects.toThrow('write it anew');
  expect(drive.server.paths().map((path) => drive.server.text(path))).toEqual(['as the server has it']);
});

it('replaced by another file it is forgotten', async () => {
  await refused('known.txt', 'EIO');
  await drive.write('copy.txt', 'as it should be');
  await drive.rename('copy.txt', 'known.txt');
  await drive.flush();
  expect(drive.server.text('known.txt')).toBe('as it should be');
});

it('what is written to the middle of it later does not make the rest whole', async () => {
  await refused('new.txt', 'EIO');
  await again();
  const file = await drive.open('new.txt', 'r+');
  await file.write(2, Buffer.from('xx'), CALLER);
  await expect(file.fsync(CALLER)).rejects.toMatchObject({ code: 'io' });
  file.release();
  await expect(drive.flush()).rejects.toThrow('write it anew');
  expect(drive.server.paths()).toEqual(['known.txt']);
});

it('what was fetched and the disk did not take is fetched again', async () => {
  await withLostPages('EIO', async (told) => {
    expect(await drive.read('known.txt')).toBe('as the server has it');
    await drive.until('the disk was asked', () => told.size > 0);
  });
  await drive.until('it is forgotten', () => drive.cache.status().cacheUsed_bytes === 0);
  expect(await drive.read('known.txt')).toBe('as the server has it');
  expect(await drive.check()).toEqual([]);
});

it('and that is the failure of nobody', async () => {
  await withLostPages('EIO', async (told) => {
    expect(await drive.read('known.txt')).toBe('as the server has it');
    const file = await drive.open('known.txt');
    await file.fsync(CALLER);
    file.release();
    expect(told.size).toBe(1);
  });
  expect(await drive.check()).toEqual([]);
});
