import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Context } from '../../../bin/cli/context.js';
import { planDrive, resolveLogin } from '../../../bin/cli/drive_plan.js';
import { type Account, AccountBook } from '../../../src/daemon/accounts/account_book.js';
import { Credentials } from '../../../src/daemon/accounts/credential_store.js';
import { parseDriveConfig } from '../../../src/daemon/drive_config.js';
import { silentLog } from '../../../src/log.js';

let dir = '';
let context: Context;
const work: Account = {
  name: 'work',
  url: 'https://cloud.example.org/',
  user: 'anna',
  credential: 'file',
  appToken: true,
  tls: { caFile: '/ca.pem' },
  addedAt: '2026-01-01T00:00:00.000Z',
};

beforeEach(async () => {
  dir = await realpath(await mkdtemp(join(tmpdir(), 'cm-plan-')));
  const dirs = { config: join(dir, 'c'), data: join(dir, 'd'), state: join(dir, 's'), runtime: join(dir, 'r') };
  context = { dirs, accounts: new AccountBook(dirs.config), credentials: new Credentials(dirs.config, silentLog) };
  await context.accounts.put(work);
  await context.credentials.set('work', 'token', 'file');
  await writeFile(join(dir, 'pw'), 'from file\nmore\n');
});
afterEach(() => rm(dir, { recursive: true }));

describe('who logs in', () => {
  it('an account, with what is stored', async () => {
    expect(await resolveLogin('work', {}, context)).toEqual({
      account: 'work',
      url: work.url,
      user: 'anna',
      password: 'token',
      tls: { caFile: '/ca.pem' },
    });
  });

  it('an address that an account has is that account', async () => {
    expect((await resolveLogin('https://cloud.example.org', {}, context)).account).toBe('work');
    expect((await resolveLogin('https://cloud.example.org', { user: 'anna' }, context)).account).toBe('work');
    await context.accounts.put({ ...work, name: 'below', url: 'https://cloud.example.org/dav/%7eanna' });
    await context.credentials.set('below', 'token', 'file');
    expect((await resolveLogin('https://Cloud.example.org:443/dav/~anna/', {}, context)).account).toBe('below');
  });

  it('an address without an account needs user and password, and gets folders of its own', async () => {
    const one = await resolveLogin('https://berta@cloud.example.org/', { passwordFile: join(dir, 'pw') }, context);
    expect(one).toMatchObject({ url: 'https://cloud.example.org/', user: 'berta', password: 'from file' });
    expect(one.account).toMatch(/^berta@cloud\.example\.org-[0-9a-f]{8}$/);
    const other = await resolveLogin(
      'https://cloud.example.org/x',
      { user: 'berta', passwordFile: join(dir, 'pw') },
      context,
    );
    expect(other.account).not.toBe(one.account);
    await expect(resolveLogin('https://other.example.org', { user: 'x' }, context)).rejects.toMatchObject({
      exitCode: 2,
    });
  });

  it('an address with and without a slash at its end has one cache: the one it began with', async () => {
    const options = { user: 'berta', passwordFile: join(dir, 'pw') };
    const nameAt = async (url: string) => (await resolveLogin(url, options, context)).account;
    const first = await nameAt('https://cloud.example.org/nc');
    await mkdir(join(context.dirs.data, 'cache', first), { recursive: true });
    expect(await nameAt('https://cloud.example.org/nc/')).toBe(first);
    expect(await nameAt('https://cloud.example.org/nc')).toBe(first);
    const other = await nameAt('https://cloud.example.org/other/');
    expect(other).not.toBe(first);
    await mkdir(join(context.dirs.data, 'cache', other), { recursive: true });
    expect(await nameAt('https://cloud.example.org/other')).toBe(other);
  });

  it('an unknown account is code 3, and the known ones are listed', async () => {
    await expect(resolveLogin('wrok', {}, context)).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringContaining('work'),
    });
  });

  it('the account of a local server keeps its cache whatever port it has', async () => {
    await context.accounts.put({ ...work, name: 'local', serverDir: '/srv' });
    await context.credentials.set('local', 'token', 'file');
    expect((await resolveLogin('local', {}, context)).identity).toBe('anna on the server in /srv');
  });
});

describe('where things go', () => {
  it('by account; another cache folder has another state folder', async () => {
    const login = await resolveLogin('work', {}, context);
    const plain = await planDrive(login, join(dir, 'mnt'), {}, context);
    expect(plain).toMatchObject({
      cacheDir: join(dir, 'd/cache/work'),
      stateDir: join(dir, 's/work'),
      mountPoint: join(dir, 'mnt'),
    });
    const other = await planDrive(login, join(dir, 'mnt'), { cacheDir: join(dir, 'elsewhere') }, context);
    expect(other.cacheDir).toBe(join(dir, 'elsewhere'));
    expect(other.stateDir).toMatch(/\/work-[0-9a-f]{8}$/);
  });

  it('the mount point is where the kernel will say it is', async () => {
    await symlink(dir, join(dir, 'link'));
    const login = await resolveLogin('work', {}, context);
    expect((await planDrive(login, join(dir, 'link', 'mnt'), {}, context)).mountPoint).toBe(join(dir, 'mnt'));
  });

  it('survives the way to the background process', async () => {
    const config = await planDrive(
      await resolveLogin('work', {}, context),
      join(dir, 'mnt'),
      { readOnly: true, uid: 5 },
      context,
    );
    expect(parseDriveConfig(JSON.parse(JSON.stringify(config)))).toEqual(config);
    for (const broken of [
      { mountPoint: 'relative' },
      { timeout_ms: 0 },
      { password: 1 },
      { readOnly: 'yes' },
      { cacheSize_bytes: -1 },
      { logLevel: 'all' },
    ]) {
      expect(() => parseDriveConfig({ ...config, ...broken })).toThrow(expect.objectContaining({ code: 'invalid' }));
    }
    expect(() => parseDriveConfig(null)).toThrow(expect.objectContaining({ code: 'invalid' }));
  });
});
