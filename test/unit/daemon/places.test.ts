import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { busyProcesses } from '../../../src/daemon/busy_processes.js';
import { checkMountPoint } from '../../../src/daemon/mount_point.js';
import {
  deadMounts,
  forgetDeath,
  markDead,
  mountId,
  registerMount,
  runningMounts,
  socketPath,
  unregisterMount,
} from '../../../src/daemon/mount_registry.js';
import { driveOf, parseMountInfo } from '../../../src/daemon/mount_table.js';
import { pendingWork } from '../../../src/daemon/pending_work.js';
import { writePrivateFile } from '../../../src/daemon/private_file.js';
import { SavedDescription } from '../../../src/daemon/remote_description.js';
import { socketAddress } from '../../../src/daemon/sd_notify.js';
import { privateDir, type UserDirs, userDirs } from '../../../src/daemon/user_dirs.js';
import { GENERIC } from '../../support/capabilities.js';

let dir = '';
let dirs: UserDirs;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cm-plc-'));
  dirs = { config: join(dir, 'c'), data: join(dir, 'd'), state: join(dir, 's'), runtime: join(dir, 'r') };
});
afterEach(() => rm(dir, { recursive: true }));

describe('folders', () => {
  it('follow XDG, each with its default', () => {
    expect(userDirs({ HOME: '/h' }, 1000)).toEqual({
      config: '/h/.config/cloudmount',
      data: '/h/.local/share/cloudmount',
      state: '/h/.local/state/cloudmount',
      runtime: join(tmpdir(), 'cloudmount-1000'),
    });
    expect(
      userDirs(
        {
          HOME: '/h',
          XDG_CONFIG_HOME: '/c',
          XDG_DATA_HOME: '/d',
          XDG_STATE_HOME: 'relative',
          XDG_RUNTIME_DIR: '/run/user/5',
        },
        5,
      ),
    ).toEqual({
      config: '/c/cloudmount',
      data: '/d/cloudmount',
      state: '/h/.local/state/cloudmount',
      runtime: '/run/user/5/cloudmount',
    });
    expect(userDirs({ HOME: '/root' }, 0).runtime).toBe('/run/cloudmount');
  });

  it('are private, and somebody else’s are not used', async () => {
    await privateDir(join(dir, 'a', 'b'));
    expect((await stat(join(dir, 'a', 'b'))).mode & 0o777).toBe(0o700);
    await privateDir(join(dir, 'a', 'b'));
    await mkdir(join(dir, 'open'));
    await chmod(join(dir, 'open'), 0o777);
    await expect(privateDir(join(dir, 'open'))).rejects.toMatchObject({ code: 'no_access' });
    await symlink(join(dir, 'a'), join(dir, 'link'));
    await expect(privateDir(join(dir, 'link'))).rejects.toMatchObject({ code: 'no_access' });
  });
});

describe('private files', () => {
  it('are replaced whole, mode 600, without leftovers', async () => {
    const path = join(dir, 'f');
    await writePrivateFile(path, 'one');
    await Promise.all(Array.from({ length: 5 }, (_, i) => writePrivateFile(path, `text ${i}`)));
    expect(await readFile(path, 'utf8')).toMatch(/^text \d$/);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const { readdir } = await import('node:fs/promises');
    expect(await readdir(dir)).toEqual(['f']);
  });
});

describe('mount table', () => {
  const table = parseMountInfo(
    [
      '22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw',
      '40 22 0:50 / /mnt/My\\040Cloud rw,nosuid,nodev - fuse.cloudmount work rw,user_id=0',
      '41 40 0:51 / /mnt/My\\040Cloud/inner ro - tmpfs tmpfs ro',
      '42 22 0:52 / /tab\\011and\\134 ro,relatime shared:5 master:1 - fuse.cloudmount a\\040b ro',
      '',
      'garbage',
    ].join('\n'),
  );

  it('is read with its escapes and optional fields', () => {
    expect(table.map((entry) => entry.mountPoint)).toEqual([
      '/',
      '/mnt/My Cloud',
      '/mnt/My Cloud/inner',
      '/tab\tand\\',
    ]);
    expect(table[3]).toEqual({ mountPoint: '/tab\tand\\', fsType: 'fuse.cloudmount', source: 'a b', readOnly: true });
  });

  it.each([
    ['/mnt/My Cloud', '/mnt/My Cloud'],
    ['/mnt/My Cloud/a/b', '/mnt/My Cloud'],
    ['/mnt/My Cloud/inner/x', null],
    ['/mnt/My Cloudy', null],
    ['/home', null],
  ])('%s is in the drive %s', (path, drive) => {
    expect(driveOf(path, table)?.mountPoint ?? null).toBe(drive);
  });
});

describe('running mounts', () => {
  const mount = (cacheDir: string, pid: number) => ({
    pid,
    account: 'work',
    url: 'https://x/',
    mountPoint: `/mnt/${cacheDir}`,
    cacheDir,
    socket: socketPath(dirs, cacheDir),
    logFile: '/log',
    startedAt: '',
  });

  it('are listed while their process lives, dead ones are swept away', async () => {
    expect(await runningMounts(dirs)).toEqual([]);
    await registerMount(dirs, mount('/b', process.pid));
    await registerMount(dirs, mount('/a', process.pid));
    await registerMount(dirs, mount('/dead', 0x3fffff));
    await writeFile(join(dirs.runtime, 'junk.json'), '{');
    expect((await runningMounts(dirs)).map((one) => one.cacheDir)).toEqual(['/a', '/b']);
    await expect(stat(join(dirs.runtime, `${mountId('/dead')}.json`))).rejects.toThrow();
    unregisterMount(dirs, mount('/a', process.pid));
    expect((await runningMounts(dirs)).map((one) => one.cacheDir)).toEqual(['/b']);
  });

  it('a process that has its number by now is not taken for it (the first of a container has the same each time)', async () => {
    await registerMount(dirs, mount('/a', process.pid));
    const note = join(dirs.runtime, `${mountId('/a')}.json`);
    const said = JSON.parse(await readFile(note, 'utf8')) as object;
    await writeFile(note, JSON.stringify({ ...said, processStart: '17' }));
    expect(await runningMounts(dirs)).toEqual([]);
    expect((await deadMounts(dirs)).map((one) => one.cacheDir)).toEqual(['/a']);
  });

  it('one that has started since is not struck off by a reader that was slow', async () => {
    await registerMount(dirs, mount('/a', 0x3fffff));
    const read = mount('/a', 0x3fffff);
    await registerMount(dirs, mount('/a', process.pid));
    await writeFile(read.socket, '');
    markDead(dirs, read);
    expect((await runningMounts(dirs)).map((one) => one.pid)).toEqual([process.pid]);
    await stat(read.socket);
    expect(await deadMounts(dirs)).toEqual([]);
  });

  it('one that was mounted again keeps its note when the process before it, slow to end, takes its own away', async () => {
    const before = mount('/a', 0x3fffff);
    await registerMount(dirs, before);
    await registerMount(dirs, mount('/a', process.pid));
    unregisterMount(dirs, before);
    expect((await runningMounts(dirs)).map((one) => one.pid)).toEqual([process.pid]);
    unregisterMount(dirs, mount('/a', process.pid));
    unregisterMount(dirs, mount('/a', process.pid));
    expect(await runningMounts(dirs)).toEqual([]);
  });

  it('one that ended without unmounting is remembered until it is mounted again, or forgotten', async () => {
    await registerMount(dirs, mount('/a', 0x3fffff));
    await registerMount(dirs, mount('/b', 0x3fffff));
    expect((await deadMounts(dirs)).map((one) => one.cacheDir).sort()).toEqual(['/a', '/b']);
    await registerMount(dirs, mount('/a', process.pid));
    expect((await deadMounts(dirs)).map((one) => one.cacheDir)).toEqual(['/b']);
    await forgetDeath(dirs, '/b');
    unregisterMount(dirs, mount('/a', process.pid));
    expect(await deadMounts(dirs)).toEqual([]);
  });

  it('what others may have noted is neither believed nor acted on: no socket of theirs is told a password, no file of ours removed', async () => {
    const mine = join(dir, 'mine');
    await writeFile(mine, 'precious');
    await mkdir(dirs.runtime);
    await chmod(dirs.runtime, 0o777); // as one that another user has made in /tmp
    const note = (name: string, pid: number) =>
      writeFile(join(dirs.runtime, `${name}.json`), JSON.stringify({ ...mount('/a', pid), socket: mine }));
    await note('alive', process.pid);
    await note(mountId('/a'), 0x3fffff);
    await expect(runningMounts(dirs)).rejects.toMatchObject({ code: 'no_access' });
    await expect(deadMounts(dirs)).rejects.toMatchObject({ code: 'no_access' });
    expect(await readFile(mine, 'utf8')).toBe('precious');
  });

  it('a cache folder has one name however it is written', () => {
    expect(mountId('/a/b/')).toBe(mountId('/a/./b'));
    expect(mountId('/a')).not.toBe(mountId('/b'));
  });
});

describe('mount point', () => {
  const rules = { create: false, nonEmpty: false, outside: [] };
  it('must be an empty folder that is there', async () => {
    await expect(checkMountPoint(join(dir, 'none'), rules)).rejects.toMatchObject({ code: 'not_found' });
    await writeFile(join(dir, 'file'), '');
    await expect(checkMountPoint(join(dir, 'file'), rules)).rejects.toMatchObject({ code: 'not_dir' });
    await expect(checkMountPoint(dir, rules)).rejects.toMatchObject({
      code: 'not_empty',
      message: expect.stringContaining('-o nonempty'),
    });
    for (const name of ['four', 'three', 'two']) await writeFile(join(dir, name), '');
    await expect(checkMountPoint(dir, rules)).rejects.toThrow('what is in it ("file", "four", "three" and 1 more)');
    await checkMountPoint(dir, { ...rules, nonEmpty: true });
    await checkMountPoint(join(dir, 'new', 'one'), { ...rules, create: true });
    await checkMountPoint(join(dir, 'new', 'one'), rules);
  });
  it('must not hide what the drive itself needs', async () => {
    const outside = [join(dir, 'mnt', 'cache')];
    await expect(checkMountPoint(join(dir, 'mnt'), { ...rules, create: true, outside })).rejects.toMatchObject({
      code: 'invalid',
    });
    await checkMountPoint(join(dir, 'mnt2'), { ...rules, create: true, outside });
  });
});

describe('saved description of a server', () => {
  const DESCRIPTION = {
    version: 1,
    dialect: 'generic',
    origin: 'https://a',
    base: '/',
    user: null,
    uploads: null,
    push: null,
    conditional: 'if_match',
    product: 'sabre',
    capabilities: GENERIC,
  };

  it('is given back for the same address and user only', async () => {
    const saved = new SavedDescription(dir, 'https://a/', 'anna');
    expect(await saved.load()).toBeNull();
    await saved.save(DESCRIPTION);
    expect(await saved.load()).toEqual(DESCRIPTION);
    expect(await new SavedDescription(dir, 'https://b/', 'anna').load()).toBeNull();
    expect(await new SavedDescription(dir, 'https://a/', 'berta').load()).toBeNull();
    await writeFile(join(dir, 'remote.json'), '{broken');
    expect(await saved.load()).toBeNull();
    // By a later version of the program: the server is asked, as at the first mount.
    await saved.save({ ...DESCRIPTION, conditional: 'in a new way' });
    expect(await saved.load()).toBeNull();
  });
});

describe('who uses a drive', () => {
  it('is found by open files and working directories, names only', async () => {
    const proc = join(dir, 'proc');
    for (const [pid, command] of [
      ['11', 'vim'],
      ['12', 'bash'],
      ['13', 'cron'],
    ] as const) {
      await mkdir(join(proc, pid, 'fd'), { recursive: true });
      await writeFile(join(proc, pid, 'comm'), `${command}\n`);
    }
    await symlink('/mnt/cloud/a.txt', join(proc, '11', 'fd', '3'));
    await symlink('/mnt/cloud', join(proc, '12', 'cwd'));
    await symlink('/mnt/cloudy/x', join(proc, '13', 'fd', '3'));
    await mkdir(join(proc, 'self'));
    const found = await busyProcesses('/mnt/cloud', 10, proc);
    expect([...found].sort((a, b) => a.pid - b.pid)).toEqual([
      { pid: 11, command: 'vim', path: '/mnt/cloud/a.txt' },
      { pid: 12, command: 'bash', path: '/mnt/cloud' },
    ]);
    expect(await busyProcesses('/mnt/cloud', 1, proc)).toHaveLength(1);
  });
});

describe('pending work', () => {
  it('adds up', () => {
    const item = { path: '', ino: 1, operation: 'upload', attempts: 0, error: null, sinceEpoch_ms: 0 } as const;
    const queue = [
      { ...item, state: 'running', size_bytes: 100, sent_bytes: 40 },
      { ...item, state: 'failed', size_bytes: 50, sent_bytes: 60 },
      { ...item, state: 'waiting', size_bytes: 0, sent_bytes: 0 },
    ] as unknown as Parameters<typeof pendingWork>[0]['queue'];
    expect(pendingWork({ queue })).toEqual({ changes: 3, failed: 1, size_bytes: 150, sent_bytes: 90 });
  });
});

describe('address of systemd’s socket', () => {
  it('is a path with its NUL, or an abstract name without', () => {
    expect(socketAddress('/run/x').toString('latin1')).toBe('\x01\0/run/x\0');
    expect(socketAddress('@abc').toString('latin1')).toBe('\x01\0\0abc');
    expect(() => socketAddress('relative')).toThrow();
    expect(() => socketAddress(`/${'x'.repeat(120)}`)).toThrow();
  });
});
