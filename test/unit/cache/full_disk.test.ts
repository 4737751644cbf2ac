// A cache disk that others have filled to the last byte: the drive comes up, removes, evicts and reads what is here, says at
// once what it cannot, and loses nothing unsent. Needs a small disk, and so root.

import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, rmdirSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CloudError } from '../../../src/errors.js';
import { FakeRemote } from '../../support/fake_remote.js';
import { CALLER, TestCache } from '../../support/test_cache.js';

const MiB = 1 << 20;
let disk: string;
let drive: TestCache | null = null;
let remote: FakeRemote;

beforeEach((context) => {
  context.skip(process.getuid?.() !== 0, 'only root mounts');
  disk = mkdtempSync(join(tmpdir(), 'cloudmount-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'none', disk]);
  remote = new FakeRemote();
});

afterEach(async () => {
  if (process.getuid?.() !== 0) return;
  await drive?.close();
  drive = null;
  execFileSync('umount', [disk]);
  rmdirSync(disk);
});

const spare = (): string => join(disk, 'cache', 'spare');

async function mount(minFree_bytes = 8 * MiB): Promise<TestCache> {
  drive = await TestCache.open({ remote, dir: join(disk, 'cache'), minFree_bytes, quiet_ms: 0 });
  return drive;
}

async function unmount(): Promise<void> {
  await drive?.close();
  drive = null;
}

/** As another program does it, to the last byte. */
function fill(): void {
  const file = openSync(join(disk, 'log'), 'a');
  try {
    for (let size = MiB; size > 0; size >>= 1) {
      try {
        for (;;) writeSync(file, Buffer.alloc(size, 1));
      } catch (error) {
        expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
      }
    }
  } finally {
    closeSync(file);
  }
  expect(statfsSync(disk).bavail).toBe(0);
}

test('what is there can be removed and read, what is not is refused at once, and nothing unsent is lost', async () => {
  remote.server.write('here', Buffer.alloc(MiB, 'h'));
  remote.server.write('elsewhere', Buffer.alloc(MiB, 'e'));
  for (let i = 0; i < 200; i++) remote.server.write(`old${i}`, 'o');
  let cache = await mount();
  await cache.until('all is known', async () => (await cache.list()).length === 202);
  cache.cache.pin('here');
  await cache.cache.waitPinned('here', AbortSignal.timeout(5000));
  const acceptAgain = remote.before('put', () => {
    throw new CloudError('quota', 'the server is full');
  });
  await cache.write('unsent', Buffer.alloc(2 * MiB, 'u'));
  await cache.until('there is spare room', () => existsSync(spare()));
  await new Promise((resolve) => setTimeout(resolve, 1500)); // until what was written is recorded
  fill();
  await new Promise((resolve) => setTimeout(resolve, 1000)); // how long free room is believed
  for (let i = 0; i < 100; i++) await cache.unlink(`old${i}`);
  expect(existsSync(spare())).toBe(false);
  fill();
  expect(await cache.read('here')).toBe('h'.repeat(MiB));
  const start_ms = performance.now();
  await expect(cache.read('elsewhere')).rejects.toMatchObject({ code: 'no_space' });
  expect(performance.now() - start_ms).toBeLessThan(3000);
  expect(await cache.read('unsent')).toBe('u'.repeat(2 * MiB));
  rmSync(join(disk, 'log'));
  await unmount();

  cache = await mount();
  await cache.until('there is spare room', () => existsSync(spare()));
  await unmount();
  fill();
  cache = await mount();
  expect(await cache.read('unsent')).toBe('u'.repeat(2 * MiB));
  for (let i = 100; i < 200; i++) await cache.unlink(`old${i}`);
  acceptAgain();
  await cache.flush();
  expect(remote.server.read('unsent').equals(Buffer.alloc(2 * MiB, 'u'))).toBe(true);
  expect((await cache.list()).sort()).toEqual(['elsewhere', 'here', 'unsent']);
  expect(await cache.check()).toEqual([]);
}, 60_000);

test('others are left the floor of free room, at the cost of what can be had again', async () => {
  remote.server.write('once read', Buffer.alloc(30 * MiB, 'r'));
  const cache = await mount(20 * MiB);
  await cache.until('it is known', async () => (await cache.list()).length === 1);
  await cache.read('once read');
  expect(cache.cache.status().cacheUsed_bytes).toBe(30 * MiB);
  const file = openSync(join(disk, 'log'), 'w');
  for (let i = 0; i < 25; i++) writeSync(file, Buffer.alloc(MiB, 1));
  closeSync(file);
  const free_bytes = () => statfsSync(disk).bavail * statfsSync(disk).bsize;
  expect(free_bytes()).toBeLessThan(10 * MiB);
  await cache.until('the floor is kept', () => free_bytes() >= 20 * MiB, 15_000);
}, 30_000);

test('a drive that has used its spare room comes up again, although others take what gets free', async () => {
  remote.server.write('old', 'o');
  const other = await mount();
  await other.until('all is known', async () => (await other.list()).length === 1);
  for (let i = 0; i < 1000; i++) await other.write(`new${i}`, 'n');
  await other.flush();
  fill();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await other.unlink('old');
  expect(existsSync(spare())).toBe(false);
  fill();
  await unmount();
  fill();
  expect((await (await mount()).list()).length).toBe(1000);
}, 30_000);

test('who writes or reads what cannot fit is not kept waiting when nothing will make room', async () => {
  remote.server.write('elsewhere', Buffer.alloc(MiB, 'e'));
  const cache = await mount();
  await cache.until('it is known', async () => (await cache.list()).length === 1);
  const file = await cache.open('large', 'w');
  const writing = (async () => {
    for (let at = 0; ; at += MiB) await file.write(at, Buffer.alloc(MiB, 'w'), CALLER);
  })();
  let start_ms = performance.now();
  await expect(writing).rejects.toMatchObject({ code: 'no_space' });
  expect(performance.now() - start_ms).toBeLessThan(5000);
  start_ms = performance.now();
  await expect(cache.read('elsewhere')).rejects.toMatchObject({ code: 'no_space' });
  expect(performance.now() - start_ms).toBeLessThan(5000);
  await file.flush(CALLER);
  file.release();
  // Once it has been closed it is sent, which makes room: that is waited for.
  expect(await cache.read('elsewhere')).toBe('e'.repeat(MiB));
  await cache.flush();
  expect(await cache.check()).toEqual([]);
}, 30_000);
