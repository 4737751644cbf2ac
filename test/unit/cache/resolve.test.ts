// Conflicts that settle themselves, or whose other side is gone.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { CALLER, TestCache } from '../../support/test_cache.js';

const open: TestCache[] = [];

async function start(): Promise<TestCache> {
  const drive = await TestCache.open({ quiet_ms: 100 });
  open.push(drive);
  return drive;
}

afterEach(async () => {
  for (const drive of open.splice(0)) {
    expect(await drive.check()).toEqual([]);
    await drive.close();
  }
});

/** `doc.txt` is theirs; the path of the copy with ours. */
async function withConflict(drive: TestCache): Promise<string> {
  await drive.write('doc.txt', 'base');
  await drive.flush();
  await drive.write('doc.txt', 'mine');
  drive.server.write('doc.txt', 'theirs');
  await drive.flush();
  const [conflict] = drive.cache.conflicts();
  expect(conflict?.original).toBe('doc.txt');
  return conflict?.path ?? '';
}

for (const how of ['replace', 'exchange'] as const) {
  it(`a copy that a program puts in the place of the original is none any more (${how})`, async () => {
    const drive = await start();
    const copy = await withConflict(drive);
    await drive.rename(copy, 'doc.txt', how);
    expect(drive.cache.conflicts()).toEqual([]);
    await drive.flush();
    expect(drive.server.text('doc.txt')).toBe('mine');
  });
}

it('the only version that is left is not thrown away for one that is gone', async () => {
  const drive = await start();
  const copy = await withConflict(drive);
  await drive.unlink('doc.txt');
  await expect(drive.cache.resolve(copy, 'theirs')).rejects.toMatchObject({ code: 'not_found' });
  expect(await drive.read(copy)).toBe('mine');
  await drive.cache.resolve(copy, 'mine');
  await drive.flush();
  expect(drive.server.text('doc.txt')).toBe('mine');
});

it('a copy whose folder is gone is kept, and no conflict any more', async () => {
  const drive = await start();
  await drive.mkdir('d');
  await drive.write('d/a.txt', 'base');
  await drive.flush();
  const file = await drive.open('d/a.txt', 'r+');
  await file.write(0, Buffer.from('mine'), CALLER);
  drive.server.setRights('d/a.txt', { write: false });
  drive.server.setRights('d', { createFile: false });
  await sleep(300); // what is told of it must not stand in the way
  await (async () => file.flush(CALLER))().catch(() => undefined);
  file.release();
  await drive.until('it is beside the folder', () => drive.cache.conflicts()[0]?.path.startsWith('a (') === true);
  drive.server.remove('d');
  await drive.until('the folder is gone', async () => (await drive.node('d')) === null);
  const copy = drive.cache.conflicts()[0]?.path ?? '';
  await expect(drive.cache.resolve(copy, 'mine')).rejects.toMatchObject({ code: 'not_found' });
  await drive.cache.resolve(copy, 'both');
  expect(drive.cache.conflicts()).toEqual([]);
  expect(await drive.read(copy)).toBe('mine');
});
