// Who waits for the server is told when what they wait for does not come, whatever stands in the way.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { CloudError, type ErrorCode } from '../../../src/errors.js';
import { TestCache } from '../../support/test_cache.js';

const open: TestCache[] = [];

/** A drive with a folder that the server does not make. */
async function withFolder(code: ErrorCode, writeThrough: boolean): Promise<{ drive: TestCache; allow: () => void }> {
  const drive = await TestCache.open({ writeThrough });
  open.push(drive);
  const allow = drive.remote.before('mkdir', () => {
    throw new CloudError(code, 'not this folder');
  });
  await drive.mkdir('d');
  return { drive, allow };
}

afterEach(async () => {
  for (const drive of open.splice(0)) {
    expect(await drive.check()).toEqual([]);
    await drive.close();
  }
});

/** `late` instead of waiting for ever. */
function within<T>(ms: number, work: Promise<T>): Promise<T | 'late'> {
  return Promise.race([work, sleep(ms, 'late' as const)]);
}

it('close with write-through fails where the folder cannot be made, and goes on when it can', async () => {
  const { drive, allow } = await withFolder('quota', true);
  await expect(within(10_000, drive.write('d/a.txt', 'text'))).rejects.toMatchObject({ code: 'io' });
  allow();
  expect(await within(10_000, drive.write('d/a.txt', 'again'))).toBeUndefined();
  expect(drive.server.text('d/a.txt')).toBe('again');
});

it('close with write-through fails where the server goes on failing', async () => {
  const drive = await TestCache.open({ writeThrough: true });
  open.push(drive);
  drive.remote.failNext('put', 'server', { times: 1_000 });
  await expect(within(40_000, drive.write('a.txt', 'text'))).rejects.toMatchObject({ code: 'io' });
  expect(await drive.read('a.txt')).toBe('text');
}, 60_000);

it('a flush of a file fails where its folder cannot be made', async () => {
  const { drive, allow } = await withFolder('quota', false);
  await drive.write('d/a.txt', 'text');
  await expect(drive.flush('d/a.txt', 10_000)).rejects.toMatchObject({ code: 'io' });
  allow();
  await drive.flush('d/a.txt');
  expect(drive.server.text('d/a.txt')).toBe('text');
});
