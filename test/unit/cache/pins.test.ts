// What is pinned is fetched as far as it can be, and who waits for it is told why it cannot.

import { afterEach, expect, it } from 'vitest';
import { CloudError, type ErrorCode } from '../../../src/errors.js';
import { FakeRemote, FakeServer } from '../../support/fake_remote.js';
import { TestCache } from '../../support/test_cache.js';

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
