// Who did what with which file, when, and with which program. Written behind the request (an entry that a crash loses is
// no lost file), read by the owner of the file, by who did it, and for one file by whoever may read that. Bounded in
// number and age.

import type { Statement } from 'better-sqlite3';
import type { Clock } from '../../clock.js';
import type { Log } from '../../log.js';
import type { NodeId } from '../storage/metadata/metadata_store.js';
import type { SchemaModule, SqliteDatabase } from '../storage/metadata/sqlite/database.js';

export const ACTIVITY_SCHEMA: SchemaModule = {
  name: 'activity',
  migrations: [
    `
    CREATE TABLE activity (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      at_ms INTEGER NOT NULL,
      kind TEXT NOT NULL,
      actor TEXT NOT NULL,
      owner TEXT NOT NULL,
      affected TEXT,                  -- the recipient of a share
      file_id INTEGER NOT NULL,
      path TEXT NOT NULL,             -- as the actor saw it
      from_path TEXT,
      client TEXT
    ) STRICT;
    CREATE INDEX activity_by_actor ON activity (actor, id);
    CREATE INDEX activity_by_owner ON activity (owner, id);
    CREATE INDEX activity_by_affected ON activity (affected, id) WHERE affected IS NOT NULL;
    CREATE INDEX activity_by_file ON activity (file_id, id);
    `,
    // `group:crew` or `link:LABEL`, when no single user is the recipient.
    `
    ALTER TABLE activity ADD COLUMN target TEXT;
    `,
  ],
};

export interface NewActivity {
  readonly kind: string;
  /** User id, or `link:ID` for visitors of a public link. */
  readonly actor: string;
  /** Root of the tree the file is in. */
  readonly ownerRootId: NodeId;
  /** User id of a share's recipient. */
  readonly affected?: string;
  /** `group:NAME` a share is with, or `link:LABEL` of the link that is made or used (the label may be ''). */
  readonly target?: string;
  readonly fileId: NodeId;
  readonly path: readonly string[];
  readonly from?: readonly string[];
  readonly client?: string;
}

export interface ActivityRecord {
  readonly id: number;
  readonly at_ms: number;
  readonly kind: string;
  readonly actor: string;
  readonly owner: string;
  readonly affected: string | null;
  readonly target: string | null;
  readonly fileId: NodeId;
  readonly path: string;
  readonly fromPath: string | null;
  readonly client: string | null;
}

export interface ActivityQuery {
  /** Only of this file; the caller has made sure that it may be read. */
  readonly fileId?: NodeId;
  /** Of what concerns this user: theirs, on their files, given to them. */
  readonly userId: string;
  /** When the account was made: what concerned an earlier user of that name is not theirs. */
  readonly since_ms: number;
  /** Older than this entry; null = from the newest on. */
  readonly before: number | null;
  readonly limit: number;
}

interface Row {
  readonly id: number;
  readonly at_ms: number;
  readonly kind: string;
  readonly actor: string;
  readonly owner: string;
  readonly affected: string | null;
  readonly target: string | null;
  readonly file_id: number;
  readonly path: string;
  readonly from_path: string | null;
  readonly client: string | null;
}

const MAX_ROWS = 200_000;
const MAX_AGE_MS = 180 * 86_400_000;
const PRUNE_EVERY = 500;
const CLIENT_CHARS = 200;

/** The newest few of each kind suffice: with one condition for all three SQLite would sort everything a user ever did. */
const newestIds = (column: string) =>
  `SELECT id FROM (SELECT id FROM activity WHERE ${column} = $userId AND id < $before AND at_ms >= $since_ms
   ORDER BY id DESC LIMIT +$limit)`;
const OF_USER = `SELECT * FROM activity WHERE id IN (
  ${['actor', 'owner', 'affected'].map(newestIds).join(' UNION ')}) ORDER BY id DESC LIMIT +$limit`;

interface OfUser {
  readonly userId: string;
  readonly since_ms: number;
  readonly before: number;
  readonly limit: number;
}

export class Activity {
  readonly #database: SqliteDatabase;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #maxRows: number;
  readonly #insert: Statement<unknown[]>;
  #pending: NewActivity[] = [];
  #flushing: Promise<void> = Promise.resolve();
  #sincePrune = PRUNE_EVERY;

  /** `database` was opened with `ACTIVITY_SCHEMA` and the metadata's. */
  constructor(database: SqliteDatabase, clock: Clock, log: Log, options: { readonly maxRows?: number } = {}) {
    this.#database = database;
    this.#clock = clock;
    this.#log = log;
    this.#maxRows = options.maxRows ?? MAX_ROWS;
    this.#insert = database.writer.prepare(
      `INSERT INTO activity (at_ms, kind, actor, owner, affected, target, file_id, path, from_path, client)
       VALUES (?, ?, ?, coalesce((SELECT user_id FROM roots WHERE node_id = ?), ''), ?, ?, ?, ?, ?, ?)`,
    );
  }

  note(entry: NewActivity): void {
    this.#pending.push(entry);
    if (this.#pending.length === 1) this.#flushing = this.#flush();
  }

  /** Resolves when what was noted so far can be read. */
  async settled(): Promise<void> {
    this.#database.hurry();
    await this.#flushing;
  }

  /** Newest first. */
  list(query: ActivityQuery): readonly ActivityRecord[] {
    const before = query.before ?? Number.MAX_SAFE_INTEGER;
    const { reader } = this.#database;
    const rows =
      query.fileId !== undefined
        ? reader
            .prepare<[number, number, number], Row>(
              'SELECT * FROM activity WHERE file_id = ? AND id < ? ORDER BY id DESC LIMIT +?',
            )
            .all(query.fileId, before, query.limit)
        : reader
            .prepare<[OfUser], Row>(OF_USER)
            .all({ userId: query.userId, since_ms: query.since_ms, before, limit: query.limit });
    return rows.map((row) => ({
      id: row.id,
      at_ms: row.at_ms,
      kind: row.kind,
      actor: row.actor,
      owner: row.owner,
      affected: row.affected,
      target: row.target,
      fileId: row.file_id as NodeId,
      path: row.path,
      fromPath: row.from_path,
      client: row.client,
    }));
  }

  async #flush(): Promise<void> {
    try {
      // In a sync of its own each round of uploads would wait for the disk twice.
      await this.#database.writeSoon(() => {
        const entries = this.#pending;
        this.#pending = [];
        const now_ms = this.#clock.now_ms();
        for (const entry of entries) this.#write(entry, now_ms);
        this.#sincePrune += entries.length;
        if (this.#sincePrune < PRUNE_EVERY) return;
        this.#sincePrune = 0;
        this.#prune(now_ms);
      });
    } catch (error) {
      this.#pending = [];
      this.#log.warn({ err: error }, 'noting what was done failed');
    }
  }

  /** Ids are handed out in order and only the oldest go: what is too much is a range of them, and what is too old is
   * looked for among the oldest alone. Nothing here reads the whole table. */
  #prune(now_ms: number): void {
    const { writer } = this.#database;
    writer.prepare('DELETE FROM activity WHERE id <= (SELECT max(id) FROM activity) - ?').run(this.#maxRows);
    writer
      .prepare('DELETE FROM activity WHERE id <= (SELECT min(id) FROM activity) + ? AND at_ms < ?')
      .run(2 * PRUNE_EVERY, now_ms - MAX_AGE_MS);
  }

  #write(entry: NewActivity, now_ms: number): void {
    this.#insert.run(
      now_ms,
      entry.kind,
      entry.actor,
      entry.ownerRootId,
      entry.affected ?? null,
      entry.target?.toWellFormed() ?? null,
      entry.fileId,
      entry.path.join('/').toWellFormed(),
      entry.from?.join('/').toWellFormed() ?? null,
      entry.client?.slice(0, CLIENT_CHARS).toWellFormed() ?? null,
    );
  }
}
