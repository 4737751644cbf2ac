// Nextcloud's own sync client, two folders on one account: what one uploads the other gets, byte for byte.

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { run } from '../support/processes.js';
import { requireProgram, type ServerForClients, serverForClients } from './with_server.js';

let nextcloudcmd: string;
let at: ServerForClients;

beforeEach(async () => {
  nextcloudcmd = await requireProgram('nextcloudcmd', 'nextcloud-desktop-cmd');
  at = await serverForClients();
});

afterEach(async () => {
  await at?.close();
});

async function folder(name: string): Promise<string> {
  const path = join(at.dir, name);
  await mkdir(path);
  return path;
}

async function sync(path: string): Promise<string> {
  const home = join(at.dir, 'home');
  await mkdir(home, { recursive: true });
  const args = ['--non-interactive', '-u', at.user, '-p', at.password, path, at.url];
  const done = await run(nextcloudcmd, args, { env: { QT_QPA_PLATFORM: 'offscreen', HOME: home }, timeout_ms: 90_000 });
  expect(done.code, done.stderr.slice(-3000)).toBe(0);
  return done.stderr;
}

/** Names below a folder, without what the client keeps for itself. */
async function tree(path: string): Promise<string[]> {
  const names = await readdir(path, { recursive: true });
  return names.filter((name) => !/(^|\/)\.(sync_|_sync_|owncloudsync)/.test(name)).sort();
}

test('syncs a tree with a chunked file up, and down into another folder', async () => {
  const a = await folder('a');
  await mkdir(join(a, 'sub', 'deeper'), { recursive: true });
  const big = randomBytes(35_000_000);
  await writeFile(join(a, 'big.bin'), big);
  await writeFile(join(a, 'Ümläut #1 % & +.txt'), 'ü');
  await writeFile(join(a, 'sub', 'empty'), '');
  await writeFile(join(a, 'sub', 'deeper', 'old.txt'), 'old');
  await utimes(join(a, 'sub', 'deeper', 'old.txt'), 1_500_000_000, 1_500_000_000);
  await sync(a);

  expect((await at.dav.get('big.bin')).equals(big)).toBe(true);
  const chunks = at.seen.filter(({ method, path }) => method === 'PUT' && path.includes('/uploads/'));
  expect(chunks.length).toBeGreaterThan(1);
  expect(at.seen.filter(({ method, path }) => method === 'MOVE' && path.endsWith('/.file'))).toMatchObject([
    { status: 201 },
  ]);

  const b = await folder('b');
  await sync(b);
  expect(await tree(b)).toEqual(await tree(a));
  expect((await readFile(join(b, 'big.bin'))).equals(big)).toBe(true);
  expect((await stat(join(b, 'sub', 'deeper', 'old.txt'))).mtimeMs).toBe(1_500_000_000_000);
});

test('a second sync without changes transfers nothing', async () => {
  const a = await folder('a');
  await writeFile(join(a, 'x.txt'), 'x');
  await sync(a);
  at.seen.length = 0;
  await sync(a);
  expect(at.seen.filter(({ method }) => !['GET', 'PROPFIND'].includes(method))).toEqual([]);
  expect(at.seen.filter(({ method, path }) => method === 'GET' && path.includes('/files/'))).toEqual([]);
});

test('edits, renames and deletions go both ways', async () => {
  const a = await folder('a');
  await mkdir(join(a, 'docs'));
  await writeFile(join(a, 'docs', 'edit.txt'), 'one');
  await writeFile(join(a, 'docs', 'move.txt'), 'move me');
  await writeFile(join(a, 'gone.txt'), 'gone');
  await sync(a);
  const b = await folder('b');
  await sync(b);

  await writeFile(join(a, 'docs', 'edit.txt'), 'one, two');
  await rename(join(a, 'docs', 'move.txt'), join(a, 'moved.txt'));
  await sync(a);
  await rm(join(b, 'gone.txt'));
  await sync(b);
  await sync(a);

  for (const path of [a, b]) {
    expect(await tree(path)).toEqual(['docs', 'docs/edit.txt', 'moved.txt']);
    expect(await readFile(join(path, 'docs', 'edit.txt'), 'utf8')).toBe('one, two');
    expect(await readFile(join(path, 'moved.txt'), 'utf8')).toBe('move me');
  }
});

test('edited on both sides: both versions survive', async () => {
  const a = await folder('a');
  await writeFile(join(a, 'letter.txt'), 'draft');
  await sync(a);
  const b = await folder('b');
  await sync(b);

  await writeFile(join(a, 'letter.txt'), 'written by a');
  await sync(a);
  await writeFile(join(b, 'letter.txt'), 'b wrote this one');
  await sync(b);
  await sync(a);

  expect(await at.dav.text('letter.txt')).toBe('written by a');
  const kept = (await tree(b)).filter((name) => /conflict/i.test(name));
  expect(kept).toHaveLength(1);
  expect(await readFile(join(b, kept[0] ?? ''), 'utf8')).toBe('b wrote this one');
  expect(await readFile(join(a, 'letter.txt'), 'utf8')).toBe('written by a');
});

test('a big file changed by somebody else meanwhile is not overwritten by chunks', async () => {
  const a = await folder('a');
  await writeFile(join(a, 'big.bin'), randomBytes(30_000_000));
  await sync(a);
  await at.dav.put('big.bin', 'changed elsewhere');
  const mine = randomBytes(31_000_000);
  await writeFile(join(a, 'big.bin'), mine);
  await sync(a);

  expect(await at.dav.text('big.bin')).toBe('changed elsewhere');
  const kept = (await tree(a)).filter((name) => /conflict/i.test(name));
  expect(kept).toHaveLength(1);
  expect((await readFile(join(a, kept[0] ?? ''))).equals(mine)).toBe(true);
});

test('a wrong password is told, not retried for ever', async () => {
  const a = await folder('a');
  const home = join(at.dir, 'home');
  await mkdir(home);
  const args = ['--non-interactive', '-u', at.user, '-p', 'not the password', a, at.url];
  const done = await run(nextcloudcmd, args, { env: { QT_QPA_PLATFORM: 'offscreen', HOME: home } });
  expect(done.code).not.toBe(0);
  expect(at.seen.some(({ status }) => status === 401)).toBe(true);
  expect(at.seen.length).toBeLessThan(20);
});
