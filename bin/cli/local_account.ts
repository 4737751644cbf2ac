// The account of `cloudmount up`: a user on the embedded server, and the drive's own app token for it.

import { createHash, randomInt } from 'node:crypto';
import { userInfo } from 'node:os';
import type { AccountStore, User } from '../../src/server/accounts/account_store.js';
import { isUserName } from '../../src/server/accounts/user_name.js';
import type { Context } from './context.js';
import { CommandError, EXIT } from './exit_codes.js';
import { printable } from './output.js';
import { defaultServerDir } from './server_options.js';
import { withAccounts } from './with_accounts.js';

/** One account per data folder. */
export function localAccountName(dataDir: string): string {
  if (dataDir === defaultServerDir()) return 'local';
  return `local-${createHash('sha256').update(dataDir).digest('hex').slice(0, 8)}`;
}

/** The user the drive belongs to; made, with a password to show, if the server has none yet. `last`: who it was at the
 * last start. */
export function firstUser(dataDir: string, last: string | null): Promise<{ user: string; newPassword: string | null }> {
  return withAccounts({ data: dataDir, create: true }, async (accounts) => {
    const users = await accounts.list();
    const name = personName();
    // Another one's drive would not get the cache, nor give it back.
    const where = dataDir === defaultServerDir() ? '' : ` --data '${printable(dataDir)}'`;
    const owner = users.find((user) => user.name === last);
    if (last !== null && owner === undefined && users.length > 0) {
      throw new CommandError(
        EXIT.auth,
        `${printable(last)}, whose drive this is, was removed; to have them again, with their files: cloudmount user add ${printable(last)} --adopt-files${where}. ` +
          `For a drive of somebody else: cloudmount serve${where}, and cloudmount login at the address that it says`,
      );
    }
    if (owner?.isDisabled === true) {
      throw new CommandError(
        EXIT.auth,
        `${last}, whose drive this is, is disabled; to let them in again: cloudmount user enable ${last}${where}`,
      );
    }
    const found = choose(users, last, name);
    if (found !== null) return { user: found, newPassword: null };
    const newPassword = generatePassword();
    await accounts.create({ name, password: newPassword, isAdmin: true });
    return { user: name, newPassword };
  });
}

function choose(users: readonly User[], last: string | null, person: string): string | null {
  const active = users.filter((user) => !user.isDisabled);
  const found =
    active.find((user) => user.name === last) ??
    active.find((user) => user.name.toLowerCase() === person.toLowerCase()) ??
    active.find((user) => user.isAdmin) ??
    active[0];
  return found?.name ?? null;
}

/** The drive's token: the one of the last start if it still counts, else a new one. */
export async function ownToken(context: Context, account: string, user: string, dataDir: string): Promise<string> {
  return withAccounts({ data: dataDir }, async (accounts) => {
    const known = await context.credentials.get({ name: account, credential: 'file' }).catch(() => null);
    if (known !== null && (await isTokenOf(accounts, known, user))) return known;
    const { secret } = await accounts.createToken(user, 'cloudmount up');
    await context.credentials.set(account, secret, 'file');
    return secret;
  });
}

async function isTokenOf(accounts: AccountStore, secret: string, user: string): Promise<boolean> {
  const record = await accounts.tokenRecord(secret);
  return record !== null && record.login.user.name === user;
}

function personName(): string {
  try {
    const { username } = userInfo();
    if (isUserName(username)) return username;
  } catch {
    // A user id without a name, as in some containers.
  }
  return 'me';
}

/** No letters that look like others; 20 of 31 are 99 bits. */
const ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789';

export function generatePassword(): string {
  const part = (): string => Array.from({ length: 5 }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');
  return [part(), part(), part(), part()].join('-');
}
