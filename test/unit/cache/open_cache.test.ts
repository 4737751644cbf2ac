// Whose cache it is: a folder of one place and user is opened for these alone, however the address is spelled.

import { expect, it } from 'vitest';
import type { OpenCacheOptions } from '../../../src/cache/open_cache.js';
import { CloudError } from '../../../src/errors.js';
import { FakeRemote, FakeServer } from '../../support/fake_remote.js';
import { eventually } from '../../support/processes.js';
import { TestCache } from '../../support/test_cache.js';

const server = new FakeServer();

/** Opens the cache of `first`, then the same folder for `second`: '' or what was wrong. */
async function reopened(first: Owner, second: Owner): Promise<string> {
  const made = await open(first);
  await made.close();
  try {
    await (await open(second, made.dir)).close();
    return '';
  } catch (error) {
    expect(error).toMatchObject({ code: 'invalid' });
    return (error as Error).message;
  }
}

type Owner = Pick<OpenCacheOptions, 'owner' | 'identity'> & { readonly url?: string };

function open({ url, ...owner }: Owner, dir?: string): Promise<TestCache> {
  const remote = new FakeRemote(server, {
    capabilities: { changeFeed: false }, // else it could say itself that it is the same
    ...(url === undefined ? {} : { displayUrl: url }),
  });
  return TestCache.open({ remote, ...owner, ...(dir === undefined ? {} : { dir }) });
}

it.each([
  ['https://h/dav/files/an%40na/', 'https://h/dav/files/an@na/'],
  ['https://h/~anna/', 'https://h/%7eanna/'],
  ['https://h/caf%c3%a9/', 'https://h/caf%C3%A9/'],
])('%s and %s are one place', async (one, other) => {
  expect(await reopened({ url: one }, { url: other })).toBe('');
  expect(await reopened({ url: other }, { url: one })).toBe('');
});

it.each([
  ['https://h/Anna/', 'https://h/anna/'],
  ['https://h/a%2Fb/', 'https://h/a/b/'],
  ['https://h/a%2541/', 'https://h/a%41/'],
])('%s and %s are two', async (one, other) => {
  const said = await reopened({ url: one }, { url: other });
  expect(said).toContain(one);
  expect(said).toContain(other);
});

it('the name of a folder is taken as it is', async () => {
  expect(await reopened({ identity: 'anna in /a%20b' }, { identity: 'anna in /a b' })).toContain('/a b');
});

it('another user of the server is another owner, also one who is written differently only', async () => {
  expect(await reopened({ owner: 'anna' }, { owner: 'Anna' })).toContain('of anna, asked for');
  expect(await reopened({ owner: 'anna' }, { owner: 'anna' })).toBe('');
});

it('a remote that was just connected is not asked again what the server is, until it has been away', async () => {
  const remote = new FakeRemote(new FakeServer());
  const cache = await TestCache.open({ remote, connected: true });
  expect(remote.count('connect')).toBe(0);
  expect((await cache.cache.status()).connection).toBe('online');
  remote.goOffline();
  await eventually('it is noticed', async () => (await cache.cache.status()).connection === 'offline');
  remote.goOnline();
  await cache.cache.reconnect();
  expect(remote.count('connect')).toBeGreaterThan(0);
  await cache.close();
});

it.each([['offline'], ['unauthorized']] as const)(
  'the first start of all, the server being %s, says so',
  async (code) => {
    const remote = new FakeRemote(new FakeServer());
    remote.before('connect', () => {
      throw new CloudError(code, 'the server has said no');
    });
    await expect(TestCache.open({ remote, timeout_ms: 100 })).rejects.toMatchObject({
      code,
      message: expect.stringContaining('for the first time needs the server'),
    });
  },
);
