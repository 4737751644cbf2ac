// All locks of a server, for its administrator: who holds what since when, and a way to break one. Works on the data
// folder, whether or not it is served at the moment.

import { systemClock } from '../../clock.js';
import { silentLog } from '../../log.js';
import { SERVER_SCHEMA } from '../accounts/open_accounts.js';
import { prepareDataDir } from '../data_dir.js';
import { SqliteDatabase } from '../storage/metadata/sqlite/database.js';
import { SqliteMetadataStore } from '../storage/metadata/sqlite/sqlite_metadata_store.js';
import { Activity } from './activity.js';

export interface HeldLock {
  readonly token: string;
  /** Whose file it is. */
  readonly owner: string;
  readonly path: string;
  /** Who holds the lock. */
  readonly holder: string;
  readonly holderName: string;
  readonly created_ms: number;
  readonly expires_ms: number;
}

interface Open {
  readonly database: SqliteDatabase;
  readonly store: SqliteMetadataStore;
}

async function withStore<T>(dataDir: string, use: (open: Open) => Promise<T>): Promise<T> {
  const dir = await prepareDataDir(dataDir);
  const database = SqliteDatabase.open(dir.database, SERVER_SCHEMA);
  const store = new SqliteMetadataStore(database, { clock: systemClock });
  try {
    return await use({ database, store });
  } finally {
    await store.close();
    await database.close();
  }
}

/** Oldest first within each owner's files. */
export function heldLocks(dataDir: string): Promise<readonly HeldLock[]> {
  return withStore(dataDir, ({ database, store }) => list(database, store));
}

async function list(database: SqliteDatabase, store: SqliteMetadataStore): Promise<readonly HeldLock[]> {
  const owners = database.reader
    .prepare<[], string>(
      'SELECT DISTINCT r.user_id FROM locks l JOIN roots r ON r.node_id = l.root_id ORDER BY r.user_id',
    )
    .pluck()
    .all();
  const now_ms = systemClock.now_ms();
  return store.read(async (tx) => {
    const out: HeldLock[] = [];
    for (const owner of owners) {
      const root = await tx.root(owner);
      if (root === null) continue;
      for (const lock of await tx.locksIn(root.id, now_ms)) {
        const { token, created_ms, expires_ms } = lock;
        const path = (await tx.pathIn(root.id, lock.nodeId)) ?? [];
        out.push({
          token,
          owner,
          path: `/${path.join('/')}`,
          holder: lock.userId,
          holderName: lock.displayName,
          created_ms,
          expires_ms,
        });
      }
    }
    return out;
  });
}

/** Breaks the locks on a path of an owner's files, noted in the activity. Returns what was broken. */
export function breakLocks(dataDir: string, owner: string, path: string): Promise<readonly HeldLock[]> {
  return withStore(dataDir, async ({ database, store }) => {
    const wanted = `/${path.replace(/^\/+/, '')}`;
    const broken = (await list(database, store)).filter((lock) => lock.owner === owner && lock.path === wanted);
    const activity = new Activity(database, systemClock, silentLog);
    for (const { token, path: at } of broken) {
      const node = await store.write(async (tx) => {
        const lock = await tx.lock(token, systemClock.now_ms());
        await tx.removeLock(token);
        return lock === null ? null : tx.node(lock.nodeId);
      });
      if (node === null) continue;
      activity.note({
        kind: 'unlocked',
        actor: 'administrator',
        ownerRootId: node.rootId,
        fileId: node.id,
        path: at.slice(1).split('/'),
        client: 'cloudmount admin',
      });
    }
    await activity.settled();
    return broken;
  });
}
