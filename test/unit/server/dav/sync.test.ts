import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { MultistatusReader } from '../../../../src/remote/wire/multistatus.js';
import { type DavServer, startDavServer } from './dav_server.js';

let server: DavServer;
let n = 0;
let d: string;
beforeAll(async () => {
  server = await startDavServer({ limits: { syncPage: 50 } });
});
afterAll(() => server.close());
beforeEach(async () => {
  d = `d${++n}`;
  await server.ask('MKCOL', d);
});

const ask = (path: string, token: string, extra = '', level = 'infinite') =>
  server.ask('REPORT', path, {
    body: `<d:sync-collection xmlns:d="DAV:"><d:sync-token>${token}</d:sync-token><d:sync-level>${level}</d:sync-level>${extra}<d:prop><d:getetag/><d:resourcetype/></d:prop></d:sync-collection>`,
  });

async function page(path: string, token: string, extra = '', level = 'infinite') {
  const answer = await ask(path, token, extra, level);
  expect(answer.status).toBe(207);
  const reader = new MultistatusReader();
  const first = reader.write(answer.bytes);
  const { responses, syncToken } = reader.end();
  const lines: string[] = [];
  let more = false;
  for (const { hrefs, status } of [...first, ...responses]) {
    const name = hrefs[0]?.replace(`/dav/files/anna/${path}/`, '') ?? '';
    if (status === 507) {
      expect(hrefs).toEqual([`/dav/files/anna/${path}/`]);
      expect(answer.text).toContain('<d:number-of-matches-within-limits/>');
      more = true;
    } else lines.push(status === 404 ? `-${name}` : name);
  }
  if (syncToken === null) throw new Error('no token');
  return { lines, token: syncToken, more };
}

test('everything first, then what changed, then nothing', async () => {
  await server.ask('MKCOL', `${d}/sub`);
  await server.ask('PUT', `${d}/sub/f`, { body: 'x' });
  const first = await page(d, '');
  expect(first).toMatchObject({ lines: ['sub/', 'sub/f'], more: false });
  expect(await page(d, first.token)).toMatchObject({ lines: [], more: false });
  await server.ask('PUT', `${d}/sub/g`, { body: 'x' });
  await server.ask('DELETE', `${d}/sub/f`);
  const second = await page(d, first.token);
  expect(second.lines).toEqual(['sub/', 'sub/g', '-sub/f']);
  await server.ask('MOVE', `${d}/sub`, { headers: { Destination: `/dav/files/anna/${d}/new%20name` } });
  expect((await page(d, second.token)).lines).toEqual(['new%20name/', 'new%20name/g', '-sub']);
});

test('pages: 507 for the collection, a token to go on from, all in the end', async () => {
  for (let i = 0; i < 7; i++) await server.ask('PUT', `${d}/f${i}`, { body: 'x' });
  const seen: string[] = [];
  let token = '';
  let pages = 0;
  for (;;) {
    const part = await page(d, token, '<d:limit><d:nresults>3</d:nresults></d:limit>');
    seen.push(...part.lines);
    token = part.token;
    pages += 1;
    if (!part.more) break;
  }
  expect(seen).toEqual(['f0', 'f1', 'f2', 'f3', 'f4', 'f5', 'f6']);
  expect(pages).toBeGreaterThanOrEqual(3);
  expect(await page(d, token)).toMatchObject({ lines: [], more: false });
});

test('sync-level 1 tells members only', async () => {
  await server.ask('MKCOL', `${d}/sub`);
  await server.ask('PUT', `${d}/sub/f`, { body: 'x' });
  expect((await page(d, '', '', '1')).lines).toEqual(['sub/']);
});

test('the token of PROPFIND is where the feed stands', async () => {
  await server.ask('PUT', `${d}/f`, { body: 'x' });
  const found = await server.ask('PROPFIND', d, {
    headers: { Depth: '0' },
    body: '<d:propfind xmlns:d="DAV:"><d:prop><d:sync-token/></d:prop></d:propfind>',
  });
  const token = /<d:sync-token>([^<]+)</.exec(found.text)?.[1] ?? '';
  expect((await page(d, token)).lines).toEqual([]);
  await server.ask('PUT', `${d}/g`, { body: 'x' });
  expect((await page(d, token)).lines).toEqual(['g']);
});

test('tokens that are not ours, of another collection or another history are refused', async () => {
  await server.ask('MKCOL', `${d}/sub`);
  const { token } = await page(d, '');
  for (const bad of ['http://example.org/1', `${token}9999999`, 'x'.repeat(1000)]) {
    const refused = await ask(d, bad);
    expect(refused.status).toBe(403);
    expect(refused.text).toContain('<d:valid-sync-token/>');
  }
  expect((await ask(`${d}/sub`, token)).status).toBe(403);
  await server.metadata.newEpoch();
  expect((await ask(d, token)).status).toBe(403);
  expect((await page(d, '')).lines).toEqual(['sub/']);
});

test('other reports, files and nonsense are refused', async () => {
  await server.ask('PUT', `${d}/f`, { body: 'x' });
  expect((await ask(`${d}/f`, '')).status).toBe(403);
  expect((await ask(`${d}/none`, '')).status).toBe(404);
  expect((await ask(d, '', '', '5')).status).toBe(400);
  expect((await ask(d, '', '<d:limit><d:nresults>0</d:nresults></d:limit>')).status).toBe(400);
  const other = await server.ask('REPORT', d, { body: '<x:y xmlns:x="x"/>' });
  expect(other.status).toBe(403);
  expect(other.text).toContain('<d:supported-report/>');
  expect((await server.ask('REPORT', d)).status).toBe(400);
});
