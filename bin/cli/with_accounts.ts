// The server's accounts, opened for one command and closed after it.

import type { AccountStore } from '../../src/server/accounts/account_store.js';
import { openAccounts } from '../../src/server/accounts/open_accounts.js';
import { existingServerDir, serverDir } from './server_options.js';

export interface WithData {
  readonly data?: string | undefined;
}

export const nameArgument = { type: 'string', demandOption: true, describe: 'Name of the user' } as const;

/** `create`: make the data folder if there is none. */
export async function withAccounts<T>(
  options: WithData & { readonly create?: boolean },
  use: (accounts: AccountStore) => Promise<T>,
): Promise<T> {
  const dir = (options.create === true ? serverDir : existingServerDir)(options.data);
  // What the database makes beside itself belongs to this user alone, like itself.
  process.umask(0o077);
  const accounts = await openAccounts(dir);
  try {
    return await use(accounts);
  } finally {
    await accounts.close();
  }
}
