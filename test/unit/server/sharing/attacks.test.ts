// What people try who have (or had) a little access and want more.

import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { ShareReader } from '../../../../src/server/storage/metadata/sqlite/share_reading.js';
import { type ShareWorld, shareWorld } from './share_world.js';

interface ActivityItem {
  readonly activity_id: number;
  readonly type: string;
  readonly user: string;
  readonly object_name: string;
  readonly client: string | null;
}

let world: ShareWorld;

beforeAll(async () => {
  world = await shareWorld();
  await world.dav('anna', 'MKCOL', 'Private');
  await world.dav('anna', 'MKCOL', 'Private/shared');
  await world.dav('anna', 'PUT', 'Private/secret.txt', { body: 'secret' });
  await world.dav('anna', 'PUT', 'Private/shared/open.txt', { body: 'open' });
});
afterAll(() => world.close());

async function activityOf(user: string, params: Record<string, string> = {}) {
  const query = new URLSearchParams({ format: 'json', ...params });
  const answer = await world.raw(user, 'GET', `/ocs/v2.php/apps/activity/api/v2/activity?${query}`);
  return { status: answer.status, items: (JSON.parse(answer.text) as { ocs: { data: ActivityItem[] } }).ocs.data };
}

test('a share root is no way up', async () => {
  const { id } = await world.share('anna', 'Private/shared', { shareType: '0', shareWith: 'bert', permissions: '31' });
  const base = '/dav/files/bert/shared';
  for (const path of [
    '/../secret.txt',
    '/%2e%2e/secret.txt',
    '/..%2fsecret.txt',
    '/./../../anna/Private/secret.txt',
    '//secret.txt',
  ]) {
    const answer = await world.raw('bert', 'GET', base + path);
    expect([400, 404], path).toContain(answer.status);
  }
  for (const destination of [
    '/dav/files/bert/shared/../x',
    '/dav/files/anna/Private/x',
    '/dav/files/bert/shared/%2e%2e/x',
  ]) {
    const answer = await world.raw('bert', 'MOVE', `${base}/open.txt`, {
      headers: { destination: world.url + destination },
    });
    expect([400, 403, 502], destination).toContain(answer.status);
  }
  // Paths of the sharing API are those of one's own tree.
  for (const path of ['/shared/../secret.txt', '/Private/secret.txt', '/../anna/Private']) {
    const answer = await world.ocs('bert', 'POST', 'shares', { path, shareType: '3' });
    expect([400, 404], path).toContain(answer.status);
  }
  await world.ocs('anna', 'DELETE', `shares/${id}`);
});

test('a withdrawn share leaves nothing that still opens: no id, no lock, no activity, no sync token', async () => {
  const { id } = await world.share('anna', 'Private/shared', { shareType: '0', shareWith: 'bert', permissions: '31' });
  const fileId = (await world.prop('bert', 'shared/open.txt', 'oc:fileid')) ?? '';
  const inside = await world.sync('bert', '', 'shared/');
  await world.dav('bert', 'LOCK', 'shared/open.txt', { headers: { 'X-User-Lock': '1' } });
  expect((await activityOf('bert', { object_type: 'files', object_id: fileId })).status).toBe(200);
  await world.ocs('anna', 'DELETE', `shares/${id}`);
  expect((await activityOf('bert', { object_type: 'files', object_id: fileId })).status).toBe(404);
  expect((await world.ocs('bert', 'GET', `shares/${id}`)).status).toBe(404);
  expect((await world.ocs('bert', 'PUT', `shares/${id}`, { permissions: '31' })).status).toBe(404);
  await expect(world.sync('bert', inside.token, 'shared/')).rejects.toThrow('404');
  // The token of the folder does not open the root either, nor the root's the folder.
  await expect(world.sync('bert', inside.token)).rejects.toThrow('403');
  expect((await world.dav('anna', 'PUT', 'Private/shared/open.txt', { body: 'open' })).status).toBe(204);
});

test('only who gave a share may change it, also by guessing numbers', async () => {
  const { id } = await world.share('anna', 'Private/shared', { shareType: '0', shareWith: 'bert', permissions: '1' });
  expect((await world.ocs('bert', 'PUT', `shares/${id}`, { permissions: '31' })).status).toBe(403);
  expect((await world.ocs('carl', 'GET', `shares/${id}`)).status).toBe(404);
  expect((await world.ocs('carl', 'DELETE', `shares/${id}`)).status).toBe(404);
  expect((await world.ocs('bert', 'POST', 'shares', { path: '/shared', shareType: '3' })).status).toBe(403);
  expect((await world.dav('bert', 'GET', 'shared/open.txt')).status).toBe(200);
  await world.ocs('anna', 'DELETE', `shares/${id}`);
});

test('listings, feeds and properties name nothing outside of the share', async () => {
  const { id } = await world.share('anna', 'Private/shared', { shareType: '0', shareWith: 'bert', permissions: '15' });
  await world.dav('anna', 'PUT', 'Private/another secret.txt', { body: 'x' });
  await world.dav('anna', 'MOVE', 'Private/another secret.txt', {
    headers: { destination: world.urlOf('anna', 'Private/secret two.txt') },
  });
  const all = await world.raw('bert', 'PROPFIND', '/dav/files/bert/', { headers: { Depth: 'infinity' } });
  const feed = await world.sync('bert', '');
  const inside = await world.sync('bert', '', 'shared/');
  await world.dav('anna', 'DELETE', 'Private/secret two.txt');
  const later = await world.sync('bert', feed.token);
  await world.dav('anna', 'LOCK', 'Private', {
    headers: { Depth: 'infinity' },
    body: '<d:lockinfo xmlns:d="DAV:"><d:lockscope><d:exclusive/></d:lockscope><d:locktype><d:write/></d:locktype></d:lockinfo>',
  });
  const locks = await world.prop('bert', 'shared/open.txt', 'd:lockdiscovery');
  const refused = await world.dav('bert', 'PUT', 'shared/open.txt', { body: 'x' });
  expect(refused.status).toBe(423);
  for (const text of [
    all.text,
    feed.lines.join(),
    inside.lines.join(),
    later.lines.join(),
    String(locks),
    refused.text,
  ]) {
    expect(text).not.toContain('secret');
    expect(text).not.toContain('Private');
  }
  await world.dav('anna', 'UNLOCK', 'Private', { headers: { 'X-User-Lock': '1' } });
  await world.ocs('anna', 'DELETE', `shares/${id}`);
});

test('what is done with a file is told to its owner and to who did it, with the program', async () => {
  const { id } = await world.share('anna', 'Private/shared', { shareType: '0', shareWith: 'bert', permissions: '15' });
  await world.dav('bert', 'PUT', 'shared/by bert.txt', { body: 'x', headers: { 'User-Agent': 'TestDrive/1.0' } });
  const { items } = await activityOf('anna');
  expect(items[0]).toMatchObject({
    type: 'file_created',
    user: 'bert',
    object_name: '/Private/shared/by bert.txt',
    client: 'TestDrive/1.0',
  });
  expect((await activityOf('bert')).items[0]?.object_name).toBe('/shared/by bert.txt');
  expect((await activityOf('carl')).items).toEqual([]);
  expect((await activityOf('carl', { path: '/Private/shared/by bert.txt' })).status).toBe(404);
  const ofFile = await activityOf('anna', { path: '/Private/shared/by bert.txt' });
  expect(ofFile.items.map(({ type }) => type)).toEqual(['file_created']);
  const older = await activityOf('anna', { since: String(items[0]?.activity_id), limit: '1' });
  expect(older.items[0]?.type).toBe('file_shared');
  await world.ocs('anna', 'DELETE', `shares/${id}`);
});

test('the search for people is by a part of the name, bounded, and never the list of all', async () => {
  interface Found {
    readonly exact: { readonly users: readonly { readonly value: { readonly shareWith: string } }[] };
    readonly users: readonly { readonly value: { readonly shareWith: string } }[];
    readonly groups: readonly { readonly label: string }[];
  }
  const search = async (text: string, more: Record<string, string> = {}) =>
    (await world.ocs<Found>('anna', 'GET', 'sharees', { search: text, itemType: 'file', ...more })).data;
  await world.server.accounts.createGroup('Examples');
  expect((await search('ber')).users.map(({ value }) => value.shareWith)).toEqual(['bert']);
  expect((await search('bert')).exact.users.map(({ value }) => value.shareWith)).toEqual(['bert']);
  const many = await search('example');
  expect(many.users.map(({ value }) => value.shareWith)).toEqual(['bert', 'carl', 'dora']);
  expect(many.groups.map(({ label }) => label)).toEqual(['Examples']);
  expect((await search('example', { perPage: '1' })).users).toHaveLength(1);
  expect((await search('')).users).toEqual([]);
  expect((await search('%')).users).toEqual([]);
  const statuses = new Set<number>();
  for (let i = 0; i < 130; i++) statuses.add((await world.ocs('carl', 'GET', 'sharees', { search: `x${i}` })).status);
  expect([...statuses].sort()).toEqual([200, 429]);
});

test('changes are not made by a page that a browser visits, and both versions of the API answer', async () => {
  const body = new URLSearchParams({ path: '/Private/shared', shareType: '0', shareWith: 'bert' }).toString();
  const headers = { 'Content-Type': 'application/x-www-form-urlencoded' };
  const path = '/ocs/v1.php/apps/files_sharing/api/v1/shares';
  expect((await world.raw('anna', 'POST', path, { body, headers })).text).toContain('<statuscode>412</statuscode>');
  const made = await world.raw('anna', 'POST', path, { body, headers: { ...headers, 'OCS-APIRequest': 'true' } });
  expect(made.status).toBe(200);
  expect(made.text).toContain('<statuscode>100</statuscode>');
  expect(made.text).toContain('<share_with>bert</share_with>');
  const json = await world.raw('anna', 'POST', '/ocs/v2.php/apps/files_sharing/api/v1/shares?format=json', {
    body: JSON.stringify({ path: '/Private/shared', shareType: 0, shareWith: 'carl', permissions: 3, note: 'look' }),
    headers: { 'Content-Type': 'application/json', 'OCS-APIRequest': 'true' },
  });
  expect(JSON.parse(json.text)).toMatchObject({ ocs: { data: { share_with: 'carl', permissions: 3, note: 'look' } } });
  expect((await world.raw('anna', 'GET', path)).text.match(/<element>/g)?.length).toBe(2);
});

test('who lost a share learns nothing more through what they handed on of it', async () => {
  await world.dav('anna', 'MKCOL', 'Plan');
  const { id } = await world.share('anna', 'Plan', { shareType: '0', shareWith: 'bert', permissions: '31' });
  const link = await world.share('bert', 'Plan', { shareType: '3' });
  const seen = async () => [
    (await world.ocs('bert', 'GET', `shares/${link.id}`)).status,
    ...(await world.ocs<{ path: string }[]>('bert', 'GET', 'shares')).data.map(({ path }) => path),
  ];
  expect(await seen()).toEqual([200, '/Plan']);
  await world.ocs('anna', 'PUT', `shares/${id}`, { suspended: 'true' });
  await world.dav('anna', 'MOVE', 'Plan', { headers: { destination: world.urlOf('anna', 'Secret merger') } });
  expect(await seen()).toEqual([404]);
  expect((await world.ocs('bert', 'PUT', `shares/${link.id}`, { label: 'x' })).status).toBe(404);
  expect(
    (await world.ocs<unknown[]>('anna', 'GET', 'shares', { path: '/Secret merger', reshares: 'true' })).data,
  ).toHaveLength(2);
  await world.ocs('anna', 'PUT', `shares/${id}`, { suspended: 'false' });
  expect(await seen()).toEqual([200, '/Plan']);
  await world.ocs('anna', 'DELETE', `shares/${id}`);
});

test('who may not remove makes no entry vanish by moving another over it, or it over another', async () => {
  for (const [permissions, status] of [
    ['3', 403], // changes what is there
    ['7', 204], // adds too: that is how programs save
    ['15', 204],
  ] as const) {
    const folder = `Over${permissions}`;
    await world.dav('anna', 'MKCOL', folder);
    for (const name of ['a', 'b']) await world.dav('anna', 'PUT', `${folder}/${name}`, { body: name });
    await world.share('anna', folder, { shareType: '0', shareWith: 'bert', permissions });
    const moved = await world.dav('bert', 'MOVE', `${folder}/a`, {
      headers: { destination: world.urlOf('bert', `${folder}/b`) },
    });
    expect(moved.status, permissions).toBe(status);
    expect(await world.list('anna', folder), permissions).toEqual(status === 403 ? ['a', 'b'] : ['b']);
  }
});

test('a new user of a name does not see what an earlier one of that name did', async () => {
  const { accounts } = world.server;
  await accounts.create({ name: 'eve', password: 'the first of them' });
  await world.raw('eve:the first of them', 'PUT', '/dav/files/eve/diagnosis.txt', { body: 'x' });
  expect((await activityOf('eve:the first of them')).items).toHaveLength(1);
  await accounts.remove('eve', 'delete');
  await accounts.create({ name: 'eve', password: 'the second one' });
  expect((await activityOf('eve:the second one')).items).toEqual([]);
  await accounts.remove('eve', 'delete');
});

test('a long list of what one was given is looked up once, not for each share of it', async () => {
  for (let i = 0; i < 10; i++) {
    await world.dav('anna', 'MKCOL', `Many${i}`);
    await world.share('anna', `Many${i}`, { shareType: '0', shareWith: 'dora', permissions: '1' });
  }
  const lists = vi.spyOn(ShareReader.prototype, 'list');
  const { data } = await world.ocs<unknown[]>('dora', 'GET', 'shares', { shared_with_me: 'true' });
  const asked = lists.mock.calls.length;
  lists.mockRestore();
  expect(data).toHaveLength(10);
  expect(asked).toBeLessThan(5);
});

test('nobody fills the disk, or the files of others, with shares without end', async () => {
  await world.dav('dora', 'MKCOL', 'Endless');
  const link = { path: '/Endless', shareType: '3', note: 'x'.repeat(1000) };
  const first = await world.ocs('dora', 'POST', 'shares', link);
  const db = new Database(join(world.dir, 'cloudmount.db'));
  const columns = (db.pragma('table_info(shares)') as { readonly name: string }[])
    .map(({ name }) => name)
    .filter((name) => name !== 'id' && name !== 'token')
    .join(', ');
  db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
    INSERT INTO shares (${columns}, token) SELECT ${columns}, token || n.i FROM n, shares WHERE shares.id = ${first.data.id}`);
  db.close();
  expect(await world.ocs('dora', 'POST', 'shares', link)).toMatchObject({ status: 507 });
  expect((await world.ocs('dora', 'DELETE', `shares/${first.data.id}`)).status).toBe(200);
  expect((await world.ocs('dora', 'POST', 'shares', link)).status).toBe(200);
});
