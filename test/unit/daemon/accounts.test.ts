import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type Account,
  AccountBook,
  checkAccountName,
  suggestAccountName,
} from '../../../src/daemon/accounts/account_book.js';
import { serverBase } from '../../../src/daemon/accounts/ask_server.js';
import { type CredentialStore, Credentials } from '../../../src/daemon/accounts/credential_store.js';
import { keyringReachable, SecretTool } from '../../../src/daemon/accounts/secret_tool.js';
import { readTlsFiles } from '../../../src/daemon/accounts/tls_files.js';
import { silentLog } from '../../../src/log.js';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cm-acc-'));
});
afterEach(() => rm(dir, { recursive: true }));

function account(name: string, more: Partial<Account> = {}): Account {
  return {
    name,
    url: 'https://cloud.example.org/',
    user: 'anna',
    credential: 'file',
    appToken: false,
    tls: {},
    addedAt: '2026-01-01T00:00:00.000Z',
    ...more,
  };
}

describe('account book', () => {
  it('is empty at first, keeps what is put, replaces by name, removes', async () => {
    const book = new AccountBook(dir);
    expect(await book.list()).toEqual([]);
    await book.put(account('work', { tls: { caFile: '/ca.pem' }, serverDir: '/srv' }));
    await book.put(account('home'));
    await book.put(account('home', { user: 'berta' }));
    expect((await book.list()).map((one) => one.name)).toEqual(['home', 'work']);
    expect(await book.get('home')).toEqual(account('home', { user: 'berta' }));
    expect(await book.get('work')).toEqual(account('work', { tls: { caFile: '/ca.pem' }, serverDir: '/srv' }));
    await book.remove('home');
    expect(await book.get('home')).toBeNull();
  });

  it('is readable by its owner alone', async () => {
    await new AccountBook(dir).put(account('work'));
    expect((await stat(join(dir, 'accounts.json'))).mode & 0o777).toBe(0o600);
  });

  it('loses nothing when many write at once', async () => {
    const names = Array.from({ length: 12 }, (_, i) => `account-${String(i).padStart(2, '0')}`);
    await Promise.all(names.map((name) => new AccountBook(dir).put(account(name))));
    expect((await new AccountBook(dir).list()).map((one) => one.name)).toEqual(names);
  });

  it.each([
    '{',
    '{"version":2,"accounts":[]}',
    '{"version":1,"accounts":[{"name":"x"}]}',
    '{"version":1,"accounts":[{"name":"../x","url":"u","user":"a","addedAt":"t"}]}',
  ])('refuses a damaged file and leaves it alone: %s', async (text) => {
    await writeFile(join(dir, 'accounts.json'), text);
    const book = new AccountBook(dir);
    await expect(book.list()).rejects.toMatchObject({ code: expect.stringMatching(/corrupt/) });
    await expect(book.put(account('x'))).rejects.toThrow();
    expect(await readFile(join(dir, 'accounts.json'), 'utf8')).toBe(text);
  });

  it('where no file can be, that is said, and at once', async () => {
    await expect(new AccountBook('/dev/null/x').list()).rejects.toMatchObject({
      code: 'io',
      message: expect.stringMatching(/^reading \/dev\/null\/x\/accounts.json: ENOTDIR/) as string,
    });
    // The kernel says there that the name is not found, whatever folders are made.
    await expect(new AccountBook('/proc/nowhere/config').put(account('x'))).rejects.toMatchObject({
      code: 'io',
      message: expect.stringMatching(/^making the folder \/proc\/nowhere\/config: ENOENT/) as string,
    });
  });

  it.each(['', '.', '..', 'a/b', '-x', 'a..b', 'ü', 'x'.repeat(65)])('refuses the name %j', (name) => {
    expect(() => checkAccountName(name)).toThrow(expect.objectContaining({ code: 'invalid' }));
  });

  it('suggests names that are names', () => {
    expect(suggestAccountName('https://cloud.example.org/', 'anna')).toBe('anna@cloud.example.org');
    expect(suggestAccountName('http://127.0.0.1:8080/', 'anna@firm.example')).toBe('anna@127.0.0.1-8080');
    expect(suggestAccountName('http://[::1]:80/', 'Änne Müller')).toBe('nne-M-ller@-1-');
    expect(checkAccountName(suggestAccountName('https://x.org/', 'ü'))).toBeTruthy();
  });
});

class FakeKeyring implements CredentialStore {
  readonly held = new Map<string, string>();
  mode: 'works' | 'forgets' | 'fails' = 'works';
  async get(name: string) {
    if (this.mode === 'fails') throw new Error('no keyring');
    return this.held.get(name) ?? null;
  }
  async set(name: string, secret: string) {
    if (this.mode === 'fails') throw new Error('no keyring');
    if (this.mode === 'works') this.held.set(name, secret);
  }
  async remove(name: string) {
    this.held.delete(name);
  }
}

describe('credentials', () => {
  it('go to the keyring when it works', async () => {
    const keyring = new FakeKeyring();
    const credentials = new Credentials(dir, silentLog, keyring);
    expect(await credentials.set('work', 's3cret', 'keyring')).toBe('keyring');
    expect(keyring.held.get('work')).toBe('s3cret');
    expect(await credentials.get({ name: 'work', credential: 'keyring' })).toBe('s3cret');
    await expect(stat(join(dir, 'credentials.json'))).rejects.toThrow();
    await credentials.remove({ name: 'work', credential: 'keyring' });
    await expect(credentials.get({ name: 'work', credential: 'keyring' })).rejects.toMatchObject({
      code: 'unauthorized',
    });
  });

  it.each(['forgets', 'fails'] as const)('a keyring that %s is an error where it was asked for', async (mode) => {
    const keyring = new FakeKeyring();
    keyring.mode = mode;
    await expect(new Credentials(dir, silentLog, keyring).set('work', 's3cret', 'keyring')).rejects.toThrow();
  });

  it('go to a file of mode 600 otherwise, one entry per account', async () => {
    const credentials = new Credentials(dir, silentLog, new FakeKeyring());
    expect(await credentials.set('work', 'a', 'file')).toBe('file');
    expect(await credentials.set('home', 'b\n"c"', 'file')).toBe('file');
    expect((await stat(join(dir, 'credentials.json'))).mode & 0o777).toBe(0o600);
    expect(await credentials.get({ name: 'home', credential: 'file' })).toBe('b\n"c"');
    await credentials.remove({ name: 'work', credential: 'file' });
    await expect(credentials.get({ name: 'work', credential: 'file' })).rejects.toMatchObject({ code: 'unauthorized' });
    expect(await credentials.get({ name: 'home', credential: 'file' })).toBe('b\n"c"');
  });

  it('a file that others can read is refused, with the remedy', async () => {
    const credentials = new Credentials(dir, silentLog, new FakeKeyring());
    await credentials.set('work', 'a', 'file');
    await chmod(join(dir, 'credentials.json'), 0o644);
    await expect(credentials.get({ name: 'work', credential: 'file' })).rejects.toMatchObject({
      code: 'no_access',
      message: expect.stringContaining('chmod 600'),
    });
  });

  it('a damaged file is refused without quoting it', async () => {
    await writeFile(join(dir, 'credentials.json'), '{"secrets": {"work": "s3cret', { mode: 0o600 });
    const error = await new Credentials(dir, silentLog, new FakeKeyring())
      .get({ name: 'work', credential: 'file' })
      .catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'corrupt' });
    expect(String((error as Error).stack) + String((error as Error).cause)).not.toContain('s3cret');
  });
});

describe('secret-tool', () => {
  /** Stands in for the program: a folder of files, the secret by standard input only. */
  async function program(body: string): Promise<string> {
    const path = join(dir, 'secret-tool');
    await writeFile(path, `#!/bin/sh\nSTORE=${dir}/ring\n${body}\n`, { mode: 0o755 });
    return path;
  }

  it('stores by standard input, never by arguments', async () => {
    const tool = new SecretTool(
      await program(`echo "$@" >> ${dir}/args
case $1 in
store) cat > "$STORE-$6" ;;
lookup) [ -e "$STORE-$5" ] && cat "$STORE-$5" ;;
clear) rm -f "$STORE-$5" ;;
esac`),
    );
    expect(await tool.get('work')).toBeNull();
    await tool.set('work', 's3cret with spaces\tand tab');
    expect(await tool.get('work')).toBe('s3cret with spaces\tand tab');
    await tool.remove('work');
    expect(await tool.get('work')).toBeNull();
    expect(await readFile(join(dir, 'args'), 'utf8')).not.toContain('s3cret');
  });

  it('tells a failure from an absent entry', async () => {
    const tool = new SecretTool(await program('echo "Cannot autolaunch D-Bus" >&2; exit 1'));
    await expect(tool.get('work')).rejects.toMatchObject({ code: 'io', message: expect.stringContaining('D-Bus') });
    await expect(tool.set('work', 'x')).rejects.toMatchObject({ code: 'io' });
  });

  it('a program that is not there is an error, not a hang', async () => {
    await expect(new SecretTool(join(dir, 'absent')).get('work')).rejects.toMatchObject({ code: 'unsupported' });
  });

  it('needs a session bus and the program', async () => {
    await program('exit 0');
    const bus = 'unix:path=/nowhere';
    expect(keyringReachable({ PATH: dir, DBUS_SESSION_BUS_ADDRESS: bus })).toBe(true);
    expect(keyringReachable({ PATH: dir, DBUS_SESSION_BUS_ADDRESS: '' })).toBe(false);
    expect(keyringReachable({ PATH: '/nowhere', DBUS_SESSION_BUS_ADDRESS: bus })).toBe(false);
    await writeFile(join(dir, 'bus'), '');
    expect(keyringReachable({ PATH: dir, XDG_RUNTIME_DIR: dir })).toBe(true);
  });
});

describe('certificates', () => {
  it('come as text, and what is none is named', async () => {
    const pem = '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n';
    await writeFile(join(dir, 'ca.pem'), pem);
    await writeFile(join(dir, 'junk'), 'junk');
    expect(await readTlsFiles({ caFile: join(dir, 'ca.pem') })).toEqual({ ca: pem });
    expect(await readTlsFiles({})).toEqual({});
    await expect(readTlsFiles({ caFile: join(dir, 'junk') })).rejects.toMatchObject({ code: 'invalid' });
    await expect(readTlsFiles({ caFile: join(dir, 'absent') })).rejects.toMatchObject({ code: 'not_found' });
    await expect(readTlsFiles({ certFile: join(dir, 'ca.pem') })).rejects.toMatchObject({ code: 'invalid' });
  });
});

describe('address of a server', () => {
  it.each([
    ['https://c.example.org', 'https://c.example.org/'],
    ['https://c.example.org/nextcloud/', 'https://c.example.org/nextcloud/'],
    ['https://c.example.org/nextcloud/remote.php/dav/files/anna/', 'https://c.example.org/nextcloud/'],
    ['http://127.0.0.1:8080/dav/files/anna/', 'http://127.0.0.1:8080/'],
    ['https://c.example.org/a/davos', 'https://c.example.org/a/davos/'],
  ])('%s', (url, base) => {
    expect(serverBase(url)).toBe(base);
  });
});
