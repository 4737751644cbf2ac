// When somebody leaves: their files and what is shared of them go to somebody else, whole or not at all.

import { request } from 'node:http';
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

test.each([
  ['disabled', null],
  ['removed, the files kept', null],
  ['disabled, and a visitor of their link sends', 'link'],
])('what comes after its sender is %s changes nothing', async (what, how) => {
  const own = await shareWorld();
  try {
    const { accounts } = own.server;
    await own.dav('anna', 'MKCOL', 'Open');
    await own.dav('anna', 'PUT', 'Open/a.txt', { body: 'before' });
    const link = await own.share('anna', 'Open', { shareType: '3', permissions: '15' });
    const path = how === 'link' ? `/public.php/dav/files/${link.token}/a.txt` : '/dav/files/anna/Open/a.txt';
    const authorization = `Bearer ${own.secretOf('anna')}`;
    const sent = request({
      port: own.server.address.port,
      method: 'PUT',
      path,
      headers: { 'content-length': 100_000, ...(how === 'link' ? {} : { authorization }) },
    });
    const answered = new Promise<number>((resolve, reject) => {
      sent.on('response', (response) => resolve(response.resume().statusCode ?? 0)).on('error', reject);
    });
    sent.write(Buffer.alloc(50_000));
    await new Promise((resolve) => setTimeout(resolve, 100)); // it has been let in
    if (what.startsWith('disabled')) await accounts.update('anna', { isDisabled: true });
    else await accounts.remove('anna', 'keep');
    sent.end(Buffer.alloc(50_000));
    expect(await answered).toBe(how === 'link' ? 404 : 403);
    if (what.startsWith('disabled')) await accounts.update('anna', { isDisabled: false });
    else await accounts.create({ name: 'anna', password: 'correct horse battery', adoptFiles: true });
    const { secret } = await accounts.createToken('anna', 'again');
    const headers = { authorization: `Bearer ${secret}` };
    expect((await own.raw(null, 'GET', '/dav/files/anna/Open/a.txt', { headers })).text).toBe('before');
  } finally {
    await own.close();
  }
});
