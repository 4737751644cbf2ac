// What a new user stumbles over: what the commands say where something is missing, wrong or silent, what they return, and
// what they tell scripts.

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join as joinPath } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { cli, mustCli, PROGRAM } from '../support/cli.js';
import { FaultProxy } from '../support/fault_proxy.js';
import { join, type Person } from '../support/people.js';
import { eventually, must, run, spawnTracked, stop } from '../support/processes.js';
import type { OwnServer } from '../support/servers.js';
import { useStage } from '../support/world.js';

const stage = useStage();
let server: OwnServer;
let alice: Person;

beforeAll(async () => {
  server = await stage().ownServer();
  alice = await join(stage(), server, 'alice');
  await server.addUser('ben');
}, 120_000);

async function json(person: Person, ...args: readonly string[]): Promise<unknown> {
  return JSON.parse(await person.run(...args, '--json'));
}

it('the built program is executable, also where a link from an earlier installation leads to it', async () => {
  expect(await must(PROGRAM, ['--version'])).toMatch(/^\d+\.\d+\.\d+$/m);
});

it('an option given twice is told, not half heeded', async () => {
  const twice = await cli(['mount', 'http://127.0.0.1:1', '/nowhere', '--timeout', '1', '--timeout', '2']);
  expect([twice.code, twice.stderr.trim()]).toEqual([2, 'cloudmount: --timeout: it can be given once, found 2 times.']);
  // In fstab's form several stand beside each other.
  const several = await cli(['mount', 'http://127.0.0.1:1', '/nowhere', '-o', 'ro', '-o', 'nonsense=1', '--user', 'a']);
  expect([several.code, several.stderr]).toEqual([2, expect.stringContaining('nonsense')]);
});

it('what is missing is named, with how the command is used', async () => {
  for (const [args, said] of [
    [['mount'], /ACCOUNT and DIR are missing .*\nUsage: cloudmount mount <account> <dir>/],
    [['mount', 'work'], /: DIR is missing .*\nUsage: cloudmount mount <account> <dir>/],
    [['unpin'], /PATHS is missing .*\nUsage: cloudmount unpin <paths\.\.>/],
    [['user', 'quota', 'anna'], /: SIZE is missing .*\nUsage: cloudmount user quota <name> <size>/],
    [['share'], /PATH is missing .*\nUsage: cloudmount share <path>/],
    [['share', 'x'], /an option is missing: --with\nUsage: cloudmount share <path>/],
    [['resolve', 'x'], /an option is missing: --keep\nUsage: cloudmount resolve <path>/],
    [['group'], /Usage: cloudmount group add\|list\|remove\|member/],
    [['pin', '--bogus'], /Unknown argument: bogus\nUsage: cloudmount pin/],
  ] as const) {
    const { code, stderr } = await cli(args, { env: alice.drive.env });
    expect([args, code]).toEqual([args, 2]);
    expect(stderr).toMatch(said);
  }
});

it('a result that cannot be written is a failure; a reader that has gone is none', async () => {
  const shell = (line: string) =>
    run('bash', ['-c', `cloudmount() { '${process.execPath}' '${PROGRAM}' "$@"; }; ${line}`], { env: alice.drive.env });
  const full = {
    code: 1,
    stdout: '',
    stderr: expect.stringMatching(/^cloudmount: writing to standard output: ENOSPC[^\n]*\n$/) as string,
  };
  for (const args of ['accounts', 'status --json', '--help', 'mount --help', 'completion bash']) {
    expect([args, await shell(`cloudmount ${args} > /dev/full`)]).toMatchObject([args, full]);
  }
  // What failed before says more.
  expect((await shell('cloudmount status /nowhere --json > /dev/full')).code).toBe(3);
  // A part of it fits.
  const file = joinPath(stage().folder('output'), 'status');
  const part = await shell(`ulimit -f 1; cloudmount status --json > '${file}'`);
  expect([part.code, part.stderr]).toEqual([1, expect.stringContaining('EFBIG')]);
  expect(await shell(`cloudmount accounts --json | true; echo "\${PIPESTATUS[0]}"`)).toMatchObject({
    stdout: '0\n',
    stderr: '',
  });
});

it('what changes something tells scripts what it did', async () => {
  const data = stage().folder('data');
  const own = async (...args: readonly string[]) =>
    JSON.parse(await mustCli([...args, '--data', data, '--json'], { input: 'a long password\n' })) as unknown;
  expect(await own('user', 'add', 'cara', '--password-stdin')).toMatchObject({ name: 'cara', isAdmin: false });
  expect(await own('user', 'passwd', 'cara', '--password-stdin')).toEqual({ name: 'cara' });
  expect(await own('user', 'quota', 'cara', '1M')).toMatchObject({ name: 'cara', quota_bytes: 1024 ** 2 });
  expect(await own('user', 'disable', 'cara')).toMatchObject({ name: 'cara', isDisabled: true });
  expect(await own('user', 'enable', 'cara')).toMatchObject({ name: 'cara', isDisabled: false });
  expect(await own('group', 'add', 'crew')).toMatchObject({ name: 'crew', members: [] });
  expect(await own('group', 'member', 'crew', 'cara')).toEqual({ group: 'crew', user: 'cara', member: true });
  expect(await own('group', 'remove', 'crew')).toEqual({ group: 'crew' });
  const { id } = (await own('token', 'add', 'cara', 'phone')) as { readonly id: number };
  expect(await own('token', 'revoke', 'cara', String(id))).toEqual({ user: 'cara', id });
  expect(await own('user', 'remove', 'cara')).toEqual({ name: 'cara', files: 'kept', folder: null });

  await alice.fs.mkdir(alice.path('Json'));
  await alice.fs.writeFile(alice.path('Json', 'file'), 'content');
  await alice.drive.flush();
  const [mountPoint, path] = [alice.drive.dir, 'Json/file'];
  const file = alice.path(path);
  expect(await json(alice, 'pin', file)).toMatchObject([{ mountPoint, path, complete: true }]);
  expect(await json(alice, 'unpin', file)).toEqual([{ mountPoint, path, before: 'pinned' }]);
  expect(await json(alice, 'lock', file)).toMatchObject({ mountPoint, path, lock: { mine: true } });
  expect(await json(alice, 'unlock', file)).toEqual({ mountPoint, path, wasLocked: true });
  expect(await json(alice, 'discard', file, '--yes')).toEqual({ mountPoint, path, discarded: 0 });
  const made = (await json(alice, 'share', file, '--with', 'ben')) as { readonly id: string };
  const share = { id: Number(made.id) };
  expect(await json(alice, 'share', 'suspend', made.id)).toEqual({ ...share, state: 'suspended' });
  expect(await json(alice, 'share', 'resume', made.id)).toEqual({ ...share, state: 'resumed' });
  expect(await json(alice, 'share', 'remove', made.id)).toEqual({ ...share, state: 'removed' });
  expect(await json(alice, 'share', 'ask-first', 'off')).toEqual({ askFirst: false });
});

it('of several paths, one that fails is in no other’s way, and what was done is told', async () => {
  for (const name of ['first', 'last']) await alice.fs.writeFile(alice.path(name), 'content');
  await alice.drive.flush();
  const paths = ['first', 'missing', 'last'].map((name) => alice.path(name));
  for (const [command, done] of [
    ['pin', 'is pinned and here.'],
    ['unpin', 'is not pinned any more.'],
    ['free', ': 7 B freed.'],
  ] as const) {
    const said = await alice.drive.cli([command, ...paths]);
    expect([command, said.code]).toEqual([command, 1]);
    expect(said.stdout.trimEnd().split('\n')).toEqual([expect.stringContaining(done), expect.stringContaining(done)]);
    expect(said.stderr).toContain('"missing": no such file');
  }
  const { code, stdout } = await alice.drive.cli(['unpin', ...paths, '--json']);
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject([
    { path: 'first', before: 'none' },
    { given: paths[1], error: { exitCode: 1, code: 'not_found' } },
    { path: 'last', before: 'none' },
  ]);
});

it('a folder that holds no server’s data is told, and nothing is made in it', async () => {
  const other = stage().folder('other');
  for (const data of [other, joinPath(other, 'missing')]) {
    for (const args of [
      ['user', 'list'],
      ['user', 'disable', 'anna'],
      ['group', 'list'],
      ['admin', 'locks'],
    ]) {
      const { code, stderr } = await cli([...args, '--data', data]);
      expect([args, code, stderr]).toEqual([
        args,
        1,
        `cloudmount: There is no server's data in ${data}; say where it is with --data.\n`,
      ]);
    }
  }
  expect(readdirSync(other)).toEqual([]);
});

it('a server on all addresses says how it is reached, and that nobody can log in yet', async () => {
  const data = stage().folder('empty');
  const log = joinPath(data, 'log');
  const child = spawnTracked(process.execPath, [PROGRAM, 'serve', '--listen', ':0', '--data', joinPath(data, 'srv')], {
    log,
  });
  try {
    const said = await eventually('it to serve', async (): Promise<string> => {
      const text = await must('cat', [log]);
      return text.includes('user add') ? text : '';
    });
    expect(said).toMatch(/Serving \S+ at http:\/\/localhost:\d+, on all addresses of this machine/);
    expect(said).toContain(
      `no users yet, so nobody can log in. Add one, from another terminal: cloudmount user add NAME --data '${data}/srv'`,
    );
    const url = /http:\/\/localhost:\d+/.exec(said)?.[0] ?? '';
    expect((await fetch(`${url}/healthz`)).ok).toBe(true);
  } finally {
    await stop(child, 'SIGTERM');
  }
});

it('a server whose log cannot be written does not start without one', async () => {
  const data = stage().folder('unlogged');
  writeFileSync(joinPath(data, 'file'), '');
  mkdirSync(joinPath(data, 'folder'));
  for (const [path, code] of [
    [joinPath(data, 'file', 'log'), /E(EXIST|NOTDIR)/],
    [joinPath(data, 'folder'), /EISDIR/],
  ] as const) {
    const serve = ['serve', '--listen', '127.0.0.1:0', '--data', joinPath(data, 'srv'), '--log-file', path];
    const { code: exit, stderr } = await cli(serve, { timeout_ms: 20_000 });
    expect(exit).toBe(1);
    expect(stderr).toMatch(code);
    expect(stderr.trim()).toMatch(/^cloudmount: opening the log [^\n]*$/);
  }
});

it('a wrong password at the first mount names the user and leaves no cache', async () => {
  const drive = stage().drive(server);
  const mount = (url: string, user: string, input: string) =>
    drive.cli(['mount', url, drive.dir, '--user', user, '--password-stdin'], { input });
  const refused = await mount(server.url, 'alice', 'wrong\n');
  expect(refused.code).toBe(5);
  expect(refused.stderr).toContain('the server does not accept user name and password of alice');
  const caches = joinPath(drive.env['XDG_DATA_HOME'] ?? '', 'cloudmount', 'cache');
  expect(existsSync(caches) ? readdirSync(caches) : []).toEqual([]);

  const others = await mount(`${server.url}/dav/files/ben/`, 'alice', server.login.password);
  expect(others.code).toBe(1);
  expect(others.stderr).toContain('these are the files of ben, the login is of alice');
  expect(drive.mounted).toBe(false);
});

it('a mount that is interrupted before the drive answers returns 130 and leaves nothing', async () => {
  const proxy = await FaultProxy.open({ targetPort: server.port });
  stage().defer(() => proxy.close());
  proxy.add({ fault: { kind: 'silence' } });
  const drive = stage().drive({ url: proxy.url, login: server.login });
  writeFileSync(joinPath(drive.base, 'password'), server.login.password, { mode: 0o600 });
  const script = '"$@" & mount=$!; sleep 2; kill -TERM $mount; wait $mount';
  const said = await run('sh', ['-c', script, 'sh', process.execPath, PROGRAM, ...drive.mountArgs()], {
    env: drive.env,
  });
  expect([said.code, said.stderr]).toEqual([130, expect.stringContaining('it is not mounted') as string]);
  expect(drive.mounted).toBe(false);
  expect((await drive.cli(['status'])).code).toBe(3);
});

it('a drive that hangs neither hides nor delays the others in status', async () => {
  const ben = stage().drive({ url: server.url, login: server.loginOf('ben') }, { env: alice.drive.env });
  await ben.mount();
  process.kill(ben.daemonPid, 'SIGSTOP');
  try {
    const said = await alice.drive.cli(['status']);
    expect(said.code).toBe(4);
    expect(said.stdout).toContain(`does not answer (process ${ben.daemonPid}): no answer within 4 s`);
    expect(said.stdout).toMatch(new RegExp(`^${alice.drive.dir}\n.*\n +connection +online`, 'm'));
    const listed = JSON.parse((await alice.drive.cli(['status', '--json'])).stdout) as {
      readonly mountPoint: string;
    }[];
    expect(listed.find((one) => one.mountPoint === ben.dir)).toMatchObject({ error: { code: 'timeout' } });
    expect(listed.find((one) => one.mountPoint === alice.drive.dir)).toHaveProperty('cache');
    expect((await alice.drive.cli(['status', ben.dir])).code).toBe(4);
  } finally {
    process.kill(ben.daemonPid, 'SIGCONT');
  }
  await ben.unmount();
});

it('a link that takes files in is refused for a file, before it is copied anywhere', async () => {
  const local = joinPath(stage().folder('local'), 'plan.txt');
  writeFileSync(local, 'x');
  await alice.fs.writeFile(alice.path('plan.txt'), 'x');
  for (const path of [local, alice.path('plan.txt')]) {
    const refused = await alice.drive.cli(['share', 'link', path, '--role', 'drop']);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain(`a folder is required: ${path} is a file`);
  }
  expect(await alice.fs.exists(alice.path('My shares'))).toBe(false);
});

it('sharing returns what docs/exit-codes.md says', async () => {
  const code = async (...args: readonly string[]) => (await alice.drive.cli(args)).code;
  expect(await code('shares', '--account', 'nosuch')).toBe(3);
  expect(await code('share', 'edit', 'x', '--role', 'viewer')).toBe(2);
  expect(await code('share', 'edit', '999', '--role', 'viewer')).toBe(1);
  const other = stage().drive(server).env;
  expect((await cli(['shares'], { env: other })).code).toBe(3);
  const second = await stage().ownServer();
  const { password } = second.login;
  await alice.drive.mustCli(
    ['login', second.url, '--user', 'alice', '--name', 'second', '--password-stdin', '--store', 'file'],
    {
      input: password,
    },
  );
  expect(await code('shares')).toBe(2);
  expect(await code('shares', '--account', 'second')).toBe(0);
  const [token] = JSON.parse(await mustCli(['token', 'list', 'alice', '--data', second.data, '--json'])) as {
    id: number;
  }[];
  await mustCli(['token', 'revoke', 'alice', String(token?.id), '--data', second.data]);
  expect(await code('shares', '--account', 'second')).toBe(5);
  await second.stop();
  const offline = await alice.drive.cli(['shares', '--account', 'second', '--json']);
  expect(offline.code).toBe(4);
  expect(JSON.parse(offline.stdout)).toMatchObject({ error: { exitCode: 4, code: 'network' } });
  // Never mounted.
  expect(await code('check', 'second')).toBe(3);
  await alice.run('logout', 'second');
});

it('a server in maintenance returns what one out of reach does', async () => {
  let maintenance = (_path: string): [status: number, body: string] => [503, '<h1>Maintenance</h1>'];
  const down = createServer((request, response) => {
    const [status, body] = maintenance(request.url ?? '');
    response.writeHead(status, { 'content-type': body.startsWith('{') ? 'application/json' : 'text/html' }).end(body);
  });
  await new Promise<void>((done) => down.listen(0, '127.0.0.1', done));
  const url = `http://127.0.0.1:${(down.address() as AddressInfo).port}`;
  const other = stage().drive(server);
  const login = (at: string) =>
    other.cli(['login', at, '--user', 'alice', '--name', 'down', '--password-stdin', '--store', 'file', '--json'], {
      input: server.login.password,
    });
  const busy = { error: { exitCode: 4, code: 'busy_server' } };
  try {
    const page = await login(url);
    expect(page.code).toBe(4);
    expect(JSON.parse(page.stdout)).toMatchObject(busy);
    // Nextcloud: status.php goes on answering.
    maintenance = (path) => (path === '/status.php' ? [200, '{"installed":true,"maintenance":true}'] : [503, '']);
    const status = await login(url);
    expect(status.code).toBe(4);
    expect(status.stderr).toContain('the server is in maintenance');
    // Logged in before it went into maintenance.
    expect((await login(server.url)).code).toBe(0);
    const accounts = joinPath(other.env['XDG_CONFIG_HOME'] ?? '', 'cloudmount', 'accounts.json');
    writeFileSync(accounts, readFileSync(accounts, 'utf8').replaceAll(server.url, url));
    const shares = await other.cli(['shares', '--json']);
    expect(shares.code).toBe(4);
    expect(JSON.parse(shares.stdout)).toMatchObject(busy);
  } finally {
    down.closeAllConnections();
    await new Promise((done) => down.close(done));
  }
});

it('a backup is told in files and users', async () => {
  const base = stage().folder('backup');
  await alice.fs.writeFile(alice.path('small.txt'), 'in the database');
  await alice.drive.flush();
  const said = await run(process.execPath, [PROGRAM, 'backup', joinPath(base, 'bk'), '--data', server.data]);
  expect(said.stdout).toMatch(/bk: \d+ files, .*, of 2 users, as of /);
  mkdirSync(joinPath(base, 'into'));
  const restored = await mustCli(['restore', joinPath(base, 'bk'), '--data', joinPath(base, 'into')]);
  expect(restored).toMatch(/: \d+ files, .*, of 2 users\./);
});

it('a name that is no UTF-8 can be given to the commands', async () => {
  const { drive } = alice;
  const script = `
    folder=$(printf 'caf\\351'); file=$(printf 'r\\351sum\\351')
    mkdir "$folder" && echo text > "$folder/$file" || exit
    cloudmount() { '${process.execPath}' '${PROGRAM}' "$@"; }
    cloudmount status "$folder/$file" --json && cloudmount pin "$folder/$file" && cloudmount flush --wait "$folder/$file"`;
  const said = await must('bash', ['-c', script], { cwd: drive.dir, env: drive.env });
  expect(said).toContain(JSON.stringify('caf\udce9/r\udce9sum\udce9'));
  expect(await alice.run('pins', '--json', drive.dir)).toContain(JSON.stringify('caf\udce9/r\udce9sum\udce9'));
  await drive.must('bash', ['-c', 'rm -r -- "$(printf \'caf\\351\')"']);
});

it('completion offers the users of a server whose data can be read', async () => {
  const data = joinPath(stage().folder('completion'), 'data');
  for (const name of ['anna', 'andy', 'ben'])
    await mustCli(['user', 'add', name, '--data', data, '--password-stdin'], { input: 'a long password' });
  const complete = async (...words: readonly string[]) =>
    (await mustCli(['--get-yargs-completions', 'cloudmount', ...words])).split('\n').filter(Boolean);
  expect(await complete('user', 'passwd', '--data', data, '')).toEqual(['andy', 'anna', 'ben']);
  expect(await complete('user', 'remove', '--data', data, 'an')).toEqual(['andy', 'anna']);
  expect(await complete('user', 'add', '--data', data, '')).toEqual([]);
  expect(await complete('user', 'disable', '--data', '/nowhere', '')).toEqual([]);
});
