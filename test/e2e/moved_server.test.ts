// A server whose address is another one now, with changes here that were not sent to the old one.

import { join } from 'node:path';
import { expect, it } from 'vitest';
import { mustCli } from '../support/cli.js';
import type { Drive } from '../support/drive.js';
import { eventually } from '../support/processes.js';
import type { OwnServer } from '../support/servers.js';
import { useStage } from '../support/world.js';

const stage = useStage();

interface Left {
  readonly server: OwnServer;
  readonly drive: Drive;
  /** Where the server is now. */
  readonly url: string;
  readonly cacheDir: string;
  mount(url: string, ...args: readonly string[]): Promise<string>;
}

/** An unmounted account `work` with two files that were written while the server was away. */
async function leftBehind(): Promise<Left> {
  const server = await stage().ownServer();
  const drive = stage().drive(server);
  const fs = stage().fs();
  const input = server.login.password;
  await drive.mustCli(
    ['login', server.url, '--user', 'alice', '--name', 'work', '--password-stdin', '--store', 'file'],
    {
      input,
    },
  );
  await drive.mustCli(['mount', 'work', drive.dir]);
  await fs.writeFile(drive.path('sent.txt'), 'sent');
  await drive.flush();
  await server.stop();
  await fs.writeFile(drive.path('one.txt'), 'one');
  await fs.writeFile(drive.path('two.txt'), 'two');
  await drive.mustCli(['unmount', drive.dir, '--wait', '0']);
  await server.start();
  const mount = async (url: string, ...args: readonly string[]) => {
    const ended = await drive.cli(['mount', url, drive.dir, '--user', 'alice', '--password-stdin', ...args], { input });
    return `${ended.code} ${ended.stderr}`;
  };
  const cacheDir = join(drive.env['XDG_DATA_HOME'] ?? '', 'cloudmount', 'cache', 'work');
  return { server, drive, url: `http://localhost:${server.port}`, cacheDir, mount };
}

it('mounted at its new address, it is told what waits for the old one, and goes on with that cache', async () => {
  const { server, drive, url, cacheDir, mount } = await leftBehind();
  const said = await mount(url);
  expect(said).toMatch(/^0 /);
  expect(said).toContain(
    `${cacheDir} holds changes that were never sent to ${server.url}/: 2 changes ("one.txt", "two.txt")`,
  );
  await drive.mustCli(['unmount', drive.dir]);
  // Not again: only who mounts there for the first time does not know.
  expect(await mount(url)).toBe('0 ');
  await drive.mustCli(['unmount', drive.dir]);
  expect(await mount(url, '--cache-dir', cacheDir)).toBe('0 ');
  await drive.flush();
  expect([await server.dav.text('one.txt'), await server.dav.text('two.txt')]).toEqual(['one', 'two']);
  await drive.mustCli(['unmount', drive.dir]);
});

it('logged out and in again at the new address, the account goes on with what it had', async () => {
  const { server, drive, url, cacheDir } = await leftBehind();
  const login = ['login', url, '--user', 'alice', '--name', 'work', '--password-stdin', '--store', 'file'];
  const input = server.login.password;
  const refused = await drive.cli(login, { input });
  expect([refused.code, refused.stderr.includes('If the server has moved: cloudmount logout work')]).toEqual([6, true]);
  const out = JSON.parse(await drive.mustCli(['logout', 'work', '--json'])) as object;
  expect(out).toMatchObject({ account: 'work', cacheDir, unsent: 2 });
  await drive.mustCli(login, { input });
  await drive.mustCli(['mount', 'work', drive.dir]);
  await drive.flush();
  expect(await server.dav.text('two.txt')).toBe('two');
  await drive.mustCli(['unmount', drive.dir]);
});

it('a server that is not known to be the same gets the cache only when that is said, and overwrites nothing', async () => {
  const { server, drive, cacheDir, mount } = await leftBehind();
  // Restored from a backup at another place: the same files, a history of its own.
  const base = stage().folder('restored');
  await mustCli(['backup', join(base, 'bk'), '--data', server.data]);
  await server.stop();
  const other = await stage().ownServer();
  await other.stop();
  await mustCli(['restore', join(base, 'bk'), '--data', other.data, '--force']);
  await other.start();
  await other.dav.put('one.txt', 'another one');
  const refused = await mount(other.url, '--cache-dir', cacheDir);
  expect(refused).toMatch(/^2 /);
  expect(refused).toContain('Unsent in it: 2 changes ("one.txt", "two.txt")');
  expect(refused).toContain('--adopt-cache');
  expect(await mount(other.url, '--cache-dir', cacheDir, '--adopt-cache')).toBe('0 ');
  await eventually('what waited to arrive', () => other.dav.exists('two.txt'));
  await drive.flush();
  expect(await other.dav.text('one.txt')).toBe('another one');
  const conflicts = JSON.parse(await drive.mustCli(['conflicts', '--json'])) as readonly {
    readonly original: string;
  }[];
  expect(conflicts.map((one) => one.original)).toEqual(['one.txt']);
  await drive.mustCli(['unmount', drive.dir]);
});

it('another user at the same address does not get the cache, nor what waits in it', async () => {
  const { server, drive } = await leftBehind();
  await mustCli(['user', 'add', 'bob', '--data', server.data, '--password-stdin'], { input: 'a password of bob' });
  await drive.mustCli(['logout', 'work']);
  await drive.mustCli(['login', server.url, '--user', 'bob', '--name', 'work', '--password-stdin', '--store', 'file'], {
    input: 'a password of bob',
  });
  const { code, stderr } = await drive.cli(['mount', 'work', drive.dir]);
  expect(code).toBe(2);
  expect(stderr).toContain('of alice, asked for');
  expect(stderr).toContain('Unsent in it: 2 changes ("one.txt", "two.txt")');
});

it('restored from a backup, what others make then is neither renamed nor removed by what waits for what was lost', async () => {
  const server = await stage().ownServer();
  const backup = join(stage().folder('backup'), 'bk');
  await mustCli(['backup', backup, '--data', server.data]);
  const drive = await stage().mount(server);
  const fs = stage().fs();
  for (const name of ['renamed', 'removed', 'edited']) {
    if (name === 'edited') await fs.writeFile(drive.path(name), 'edited');
    else await fs.mkdir(drive.path(name));
    await drive.flush();
  }
  await server.stop();
  await fs.rename(drive.path('renamed'), drive.path('renamed here'));
  await fs.rmdir(drive.path('removed'));
  await fs.writeFile(drive.path('edited'), 'edited here');
  await drive.unmount();
  await mustCli(['restore', backup, '--data', server.data, '--force']);
  await server.start();
  const theirs = ['one', 'two', 'three', 'four', 'five'];
  for (const name of theirs) await server.dav.mkcol(name);
  await drive.mount();
  await eventually('what others made to be here', () => fs.exists(drive.path('five')));
  await drive.flush();
  expect((await fs.list(drive.dir)).sort()).toEqual([...theirs, 'edited'].sort());
  for (const name of theirs) expect(await server.dav.exists(name), name).toBe(true);
  expect(await server.dav.text('edited')).toBe('edited here');
  await drive.unmount();
});
