// Public links: what they let in, what they keep in, and what they keep out.

import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { SqliteRead } from '../../../../src/server/storage/metadata/sqlite/reading.js';
import { type SharedItem, type ShareWorld, shareWorld } from './share_world.js';

let world: ShareWorld;
let count = 0;

beforeAll(async () => {
  world = await shareWorld();
  await world.dav('anna', 'PUT', 'secret.txt', { body: 'secret' });
});
afterAll(() => world.close());

async function link(
  params: Record<string, string> = {},
  file = '',
): Promise<SharedItem & { readonly base: string; readonly f: string }> {
  const f = `P${++count}`;
  await world.dav('anna', 'MKCOL', f);
  await world.dav('anna', 'MKCOL', `${f}/sub`);
  await world.dav('anna', 'PUT', `${f}/a.txt`, { body: 'public' });
  const item = await world.share('anna', file === '' ? f : `${f}/${file}`, { shareType: '3', ...params });
  return { ...item, base: `/public.php/dav/files/${item.token}/`, f };
}

const depth1 = { headers: { Depth: '1' } };

test('a link lets see and load what is in its folder, without an account', async () => {
  const { base, token, url } = await link();
  expect(token).toMatch(/^[A-Za-z0-9_-]{32}$/);
  expect((await world.raw(null, 'GET', `${base}a.txt`)).text).toBe('public');
  expect((await world.raw(null, 'PROPFIND', base, depth1)).text).toContain(`${base}a.txt`);
  expect((await world.raw(`${token}:`, 'GET', '/public.php/webdav/a.txt')).text).toBe('public');
  expect((await world.raw(null, 'PUT', `${base}b.txt`, { body: 'x' })).status).toBe(403);
  expect((await world.raw(null, 'DELETE', `${base}a.txt`)).status).toBe(403);
  const page = await world.raw(null, 'GET', new URL(String(url)).pathname);
  expect(page.text).toContain('a.txt');
  expect(page.text).not.toContain('<script');
  expect(page.headers['content-security-policy']).toContain("default-src 'none'");
  const loaded = await world.raw(null, 'GET', `/s/${token}/a.txt`);
  expect(loaded.text).toBe('public');
  expect(loaded.headers['content-disposition']).toContain('attachment');
});

test('the page of a link for adding takes files in, overwrites none, and allows nothing but its own script', async () => {
  const { token, f } = await link({ permissions: '5' });
  const page = await world.raw(null, 'GET', `/s/${token}/sub`);
  const nonce = /<script nonce="([^"]+)">/.exec(page.text)?.[1];
  expect(page.text).toContain(`data-base="/s/${token}/sub"`);
  expect(page.headers['content-security-policy']).toContain(`script-src 'nonce-${nonce}'`);
  expect((await world.raw(null, 'PUT', `/s/${token}/sub/new.txt`, { body: 'new' })).status).toBe(201);
  expect((await world.dav('anna', 'GET', `${f}/sub/new.txt`)).text).toBe('new');
  expect((await world.raw(null, 'PUT', `/s/${token}/a.txt`, { body: 'other' })).status).toBe(403);
  expect((await world.dav('anna', 'GET', `${f}/a.txt`)).text).toBe('public');
});

test('the page of a drop takes files in and shows none; that of a view takes none', async () => {
  const drop = await link({ permissions: '4' });
  const page = await world.raw(null, 'GET', `/s/${drop.token}`);
  expect(page.text).toContain('type="file"');
  expect(page.text).not.toContain('a.txt');
  expect((await world.raw(null, 'PUT', `/s/${drop.token}/a.txt`, { body: 'dropped' })).status).toBe(201);
  expect((await world.dav('anna', 'GET', `${drop.f}/a.txt`)).text).toBe('public');
  expect((await world.dav('anna', 'GET', `${drop.f}/a (2).txt`)).text).toBe('dropped');
  const view = await link();
  expect((await world.raw(null, 'GET', `/s/${view.token}`)).text).not.toContain('type="file"');
  expect((await world.raw(null, 'PUT', `/s/${view.token}/b.txt`, { body: 'x' })).status).toBe(403);
});

test('files are put into a link with a password only with the pass of its page', async () => {
  const { token, f } = await link({ permissions: '5', password: 'open sesame' });
  expect((await world.raw(null, 'PUT', `/s/${token}/b.txt`, { body: 'x' })).status).toBe(401);
  const form = 'application/x-www-form-urlencoded';
  const opened = await world.raw(null, 'POST', `/s/${token}`, {
    headers: { 'content-type': form },
    body: 'password=open+sesame',
  });
  const cookie = String(opened.headers['set-cookie']).split(';')[0] ?? '';
  expect((await world.raw(null, 'PUT', `/s/${token}/b.txt`, { headers: { cookie }, body: 'in' })).status).toBe(201);
  expect((await world.dav('anna', 'GET', `${f}/b.txt`)).text).toBe('in');
});

test('who comes with the address of what is inside of a link with a password is let in there', async () => {
  const { token } = await link({ password: 'open sesame' });
  for (const path of [`/s/${token}`, `/s/${token}/sub`, `/s/${token}/a.txt`]) {
    expect((await world.raw(null, 'GET', path)).text).toContain('<form method="post">');
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const opened = await world.raw(null, 'POST', path, { headers, body: 'password=open+sesame' });
    expect([path, opened.status, opened.headers['location']]).toEqual([path, 303, world.url + path]);
    const cookie = String(opened.headers['set-cookie']).split(';')[0] ?? '';
    expect((await world.raw(null, 'GET', path, { headers: { cookie } })).status).toBe(200);
  }
});

test('a page that cannot name all there is says so', async () => {
  const { token, f } = await link();
  const page = async () => (await world.raw(null, 'GET', `/s/${token}`)).text;
  // With `a.txt` and `sub`: as many as a page names.
  const puts = Array.from({ length: 4998 }, (_, n) => world.dav('anna', 'PUT', `${f}/n${n}`, { body: '' }));
  await Promise.all(puts);
  expect(await page()).not.toContain('more than');
  await world.dav('anna', 'PUT', `${f}/one more`, { body: '' });
  expect(await page()).toContain('more than 5000');
}, 60_000);

test('a link to a single file is that file', async () => {
  const { token } = await link({}, 'a.txt');
  expect((await world.raw(null, 'GET', `/public.php/dav/files/${token}`)).text).toBe('public');
  expect((await world.raw(null, 'GET', `/public.php/dav/files/${token}/`)).text).toBe('public');
  expect((await world.raw(null, 'GET', `/public.php/dav/files/${token}/a.txt`)).status).toBe(404);
  expect((await world.raw(null, 'GET', `/s/${token}`)).text).toContain('Download');
  expect((await world.raw(null, 'GET', `/s/${token}?download=1`)).text).toBe('public');
});

test('a link to a single file for editing takes new content for it, and nothing else', async () => {
  const { base, token, f } = await link({ role: 'edit' }, 'a.txt');
  const before = await world.prop('anna', `${f}/a.txt`, 'oc:fileid');
  expect((await world.raw(null, 'PUT', `/public.php/dav/files/${token}`, { body: 'second' })).status).toBe(204);
  expect((await world.raw(`${token}:`, 'PUT', '/public.php/webdav/', { body: 'third' })).status).toBe(204);
  expect((await world.dav('anna', 'GET', `${f}/a.txt`)).text).toBe('third');
  expect(await world.prop('anna', `${f}/a.txt`, 'oc:fileid')).toBe(before);
  expect((await world.raw(null, 'PUT', `${base}a.txt`, { body: 'x' })).status).toBe(409);
  expect((await world.raw(null, 'DELETE', base)).status).toBe(403);
  const shown = await link({}, 'a.txt');
  expect((await world.raw(null, 'PUT', shown.base, { body: 'x' })).status).toBe(403);
  // The folder itself is no file.
  for (const [permissions, status] of [
    ['15', 405],
    ['4', 409],
    ['1', 403],
  ] as const) {
    const folder = await link({ permissions });
    expect((await world.raw(null, 'PUT', folder.base, { body: 'x' })).status, permissions).toBe(status);
    expect((await world.dav('anna', 'GET', `${folder.f}/a.txt`)).text).toBe('public');
  }
});

describe('nothing outside of its folder can be reached', () => {
  test('by paths', async () => {
    const { base, token } = await link({ permissions: '15' });
    const tries = [
      `${base}../secret.txt`,
      `${base}%2e%2e/secret.txt`,
      `${base}sub/..%2f..%2fsecret.txt`,
      `${base}sub/%2e%2e/%2e%2e/secret.txt`,
      `${base}/secret.txt`,
      `/public.php/dav/files/${token}%2f..%2fsecret.txt`,
      `/s/${token}/../secret.txt`,
      `/s/${token}/%2e%2e/secret.txt`,
      `/public.php/webdav/../dav/files/anna/secret.txt`,
    ];
    for (const path of tries) {
      const answer = await world.raw(`${token}:`, 'GET', path);
      expect([400, 401, 404], path).toContain(answer.status);
      expect(answer.text, path).not.toContain('secret"');
      expect(answer.text, path).not.toBe('secret');
    }
  });

  test('by destinations and conditions', async () => {
    const { base } = await link({ permissions: '15' });
    for (const destination of [
      '/dav/files/anna/x',
      '/remote.php/dav/files/anna/x',
      `${base}../x`,
      '/public.php/dav/files/other/x',
    ]) {
      for (const method of ['COPY', 'MOVE']) {
        const answer = await world.raw(null, method, `${base}a.txt`, {
          headers: { destination: world.url + destination },
        });
        expect([400, 403, 502], `${method} ${destination}`).toContain(answer.status);
      }
    }
    const etag = (await world.dav('anna', 'HEAD', 'secret.txt')).headers['etag'];
    const answer = await world.raw(null, 'GET', `${base}a.txt`, {
      headers: { If: `</dav/files/anna/secret.txt> ([${etag}])` },
    });
    expect(answer.status).toBe(412);
  });

  test('and the token opens nothing else', async () => {
    const { token, id } = await link();
    expect((await world.raw(`${token}:`, 'GET', '/dav/files/anna/secret.txt')).status).toBe(401);
    expect((await world.raw(`${token}:`, 'GET', `/ocs/v2.php/apps/files_sharing/api/v1/shares/${id}`)).status).toBe(
      401,
    );
    await world.ocs('anna', 'PUT', `shares/${id}`, { suspended: 'true' });
    expect((await world.raw(null, 'GET', `/public.php/dav/files/${token}/a.txt`)).status).toBe(404);
    expect((await world.raw(null, 'GET', `/s/${token}`)).status).toBe(404);
    await world.ocs('anna', 'PUT', `shares/${id}`, { suspended: 'false' });
    expect((await world.raw(null, 'GET', `/public.php/dav/files/${token}/a.txt`)).status).toBe(200);
    await world.ocs('anna', 'DELETE', `shares/${id}`);
    expect((await world.raw(null, 'GET', `/public.php/dav/files/${token}/a.txt`)).status).toBe(404);
  });
});

test('a drop-only link takes files in and shows nothing, not even which names are taken', async () => {
  const { base, token, f } = await link({ permissions: '4' });
  const listing = await world.raw(null, 'PROPFIND', base, depth1);
  expect(listing.status).toBe(207);
  expect(listing.text).not.toContain('a.txt');
  expect((await world.raw(null, 'PROPFIND', base, { headers: { Depth: 'infinity' } })).text).not.toContain('a.txt');
  for (const name of ['a.txt', 'none.txt']) {
    expect((await world.raw(null, 'GET', `${base}${name}`)).status).toBe(404);
    expect((await world.raw(null, 'HEAD', `${base}${name}`)).status).toBe(404);
    expect((await world.raw(null, 'PROPFIND', `${base}${name}`, { headers: { Depth: '0' } })).status).toBe(404);
    expect((await world.raw(null, 'DELETE', `${base}${name}`)).status).toBe(404);
    const headers = { destination: `${world.url}${base}copy` };
    expect((await world.raw(null, 'COPY', `${base}${name}`, { headers })).status).toBe(404);
    expect((await world.raw(null, 'MOVE', `${base}${name}`, { headers })).status).toBe(404);
    expect(
      (await world.raw(null, 'PUT', `${base}${name}`, { body: 'new', headers: { 'If-None-Match': '*' } })).status,
    ).toBe(201);
  }
  const sync =
    '<d:sync-collection xmlns:d="DAV:"><d:sync-token/><d:sync-level>infinite</d:sync-level><d:prop/></d:sync-collection>';
  expect((await world.raw(null, 'REPORT', base, { body: sync })).status).toBe(404);
  expect((await world.raw(null, 'GET', `/s/${token}`)).text).not.toContain('a.txt');
  expect((await world.raw(null, 'GET', `/s/${token}/a.txt`)).status).toBe(404);
  expect((await world.dav('anna', 'GET', `${f}/a.txt`)).text).toBe('public');
  expect((await world.dav('anna', 'GET', `${f}/a (2).txt`)).text).toBe('new');
});

test('the thousandth file of a name that is dropped is taken like the second', async () => {
  const { base, f } = await link({ permissions: '4' });
  const drop = () => world.raw(null, 'PUT', `${base}a.txt`, { body: 'x' });
  for (let i = 0; i < 40; i++) expect((await drop()).status).toBe(201);
  const looks = vi.spyOn(SqliteRead.prototype, 'resolve');
  await drop();
  const count = looks.mock.calls.length;
  looks.mockRestore();
  expect(count).toBeLessThan(20);
  const names = ['a.txt', ...Array.from({ length: 41 }, (_, i) => `a (${i + 2}).txt`), 'sub/'];
  expect(await world.list('anna', f)).toEqual(names.sort());
});

test('a long name that is cut for its number stays one that can be asked for', async () => {
  const { base, f } = await link({ permissions: '4' });
  for (const name of [`${'🌻'.repeat(62)}ab.txt`, `🌻.${'x'.repeat(250)}`]) {
    for (const body of ['one', 'two']) {
      expect((await world.raw(null, 'PUT', base + encodeURIComponent(name), { body })).status).toBe(201);
    }
    const [second = ''] = (await world.list('anna', f)).filter((entry) => entry.includes('(2)'));
    expect(Buffer.byteLength(second)).toBeLessThanOrEqual(255);
    expect((await world.dav('anna', 'GET', `${f}/${second}`)).text).toBe('two');
    expect((await world.dav('anna', 'DELETE', `${f}/${second}`)).status).toBe(204);
  }
});

test('nothing a visitor of a drop-only link can ask tells which names are taken, or stands in the owner’s way', async () => {
  const lock =
    '<d:lockinfo xmlns:d="DAV:"><d:lockscope><d:exclusive/></d:lockscope><d:locktype><d:write/></d:locktype></d:lockinfo>';
  const patch =
    '<d:propertyupdate xmlns:d="DAV:"><d:set><d:prop><x:y xmlns:x="urn:x">1</x:y></d:prop></d:set></d:propertyupdate>';
  const asks: readonly {
    readonly method: string;
    readonly headers?: Record<string, string>;
    readonly body?: string;
  }[] = [
    { method: 'GET' },
    { method: 'HEAD' },
    { method: 'OPTIONS' },
    { method: 'SEARCH', body: '<d:searchrequest xmlns:d="DAV:"/>' },
    { method: 'PROPFIND', headers: { Depth: '0' } },
    { method: 'PROPFIND', headers: { Depth: '1' } },
    { method: 'PROPPATCH', body: patch },
    { method: 'REPORT', body: '<d:sync-collection xmlns:d="DAV:"><d:sync-token/><d:prop/></d:sync-collection>' },
    { method: 'MKCOL' },
    { method: 'LOCK', body: lock },
    { method: 'LOCK', headers: { 'X-User-Lock': '1' } },
    { method: 'UNLOCK', headers: { 'X-User-Lock': '1' } },
    { method: 'UNLOCK', headers: { 'Lock-Token': '<urn:uuid:00000000-0000-0000-0000-000000000000>' } },
    { method: 'DELETE' },
    { method: 'COPY', headers: { Destination: 'other' } },
    { method: 'MOVE', headers: { Destination: 'other' } },
    { method: 'PUT', body: 'x' },
    { method: 'PUT', body: 'x', headers: { 'If-Match': '*' } },
    { method: 'PUT', body: 'x', headers: { 'If-Match': '"none"' } },
    { method: 'PUT', body: 'x', headers: { 'If-None-Match': '*' } },
  ];
  for (const { method, headers = {}, body } of asks) {
    const { base, f } = await link({ permissions: '4' });
    const told = new Set<string>();
    for (const name of ['a.txt', 'sub', 'none']) {
      const destination = headers['Destination'] === undefined ? {} : { Destination: `${world.url}${base}new-${name}` };
      for (const path of [name, `${name}/below`]) {
        const answer = await world.raw(null, method, base + path, {
          headers: { ...headers, ...destination },
          ...(body === undefined ? {} : { body }),
        });
        told.add(`${path.replace(name, 'NAME')}: ${answer.status} ${answer.text.replaceAll(name, 'NAME')}`);
      }
    }
    expect([...told], `${method} ${JSON.stringify(headers)}: ${[...told].join('\n')}`).toHaveLength(2);
    expect((await world.dav('anna', 'PUT', `${f}/a.txt`, { body: 'mine' })).status, method).toBe(204);
    expect((await world.dav('anna', 'PUT', `${f}/sub/mine`, { body: 'mine' })).status, method).toBe(201);
    expect((await world.dav('anna', 'GET', `${f}/a.txt`)).text).toBe('mine');
  }
});

test('what a link cannot be for is told by its reason', async () => {
  const { f } = await link();
  const why = async (path: string, permissions: string) => {
    const { status, message } = await world.ocs('anna', 'POST', 'shares', { path, shareType: '3', permissions });
    return `${status} ${message}`;
  };
  expect(await why(`/${f}`, '16')).toMatch(/^400 .*share further/);
  expect(await why(`/${f}/a.txt`, '16')).toMatch(/^400 .*share further/);
  expect(await why(`/${f}/a.txt`, '4')).toMatch(/^400 .*found a file/);
  expect(await why(`/${f}`, '8')).toMatch(/^400 .*does not let read/);
});

test('an upload link adds and does not overwrite; an edit link does', async () => {
  const up = await link({ permissions: '5' });
  expect((await world.raw(null, 'PUT', `${up.base}n.txt`, { body: 'x' })).status).toBe(201);
  expect((await world.raw(null, 'PUT', `${up.base}n.txt`, { body: 'y' })).status).toBe(403);
  const edit = await link({ publicUpload: 'true' });
  expect((await world.raw(null, 'PUT', `${edit.base}a.txt`, { body: 'y' })).status).toBe(204);
  expect((await world.raw(null, 'DELETE', `${edit.base}a.txt`)).status).toBe(204);
  expect((await world.raw(null, 'DELETE', edit.base)).status).toBe(403);
});

test('no visitor leaves a symbolic link that leads to other files on the computers of who has the folder', async () => {
  const body = '/home/anna/.ssh/authorized_keys';
  const headers = { 'Content-Type': 'inode/symlink' };
  for (const permissions of ['4', '5', '15']) {
    const { base, f, token } = await link({ permissions });
    expect((await world.raw(null, 'PUT', `${base}notes.txt`, { body, headers })).status).toBe(403);
    expect((await world.raw(null, 'PUT', `/s/${token}/notes.txt`, { body, headers })).status).toBe(403);
    expect((await world.raw(null, 'PUT', `${base}a.txt`, { body, headers })).status).toBe(403);
    expect(await world.list('anna', f)).toEqual(['a.txt', 'sub/']);
    expect((await world.dav('anna', 'GET', `${f}/a.txt`)).text).toBe('public');
  }
});

test('a password is required everywhere, and guessing it is slowed down', async () => {
  const { base, token } = await link({ password: 'open sesame' });
  expect((await world.raw(null, 'GET', `${base}a.txt`)).status).toBe(401);
  expect((await world.raw('anonymous:open sesame', 'GET', `${base}a.txt`)).text).toBe('public');
  expect((await world.raw(`${token}:open sesame`, 'GET', '/public.php/webdav/a.txt')).text).toBe('public');
  const form = await world.raw(null, 'GET', `/s/${token}`);
  expect(form.status).toBe(401);
  expect(form.text).toContain('type="password"');
  expect(form.text).not.toContain('a.txt');
  const headers = { 'Content-Type': 'application/x-www-form-urlencoded' };
  const opened = await world.raw(null, 'POST', `/s/${token}`, { headers, body: 'password=open+sesame' });
  expect(opened.status).toBe(303);
  const cookie = String(opened.headers['set-cookie']).split(';')[0] ?? '';
  expect((await world.raw(null, 'GET', `/s/${token}`, { headers: { cookie } })).text).toContain('a.txt');
  expect((await world.raw(null, 'GET', `/s/${token}`, { headers: { cookie: `${cookie}x` } })).status).toBe(401);
  const statuses: number[] = [];
  for (let i = 0; i < 14; i++) statuses.push((await world.raw(`x:guess number ${i}`, 'GET', `${base}a.txt`)).status);
  expect(statuses[0]).toBe(401);
  expect(statuses.at(-1)).toBe(429);
});

test('the number of downloads holds, also when all come at once', async () => {
  const { base, id } = await link({ max_downloads: '3' });
  const answers = await Promise.all(Array.from({ length: 12 }, () => world.raw(null, 'GET', `${base}a.txt`)));
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(3);
  expect(answers.filter(({ status }) => status === 403)).toHaveLength(9);
  const [item] = (await world.ocs<SharedItem[]>('anna', 'GET', `shares/${id}`)).data;
  expect(item?.downloads).toBe(3);
  const one = await link({ max_downloads: '1' });
  const behind = { headers: { range: 'bytes=6-' } };
  expect((await world.raw(null, 'GET', `${one.base}a.txt`, behind)).status).toBe(416);
  expect((await world.raw(null, 'HEAD', `${one.base}a.txt`)).headers['content-length']).toBe('6');
  expect((await world.raw(null, 'GET', `${one.base}a.txt`)).text).toBe('public');
  expect((await world.raw(null, 'GET', `${one.base}a.txt`)).status).toBe(403);
  const hidden = await link({ hideDownload: 'true' });
  expect((await world.raw(null, 'GET', `${hidden.base}a.txt`)).status).toBe(403);
});

test('guessed tokens find nothing and are slowed down', async () => {
  const statuses = new Set<number>();
  for (let i = 0; i < 80; i++) statuses.add((await world.raw(null, 'GET', `/s/${'x'.repeat(20)}${1000 + i}`)).status);
  expect([...statuses].sort()).toEqual([404, 429]);
  // Who has a real one is not kept out by that.
  const { base } = await link();
  expect((await world.raw(null, 'GET', `${base}a.txt`)).status).toBe(200);
});

test.each([
  ['withdrawn', (id: string) => world.ocs('anna', 'DELETE', `shares/${id}`)],
  ['suspended', (id: string) => world.ocs('anna', 'PUT', `shares/${id}`, { suspended: 'true' })],
  ['for viewing only', (id: string) => world.ocs('anna', 'PUT', `shares/${id}`, { permissions: '1' })],
])('what a visitor began to send stays out when the link is %s before its end', async (_what, end) => {
  for (const [role, name] of [
    ['edit', 'a.txt'],
    ['edit', 'new.txt'],
    ['drop', 'dropped.txt'],
  ] as const) {
    const { base, id, f } = await link({ role });
    if (role === 'drop' && _what === 'for viewing only') continue;
    const before = await world.list('anna', f);
    const { port } = new URL(world.url);
    const sent = request({ port, method: 'PUT', path: base + name, headers: { 'content-length': 100_000 } });
    const answered = new Promise<number>((resolve, reject) => {
      sent.on('response', (response) => resolve(response.resume().statusCode ?? 0)).on('error', reject);
    });
    sent.write(Buffer.alloc(50_000));
    await new Promise((resolve) => setTimeout(resolve, 100)); // it has been let in
    expect((await end(id)).status).toBe(200);
    sent.end(Buffer.alloc(50_000));
    expect(await answered).toBeGreaterThanOrEqual(403);
    expect(await world.list('anna', f)).toEqual(before);
    expect((await world.dav('anna', 'GET', `${f}/a.txt`)).text).toBe('public');
  }
});
