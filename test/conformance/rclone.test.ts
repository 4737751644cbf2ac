// rclone as a sync tool, under both names it has for servers like this one.

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { must } from '../support/processes.js';
import { requireProgram, type ServerForClients, serverForClients } from './with_server.js';

let rclone: string;
let at: ServerForClients;
let obscured: string;

beforeEach(async () => {
  rclone = await requireProgram('rclone', 'rclone');
  at = await serverForClients();
  obscured = (await must(rclone, ['obscure', at.password])).trim();
});

afterEach(async () => {
  await at?.close();
});

/** rclone on the account through `path`, configured by its environment alone. */
function call(vendor: string, args: readonly string[], path = '/remote.php/dav/files/alice/'): Promise<string> {
  return must(rclone, [...args, '--retries', '1'], {
    env: {
      RCLONE_CONFIG: '/dev/null',
      RCLONE_CONFIG_CLOUD_TYPE: 'webdav',
      RCLONE_CONFIG_CLOUD_URL: at.url + path,
      RCLONE_CONFIG_CLOUD_VENDOR: vendor,
      RCLONE_CONFIG_CLOUD_USER: at.user,
      RCLONE_CONFIG_CLOUD_PASS: obscured,
    },
  });
}

async function sourceTree(): Promise<string> {
  const source = join(at.dir, 'source');
  await mkdir(join(source, 'sub', 'deeper'), { recursive: true });
  await writeFile(join(source, 'one.txt'), 'one');
  await writeFile(join(source, 'empty'), '');
  await writeFile(join(source, 'sub', 'näme with # % & + ; =.txt'), 'special');
  await writeFile(join(source, 'sub', 'deeper', 'big.bin'), randomBytes(20_000_000));
  await utimes(join(source, 'one.txt'), 1_580_702_706, 1_580_702_706);
  return source;
}

describe.each(['nextcloud', 'owncloud', 'other'])('vendor %s', (vendor) => {
  test('syncs up, checks byte for byte, syncs down', async () => {
    const source = await sourceTree();
    await call(vendor, ['sync', source, 'cloud:tree']);
    await call(vendor, ['check', '--download', source, 'cloud:tree']);
    const copy = join(at.dir, 'copy');
    await call(vendor, ['sync', 'cloud:tree', copy]);
    expect((await readdir(copy, { recursive: true })).sort()).toEqual(
      (await readdir(source, { recursive: true })).sort(),
    );
    const big = join('sub', 'deeper', 'big.bin');
    expect((await readFile(join(copy, big))).equals(await readFile(join(source, big)))).toBe(true);
  });

  test('a second sync sends nothing, a removed file goes', async () => {
    const source = await sourceTree();
    await call(vendor, ['sync', source, 'cloud:tree']);
    at.seen.length = 0;
    await call(vendor, ['sync', source, 'cloud:tree']);
    // Without a way to set times (`other` in older versions) rclone compares sizes; nothing is sent either way.
    expect(at.seen.filter(({ method }) => method === 'PUT')).toEqual([]);
    await call(vendor, ['deletefile', 'cloud:tree/one.txt']);
    expect(await at.dav.list('tree')).toEqual(['empty', 'sub']);
    await call(vendor, ['purge', 'cloud:tree']);
    expect(await at.dav.list()).toEqual([]);
  });

  test('copies and moves on the server', async () => {
    const source = await sourceTree();
    await call(vendor, ['copy', source, 'cloud:tree']);
    at.seen.length = 0;
    await call(vendor, ['copyto', 'cloud:tree/one.txt', 'cloud:copied.txt']);
    await call(vendor, ['moveto', 'cloud:tree/sub', 'cloud:moved']);
    expect(at.seen.filter(({ method }) => method === 'PUT')).toEqual([]);
    expect(await at.dav.text('copied.txt')).toBe('one');
    expect(await at.dav.list('moved')).toEqual(['deeper', 'näme with # % & + ; =.txt']);
  });
});

test.each(['nextcloud', 'owncloud'])('vendor %s keeps modification times', async (vendor) => {
  const source = await sourceTree();
  await call(vendor, ['sync', source, 'cloud:tree']);
  const copy = join(at.dir, 'copy');
  await call(vendor, ['sync', 'cloud:tree', copy]);
  expect((await stat(join(copy, 'one.txt'))).mtimeMs).toBe(1_580_702_706_000);
});

test.each(['/webdav/', '/remote.php/webdav/', '/dav/files/alice/'])('the same tree is at %s', async (path) => {
  await at.dav.put('here.txt', 'here');
  expect(await call('other', ['cat', 'cloud:here.txt'], path)).toBe('here');
});

test('rclone sees quota and usage', async () => {
  await at.server.accounts.update(at.user, { quota_bytes: 1_000_000 });
  await at.dav.put('f', Buffer.alloc(1000));
  expect(JSON.parse(await call('nextcloud', ['about', '--json', 'cloud:']))).toMatchObject({
    used: 1000,
    free: 999_000,
  });
});
