import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { cli, PROGRAM } from '../support/cli.js';
import { FaultProxy } from '../support/fault_proxy.js';
import { mountAt } from '../support/mounts.js';
import { eventually, isAlive, must, spawnTracked, stop } from '../support/processes.js';
import { useStage } from '../support/world.js';

const stage = useStage();

async function mounted() {
  const server = await stage().ownServer();
  const drive = await stage().mount(server);
  const fs = stage().fs();
  return { server, drive, fs };
}

it('kill -9 of the daemon: the guard unmounts, and what was fsynced survives and reaches the server', async () => {
  const { server, drive, fs } = await mounted();
  await fs.writeFile(drive.path('before'), 'already on the server');
  await drive.flush();
  await fs.writeFile(drive.path('synced'), 'fsynced just now', { sync: true });
  const hash = await fs.fill(drive.path('large'), 5_000_000, { seed: 21, sync: true });
  await drive.kill9();
  expect(await readdir(drive.dir)).toEqual([]);
  await drive.mount();
  expect(await fs.readText(drive.path('synced'))).toBe('fsynced just now');
  expect((await fs.sha256(drive.path('large'))).sha256).toBe(hash);
  expect(await fs.readText(drive.path('before'))).toBe('already on the server');
  await drive.flush();
  expect(await server.dav.text('synced')).toBe('fsynced just now');
  expect((await server.dav.get('large')).length).toBe(5_000_000);
  await drive.mustCli(['check', drive.dir]);
});

it('a folder that is not empty is refused, and covered when that is asked for', async () => {
  const server = await stage().ownServer();
  const drive = stage().drive(server, { args: ['-o', 'nonempty'] });
  await mkdir(drive.dir, { recursive: true });
  await writeFile(join(drive.dir, 'below'), 'x');
  const plain = stage().drive(server);
  await mkdir(plain.dir, { recursive: true });
  await writeFile(join(plain.dir, 'below'), 'x');
  await expect(plain.mount()).rejects.toThrow('-o nonempty');
  await drive.mount();
  expect(await readdir(drive.dir)).toEqual([]);
  await drive.unmount();
  expect(await readdir(drive.dir)).toEqual(['below']);
});

it('a guard that is woken while the daemon lives goes on guarding', async () => {
  const { drive } = await mounted();
  const guard = Number(await must('pgrep', ['-f', `cloudmount-guard ${drive.dir} `]));
  process.kill(guard, 'SIGURG');
  await sleep(500);
  expect(drive.mounted).toBe(true);
  expect(isAlive(guard)).toBe(true);
  await drive.kill9();
});

it('a process with an open file does not hang when the daemon is killed', async () => {
  const { drive, fs } = await mounted();
  await fs.writeFile(drive.path('file'), 'x');
  const fd = await fs.open(drive.path('file'), 'O_RDWR');
  await drive.kill9();
  const answer = await fs.ask({ op: 'fstat', fd });
  if ('errno' in answer) expect(['ENOTCONN', 'EIO', 'ECONNABORTED']).toContain(answer.errno);
  await fs.ask({ op: 'close', fd });
  await drive.mount();
  // Closed a moment ago and never synced: it may be lost, but it is never something else.
  const left = await fs.ask({ op: 'read_file', path: drive.path('file') });
  expect('errno' in left ? left.errno : Buffer.from(String(left.ok), 'base64').toString()).toMatch(/^(x||ENOENT)$/);
});

// As when the kernel itself still waits on behalf of the dead: one of the daemon's threads tells of a change and waits for
// a directory that a program has locked, which waits for the daemon. Neither the device nor the guard's pipe is closed then.
it('a daemon that was killed and whose files are still open elsewhere keeps nobody waiting', async () => {
  const { drive, fs } = await mounted();
  await fs.writeFile(drive.path('file'), 'x', { sync: true });
  const fd = await fs.open(drive.path('file'), 'O_RDWR');
  const holder = stage().fs();
  const held = await holder.call<number[]>({ op: 'hold_descriptors', pid: drive.daemonPid });
  expect(held.length).toBeGreaterThan(0);
  await drive.kill9();
  const answer = await fs.ask({ op: 'fsync', fd });
  expect('errno' in answer && answer.errno).toBe('ENOTCONN');
  await fs.ask({ op: 'close', fd });
  await drive.mount();
  expect(await fs.readText(drive.path('file'))).toBe('x');
});

it('what a program goes on writing after the daemon was killed changes nothing that the next one has', async () => {
  const { server, drive, fs } = await mounted();
  const other = stage().fs();
  await fs.writeFile(drive.path('file'), 'one\n');
  await drive.flush();
  // Open for reading first: then the kernel reads and writes the content itself, without a daemon.
  const reader = await other.open(drive.path('file'));
  const writer = await fs.open(drive.path('file'), 'O_WRONLY|O_APPEND');
  await fs.write(writer, 'two\n');
  await fs.fsync(writer);
  await drive.kill9();
  await drive.mount();
  await fs.ask({ op: 'write', fd: writer, data: Buffer.from('three\n').toString('base64') });
  await fs.ask({ op: 'close', fd: writer });
  await other.ask({ op: 'close', fd: reader });
  expect(await fs.readText(drive.path('file'))).toBe('one\ntwo\n');
  await drive.flush();
  expect(await server.dav.text('file')).toBe('one\ntwo\n');
  await drive.mustCli(['check', drive.dir]);
});

it('a part of a file that was changed here is no damage when a kill -9 comes while the rest is fetched', async () => {
  const server = await stage().ownServer();
  const theirs = Buffer.alloc(100_000, 'theirs\n');
  await server.dav.put('file', theirs);
  const proxy = await FaultProxy.open({ targetPort: server.port });
  stage().defer(() => proxy.close());
  const here = (url: string) => url.replace(`:${server.port}`, `:${proxy.port}`);
  const login = { ...server.login, root: here(server.login.root) };
  const drive = await stage().mount({ url: here(server.url), login });
  const fs = stage().fs();
  await eventually('the file to be seen', () => fs.exists(drive.path('file')));
  await proxy.refuse();
  const fd = await fs.open(drive.path('file'), 'O_WRONLY|O_APPEND');
  await fs.write(fd, 'mine\n');
  await fs.fsync(fd);
  await fs.close(fd);
  await new Promise((resolve) => setTimeout(resolve, 1500)); // and it is written down as closed
  proxy.add({ method: 'GET', path: /file$/, fault: { kind: 'stall', after_bytes: 30_000 } });
  await proxy.accept();
  await eventually('the rest to be asked for', () => proxy.count('GET', /file$/) > 0, Boolean, 60_000);
  await new Promise((resolve) => setTimeout(resolve, 100));
  await drive.kill9();
  proxy.clear();
  await drive.mount();
  await drive.flush();
  expect((await server.dav.get('file')).toString()).toBe(`${theirs.toString()}mine\n`);
  await drive.mustCli(['check', drive.dir]);
});

it('what was closed a good second before a kill -9 is still there', async () => {
  const { server, drive, fs } = await mounted();
  const link = await stage().link(server);
  const cutOff = await stage().mount(link);
  // What is in a folder that was never listed cannot be known without the server.
  await fs.list(cutOff.dir);
  link.proxy.cut = true;
  const hash = await fs.fill(cutOff.path('file'), 300_000, { seed: 22 });
  await new Promise((resolve) => setTimeout(resolve, 1500));
  await cutOff.kill9();
  link.proxy.cut = false;
  await cutOff.mount();
  expect((await fs.sha256(cutOff.path('file'))).sha256).toBe(hash);
  await cutOff.flush();
  expect(await server.dav.list()).toEqual(['file']);
  expect(drive.mounted).toBe(true);
});

it('a stale mount of a dead daemon is cleared at the next start', async () => {
  const { drive, fs } = await mounted();
  await fs.writeFile(drive.path('file'), 'still here', { sync: true });
  // The daemon's whole group is killed, guard included, as the kernel's memory killer or a session's end may do.
  const family = execFileSync('ps', ['-e', '-o', 'pid=,ppid=,args='], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(drive.dir) && !line.includes('ps -e'))
    .map((line) => Number(line.trim().split(/\s+/)[0]));
  for (const pid of family.filter((each) => each !== drive.daemonPid)) process.kill(pid, 'SIGKILL');
  await drive.signal('SIGKILL');
  await eventually('a dead mount or none', async () => {
    const found = mountAt(drive.dir);
    return found === undefined || 'errno' in (await fs.ask({ op: 'stat', path: drive.dir }));
  });
  await drive.mount();
  expect(await fs.readText(drive.path('file'))).toBe('still here');
});

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  it(`${signal} unmounts, keeps what is queued and ends with 0`, async () => {
    const { drive, fs } = await mounted();
    await fs.writeFile(drive.path('file'), 'queued');
    const ended = await drive.signal(signal);
    expect(ended).toEqual({ code: 0, signal: null, forced: false });
    expect(mountAt(drive.dir)).toBeUndefined();
    await drive.mount();
    expect(await fs.readText(drive.path('file'))).toBe('queued');
  });
}

it('`mount` in the background returns when the drive answers, and `unmount` when it is gone', async () => {
  const { server } = await mounted();
  const drive = stage().drive(server);
  await writeFile(join(drive.base, 'password'), server.login.password, { mode: 0o600 });
  const done = await cli(drive.mountArgs(), { env: drive.env });
  expect({ code: done.code, stderr: done.stderr }).toMatchObject({ code: 0 });
  expect(mountAt(drive.dir)).toBeDefined();
  const fs = stage().fs();
  await fs.writeFile(drive.path('hello'), 'hello');
  const pid = Number((await drive.status())['pid']);
  expect(pid).toBeGreaterThan(1);
  await drive.flush();
  await drive.mustCli(['unmount', drive.dir]);
  expect(mountAt(drive.dir)).toBeUndefined();
  await eventually('the daemon to be gone', async () =>
    stat(`/proc/${pid}`)
      .then(() => false)
      .catch(() => true),
  );
  expect(await server.dav.text('hello')).toBe('hello');
});

it('what keeps a drive for a moment, and is no program, does not keep it from being unmounted', async () => {
  const { drive, fs } = await mounted();
  await fs.mkdir(drive.path('other'));
  await must('mount', ['-t', 'tmpfs', 'none', drive.path('other')]);
  const unmounted = drive.cli(['unmount', drive.dir]);
  await sleep(800); // the command has asked by then
  await must('umount', [drive.path('other')]);
  expect(await unmounted).toMatchObject({ code: 0 });
});

it('a busy drive is not unmounted under its users, and says who they are; --force does it', async () => {
  const { drive, fs } = await mounted();
  const fd = await fs.open(drive.path('held'), 'O_RDWR|O_CREAT');
  const refused = await drive.cli(['unmount', drive.dir]);
  expect(refused.code).toBe(7);
  expect(refused.stderr).toContain(String(fs.pid));
  expect(mountAt(drive.dir)).toBeDefined();
  await fs.write(fd, 'still works');
  await drive.mustCli(['unmount', drive.dir, '--force']);
  await drive.waitEnded();
  expect(mountAt(drive.dir)).toBeUndefined();
  await fs.ask({ op: 'close', fd });
});

it('what somebody has mounted over a drive is not unmounted in its place', async (context) => {
  context.skip(process.getuid?.() !== 0, 'only root mounts');
  const { drive } = await mounted();
  await must('mount', ['-t', 'tmpfs', 'none', drive.dir]);
  const refused = await drive.cli(['unmount', drive.dir]);
  expect(refused.code).toBe(7);
  expect(refused.stderr).toContain('another file system (tmpfs) was mounted over the drive');
  expect(mountAt(drive.dir)?.type).toBe('tmpfs');
  await must('umount', [drive.dir]);
  await drive.mustCli(['unmount', drive.dir]);
  await drive.waitEnded();
});

it('one cache folder has one daemon: a second mount of it is refused and harms nothing', async () => {
  const { server, drive, fs } = await mounted();
  await fs.writeFile(drive.path('file'), 'x');
  const other = join(stage().folder('x'), 'second');
  await mkdir(other);
  const args = drive.mountArgs().map((arg) => (arg === drive.dir ? other : arg));
  const refused = await cli([...args, '--foreground'], { env: drive.env });
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).not.toBe('');
  expect(mountAt(other)).toBeUndefined();
  expect(await fs.readText(drive.path('file'))).toBe('x');
  expect(server.pid).toBeGreaterThan(0);
});

it('a mount point that is missing, a file or not empty is refused with a message', async () => {
  const { server, drive } = await mounted();
  const folder = stage().folder('x');
  await writeFile(join(folder, 'file'), '');
  await mkdir(join(folder, 'full'));
  await writeFile(join(folder, 'full', 'something'), 'of the user');
  for (const name of ['file', 'full']) {
    const fresh = stage().drive(server);
    await writeFile(join(fresh.base, 'password'), server.login.password, { mode: 0o600 });
    const args = fresh.mountArgs().map((arg) => (arg === fresh.dir ? join(folder, name) : arg));
    const refused = await cli([...args, '--foreground'], { env: fresh.env });
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain(name);
    expect(mountAt(join(folder, name))).toBeUndefined();
  }
  expect(await readdir(join(folder, 'full'))).toEqual(['something']);
  expect(drive.mounted).toBe(true);
});

it('wrong credentials and an address where nothing answers are told apart, and nothing is left mounted', async () => {
  const { server } = await mounted();
  const wrong = stage().drive({ url: server.url, login: { ...server.login, password: 'not this one' } });
  await writeFile(join(wrong.base, 'password'), 'not this one', { mode: 0o600 });
  const refused = await cli([...wrong.mountArgs(), '--foreground'], { env: wrong.env });
  expect(refused.code).toBe(5);
  expect(mountAt(wrong.dir)).toBeUndefined();
  const nowhere = stage().drive({ url: 'http://127.0.0.1:9', login: server.login });
  await writeFile(join(nowhere.base, 'password'), 'any', { mode: 0o600 });
  const unreachable = await cli([...nowhere.mountArgs(), '--foreground'], { env: nowhere.env });
  expect(unreachable.code).toBe(4);
  expect(mountAt(nowhere.dir)).toBeUndefined();
});

it('the password is in no argument list and in no log', async () => {
  const { server, drive } = await mounted();
  const args = await readFile(`/proc/${drive.daemonPid}/cmdline`, 'utf8');
  expect(args).not.toContain(server.login.password);
  expect(drive.said()).not.toContain(server.login.password);
  expect(await server.said()).not.toContain(server.login.password);
});

it('Ctrl-C of a starting `serve` and of `mount` leaves nothing behind', async () => {
  const { server } = await mounted();
  const drive = stage().drive(server);
  await writeFile(join(drive.base, 'password'), server.login.password, { mode: 0o600 });
  const child = spawnTracked(process.execPath, [PROGRAM, ...drive.mountArgs(), '--foreground'], {
    env: drive.env,
    log: drive.log,
  });
  await new Promise((resolve) => setTimeout(resolve, 150));
  const ended = await stop(child, 'SIGINT', 20_000);
  expect(ended.forced).toBe(false);
  expect(mountAt(drive.dir)).toBeUndefined();
});
