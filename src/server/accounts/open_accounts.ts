// Accounts of a data folder for another process than its server (the CLI): the database may be served at the same time,
// SQLite keeps the two apart, and the server sees changes at its next request.

import { systemClock } from '../../clock.js';
import { prepareDataDir } from '../data_dir.js';
import { ACTIVITY_SCHEMA } from '../sharing/activity.js';
import { SqliteDatabase } from '../storage/metadata/sqlite/database.js';
import { METADATA_SCHEMA } from '../storage/metadata/sqlite/schema.js';
import { SqliteMetadataStore } from '../storage/metadata/sqlite/sqlite_metadata_store.js';
import type { AccountStore } from './account_store.js';
import { accountSchema, SqliteAccounts } from './sqlite_accounts.js';
import { storedShares, storedUserFiles } from './user_files.js';

/** Everything that has tables in DIR/cloudmount.db; whoever opens it opens it with all of them. */
export const SERVER_SCHEMA = [METADATA_SCHEMA, accountSchema, ACTIVITY_SCHEMA];

/** Opens (making what is missing) the accounts of a data folder. The caller closes them. */
export async function openAccounts(dataDir: string): Promise<AccountStore> {
  const dir = await prepareDataDir(dataDir);
  const database = SqliteDatabase.open(dir.database, SERVER_SCHEMA);
  const store = new SqliteMetadataStore(database, { clock: systemClock });
  return new SqliteAccounts(database, storedUserFiles(store, dir.uploads), {
    shared: storedShares(store),
    onClose: async () => {
      await store.close();
      await database.close();
    },
  });
}
