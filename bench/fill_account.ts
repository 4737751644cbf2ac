// Makes an account large, and the server one of many users, straight through the storage interface: what a workload costs
// must follow from the work asked for, not from how much else is stored. The server must not run meanwhile.

import { systemClock } from '../src/clock.js';
import type { Name } from '../src/ids.js';
import { openAccounts, SERVER_SCHEMA } from '../src/server/accounts/open_accounts.js';
import { dataDirLayout } from '../src/server/data_dir.js';
import type { NewContent } from '../src/server/storage/metadata/metadata_store.js';
import { SqliteDatabase } from '../src/server/storage/metadata/sqlite/database.js';
import { SqliteMetadataStore } from '../src/server/storage/metadata/sqlite/sqlite_metadata_store.js';

export interface Filling {
  /** Files in the account of `user`, 200 to a folder. */
  readonly files: number;
  /** Further users, each with a folder of 20 files. */
  readonly users: number;
}

const PER_FOLDER = 200;
const PER_USER = 20;
const DATA = Buffer.from('0123456789');
const CONTENT: NewContent = {
  kind: 'inline',
  data: DATA,
  sha256: '84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882',
  size_bytes: DATA.length,
};

export async function fillAccount(dataDir: string, user: string, { files, users }: Filling): Promise<void> {
  const accounts = await openAccounts(dataDir);
  for (let i = 0; i < users; i++) await accounts.create({ name: `user${i}`, password: null });
  await accounts.close();
  await withStore(dataDir, async (store) => {
    for (let i = 0; i < users; i++) await makeFolder(store, `user${i}`, 'files', PER_USER);
    for (let done = 0; done < files; done += PER_FOLDER) {
      await makeFolder(store, user, `filled-${done / PER_FOLDER}`, Math.min(PER_FOLDER, files - done));
    }
  });
}

/** A folder with files of ten bytes, `f0` onwards. */
export async function fillFolder(dataDir: string, user: string, name: string, files: number): Promise<void> {
  await withStore(dataDir, (store) => makeFolder(store, user, name, files));
}

function makeFolder(store: SqliteMetadataStore, userId: string, name: string, files: number): Promise<void> {
  return store.write(async (tx) => {
    const parent = await tx.create(await tx.ensureRoot(userId), name as Name, { kind: 'dir' });
    for (let i = 0; i < files; i++) await tx.create(parent, `f${i}` as Name, { kind: 'file', content: CONTENT });
  });
}

async function withStore(dataDir: string, work: (store: SqliteMetadataStore) => Promise<void>): Promise<void> {
  const database = SqliteDatabase.open(dataDirLayout(dataDir).database, SERVER_SCHEMA);
  const store = new SqliteMetadataStore(database, { clock: systemClock });
  await work(store);
  await store.close();
  await database.close();
}
