// Accounts, from `login` to fstab, on a real server and with real mounts.

import { mkdirSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { ControlServer } from '../../src/daemon/control/control_server.js';
import { registerMount, socketPath } from '../../src/daemon/mount_registry.js';
import { userDirs } from '../../src/daemon/user_dirs.js';
import { silentLog } from '../../src/log.js';
import { cli, mustCli, PROGRAM } from '../support/cli.js';
import { FaultProxy } from '../support/fault_proxy.js';
import { mountAt } from '../support/mounts.js';
import { eventually, must, run } from '../support/processes.js';
import { useStage } from '../support/world.js';

const stage = useStage();
const HELPER = fileURLToPath(new URL('../../bin/mount.cloudmount', `file://${PROGRAM}`));

async function ready() {
  const server = await stage().ownServer();
  const drive = stage().drive(server);
  return { server, drive, env: drive.env, fs: stage().fs() };
}

it('login keeps a token instead of the password, mounts by name, logout gives the token back', async () => {
  const { server, drive, env, fs } = await ready();
  const { password } = server.login;
  const said = await mustCli(
    ['login', server.url, '--user', 'alice', '--password-stdin', '--name', 'work', '--store', 'file', '--json'],
    {
      env,
      input: `${password}\n`,
    },
  );
  expect(JSON.parse(said)).toMatchObject({
    name: 'work',
    user: 'alice',
    appToken: true,
    credential: 'file',
    dialect: 'cloudmount',
  });
  const config = join(env['XDG_CONFIG_HOME'] ?? '', 'cloudmount');
  const kept =
    (await readFile(join(config, 'credentials.json'), 'utf8')) +
    (await readFile(join(config, 'accounts.json'), 'utf8'));
  expect(kept).not.toContain(password);
  expect(kept).toContain('cmt_');
  expect((await stat(join(config, 'credentials.json'))).mode & 0o777).toBe(0o600);
  const tokens = async () =>
    JSON.parse(await mustCli(['token', 'list', 'alice', '--data', server.data, '--json'])) as { label: string }[];
  expect(await tokens()).toHaveLength(1);

  // A second login of the same account replaces its token.
  await mustCli(['login', server.url, '--user', 'alice', '--password-stdin', '--name', 'work', '--store', 'file'], {
    env,
    input: password,
  });
  expect(await tokens()).toHaveLength(1);

  await mustCli(['mount', 'work', drive.dir], { env });
  await fs.writeFile(join(drive.dir, 'hello'), 'hello');
  expect(JSON.parse(await mustCli(['accounts', '--json'], { env }))).toMatchObject([
    { name: 'work', mountPoints: [drive.dir] },
  ]);
  const refused = await cli(['logout', 'work'], { env });
  expect(refused.code).toBe(7);
  await mustCli(['flush', '--wait', drive.dir], { env });
  expect(await server.dav.text('hello')).toBe('hello');
  await mustCli(['unmount', 'work'], { env });
  await mustCli(['logout', 'work'], { env });
  expect(await tokens()).toEqual([]);
  expect(JSON.parse(await mustCli(['accounts', '--json'], { env }))).toEqual([]);
});

it('a login that is refused leaves nothing behind', async () => {
  const { server, env } = await ready();
  const refused = await cli(['login', server.url, '--user', 'alice', '--password-stdin', '--json'], {
    env,
    input: 'wrong password\n',
  });
  expect(refused.code).toBe(5);
  expect(JSON.parse(refused.stdout)).toMatchObject({ error: { exitCode: 5, code: 'unauthorized' } });
  expect(refused.stderr + refused.stdout).not.toContain('wrong password');
  expect(JSON.parse(await mustCli(['accounts', '--json'], { env }))).toEqual([]);

  // A login that cannot be kept.
  const nowhere = { ...env, XDG_CONFIG_HOME: '/proc' };
  const failed = await cli(
    ['login', server.url, '--user', 'alice', '--password-stdin', '--name', 'work', '--store', 'file'],
    { env: nowhere, input: server.login.password },
  );
  expect([failed.code, failed.stderr.trim().split('\n')]).toEqual([
    1,
    [expect.stringMatching(/making the folder \/proc\/cloudmount: ENOENT/) as string],
  ]);
  expect(JSON.parse(await mustCli(['token', 'list', 'alice', '--data', server.data, '--json']))).toEqual([]);
});

it('a revoked token: what is here stays usable, and nothing is thrown away', async () => {
  const { server, drive, env, fs } = await ready();
  await mustCli(['login', server.url, '--user', 'alice', '--password-stdin', '--name', 'work', '--store', 'file'], {
    env,
    input: server.login.password,
  });
  await mustCli(['mount', 'work', drive.dir], { env });
  await fs.writeFile(join(drive.dir, 'kept'), 'kept');
  await mustCli(['flush', '--wait', drive.dir], { env });
  const [token] = JSON.parse(await mustCli(['token', 'list', 'alice', '--data', server.data, '--json'])) as {
    id: number;
  }[];
  await mustCli(['token', 'revoke', 'alice', String(token?.id), '--data', server.data]);
  await fs.writeFile(join(drive.dir, 'kept'), 'changed');
  await eventually('the drive to know', async () => {
    const status = JSON.parse(await mustCli(['status', drive.dir, '--json'], { env })) as {
      cache: { connection: string };
    };
    return status.cache.connection === 'unauthorized';
  });
  expect(await fs.readText(join(drive.dir, 'kept'))).toBe('changed');
  const flushed = await cli(['flush', '--wait', drive.dir], { env });
  expect(flushed.code).toBe(5);
  expect(flushed.stderr).toContain(`cloudmount login ${server.url}`);
  await mustCli(['unmount', drive.dir], { env });
  const refused = await cli(['mount', 'work', drive.dir], { env });
  expect(refused.code).toBe(5);
  expect(refused.stderr).toContain('log in again');
  // What is here stays within reach all the same.
  expect(await fs.readText(join(drive.dir, 'kept'))).toBe('changed');
  await mustCli(['unmount', drive.dir], { env });
  // Logged in again, the change arrives.
  await mustCli(['login', server.url, '--user', 'alice', '--password-stdin', '--name', 'work', '--store', 'file'], {
    env,
    input: server.login.password,
  });
  await mustCli(['mount', 'work', drive.dir], { env });
  await mustCli(['flush', '--wait', drive.dir], { env });
  expect(await server.dav.text('kept')).toBe('changed');
  await mustCli(['unmount', drive.dir], { env });
});

it('a running drive takes over a new login', async () => {
  const { server, drive, env, fs } = await ready();
  const login = () =>
    mustCli(['login', server.url, '--user', 'alice', '--password-stdin', '--name', 'work', '--store', 'file'], {
      env,
      input: server.login.password,
    });
  await login();
  await mustCli(['mount', 'work', drive.dir], { env });
  const [token] = JSON.parse(await mustCli(['token', 'list', 'alice', '--data', server.data, '--json'])) as {
    id: number;
  }[];
  await mustCli(['token', 'revoke', 'alice', String(token?.id), '--data', server.data]);
  // Nobody asked the server for anything: it tells by closing the push channel.
  await eventually('the drive to know', async () => {
    const status = JSON.parse(await mustCli(['status', drive.dir, '--json'], { env })) as {
      cache: { connection: string };
    };
    return status.cache.connection === 'unauthorized';
  });
  await fs.writeFile(join(drive.dir, 'meanwhile'), 'kept');
  expect(await login()).toContain(drive.dir);
  await eventually('the change to arrive', async () => {
    await cli(['flush', '--wait', drive.dir], { env });
    return (await server.dav.exists('meanwhile')) as boolean;
  });
  await mustCli(['unmount', drive.dir], { env });
});

it('a new login is told to the running drives before the old token ends; one that cannot be told keeps its token', async () => {
  const { server, drive, env } = await ready();
  const proxy = await FaultProxy.open({ targetPort: server.port });
  stage().defer(() => proxy.close());
  const login = () =>
    cli(['login', proxy.url, '--user', 'alice', '--password-stdin', '--name', 'work', '--store', 'file'], {
      env,
      input: server.login.password,
    });
  const tokens = async () =>
    (JSON.parse(await mustCli(['token', 'list', 'alice', '--data', server.data, '--json'])) as unknown[]).length;
  await login();
  await mustCli(['mount', 'work', drive.dir], { env });
  const { logFile } = JSON.parse(await mustCli(['status', drive.dir, '--json'], { env })) as { logFile: string };
  // Seconds pass between the end of the token and the server's word for it.
  proxy.add({ method: 'DELETE', path: /apppassword/, fault: { kind: 'drip', bytes: 1, every_ms: 20 } });
  expect((await login()).code).toBe(0);
  await mustCli(['flush', '--wait', drive.dir], { env });
  expect(await readFile(logFile, 'utf8')).not.toContain('"unauthorized"');
  expect(await tokens()).toBe(1);
  await mustCli(['unmount', drive.dir], { env });

  const dirs = userDirs(env);
  const refuses = await ControlServer.listen(socketPath(dirs, '/deaf'), {}, silentLog);
  stage().defer(() => refuses.close());
  const texts = { account: 'work', url: proxy.url, mountPoint: '/deaf', cacheDir: '/deaf', logFile: '', startedAt: '' };
  await registerMount(dirs, { pid: process.pid, socket: refuses.path, ...texts });
  const deaf = await login();
  expect([deaf.code, deaf.stderr]).toEqual([
    0,
    expect.stringMatching(/\/deaf goes on with the old login .*not revoked/s) as string,
  ]);
  expect(await tokens()).toBe(2);
});

it('mount(8)’s helper mounts with the options of fstab, and umount(8) ends the daemon', async () => {
  const { server, drive, env, fs } = await ready();
  const password = join(drive.base, 'pw, with a comma');
  await writeFile(password, server.login.password, { mode: 0o600 });
  const options = `rw,_netdev,nofail,x-systemd.automount,username=alice,password-file=${password.replace(',', '\\,')},uid=1234,cache-size=1G`;
  await must(HELPER, [server.url, drive.dir, '-s', '-o', options], { env });
  await fs.writeFile(join(drive.dir, 'from-fstab'), 'x');
  expect((await fs.stat(join(drive.dir, 'from-fstab'))).uid).toBe(1234);
  const { pid } = JSON.parse(await mustCli(['status', drive.dir, '--json'], { env })) as { pid: number };
  await mustCli(['flush', '--wait', drive.dir], { env });
  await must('umount', [drive.dir]);
  expect(mountAt(drive.dir)).toBeUndefined();
  await eventually('the daemon to end', () =>
    stat(`/proc/${pid}`).then(
      () => false,
      () => true,
    ),
  );
  expect(await server.dav.text('from-fstab')).toBe('x');

  const refused = await run(HELPER, [server.url, drive.dir, '-o', 'username=alice,no-such-option'], { env });
  expect(refused.code).toBe(32);
  expect(refused.stderr).toContain('no-such-option');
  expect((await run(HELPER, [server.url], { env })).code).toBe(1);
});

it('a path outside of every drive, and a drive that is not mounted, are code 3', async () => {
  const { env, drive } = await ready();
  for (const args of [
    ['status'],
    ['status', drive.dir],
    ['pin', drive.dir],
    ['flush'],
    ['unmount', drive.dir],
    ['lock', join(drive.dir, 'x')],
    ['check'],
    ['mount', 'nosuch', drive.dir],
    ['logout', 'nosuch'],
  ]) {
    expect({ args, code: (await cli(args, { env })).code }).toEqual({ args, code: 3 });
  }
  for (const args of [
    ['pin'],
    ['resolve', 'x'],
    ['resolve', 'x', '--keep', 'all'],
    ['nonsense'],
    [],
    ['mount', 'x', drive.dir, '--cache-size', 'lots'],
  ]) {
    expect({ args, code: (await cli(args, { env })).code }).toEqual({ args, code: 2 });
  }
});

it('a command in the folder of a drive that died says so in one sentence', async () => {
  const { server, drive, env } = await ready();
  await mustCli(['mount', server.url, drive.dir, '--user', 'alice', '--password-stdin'], {
    env,
    input: server.login.password,
  });
  const { pid } = JSON.parse(await mustCli(['status', drive.dir, '--json'], { env })) as { pid: number };
  const script = 'cd "$1" && kill -9 "$2" && while ls . >/dev/null 2>&1; do sleep 0.1; done; exec "$3" "$4" status';
  const asked = await run('sh', ['-c', script, 'sh', drive.dir, String(pid), process.execPath, PROGRAM], { env });
  expect(asked.code).toBe(3);
  expect(asked.stderr.trim().split('\n')).toHaveLength(1);
  expect(asked.stderr).toContain(drive.dir);
  const after = await cli(['status'], { env });
  expect(after.code).toBe(3);
  expect(after.stderr).toContain('ended without being unmounted');
});

it('mistakes are named in words and, with --json, by a code', async () => {
  const { drive, env } = await ready();
  const typo = await cli(['stauts', '--json'], { env });
  expect(typo.code).toBe(2);
  expect(JSON.parse(typo.stdout)).toMatchObject({
    error: { exitCode: 2, code: 'invalid', message: expect.stringContaining('Did you mean status?') },
  });
  expect((await cli(['bogus'], { env })).stderr).not.toContain('Did you mean');
  const missing = await cli(['mount', '--json'], { env });
  expect(JSON.parse(missing.stdout)).toMatchObject({ error: { exitCode: 2, code: 'invalid' } });
  await writeFile(join(drive.dir, 'in the way'), '');
  const full = await cli(['mount', 'http://127.0.0.1:9/', drive.dir, '--user', 'x', '--password-stdin', '--json'], {
    env,
    input: 'x',
  });
  expect({ code: full.code, ...(JSON.parse(full.stdout) as object) }).toMatchObject({
    code: 6,
    error: { code: 'not_empty' },
  });
});

it('completion offers accounts and drives, options only after a dash, and files otherwise', async () => {
  const { server, drive, env } = await ready();
  await mustCli(['login', server.url, '--user', 'alice', '--password-stdin', '--name', 'work', '--store', 'file'], {
    env,
    input: server.login.password,
  });
  await mustCli(['mount', 'work', drive.dir], { env });
  const complete = async (...words: readonly string[]) =>
    (await mustCli(['--get-yargs-completions', 'cloudmount', ...words], { env })).split('\n').filter(Boolean);
  expect(await complete('mou')).toEqual(['mount']);
  expect(await complete('mount', '')).toEqual(['work']);
  expect(await complete('logout', '')).toEqual(['work']);
  expect(await complete('unmount', '')).toEqual(['work', drive.dir]);
  expect(await complete('pin', '')).toEqual([]);
  expect(await complete('status', '--')).toContain('--json');
  expect(await complete('token', '')).toEqual(['add', 'list', 'revoke']);
  expect(await complete('resolve', 'x', '--keep', '')).toEqual(['mine', 'theirs', 'both']);
  await mustCli(['unmount', 'work'], { env });
});

it('a symbolic link that leads into a drive is followed; a link in the drive is itself', async () => {
  const { server, drive, env, fs } = await ready();
  await writeFile(join(drive.base, 'password'), server.login.password, { mode: 0o600 });
  await mustCli(drive.mountArgs(), { env });
  mkdirSync(join(drive.base, 'else'));
  await must('ln', ['-s', drive.dir, join(drive.base, 'else', 'link')]);
  await fs.writeFile(join(drive.dir, 'file'), 'x');
  const status = JSON.parse(
    await mustCli(['status', join(drive.base, 'else', 'link', 'file'), '--json'], { env }),
  ) as object;
  expect(status).toMatchObject({ mountPoint: drive.dir, path: 'file' });
  expect(JSON.parse(await mustCli(['status', join(drive.base, 'else', 'link'), '--json'], { env }))).toMatchObject({
    mountPoint: drive.dir,
  });
  await mustCli(['unmount', drive.dir], { env });
});
