// The drive on servers with oddities, from end to end without a mount.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRemote } from '../../../src/remote/connect.js';
import { type PlainServer, startPlainServer } from '../../support/plain_server.js';
import { TestCache } from '../../support/test_cache.js';

let server: PlainServer;
const ends: (() => Promise<void>)[] = [];

beforeEach(async () => {
  server = await startPlainServer();
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
  await server.close();
});

async function start(): Promise<TestCache> {
  const remote = createRemote({ url: server.url, auth: { kind: 'none' }, timeout_ms: 2000 });
  ends.push(() => remote.close());
  await remote.connect();
  const drive = await TestCache.open({ remote, quiet_ms: 5, dirCacheTime_ms: 50 });
  ends.push(() => drive.close());
  return drive;
}

describe('a server that tells one entry in a way that cannot be', () => {
  const bad = (path: string) => ({ length: (one: string, all: Buffer) => (one === path ? '-1' : String(all.length)) });

  it('what is known of it stays, and what is really gone goes', async () => {
    for (const name of ['a', 'b', 'c']) server.write(name, name);
    const drive = await start();
    expect(await drive.list()).toEqual(['a', 'b', 'c']);
    expect(await drive.read('b')).toBe('b');
    server.odd = bad('b');
    server.remove('c');
    await drive.until('c is gone', async () => (await drive.list()).join() === 'a,b');
    expect(await drive.read('b')).toBe('b');
    await sleep(100);
    expect(await drive.list()).toEqual(['a', 'b']);
  });

  it('what has an address that cannot be lets nothing go that is there', async () => {
    for (const name of ['a', 'b', 'c']) server.write(name, name);
    const drive = await start();
    expect(await drive.list()).toEqual(['a', 'b', 'c']);
    server.odd = { href: (one) => (one === 'b' ? '/b%2F' : null) };
    server.remove('c');
    await drive.until('c is gone', async () => !(await drive.list()).includes('c'));
    await sleep(100);
    expect(await drive.list()).toContain('a');
    expect(server.text('b')).toBe('b');
  });

  it('a folder that holds only that comes back when it is removed', async () => {
    server.write('f', null);
    server.write('f/bad', 'theirs');
    server.odd = bad('f/bad');
    const drive = await start();
    expect(await drive.list('f')).toEqual([]);
    await drive.rmdir('f');
    await drive.until('f is back', async () => (await drive.list()).includes('f'));
    expect(server.text('f/bad')).toBe('theirs');
  });
});

describe.each([false, true])('a server that minds no case, and answers with its own spelling: %s', (answersAsKept) => {
  beforeEach(() => {
    server.odd = { fold: (one) => one.toLowerCase(), answersAsKept };
  });

  it('renames files and folders to another spelling', async () => {
    server.write('foo', 'text');
    server.write('photos', null);
    server.write('photos/a', 'a');
    const drive = await start();
    expect(await drive.list()).toEqual(['foo', 'photos']);
    await drive.rename('foo', 'Foo');
    await drive.rename('photos', 'Photos');
    await drive.flush();
    expect(server.paths()).toEqual(['Foo', 'Photos', 'Photos/a']);
    await sleep(100);
    expect(await drive.list()).toEqual(['Foo', 'Photos']);
    expect(await drive.read('Foo')).toBe('text');
    expect(await drive.read('Photos/a')).toBe('a');
  });

  it('keeps both of what differs only by that', async () => {
    server.write('foo', 'theirs');
    const drive = await start();
    expect(await drive.list()).toEqual(['foo']);
    await drive.write('FOO', 'ours');
    await drive.until(
      'all is sent',
      async () =>
        await drive.flush().then(
          () => true,
          () => false,
        ),
    );
    await drive.until('both are there', () => server.paths().length === 2);
    expect(server.text('foo')).toBe('theirs');
    expect(
      server
        .paths()
        .map((one) => server.text(one))
        .sort(),
    ).toEqual(['ours', 'theirs']);
    await sleep(300);
    expect(server.paths().length).toBe(2);
  });
});

describe.each([false, true])('a server that composes names its own way, and answers with that: %s', (answersAsKept) => {
  const [composed, apart] = ['\u00e9'.normalize('NFC'), '\u00e9'.normalize('NFD')];

  beforeEach(() => {
    const fold = (one: string) => one.normalize('NFD');
    server.odd = { fold, keep: fold, answersAsKept };
  });

  it('programs find what they made by the name they gave it', async () => {
    const drive = await start();
    await drive.write(composed, 'text');
    await drive.mkdir(`dir ${composed}`);
    await drive.write(`dir ${composed}/${composed}`, 'inside');
    await drive.flush();
    expect(server.paths()).toEqual([`dir ${apart}`, `dir ${apart}/${apart}`, apart]);
    for (let i = 0; i < 3; i++) {
      await sleep(80);
      expect(await drive.list()).toEqual([`dir ${composed}`, composed]);
      expect(await drive.list(`dir ${composed}`)).toEqual([composed]);
      await drive.write(composed, `text ${i}`);
      await drive.flush();
      expect(server.text(apart)).toBe(`text ${i}`);
      expect(server.paths().length).toBe(3);
    }
    await drive.unlink(`dir ${composed}/${composed}`);
    await drive.rmdir(`dir ${composed}`);
    await drive.flush();
    expect(server.paths()).toEqual([apart]);
  });
});

it('a name that differs only in how it is composed is another one where the server says so', async () => {
  const [composed, apart] = ['\u00e9'.normalize('NFC'), '\u00e9'.normalize('NFD')];
  server.write(composed, 'one');
  const drive = await start();
  expect(await drive.list()).toEqual([composed]);
  server.write(apart, 'two');
  await drive.until('both are here', async () => (await drive.list()).length === 2);
  expect([await drive.read(composed), await drive.read(apart)]).toEqual(['one', 'two']);
  server.remove(composed);
  await drive.until('one is gone', async () => (await drive.list()).join() === apart);
});

describe('a server that does not tell sizes in listings', () => {
  it('shows what is in files', async () => {
    server.odd = { length: () => null };
    server.write('a', 'all of it');
    const drive = await start();
    expect((await drive.must('a')).size_bytes).toBe(9);
    expect(await drive.read('a')).toBe('all of it');
  });

  it('and not with the file either: it is not shown as empty', async () => {
    server.odd = { length: () => null, hidesLength: true };
    server.write('a', 'all of it');
    const drive = await start();
    expect(await drive.list()).toEqual([]);
  });
});
