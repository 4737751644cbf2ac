// Throwing local changes away must not throw away, or mix up, anything else.

import { afterEach, expect, it } from 'vitest';
import type { OpenFile } from '../../../src/cache/cache_api.js';
import { CALLER, TestCache } from '../../support/test_cache.js';

const open: TestCache[] = [];

async function start(options: Parameters<typeof TestCache.open>[0] = {}): Promise<TestCache> {
  const drive = await TestCache.open(options);
  open.push(drive);
  return drive;
}

afterEach(async () => {
  for (const drive of open.splice(0)) {
    expect(await drive.check()).toEqual([]);
    await drive.close();
  }
});

it('leaves alone what a program has open, which would go on with bytes of others', async () => {
  const drive = await start();
  await drive.write('mine.txt', 'as sent');
  await drive.flush();
  const file = await drive.open('mine.txt', 'r+');
  await file.write(0, Buffer.from('changed'), CALLER);
  await expect(drive.cache.discard('mine.txt')).rejects.toMatchObject({ code: 'busy' });
  const other = await drive.open('other.txt', 'w');
  await other.write(0, Buffer.from('of another file'), CALLER);
  await file.write(0, Buffer.from('CHANGED'), CALLER);
  await other.flush(CALLER);
  other.release();
  expect(await drive.read('other.txt')).toBe('of another file');
  file.release();
  await drive.cache.discard('mine.txt');
  expect(await drive.read('mine.txt')).toBe('as sent');
});

it('leaves alone what a program opens while the server is asked', async () => {
  const drive = await start({ quiet_ms: 60_000 });
  await drive.write('mine.txt', 'as sent');
  await drive.flush();
  await drive.write('mine.txt', 'changed');
  const opened: OpenFile[] = [];
  const done = drive.remote.before('stat', async () => {
    done();
    opened.push(await drive.open('mine.txt', 'r+'));
  });
  await expect(drive.cache.discard('mine.txt')).rejects.toMatchObject({ code: 'busy' });
  for (const file of opened) file.release();
  expect(opened).toHaveLength(1);
  expect(await drive.read('mine.txt')).toBe('changed');
});

it('does not take the bytes that are here for a version of which nothing is known yet', async () => {
  const drive = await start({ quiet_ms: 60_000 });
  await drive.write('run.sh', 'one');
  await drive.flush();
  const { ino } = await drive.must('run.sh');
  await drive.cache.setattr(ino, { mode: 0o755 }, CALLER);
  // The feed has not told of it when the answer comes.
  drive.remote.failNext('changes', 'server', { times: 50 });
  drive.server.write('run.sh', 'another version');
  await drive.cache.discard('run.sh');
  expect(await drive.read('run.sh')).toBe('another version');
  await drive.write('run.sh', 'and one on top of it');
  await drive.flush();
  expect(drive.server.text('run.sh')).toBe('and one on top of it');
  expect(drive.cache.conflicts()).toEqual([]);
});
