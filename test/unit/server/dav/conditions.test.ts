import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type DavServer, startDavServer } from './dav_server.js';

let server: DavServer;
let n = 0;
let f: string;
let etag: string;
beforeAll(async () => {
  server = await startDavServer();
});
afterAll(() => server.close());
beforeEach(async () => {
  f = `f${++n}`;
  const made = await server.ask('PUT', f, { body: 'first', headers: { 'X-OC-Mtime': '1000000000' } });
  etag = made.headers.etag ?? '';
});

const status = async (method: string, path: string, headers: Record<string, string>, body?: string) =>
  (await server.ask(method, path, { headers, ...(body === undefined ? {} : { body }) })).status;
const text = async (path: string) => (await server.ask('GET', path)).text;
const OTHER = '"another"';
const OLD = 'Sat, 08 Sep 2001 00:00:00 GMT';
const NEW = 'Mon, 10 Sep 2001 00:00:00 GMT';

describe('GET', () => {
  test('If-None-Match and If-Modified-Since', async () => {
    expect(await status('GET', f, { 'If-None-Match': etag })).toBe(304);
    expect(await status('HEAD', f, { 'If-None-Match': `${OTHER}, ${etag}` })).toBe(304);
    expect(await status('GET', f, { 'If-None-Match': `W/${etag}` })).toBe(304);
    expect(await status('GET', f, { 'If-None-Match': '*' })).toBe(304);
    const [fresh, kept] = [{}, { 'If-None-Match': etag }].map((headers) => server.ask('GET', f, { headers }));
    expect((await kept)?.headers['cache-control']).toBe((await fresh)?.headers['cache-control']);
    expect(await status('GET', f, { 'If-None-Match': OTHER })).toBe(200);
    expect(await status('GET', f, { 'If-Modified-Since': NEW })).toBe(304);
    expect(await status('GET', f, { 'If-Modified-Since': OLD })).toBe(200);
    // The ETag decides when both are there.
    expect(await status('GET', f, { 'If-None-Match': OTHER, 'If-Modified-Since': NEW })).toBe(200);
  });

  test('If-Match and If-Unmodified-Since', async () => {
    expect(await status('GET', f, { 'If-Match': etag })).toBe(200);
    expect(await status('GET', f, { 'If-Match': '*' })).toBe(200);
    expect(await status('GET', f, { 'If-Match': OTHER })).toBe(412);
    expect(await status('GET', f, { 'If-Match': `W/${etag}` })).toBe(412);
    expect(await status('GET', f, { 'If-Unmodified-Since': OLD })).toBe(412);
    expect(await status('GET', f, { 'If-Unmodified-Since': NEW })).toBe(200);
  });
});

describe('PUT', () => {
  test('If-Match: only over the version it names, which the answer tells', async () => {
    const refused = await server.ask('PUT', f, { body: 'x', headers: { 'If-Match': OTHER } });
    expect(refused.status).toBe(412);
    expect(refused.headers.etag).toBe(etag);
    expect(await status('PUT', `${f}none`, { 'If-Match': '*' }, 'x')).toBe(412);
    expect(await text(f)).toBe('first');
    expect(await status('PUT', f, { 'If-Match': etag }, 'second')).toBe(204);
    expect(await status('PUT', f, { 'If-Match': etag }, 'third')).toBe(412);
    expect(await text(f)).toBe('second');
  });

  test('If-None-Match: * only where nothing is', async () => {
    expect(await status('PUT', f, { 'If-None-Match': '*' }, 'x')).toBe(412);
    expect(await status('PUT', `${f}new`, { 'If-None-Match': '*' }, 'x')).toBe(201);
    expect(await status('MKCOL', `${f}dir`, { 'If-None-Match': '*' })).toBe(201);
  });
});

test('DELETE of a collection with If-Match: only if nothing below has changed', async () => {
  await server.ask('MKCOL', `${f}d`);
  await server.ask('MKCOL', `${f}d/sub`);
  const before = (await server.ask('HEAD', `${f}d`)).headers.etag ?? '';
  await server.ask('PUT', `${f}d/sub/new`, { body: 'unseen' });
  expect(await status('DELETE', `${f}d`, { 'If-Match': before })).toBe(412);
  expect(await text(`${f}d/sub/new`)).toBe('unseen');
  const after = (await server.ask('HEAD', `${f}d`)).headers.etag ?? '';
  expect(await status('DELETE', `${f}d`, { 'If-Match': after })).toBe(204);
});

describe('the If header', () => {
  const url = (path: string) => `<http://elsewhere.example/dav/files/anna/${path}>`;

  test('ETags, Not, and several lists', async () => {
    expect(await status('PUT', f, { If: `([${OTHER}])` }, 'x')).toBe(412);
    expect(await status('PUT', f, { If: `([${OTHER}]) ([${etag}])` }, 'second')).toBe(204);
    expect(await status('PUT', f, { If: `([${etag}])` }, 'x')).toBe(412);
    expect(await status('PUT', f, { If: `(Not [${etag}])` }, 'third')).toBe(204);
    expect(await status('PUT', f, { If: '(<urn:uuid:none>)' }, 'x')).toBe(412);
    expect(await status('PUT', f, { If: '(Not <DAV:no-lock>)' }, 'fourth')).toBe(204);
    expect(await status('PUT', f, { If: '(<broken' }, 'x')).toBe(400);
    expect(await text(f)).toBe('fourth');
  });

  test('tagged lists speak of the resource they name', async () => {
    const other = await server.ask('PUT', `${f}other`, { body: 'o' });
    const tag = other.headers.etag ?? '';
    expect(await status('PUT', f, { If: `${url(`${f}other`)} ([${etag}])` }, 'x')).toBe(412);
    expect(await status('PUT', f, { If: `${url(`${f}other`)} ([${tag}])` }, 'second')).toBe(204);
    expect(await status('PUT', f, { If: '<http://x/outside> (["x"])' }, 'x')).toBe(412);
  });

  test('guards the destination of MOVE and COPY', async () => {
    const target = await server.ask('PUT', `${f}target`, { body: 'target' });
    const tag = target.headers.etag ?? '';
    const headers = { Destination: `/dav/files/anna/${f}target` };
    expect(await status('MOVE', f, { ...headers, If: `${url(`${f}target`)} ([${OTHER}])` })).toBe(412);
    expect(await status('COPY', f, { ...headers, If: `${url(`${f}target`)} ([${OTHER}])` })).toBe(412);
    expect(await text(`${f}target`)).toBe('target');
    expect(await status('MOVE', f, { ...headers, If: `${url(`${f}target`)} ([${tag}])`, 'If-Match': etag })).toBe(204);
    expect(await text(`${f}target`)).toBe('first');
  });
});
