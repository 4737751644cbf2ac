// davfs2: the kernel mount people have today. It locks what it writes, trusts ETags, and gives up on anything unusual.
//
// Directories are not listed here: davfs2 1.6 answers EINVAL to getdents64 on current kernels, with any server.

import { once } from 'node:events';
import { chmod, mkdir, readFile, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually, must, run, spawnTracked } from '../support/processes.js';
import { requireProgram, type ServerForClients, serverForClients } from './with_server.js';

let at: ServerForClients;
let mountPoint: string;
let conf: string;
let mounted = false;

beforeEach(async () => {
  await requireProgram('mount.davfs', 'davfs2');
  if (process.getuid?.() !== 0) throw new Error('this test mounts with mount.davfs: it must run as root');
  await stat('/dev/fuse');
  at = await serverForClients();
  await chmod(at.dir, 0o755);
  mountPoint = join(at.dir, 'mnt');
  const cache = join(at.dir, 'davfs');
  conf = join(at.dir, 'davfs2.conf');
  const secrets = join(at.dir, 'secrets');
  await mkdir(mountPoint);
  await mkdir(cache);
  await chmod(cache, 0o1777);
  await writeFile(secrets, `${mountPoint} ${at.user} "${at.password}"\n`, { mode: 0o600 });
  await writeFile(conf, `secrets ${secrets}\ncache_dir ${cache}\nask_auth 0\ndelay_upload 0\n`);
});

afterEach(async () => {
  if (mounted) await unmount();
  await at?.close();
});

async function mount(): Promise<void> {
  const url = `${at.url}/dav/files/alice/`;
  await must('mount.davfs', [url, mountPoint, '-o', `conf=${conf},uid=root,gid=root`]);
  mounted = true;
}

/** Returns when davfs2 has uploaded everything and is gone. */
async function unmount(): Promise<void> {
  const done = await run('umount', [mountPoint], { timeout_ms: 60_000 });
  mounted = false;
  expect(done.code, done.stderr).toBe(0);
}

test('writes, appends, renames and removes; all of it is on the server', async () => {
  await at.dav.put('there.txt', 'was there before');
  await mount();
  expect(await readFile(join(mountPoint, 'there.txt'), 'utf8')).toBe('was there before');
  await mkdir(join(mountPoint, 'dir'));
  await writeFile(join(mountPoint, 'dir', 'new näme.txt'), 'line 1\n');
  await rename(join(mountPoint, 'dir', 'new näme.txt'), join(mountPoint, 'dir', 'renamed.txt'));
  await writeFile(join(mountPoint, 'dir', 'renamed.txt'), 'line 2\n', { flag: 'a' });
  await writeFile(join(mountPoint, 'there.txt'), 'replaced');
  await writeFile(join(mountPoint, 'brief'), 'x');
  await rm(join(mountPoint, 'brief'));
  await mkdir(join(mountPoint, 'empty'));
  await rmdir(join(mountPoint, 'empty'));
  await unmount();

  expect(await at.dav.list()).toEqual(['dir', 'there.txt']);
  expect(await at.dav.list('dir')).toEqual(['renamed.txt']);
  expect(await at.dav.text('dir/renamed.txt')).toBe('line 1\nline 2\n');
  expect(await at.dav.text('there.txt')).toBe('replaced');
});

test('its lock keeps others from writing while a file is open, and is gone afterwards', async () => {
  await mount();
  const script = 'exec 3> "$1/open.txt"; echo mine >&3; read line; exec 3>&-';
  const writer = spawnTracked('sh', ['-c', script, 'sh', mountPoint], { stdin: 'pipe' });
  await eventually('davfs2 to take its lock', () =>
    at.seen.some(({ method, status }) => method === 'LOCK' && status < 300),
  );
  expect((await at.dav.send('PUT', 'open.txt', { body: 'not mine' })).status).toBe(423);
  const ended = once(writer, 'exit');
  writer.stdin?.end('\n');
  expect(await ended).toEqual([0, null]);
  await unmount();
  expect(await at.dav.text('open.txt')).toBe('mine\n');
  await at.dav.put('open.txt', 'free again');
});
