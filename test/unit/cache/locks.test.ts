// What the drive holds on the server, and what older news says of it.

import { afterEach, expect, it } from 'vitest';
import { heldByOther } from '../../../src/cache/locks.js';
import type { NodeRecord } from '../../../src/cache/metadata/node.js';
import type { RemotePath } from '../../../src/ids.js';
import type { LockInfo } from '../../../src/remote/remote.js';
import { FakeRemote, FakeServer } from '../../support/fake_remote.js';
import { TestCache } from '../../support/test_cache.js';

const open: TestCache[] = [];
afterEach(async () => {
  for (const cache of open.splice(0)) await cache.close();
});

it('a lock that was taken while news from before it was on the way is kept, and what is written is sent with it', async () => {
  const remote = new FakeRemote(new FakeServer());
  const drive = await TestCache.open({ remote });
  open.push(drive);
  drive.server.write('file', 'first');
  await drive.until('it is here', async () => (await drive.node('file')) !== null);
  let locked = false;
  const stop = remote.after('changes', async () => {
    if (locked || drive.server.read('file').toString() !== 'second') return;
    locked = true;
    await drive.cache.lock('file');
  });
  drive.server.write('file', 'second');
  await drive.until('the news is applied', async () => locked && (await drive.read('file')).toString() === 'second');
  stop();
  await drive.write('file', 'third');
  await drive.flush();
  expect(drive.server.read('file').toString()).toBe('third');
});

it('breaking frees a lock that is not known here yet, and nothing where there is none', async () => {
  const remote = new FakeRemote(new FakeServer(), { capabilities: { changeFeed: false, push: false } });
  const drive = await TestCache.open({ remote });
  open.push(drive);
  drive.server.write('file', 'text');
  await drive.until('it is here', async () => (await drive.node('file')) !== null);
  expect(await drive.cache.unlock('file', { force: true })).toBe(false);
  expect(remote.calls.some(({ op }) => op === 'unlock')).toBe(false);
  drive.server.lock('file', 'ben');
  expect((await drive.node('file'))?.lock).toBe('none');
  expect(await drive.cache.unlock('file', { force: true })).toBe(true);
  expect((await remote.stat('file' as RemotePath)).lock).toBe(null);
});

it('who is told of somebody else’s lock is told since when in the time of this machine', async () => {
  const zone = process.env['TZ'];
  process.env['TZ'] = 'Asia/Kolkata';
  try {
    const lock = { token: null, owner: 'ben', mine: false, sinceEpoch_s: 0, expiresEpoch_s: null };
    const { message } = heldByOther({ name: 'budget.ods' } as NodeRecord, lock as LockInfo);
    expect(message).toBe('"budget.ods" is locked by ben since 1970-01-01 05:30:00');
  } finally {
    if (zone === undefined) delete process.env['TZ'];
    else process.env['TZ'] = zone;
  }
});
