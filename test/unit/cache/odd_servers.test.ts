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
