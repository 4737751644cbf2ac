// A right is taken away while something done with it is not sent yet: nothing is lost, and the server stays as it is.

import { afterEach, beforeEach, expect, it } from 'vitest';
import { FakeRemote, FakeServer } from '../../../support/fake_remote.js';
import { CALLER, TestCache } from '../../../support/test_cache.js';

let server: FakeServer;
let remote: FakeRemote;
let drive: TestCache;

beforeEach(async () => {
  server = new FakeServer();
  remote = new FakeRemote(server);
  server.mkdir('Plans');
  server.write('Plans/budget.txt', 'theirs');
  server.write('other.txt', 'not cached');
  drive = await TestCache.open({ remote });
  await drive.list('Plans');
});

afterEach(async () => {
  expect(await drive.check()).toEqual([]);
  await drive.close();
});

async function offline(): Promise<void> {
  remote.goOffline();
  await drive.until('it is offline', async () => {
    await drive.read('other.txt').catch(() => undefined);
    return drive.cache.status().connection === 'offline';
  });
}

async function online(): Promise<void> {
  remote.goOnline();
  await drive.cache.reconnect();
  await drive.until('it is online', () => drive.cache.status().connection === 'online');
}

function onlyReading(): void {
  server.setRights('Plans/budget.txt', { write: false, remove: false });
  server.setRights('Plans', { createFile: false, createDir: false });
}

async function copies(): Promise<string[]> {
  return (await drive.list()).filter((name) => name.includes('(conflict'));
}

it('a change is kept as a copy in the nearest folder where it may be, and the original is the server’s', async () => {
  await offline();
  await drive.write('Plans/budget.txt', 'mine');
  onlyReading();
  await online();
  await drive.flush();
  const [copy] = await copies();
  expect(copy).toMatch(/^budget \(conflict anna@desk .*\)\.txt$/);
  expect(server.text(copy ?? '')).toBe('mine');
  expect(server.text('Plans/budget.txt')).toBe('theirs');
  expect(await drive.read('Plans/budget.txt')).toBe('theirs');
  expect((await drive.must(copy ?? '')).rights.write).toBe(true);
  expect(drive.cache.conflicts()).toMatchObject([{ path: copy, original: 'Plans/budget.txt', hasOriginal: true }]);
  await expect(drive.cache.resolve(copy ?? '', 'mine')).rejects.toMatchObject({ code: 'no_access' });
  await drive.cache.resolve(copy ?? '', 'both');
  expect(drive.cache.conflicts()).toEqual([]);
});

it('beside the original where files may be added', async () => {
  await offline();
  await drive.write('Plans/budget.txt', 'mine');
  server.setRights('Plans/budget.txt', { write: false });
  await online();
  await drive.flush();
  const [copy] = (await drive.list('Plans')).filter((name) => name.includes('(conflict'));
  expect(server.text(`Plans/${copy}`)).toBe('mine');
});

it('what was made in a folder that takes nothing any more moves out of it, with all that is in it', async () => {
  await offline();
  await drive.mkdir('Plans/new');
  await drive.write('Plans/new/inside.txt', 'made here');
  await drive.write('Plans/note.txt', 'noted');
  onlyReading();
  await online();
  await drive.flush();
  const kept = await copies();
  expect(kept).toHaveLength(2);
  expect(drive.cache.conflicts()).toMatchObject([
    { original: 'Plans/new', hasOriginal: false },
    { original: 'Plans/note.txt', hasOriginal: false },
  ]);
  const texts = server.paths().filter((path) => server.entry(path)?.kind === 'file');
  expect(texts.map((path) => server.text(path)).sort()).toEqual(['made here', 'not cached', 'noted', 'theirs']);
  expect(await drive.list('Plans')).toEqual(['budget.txt']);
});

it('a deletion is dropped', async () => {
  await offline();
  await drive.unlink('Plans/budget.txt');
  onlyReading();
  await online();
  await drive.flush();
  expect(await drive.read('Plans/budget.txt')).toBe('theirs');
});

it.each([
  ['the right to take it out of its folder', 'Plans/budget.txt', { move: false }, 'Mine/budget.txt'],
  ['the right to add to the folder it went to', 'Mine', { createFile: false }, 'Mine/budget.txt'],
  ['the right to remove what it replaces', 'Mine/here.txt', { remove: false }, 'Mine/here.txt'],
] as const)('a move is dropped: %s is gone', async (_, path, rights, to) => {
  server.write('Mine/here.txt', 'may be replaced');
  await drive.until('Mine is here', async () => (await drive.node('Mine/here.txt')) !== null);
  await offline();
  await drive.rename('Plans/budget.txt', to);
  server.setRights(path, rights);
  await online();
  await drive.flush();
  expect(await drive.read('Plans/budget.txt')).toBe('theirs');
  expect(await drive.list('Mine')).toEqual(['here.txt']);
  expect(await drive.read('Mine/here.txt')).toBe('may be replaced');
  expect(drive.cache.conflicts()).toEqual([]);
  expect(server.paths().sort()).toEqual(['Mine', 'Mine/here.txt', 'Plans', 'Plans/budget.txt', 'other.txt']);
});

it('a rename of a folder is dropped, and what was changed in it is sent where it was', async () => {
  await offline();
  await drive.rename('Plans', 'Ideas');
  await drive.write('Ideas/budget.txt', 'mine');
  await drive.write('Ideas/new.txt', 'made here');
  server.setRights('Plans', { rename: false });
  await online();
  await drive.flush();
  expect(await drive.list()).toEqual(['Plans', 'other.txt']);
  expect(server.text('Plans/budget.txt')).toBe('mine');
  expect(server.text('Plans/new.txt')).toBe('made here');
  expect(drive.cache.conflicts()).toEqual([]);
});

it('a move out of a folder that moved into it stays: it has no place to go back to', async () => {
  server.mkdir('Plans/deep');
  await drive.until('it is here', async () => (await drive.node('Plans/deep')) !== null);
  await offline();
  await drive.rename('Plans/deep', 'deep');
  await drive.rename('Plans', 'deep/Plans');
  server.setRights('Plans/deep', { move: false });
  await online();
  await drive.until('it is refused', () => drive.cache.status().queue.some(({ state }) => state === 'failed'));
  expect(await drive.list('deep')).toEqual(['Plans']);
  server.setRights('Plans/deep', { move: true });
  await drive.flush();
  expect(server.paths().sort()).toEqual(['deep', 'deep/Plans', 'deep/Plans/budget.txt', 'other.txt']);
});

it('an open handle is told at the next write and flush; what it wrote before is kept', async () => {
  const file = await drive.open('Plans/budget.txt', 'r+');
  await file.write(0, Buffer.from('MINE'), CALLER);
  onlyReading();
  await drive.until('the right to be gone', async () => !(await drive.must('Plans/budget.txt')).rights.write);
  await expect((async () => file.write(4, Buffer.from('!'), CALLER))()).rejects.toMatchObject({ code: 'no_access' });
  await expect((async () => file.flush(CALLER))()).rejects.toMatchObject({ code: 'no_access' });
  file.release();
  await drive.flush();
  // The copy is the file the handle wrote to, but nobody was told that it is one.
  const [copy] = await copies();
  expect(server.text(copy ?? '')).toBe('MINErs');
  expect(server.text('Plans/budget.txt')).toBe('theirs');
});

it('a handle opened before its file became a copy never writes again', async () => {
  const file = await drive.open('Plans/budget.txt', 'r+');
  await file.write(0, Buffer.from('MINE'), CALLER);
  const { ino } = await drive.must('Plans/budget.txt');
  onlyReading();
  await drive.flush();
  expect(drive.cache.conflicts()).toHaveLength(1);
  expect(drive.cache.node(ino).rights.write).toBe(true);
  await expect((async () => file.write(4, Buffer.from('!'), CALLER))()).rejects.toMatchObject({ code: 'no_access' });
  await expect((async () => file.flush(CALLER))()).rejects.toMatchObject({ code: 'no_access' });
  file.release();
});

it('rights and locks that change are told to the kernel', async () => {
  const { ino } = await drive.must('Plans/budget.txt');
  const dir = await drive.must('Plans');
  drive.invalidations.length = 0;
  server.setRights('Plans/budget.txt', { write: false });
  server.setRights('Plans', { createFile: false });
  const told = (wanted: number) => drive.invalidations.some((event) => event.kind === 'inode' && event.ino === wanted);
  await drive.until('the kernel to be told', () => told(ino) && told(dir.ino));
  drive.invalidations.length = 0;
  server.lock('Plans/budget.txt', 'Berta');
  await drive.until('the kernel to be told of the lock', () => told(ino));
  expect((await drive.must('Plans/budget.txt')).lock).toBe('other');
});

it('what waited for a lock is sent as soon as the lock is gone', async () => {
  await offline();
  await drive.write('Plans/budget.txt', 'mine');
  server.lock('Plans/budget.txt', 'Berta');
  await online();
  await drive.until('the lock to be met', () => drive.cache.status().queue.some((item) => item.state === 'failed'));
  server.unlock('Plans/budget.txt');
  await drive.until('the edit to arrive', () => server.text('Plans/budget.txt') === 'mine', 5_000);
});

it('a move that the server refuses can be given up, and what it was to replace is not removed', async () => {
  server.mkdir('Mine');
  server.write('Mine/plan.txt', 'to be replaced');
  await drive.until('Mine is here', async () => (await drive.node('Mine/plan.txt')) !== null);
  remote.failNext('move', 'no_access', { times: 50 });
  await drive.rename('Plans/budget.txt', 'Mine/plan.txt');
  await drive.until('it is refused', () => drive.cache.status().queue.some(({ state }) => state === 'failed'));
  await drive.cache.discard('Mine/plan.txt');
  await drive.flush();
  expect(await drive.read('Plans/budget.txt')).toBe('theirs');
  expect(await drive.read('Mine/plan.txt')).toBe('to be replaced');
  expect(server.paths().sort()).toEqual(['Mine', 'Mine/plan.txt', 'Plans', 'Plans/budget.txt', 'other.txt']);
});

it('a moved folder goes back out of one that was in it', async () => {
  server.mkdir('Plans/deep');
  await drive.until('it is here', async () => (await drive.node('Plans/deep')) !== null);
  remote.failNext('move', 'no_access', { times: 50 });
  await drive.rename('Plans/deep', 'deep');
  await drive.rename('Plans', 'deep/Plans');
  await drive.until('it is refused', () => drive.cache.status().queue.some(({ state }) => state === 'failed'));
  await drive.cache.discard('deep');
  await drive.flush();
  expect(await drive.list()).toEqual(['Plans', 'other.txt']);
  expect((await drive.list('Plans')).sort()).toEqual(['budget.txt', 'deep']);
  expect(server.paths().sort()).toEqual(['Plans', 'Plans/budget.txt', 'Plans/deep', 'other.txt']);
});
