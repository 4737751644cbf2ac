// What is pinned is fetched as far as it can be, and who waits for it is told why it cannot.

import { afterEach, expect, it } from 'vitest';
import { CloudError, type ErrorCode } from '../../../src/errors.js';
import { FakeRemote, FakeServer } from '../../support/fake_remote.js';
import { CALLER, TestCache } from '../../support/test_cache.js';

const open: TestCache[] = [];

/** A drive whose server has `d/00` to `d/19`, of which one cannot be read. */
async function withUnreadable(code: ErrorCode): Promise<TestCache> {
  const remote = new FakeRemote(new FakeServer());
  for (let i = 0; i < 20; i += 1) remote.server.write(`d/${String(i).padStart(2, '0')}`, 'ten bytes!');
  remote.before('read', ({ path }) => {
    if (path === 'd/02') throw new CloudError(code, 'this one not');
  });
  const drive = await TestCache.open({ remote });
  open.push(drive);
  await drive.until('the tree is here', async () => (await drive.node('d/19')) !== null);
  return drive;
}

afterEach(async () => {
  for (const drive of open.splice(0)) {
    expect(await drive.check()).toEqual([]);
    await drive.close();
  }
});

for (const code of ['server', 'locked', 'no_access'] as const) {
  it(`one file that cannot be read (${code}) does not keep the others away`, async () => {
    const drive = await withUnreadable(code);
    drive.cache.pin('d');
    await drive.until('all others are here', () => drive.cache.pins()[0]?.cached_bytes === 190);
  });

  it(`who waits for a file that cannot be read (${code}) is told why`, async () => {
    const drive = await withUnreadable(code);
    drive.cache.pin('d');
    await expect(drive.cache.waitPinned('d', AbortSignal.timeout(15_000))).rejects.toMatchObject({ code });
    expect(drive.cache.pins()[0]?.cached_bytes).toBe(190);
  });
}

it('who waits is told when the pin is taken away', async () => {
  const drive = await withUnreadable('server');
  drive.cache.pin('d');
  const waiting = drive.cache.waitPinned('d', AbortSignal.timeout(15_000));
  drive.cache.unpin('d');
  await expect(waiting).rejects.toMatchObject({ code: 'invalid' });
});

it('what has changed while it was fetched is waited for', async () => {
  const remote = new FakeRemote(new FakeServer());
  remote.server.write('a.txt', 'one');
  const drive = await TestCache.open({ remote });
  open.push(drive);
  await drive.until('it is here', async () => (await drive.node('a.txt')) !== null);
  const done = remote.before('read', () => {
    done();
    remote.server.write('a.txt', 'another');
  });
  drive.cache.pin('a.txt');
  await drive.cache.waitPinned('a.txt', AbortSignal.timeout(15_000));
  remote.goOffline();
  expect(await drive.read('a.txt')).toBe('another');
});

/** A cache of 2 MiB, and `d` with files of these sizes, named by their place. */
async function withSizes(sizes: readonly number[]): Promise<TestCache> {
  const remote = new FakeRemote(new FakeServer());
  sizes.forEach((size, at) => {
    remote.server.write(`d/${at}`, Buffer.alloc(size, at));
  });
  remote.server.write('other', Buffer.alloc(MiB / 2, 'o'));
  const drive = await TestCache.open({ remote, sizeLimit_bytes: 2 * MiB, spaceWait_ms: 200 });
  open.push(drive);
  await drive.until('the tree is here', async () => (await drive.node(`d/${sizes.length - 1}`)) !== null);
  await drive.until('so is this', async () => (await drive.node('other')) !== null);
  return drive;
}

const MiB = 1024 * 1024;

it('what does not fit keeps the others away no more than it takes their room, and is not fetched in vain', async () => {
  const drive = await withSizes([3 * MiB, 3 * MiB, 3 * MiB, 3 * MiB, MiB / 4]);
  drive.cache.pin('d');
  await drive.until('what fits is here', () => drive.cache.pins()[0]?.cached_bytes === MiB / 4);
  await expect(drive.cache.waitPinned('d', AbortSignal.timeout(15_000))).rejects.toMatchObject({ code: 'no_space' });
  expect(drive.remote.bytesRead).toBe(MiB / 4);
  expect(await drive.read('other')).toBe('o'.repeat(MiB / 2));
});

it('of those that fit only one by one the first is here, and the other is not begun', async () => {
  const drive = await withSizes([MiB + MiB / 4, MiB]);
  drive.cache.pin('d');
  await expect(drive.cache.waitPinned('d', AbortSignal.timeout(15_000))).rejects.toThrow('beside what is pinned');
  expect(drive.remote.bytesRead).toBe(MiB + MiB / 4);
  drive.cache.unpin('d');
  drive.cache.pin('d/1');
  await drive.cache.waitPinned('d/1', AbortSignal.timeout(15_000));
});

it('a pinned file that is larger than the cache is read from end to end', async () => {
  const drive = await withSizes([6 * MiB]);
  drive.cache.pin('d');
  const file = await drive.open('d/0');
  for (let at = 0; at < 6 * MiB; at += 100_000) await file.read(at, 100_000, CALLER);
  file.release();
});
