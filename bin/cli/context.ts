// What nearly every command needs: folders, accounts, credentials.

import { AccountBook } from '../../src/daemon/accounts/account_book.js';
import { Credentials } from '../../src/daemon/accounts/credential_store.js';
import { type UserDirs, userDirs } from '../../src/daemon/user_dirs.js';
import { silentLog } from '../../src/log.js';
import { note } from './output.js';

export interface Context {
  readonly dirs: UserDirs;
  readonly accounts: AccountBook;
  readonly credentials: Credentials;
}

export function commandContext(): Context {
  const dirs = userDirs();
  const credentials = new Credentials(dirs.config, silentLog, undefined, note);
  return { dirs, accounts: new AccountBook(dirs.config), credentials };
}
