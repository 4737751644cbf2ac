// `cloudmount up` as a person at a terminal has it: one command, one folder, Ctrl-C, again.

import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { cli, mustCli, PROGRAM } from '../support/cli.js';
import { DavClient } from '../support/dav_client.js';
import { FsError } from '../support/fs_process.js';
import { mountAt } from '../support/mounts.js';
import { eventually, isAlive, must, run, spawnTracked, stop } from '../support/processes.js';
import { useStage } from '../support/world.js';

const stage = useStage();

/** A home of its own, so that nothing of this machine's user is touched. */
class Home {
  readonly base: string;
  readonly drive: string;
  readonly log: string;
  #child: ChildProcess | null = null;

  constructor() {
    this.base = stage().folder('h');
    this.drive = join(this.base, 'home', 'Cloud');
    this.log = join(this.base, 'up.log');
    for (const name of ['home', 'run']) mkdirSync(join(this.base, name), { mode: 0o700 });
    stage().defer(async () => void (await this.stop('SIGTERM')));
  }

  get env(): Record<string, string> {
    const home = join(this.base, 'home');
    return {
      HOME: home,
      XDG_CONFIG_HOME: join(home, '.config'),
      XDG_DATA_HOME: join(home, '.local/share'),
      XDG_STATE_HOME: join(home, '.local/state'),
      XDG_RUNTIME_DIR: join(this.base, 'run'),
      DBUS_SESSION_BUS_ADDRESS: '',
    };
  }

  get dataDir(): string {
    return join(this.base, 'home', '.local/share/cloudmount/server');
  }

  said(): string {
    return existsSync(this.log) ? readFileSync(this.log, 'utf8') : '';
  }

  /** Starts and waits until it says that all is up; answers what it said this time. */
  async up(args: readonly string[] = []): Promise<string> {
    const from = this.said().length;
    const child = spawnTracked(process.execPath, [PROGRAM, 'up', ...args], { env: this.env, log: this.log });
    this.#child = child;
    await eventually(
      '`up` to be up',
      () => {
        if (child.exitCode !== null) throw new Error(`up ended with ${child.exitCode}: ${this.said().slice(from)}`);
        return this.said().slice(from).includes('Ctrl-C unmounts');
      },
      Boolean,
      40_000,
    );
    return this.said().slice(from);
  }

  async stop(
    signal: NodeJS.Signals,
  ): Promise<{ code: number | null; signal: NodeJS.Signals | null; forced: boolean } | null> {
    const child = this.#child;
    this.#child = null;
    return child === null ? null : stop(child, signal);
  }

  serverPid(): number {
    return (JSON.parse(readFileSync(join(this.dataDir, 'server.json'), 'utf8')) as { pid: number }).pid;
  }
}

const field = (said: string, name: string): string => new RegExp(`^${name}\\s+(\\S+)`, 'm').exec(said)?.[1] ?? '';

it('the first start makes an account and shows its password once; Ctrl-C stops all; the second start goes on', async () => {
  const home = new Home();
  const first = await home.up();
  const [user, password, url] = [
    field(first, 'Account').replace(',', ''),
    field(first, 'Password'),
    field(first, 'Server'),
  ];
  expect(password).toMatch(/^[a-z0-9-]{20,}$/);
  expect(field(first, 'Drive')).toBe(home.drive);
  expect(field(first, 'Data')).toBe(home.dataDir);
  expect(existsSync(field(first, 'Logs'))).toBe(true);
  const dav = new DavClient({ root: `${url}/dav/files/${user}/`, user, password });
  stage().defer(() => dav.close());

  const fs = stage().fs();
  await fs.writeFile(join(home.drive, 'letter.txt'), 'dear server');
  await mustCli(['flush', '--wait', home.drive], { env: home.env });
  expect(await dav.text('letter.txt')).toBe('dear server');
  const server = home.serverPid();
  expect(isAlive(server)).toBe(true);

  expect(await home.stop('SIGINT')).toEqual({ code: 0, signal: null, forced: false });
  expect(mountAt(home.drive)).toBeUndefined();
  expect(isAlive(server)).toBe(false);
  expect(home.said()).not.toContain('cmt_');

  const second = await home.up();
  const third = await cli(['up'], { env: home.env });
  expect(third.code).toBe(7);
  expect(third.stderr).toContain(`runs already: the drive is at ${home.drive}`);
  expect(second).not.toContain('Password');
  expect(field(second, 'Server')).toBe(url);
  expect(await fs.readText(join(home.drive, 'letter.txt'))).toBe('dear server');
  // The password of the first start still counts, for other devices.
  expect(await dav.text('letter.txt')).toBe('dear server');
  expect(await home.stop('SIGTERM')).toEqual({ code: 0, signal: null, forced: false });
});

it('another drive of its account is no obstacle; its own drive and its own server are, and it says what to do', async () => {
  const home = new Home();
  const own = stage().folder('own');
  const other = stage().folder('other');
  const unmount = (dir: string) => cli(['unmount', dir], { env: home.env });
  stage().defer(async () => void (await Promise.all([unmount(own), unmount(other)])));

  const url = field(await home.up(), 'Server');
  await mustCli(['mount', 'local', other, '--cache-dir', join(home.base, 'other-cache')], { env: home.env });
  await home.stop('SIGINT');
  expect(field(await home.up(), 'Server')).toBe(url);
  await home.stop('SIGINT');
  await mustCli(['unmount', other], { env: home.env });

  await mustCli(['mount', 'local', own], { env: home.env });
  const mounted = await cli(['up'], { env: home.env });
  expect(mounted.code).toBe(7);
  expect(mounted.stderr).toContain(`cloudmount unmount ${own}`);
  expect(mounted.stderr).toContain(`cloudmount serve --data ${home.dataDir}`);
  await mustCli(['unmount', own], { env: home.env });

  const server = spawnTracked(process.execPath, [PROGRAM, 'serve', '--listen', '127.0.0.1:0'], {
    env: home.env,
    log: join(home.base, 'serve.log'),
  });
  await eventually('the server to be up', () => readFileSync(join(home.base, 'serve.log'), 'utf8').includes('http://'));
  const served = await cli(['up'], { env: home.env });
  expect(served.code).toBe(7);
  expect(served.stderr).toContain(`process ${server.pid} (server)`);
  expect(served.stderr).not.toContain('another program has port');
  await stop(server, 'SIGTERM');
});

it('where the port of the last time is taken, it moves and says so', async () => {
  const home = new Home();
  const url = new URL(field(await home.up(), 'Server'));
  await home.stop('SIGINT');
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(Number(url.port), '127.0.0.1', resolve));
  try {
    const said = await home.up();
    expect(said).toContain(`another program has port ${url.port} now`);
    expect(field(said, 'WebDAV')).toBe(`${field(said, 'Server')}/dav/files/${field(said, 'Account') || 'root'}/`);
  } finally {
    await new Promise((resolve) => other.close(resolve));
  }
});

it('kill -9 of `up`: server and mount go too, and the next start finds what was saved', async () => {
  const home = new Home();
  await home.up();
  const fs = stage().fs();
  await fs.writeFile(join(home.drive, 'draft'), 'synced', { sync: true });
  const server = home.serverPid();
  await home.stop('SIGKILL');
  await eventually('the server to end by itself', () => !isAlive(server));
  await eventually('the guard to unmount', () => mountAt(home.drive) === undefined);
  const status = await cli(['status'], { env: home.env });
  expect(status.code).toBe(3);
  expect(status.stderr).toContain('ended without being unmounted');
  expect(status.stderr).toContain('drive.log');
  expect(await home.up()).toContain('ended without being unmounted');
  expect((await cli(['status'], { env: home.env })).stderr).toBe('');
  expect(await fs.readText(join(home.drive, 'draft'))).toBe('synced');
});

it('a server that dies is started again, and the drive is back by itself', async () => {
  const home = new Home();
  const url = field(await home.up(), 'Server');
  const server = home.serverPid();
  process.kill(server, 'SIGKILL');
  await eventually('another server', () => {
    try {
      return home.serverPid() !== server && isAlive(home.serverPid());
    } catch {
      return false;
    }
  });
  await eventually('it to answer', async () => (await fetch(`${url}/healthz`)).ok);
  const fs = stage().fs();
  await eventually('the drive to be back', async () => {
    await fs.writeFile(join(home.drive, 'after'), 'the crash').catch((error: unknown) => {
      // The server died before the drive had listed anything, and the drive has not noticed that it is back.
      if (!(error instanceof FsError && error.errno === 'ENETUNREACH')) throw error;
    });
    return fs.exists(join(home.drive, 'after'));
  });
  await mustCli(['flush', '--wait', home.drive], { env: home.env, timeout_ms: 60_000 });
  expect(home.said()).toContain('started again');
});

it('unmounting the drive leaves the server for others', async () => {
  const home = new Home();
  const said = await home.up();
  await mustCli(['unmount', home.drive], { env: home.env });
  expect(mountAt(home.drive)).toBeUndefined();
  expect((await fetch(`${field(said, 'Server')}/healthz`)).ok).toBe(true);
  expect(await home.stop('SIGINT')).toMatchObject({ code: 0, forced: false });
});

it('a place that is not empty, or in use, is refused before anything is started', async () => {
  const home = new Home();
  await must('sh', ['-c', 'mkdir -p "$0" && echo mine > "$0/file"', home.drive]);
  const refused = await cli(['up'], { env: home.env });
  expect(refused.code).toBe(6);
  expect(refused.stderr).toContain('not empty');
  expect(refused.stdout).toBe('');
  expect(existsSync(home.dataDir)).toBe(false);
});

it('without fusermount3 it says what is missing and how to get it, and starts nothing', async () => {
  const home = new Home();
  const user = { uid: 65534, gid: 65534 };
  await must('chown', ['-R', '65534:65534', home.base]);
  const refused = await run('env', ['PATH=/nowhere', process.execPath, PROGRAM, 'up'], { env: home.env, user });
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('fusermount3 is not installed');
  expect(refused.stderr).toContain('apt install fuse3');
  expect(existsSync(home.dataDir)).toBe(false);
});
