// Nextcloud's apps, and drives that are asked to, log in by a page in the user's browser.

import { once } from 'node:events';
import { expect, it } from 'vitest';
import type { AppToken } from '../../src/server/accounts/account_store.js';
import { openBrowser, visit } from '../support/browser.js';
import { cli, mustCli, PROGRAM } from '../support/cli.js';
import { DavClient } from '../support/dav_client.js';
import { eventually, spawnTracked } from '../support/processes.js';
import { useStage } from '../support/world.js';

const stage = useStage();

it('an app that asks is let in on a page, with the password, and has a token of its own', async () => {
  const server = await stage().ownServer();
  const { user, password } = server.loginOf('alice');
  const headers = { 'user-agent': 'Phone of "Alice" <1>' };
  const asked = await fetch(new URL('/index.php/login/v2', server.url), { method: 'POST', headers });
  const { login, poll } = (await asked.json()) as { login: string; poll: { endpoint: string; token: string } };
  const told = () => fetch(poll.endpoint, { method: 'POST', body: new URLSearchParams({ token: poll.token }) });
  expect((await told()).status).toBe(404);

  const { page, complaints } = await visit(await openBrowser(stage()), login);
  expect(await page.textContent('body')).toContain('“Phone of "Alice" <1>” asks for all files');
  await page.getByLabel('User name').fill(user);
  await page.getByLabel('Password').fill('wrong');
  await page.getByRole('button', { name: 'Let it in' }).click();
  expect(await page.getByRole('alert').textContent()).toContain('is wrong');
  expect(await page.getByLabel('User name').inputValue()).toBe(user);
  await page.getByLabel('Password').fill(password);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Done' }).waitFor();
  expect(complaints).toEqual([]);

  const answer = (await (await told()).json()) as { server: string; loginName: string; appPassword: string };
  expect(answer).toMatchObject({ server: server.url, loginName: user });
  const dav = new DavClient({ ...server.loginOf('alice'), password: answer.appPassword });
  stage().defer(() => dav.close());
  await dav.put('from the phone.txt', 'hello');
  expect((await dav.get('from the phone.txt')).toString()).toBe('hello');
});

it('login --web prints such a page, and keeps what was given there; a page where another logged in leaves nothing', async () => {
  const server = await stage().ownServer();
  await server.addUser('bert');
  const drive = stage().drive(server);
  const labels = async (user: string) => {
    const list = JSON.parse(await mustCli(['token', 'list', user, '--data', server.data, '--json'])) as AppToken[];
    return list.map((token) => token.label);
  };
  const loginAs = async (user: string) => {
    const child = spawnTracked(
      process.execPath,
      [PROGRAM, 'login', server.url, '--web', '--user', 'Alice', '--name', 'work', '--store', 'file'],
      { env: drive.env },
    );
    let said = '';
    for (const out of [child.stdout, child.stderr]) out?.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const page = await eventually('the page to be told', () => /http:\S+\/flow\/\S+/.exec(said)?.[0] ?? '');
    const { password } = server.loginOf(user);
    expect((await fetch(page, { method: 'POST', body: new URLSearchParams({ user, password }) })).status).toBe(200);
    if (child.exitCode === null) await once(child, 'exit');
    return { code: child.exitCode, said };
  };
  const other = await loginAs('bert');
  expect(other.code).toBe(5);
  expect(other.said).toContain('Alice is required, on the page bert logged in');
  expect(await labels('bert')).toEqual([]);

  const { code, said } = await loginAs('alice');
  expect(code, said).toBe(0);
  expect(said).not.toContain('cmt_');
  expect(await labels('alice')).toEqual([expect.stringMatching(/^cloudmount on /)]);
  await mustCli(['mount', 'work', drive.dir], { env: drive.env });
  await stage().fs().writeFile(drive.path('hello'), 'hello');
  await mustCli(['unmount', 'work'], { env: drive.env });
  expect(await server.dav.text('hello')).toBe('hello');
  await mustCli(['logout', 'work'], { env: drive.env });
  expect(await labels('alice')).toEqual([]);

  const both = await cli(['login', server.url, '--web', '--password-stdin'], { env: drive.env, input: 'x' });
  expect([both.code, both.stderr]).toEqual([2, expect.stringContaining('found both')]);
});
