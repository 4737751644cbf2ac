import { cp } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { dir as tmpDir } from 'tmp-promise';
import { afterEach, expect, it } from 'vitest';
import { type Clock, systemClock } from '../../../src/clock.js';
import { CloudError } from '../../../src/errors.js';
import { GENERIC } from '../../support/capabilities.js';
import { FakeRemote, FakeServer } from '../../support/fake_remote.js';
import { CALLER, TestCache } from '../../support/test_cache.js';

const open: TestCache[] = [];
afterEach(async () => {
  for (const cache of open.splice(0)) await cache.close();
});

async function start(options: Parameters<typeof TestCache.open>[0]): Promise<TestCache> {
  const cache = await TestCache.open({ quiet_ms: 5, ...options });
  open.push(cache);
  return cache;
}

it('what was put off when the daemon was killed is told again after the next start', async () => {
  const server = new FakeServer();
  server.mkdir('d');
  const remote = new FakeRemote(server);
  const drive = await start({ remote });
  await drive.until('d is here', async () => (await drive.node('d')) !== null);
  let cut = (): void => undefined;
  const held = new Promise<void>((_, reject) => {
    cut = () => reject(new CloudError('network', 'the connection is gone'));
  });
  remote.before('setMeta', () => held);
  await drive.cache.setattr((await drive.must('d')).ino, { mode: 0o700 }, CALLER);
  await drive.until('the change is on its way', () => remote.count('setMeta') === 1);
  // Told while something about the directory is on its way.
  const asked = remote.count('changes');
  server.write('d/theirs', 'x');
  await drive.until('the feed has been read', () => remote.count('changes') > asked);
  await sleep(300); // and applied
  const { path: copy } = await tmpDir({ unsafeCleanup: true, prefix: 'cloudmount-test-' });
  await cp(drive.dir, copy, { recursive: true, filter: (path) => !path.endsWith('lock') });
  cut();

  const again = await start({ remote: new FakeRemote(server), dir: copy });
  await again.until('what the others made is shown', async () => (await again.list('d')).includes('theirs'));
  expect(await again.read('d/theirs')).toBe('x');
});

it('a version that nobody told of makes it ask what else is new', async () => {
  const server = new FakeServer();
  server.write('a', 'one');
  server.write('b', 'one');
  const remote = new FakeRemote(server);
  // A push channel that looks alive and says nothing.
  remote.watch = (events) => events.onConnection(true);
  const drive = await start({ remote });
  await drive.until('b is here', async () => (await drive.node('b')) !== null);
  await sleep(300); // the first listing ends with a look at what changed meanwhile
  server.write('a', 'another');
  server.write('b', 'another');
  await drive.read('a').catch(() => undefined);
  await drive.until('b has its new size', async () => (await drive.must('b')).size_bytes === 7);
});

it('a directory that cannot be listed is shown as it was, without a failure for every look-up', async () => {
  const server = new FakeServer();
  server.mkdir('d');
  for (let i = 0; i < 30; i += 1) server.write(`d/f${i}`, 'x');
  const remote = new FakeRemote(server, { capabilities: { changeFeed: false, push: false } });
  const drive = await start({ remote });
  expect(await drive.list('d')).toHaveLength(30);
  remote.before('list', () => Promise.reject(new CloudError('server', 'the server answered 500')));
  await sleep(250); // what is known is too old now
  const asked = remote.count('list');
  for (let i = 0; i < 30; i += 1) expect(await drive.node(`d/f${i}`)).not.toBeNull();
  expect(remote.count('list') - asked).toBeLessThanOrEqual(4); // of the directory and of the one above it
  expect(remote.count('list')).toBeGreaterThan(asked);
});

it('a page of the tree that is older than a listing of a directory by itself takes nothing back', async () => {
  const server = new FakeServer();
  server.mkdir('d');
  for (const name of ['kept', 'changed', 'gone', 'again']) server.write(`d/${name}`, 'one');
  const remote = new FakeRemote(server);
  let deliver = (): void => undefined;
  const delivered = new Promise<void>((resolve) => {
    deliver = resolve;
  });
  const late = remote.after('changes', () => delivered);
  const drive = await start({ remote });
  await drive.until('the tree is asked for', () => remote.count('changes') === 1);
  server.write('d/changed', 'another');
  server.remove('d/gone');
  server.remove('d/again');
  server.write('d/again', 'anew');
  server.write('d/new', 'new');
  expect((await drive.list('d')).sort()).toEqual(['again', 'changed', 'kept', 'new']);
  expect(await drive.read('d/changed')).toBe('another');
  const told: string[] = [];
  const { ino } = await drive.must('d/changed');
  drive.cache.onInvalidate((event) => {
    if (event.kind !== 'inode') told.push(`${event.kind} ${event.name}`);
    else if (event.ino === ino && event.data) told.push('the content of d/changed');
  });
  late();
  deliver();
  await sleep(400); // it is applied, and what it left open is asked about
  expect(told).toEqual([]);
  expect((await drive.list('d')).sort()).toEqual(['again', 'changed', 'kept', 'new']);
  expect((await drive.must('d/changed')).ino).toBe(ino);
});

it('a listing that has to begin anew in the middle knows nothing of what the first half named', async () => {
  const server = new FakeServer();
  for (const name of ['a', 'b', 'c', 'd']) server.write(name, 'x');
  const remote = new FakeRemote(server);
  remote.page_entries = 2;
  let asked = 0;
  remote.before('changes', async () => {
    asked += 1;
    if (asked !== 2) return;
    await sleep(100); // the first page is applied meanwhile
    server.remove('a');
    server.forgetCursors();
  });
  const drive = await start({ remote });
  await drive.until('the rest is asked for', () => asked >= 3);
  await sleep(300); // and applied
  expect((await drive.list()).sort()).toEqual(['b', 'c', 'd']);
});

it('a large folder that is removed elsewhere goes in pieces, between which programs are answered', async () => {
  const server = new FakeServer();
  server.mkdir('d');
  for (let i = 0; i < 3_000; i += 1) server.write(`d/f${i}`, 'x');
  const drive = await start({ remote: new FakeRemote(server) });
  await drive.until('all of it is here', async () => (await drive.list('d')).length === 3_000);
  server.remove('d');
  const seen = new Set<number>();
  await drive.until('it is gone', async () => {
    await new Promise((resolve) => setImmediate(resolve));
    if ((await drive.node('d')) === null) return true;
    seen.add((await drive.list('d').catch(() => [])).length);
    return false;
  });
  expect([...seen].some((count) => count > 0 && count < 3_000)).toBe(true);
  expect(await drive.check()).toEqual([]);
});

it('what has moved out of a folder that is then removed stays what it is', async () => {
  const server = new FakeServer();
  server.mkdir('d');
  server.mkdir('d/sub');
  server.write('d/sub/other', 'x');
  server.write('d/keep', 'kept');
  const remote = new FakeRemote(server);
  const drive = await start({ remote });
  expect(await drive.read('d/keep')).toBe('kept');
  const { ino } = await drive.must('d/keep');
  await drive.until('all of it is here', async () => (await drive.node('d/sub/other')) !== null);
  remote.goOffline();
  await drive.until('there is no network', () => drive.cache.status().connection !== 'online');
  server.move('d/keep', 'keep');
  server.remove('d');
  remote.goOnline();
  await drive.until('the folder is gone', async () => (await drive.node('d')) === null);
  expect((await drive.must('keep')).ino).toBe(ino);
  const reads = remote.count('read');
  expect(await drive.read('keep')).toBe('kept');
  expect(remote.count('read')).toBe(reads);
  expect(await drive.check()).toEqual([]);
});

it('a directory that somebody has replaced by a file shows as that file as soon as it is listed', async () => {
  const server = new FakeServer();
  server.write('d/in it', 'x');
  const remote = new FakeRemote(server, { capabilities: GENERIC });
  const drive = await start({ remote, dirCacheTime_ms: 600_000 });
  await drive.list('');
  server.remove('d');
  server.write('d', 'theirs');
  expect(await drive.list('d')).toEqual([]);
  await drive.until('the file shows', async () => (await drive.node('d'))?.kind === 'file');
  expect(await drive.read('d')).toBe('theirs');
});

it('a listing made while the clock was ahead is not believed until that time has come', async () => {
  const server = new FakeServer();
  server.write('d/a', 'x');
  let ahead_ms = 365 * 86_400_000;
  const clock: Clock = {
    now_ms: () => systemClock.now_ms() + ahead_ms,
    timestamp: () => systemClock.timestamp(),
    monotonic_ms: () => systemClock.monotonic_ms(),
    sleep: (delay_ms, signal) => systemClock.sleep(delay_ms, signal),
  };
  const remote = new FakeRemote(server, { capabilities: GENERIC });
  const drive = await start({ remote, dirCacheTime_ms: 100, clock });
  expect(await drive.list('d')).toEqual(['a']);
  server.write('d/b', 'x');
  ahead_ms = 0;
  expect(await drive.list('d')).toEqual(['a', 'b']);
});
