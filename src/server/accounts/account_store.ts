// Who may use the server. The interface is asynchronous because larger installations keep it in a database across the
// network; the default (`sqlite_accounts.ts`) is in the data folder's own database.

/** A person (or a script) with a tree of their own. */
export interface User {
  /** The name without regard to case: what trees, uploads and push sessions are kept under. */
  readonly id: string;
  /** Login name, unique without regard to case; part of every URL of the user's tree. */
  readonly name: string;
  readonly displayName: string;
  readonly isAdmin: boolean;
  /** May not log in; the files stay. */
  readonly isDisabled: boolean;
  /** null = unlimited. */
  readonly quota_bytes: number | null;
  readonly created_ms: number;
}

/** A password for one device or script, revocable alone. The secret itself exists only at its creation. */
export interface AppToken {
  readonly id: number;
  readonly user: string;
  readonly label: string;
  readonly created_ms: number;
  /** To the minute; null = never used. */
  readonly lastUsed_ms: number | null;
}

export interface NewUser {
  readonly name: string;
  /** null = only app tokens can log in. */
  readonly password: string | null;
  readonly displayName?: string;
  readonly isAdmin?: boolean;
  readonly quota_bytes?: number | null;
  /** Take over the files that a removed user of this name left (`remove` with `keep`). Without it, that is `exists`. */
  readonly adoptFiles?: boolean;
}

export interface UserPatch {
  readonly displayName?: string;
  readonly isAdmin?: boolean;
  readonly isDisabled?: boolean;
  readonly quota_bytes?: number | null;
}

export interface RemovedUser {
  readonly files: 'kept' | 'deleted' | 'handed over';
  /** The folder the files are in now, of the user they were handed to; null if there were none. */
  readonly folder?: string | null;
}

/** People who are given rights together. */
export interface Group {
  /** The name without regard to case. */
  readonly id: string;
  readonly name: string;
  readonly created_ms: number;
  /** `User.id`s, in order. */
  readonly members: readonly string[];
}

/** People and groups whose names contain what was looked for. */
export interface FoundSharees {
  readonly users: readonly User[];
  readonly groups: readonly Omit<Group, 'members'>[];
}

/** What a check of credentials needs to know of a user. */
export interface LoginRecord {
  readonly user: User;
  /** argon2id in PHC format; null = no password set. */
  readonly passwordHash: string | null;
  /** Changes with every change after which an earlier login must not count any more: password, disabled, removed and
   * created again, token revoked. */
  readonly version: number;
}

/** What somebody logged in with, and when. */
export interface Login {
  /** `LoginRecord.version` then. */
  readonly version: number;
  /** The id of an app token, or what is stored of the password. */
  readonly credential: number | string | null;
}

export interface TokenRecord {
  readonly login: LoginRecord;
  readonly token: AppToken;
}

export interface AccountStore {
  /** Rejects with `exists`, or `invalid` for a name, password or quota that is not allowed. */
  create(user: NewUser): Promise<User>;
  get(name: string): Promise<User | null>;
  list(): Promise<readonly User[]>;
  /** Rejects with `not_found`. */
  update(name: string, patch: UserPatch): Promise<User>;
  /** Sets (null: removes) the password. All earlier logins by password end at once, app tokens stay. */
  setPassword(name: string, password: string | null): Promise<void>;
  /** Ends the account and its tokens. The files are only deleted if that is asked for; handed over, they go into a folder
   * of another user with what is shared of them. Rejects with `not_found`, `invalid`, `quota` (then nothing is done). */
  remove(name: string, files: 'keep' | 'delete' | { readonly handOverTo: string }): Promise<RemovedUser>;

  /** `secret` is shown once and not kept. */
  createToken(name: string, label: string): Promise<{ readonly token: AppToken; readonly secret: string }>;
  listTokens(name: string): Promise<readonly AppToken[]>;
  /** Rejects with `not_found` if the user has no such token. */
  revokeToken(name: string, id: number): Promise<void>;

  /** For logging in; null = no such user. */
  loginRecord(name: string): Promise<LoginRecord | null>;
  tokenRecord(secret: string): Promise<TokenRecord | null>;
  /** `LoginRecord.version` as it is now, null = gone. Asked on every request: must cost microseconds. */
  loginVersion(name: string): Promise<number | null>;
  /** Notes that a token was used; kept to the minute, so that it costs no write per request. */
  touchToken(id: number): Promise<void>;

  /** Rejects with `exists`, or `invalid` for a name that is not allowed. */
  createGroup(name: string): Promise<Group>;
  getGroup(name: string): Promise<Group | null>;
  listGroups(): Promise<readonly Group[]>;
  /** Ends the shares with this group too. */
  removeGroup(name: string): Promise<void>;
  /** What the group is given reaches (leaves) the member at once. Rejects with `not_found`. */
  addMember(group: string, user: string): Promise<void>;
  removeMember(group: string, user: string): Promise<void>;
  groupsOf(user: string): Promise<readonly string[]>;
  /** By a part of the login or display name, without regard to case; `limit` of each at most, best matches first. */
  search(part: string, limit: number): Promise<FoundSharees>;

  close(): Promise<void>;
}
