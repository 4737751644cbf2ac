// MetadataStore on SQLite. `read`s of one turn of the event loop share one transaction of the reader connection (they live
// for some microtasks only); `snapshot`s get a connection of their own from a small pool; `write`s go through the database's group
// commit. What a transaction changed is told to the listeners once it is durable, in order.

import Database from 'better-sqlite3';
import type { Clock } from '../../../../clock.js';
import { CloudError } from '../../../../errors.js';
import type {
  CommittedChange,
  MetadataRead,
  MetadataStore,
  MetadataWrite,
  SweepResult,
  UnusedContent,
} from '../metadata_store.js';
import type { SqliteDatabase } from './database.js';
import { SqliteRead } from './reading.js';
import { SqliteWrite } from './writing.js';

export interface SqliteMetadataOptions {
  readonly clock: Clock;
  /** How long a client may stay away and still get a delta. */
  readonly tombstoneAge_ms?: number;
  readonly maxTombstones?: number;
  /** Long listings at the same time; further ones wait. */
  readonly maxSnapshots?: number;
}

const DAY_MS = 86_400_000;
/** Tombstones removed in one transaction. */
const PRUNED_AT_ONCE = 2000;
/** Of all snapshots one holder may have this part: who reads slowly, or not at all, must not keep all others waiting. */
const SHARE_OF_ONE = 1 / 4;
/** Connections kept for the next long listing. */
const IDLE_SNAPSHOTS = 4;
/** Where the numbers of a new history begin: behind any that an earlier one can have given out, also one that began with
 * the same backup. The gap is for clocks that are wrong. Both leave room below 2^53 for two centuries. */
const CHANGES_PER_MS = 256;
const EPOCH_GAP = 2 ** 32;
/** The same for shares, by the second: there are few, and phones keep their numbers in 32 bits (until 2038). */
const SHARES_GAP = 2 ** 16;

function storeStatements(db: Database.Database) {
  return {
    newestTombstone: db.prepare<[], number | null>('SELECT max(seq) FROM tombstones').pluck(),
    /** Read from the old end: what is passed over is what goes. */
    firstYoungTombstone: db
      .prepare<[number], number>('SELECT seq FROM tombstones WHERE at_ms >= ? ORDER BY seq LIMIT 1')
      .pluck(),
    surplusTombstone: db
      .prepare<[number], number>('SELECT seq FROM tombstones ORDER BY seq DESC LIMIT 1 OFFSET ?')
      .pluck(),
    raiseFloors: db.prepare<[number, number, number]>(
      `UPDATE roots SET feed_floor = ? WHERE feed_floor < ?
       AND node_id IN (SELECT root_id FROM tombstones WHERE seq <= ?)`,
    ),
    prune: db.prepare<[number, number]>(
      'DELETE FROM tombstones WHERE seq IN (SELECT seq FROM tombstones WHERE seq <= ? ORDER BY seq LIMIT +?)',
    ),
    unused: db
      .prepare<[number, number], [string, number]>(
        'SELECT sha256, size FROM contents WHERE unused_since_ms IS NOT NULL AND unused_since_ms < ? AND data IS NULL LIMIT +?',
      )
      .raw(),
    forget: db
      .prepare<[string], string>(
        `DELETE FROM contents WHERE data IS NULL AND unused_since_ms IS NOT NULL
         AND sha256 IN (SELECT value FROM json_each(?)) RETURNING sha256`,
      )
      .pluck(),
    newEpoch: db.prepare<[number, number]>('UPDATE store SET epoch = lower(hex(randomblob(6))), seq = max(seq + ?, ?)'),
    newShareNumbers: db.prepare<[number, number]>(
      "UPDATE sqlite_sequence SET seq = max(seq + ?, ?) WHERE name = 'shares'",
    ),
    firstShareNumbers: db.prepare<[number]>(
      `INSERT INTO sqlite_sequence (name, seq)
       SELECT 'shares', ? WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'shares')`,
    ),
  };
}

export class SqliteMetadataStore implements MetadataStore {
  readonly #database: SqliteDatabase;
  readonly #options: SqliteMetadataOptions;
  readonly #write: SqliteWrite;
  readonly #read: SqliteRead;
  readonly #sql: ReturnType<typeof storeStatements>;
  readonly #known: Database.Statement<[string], string>;
  readonly #listeners = new Set<(changes: readonly CommittedChange[]) => void>();
  readonly #idleSnapshots: { readonly db: Database.Database; readonly tx: SqliteRead }[] = [];
  readonly #waiting: { readonly holder: string | undefined; readonly go: () => void }[] = [];
  /** Holder -> how many snapshots. */
  readonly #held = new Map<string, number>();
  #openSnapshots = 0;
  #closed = false;

  /** The database must have been opened with `METADATA_SCHEMA`. It is not closed by `close`. */
  constructor(database: SqliteDatabase, options: SqliteMetadataOptions) {
    this.#database = database;
    this.#options = options;
    this.#write = new SqliteWrite(database.writer, options.clock);
    this.#read = new SqliteRead(database.reader, () => database.version());
    this.#sql = storeStatements(database.writer);
    this.#known = database.reader
      .prepare<[string], string>(
        'SELECT sha256 FROM contents WHERE data IS NULL AND sha256 IN (SELECT value FROM json_each(?))',
      )
      .pluck();
  }

  read<T>(fn: (tx: MetadataRead) => Promise<T>): Promise<T> {
    return this.#database.read(() => fn(this.#read));
  }

  async snapshot<T>(fn: (tx: MetadataRead) => Promise<T>, holder?: string): Promise<T> {
    await this.#turn(holder);
    try {
      const connection = this.#openSnapshot();
      try {
        connection.tx.begin();
        try {
          return await fn(connection.tx);
        } finally {
          connection.tx.commit();
        }
      } finally {
        if (this.#closed || this.#idleSnapshots.length >= IDLE_SNAPSHOTS) connection.db.close();
        else this.#idleSnapshots.push(connection);
      }
    } finally {
      this.#passOn(holder);
    }
  }

  async #turn(holder: string | undefined): Promise<void> {
    if (this.#mayOpen(holder)) this.#count(holder, 1);
    else await new Promise<void>((go) => this.#waiting.push({ holder, go }));
  }

  /** To the first who may have one now. */
  #passOn(from: string | undefined): void {
    this.#count(from, -1);
    const next = this.#waiting.findIndex(({ holder }) => this.#mayOpen(holder));
    const [waiting] = next < 0 ? [] : this.#waiting.splice(next, 1);
    if (waiting === undefined) return;
    this.#count(waiting.holder, 1);
    waiting.go();
  }

  #mayOpen(holder: string | undefined): boolean {
    const max = this.#options.maxSnapshots ?? 16;
    const held = holder === undefined ? 0 : (this.#held.get(holder) ?? 0);
    return this.#openSnapshots < max && held < Math.max(1, max * SHARE_OF_ONE);
  }

  #count(holder: string | undefined, by: 1 | -1): void {
    this.#openSnapshots += by;
    if (holder === undefined) return;
    const held = (this.#held.get(holder) ?? 0) + by;
    if (held === 0) this.#held.delete(holder);
    else this.#held.set(holder, held);
  }

  #openSnapshot(): { readonly db: Database.Database; readonly tx: SqliteRead } {
    if (this.#closed) throw new CloudError('io', 'reading the database: it is closed');
    const idle = this.#idleSnapshots.pop();
    if (idle !== undefined) return idle;
    const db = new Database(this.#database.path, { fileMustExist: true, timeout: 5000 });
    db.pragma('query_only = ON');
    db.pragma('cache_size = -4096');
    return { db, tx: new SqliteRead(db) };
  }

  write<T>(fn: (tx: MetadataWrite) => Promise<T>, mayLapse?: (result: T) => boolean): Promise<T> {
    const run = async () => {
      this.#write.start();
      const result = await fn(this.#write);
      return { result, changes: this.#write.finish() };
    };
    return new Promise((resolve, reject) => {
      const committed = ({ result }: { readonly result: T }) => {
        if (mayLapse?.(result) !== true) return false;
        resolve(result);
        return true;
      };
      const durable = this.#database.write(run, mayLapse === undefined ? undefined : committed);
      const announce = ({ result, changes }: Awaited<typeof durable>) => {
        if (changes.length > 0) for (const listener of this.#listeners) listener(changes);
        resolve(result);
      };
      durable.then(announce).catch(reject);
    });
  }

  isHeldUp(): boolean {
    return this.#database.isHeldUp();
  }

  durable(): Promise<void> {
    return this.#database.durable();
  }

  onCommit(listener: (changes: readonly CommittedChange[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async sweep(now_ms: number): Promise<SweepResult> {
    const expiredLocks = await this.write((tx) => tx.expireLocks(now_ms));
    const upTo = await this.#database.write(() => {
      const young = this.#sql.firstYoungTombstone.get(now_ms - (this.#options.tombstoneAge_ms ?? 60 * DAY_MS));
      const tooOld = young === undefined ? (this.#sql.newestTombstone.get() ?? 0) : young - 1;
      const tooMany = this.#sql.surplusTombstone.get(this.#options.maxTombstones ?? 1_000_000) ?? 0;
      const upTo = Math.max(tooOld, tooMany);
      if (upTo > 0) this.#sql.raiseFloors.run(upTo, upTo, upTo);
      return upTo;
    });
    let prunedTombstones = 0;
    // In pieces, so that no request waits for all of it.
    for (let pruned = upTo > 0 ? PRUNED_AT_ONCE : 0; pruned === PRUNED_AT_ONCE; ) {
      pruned = await this.#database.write(() => this.#sql.prune.run(upTo, PRUNED_AT_ONCE).changes);
      prunedTombstones += pruned;
    }
    return { expiredLocks, prunedTombstones };
  }

  async unusedContents(before_ms: number, limit: number): Promise<readonly UnusedContent[]> {
    return this.#sql.unused.all(before_ms, limit).map(([sha256, size_bytes]) => ({ sha256, size_bytes }));
  }

  forgetContents(sha256: readonly string[]): Promise<readonly string[]> {
    return this.#database.write(() => this.#sql.forget.all(JSON.stringify(sha256)));
  }

  async knownContents(sha256: readonly string[]): Promise<ReadonlySet<string>> {
    return new Set(this.#known.all(JSON.stringify(sha256)));
  }

  async newEpoch(): Promise<void> {
    await this.#database.write(() => {
      const now_ms = this.#options.clock.now_ms();
      this.#sql.newEpoch.run(EPOCH_GAP, now_ms * CHANGES_PER_MS);
      const now_s = Math.floor(now_ms / 1000);
      this.#sql.firstShareNumbers.run(now_s);
      this.#sql.newShareNumbers.run(SHARES_GAP, now_s);
    });
    this.#read.reloadEpoch();
    this.#write.reloadEpoch();
    for (const { tx } of this.#idleSnapshots) tx.reloadEpoch();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const { db } of this.#idleSnapshots.splice(0)) db.close();
  }
}
