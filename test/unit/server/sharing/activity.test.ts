// What the activity says of shares and links, to whom: `cloudmount log PATH` prints these lines.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ShareWorld, shareWorld } from './share_world.js';

let world: ShareWorld;

beforeAll(async () => {
  world = await shareWorld();
  await world.server.accounts.createGroup('crew');
  await world.server.accounts.addMember('crew', 'carl');
});
afterAll(() => world.close());

/** Oldest first. */
async function log(user: string, path: string): Promise<readonly string[]> {
  const query = new URLSearchParams({ format: 'json', path: `/${path}` });
  const answer = await world.raw(user, 'GET', `/ocs/v2.php/apps/activity/api/v2/activity?${query}`);
  expect(answer.status).toBe(200);
  const { ocs } = JSON.parse(answer.text) as { ocs: { data: readonly { readonly subject: string }[] } };
  return ocs.data.map(({ subject }) => subject).reverse();
}

test('who was given a share, and who lost it, is named to the owner and to them, not to others', async () => {
  await world.dav('anna', 'MKCOL', 'Plans');
  const { id } = await world.share('anna', 'Plans', { shareType: '0', shareWith: 'bert', permissions: '1' });
  await world.share('anna', 'Plans', { shareType: '1', shareWith: 'crew', permissions: '1' });
  await world.ocs('anna', 'PUT', `shares/${id}`, { permissions: '15' });
  await world.ocs('anna', 'PUT', `shares/${id}`, { suspended: 'true' });
  await world.ocs('anna', 'PUT', `shares/${id}`, { suspended: 'false' });
  expect(await log('anna', 'Plans')).toEqual([
    'Anna Example: created Plans',
    'Anna Example: shared Plans (with Bert Example)',
    'Anna Example: shared Plans (with @crew)',
    'Anna Example: changed the share of Plans (with Bert Example)',
    'Anna Example: suspended the share of Plans (with Bert Example)',
    'Anna Example: resumed the share of Plans (with Bert Example)',
  ]);
  expect((await log('bert', 'Plans')).slice(1, 3)).toEqual([
    'Anna Example: shared Plans (with Bert Example)',
    'Anna Example: shared Plans',
  ]);
  expect((await log('carl', 'Plans')).join()).not.toContain('Bert');
  await world.ocs('anna', 'DELETE', `shares/${id}`);
  expect((await log('anna', 'Plans')).at(-1)).toBe('Anna Example: withdrew the share of Plans (with Bert Example)');
});

test('a link is told by its label to its owner and to who made it, made and used', async () => {
  await world.dav('anna', 'MKCOL', 'Press');
  await world.share('anna', 'Press', { shareType: '0', shareWith: 'bert', permissions: '31' });
  await world.share('anna', 'Press', { shareType: '0', shareWith: 'carl', permissions: '1' });
  const link = await world.share('bert', 'Press', { shareType: '3', permissions: '5', label: 'for the press' });
  await world.raw(null, 'PUT', `/public.php/dav/files/${link.token}/photo.txt`, { body: 'x' });
  const plain = await world.share('anna', 'Press', { shareType: '3', permissions: '5' });
  await world.raw(null, 'PUT', `/public.php/dav/files/${plain.token}/other.txt`, { body: 'x' });
  for (const user of ['anna', 'bert']) {
    expect(await log(user, 'Press')).toContain('Bert Example: shared Press (public link "for the press")');
    expect(await log(user, 'Press/photo.txt')).toEqual(['The public link "for the press": created Press/photo.txt']);
  }
  expect(await log('carl', 'Press/photo.txt')).toEqual(['A public link: created Press/photo.txt']);
  expect((await log('carl', 'Press')).join()).not.toContain('press"');
  expect(await log('anna', 'Press/other.txt')).toEqual(['A public link: created Press/other.txt']);
  expect(await log('anna', 'Press')).toContain('Anna Example: shared Press (public link)');
});

test('page by page: each says where the next begins, until none is left; of one file by its number', async () => {
  await world.dav('anna', 'MKCOL', 'Pages');
  for (const text of ['1', '2', '3']) await world.dav('anna', 'PUT', 'Pages/a.txt', { body: text });
  await world.dav('anna', 'MOVE', 'Pages/a.txt', { headers: { Destination: world.urlOf('anna', 'Pages/b.txt') } });
  const id = (await world.prop('anna', 'Pages/b.txt', 'oc:fileid')) ?? '';
  const told: { subject: string; from?: string }[] = [];
  let since: string | undefined = '';
  for (let pages = 0; since !== undefined; pages += 1) {
    expect(pages).toBeLessThan(5);
    const query = new URLSearchParams({ format: 'json', object_type: 'files', object_id: id, limit: '2', since });
    const answer = await world.raw('anna', 'GET', `/ocs/v2.php/apps/activity/api/v2/activity/filter?${query}`);
    const { ocs } = JSON.parse(answer.text) as { ocs: { data: { subject: string; from?: string }[] } };
    told.push(...ocs.data);
    since = answer.headers['x-activity-last-given'] as string | undefined;
    expect(since === undefined).toBe(ocs.data.length === 0);
  }
  expect(told.map(({ subject, from }) => [subject, from])).toEqual([
    ['Anna Example: moved Pages/b.txt', '/Pages/a.txt'],
    ['Anna Example: changed Pages/b.txt', undefined],
    ['Anna Example: changed Pages/b.txt', undefined],
    ['Anna Example: created Pages/b.txt', undefined],
  ]);
});
