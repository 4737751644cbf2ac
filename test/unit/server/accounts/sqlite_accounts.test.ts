import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { systemClock } from '../../../../src/clock.js';
import type { Name } from '../../../../src/ids.js';
import type { AccountStore } from '../../../../src/server/accounts/account_store.js';
import { openAccounts, SERVER_SCHEMA } from '../../../../src/server/accounts/open_accounts.js';
import { SqliteDatabase } from '../../../../src/server/storage/metadata/sqlite/database.js';
import { SqliteMetadataStore } from '../../../../src/server/storage/metadata/sqlite/sqlite_metadata_store.js';

let dir: string;
let accounts: AccountStore;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'accounts-'));
  accounts = await openAccounts(join(dir, 'data'));
});

afterEach(async () => {
  await accounts.close();
  await rm(dir, { recursive: true, force: true });
});

/** The metadata of the same folder, as the running server has it open. */
async function withMetadata<T>(work: (store: SqliteMetadataStore) => Promise<T>): Promise<T> {
  const database = SqliteDatabase.open(join(dir, 'data', 'cloudmount.db'), SERVER_SCHEMA);
  const store = new SqliteMetadataStore(database, { clock: systemClock });
  try {
    return await work(store);
  } finally {
    await store.close();
    await database.close();
  }
}

async function putDir(user: string, name: string): Promise<void> {
  await withMetadata((store) =>
    store.write(async (tx) => {
      await tx.create(await tx.ensureRoot(user), name as Name, { kind: 'dir' });
    }),
  );
}

describe('users', () => {
  test('are created with what was said and found without regard to case', async () => {
    const made = await accounts.create({
      name: 'Anna.B@example.org',
      password: 'long enough',
      displayName: 'Anna Bé',
      isAdmin: true,
      quota_bytes: 5_000,
    });
    expect(made).toMatchObject({
      id: 'anna.b@example.org',
      name: 'Anna.B@example.org',
      displayName: 'Anna Bé',
      isAdmin: true,
      isDisabled: false,
      quota_bytes: 5_000,
    });
    expect(await accounts.get('anna.b@EXAMPLE.org')).toEqual(made);
    expect(await accounts.list()).toEqual([made]);
    expect(await accounts.get('nobody')).toBeNull();
  });

  test.each(['', '.', '..', 'a..b', 'a/b', 'a:b', 'a b', '-a', '.a', 'é', 'a\n', 'x'.repeat(65)])(
    '%j is no user name, and the error says what is',
    async (name) => {
      await expect(accounts.create({ name, password: 'long enough' })).rejects.toMatchObject({
        code: 'invalid',
        message: expect.stringContaining('a-z, A-Z, 0-9'),
      });
    },
  );

  test('one name is one user, whatever the case', async () => {
    await accounts.create({ name: 'anna', password: null });
    await expect(accounts.create({ name: 'ANNA', password: null })).rejects.toMatchObject({ code: 'exists' });
  });

  test('two creations of one name at the same time: one wins', async () => {
    const both = await Promise.allSettled([
      accounts.create({ name: 'anna', password: null }),
      accounts.create({ name: 'Anna', password: null }),
    ]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(await accounts.list()).toHaveLength(1);
  });

  test.each([
    ['short', 'at least 8'],
    ['x'.repeat(1025), '1024 bytes'],
    [`cmt_${'a'.repeat(43)}`, 'app token'],
  ])('the password %j is refused', async (password, why) => {
    await expect(accounts.create({ name: 'anna', password })).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining(why),
    });
    expect(await accounts.get('anna')).toBeNull();
  });

  test.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('%s is no quota', async (quota_bytes) => {
    await expect(accounts.create({ name: 'anna', password: null, quota_bytes })).rejects.toMatchObject({
      code: 'invalid',
    });
  });

  test('the quota reaches the tree, at creation and later', async () => {
    await accounts.create({ name: 'anna', password: null, quota_bytes: 100 });
    const usage = () =>
      withMetadata((store) => store.read(async (tx) => tx.usage((await tx.root('anna'))?.id ?? (0 as never))));
    expect(await usage()).toEqual({ used_bytes: 0, quota_bytes: 100 });
    await accounts.update('anna', { quota_bytes: 200 });
    expect(await usage()).toEqual({ used_bytes: 0, quota_bytes: 200 });
    await accounts.update('anna', { quota_bytes: null });
    expect(await usage()).toEqual({ used_bytes: 0, quota_bytes: null });
  });

  test('are changed in part', async () => {
    await accounts.create({ name: 'anna', password: null, displayName: 'Anna', quota_bytes: 7 });
    expect(await accounts.update('anna', { isAdmin: true })).toMatchObject({
      displayName: 'Anna',
      isAdmin: true,
      quota_bytes: 7,
    });
    await expect(accounts.update('bert', { isAdmin: true })).rejects.toMatchObject({ code: 'not_found' });
  });

  test('the database holds no password, only an argon2id hash', async () => {
    await accounts.create({ name: 'anna', password: 'a very secret word' });
    const db = new Database(join(dir, 'data', 'cloudmount.db'), { readonly: true });
    const { password_hash } = db.prepare('SELECT password_hash FROM account').get() as { password_hash: string };
    db.close();
    expect(password_hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(password_hash).not.toContain('secret');
  });

  test('the folder is closed to others', async () => {
    expect((await stat(join(dir, 'data'))).mode & 0o777).toBe(0o700);
  });
});

describe('removing a user', () => {
  test('with the files takes the tree away', async () => {
    await accounts.create({ name: 'Anna', password: null });
    await putDir('anna', 'photos');
    await mkdir(join(dir, 'data', 'uploads', 'anna', '1'), { recursive: true });
    expect(await accounts.remove('anna', 'delete')).toEqual({ files: 'deleted' });
    expect(await readdir(join(dir, 'data', 'uploads'))).toEqual([]);
    expect(await accounts.get('anna')).toBeNull();
    expect(await withMetadata((store) => store.read((tx) => tx.root('anna')))).toBeNull();
  });

  test('keeping the files keeps them, and nobody inherits them by accident', async () => {
    await accounts.create({ name: 'anna', password: null });
    await putDir('anna', 'photos');
    expect(await accounts.remove('anna', 'keep')).toEqual({ files: 'kept' });
    await expect(accounts.create({ name: 'Anna', password: null })).rejects.toMatchObject({
      code: 'exists',
      message: expect.stringContaining('files of a removed user'),
    });
    await accounts.create({ name: 'Anna', password: null, adoptFiles: true });
    const names = await withMetadata((store) =>
      store.read(async (tx) => {
        const root = await tx.root('anna');
        return root === null ? [] : (await tx.children(root, null, 10)).map((node) => node.name);
      }),
    );
    expect(names).toEqual(['photos']);
  });

  test('ends tokens with it', async () => {
    await accounts.create({ name: 'anna', password: null });
    const { secret } = await accounts.createToken('anna', 'laptop');
    await accounts.remove('anna', 'delete');
    expect(await accounts.tokenRecord(secret)).toBeNull();
    await accounts.create({ name: 'anna', password: null });
    expect(await accounts.listTokens('anna')).toEqual([]);
    expect(await accounts.tokenRecord(secret)).toBeNull();
  });

  test('of a user that is not there says so', async () => {
    await expect(accounts.remove('anna', 'keep')).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('login versions', () => {
  test('move with password, disabling, revoking and re-creating, and with nothing else', async () => {
    await accounts.create({ name: 'anna', password: 'first password' });
    const seen = [await accounts.loginVersion('anna')];
    const moved = async () => {
      const now = await accounts.loginVersion('anna');
      const isNew = !seen.includes(now);
      seen.push(now);
      return isNew;
    };
    const { token } = await accounts.createToken('anna', 'phone');
    expect(await moved()).toBe(false);
    await accounts.update('anna', { displayName: 'Anna', quota_bytes: 10 });
    expect(await moved()).toBe(false);
    await accounts.setPassword('anna', 'second password');
    expect(await moved()).toBe(true);
    await accounts.revokeToken('anna', token.id);
    expect(await moved()).toBe(true);
    await accounts.update('anna', { isDisabled: true });
    expect(await accounts.loginVersion('anna')).toBeNull();
    await accounts.update('anna', { isDisabled: false });
    expect(await moved()).toBe(true);
    await accounts.remove('anna', 'delete');
    expect(await accounts.loginVersion('anna')).toBeNull();
    await accounts.create({ name: 'anna', password: 'first password' });
    expect(await moved()).toBe(true);
  });

  test('are seen by another process on the same folder', async () => {
    await accounts.create({ name: 'anna', password: 'first password' });
    const other = await openAccounts(join(dir, 'data'));
    const before = await accounts.loginVersion('anna');
    await other.setPassword('anna', 'second password');
    await other.close();
    expect(await accounts.loginVersion('anna')).not.toBe(before);
  });
});

describe('app tokens', () => {
  test('are shown once, kept as a hash, found by their secret', async () => {
    await accounts.create({ name: 'Anna', password: null });
    const { token, secret } = await accounts.createToken('anna', ' laptop ');
    expect(secret).toMatch(/^cmt_[A-Za-z0-9_-]{43}$/);
    expect(token).toMatchObject({ user: 'Anna', label: 'laptop', lastUsed_ms: null });
    expect(await accounts.tokenRecord(secret)).toMatchObject({ token, login: { user: { name: 'Anna' } } });
    expect(await accounts.tokenRecord(`${secret.slice(0, -1)}${secret.endsWith('A') ? 'B' : 'A'}`)).toBeNull();
    const db = new Database(join(dir, 'data', 'cloudmount.db'), { readonly: true });
    const rows = JSON.stringify(db.prepare('SELECT hex(hash) AS hash, label FROM app_token').all());
    db.close();
    expect(rows).not.toContain(secret.slice(4));
  });

  test('are revoked one by one, by their owner only', async () => {
    await accounts.create({ name: 'anna', password: null });
    await accounts.create({ name: 'bert', password: null });
    const laptop = await accounts.createToken('anna', 'laptop');
    const phone = await accounts.createToken('anna', 'phone');
    await expect(accounts.revokeToken('bert', laptop.token.id)).rejects.toMatchObject({ code: 'not_found' });
    await accounts.revokeToken('anna', laptop.token.id);
    expect(await accounts.tokenRecord(laptop.secret)).toBeNull();
    expect(await accounts.tokenRecord(phone.secret)).not.toBeNull();
    expect((await accounts.listTokens('anna')).map(({ label }) => label)).toEqual(['phone']);
  });

  test('do not grow without end, whoever asks for ever more', async () => {
    await accounts.create({ name: 'anna', password: null });
    const db = new Database(join(dir, 'data', 'cloudmount.db'));
    db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
      INSERT INTO app_token (account, label, hash, created_ms) SELECT 'anna', 'phone', randomblob(32), 0 FROM n`);
    db.close();
    const { token } = await accounts.createToken('Anna', 'last');
    await expect(accounts.createToken('anna', 'one more')).rejects.toMatchObject({ code: 'quota' });
    await accounts.revokeToken('anna', token.id);
    await accounts.createToken('anna', 'one more');
  });

  test('remember their last use', async () => {
    await accounts.create({ name: 'anna', password: null });
    const { token } = await accounts.createToken('anna', 'laptop');
    await accounts.touchToken(token.id);
    const [first] = await accounts.listTokens('anna');
    expect(first?.lastUsed_ms).toBeGreaterThanOrEqual(token.created_ms);
  });

  test.each(['', '   ', 'x'.repeat(101), 'a\u0007b'])('%j is no label', async (label) => {
    await accounts.create({ name: 'anna', password: null });
    await expect(accounts.createToken('anna', label)).rejects.toMatchObject({ code: 'invalid' });
  });
});

test('who comes under the name of somebody who left finds nothing of what that one had begun to send', async () => {
  const begun = join(dir, 'data', 'uploads', 'anna', 'upload-1');
  const begin = async () => {
    await mkdir(begun, { recursive: true });
    await writeFile(join(begun, '1'), 'secret');
  };
  await accounts.create({ name: 'anna', password: null });
  await begin();
  await accounts.remove('anna', 'keep');
  await accounts.create({ name: 'Anna', password: null });
  await expect(stat(begun)).rejects.toMatchObject({ code: 'ENOENT' });
  // Who takes over the files is the same person, and goes on.
  await begin();
  await accounts.remove('anna', 'keep');
  await accounts.create({ name: 'anna', password: null, adoptFiles: true });
  expect((await stat(join(begun, '1'))).size).toBe(6);
});

describe('groups', () => {
  test('are one whose names differ in case only, in any script', async () => {
    const { id } = await accounts.createGroup('Équipe');
    // By its id clients share with it.
    expect(await accounts.getGroup(id)).toMatchObject({ name: 'Équipe' });
    expect(await accounts.getGroup('E\u0301quipe')).toMatchObject({ name: 'Équipe' });
    expect((await accounts.search('Équi', 5)).groups).toMatchObject([{ name: 'Équipe' }]);
    // Another one would be given what is shared with this.
    await expect(accounts.createGroup('équipe')).rejects.toMatchObject({ code: 'exists' });
    await accounts.create({ name: 'anna', password: null });
    await accounts.addMember('ÉQUIPE', 'anna');
    expect((await accounts.getGroup('Équipe'))?.members).toEqual(['anna']);
  });

  test('that an older program made two of are each meant by their name', async () => {
    await accounts.createGroup('Équipe');
    for (const name of ['anna', 'bert']) await accounts.create({ name, password: null });
    await accounts.addMember('Équipe', 'anna');
    const db = new Database(join(dir, 'data', 'cloudmount.db'));
    db.exec("INSERT INTO account_group (name, created_ms) VALUES ('équipe', 1)");
    db.close();
    await accounts.addMember('équipe', 'bert');
    expect((await accounts.getGroup('équipe'))?.members).toEqual(['bert']);
    await accounts.removeGroup('équipe');
    expect(await accounts.getGroup('Équipe')).toMatchObject({ name: 'Équipe', members: ['anna'] });
  });
});

describe('a process that is killed between two transactions', () => {
  /** Whether a folder of anna's that she shared with bert, and with a group he is in, can be seen by him. */
  async function sharing(): Promise<{ readonly seen: () => Promise<boolean> }> {
    for (const name of ['anna', 'bert']) await accounts.create({ name, password: null });
    await accounts.createGroup('crew');
    await accounts.addMember('crew', 'bert');
    const nodeId = await withMetadata((store) =>
      store.write(async (tx) => {
        const { id } = await tx.create(await tx.ensureRoot('anna'), 'Plans' as Name, { kind: 'dir' });
        const share = { nodeId: id, sharerId: 'anna', people: ['bert'], permissions: 1 };
        await tx.addShare({ ...share, kind: 'group', recipient: 'crew' });
        return id;
      }),
    );
    const seen = () =>
      withMetadata((store) => store.read(async (tx) => (await tx.grants('bert', [nodeId], Date.now())).size > 0));
    return { seen };
  }

  /** `work` as far as its first transaction, however many it has. */
  async function cutShort(work: () => Promise<unknown>): Promise<void> {
    const write: (...given: never[]) => Promise<unknown> = SqliteDatabase.prototype.write;
    let count = 0;
    const spy = vi.spyOn(SqliteDatabase.prototype, 'write').mockImplementation(function (
      this: SqliteDatabase,
      ...given: unknown[]
    ) {
      count += 1;
      return (count === 1 ? write.apply(this, given as never[]) : Promise.reject(new Error('killed'))) as never;
    });
    await work().catch(() => undefined);
    spy.mockRestore();
  }

  test('leaves nobody the rights of a group they are not in any more', async () => {
    const { seen } = await sharing();
    expect(await seen()).toBe(true);
    await cutShort(() => accounts.removeMember('crew', 'bert'));
    expect((await accounts.getGroup('crew'))?.members).toEqual([]);
    expect(await seen()).toBe(false);
    await cutShort(() => accounts.addMember('crew', 'bert'));
    expect(await seen()).toBe(true);
  });

  test('leaves a group that is gone nothing to pass on to one of its name', async () => {
    const { seen } = await sharing();
    await cutShort(() => accounts.removeGroup('crew'));
    expect(await accounts.getGroup('crew')).toBeNull();
    expect(await seen()).toBe(false);
    await accounts.createGroup('crew');
    await accounts.addMember('crew', 'bert');
    expect(await seen()).toBe(false);
  });

  test('leaves who is removed nothing to pass on to somebody of that name', async () => {
    const { seen } = await sharing();
    await cutShort(() => accounts.remove('bert', 'keep'));
    expect(await accounts.get('bert')).toBeNull();
    expect(await seen()).toBe(false);
  });

  test('leaves a new user with the quota they were given', async () => {
    await cutShort(() => accounts.create({ name: 'anna', password: null, quota_bytes: 1000 }));
    const quota = () =>
      withMetadata((store) =>
        store.read(async (tx) => (await tx.usage((await tx.root('anna'))?.id as never)).quota_bytes),
      );
    expect(await quota()).toBe(1000);
    await cutShort(() => accounts.update('anna', { quota_bytes: 500 }));
    expect(await quota()).toBe(500);
  });
});
