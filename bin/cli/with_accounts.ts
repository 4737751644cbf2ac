// The server's accounts, opened for one command and closed after it.

import { existsSync } from 'node:fs';
import type { AccountStore } from '../../src/server/accounts/account_store.js';
import { openAccounts } from '../../src/server/accounts/open_accounts.js';
import { CommandError, EXIT } from './exit_codes.js';
import { printable } from './output.js';
import { serverDir } from './server_options.js';

export interface WithData {
  readonly data?: string | undefined;
}

export const nameArgument = { type: 'string', demandOption: true, describe: 'Name of the user' } as const;

/** `create`: make the data folder if there is none; otherwise a mistyped --data would. */
export async function withAccounts<T>(
  options: WithData & { readonly create?: boolean },
  use: (accounts: AccountStore) => Promise<T>,
): Promise<T> {
  const dir = serverDir(options.data);
  if (options.create !== true && !existsSync(dir)) {
    throw new CommandError(EXIT.failed, `There is no server's data in ${printable(dir)}; say where it is with --data.`);
  }
  // What the database makes beside itself belongs to this user alone, like itself.
  process.umask(0o077);
  const accounts = await openAccounts(dir);
  try {
    return await use(accounts);
  } finally {
    await accounts.close();
  }
}
