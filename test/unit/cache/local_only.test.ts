// A folder that was removed on the server while something that is never sent is in it here.

import { afterEach, beforeEach, expect, it } from 'vitest';
import { FakeRemote } from '../../support/fake_remote.js';
import { TestCache } from '../../support/test_cache.js';

const LOCK = '.~lock.text.odt#';
let drive: TestCache;

beforeEach(async () => {
  drive = await TestCache.open();
  drive.server.write('d/deep/text.odt', 'a document');
  await drive.until('it is here', async () => (await drive.node('d/deep/text.odt')) !== null);
  await drive.write(`d/deep/${LOCK}`, 'anna has it open');
  drive.server.remove('d');
  await drive.until('it is gone', async () => (await drive.node('d/deep/text.odt')) === null);
  await drive.flush();
});
afterEach(async () => {
  expect(await drive.check()).toEqual([]);
  await drive.close();
});

async function again(): Promise<void> {
  await drive.close();
  drive = await TestCache.open({ dir: drive.dir, remote: new FakeRemote(drive.server) });
}

it('is not made again there, now or after the next start, and stays here', async () => {
  expect(drive.server.paths()).toEqual([]);
  await again();
  await drive.flush();
  expect(drive.server.paths()).toEqual([]);
  expect(await drive.read(`d/deep/${LOCK}`)).toBe('anna has it open');
});

it('is made again for the first thing that is sent', async () => {
  await drive.write('d/deep/other.odt', 'another document');
  await drive.flush();
  expect(drive.server.text('d/deep/other.odt')).toBe('another document');
  expect(drive.server.paths().filter((path) => path.includes(LOCK))).toEqual([]);
});

it('is made again for what is moved into it, or gets a name that is sent', async () => {
  await drive.write('moved.txt', 'moved');
  await drive.flush();
  await drive.rename('moved.txt', 'd/moved.txt');
  await drive.flush();
  expect(drive.server.text('d/moved.txt')).toBe('moved');
  await drive.rename(`d/deep/${LOCK}`, 'd/deep/kept.txt');
  await drive.flush();
  expect(drive.server.text('d/deep/kept.txt')).toBe('anna has it open');
});

it('is removed here without a word to the server', async () => {
  await drive.unlink(`d/deep/${LOCK}`);
  await drive.rmdir('d/deep');
  await drive.rmdir('d');
  await drive.flush();
  expect(await drive.list()).toEqual([]);
});

it('is one with the folder that somebody makes there anew', async () => {
  drive.server.write('d/deep/new.odt', 'new');
  await drive.until('it is here', async () => (await drive.node('d/deep/new.odt')) !== null);
  expect(await drive.list('d/deep')).toEqual([LOCK, 'new.odt']);
  await drive.rename('d', 'e');
  await drive.flush();
  expect(drive.server.text('e/deep/new.odt')).toBe('new');
});

it('gives way to a file that somebody puts there, and is not sent under another name', async () => {
  drive.server.write('d', 'a file');
  await drive.until('it is here', async () => (await drive.node('d'))?.kind === 'file');
  await drive.flush();
  expect(drive.server.paths()).toEqual(['d']);
  const [aside = ''] = (await drive.list()).filter((name) => name !== 'd');
  expect(await drive.read(`${aside}/deep/${LOCK}`)).toBe('anna has it open');
});
