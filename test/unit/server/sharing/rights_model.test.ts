// Property: whatever is shared, handed on, moved, suspended and locked in whatever order, what the server lets through is
// what it reports, for every person and every node they can see; what they cannot see answers 404.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { Random } from '../../../support/random.js';
import { type SharedItem, type ShareWorld, shareWorld } from './share_world.js';

const USERS = ['anna', 'bert', 'carl'] as const;
const ROUNDS = 4;
const STEPS = 25;

let world: ShareWorld;
beforeAll(async () => {
  world = await shareWorld();
  await world.server.accounts.createGroup('crew');
  await world.server.accounts.addMember('crew', 'carl');
});
afterAll(() => world.close());

/** Everything a user sees: path -> letters. */
async function seen(user: string): Promise<ReadonlyMap<string, string>> {
  const body =
    '<d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns"><d:prop><oc:permissions/></d:prop></d:propfind>';
  const answer = await world.dav(user, 'PROPFIND', '', { headers: { Depth: 'infinity' }, body });
  const out = new Map<string, string>();
  for (const [, href = '', letters = ''] of answer.text.matchAll(
    /<d:response><d:href>([^<]*)<\/d:href>.*?<oc:permissions>([A-Z]*)<\/oc:permissions>/gs,
  )) {
    out.set(decodeURIComponent(href).slice(`/dav/files/${user}/`.length), letters);
  }
  return out;
}

const isRefusal = (status: number) => status === 403;

/** Tries what the letters speak of, in ways that change as little as can be. 423 is a yes of the rights. */
async function check(user: string, path: string, letters: string): Promise<void> {
  const isDir = path === '' || path.endsWith('/');
  const label = `${user} ${path} ${letters}`;
  const patch =
    '<d:propertyupdate xmlns:d="DAV:"><d:set><d:prop><x:y xmlns:x="urn:x">1</x:y></d:prop></d:set></d:propertyupdate>';
  if (isDir) {
    const made = await world.dav(user, 'MKCOL', `${path}probe`);
    expect(isRefusal(made.status), `${label} MKCOL ${made.status}`).toBe(!letters.includes('K'));
    if (made.status === 201) {
      const removed = await world.dav(user, 'DELETE', `${path}probe`);
      if (isRefusal(removed.status)) await removeAsOwner(user, `${path}probe`);
    }
  } else {
    const put = await world.dav(user, 'PUT', path, { body: 'x' });
    expect(isRefusal(put.status), `${label} PUT ${put.status}`).toBe(!letters.includes('W'));
    const holder =
      (await world.prop(user, path, 'nc:lock')) === '1' ? await world.prop(user, path, 'nc:lock-owner') : null;
    const isHeld = holder !== null && holder !== user;
    if (letters.includes('W'))
      expect(put.status === 423, `${label} PUT ${put.status}, locked by ${holder}`).toBe(isHeld);
    const set = await world.dav(user, 'PROPPATCH', path, { body: patch });
    expect(isRefusal(set.status), `${label} PROPPATCH ${set.status}`).toBe(!letters.includes('W'));
  }
  if (path === '') return;
  const plain = path.replace(/\/$/, '');
  const shares = await world.ocs(user, 'POST', 'shares', { path: `/${plain}`, shareType: '3' });
  if (shares.status === 200) await world.ocs(user, 'DELETE', `shares/${shares.data.id}`);
  // A folder that holds what others share cannot be shared by anybody: that is no matter of rights.
  const holdsForeign = shares.status === 403 && /move those out|contains/.test(shares.message ?? '');
  if (!holdsForeign)
    expect(shares.status === 200, `${label} share ${shares.status} ${shares.message}`).toBe(letters.includes('R'));
  const other = `${plain}~`;
  const renamed = await world.dav(user, 'MOVE', plain, { headers: { destination: world.urlOf(user, other) } });
  expect(isRefusal(renamed.status), `${label} rename ${renamed.status}`).toBe(!letters.includes('N'));
  if (renamed.status === 201) {
    const back = await world.dav(user, 'MOVE', other, { headers: { destination: world.urlOf(user, plain) } });
    expect(back.status, `${label} rename back`).toBe(201);
  }
  // A condition that cannot hold: rights are judged before it, so nothing is deleted.
  const gone = await world.dav(user, 'DELETE', plain, { headers: { 'If-Match': '"never"' } });
  expect(isRefusal(gone.status), `${label} DELETE ${gone.status}`).toBe(!letters.includes('D'));
}

/** Takes away what the user made but may not remove. */
async function removeAsOwner(user: string, path: string): Promise<void> {
  const owner = (await world.prop(user, path, 'oc:owner-id')) ?? '';
  const id = await world.prop(user, path, 'oc:fileid');
  const body =
    '<d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns"><d:prop><oc:fileid/></d:prop></d:propfind>';
  const all = await world.dav(owner, 'PROPFIND', '', { headers: { Depth: 'infinity' }, body });
  for (const [, href = '', found] of all.text.matchAll(/<d:response><d:href>([^<]*)<\/d:href>.*?<oc:fileid>(\d+)</gs)) {
    const at = decodeURIComponent(href).slice(`/dav/files/${owner}/`.length);
    if (found === id) expect((await world.dav(owner, 'DELETE', at)).status).toBe(204);
  }
}

test.each(Array.from({ length: ROUNDS }, (_, i) => 1000 + i))('seed %i', async (seed) => {
  const random = new Random(seed);
  const int = (below: number) => random.below(below);
  const pick = <T>(items: readonly T[]): T => items[int(items.length)] as T;
  const top = `S${seed}`;
  const dirs = [top, `${top}/a`, `${top}/a/b`, `${top}/c`];
  for (const dir of dirs) {
    await world.dav('anna', 'MKCOL', dir);
    await world.dav('anna', 'PUT', `${dir}/f`, { body: 'x' });
  }
  const shares: { readonly user: string; readonly id: string }[] = [];
  for (let step = 0; step < STEPS; step++) {
    const user = pick(USERS);
    const places = [...(await seen(user)).keys()].filter((path) => path !== '').map((path) => path.replace(/\/$/, ''));
    const path = places.length === 0 ? top : pick(places);
    const action = int(7);
    if (action <= 2) {
      const toGroup = int(4) === 0;
      const made = await world.ocs<SharedItem>(user, 'POST', 'shares', {
        path: `/${path}`,
        shareType: toGroup ? '1' : '0',
        shareWith: toGroup ? 'crew' : pick(USERS),
        permissions: String(1 + int(31)),
      });
      if (made.status === 200) shares.push({ user, id: made.data.id });
    } else if (action === 3 && shares.length > 0) {
      const { user: giver, id } = pick(shares);
      await world.ocs(giver, 'PUT', `shares/${id}`, { suspended: String(int(2) === 0) });
    } else if (action === 4 && shares.length > 0) {
      const { user: giver, id } = pick(shares);
      await world.ocs(giver, int(3) === 0 ? 'DELETE' : 'PUT', `shares/${id}`, { permissions: String(1 + int(31)) });
    } else if (action === 5) {
      const to = `${pick(['', `${pick(dirs)}/`])}m${step}`;
      await world.dav(user, 'MOVE', path, { headers: { destination: world.urlOf(user, to) } });
    } else {
      await world.dav(user, int(2) === 0 ? 'LOCK' : 'UNLOCK', path, { headers: { 'X-User-Lock': '1' } });
    }
  }
  for (const user of USERS) {
    const before = await seen(user);
    for (const [path, letters] of before) await check(user, path, letters);
    // What anna has and the user does not see is not there for them under its own name either.
    expect(await seen(user), `${user} sees the same after all that`).toEqual(before);
    const mirror = new Set((await world.sync(user, '')).lines.map((line) => line.slice(1)));
    expect([...mirror].sort(), `${user}'s feed`).toEqual([...before.keys()].filter((path) => path !== '').sort());
  }
});
