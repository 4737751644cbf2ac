import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Clock } from '../../../../src/clock.js';
import { type DavServer, startDavServer } from './dav_server.js';

let ms = 1_700_000_000_000;
const clock: Clock = {
  now_ms: () => ms,
  timestamp: () => ({ s: Math.floor(ms / 1000), ns: 0 }),
  monotonic_ms: () => ms,
  sleep: () => Promise.resolve(),
};

let server: DavServer;
let n = 0;
let dir: string;
beforeAll(async () => {
  server = await startDavServer({ clock });
});
afterAll(() => server.close());
beforeEach(async () => {
  dir = `d${++n}`;
  await server.ask('MKCOL', dir);
  await server.ask('PUT', `${dir}/f`, { body: 'f' });
});

interface LockAsk {
  readonly user?: string;
  readonly scope?: string;
  readonly depth?: string;
  readonly headers?: Record<string, string>;
}

const lockBody = (scope: string) =>
  `<d:lockinfo xmlns:d="DAV:"><d:lockscope><d:${scope}/></d:lockscope><d:locktype><d:write/></d:locktype><d:owner><d:href>mailto:a@b</d:href></d:owner></d:lockinfo>`;
const lock = (path: string, { user, scope = 'exclusive', depth = '0', headers = {} }: LockAsk = {}) =>
  server.ask('LOCK', path, {
    body: lockBody(scope),
    headers: { Depth: depth, ...headers },
    ...(user === undefined ? {} : { user }),
  });
const locked = async (path: string, ask: LockAsk = {}): Promise<string> => {
  const answer = await lock(path, ask);
  if (answer.status > 201) throw new Error(`locking ${path}: ${answer.status}`);
  return String(answer.headers['lock-token']);
};
const status = async (
  method: string,
  path: string,
  headers: Record<string, string> = {},
  user?: string,
  body?: string,
) =>
  (
    await server.ask(method, path, {
      headers,
      ...(user === undefined ? {} : { user }),
      ...(body === undefined ? {} : { body }),
    })
  ).status;
const url = (path: string) => `<http://h/dav/files/anna/${path}>`;
const discovery = async (path: string) =>
  (
    await server.ask('PROPFIND', path, {
      headers: { Depth: '0' },
      body: '<d:propfind xmlns:d="DAV:" xmlns:nc="http://nextcloud.org/ns"><d:prop><d:lockdiscovery/><nc:lock/><nc:lock-owner/></d:prop></d:propfind>',
    })
  ).text;

describe('taking a lock', () => {
  test('gives a token and says what was given', async () => {
    const answer = await lock(`${dir}/f`, { headers: { Timeout: 'Second-600' } });
    expect(answer.status).toBe(200);
    const token = /^<(urn:uuid:[0-9a-f-]+)>$/.exec(String(answer.headers['lock-token']))?.[1];
    expect(answer.text).toContain(`<d:locktoken><d:href>${token}</d:href></d:locktoken>`);
    expect(answer.text).toContain(`<d:lockroot><d:href>/dav/files/anna/${dir}/f</d:href></d:lockroot>`);
    expect(answer.text).toContain('<d:timeout>Second-600</d:timeout>');
    expect(answer.text).toContain('mailto:a@b');
    expect(await discovery(`${dir}/f`)).toContain(`<d:href>${token}</d:href>`);
    expect(await discovery(`${dir}/f`)).toContain('<nc:lock>1</nc:lock><nc:lock-owner>anna</nc:lock-owner>');
    expect(await discovery(dir)).toContain('<nc:lock>0</nc:lock>');
  });

  test.each([
    ['Second-10', 180],
    ['Second-4100000000', 7 * 86_400],
    ['Infinite, Second-5', 7 * 86_400],
    ['nonsense', 1800],
  ])('Timeout %s becomes %i seconds', async (timeout, seconds) => {
    const answer = await lock(`${dir}/f`, { headers: { Timeout: timeout } });
    expect(answer.text).toContain(`<d:timeout>Second-${seconds}</d:timeout>`);
  });

  test('where nothing is, an empty file comes to be', async () => {
    const answer = await lock(`${dir}/new`);
    expect(answer.status).toBe(201);
    const got = await server.ask('GET', `${dir}/new`);
    expect([got.status, got.bytes.length]).toEqual([200, 0]);
    expect((await lock(`${dir}/none/new`)).status).toBe(409);
    expect(await status('PUT', `${dir}/new`, {}, undefined, 'x')).toBe(423);
    expect(await status('PUT', `${dir}/new`, { If: `(${answer.headers['lock-token']})` }, undefined, 'x')).toBe(204);
  });

  test('exclusive excludes all, shared only exclusive', async () => {
    await locked(`${dir}/f`);
    const refused = await lock(`${dir}/f`);
    expect(refused.status).toBe(423);
    expect(refused.text).toContain(
      `<d:no-conflicting-lock><d:href>/dav/files/anna/${dir}/f</d:href></d:no-conflicting-lock>`,
    );
    expect((await lock(`${dir}/f`, { scope: 'shared' })).status).toBe(423);
    await server.ask('PUT', `${dir}/g`, { body: 'g' });
    await locked(`${dir}/g`, { scope: 'shared' });
    await locked(`${dir}/g`, { scope: 'shared', user: 'bert' });
    expect((await lock(`${dir}/g`)).status).toBe(423);
  });

  test('depth infinity conflicts with what is locked below, and covers what is made later', async () => {
    const token = await locked(`${dir}/f`);
    expect((await lock(dir, { depth: 'infinity' })).status).toBe(423);
    expect((await lock(dir, { depth: '0' })).status).toBe(200);
    expect(await status('UNLOCK', `${dir}/f`, { 'Lock-Token': token })).toBe(204);
    await server.ask('MKCOL', `x${dir}`);
    const deep = await locked(`x${dir}`, { depth: 'infinity' });
    expect(await status('PUT', `x${dir}/n`, {}, undefined, 'x')).toBe(423);
    expect(await status('PUT', `x${dir}/n`, { If: `(${deep})` }, undefined, 'x')).toBe(201);
    expect((await lock(`x${dir}/n`)).status).toBe(423);
    expect(await discovery(`x${dir}/n`)).toContain('<nc:lock>1</nc:lock>');
  });

  test.each([
    ['no locktype', '<d:lockinfo xmlns:d="DAV:"><d:lockscope><d:exclusive/></d:lockscope></d:lockinfo>'],
    ['no lockscope', '<d:lockinfo xmlns:d="DAV:"><d:locktype><d:write/></d:locktype></d:lockinfo>'],
    ['another root', '<d:x xmlns:d="DAV:"/>'],
  ])('a request with %s is 400', async (_, body) => {
    expect((await server.ask('LOCK', `${dir}/f`, { body })).status).toBe(400);
  });

  test('an owner of thousands of namespaces is refused, it would take a minute to write', async () => {
    const names = Array.from({ length: 10_000 }, (_, i) => ` xmlns:a${i}="b${i}" a${i}:x=""`).join('');
    const body = lockBody('exclusive').replace('<d:href>', `<d:href${names}>`);
    expect((await server.ask('LOCK', `${dir}/f`, { body })).status).toBe(413);
  });

  test('of one person, and on one resource, there are no more than all others can be judged by', async () => {
    const few = await startDavServer({ clock, limits: { locksOfOne: 3, locksOnOne: 2 } });
    const take = async (user: string, path: string, scope = 'exclusive', headers: Record<string, string> = {}) =>
      (await few.ask('LOCK', path, { user, headers: { Depth: '0', ...headers }, body: lockBody(scope) })).status;
    try {
      await few.ask('PUT', 'f', { body: 'f' });
      for (const status of [200, 200, 507]) expect(await take('bert', 'f', 'shared')).toBe(status);
      expect([await take('bert', 'g'), await take('bert', 'h')]).toEqual([201, 507]);
      expect((await few.ask('GET', 'h')).status).toBe(404);
      expect(await take('bert', 'f', 'exclusive', { 'X-User-Lock': '1' })).toBe(423);
      expect(await take('carl', 'h')).toBe(201);
      ms += 2_000_000; // until they have ended
      expect(await take('bert', 'h')).toBe(200);
    } finally {
      await few.close();
    }
  });

  test('Depth 1 is 400; preconditions count', async () => {
    expect((await lock(`${dir}/f`, { depth: '1' })).status).toBe(400);
    expect((await lock(`${dir}/f`, { headers: { 'If-Match': '"other"' } })).status).toBe(412);
  });
});

describe('a locked file', () => {
  let token: string;
  beforeEach(async () => {
    token = await locked(`${dir}/f`, { user: 'anna' });
  });

  test.each([
    ['PUT', {}, 'x'],
    ['DELETE', {}, undefined],
    ['PROPPATCH', {}, '<d:propertyupdate xmlns:d="DAV:"><d:set><d:prop><d:x/></d:prop></d:set></d:propertyupdate>'],
    ['MOVE', { Destination: '/dav/files/anna/elsewhere' }, undefined],
  ])('%s without the token, and with it by somebody else, is 423', async (method, headers, body) => {
    const without = await server.ask(method, `${dir}/f`, { headers, ...(body === undefined ? {} : { body }) });
    expect(without.status).toBe(423);
    expect(without.text).toContain(
      `<d:lock-token-submitted><d:href>/dav/files/anna/${dir}/f</d:href></d:lock-token-submitted>`,
    );
    expect(await status(method, `${dir}/f`, { ...headers, If: `(${token})` }, 'bert', body)).toBe(423);
    expect((await server.ask('GET', `${dir}/f`)).text).toBe('f');
    expect(await status(method, `${dir}/f`, { ...headers, If: `(${token})` }, 'anna', body)).toBeLessThan(300);
  });

  test('can be read and copied, and the copy is free', async () => {
    expect(await status('GET', `${dir}/f`, {}, 'bert')).toBe(200);
    expect(await status('COPY', `${dir}/f`, { Destination: `/dav/files/anna/${dir}/copy` }, 'bert')).toBe(201);
    expect(await status('PUT', `${dir}/copy`, {}, 'bert', 'x')).toBe(204);
  });

  test('blocks what would take it along: DELETE and MOVE of collections above, COPY over them', async () => {
    await server.ask('MKCOL', `y${dir}`);
    expect(await status('DELETE', dir)).toBe(423);
    expect(await status('MOVE', dir, { Destination: `/dav/files/anna/z${dir}` })).toBe(423);
    expect(await status('COPY', `y${dir}`, { Destination: `/dav/files/anna/${dir}` })).toBe(423);
    expect(await status('MOVE', `y${dir}`, { Destination: `/dav/files/anna/${dir}/f` })).toBe(423);
    expect((await server.ask('GET', `${dir}/f`)).text).toBe('f');
    expect(await status('DELETE', dir, { If: `${url(`${dir}/f`)} (${token})` })).toBe(204);
  });

  test('new files beside it are nobody’s business', async () => {
    expect(await status('PUT', `${dir}/beside`, {}, 'bert', 'x')).toBe(201);
  });

  test('DELETE drops the lock: the name is free again', async () => {
    expect(await status('DELETE', `${dir}/f`, { If: `(${token})` })).toBe(204);
    expect(await status('PUT', `${dir}/f`, {}, 'bert', 'x')).toBe(201);
    expect((await lock(`${dir}/f`, { user: 'bert' })).status).toBe(200);
  });

  test('a save by MOVE over it keeps it locked under the same token', async () => {
    await server.ask('PUT', `${dir}/tmp`, { body: 'saved' });
    const headers = { Destination: `/dav/files/anna/${dir}/f` };
    expect(await status('MOVE', `${dir}/tmp`, headers)).toBe(423);
    expect(await status('MOVE', `${dir}/tmp`, { ...headers, If: `${url(`${dir}/f`)} (${token})` })).toBe(204);
    expect((await server.ask('GET', `${dir}/f`)).text).toBe('saved');
    expect(await status('PUT', `${dir}/f`, {}, 'bert', 'x')).toBe(423);
    expect(await status('UNLOCK', `${dir}/f`, { 'Lock-Token': token })).toBe(204);
  });
});

describe('a locked collection', () => {
  test('of depth 0 guards its members list, not their content', async () => {
    const token = await locked(dir, { depth: '0' });
    expect(await status('PUT', `${dir}/new`, {}, 'bert', 'x')).toBe(423);
    expect(await status('MKCOL', `${dir}/new`, {}, 'bert')).toBe(423);
    expect(await status('DELETE', `${dir}/f`, {}, 'bert')).toBe(423);
    expect(await status('MOVE', `${dir}/f`, { Destination: '/dav/files/anna/out' }, 'bert')).toBe(423);
    expect((await lock(`${dir}/unmapped`, { user: 'bert' })).status).toBe(423);
    expect(await status('PUT', `${dir}/f`, {}, 'bert', 'x')).toBe(204);
    expect(await status('PUT', `${dir}/new`, { If: `${url(dir)} (${token})` }, 'anna', 'x')).toBe(201);
  });
});

describe('refreshing and freeing', () => {
  test('an empty LOCK with the token in If gives new time', async () => {
    const token = await locked(`${dir}/f`, { headers: { Timeout: 'Second-200' } });
    ms += 150_000;
    const again = await server.ask('LOCK', `${dir}/f`, { headers: { If: `(${token})`, Timeout: 'Second-300' } });
    expect(again.status).toBe(200);
    expect(again.text).toContain('Second-300');
    expect(again.text).toContain(token.slice(1, -1));
    ms += 250_000;
    expect(await status('PUT', `${dir}/f`, {}, 'bert', 'x')).toBe(423);
    expect((await server.ask('LOCK', `${dir}/f`)).status).toBe(400);
    expect((await server.ask('LOCK', `${dir}/f`, { headers: { If: '(<urn:uuid:other>)' } })).status).toBe(412);
    expect((await server.ask('LOCK', `${dir}/f`, { user: 'bert', headers: { If: `(${token})` } })).status).toBe(403);
  });

  test('a lock ends with its time, for everyone and everything', async () => {
    const token = await locked(`${dir}/f`, { headers: { Timeout: 'Second-200' } });
    ms += 200_000;
    expect(await discovery(`${dir}/f`)).toContain('<d:lockdiscovery/>');
    expect(await status('PUT', `${dir}/f`, {}, 'bert', 'x')).toBe(204);
    expect(await status('UNLOCK', `${dir}/f`, { 'Lock-Token': token })).toBe(409);
    expect((await lock(`${dir}/f`, { user: 'bert' })).status).toBe(200);
  });

  test('UNLOCK: by the holder, from anything the lock covers', async () => {
    const token = await locked(dir, { depth: 'infinity' });
    expect(await status('UNLOCK', `${dir}/f`, {})).toBe(400);
    expect(await status('UNLOCK', `${dir}/f`, { 'Lock-Token': token }, 'bert')).toBe(403);
    expect(await status('UNLOCK', `${dir}/f`, { 'Lock-Token': '<urn:uuid:other>' })).toBe(409);
    expect(await status('UNLOCK', `${dir}/f`, { 'Lock-Token': token })).toBe(204);
    expect(await status('PUT', `${dir}/f`, {}, 'bert', 'x')).toBe(204);
  });
});

test("Office's way to save: PUT empty, LOCK, DELETE, PUT, LOCK, PUT, UNLOCK", async () => {
  const path = `${dir}/report.docx`;
  expect(await status('PUT', path, {}, undefined, '')).toBe(201);
  const first = await locked(path);
  expect(await status('DELETE', path, { If: `(${first})` })).toBe(204);
  expect(await status('PUT', path, {}, undefined, '')).toBe(201);
  const second = await locked(path);
  expect(await status('PUT', path, { If: `(${second})` }, undefined, 'content')).toBe(204);
  expect(await status('UNLOCK', path, { 'Lock-Token': second })).toBe(204);
  expect((await server.ask('GET', path)).text).toBe('content');
});
