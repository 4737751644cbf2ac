// Locks of people: as Nextcloud's clients take them, seen and respected through shares, and broken only by who may.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Clock, systemClock } from '../../../../src/clock.js';
import { type ShareWorld, shareWorld } from './share_world.js';

const USER_LOCK = { 'X-User-Lock': '1' };
const LOCK =
  '<d:lockinfo xmlns:d="DAV:"><d:lockscope><d:exclusive/></d:lockscope><d:locktype><d:write/></d:locktype><d:owner>drive@host</d:owner></d:lockinfo>';
const PATCH =
  '<d:propertyupdate xmlns:d="DAV:"><d:set><d:prop><x:y xmlns:x="urn:x">1</x:y></d:prop></d:set></d:propertyupdate>';

let now_ms = Date.UTC(2030, 0, 1);
const clock: Clock = {
  ...systemClock,
  now_ms: () => now_ms,
  timestamp: () => ({ s: Math.floor(now_ms / 1000), ns: 0 }),
};
let world: ShareWorld;
let count = 0;

beforeAll(async () => {
  world = await shareWorld({ clock });
});
afterAll(() => world.close());

/** A folder of anna's that bert and carl may change; returns its name and bert's share. */
async function shared(): Promise<{ f: string; shareId: string }> {
  const f = `L${++count}`;
  await world.dav('anna', 'MKCOL', f);
  await world.dav('anna', 'PUT', `${f}/doc`, { body: 'one' });
  const { id } = await world.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '15' });
  await world.share('anna', f, { shareType: '0', shareWith: 'carl', permissions: '15' });
  return { f, shareId: id };
}

test('LOCK and UNLOCK with X-User-Lock answer as Nextcloud does', async () => {
  const { f } = await shared();
  expect((await world.dav('bert', 'UNLOCK', `${f}/doc`, { headers: USER_LOCK })).status).toBe(412);
  const taken = await world.dav('bert', 'LOCK', `${f}/doc`, { headers: USER_LOCK });
  expect(taken.status).toBe(200);
  expect(taken.text).toContain('<nc:lock>1</nc:lock>');
  expect(taken.text).toContain('<nc:lock-owner>bert</nc:lock-owner>');
  expect(taken.text).toContain('<nc:lock-owner-displayname>Bert Example</nc:lock-owner-displayname>');
  expect(taken.text).toContain('<nc:lock-owner-type>0</nc:lock-owner-type>');
  expect(taken.text).toContain(`<nc:lock-time>${now_ms / 1000}</nc:lock-time>`);
  expect((await world.dav('bert', 'LOCK', `${f}/doc`, { headers: USER_LOCK })).status).toBe(200);
  expect((await world.dav('carl', 'LOCK', `${f}/doc`, { headers: USER_LOCK })).status).toBe(423);
  expect((await world.dav('carl', 'LOCK', `${f}/doc`, { body: LOCK })).status).toBe(423);
  expect((await world.dav('carl', 'UNLOCK', `${f}/doc`, { headers: USER_LOCK })).status).toBe(423);
  const freed = await world.dav('bert', 'UNLOCK', `${f}/doc`, { headers: USER_LOCK });
  expect(freed.status).toBe(200);
  expect(freed.text).toContain('<nc:lock>0</nc:lock>');
});

test('a lock stops every write path of others, through shares too, and none of the holder', async () => {
  const { f } = await shared();
  await world.dav('bert', 'LOCK', `${f}/doc`, { headers: USER_LOCK });
  for (const user of ['anna', 'carl']) {
    const to = (path: string) => ({ headers: { destination: world.urlOf(user, path) } });
    expect((await world.dav(user, 'PUT', `${f}/doc`, { body: 'x' })).status).toBe(423);
    expect((await world.dav(user, 'PROPPATCH', `${f}/doc`, { body: PATCH })).status).toBe(423);
    expect((await world.dav(user, 'MOVE', `${f}/doc`, to(`${f}/other`))).status).toBe(423);
    expect((await world.dav(user, 'DELETE', `${f}/doc`)).status).toBe(423);
    await world.dav(user, 'PUT', 'mine', { body: 'x' });
    expect((await world.dav(user, 'COPY', 'mine', to(`${f}/doc`))).status).toBe(423);
    expect((await world.dav(user, 'MOVE', 'mine', to(`${f}/doc`))).status).toBe(423);
  }
  // The folder above it: of its owner, of whom it is shared with only the entry.
  expect((await world.dav('anna', 'DELETE', f)).status).toBe(423);
  expect((await world.dav('anna', 'MOVE', f, { headers: { destination: world.urlOf('anna', `${f}x`) } })).status).toBe(
    423,
  );
  expect((await world.dav('carl', 'MOVE', f, { headers: { destination: world.urlOf('carl', `${f}x`) } })).status).toBe(
    201,
  );
  expect((await world.dav('bert', 'PUT', `${f}/doc`, { body: 'two' })).status).toBe(204);
  expect((await world.dav('anna', 'GET', `${f}/doc`)).text).toBe('two');
});

test('who holds a lock is told to everybody by name, the words of the program only to its holder', async () => {
  const { f } = await shared();
  const taken = await world.dav('bert', 'LOCK', `${f}/doc`, { body: LOCK });
  expect(taken.text).toContain('drive@host');
  expect(await world.prop('bert', `${f}/doc`, 'd:lockdiscovery')).toContain('drive@host');
  const seen = (await world.prop('anna', `${f}/doc`, 'd:lockdiscovery')) ?? '';
  expect(seen).toContain('<d:owner>Bert Example</d:owner>');
  expect(seen).not.toContain('drive@host');
  expect(seen).toContain(`/dav/files/anna/${f}/doc`);
  expect(await world.prop('anna', `${f}/doc`, 'nc:lock-owner-displayname')).toBe('Bert Example');
  expect(await world.prop('carl', `${f}/doc`, 'nc:lock-owner-type')).toBe('2');
});

test('owner and administrators may break a lock, nobody else', async () => {
  const { f } = await shared();
  await world.dav('bert', 'LOCK', `${f}/doc`, { body: LOCK });
  expect((await world.dav('carl', 'UNLOCK', `${f}/doc`, { headers: USER_LOCK })).status).toBe(423);
  expect((await world.dav('anna', 'UNLOCK', `${f}/doc`, { headers: USER_LOCK })).status).toBe(200);
  expect((await world.dav('carl', 'PUT', `${f}/doc`, { body: 'x' })).status).toBe(204);
  await world.dav('bert', 'LOCK', `${f}/doc`, { headers: USER_LOCK });
  await world.server.accounts.update('carl', { isAdmin: true });
  expect((await world.dav('carl', 'UNLOCK', `${f}/doc`, { headers: USER_LOCK })).status).toBe(200);
  await world.server.accounts.update('carl', { isAdmin: false });
});

test('a lock ends with its time, and with the right to write', async () => {
  const { f, shareId } = await shared();
  await world.dav('bert', 'LOCK', `${f}/doc`, { headers: { ...USER_LOCK, Timeout: 'Second-200' } });
  now_ms += 201_000;
  expect((await world.dav('carl', 'PUT', `${f}/doc`, { body: 'x' })).status).toBe(204);
  await world.dav('bert', 'LOCK', `${f}/doc`, { headers: USER_LOCK });
  expect((await world.dav('carl', 'PUT', `${f}/doc`, { body: 'x' })).status).toBe(423);
  await world.ocs('anna', 'PUT', `shares/${shareId}`, { permissions: '1' });
  expect((await world.dav('carl', 'PUT', `${f}/doc`, { body: 'x' })).status).toBe(204);
  expect(await world.prop('carl', `${f}/doc`, 'nc:lock')).toBe('0');
});

test('the lock of a link’s visitor lasts while the link lets write, whatever else is shared', async () => {
  const { f, shareId } = await shared();
  const { id, token } = await world.share('anna', f, { shareType: '3', permissions: '15' });
  const status = async () => (await world.dav('anna', 'PUT', `${f}/doc`, { body: 'x' })).status;
  const lock = () => world.raw(null, 'LOCK', `/public.php/dav/files/${token}/doc`, { body: LOCK });
  expect((await lock()).status).toBe(200);
  await world.ocs('anna', 'PUT', `shares/${shareId}`, { permissions: '1' });
  expect(await status()).toBe(423);
  await world.ocs('anna', 'PUT', `shares/${id}`, { permissions: '1' });
  expect(await status()).toBe(204);
  await world.ocs('anna', 'PUT', `shares/${id}`, { permissions: '15' });
  expect((await lock()).status).toBe(200);
  await world.ocs('anna', 'DELETE', `shares/${id}`);
  expect(await status()).toBe(204);
});

test('who hands a share on cannot end the lock of somebody else by withdrawing it', async () => {
  const { f } = await shared();
  await world.share('anna', f, { shareType: '0', shareWith: 'dora', permissions: '31' });
  await world.dav('carl', 'DELETE', f);
  const { id } = await world.share('dora', f, { shareType: '0', shareWith: 'carl', permissions: '15' });
  expect((await world.dav('carl', 'LOCK', `${f}/doc`, { headers: USER_LOCK })).status).toBe(200);
  expect((await world.ocs('dora', 'DELETE', `shares/${id}`)).status).toBe(423);
  expect((await world.ocs('dora', 'PUT', `shares/${id}`, { suspended: 'true' })).status).toBe(423);
  expect((await world.ocs('anna', 'DELETE', `shares/${id}`)).status).toBe(200);
  expect((await world.dav('anna', 'PUT', `${f}/doc`, { body: 'x' })).status).toBe(204);
});

test('a viewer cannot lock, and is not told that locks are supported', async () => {
  const { f, shareId } = await shared();
  await world.ocs('anna', 'PUT', `shares/${shareId}`, { permissions: '1' });
  expect((await world.dav('bert', 'LOCK', `${f}/doc`, { headers: USER_LOCK })).status).toBe(403);
  expect((await world.dav('bert', 'LOCK', `${f}/doc`, { body: LOCK })).status).toBe(403);
  expect(await world.prop('bert', `${f}/doc`, 'd:supportedlock')).toBe('');
});

test('a share that expires is gone at its date, with what was handed on', async () => {
  const { f, shareId } = await shared();
  const until = new Date(now_ms + 10_000).toISOString();
  expect((await world.ocs('anna', 'PUT', `shares/${shareId}`, { expireDate: until, permissions: '31' })).status).toBe(
    200,
  );
  await world.share('bert', f, { shareType: '0', shareWith: 'dora', permissions: '1' });
  expect((await world.dav('dora', 'GET', `${f}/doc`)).status).toBe(200);
  now_ms += 10_001;
  expect((await world.dav('bert', 'GET', `${f}/doc`)).status).toBe(404);
  expect((await world.dav('bert', 'PUT', `${f}/new`, { body: 'x' })).status).toBe(404);
  await expect.poll(() => world.list('bert'), { timeout: 10_000 }).not.toContain(`${f}/`);
  expect((await world.dav('dora', 'GET', `${f}/doc`)).status).toBe(404);
  expect((await world.ocs('anna', 'PUT', `shares/${shareId}`, { expireDate: '2020-01-01' })).status).toBe(400);
});
