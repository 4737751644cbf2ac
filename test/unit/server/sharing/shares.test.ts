// What sharing means for trees: where shares appear, what follows when they change, and who is told.

import { once } from 'node:events';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import { SqliteAccounts } from '../../../../src/server/accounts/sqlite_accounts.js';
import { type SharedItem, type ShareWorld, shareWorld } from './share_world.js';

let world: ShareWorld;
let count = 0;
/** A fresh folder of anna's with a file in it. */
async function folder(): Promise<string> {
  const name = `F${++count}`;
  await world.dav('anna', 'MKCOL', name);
  await world.dav('anna', 'PUT', `${name}/a.txt`, { body: 'one' });
  return name;
}

beforeAll(async () => {
  world = await shareWorld();
});
afterAll(() => world.close());

test('a share appears in the tree of its recipient and leads to the same files', async () => {
  const f = await folder();
  expect(await world.list('bert')).not.toContain(`${f}/`);
  await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '15' });
  expect(await world.list('bert')).toContain(`${f}/`);
  expect((await world.dav('bert', 'GET', `${f}/a.txt`)).text).toBe('one');
  expect((await world.dav('bert', 'PUT', `${f}/b.txt`, { body: 'two' })).status).toBe(201);
  expect((await world.dav('anna', 'GET', `${f}/b.txt`)).text).toBe('two');
  expect(await world.prop('bert', f, 'oc:permissions')).toBe('SMGDNVCK');
  expect(await world.prop('bert', `${f}/a.txt`, 'oc:permissions')).toBe('SGDNVW');
  expect(await world.prop('anna', f, 'oc:permissions')).toBe('RGDNVCK');
  expect(await world.prop('bert', f, 'oc:owner-id')).toBe('anna');
  expect(await world.prop('bert', f, 'oc:owner-display-name')).toBe('Anna Example');
  expect(await world.prop('anna', f, 'oc:share-types')).toBe('<oc:share-type>0</oc:share-type>');
  expect(await world.prop('bert', f, 'oc:fileid')).toBe(await world.prop('anna', f, 'oc:fileid'));
});

test('what is asked for one path, or one folder, names no share of anything else', async () => {
  const [f, other] = [await folder(), await folder()];
  const { id } = await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '31' });
  await world.share('anna', other, { shareType: '0', shareWith: 'bert', permissions: '1' });
  await world.dav('bert', 'PUT', 'own.txt', { body: 'x' });
  const ids = async (user: string, params: Record<string, string>) =>
    (await world.ocs<SharedItem[]>(user, 'GET', 'shares', params)).data.map((item) => item.id);
  expect(await ids('bert', { shared_with_me: 'true', path: `/${f}` })).toEqual([id]);
  expect(await ids('bert', { shared_with_me: 'true', path: '/own.txt' })).toEqual([]);
  expect((await world.ocs('bert', 'GET', 'shares', { shared_with_me: 'true', path: '/none' })).status).toBe(404);
  expect(await ids('bert', { shared_with_me: 'true' })).toEqual(expect.arrayContaining([id]));
  // What bert was given is none of what is shared of his folder.
  expect(await ids('bert', { subfiles: 'true', path: '/' })).toEqual([]);
  const onward = await world.share('bert', f, { shareType: '0', shareWith: 'carl', permissions: '1' });
  expect(await ids('bert', { subfiles: 'true', path: '/' })).toEqual([onward.id]);
  expect(await ids('anna', { subfiles: 'true', path: '/' })).toEqual(expect.arrayContaining([id, onward.id]));
});

test('names that are taken get a number', async () => {
  const f = await folder();
  await world.dav('bert', 'MKCOL', f);
  await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '1' });
  expect(await world.list('bert')).toEqual(expect.arrayContaining([`${f}/`, `${f} (2)/`]));
  expect((await world.dav('bert', 'GET', `${f} (2)/a.txt`)).text).toBe('one');
  await world.share('anna', `${f}/a.txt`, { shareType: '0', shareWith: 'carl', permissions: '3' });
  await world.dav('carl', 'DELETE', 'a.txt');
  await world.dav('carl', 'PUT', 'a.txt', { body: 'mine' });
  const again = await folder();
  await world.share('anna', `${again}/a.txt`, { shareType: '0', shareWith: 'carl', permissions: '3' });
  expect(await world.list('carl')).toEqual(expect.arrayContaining(['a.txt', 'a (2).txt']));
});

test('the recipient may rename and move the entry, and removing it only does without the share', async () => {
  const f = await folder();
  await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '1' });
  await world.dav('bert', 'MKCOL', `own${count}`);
  const destination = world.urlOf('bert', `own${count}/from anna`);
  expect((await world.dav('bert', 'MOVE', f, { headers: { destination } })).status).toBe(201);
  expect((await world.dav('bert', 'GET', `own${count}/from anna/a.txt`)).text).toBe('one');
  expect(await world.list('anna')).toContain(`${f}/`);
  expect((await world.dav('bert', 'DELETE', `own${count}/from anna`)).status).toBe(204);
  expect((await world.dav('bert', 'GET', `own${count}/from anna/a.txt`)).status).toBe(404);
  expect((await world.dav('anna', 'GET', `${f}/a.txt`)).text).toBe('one');
});

test('who did without a share can be given it again', async () => {
  const f = await folder();
  const params = { shareType: '0', shareWith: 'bert', permissions: '15' };
  const first = await world.share('anna', f, { ...params, note: 'first' });
  const again = () => world.ocs('anna', 'POST', 'shares', { path: `/${f}`, ...params });
  expect((await again()).status).toBe(403);
  await world.dav('bert', 'DELETE', f);
  const second = await again();
  expect(second.status).toBe(200);
  expect((await world.dav('bert', 'GET', `${f}/a.txt`)).text).toBe('one');
  expect((await world.ocs('anna', 'GET', `shares/${first.id}`)).status).toBe(404);
  const of = await world.ocs<SharedItem[]>('anna', 'GET', 'shares', { path: `/${f}` });
  expect(of.data.map(({ id }) => id)).toEqual([second.data.id]);
});

test('suspending takes the entry away, resuming brings it back to where it was', async () => {
  const f = await folder();
  const { id } = await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '15' });
  const destination = world.urlOf('bert', `renamed ${f}`);
  await world.dav('bert', 'MOVE', f, { headers: { destination } });
  const before = await world.sync('bert', '');
  expect(before.lines).toContain(`+renamed ${f}/a.txt`);
  const etag = await world.prop('bert', '', 'd:getetag');

  expect((await world.ocs('anna', 'PUT', `shares/${id}`, { suspended: 'true' })).data.suspended).toBe(true);
  expect(await world.list('bert')).not.toContain(`renamed ${f}/`);
  expect((await world.dav('bert', 'GET', `renamed ${f}/a.txt`)).status).toBe(404);
  const gone = await world.sync('bert', before.token);
  expect(gone.lines).toEqual([`-renamed ${f}`]);
  expect(await world.prop('bert', '', 'd:getetag')).not.toBe(etag);

  await world.ocs('anna', 'PUT', `shares/${id}`, { suspended: 'false' });
  const back = await world.sync('bert', gone.token);
  expect(back.lines).toEqual([`+renamed ${f}/`, `+renamed ${f}/a.txt`]);

  expect((await world.ocs('anna', 'DELETE', `shares/${id}`)).status).toBe(200);
  expect((await world.sync('bert', back.token)).lines).toEqual([`-renamed ${f}`]);
});

test('changes in a share reach the feeds and the ETags of all who see it', async () => {
  const f = await folder();
  await world.dav('anna', 'MKCOL', `${f}/sub`);
  await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '15' });
  await world.share('anna', `${f}/sub`, { shareType: '0', shareWith: 'bert', permissions: '1' });
  const start = await world.sync('bert', '');
  const etag = await world.prop('bert', '', 'd:getetag');
  await world.dav('anna', 'PUT', `${f}/sub/n.txt`, { body: 'x' });
  expect(await world.prop('bert', '', 'd:getetag')).not.toBe(etag);
  const first = await world.sync('bert', start.token);
  expect(first.lines).toEqual([`+${f}/`, `+${f}/sub/`, `+${f}/sub/n.txt`, '+sub/', '+sub/n.txt']);
  // Both places in pages of one.
  let token = start.token;
  const paged = new Set<string>();
  for (let more = true; more; ) {
    const page = await world.sync('bert', token, '', 1);
    for (const line of page.lines) paged.add(line);
    ({ token, more } = page);
  }
  expect([...paged].sort()).toEqual(first.lines);
  await world.dav('anna', 'MOVE', `${f}/sub/n.txt`, {
    headers: { destination: world.urlOf('anna', `out${count}.txt`) },
  });
  const second = await world.sync('bert', first.token);
  expect(second.lines).toEqual([`+${f}/`, `+${f}/sub/`, '+sub/', `-${f}/sub/n.txt`, '-sub/n.txt']);
  // Inside of the share the same, told at the recipient's addresses.
  const inside = await world.sync('bert', '', `${f}/`);
  expect(inside.lines).toContain(`+${f}/a.txt`);
  await world.dav('anna', 'DELETE', `${f}/a.txt`);
  expect((await world.sync('bert', inside.token, `${f}/`)).lines).toContain(`-${f}/a.txt`);
});

test('who sees only something inside of a folder learns what its move changes: locks end, rights from above too', async () => {
  const f = await folder();
  await world.dav('anna', 'MKCOL', `${f}/in`);
  await world.dav('anna', 'PUT', `${f}/in/file`, { body: 'x' });
  await world.share('anna', `${f}/in`, { shareType: '0', shareWith: 'bert', permissions: '15' });
  await world.dav('anna', 'LOCK', `${f}/in/file`, { headers: { 'x-user-lock': '1' } });
  const start = await world.sync('bert', '');
  const etag = await world.prop('bert', '', 'd:getetag');
  const moved = { headers: { destination: world.urlOf('anna', `moved${f}`) } };
  expect((await world.dav('anna', 'MOVE', f, moved)).status).toBe(201);
  expect(await world.prop('bert', '', 'd:getetag')).not.toBe(etag);
  expect((await world.sync('bert', start.token)).lines).toEqual(['+in/', '+in/file']);
});

test('rights of nested shares are united, and follow when a share is changed', async () => {
  const f = await folder();
  await world.dav('anna', 'MKCOL', `${f}/in`);
  await world.dav('anna', 'PUT', `${f}/in/b.txt`, { body: 'x' });
  const { id } = await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '1' });
  expect((await world.dav('bert', 'PUT', `${f}/in/b.txt`, { body: 'y' })).status).toBe(403);
  await world.share('anna', `${f}/in`, { shareType: '0', shareWith: 'bert', permissions: '3' });
  expect((await world.dav('bert', 'PUT', `${f}/in/b.txt`, { body: 'y' })).status).toBe(204);
  expect((await world.dav('bert', 'PUT', `${f}/a.txt`, { body: 'y' })).status).toBe(403);
  const { token } = await world.sync('bert', '');
  await world.ocs('anna', 'PUT', `shares/${id}`, { permissions: '15' });
  // Clients that mirror learn the new rights of everything below.
  expect((await world.sync('bert', token)).lines).toContain(`+${f}/a.txt`);
  expect((await world.dav('bert', 'PUT', `${f}/a.txt`, { body: 'y' })).status).toBe(204);
});

test('what is handed on is never more than the giver has, and ends with it', async () => {
  const f = await folder();
  const first = await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '23' });
  const tooMuch = await world.ocs('bert', 'POST', 'shares', {
    path: `/${f}`,
    shareType: '0',
    shareWith: 'carl',
    permissions: '15',
  });
  expect(tooMuch.status).toBe(403);
  await world.share('bert', f, { shareType: '0', shareWith: 'carl', permissions: '23' });
  const more = await world.ocs('carl', 'POST', 'shares', {
    path: `/${f}`,
    shareType: '0',
    shareWith: 'dora',
    permissions: '23',
  });
  expect(more.status).toBe(200);
  // In a circle: carl hands back to bert what he has from bert.
  expect(
    (await world.ocs('carl', 'POST', 'shares', { path: `/${f}`, shareType: '0', shareWith: 'bert', permissions: '23' }))
      .status,
  ).toBe(200);
  expect((await world.dav('dora', 'PUT', `${f}/d.txt`, { body: 'x' })).status).toBe(201);
  await world.ocs('anna', 'PUT', `shares/${first.id}`, { permissions: '17' });
  expect((await world.dav('dora', 'PUT', `${f}/e.txt`, { body: 'x' })).status).toBe(403);
  expect((await world.dav('dora', 'GET', `${f}/d.txt`)).status).toBe(200);
  await world.ocs('anna', 'DELETE', `shares/${first.id}`);
  for (const user of ['bert', 'carl', 'dora']) expect((await world.dav(user, 'GET', `${f}/d.txt`)).status).toBe(404);
});

test('who removes a folder of their own that holds a share hands it on no more, and holds no lock in it', async () => {
  const f = await folder();
  await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '31' });
  await world.share('bert', f, { shareType: '0', shareWith: 'carl', permissions: '1' });
  const box = `box${count}`;
  await world.dav('bert', 'MKCOL', box);
  await world.dav('bert', 'MOVE', f, { headers: { destination: world.urlOf('bert', `${box}/${f}`) } });
  const info =
    '<d:lockinfo xmlns:d="DAV:"><d:lockscope><d:exclusive/></d:lockscope><d:locktype><d:write/></d:locktype></d:lockinfo>';
  expect((await world.dav('bert', 'LOCK', `${box}/${f}/a.txt`, { body: info })).status).toBe(200);
  expect(await world.list('carl')).toContain(`${f}/`);
  const { token } = await world.sync('bert', '');
  expect((await world.dav('bert', 'DELETE', box)).status).toBe(204);
  expect(await world.list('carl')).not.toContain(`${f}/`);
  expect((await world.sync('bert', token)).lines).toContain(`-${box}`);
  expect((await world.dav('anna', 'PUT', `${f}/a.txt`, { body: 'two' })).status).toBe(204);
});

test('groups: members come and go with what the group is given', async () => {
  const f = await folder();
  await world.server.accounts.createGroup('Editors');
  await world.server.accounts.addMember('editors', 'bert');
  await world.share('anna', f, { shareType: '1', shareWith: 'Editors', permissions: '15' });
  expect(await world.list('bert')).toContain(`${f}/`);
  expect(await world.list('carl')).not.toContain(`${f}/`);
  await world.server.accounts.addMember('Editors', 'carl');
  expect(await world.list('carl')).toContain(`${f}/`);
  await world.server.accounts.removeMember('Editors', 'bert');
  expect(await world.list('bert')).not.toContain(`${f}/`);
  await world.server.accounts.removeGroup('Editors');
  expect(await world.list('carl')).not.toContain(`${f}/`);
});

test('a folder keeps its shares when it is moved, and loses them when it is deleted', async () => {
  const f = await folder();
  await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '15' });
  await world.dav('anna', 'MKCOL', `deep${count}`);
  await world.dav('anna', 'MOVE', f, { headers: { destination: world.urlOf('anna', `deep${count}/x`) } });
  expect((await world.dav('bert', 'GET', `${f}/a.txt`)).text).toBe('one');
  const { token } = await world.sync('bert', '');
  await world.dav('anna', 'DELETE', `deep${count}`);
  expect(await world.list('bert')).not.toContain(`${f}/`);
  expect((await world.sync('bert', token)).lines).toEqual([`-${f}`]);
});

test('what others share cannot be put into what one shares oneself, nor shared by its folder', async () => {
  const f = await folder();
  await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '15' });
  await world.dav('bert', 'MKCOL', `b${count}`);
  await world.share('bert', `b${count}`, { shareType: '0', shareWith: 'carl', permissions: '15' });
  const headers = { destination: world.urlOf('bert', `b${count}/x`) };
  expect((await world.dav('bert', 'MOVE', f, { headers })).status).toBe(403);
  await world.dav('bert', 'MKCOL', `c${count}`);
  await world.dav('bert', 'MOVE', f, { headers: { destination: world.urlOf('bert', `c${count}/x`) } });
  const answer = await world.ocs('bert', 'POST', 'shares', { path: `/c${count}`, shareType: '0', shareWith: 'carl' });
  expect(answer.status).toBe(403);
});

test('a folder that is seen at two places cannot be copied or moved into itself', async () => {
  const f = await folder();
  await world.dav('anna', 'MKCOL', `${f}/in${count}`);
  await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '15' });
  await world.share('anna', `${f}/in${count}`, { shareType: '0', shareWith: 'bert', permissions: '15' });
  const headers = { destination: world.urlOf('bert', `in${count}/copy`) };
  expect((await world.dav('bert', 'COPY', f, { headers })).status).toBe(409);
  expect((await world.dav('bert', 'MOVE', f, { headers })).status).toBe(409);
});

test('room is taken from the owner, whoever stores', async () => {
  const f = await folder();
  await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '15' });
  await world.server.accounts.update('bert', { quota_bytes: 10 });
  try {
    expect((await world.dav('bert', 'PUT', `${f}/big`, { body: 'x'.repeat(1000) })).status).toBe(201);
    expect((await world.dav('bert', 'PUT', 'big', { body: 'x'.repeat(1000) })).status).toBe(507);
    // In the listing of what it is in, too: clients send nothing where they are told that there is no room.
    const body = '<d:propfind xmlns:d="DAV:"><d:prop><d:quota-available-bytes/></d:prop></d:propfind>';
    const listing = (await world.dav('bert', 'PROPFIND', '', { headers: { Depth: '1' }, body })).text;
    const roomOf = (href: string) =>
      Number(new RegExp(`${href}</d:href>.*?<d:quota-available-bytes>(\\d+)<`, 's').exec(listing)?.[1]);
    expect(roomOf('/bert/')).toBeLessThanOrEqual(10);
    expect(roomOf(`/bert/${f}/`)).toBeGreaterThan(1000);
  } finally {
    await world.server.accounts.update('bert', { quota_bytes: null });
  }
});

test('a removed user leaves nothing behind in the trees of others', async () => {
  const f = await folder();
  await world.server.accounts.create({ name: 'erik', password: null });
  const toErik = { shareType: '0', shareWith: 'erik', permissions: '31' };
  const shares = async () =>
    (await world.ocs<unknown[]>('anna', 'GET', 'shares', { path: `/${f}`, reshares: 'true' })).data;
  const others = (await shares()).length;
  await world.share('anna', f, toErik);
  await world.server.accounts.remove('erik', 'delete');
  expect(await shares()).toHaveLength(others);
  expect((await world.dav('anna', 'GET', `${f}/a.txt`)).status).toBe(200);
  // Another of that name has nothing of it until it is given to them.
  await world.server.accounts.create({ name: 'erik', password: null });
  const { secret } = await world.server.accounts.createToken('erik', 'test');
  const sees = async () => (await world.raw(`erik:${secret}`, 'PROPFIND', `/dav/files/erik/${f}/a.txt`)).status;
  expect(await sees()).toBe(404);
  await world.share('anna', f, toErik);
  expect(await sees()).toBe(207);
  await world.server.accounts.remove('erik', 'delete');
});

test('a date of expiry is the one that was given, wherever the server is', async () => {
  const f = await folder();
  const zone = process.env['TZ'];
  process.env['TZ'] = 'America/New_York';
  try {
    const { id, expiration } = await world.share('anna', f, { shareType: '3', expireDate: '2030-12-31 14:30:00' });
    expect(expiration).toBe('2030-12-31 14:30:00');
    const change = async (expireDate: string) => {
      const { status, data } = await world.ocs('anna', 'PUT', `shares/${id}`, { expireDate });
      return status === 200 ? data.expiration : status;
    };
    expect(await change(expiration ?? '')).toBe(expiration);
    expect(await change('2030-12-31')).toBe('2030-12-31 00:00:00');
    expect(await change('2030-12-31 00:00:00')).toBe('2030-12-31 00:00:00');
    expect(await change('2030-12-31T10:00')).toBe('2030-12-31 10:00:00');
    expect(await change('2030-12-31T10:00:00+02:00')).toBe('2030-12-31 08:00:00');
    expect(await change('9999-12-31')).toBe('9999-12-31 00:00:00');
    for (const none of ['2030-02-30', '2030-13-01', '9999-12-31T23:00:00-05:00', '2030-12-31 25:00', 'soon']) {
      expect(await change(none), none).toBe(400);
    }
  } finally {
    if (zone === undefined) delete process.env['TZ'];
    else process.env['TZ'] = zone;
  }
});

test('moved over a shared file, a file needs no more room than it has', async () => {
  await world.dav('anna', 'MKCOL', 'Tight');
  await world.dav('anna', 'PUT', 'Tight/doc', { body: 'x' });
  await world.share('anna', 'Tight/doc', { shareType: '0', shareWith: 'dora' });
  const color = `<propertyupdate xmlns="DAV:"><set><prop><color xmlns="urn:x">blue</color></prop></set></propertyupdate>`;
  for (const size of [60, 100_000]) {
    await world.dav('anna', 'PUT', 'Tight/tmp', { body: 'y'.repeat(size) });
    await world.dav('anna', 'PROPPATCH', 'Tight/tmp', { body: color });
    const used = Number(await world.prop('anna', '', 'd:quota-used-bytes'));
    await world.server.accounts.update('anna', { quota_bytes: used });
    try {
      const destination = world.urlOf('anna', 'Tight/doc');
      expect((await world.dav('anna', 'MOVE', 'Tight/tmp', { headers: { destination } })).status).toBe(204);
    } finally {
      await world.server.accounts.update('anna', { quota_bytes: null });
    }
    expect(await world.list('anna', 'Tight')).toEqual(['doc']);
    expect((await world.dav('anna', 'GET', 'Tight/doc')).text).toBe('y'.repeat(size));
    expect((await world.dav('anna', 'PROPFIND', 'Tight/doc')).text).toContain('blue');
  }
});

test('a file that is shared alone is written in place, also by moving another over it', async () => {
  const f = await folder();
  await world.share('anna', `${f}/a.txt`, { shareType: '0', shareWith: 'dora', permissions: '3' });
  const id = await world.prop('anna', `${f}/a.txt`, 'oc:fileid');
  expect((await world.dav('dora', 'PUT', 'a.txt', { body: 'two' })).status).toBe(204);
  await world.dav('dora', 'PUT', 'a.tmp', { body: 'three' });
  expect(
    (await world.dav('dora', 'MOVE', 'a.tmp', { headers: { destination: world.urlOf('dora', 'a.txt') } })).status,
  ).toBe(204);
  expect((await world.dav('anna', 'GET', `${f}/a.txt`)).text).toBe('three');
  expect(await world.prop('anna', `${f}/a.txt`, 'oc:fileid')).toBe(id);
  expect(await world.list('dora')).not.toContain('a.tmp');
});

test('who sees a share is told of changes in it, and of its end, by push', async () => {
  const f = await folder();
  const { id } = await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '15' });
  const socket = new WebSocket(`${world.url.replace('http', 'ws')}/push/ws`);
  const said: string[] = [];
  socket.on('message', (data) => said.push(String(data)));
  await once(socket, 'open');
  socket.send('bert');
  socket.send(world.secretOf('bert'));
  await expect.poll(() => said).toContain('authenticated');
  const notices = () => said.filter((text) => text.startsWith('notify_file')).length;
  // What was shared just before may still be told.
  await expect
    .poll(async () => (await world.dav('anna', 'PUT', `${f}/pushed`, { body: 'x' })).status)
    .toBeLessThan(300);
  await expect.poll(notices).toBeGreaterThan(0);
  const before = notices();
  await world.ocs('anna', 'PUT', `shares/${id}`, { suspended: 'true' });
  await expect.poll(notices).toBeGreaterThan(before);
  socket.terminate();
});

test('who leaves a group while something is shared with it is not given that', async () => {
  const { accounts } = world.server;
  await accounts.createGroup('Leavers');
  for (const user of ['bert', 'carl']) await accounts.addMember('Leavers', user);
  await world.dav('anna', 'MKCOL', 'For those who stay');
  let leaving: Promise<void> | null = null;
  const getGroup = SqliteAccounts.prototype.getGroup;
  const looks = vi.spyOn(SqliteAccounts.prototype, 'getGroup').mockImplementation(async function (
    this: SqliteAccounts,
    name: string,
  ) {
    const group = await getGroup.call(this, name);
    leaving ??= this.removeMember('Leavers', 'bert');
    return group;
  });
  try {
    await world.share('anna', 'For those who stay', { shareType: '1', shareWith: 'Leavers' });
    expect(leaving).not.toBeNull();
    await leaving;
  } finally {
    looks.mockRestore();
  }
  expect(await world.list('carl')).toContain('For those who stay/');
  expect(await world.list('bert')).not.toContain('For those who stay/');
});
