// Accounts in the data folder's own database. Each method is one transaction; other processes (the CLI on the same
// folder) see it at once, and `login_version` is how a running server notices: it is a new random number after every
// change that must end earlier logins, so that a name removed and created again does not inherit them either.

import { randomInt } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Statement } from 'better-sqlite3';
import { type Clock, systemClock } from '../../clock.js';
import { CloudError } from '../../errors.js';
import type { Connection, SchemaModule, SqliteDatabase } from '../storage/metadata/sqlite/database.js';
import type {
  AccountStore,
  AppToken,
  FoundSharees,
  Group,
  Login,
  LoginRecord,
  NewUser,
  RemovedUser,
  TokenRecord,
  User,
  UserPatch,
} from './account_store.js';
import { checkTokenLabel, looksLikeToken, newTokenSecret, tokenHash } from './app_token.js';
import { checkPassword, hashPassword } from './password.js';
import { checkGroupName, checkUserName, groupIdOf, userIdOf } from './user_name.js';

/** The trees that belong to users, by `User.id`; the metadata store in the server, anything in tests. A `change` of the
 * accounts is made in the same transaction, here and below: a process may be killed between two. */
export interface UserFiles {
  /** Makes the user's root if there is none; sets its quota (null = unlimited). */
  ensure(userId: string, quota_bytes: number | null): Promise<void>;
  setQuota(userId: string, quota_bytes: number | null, change: () => void): Promise<void>;
  /** Is there anything in the user's tree? */
  hasAny(userId: string): Promise<boolean>;
  /** Removes what the user has begun to send: somebody else of the name could finish it, and read it. */
  forgetUploads(userId: string): Promise<void>;
  /** Removes the tree with everything in it. */
  delete(userId: string): Promise<void>;
  /** Moves it into a new folder of another user's tree. Resolves to the folder's name, null if there was nothing. */
  handOver(userId: string, toUserId: string, folder: string): Promise<string | null>;
}

/** The shares that name users and groups; the metadata store in the server. */
export interface SharedWith {
  /** `change` returns who the members of the group are now. */
  groupChanged(groupId: string, change: () => readonly string[]): Promise<void>;
  groupRemoved(groupId: string, change: () => void): Promise<void>;
  /** What the user received is no longer theirs, what they handed on ends. */
  userRemoved(userId: string, change: () => void): Promise<void>;
}

export const accountSchema: SchemaModule = {
  name: 'accounts',
  migrations: [
    `
  CREATE TABLE account (
    name TEXT NOT NULL PRIMARY KEY COLLATE NOCASE,
    display_name TEXT NOT NULL,
    is_admin INTEGER NOT NULL,
    is_disabled INTEGER NOT NULL DEFAULT 0,
    quota_bytes INTEGER,
    password_hash TEXT,
    login_version INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE app_token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL COLLATE NOCASE REFERENCES account (name) ON DELETE CASCADE,
    label TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    last_used_ms INTEGER
  ) STRICT;
  CREATE INDEX app_token_by_account ON app_token (account);
`,
    `
  CREATE TABLE account_group (
    name TEXT NOT NULL PRIMARY KEY COLLATE NOCASE,
    created_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE group_member (
    group_name TEXT NOT NULL COLLATE NOCASE REFERENCES account_group (name) ON DELETE CASCADE,
    account TEXT NOT NULL COLLATE NOCASE REFERENCES account (name) ON DELETE CASCADE,
    PRIMARY KEY (group_name, account)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX group_member_by_account ON group_member (account);
`,
  ],
};

interface AccountRow {
  readonly name: string;
  readonly display_name: string;
  readonly is_admin: number;
  readonly is_disabled: number;
  readonly quota_bytes: number | null;
  readonly password_hash: string | null;
  readonly login_version: number;
  readonly created_ms: number;
}

interface GroupRow {
  readonly name: string;
  readonly created_ms: number;
}

interface TokenRow {
  readonly id: number;
  readonly account: string;
  readonly label: string;
  readonly created_ms: number;
  readonly last_used_ms: number | null;
}

const TOUCH_EVERY_MS = 60_000;
const MAX_LOGINS = 10_000;
/** Of one user: many more than devices. Any client may ask for one, and no quota counts them. */
const MAX_TOKENS = 1000;
const TOKEN_COLUMNS = 'id, account, label, created_ms, last_used_ms';

export class SqliteAccounts implements AccountStore {
  readonly #database: SqliteDatabase;
  readonly #files: UserFiles;
  readonly #clock: Clock;
  readonly #onClose: () => Promise<void>;
  readonly #shared: SharedWith;
  readonly #selectAccount: Statement<[string], AccountRow>;
  readonly #selectVersion: Statement<[string], { readonly login_version: number }>;
  readonly #selectToken: Statement<[Buffer], TokenRow>;
  readonly #selectTokens: Statement<[string], TokenRow>;
  readonly #touched = new Map<number, number>();
  /** What logins need of the accounts, each with the version of the database it was read from. */
  readonly #logins = new Map<string, { login: LoginRecord | null; version: number }>();

  /** `database` was opened with `accountSchema`. */
  constructor(
    database: SqliteDatabase,
    files: UserFiles,
    options: { readonly clock?: Clock; readonly shared: SharedWith; readonly onClose?: () => Promise<void> },
  ) {
    this.#database = database;
    this.#files = files;
    this.#clock = options.clock ?? systemClock;
    this.#shared = options.shared;
    this.#onClose = options.onClose ?? (async () => {});
    const { reader } = database;
    this.#selectAccount = reader.prepare('SELECT * FROM account WHERE name = ?');
    this.#selectVersion = reader.prepare('SELECT login_version FROM account WHERE name = ? AND is_disabled = 0');
    this.#selectToken = reader.prepare(`SELECT ${TOKEN_COLUMNS} FROM app_token WHERE hash = ?`);
    this.#selectTokens = reader.prepare(`SELECT ${TOKEN_COLUMNS} FROM app_token WHERE account = ? ORDER BY id`);
  }

  async create(user: NewUser): Promise<User> {
    const name = checkUserName(user.name);
    const displayName = checkDisplayName(user.displayName ?? name);
    const quota = checkQuota(user.quota_bytes ?? null);
    const passwordHash = user.password === null ? null : await hashNew(user.password);
    if (this.#selectAccount.get(name) !== undefined) throw taken(name);
    if (user.adoptFiles !== true && (await this.#files.hasAny(userIdOf(name)))) {
      throw new CloudError(
        'exists',
        `creating user ${name}: files of a removed user of this name are still here. ` +
          'Ask for them to be taken over, delete them first, or choose another name.',
      );
    }
    if (user.adoptFiles !== true) await this.#files.forgetUploads(userIdOf(name));
    const values = [
      name,
      displayName,
      Number(user.isAdmin ?? false),
      quota,
      passwordHash,
      newVersion(),
      this.#clock.now_ms(),
    ];
    await this.#files.setQuota(userIdOf(name), quota, () => {
      if (this.#row(name) !== undefined) throw taken(name);
      this.#run(
        `INSERT INTO account (name, display_name, is_admin, quota_bytes, password_hash, login_version, created_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?)`,
        ...values,
      );
    });
    return toUser(this.#committed(name));
  }

  async get(name: string): Promise<User | null> {
    const row = this.#selectAccount.get(name);
    return row === undefined ? null : toUser(row);
  }

  async list(): Promise<readonly User[]> {
    return this.#database.reader.prepare<[], AccountRow>('SELECT * FROM account ORDER BY name').all().map(toUser);
  }

  async update(name: string, patch: UserPatch): Promise<User> {
    const displayName = patch.displayName === undefined ? undefined : checkDisplayName(patch.displayName);
    const quota = patch.quota_bytes === undefined ? undefined : checkQuota(patch.quota_bytes);
    const change = () => {
      const row = this.#row(name) ?? fail(noSuchUser(name));
      const isDisabled = patch.isDisabled ?? row.is_disabled !== 0;
      const isAdmin = patch.isAdmin ?? row.is_admin !== 0;
      const endsLogins = isDisabled !== (row.is_disabled !== 0) || isAdmin !== (row.is_admin !== 0);
      this.#run(
        `UPDATE account SET display_name = ?, is_admin = ?, is_disabled = ?, quota_bytes = ?, login_version = ?
         WHERE name = ?`,
        displayName ?? row.display_name,
        Number(isAdmin),
        Number(isDisabled),
        quota === undefined ? row.quota_bytes : quota,
        endsLogins ? newVersion() : row.login_version,
        name,
      );
    };
    if (quota === undefined) await this.#database.write(change);
    else await this.#files.setQuota(userIdOf(name), quota, change);
    return toUser(this.#committed(name));
  }

  async setPassword(name: string, password: string | null): Promise<void> {
    this.#committed(name);
    const passwordHash = password === null ? null : await hashNew(password);
    await this.#database.write(() => {
      const changed = this.#run(
        'UPDATE account SET password_hash = ?, login_version = ? WHERE name = ?',
        passwordHash,
        newVersion(),
        name,
      );
      if (changed === 0) throw noSuchUser(name);
    });
  }

  async remove(name: string, files: 'keep' | 'delete' | { readonly handOverTo: string }): Promise<RemovedUser> {
    const stored = this.#committed(name).name;
    const folder = typeof files === 'object' ? await this.#handOver(stored, files.handOverTo) : null;
    // The account goes first: nobody may write into a tree that is being deleted.
    await this.#shared.userRemoved(userIdOf(stored), () => {
      this.#run('DELETE FROM account WHERE name = ?', stored);
    });
    if (typeof files === 'object') return { files: 'handed over', folder };
    if (files === 'keep') return { files: 'kept' };
    await this.#files.delete(userIdOf(stored));
    return { files: 'deleted' };
  }

  /** Before the account goes, so that all is as it was if it cannot be done; nobody logs in meanwhile. */
  async #handOver(name: string, to: string): Promise<string | null> {
    const heir = this.#committed(to);
    if (userIdOf(heir.name) === userIdOf(name)) {
      throw new CloudError('invalid', `removing user ${name}: files can only be handed over to somebody else`);
    }
    const { isDisabled } = toUser(this.#committed(name));
    await this.update(name, { isDisabled: true });
    try {
      return await this.#files.handOver(userIdOf(name), userIdOf(heir.name), `Files of ${name}`);
    } catch (error) {
      await this.update(name, { isDisabled });
      throw error;
    }
  }

  async createToken(name: string, label: string): Promise<{ token: AppToken; secret: string }> {
    const checked = checkTokenLabel(label);
    const secret = newTokenSecret();
    const created_ms = this.#clock.now_ms();
    const token = await this.#database.write(() => {
      const user = (this.#row(name) ?? fail(noSuchUser(name))).name;
      const count = this.#database.writer
        .prepare<[string], number>('SELECT count(*) FROM app_token WHERE account = ?')
        .pluck()
        .get(user);
      if ((count ?? 0) >= MAX_TOKENS) {
        throw new CloudError('quota', `app token of ${user}: one user has at most ${MAX_TOKENS}, revoke some first`);
      }
      const { lastInsertRowid } = this.#database.writer
        .prepare('INSERT INTO app_token (account, label, hash, created_ms) VALUES (?, ?, ?, ?)')
        .run(user, checked, tokenHash(secret), created_ms);
      return { id: Number(lastInsertRowid), user, label: checked, created_ms, lastUsed_ms: null };
    });
    return { token, secret };
  }

  async listTokens(name: string): Promise<readonly AppToken[]> {
    return this.#selectTokens.all(this.#committed(name).name).map(toToken);
  }

  async revokeToken(name: string, id: number): Promise<void> {
    await this.#database.write(() => {
      const row = this.#row(name) ?? fail(noSuchUser(name));
      if (this.#run('DELETE FROM app_token WHERE id = ? AND account = ?', id, row.name) === 0) {
        throw new CloudError('not_found', `revoking token ${id}: user ${row.name} has no such token`);
      }
      this.#run('UPDATE account SET login_version = ? WHERE name = ?', newVersion(), row.name);
    });
    this.#touched.delete(id);
  }

  async loginRecord(name: string): Promise<LoginRecord | null> {
    const version = this.#database.version();
    const known = this.#logins.get(name);
    if (known?.version === version) return known.login;
    const row = this.#selectAccount.get(name);
    const login = row === undefined ? null : toLogin(row);
    if (known === undefined) {
      if (this.#logins.size >= MAX_LOGINS) this.#logins.clear();
      this.#logins.set(name, { login, version });
      return login;
    }
    known.version = version;
    // The same object as long as it says the same: what others have made of it stays good.
    if (!isDeepStrictEqual(known.login, login)) known.login = login;
    return known.login;
  }

  async tokenRecord(secret: string): Promise<TokenRecord | null> {
    if (!looksLikeToken(secret)) return null;
    const token = this.#selectToken.get(tokenHash(secret));
    const account = token && this.#selectAccount.get(token.account);
    return account === undefined || token === undefined ? null : { login: toLogin(account), token: toToken(token) };
  }

  async loginVersion(name: string): Promise<number | null> {
    return this.#selectVersion.get(name)?.login_version ?? null;
  }

  /** As of now; in a write transaction, as of its beginning. `ended`: what was logged in with does not count any more. */
  standing(name: string, login?: Login): 'active' | 'ended' | 'disabled' | 'unknown' {
    const row = this.#selectAccount.get(name);
    if (row === undefined) return 'unknown';
    if (row.is_disabled !== 0) return 'disabled';
    return login === undefined || this.#counts(row, login) ? 'active' : 'ended';
  }

  /** The version changes for all logins of the user; only some of them end by it. */
  #counts(row: AccountRow, { version, credential }: Login): boolean {
    if (row.login_version === version) return true;
    if (typeof credential !== 'number') return credential === row.password_hash;
    return this.#selectTokens.all(row.name).some(({ id }) => id === credential);
  }

  async touchToken(id: number): Promise<void> {
    const now_ms = this.#clock.now_ms();
    if (now_ms - (this.#touched.get(id) ?? Number.NEGATIVE_INFINITY) < TOUCH_EVERY_MS) return;
    this.#touched.set(id, now_ms);
    await this.#database.write(() => {
      this.#run('UPDATE app_token SET last_used_ms = ? WHERE id = ?', now_ms, id);
    });
  }

  async createGroup(name: string): Promise<Group> {
    const checked = checkGroupName(name);
    const created_ms = this.#clock.now_ms();
    await this.#database.write(() => {
      if (groupRow(this.#database.writer, checked) !== undefined) {
        throw new CloudError('exists', `creating group ${checked}: there is one of this name`);
      }
      this.#run('INSERT INTO account_group (name, created_ms) VALUES (?, ?)', checked, created_ms);
    });
    return { id: groupIdOf(checked), name: checked, created_ms, members: [] };
  }

  async getGroup(name: string): Promise<Group | null> {
    const row = groupRow(this.#database.reader, name);
    return row === undefined ? null : this.#toGroup(row);
  }

  async listGroups(): Promise<readonly Group[]> {
    return this.#database.reader
      .prepare<[], GroupRow>('SELECT name, created_ms FROM account_group ORDER BY name')
      .all()
      .map((row) => this.#toGroup(row));
  }

  async removeGroup(name: string): Promise<void> {
    const group = (await this.getGroup(name)) ?? fail(noSuchGroup(name));
    await this.#shared.groupRemoved(group.id, () => {
      this.#run('DELETE FROM account_group WHERE name = ?', group.name);
    });
  }

  async addMember(group: string, user: string): Promise<void> {
    await this.#shared.groupChanged(groupIdOf(group), () => {
      const { name } = groupRow(this.#database.writer, group) ?? fail(noSuchGroup(group));
      const account = (this.#row(user) ?? fail(noSuchUser(user))).name;
      this.#run('INSERT INTO group_member (group_name, account) VALUES (?, ?) ON CONFLICT DO NOTHING', name, account);
      return membersOf(this.#database.writer, name);
    });
  }

  async removeMember(group: string, user: string): Promise<void> {
    await this.#shared.groupChanged(groupIdOf(group), () => {
      const { name } = groupRow(this.#database.writer, group) ?? fail(noSuchGroup(group));
      if (this.#run('DELETE FROM group_member WHERE group_name = ? AND account = ?', name, user) === 0) {
        throw new CloudError('not_found', `removing ${user} from group ${name}: there is no such member`);
      }
      return membersOf(this.#database.writer, name);
    });
  }

  async groupsOf(user: string): Promise<readonly string[]> {
    return this.#database.reader
      .prepare<[string], string>('SELECT group_name FROM group_member WHERE account = ? ORDER BY group_name')
      .pluck()
      .all(user);
  }

  async search(part: string, limit: number): Promise<FoundSharees> {
    const { reader } = this.#database;
    const wanted = part.trim().toLowerCase();
    // instr has no wildcards that would have to be escaped; lower knows ASCII only, so the rest is compared as typed.
    const users = reader
      .prepare<[string, string, string, string, number], AccountRow>(
        `SELECT * FROM account WHERE is_disabled = 0
         AND (instr(lower(name), ?) > 0 OR instr(lower(display_name), ?) > 0 OR instr(display_name, ?) > 0)
         ORDER BY lower(name) <> ?, name LIMIT +?`,
      )
      .all(wanted, wanted, part.trim(), wanted, limit);
    const groups = reader
      .prepare<[string, string, string, number], GroupRow>(
        `SELECT name, created_ms FROM account_group WHERE instr(lower(name), ?) > 0 OR instr(name, ?) > 0
         ORDER BY lower(name) <> ?, name LIMIT +?`,
      )
      .all(wanted, part.trim(), wanted, limit);
    return {
      users: users.map(toUser),
      groups: groups.map(({ name, created_ms }) => ({ id: groupIdOf(name), name, created_ms })),
    };
  }

  /** How a user is called; the id if there is no such user (any more). Costs microseconds. */
  displayNameOf(userId: string): string {
    return this.#selectAccount.get(userId)?.display_name ?? userId;
  }

  #toGroup({ name, created_ms }: GroupRow): Group {
    return { id: groupIdOf(name), name, created_ms, members: membersOf(this.#database.reader, name) };
  }

  /** Makes every user's root and quota what the account says; for the start of a server. */
  async reconcile(): Promise<void> {
    for (const user of await this.list()) await this.#files.ensure(user.id, user.quota_bytes);
  }

  async close(): Promise<void> {
    await this.#onClose();
  }

  /** As committed; throws `not_found`. */
  #committed(name: string): AccountRow {
    return this.#selectAccount.get(name) ?? fail(noSuchUser(name));
  }

  /** Inside a write: as this transaction sees it. */
  #row(name: string): AccountRow | undefined {
    return this.#database.writer.prepare<[string], AccountRow>('SELECT * FROM account WHERE name = ?').get(name);
  }

  /** Inside a write; the number of rows changed. */
  #run(sql: string, ...values: unknown[]): number {
    return this.#database.writer.prepare(sql).run(...values).changes;
  }
}

/** SQLite knows upper and lower case of ASCII only, groups are named in any script; they are few. Older programs let two
 * be made that differ in the case of other letters: who says one of them means that one. */
function groupRow(db: Connection, name: string): GroupRow | undefined {
  const id = groupIdOf(name);
  const rows = db.prepare<[], GroupRow>('SELECT name, created_ms FROM account_group').all();
  return rows.find((row) => row.name === name) ?? rows.find((row) => groupIdOf(row.name) === id);
}

function membersOf(db: Connection, group: string): readonly string[] {
  return db
    .prepare<[string], string>('SELECT account FROM group_member WHERE group_name = ? ORDER BY account')
    .pluck()
    .all(group)
    .map(userIdOf);
}

function toUser(row: AccountRow): User {
  return {
    id: userIdOf(row.name),
    name: row.name,
    displayName: row.display_name,
    isAdmin: row.is_admin !== 0,
    isDisabled: row.is_disabled !== 0,
    quota_bytes: row.quota_bytes,
    created_ms: row.created_ms,
  };
}

function toLogin(row: AccountRow): LoginRecord {
  return { user: toUser(row), passwordHash: row.password_hash, version: row.login_version };
}

function toToken(row: TokenRow): AppToken {
  const { id, account, label, created_ms, last_used_ms } = row;
  return { id, user: account, label, created_ms, lastUsed_ms: last_used_ms };
}

function newVersion(): number {
  return randomInt(2 ** 47);
}

async function hashNew(password: string): Promise<string> {
  if (looksLikeToken(password)) {
    throw new CloudError('invalid', 'password: it must not have the form of an app token (cmt_…)');
  }
  return hashPassword(checkPassword(password));
}

function checkDisplayName(displayName: string): string {
  const trimmed = displayName.trim();
  if (trimmed === '' || [...trimmed].length > 200 || /\p{Cc}/u.test(trimmed) || !trimmed.isWellFormed()) {
    throw new CloudError('invalid', 'display name: it must have 1 to 200 characters, none of them a control character');
  }
  return trimmed;
}

function checkQuota(quota_bytes: number | null): number | null {
  if (quota_bytes === null || (Number.isSafeInteger(quota_bytes) && quota_bytes >= 0)) return quota_bytes;
  throw new CloudError(
    'invalid',
    `quota ${quota_bytes}: it must be a whole number of bytes, at least 0, or none at all (unlimited)`,
  );
}

function fail(error: CloudError): never {
  throw error;
}

function noSuchGroup(name: string): CloudError {
  return new CloudError('not_found', `group ${JSON.stringify(name)}: there is no group of this name`);
}

function noSuchUser(name: string): CloudError {
  return new CloudError('not_found', `user ${JSON.stringify(name)}: there is no user of this name`);
}

function taken(name: string): CloudError {
  return new CloudError(
    'exists',
    `creating user ${name}: there is a user of this name already; another name is required, and one that differs in more than upper and lower case`,
  );
}
