// A folder goes with all that is in it in one request, under the folder's ETag. That may be known before what has changed in
// it: then it must not go as a whole.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { CloudError } from '../../../../src/errors.js';
import { FakeRemote, FakeServer } from '../../../support/fake_remote.js';
import { CALLER, TestCache } from '../../../support/test_cache.js';

const open: TestCache[] = [];

/** With `d/a.txt` and `d/b.txt`, all on the server. */
async function withFolder(): Promise<TestCache> {
  const drive = await TestCache.open();
  open.push(drive);
  await drive.mkdir('d');
  await drive.write('d/a.txt', 'one');
  await drive.write('d/b.txt', 'one');
  await drive.flush();
  await told(drive);
  return drive;
}

/** The feed has told of the folder as it is. */
async function told(drive: TestCache): Promise<void> {
  await drive.until('the feed has told', async () => {
    const known = drive.cache.getXattr((await drive.must('d')).ino, 'user.cloudmount.etag', CALLER);
    return known.toString() === drive.server.entry('d')?.etag;
  });
}

async function removeFolder(drive: TestCache): Promise<void> {
  await drive.unlink('d/a.txt');
  await drive.unlink('d/b.txt');
  await drive.rmdir('d');
}

afterEach(async () => {
  for (const drive of open.splice(0)) {
    expect(await drive.check()).toEqual([]);
    await drive.close();
  }
});

it('goes in one request', async () => {
  const drive = await withFolder();
  await removeFolder(drive);
  await drive.flush();
  expect(drive.server.paths()).toEqual([]);
  expect(drive.remote.count('remove')).toBe(1);
});

/** Paths of the removals that were sent. */
function removals(drive: TestCache): string[] {
  return drive.remote.calls.filter(({ op }) => op === 'remove').map(({ path }) => path);
}

/** `d/a.txt` is removed on the server, then the rest of the folder here, and the feed tells of neither before `goOn`. */
async function removedInTwo(drive: TestCache): Promise<{ readonly goOn: () => void }> {
  let goOn = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  drive.remote.before('changes', () => held);
  await drive.unlink('d/a.txt');
  await drive.until('a member is removed by itself', () => drive.remote.count('remove') === 1);
  await drive.until('nothing is on its way', () => drive.cache.status().queue.length === 0);
  await drive.unlink('d/b.txt');
  await drive.rmdir('d');
  return { goOn };
}

it('goes in one request, too, where members were removed singly before and the feed lags behind', async () => {
  const drive = await withFolder();
  const { goOn } = await removedInTwo(drive);
  await drive.until('the server would not', () => removals(drive).filter((path) => path === 'd').length === 1);
  await sleep(1_200); // under the same ETag it is not tried again
  expect(removals(drive)).toEqual(['d/a.txt', 'd']);
  goOn();
  await drive.flush();
  expect(drive.server.paths()).toEqual([]);
  expect(removals(drive)).toEqual(['d/a.txt', 'd', 'd']);
});

it('goes one by one when the feed does not come', async () => {
  const drive = await withFolder();
  const { goOn } = await removedInTwo(drive);
  await drive.until('it is empty', () => !drive.server.paths().includes('d/b.txt'), 20_000);
  goOn();
  await drive.flush();
  expect(drive.server.paths()).toEqual([]);
  expect(removals(drive).filter((path) => path !== 'd')).toEqual(['d/a.txt', 'd/b.txt']);
}, 30_000);

it('spares a version of which it was told while something about the file was on its way', async () => {
  const drive = await withFolder();
  let cut = (): void => undefined;
  const held = new Promise<void>((_, reject) => {
    cut = () => reject(new CloudError('network', 'the connection is gone'));
  });
  const done = drive.remote.before('setMeta', async () => {
    done();
    await held;
  });
  await drive.cache.setattr((await drive.must('d/a.txt')).ino, { mode: 0o600 }, CALLER);
  await drive.until('it is on its way', () => drive.remote.count('setMeta') === 1);
  drive.server.write('d/a.txt', 'theirs');
  await told(drive);
  await removeFolder(drive);
  // The look at the file again fails, too, at first.
  let looks = 0;
  drive.remote.before('stat', ({ path }) => {
    looks += path === 'd/a.txt' ? 1 : 0;
    if (path === 'd/a.txt' && looks <= 2) throw new CloudError('network', 'the connection is gone');
  });
  cut();
  await drive.until('all is settled', () => drive.cache.status().queue.length === 0);
  expect(drive.server.paths()).toEqual(['d', 'd/a.txt']);
  expect(drive.server.text('d/a.txt')).toBe('theirs');
  await drive.until('it is back', async () => (await drive.node('d/a.txt')) !== null);
  expect(await drive.read('d/a.txt')).toBe('theirs');
});

/** Two changes in the folder, of which the feed tells the first, and the folder's ETag, and the second after `goOn`. */
async function toldInPart(drive: TestCache): Promise<{ readonly goOn: () => void }> {
  drive.remote.page_entries = 1;
  let goOn = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  drive.remote.goOffline();
  await drive.until('it is offline', () => drive.cache.status().connection === 'offline');
  drive.server.write('d/a.txt', 'theirs');
  drive.server.write('d/b.txt', 'theirs');
  let asked = 0;
  drive.remote.before('changes', async () => {
    asked += 1;
    if (asked > 1) await held;
  });
  drive.remote.goOnline();
  await drive.cache.reconnect();
  await told(drive);
  return { goOn };
}

it('spares a version that a later part of the feed tells of', async () => {
  const drive = await withFolder();
  const { goOn } = await toldInPart(drive);
  await removeFolder(drive);
  await drive.flush('', 3_000).catch(() => undefined);
  goOn();
  await drive.until('all is settled', () => drive.cache.status().queue.length === 0);
  expect(drive.server.paths()).toContain('d/b.txt');
  expect(drive.server.text('d/b.txt')).toBe('theirs');
});

it('so it does when the drive was closed before that part came', async () => {
  const first = await withFolder();
  await toldInPart(first);
  await first.close();
  open.length = 0;
  const remote = new FakeRemote(first.server);
  remote.page_entries = 1;
  let goOnAgain = (): void => undefined;
  const heldAgain = new Promise<void>((resolve) => {
    goOnAgain = resolve;
  });
  remote.before('changes', () => heldAgain);
  const drive = await TestCache.open({ dir: first.dir, remote });
  open.push(drive);
  await removeFolder(drive);
  await drive.flush('', 3_000).catch(() => undefined);
  goOnAgain();
  await drive.until('all is settled', () => drive.cache.status().queue.length === 0);
  expect(drive.server.paths()).toContain('d/b.txt');
  expect(drive.server.text('d/b.txt')).toBe('theirs');
});

it('where nothing tells of changes, spares what has changed in it since it was listed itself', async () => {
  const server = new FakeServer();
  server.write('d/sub/x.txt', 'one');
  const remote = new FakeRemote(server, { capabilities: { changeFeed: false, push: false } });
  const drive = await TestCache.open({ remote, dirCacheTime_ms: 600 });
  open.push(drive);
  await drive.list('d');
  await sleep(400);
  await drive.list('d/sub');
  server.write('d/sub/x.txt', 'theirs');
  await sleep(300);
  await drive.list('d'); // with the ETag of a version of `x.txt` that nobody here has seen
  await drive.unlink('d/sub/x.txt');
  await drive.rmdir('d/sub');
  await drive.rmdir('d');
  await drive.flush('', 3_000).catch(() => undefined);
  await drive.until('all is settled', () => drive.cache.status().queue.length === 0);
  expect(server.paths()).toContain('d/sub/x.txt');
  expect(await drive.read('d/sub/x.txt')).toBe('theirs');
});

it('where nothing tells of changes, goes in one request when nothing has changed since it was listed', async () => {
  const server = new FakeServer();
  server.write('d/sub/x.txt', 'one');
  server.write('d/y.txt', 'one');
  const remote = new FakeRemote(server, { capabilities: { changeFeed: false, push: false } });
  const drive = await TestCache.open({ remote, dirCacheTime_ms: 60_000 });
  open.push(drive);
  await drive.unlink('d/sub/x.txt');
  await drive.rmdir('d/sub');
  await drive.unlink('d/y.txt');
  await drive.rmdir('d');
  await drive.flush();
  expect(server.paths()).toEqual([]);
  expect(remote.count('remove')).toBe(1);
});

it('a large one is forgotten in pieces, and none of it stays', async () => {
  const server = new FakeServer();
  server.mkdir('d');
  server.mkdir('d/sub');
  for (let i = 0; i < 2_000; i += 1) server.write(`d/${i % 2 === 0 ? 'sub/' : ''}f${i}`, 'x');
  const remote = new FakeRemote(server);
  const drive = await TestCache.open({ remote, quiet_ms: 5 });
  open.push(drive);
  await drive.until('all of it is here', async () => (await drive.list('d/sub')).length === 1_000);
  await drive.list('d');
  remote.goOffline();
  await drive.until('there is no network', () => drive.cache.status().connection !== 'online');
  for (let i = 0; i < 2_000; i += 1) await drive.unlink(`d/${i % 2 === 0 ? 'sub/' : ''}f${i}`);
  await drive.rmdir('d/sub');
  await drive.rmdir('d');
  remote.goOnline();
  await drive.until('there is a network', () => drive.cache.status().connection === 'online');
  await drive.flush();
  expect(server.paths()).toEqual([]);
  expect(remote.count('remove')).toBeLessThan(2_000);
  expect(await drive.list()).toEqual([]);
});

it('a received share that is removed with all that is in it is done without, in one request: its owner keeps what is in it', async () => {
  const server = new FakeServer();
  server.write('share/sub/a.txt', 'theirs');
  server.write('share/b.txt', 'theirs');
  for (const path of ['share', 'share/sub', 'share/sub/a.txt', 'share/b.txt']) server.setShared(path, 'in');
  const drive = await TestCache.open({ remote: new FakeRemote(server), quiet_ms: 5 });
  open.push(drive);
  await drive.until('it is here', async () => (await drive.node('share/sub/a.txt')) !== null);
  await drive.unlink('share/sub/a.txt');
  await sleep(500); // `rm -r` takes its time
  await drive.rmdir('share/sub');
  await drive.unlink('share/b.txt');
  await sleep(500);
  expect(removals(drive)).toEqual([]);
  await drive.rmdir('share');
  await drive.flush();
  expect(removals(drive)).toEqual(['share']);
});

it('what is removed in a received share alone is removed for everybody, a moment later', async () => {
  const server = new FakeServer();
  server.write('share/b.txt', 'theirs');
  for (const path of ['share', 'share/b.txt']) server.setShared(path, 'in');
  const drive = await TestCache.open({ remote: new FakeRemote(server), quiet_ms: 5 });
  open.push(drive);
  await drive.until('it is here', async () => (await drive.node('share/b.txt')) !== null);
  await drive.unlink('share/b.txt');
  await drive.until('it is sent', () => removals(drive).length > 0);
  expect(removals(drive)).toEqual(['share/b.txt']);
  expect(server.paths()).toEqual(['share']);
});
