// Sixteen clients at once, on one resource.

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type DavServer, startDavServer } from './dav_server.js';

const CLIENTS = 16;
const LOCK_BODY =
  '<d:lockinfo xmlns:d="DAV:"><d:lockscope><d:exclusive/></d:lockscope><d:locktype><d:write/></d:locktype></d:lockinfo>';

let server: DavServer;
let n = 0;
let f: string;
beforeAll(async () => {
  server = await startDavServer();
});
afterAll(() => server.close());
beforeEach(async () => {
  f = `f${++n}`;
});

const all = <T>(act: (i: number) => Promise<T>) => Promise.all(Array.from({ length: CLIENTS }, (_, i) => act(i)));

test('LOCK: exactly one wins, every time, and unlocking frees it at once', async () => {
  await server.ask('PUT', f, { body: 'x' });
  for (let round = 0; round < 10; round++) {
    const answers = await all(() => server.ask('LOCK', f, { body: LOCK_BODY }));
    const winners = answers.filter(({ status }) => status === 200);
    expect(winners).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 423)).toHaveLength(CLIENTS - 1);
    const token = String(winners[0]?.headers['lock-token']);
    expect((await server.ask('UNLOCK', f, { headers: { 'Lock-Token': token } })).status).toBe(204);
  }
});

test('LOCK and UNLOCK of a file of one’s own never meets a ghost', async () => {
  await all(async (i) => {
    const own = `${f}-${i}`;
    await server.ask('PUT', own, { body: 'x' });
    for (let round = 0; round < 10; round++) {
      const got = await server.ask('LOCK', own, { body: LOCK_BODY });
      expect(got.status).toBe(200);
      const put = await server.ask('PUT', own, { body: 'y', headers: { If: `(${got.headers['lock-token']})` } });
      expect(put.status).toBe(204);
      const freed = await server.ask('UNLOCK', own, { headers: { 'Lock-Token': String(got.headers['lock-token']) } });
      expect(freed.status).toBe(204);
    }
  });
});

test.each([
  ['small', 100],
  ['big', 200_000],
])('PUT of %s content with the same If-Match: exactly one wins', async (_, size) => {
  let { etag } = (await server.ask('PUT', f, { body: 'base' })).headers;
  for (let round = 0; round < 5; round++) {
    const base = etag ?? '';
    const answers = await all((i) =>
      server.ask('PUT', f, { body: Buffer.alloc(size, i), headers: { 'If-Match': base } }),
    );
    expect(answers.filter(({ status }) => status === 204)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 412)).toHaveLength(CLIENTS - 1);
    const winner = answers.findIndex(({ status }) => status === 204);
    const got = await server.ask('GET', f);
    expect(got.bytes.equals(Buffer.alloc(size, winner))).toBe(true);
    etag = got.headers.etag;
  }
});

test('PUT with If-None-Match: * and MKCOL: exactly one makes it', async () => {
  const puts = await all((i) => server.ask('PUT', f, { body: String(i), headers: { 'If-None-Match': '*' } }));
  expect(puts.filter(({ status }) => status === 201)).toHaveLength(1);
  const dirs = await all(() => server.ask('MKCOL', `${f}d`));
  expect(dirs.filter(({ status }) => status === 201)).toHaveLength(1);
  expect(dirs.filter(({ status }) => status === 405)).toHaveLength(CLIENTS - 1);
});

test('MOVE of one file by many: one moves it, nobody loses it', async () => {
  await server.ask('PUT', f, { body: 'once' });
  const answers = await all((i) => server.ask('MOVE', f, { headers: { Destination: `/dav/files/anna/${f}-${i}` } }));
  expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
  expect(answers.filter(({ status }) => status === 404)).toHaveLength(CLIENTS - 1);
  const found = await all((i) => server.ask('GET', `${f}-${i}`));
  expect(found.filter(({ status }) => status === 200)).toHaveLength(1);
});

test('readers of a file being replaced see one version or the other, whole', async () => {
  const size = 300_000;
  await server.ask('PUT', f, { body: Buffer.alloc(size, 1) });
  let stop = false;
  const readers = all(async () => {
    while (!stop) {
      const { bytes } = await server.ask('GET', f);
      expect(bytes).toHaveLength(size);
      expect(bytes.every((byte) => byte === bytes[0])).toBe(true);
    }
  });
  for (let i = 2; i < 12; i++) await server.ask('PUT', f, { body: Buffer.alloc(size, i) });
  stop = true;
  await readers;
});
