// When somebody leaves: their files and what is shared of them go to somebody else, whole or not at all.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ShareWorld, shareWorld } from './share_world.js';

let world: ShareWorld;

beforeAll(async () => {
  world = await shareWorld();
});
afterAll(() => world.close());

test('the files of who leaves, with their shares and links, are the heir’s; what they received ends', async () => {
  const { accounts } = world.server;
  await world.dav('anna', 'MKCOL', 'Plans');
  await world.dav('anna', 'PUT', 'Plans/budget.txt', { body: 'content' });
  await world.dav('anna', 'PUT', 'note.txt', { body: 'note' });
  await world.share('anna', 'Plans', { shareType: '0', shareWith: 'carl', permissions: '15' });
  await world.share('anna', 'note.txt', { shareType: '0', shareWith: 'bert' });
  const link = await world.share('anna', 'Plans', { shareType: '3' });
  await world.dav('dora', 'MKCOL', 'Doras');
  await world.share('dora', 'Doras', { shareType: '0', shareWith: 'anna', permissions: '31' });
  await world.dav('carl', 'MOVE', 'Plans', { headers: { destination: world.urlOf('carl', 'Renamed') } });
  expect(await world.list('bert')).toEqual(['note.txt']);

  const removed = await accounts.remove('anna', { handOverTo: 'bert' });
  expect(removed).toEqual({ files: 'handed over', folder: 'Files of anna' });
  expect(await accounts.get('anna')).toBeNull();
  // What anna had shared with bert is his own now, and no entry beside it.
  expect(await world.list('bert')).toEqual(['Files of anna/']);
  expect(await world.list('bert', 'Files of anna')).toEqual(['Plans/', 'note.txt']);
  expect((await world.dav('bert', 'GET', 'Files of anna/Plans/budget.txt')).text).toBe('content');
  // Carl has it where he had put it, with the rights he had.
  expect((await world.dav('carl', 'PUT', 'Renamed/budget.txt', { body: 'by carl' })).status).toBe(204);
  expect((await world.dav('bert', 'GET', 'Files of anna/Plans/budget.txt')).text).toBe('by carl');
  expect((await world.raw(null, 'GET', `/public.php/dav/files/${link.token}/budget.txt`)).text).toBe('by carl');
  // And bert may withdraw it.
  const given = await world.ocs<{ id: string; share_type: number }[]>('bert', 'GET', 'shares');
  expect(given.data).toHaveLength(2);
  for (const share of given.data) await world.ocs('bert', 'DELETE', `shares/${share.id}`);
  expect(await world.list('carl')).toEqual([]);
  expect((await world.ocs<unknown[]>('dora', 'GET', 'shares')).data).toEqual([]);
});

test('an heir without room: nothing is done, and who should have left can log in as before', async () => {
  const { accounts } = world.server;
  await world.dav('dora', 'PUT', 'big.bin', { body: 'x'.repeat(10_000) });
  await accounts.update('carl', { quota_bytes: 5_000 });
  await expect(accounts.remove('dora', { handOverTo: 'carl' })).rejects.toMatchObject({ code: 'quota' });
  expect(await accounts.get('dora')).toMatchObject({ isDisabled: false });
  expect(await world.list('dora')).toContain('big.bin');
  expect(await world.list('carl')).not.toContain('Files of dora/');
  await expect(accounts.remove('dora', { handOverTo: 'dora' })).rejects.toMatchObject({ code: 'invalid' });
  await expect(accounts.remove('dora', { handOverTo: 'nobody' })).rejects.toMatchObject({ code: 'not_found' });
});

test('a link is closed while its owner, or who handed it on, is disabled', async () => {
  const own = await shareWorld();
  try {
    const f = 'Handed on';
    await own.dav('anna', 'MKCOL', f);
    await own.dav('anna', 'PUT', `${f}/a.txt`, { body: 'public' });
    await own.share('anna', f, { shareType: '0', shareWith: 'bert', permissions: '31' });
    const { token } = await own.share('bert', f, { shareType: '3', permissions: '1' });
    const status = async () => (await own.raw(null, 'GET', `/public.php/dav/files/${token}/a.txt`)).status;
    expect(await status()).toBe(200);
    for (const name of ['bert', 'anna']) {
      await own.server.accounts.update(name, { isDisabled: true });
      expect(await status(), name).toBe(404);
      await own.server.accounts.update(name, { isDisabled: false });
      expect(await status(), name).toBe(200);
    }
  } finally {
    await own.close();
  }
});
