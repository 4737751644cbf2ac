// Passwords in the desktop's keyring: a real gnome-keyring on a bus of the test's own.

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startKeyring } from '../support/buses.js';
import { cli, mustCli } from '../support/cli.js';
import { must, run } from '../support/processes.js';
import { useStage } from '../support/world.js';

const stage = useStage();
const ENTRY = ['service', 'cloudmount', 'account'];

it('login keeps the token in the keyring, drives get it from there, logout leaves nothing; locked, each says so', async () => {
  const keyring = await startKeyring(stage());
  const server = await stage().ownServer();
  const drive = stage().drive(server, { env: keyring.env });
  const { env } = drive;
  const login = async (name: string) =>
    JSON.parse(
      await mustCli(['login', server.url, '--user', 'alice', '--password-stdin', '--name', name, '--json'], {
        env,
        input: `${server.login.password}\n`,
      }),
    ) as { credential: string };
  const tokens = async () =>
    (JSON.parse(await mustCli(['token', 'list', 'alice', '--data', server.data, '--json'])) as unknown[]).length;
  const config = join(env['XDG_CONFIG_HOME'] ?? '', 'cloudmount');

  expect(await login('work')).toMatchObject({ credential: 'keyring' });
  const token = await must('secret-tool', ['lookup', ...ENTRY, 'work'], { env });
  expect(token).toMatch(/^cmt_/);
  expect(existsSync(join(config, 'credentials.json'))).toBe(false);
  expect(await readFile(join(config, 'accounts.json'), 'utf8')).not.toContain(token);
  expect(await mustCli(['doctor', '--json'], { env }).catch(String)).toContain('the keyring answers');

  await mustCli(['mount', 'work', drive.dir], { env });
  await stage().fs().writeFile(drive.path('note'), 'by the keyring');
  await mustCli(['flush', '--wait', drive.dir], { env });
  await mustCli(['unmount', drive.dir], { env });
  expect(await server.dav.text('note')).toBe('by the keyring');

  await mustCli(['logout', 'work'], { env });
  expect((await run('secret-tool', ['lookup', ...ENTRY, 'work'], { env })).stdout).toBe('');
  expect(await tokens()).toBe(0);

  await login('again');
  await keyring.lock();
  const mounted = await cli(['mount', 'again', drive.dir], { env });
  expect([mounted.code, mounted.stderr]).toEqual([5, expect.stringContaining('the keyring is locked') as string]);
  expect(drive.mounted).toBe(false);
  // A new login does without, and says so.
  const other = await cli(['login', server.url, '--user', 'alice', '--password-stdin', '--name', 'other'], {
    env,
    input: `${server.login.password}\n`,
  });
  expect([other.code, other.stdout, other.stderr]).toEqual([
    0,
    expect.stringContaining('credentials file') as string,
    expect.stringContaining('the keyring is not used') as string,
  ]);
  // What cannot be taken away is named.
  const out = await cli(['logout', 'again'], { env });
  expect([out.code, out.stderr]).toEqual([
    0,
    expect.stringMatching(/keyring is locked.*did not confirm.*stays there/s) as string,
  ]);
  expect(await tokens()).toBe(2);
});

it('a login that is kept in another place than before leaves nothing in that one, or says that it does', async () => {
  const keyring = await startKeyring(stage());
  const server = await stage().ownServer();
  const { env } = stage().drive(server, { env: keyring.env });
  const login = (store: string) =>
    cli(['login', server.url, '--user', 'alice', '--password-stdin', '--name', 'work', '--store', store], {
      env,
      input: `${server.login.password}\n`,
    });
  const inKeyring = async () => (await run('secret-tool', ['lookup', ...ENTRY, 'work'], { env })).stdout;
  const inFile = async () => {
    const text = await readFile(join(env['XDG_CONFIG_HOME'] ?? '', 'cloudmount', 'credentials.json'), 'utf8');
    return (JSON.parse(text) as { secrets: object }).secrets;
  };
  expect((await login('keyring')).code).toBe(0);
  expect(await inKeyring()).toMatch(/^cmt_/);
  expect(await login('file')).toMatchObject({ code: 0, stderr: '' });
  expect(await inKeyring()).toBe('');
  expect(await inFile()).toEqual({ work: expect.stringMatching(/^cmt_/) as string });
  expect(await login('keyring')).toMatchObject({ code: 0, stderr: '' });
  expect(await inKeyring()).toMatch(/^cmt_/);
  expect(await inFile()).toEqual({});
  expect(JSON.parse(await mustCli(['token', 'list', 'alice', '--data', server.data, '--json']))).toHaveLength(1);
  await keyring.lock();
  const moved = await login('file');
  expect([moved.code, moved.stderr]).toEqual([
    0,
    expect.stringMatching(
      /not revoked \(.*keyring is locked.*entry in the keyring stays there: .*keyring is locked/s,
    ) as string,
  ]);
});

it('a keyring that hangs is waited for no longer than the bound, and the user is told', async () => {
  const keyring = await startKeyring(stage());
  process.kill(keyring.pid, 'SIGSTOP');
  try {
    const drive = stage().drive(await stage().ownServer(), { env: keyring.env });
    const { code, stdout, stderr } = await cli(['doctor', '--json'], { env: drive.env });
    expect(code).not.toBeNull();
    expect(stdout + stderr).toContain('no answer within 10 s');
  } finally {
    process.kill(keyring.pid, 'SIGCONT');
  }
});
