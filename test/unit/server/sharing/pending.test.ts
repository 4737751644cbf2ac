// Shares that come into somebody's files only when they say so.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { type SharedItem, type ShareWorld, shareWorld } from './share_world.js';

let world: ShareWorld;

beforeAll(async () => {
  world = await shareWorld();
  await world.dav('anna', 'MKCOL', 'Plans');
  await world.dav('anna', 'PUT', 'Plans/budget.txt', { body: 'content' });
  await world.dav('anna', 'MKCOL', 'More');
});
afterAll(() => world.close());

async function pending(user: string): Promise<readonly SharedItem[]> {
  return (await world.ocs<SharedItem[]>(user, 'GET', 'shares/pending')).data;
}

test('who asks to be asked gets a share when they accept it, and nothing of it before', async () => {
  expect((await world.ocs('bert', 'PUT', 'shares/pending', { ask_first: 'true' })).status).toBe(200);
  const { id } = await world.share('anna', 'Plans', { shareType: '0', shareWith: 'bert', permissions: '15' });
  await world.share('anna', 'Plans', { shareType: '0', shareWith: 'carl' });
  expect(await world.list('carl')).toEqual(['Plans/']);
  expect(await world.list('bert')).toEqual([]);
  expect((await world.dav('bert', 'GET', 'Plans/budget.txt')).status).toBe(404);
  expect((await pending('bert')).map((share) => share.id)).toEqual([id]);
  expect(await pending('carl')).toEqual([]);
  // Nobody else can answer.
  expect((await world.ocs('carl', 'POST', `shares/pending/${id}`)).status).toBe(404);
  expect((await world.ocs('bert', 'POST', `shares/pending/${id}`)).status).toBe(200);
  expect(await world.list('bert')).toEqual(['Plans/']);
  expect((await world.dav('bert', 'PUT', 'Plans/budget.txt', { body: 'by bert' })).status).toBe(204);
  expect(await pending('bert')).toEqual([]);
  expect((await world.ocs('bert', 'POST', `shares/pending/${id}`)).status).toBe(404);
});

test('a declined one never comes; a pending one that is withdrawn or suspended is not offered', async () => {
  const first = await world.share('anna', 'More', { shareType: '0', shareWith: 'bert' });
  expect((await world.ocs('bert', 'DELETE', `shares/pending/${first.id}`)).status).toBe(200);
  expect(await world.list('bert')).not.toContain('More/');
  expect(await pending('bert')).toEqual([]);
  await world.ocs('anna', 'DELETE', `shares/${first.id}`);
  const second = await world.share('anna', 'More', { shareType: '0', shareWith: 'bert' });
  await world.ocs('anna', 'PUT', `shares/${second.id}`, { suspended: 'true' });
  expect(await pending('bert')).toEqual([]);
  await world.ocs('anna', 'PUT', `shares/${second.id}`, { suspended: 'false' });
  expect(await pending('bert')).toHaveLength(1);
});

test('who joins a group is asked, too; and not any more once they do not want to be', async () => {
  const { accounts } = world.server;
  await accounts.createGroup('crew');
  await world.dav('anna', 'MKCOL', 'Crew');
  await world.share('anna', 'Crew', { shareType: '1', shareWith: 'crew' });
  await accounts.addMember('crew', 'bert');
  await accounts.addMember('crew', 'carl');
  expect(await world.list('bert')).not.toContain('Crew/');
  expect(await world.list('carl')).toContain('Crew/');
  await world.ocs('bert', 'PUT', 'shares/pending', { ask_first: 'false' });
  await world.dav('anna', 'MKCOL', 'Later');
  await world.share('anna', 'Later', { shareType: '0', shareWith: 'bert' });
  expect(await world.list('bert')).toContain('Later/');
});
