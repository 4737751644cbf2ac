import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { lockFolder } from '../../../src/cache/folder_lock.js';
import { silentLog } from '../../../src/log.js';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cm-lock-'));
});
afterEach(() => rm(dir, { recursive: true }));

it('is held by one, and given back without a trace', async () => {
  const unlock = await lockFolder(dir, silentLog);
  await expect(lockFolder(dir, silentLog)).rejects.toMatchObject({
    code: 'busy',
    message: expect.stringContaining(`process ${process.pid}`),
  });
  await unlock();
  expect(await readdir(dir)).toEqual([]);
  await (await lockFolder(dir, silentLog))();
});

/** What a process that was killed leaves behind. */
async function leftBehind(owner: object | null): Promise<void> {
  await mkdir(join(dir, 'lock'));
  if (owner !== null) await writeFile(join(dir, 'owner'), JSON.stringify(owner));
}

const { host, boot } = await (async () => {
  const probe = await mkdtemp(join(tmpdir(), 'cm-lock-'));
  const unlock = await lockFolder(probe, silentLog);
  const { readFile } = await import('node:fs/promises');
  const owner = JSON.parse(await readFile(join(probe, 'owner'), 'utf8')) as { host: string; boot: string };
  await unlock();
  await rm(probe, { recursive: true });
  return owner;
})();

it('of a killed process is taken over at once', async () => {
  const child = spawn('true');
  await once(child, 'exit');
  await leftBehind({ pid: child.pid, started: '1', boot, host });
  const unlock = await lockFolder(dir, silentLog);
  await expect(lockFolder(dir, silentLog)).rejects.toMatchObject({ code: 'busy' });
  await unlock();
});

it('on a disk that has become read-only says so, and names no other process', async (context) => {
  context.skip(process.getuid?.() !== 0, 'only root mounts');
  const mount = (...args: string[]) => execFileSync('mount', ['-t', 'tmpfs', ...args, 'none', dir]);
  mount();
  try {
    await leftBehind({ pid: 1, started: '0', boot: 'an earlier one', host });
    mount('-o', 'remount,ro');
    await expect(lockFolder(dir, silentLog)).rejects.toMatchObject({
      code: 'read_only',
      message: expect.stringContaining('the local disk is read-only'),
    });
  } finally {
    execFileSync('umount', [dir]);
  }
});

it('is held on a disk that is full, too, without a note of who holds it', async (context) => {
  context.skip(process.getuid?.() !== 0, 'only root mounts');
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', dir]);
  try {
    await expect(writeFile(join(dir, 'all'), Buffer.alloc(1 << 20))).rejects.toMatchObject({ code: 'ENOSPC' });
    const unlock = await lockFolder(dir, silentLog);
    await expect(lockFolder(dir, silentLog)).rejects.toMatchObject({ code: 'busy' });
    await unlock();
    expect(await readdir(dir)).toEqual(['all']);
    await (await lockFolder(dir, silentLog))();
  } finally {
    execFileSync('umount', [dir]);
  }
});

it('of a process whose number was given out again, or of another boot, is taken over', async () => {
  await leftBehind({ pid: process.pid, started: '1', boot, host });
  await (await lockFolder(dir, silentLog))();
  await leftBehind({ pid: 1, started: '0', boot: 'an earlier one', host });
  await (await lockFolder(dir, silentLog))();
});

it('of another host, or of nobody known, is respected', async () => {
  await leftBehind({ pid: 1, started: '0', boot, host: 'another.example' });
  await expect(lockFolder(dir, silentLog)).rejects.toMatchObject({
    message: expect.stringContaining('another.example'),
  });
  await rm(join(dir, 'owner'));
  await expect(lockFolder(dir, silentLog)).rejects.toMatchObject({ code: 'busy' });
});

it('goes to one of many who find a dead one', async () => {
  await leftBehind({ pid: 1, started: 'no', boot, host });
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(dir, silentLog)));
  const won = results.filter((result) => result.status === 'fulfilled');
  expect(won).toHaveLength(1);
  await won[0]?.value();
});

it('of a process that was stopped for long, or whose clock was set forward, is not taken from it', async () => {
  const unlock = await lockFolder(dir, silentLog);
  const longAgo_s = Date.now() / 1000 - 3600;
  await utimes(join(dir, 'lock'), longAgo_s, longAgo_s);
  await expect(lockFolder(dir, silentLog)).rejects.toMatchObject({
    code: 'busy',
    message: expect.stringContaining(`process ${process.pid}`),
  });
  expect((await readdir(dir)).sort()).toEqual(['lock', 'owner']);
  await unlock();
});
