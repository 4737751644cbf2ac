// Whether the server is in reach is found out once for all; what goes wrong with one path is that path's.

import { afterEach, expect, it } from 'vitest';
import { CloudError } from '../../../src/errors.js';
import { FakeRemote, FakeServer } from '../../support/fake_remote.js';
import { TestCache } from '../../support/test_cache.js';

const open: TestCache[] = [];

afterEach(async () => {
  for (const drive of open.splice(0)) await drive.close();
});

it('one file that the server is silent about keeps nobody from the others, while it is found out whether it is there', async () => {
  const remote = new FakeRemote(new FakeServer());
  remote.server.write('silent', 'ten bytes!');
  remote.server.write('other', 'ten bytes!');
  remote.before('read', ({ path }) => {
    if (path === 'silent') throw new CloudError('timeout', 'no answer');
  });
  let answer: () => void = () => undefined;
  const asked = new Promise<void>((resolve) => {
    remote.before('ping', () => {
      resolve();
      return new Promise<void>((answered) => {
        answer = answered;
      });
    });
  });
  const drive = await TestCache.open({ remote });
  open.push(drive);
  await drive.until('the tree is here', async () => (await drive.node('other')) !== null);
  const silent = drive.read('silent').catch((error: unknown) => error);
  await asked;
  const other = drive.read('other').catch((error: unknown) => error);
  setTimeout(() => answer(), 100);
  expect(await other).toBe('ten bytes!');
  expect(await silent).toMatchObject({ code: 'timeout' });
});

it('a read that waited in vain raises the question whether the server is there, also where only the cache gave up', async () => {
  const remote = new FakeRemote(new FakeServer());
  remote.server.write('one', 'ten bytes!');
  const drive = await TestCache.open({ remote });
  open.push(drive);
  await drive.until('the tree is here', async () => (await drive.node('one')) !== null);
  remote.read = (_path, _range, _etag, _sink, call) =>
    new Promise((_, reject) => {
      call?.signal?.addEventListener('abort', () => reject(new CloudError('interrupted', 'told to end')));
    });
  await expect(drive.read('one')).rejects.toMatchObject({ code: 'timeout' });
  await drive.until('it is asked', async () => remote.count('ping') === 1);
});

it('a flush that meets the question whether a silent server is there waits for the answer instead of being refused', async () => {
  const remote = new FakeRemote(new FakeServer());
  let silent = true;
  remote.before('put', () => {
    if (silent) throw new CloudError('timeout', 'no answer');
  });
  let answer: () => void = () => undefined;
  const asked = new Promise<void>((resolve) => {
    remote.before('ping', () => {
      resolve();
      return new Promise<void>((answered) => {
        answer = answered;
      });
    });
  });
  const drive = await TestCache.open({ remote });
  open.push(drive);
  await drive.write('file', 'ten bytes!');
  await asked;
  silent = false;
  const flushed = drive.flush().then(
    () => 'flushed',
    (error: unknown) => error,
  );
  setTimeout(() => answer(), 100);
  expect(await flushed).toBe('flushed');
  expect(remote.server.read('file').toString()).toBe('ten bytes!');
});
