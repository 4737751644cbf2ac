import { afterEach, beforeEach, expect, it } from 'vitest';
import { GENERIC } from '../../../support/capabilities.js';
import { FakeRemote, FakeServer } from '../../../support/fake_remote.js';
import { TestCache } from '../../../support/test_cache.js';

let remote: FakeRemote;
let drive: TestCache;

beforeEach(async () => {
  remote = new FakeRemote();
  drive = await TestCache.open({ remote, quiet_ms: 5 });
});
afterEach(() => drive.close());

it('a conflict is settled however often the server has failed before', async () => {
  remote.server.write('file', 'base');
  await drive.until('the file is here', async () => (await drive.node('file')) !== null);
  remote.failNext('put', 'server', { times: 30 });
  await drive.write('file', 'mine, longer');
  await drive.until('it was tried in vain', () => {
    drive.cache.sendNow('');
    return remote.count('put') >= 30;
  });
  // Nothing tells us of it: the upload finds out.
  remote.before('changes', () => new Promise(() => undefined));
  remote.server.write('file', 'theirs');
  await drive.until('both are there', () => {
    drive.cache.sendNow('');
    return drive.cache.conflicts().length === 1 && drive.cache.status().queue.length === 0;
  });
  const copy = drive.cache.conflicts()[0]?.path ?? '';
  expect(remote.server.text(copy)).toBe('mine, longer');
  expect(remote.server.text('file')).toBe('theirs');
});

it('a folder renamed here in whose place somebody has put a file: that file stays where it is', async () => {
  const server = new FakeServer();
  server.mkdir('A');
  const generic = new FakeRemote(server, { capabilities: GENERIC });
  const other = await TestCache.open({ remote: generic, quiet_ms: 5, dirCacheTime_ms: 600_000 });
  try {
    await other.list('');
    const unhook = generic.before('move', async () => {
      unhook();
      server.remove('A');
      server.write('A', 'theirs');
    });
    await other.rename('A', 'B');
    await other.write('B/mine', 'mine');
    await other.until('all is sent', () => other.cache.status().queue.length === 0);
    expect(server.text('A')).toBe('theirs');
    expect(server.text('B/mine')).toBe('mine');
    expect(await other.read('A')).toBe('theirs');
  } finally {
    await other.close();
  }
});

it('a file renamed here in whose place somebody has put another: that one stays where it is', async () => {
  const server = new FakeServer();
  server.write('f', 'meant');
  const own = new FakeRemote(server);
  const other = await TestCache.open({ remote: own, quiet_ms: 5 });
  try {
    await other.list('');
    const unhook = own.before('move', async () => {
      unhook();
      server.move('f', 'moved by them');
      server.write('f', 'theirs');
    });
    await other.rename('f', 'moved here');
    await other.until('all is sent', () => other.cache.status().queue.length === 0);
    await other.until('both are here', () => server.entry('moved here') !== null);
    expect(server.text('f')).toBe('theirs');
    expect(await other.read('f')).toBe('theirs');
    expect(await other.read('moved here')).toBe('meant');
    expect(server.paths().sort()).toEqual(['f', 'moved here']);
  } finally {
    await other.close();
  }
});

it('a file renamed to the name of one whose removal was done without an answer does not wait for a listing', async () => {
  const server = new FakeServer();
  server.write('old', 'removed');
  server.write('new', 'moved');
  const generic = new FakeRemote(server, { capabilities: GENERIC });
  const other = await TestCache.open({ remote: generic, quiet_ms: 5, dirCacheTime_ms: 600_000 });
  try {
    await other.list('');
    generic.failNext('remove', 'network', { when: 'after' });
    await other.unlink('old');
    await other.until('it was removed', () => server.entry('old') === null);
    await other.rename('new', 'old');
    await other.flush();
    expect(server.paths()).toEqual(['old']);
    expect(server.text('old')).toBe('moved');
    expect(await other.list()).toEqual(['old']);
  } finally {
    await other.close();
  }
});
