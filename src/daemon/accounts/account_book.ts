// The accounts this user has logged in to: CONFIG/accounts.json. Passwords are not in here (`credential_store.ts`).
// Changes are read-modify-write under a lock, so two commands at once cannot lose each other's account.

import { join } from 'node:path';
import { CloudError } from '../../errors.js';
import { whileLocked } from '../locked_file.js';
import { readPrivateFile, writePrivateFile } from '../private_file.js';
import { privateDir } from '../user_dirs.js';
import type { TlsFiles } from './tls_files.js';

export type CredentialPlace = 'keyring' | 'file';

export interface Account {
  /** The user's own word for it; stands in fstab, paths and messages. */
  readonly name: string;
  /** What the user gave, or where detection ended: `https://host[:port][/path]`, never with credentials. */
  readonly url: string;
  readonly user: string;
  readonly credential: CredentialPlace;
  /** What is stored is an app token of the server, which `logout` can revoke, not the user's password. */
  readonly appToken: boolean;
  readonly tls: TlsFiles;
  readonly addedAt: string;
  /** Data folder of the server that `cloudmount up` runs for this account. */
  readonly serverDir?: string;
}

const ACCOUNT_NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;
export const ACCOUNT_NAME_RULE =
  '1 to 64 characters out of a-z, A-Z, 0-9, ".", "_", "@" and "-", the first a letter or a digit, no ".." in it';

export function checkAccountName(name: string): string {
  if (ACCOUNT_NAME.test(name) && !name.includes('..')) return name;
  throw new CloudError('invalid', `account name ${JSON.stringify(name)}: it must be ${ACCOUNT_NAME_RULE}`);
}

/** `alice` at `https://cloud.example.org/` -> `alice@cloud.example.org`, made to fit the rule. */
export function suggestAccountName(url: string, user: string): string {
  const { hostname, port } = new URL(url);
  const raw = `${user.replace(/@.*$/, '')}@${hostname}${port === '' ? '' : `-${port}`}`;
  const fitting = raw
    .replaceAll(/[^A-Za-z0-9._@-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .replaceAll(/\.{2,}/g, '.');
  return checkAccountName(fitting.slice(0, 64) || 'account');
}

export class AccountBook {
  readonly #dir: string;
  readonly #path: string;

  constructor(configDir: string) {
    this.#dir = configDir;
    this.#path = join(configDir, 'accounts.json');
  }

  async list(): Promise<readonly Account[]> {
    const text = await readPrivateFile(this.#path);
    return text === null ? [] : parseAccounts(text, this.#path);
  }

  async get(name: string): Promise<Account | null> {
    return (await this.list()).find((account) => account.name === name) ?? null;
  }

  /** Adds the account or replaces the one of that name. */
  async put(account: Account): Promise<void> {
    checkAccountName(account.name);
    await this.#change((accounts) => [...accounts.filter((other) => other.name !== account.name), account]);
  }

  async remove(name: string): Promise<void> {
    await this.#change((accounts) => accounts.filter((account) => account.name !== name));
  }

  async #change(edit: (accounts: readonly Account[]) => readonly Account[]): Promise<void> {
    await privateDir(this.#dir);
    await whileLocked(this.#path, async () => {
      const accounts = [...edit(await this.list())].sort((a, b) => (a.name < b.name ? -1 : 1));
      await writePrivateFile(this.#path, `${JSON.stringify({ version: 1, accounts }, null, 2)}\n`);
    });
  }
}

function parseAccounts(text: string, path: string): readonly Account[] {
  try {
    const value = JSON.parse(text) as { version?: unknown; accounts?: unknown };
    if (value.version !== 1 || !Array.isArray(value.accounts))
      throw new Error('expected {"version": 1, "accounts": […]}');
    return value.accounts.map(parseAccount);
  } catch (error) {
    throw new CloudError(
      'corrupt',
      `reading the accounts in ${path}: ${error instanceof Error ? error.message : String(error)}. ` +
        'Mend the file, or move it away and log in again.',
      { cause: error },
    );
  }
}

function parseAccount(value: unknown): Account {
  const record = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const text = (key: string): string => {
    const found = record[key];
    if (typeof found !== 'string') throw new Error(`an account without "${key}"`);
    return found;
  };
  const tls = (record['tls'] ?? {}) as Record<string, unknown>;
  const tlsFile = (key: string) => (typeof tls[key] === 'string' ? { [key]: tls[key] } : {});
  const serverDir = record['serverDir'];
  return {
    name: checkAccountName(text('name')),
    url: text('url'),
    user: text('user'),
    credential: record['credential'] === 'keyring' ? 'keyring' : 'file',
    appToken: record['appToken'] === true,
    tls: { ...tlsFile('caFile'), ...tlsFile('certFile'), ...tlsFile('keyFile') },
    addedAt: text('addedAt'),
    ...(typeof serverDir === 'string' ? { serverDir } : {}),
  };
}
