// The one SQLite file of the server: opening, pragmas, migrations and durable group commit.
//
// Two connections: `writer` for everything inside `write`, `reader` (query_only) for everything else, so that a read
// never sees a half-done transaction. Write jobs queued in the same turn of the event loop run in one BEGIN..COMMIT,
// each in a savepoint of its own (one failing does not touch the others). The commit goes to the WAL without a sync
// (synchronous=NORMAL keeps the file consistent); then the WAL is fdatasync'ed on the thread pool, and only then do the
// jobs' promises resolve. One sync serves all groups committed before it started. So an answer to a client means "on
// disk", and the event loop never waits for the disk. What nobody waits for (`writeSoon`) is gathered, and written
// a few times a second.

import { closeSync, fdatasync, fstatSync, fsyncSync, openSync, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { CloudError, isCloudError, toCloudError } from '../../../../errors.js';
import { Checkpointer } from './checkpointer.js';

/** A part of the schema with its own version line. `migrations[i]` brings the part from version i to i + 1. Released
 * entries are never edited, only new ones appended. */
export interface SchemaModule {
  readonly name: string;
  readonly migrations: readonly string[];
}

export type Connection = Database.Database;

interface Job {
  run(): unknown;
  /** Returns whether nobody waits for the disk any more. */
  committed?(value: unknown): boolean;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

interface Settled {
  readonly job: Job;
  readonly value: unknown;
  isAwaited: boolean;
}

const BUSY_TIMEOUT_MS = 5000;
/** How long a group of writes waits for another process's transaction (a command that removes a user with all files), and
 * how much of that at a time on the event loop, where everybody waits with it. */
const HELD_TIMEOUT_MS = 30_000;
const HELD_BLOCKING_MS = 10;
const HELD_AGAIN_MS = 20;
const PAGE_SIZE = 8192;
/** What is kept of the WAL's file when it begins anew. */
const WAL_BYTES = 64 << 20;
const HELD_UP_BYTES = 4 * WAL_BYTES;
/** Jobs in one group; bounds how long the loop is held. */
const GROUP_MAX = 256;
/** How long `writeSoon` gathers. */
const LATER_MS = 100;
/** How long what nobody waits for may be off the disk: a sync each would take the processor from those who ask. */
const UNAWAITED_MS = 5;
/** How long reads share a view. What this process writes ends it at once; another process's changes are seen so much later. */
const VIEW_MS = 2;

export class SqliteDatabase {
  readonly writer: Connection;
  readonly reader: Connection;
  readonly path: string;
  readonly #sql: {
    readonly [name in 'begin' | 'savepoint' | 'release' | 'rollbackTo' | 'commit']: Database.Statement<[]>;
  };
  readonly #readSql: {
    readonly begin: Database.Statement<[]>;
    readonly version: Database.Statement<[], number>;
    readonly commit: Database.Statement<[]>;
  };
  readonly #checkpointer: Checkpointer;
  readonly #endReadLater = () => this.#endRead();
  #isReading = false;
  #viewTimer: NodeJS.Timeout | undefined;
  #version = 0;
  readonly #onFull: () => void;
  /** Which file is used, whatever is at its path by now. */
  readonly #fileIno: number;
  #walFd: number;
  #queue: Job[] = [];
  /** Jobs that are in no hurry. */
  #later: Job[] = [];
  #laterTimer: NodeJS.Timeout | null = null;
  #scheduled = false;
  #draining = false;
  /** Since when another process holds the database. */
  #heldSince_ms: number | null = null;
  #unsynced: Settled[] = [];
  #syncing = false;
  #syncTimer: NodeJS.Timeout | null = null;
  #idle: (() => void)[] = [];
  #failed: CloudError | null = null;
  #closed = false;

  private constructor(path: string, writer: Connection, reader: Connection, walFd: number, onFull: () => void) {
    this.path = path;
    this.#onFull = onFull;
    this.writer = writer;
    this.reader = reader;
    this.#fileIno = statSync(path).ino;
    this.#walFd = walFd;
    this.#sql = {
      begin: writer.prepare('BEGIN IMMEDIATE'),
      savepoint: writer.prepare('SAVEPOINT job'),
      release: writer.prepare('RELEASE job'),
      rollbackTo: writer.prepare('ROLLBACK TO job'),
      commit: writer.prepare('COMMIT'),
    };
    this.#checkpointer = new Checkpointer(path, writer);
    this.#readSql = {
      begin: reader.prepare('BEGIN'),
      version: reader.prepare<[], number>('PRAGMA data_version').pluck(),
      commit: reader.prepare('COMMIT'),
    };
  }

  /** Opens or creates the file and brings every module's schema up to date. Throws `unsupported` if the file was
   * written by a newer version, `no_space` on a full disk. `onFull`: a group of writes has just been refused because the
   * disk is full. */
  static open(path: string, modules: readonly SchemaModule[], onFull: () => void = () => undefined): SqliteDatabase {
    const opened: (() => void)[] = [];
    try {
      const writer = new Database(path, { timeout: BUSY_TIMEOUT_MS });
      opened.unshift(() => writer.close());
      writer.pragma(`page_size = ${PAGE_SIZE}`);
      writer.pragma('journal_mode = WAL');
      writer.pragma('synchronous = NORMAL');
      writer.pragma('foreign_keys = ON');
      writer.pragma('temp_store = MEMORY');
      writer.pragma('cache_size = -32768');
      writer.pragma(`journal_size_limit = ${WAL_BYTES}`);
      migrate(writer, modules);
      writer.pragma(`busy_timeout = ${HELD_BLOCKING_MS}`);
      const reader = new Database(path, { timeout: BUSY_TIMEOUT_MS, fileMustExist: true });
      opened.unshift(() => reader.close());
      reader.pragma('query_only = ON');
      reader.pragma('temp_store = MEMORY');
      reader.pragma('cache_size = -32768');
      const walFd = openSync(`${path}-wal`, 'r');
      opened.unshift(() => closeSync(walFd));
      const database = new SqliteDatabase(path, writer, reader, walFd, onFull);
      // The names of the file and its WAL must be on disk before anything in them counts as durable.
      const dirFd = openSync(dirname(path), 'r');
      fsyncSync(dirFd);
      closeSync(dirFd);
      return database;
    } catch (error) {
      for (const close of opened) close();
      throw isFullDisk(error, path) ? fullDisk(error) : cannotOpen(error, path);
    }
  }

  /** Runs `fn` in a write transaction of its own (statements prepared on `writer`); resolves with its result once that
   * is durable. `fn` may await only what resolves without leaving the microtask queue (its own synchronous statements);
   * awaiting I/O inside fails the job. A throw rolls back this job alone. `committed` is called as soon as everybody sees
   * the change and a crash of the process does not undo it, while a power cut still may; it returns whether that is
   * enough: then the disk has it some milliseconds later. */
  write<T>(fn: () => T | Promise<T>, committed?: (value: T) => boolean): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#refuses(reject)) return;
      this.#queue.push({
        run: fn,
        ...(committed === undefined ? {} : { committed: committed as (value: unknown) => boolean }),
        resolve: resolve as (value: unknown) => void,
        reject,
      });
      this.#schedule();
    });
  }

  /** As `write`, for what nobody waits for: runs after `LATER_MS`. So many small entries touch each page once. */
  writeSoon<T>(fn: () => T | Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#refuses(reject)) return;
      this.#later.push({ run: fn, resolve: resolve as (value: unknown) => void, reject });
      this.#laterTimer ??= setTimeout(() => this.hurry(), LATER_MS);
    });
  }

  /** What `writeSoon` was given is written now. */
  hurry(): void {
    if (this.#laterTimer !== null) clearTimeout(this.#laterTimer);
    this.#laterTimer = null;
    if (this.#later.length === 0) return;
    this.#queue.push(...this.#later.splice(0));
    this.#schedule();
  }

  #refuses(reject: (error: unknown) => void): boolean {
    if (!this.#closed && this.#failed === null) return false;
    reject(this.#failed ?? new CloudError('io', 'writing to the database: it is closed'));
    return true;
  }

  /** Runs `fn`, which reads through `reader`, in a transaction shared with all others of the next `VIEW_MS`: a consistent
   * view, and one locking of the WAL for many requests. `fn` may await as in `write`. The transaction ends before the next
   * group of writes begins and before any write resolves: whoever was told of a write sees it. */
  read<T>(fn: () => Promise<T>): Promise<T> {
    try {
      this.#beginRead();
      return fn();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Of what `read` sees now: another number when anybody, also another process, has committed something since. What was
   * made of rows may be kept as long as it stays the same. */
  version(): number {
    this.#beginRead();
    return this.#version;
  }

  #beginRead(): void {
    if (this.#isReading) return;
    if (this.#closed) throw new CloudError('io', 'reading the database: it is closed');
    this.#readSql.begin.run();
    this.#isReading = true;
    // The first statement: from here on the view stands still.
    this.#version = this.#readSql.version.get() ?? 0;
    this.#viewTimer = setTimeout(this.#endReadLater, VIEW_MS);
  }

  #endRead(): void {
    if (!this.#isReading) return;
    clearTimeout(this.#viewTimer);
    this.#isReading = false;
    this.#readSql.commit.run();
  }

  /** The WAL is far longer than it gets while nobody holds an old view of the database. */
  isHeldUp(): boolean {
    return this.#walFd >= 0 && fstatSync(this.#walFd).size > HELD_UP_BYTES;
  }

  /** Resolves when everything committed so far is on disk (what `reader` can see included). */
  durable(): Promise<void> {
    if (this.#failed !== null) return Promise.reject(this.#failed);
    if (this.#unsynced.length === 0 && !this.#syncing) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const job = { run: () => undefined, resolve: () => resolve(), reject };
      this.#unsynced.push({ job, value: undefined, isAwaited: true });
      this.#sync();
    });
  }

  /** Finishes what is queued, then closes. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.hurry();
    this.#closed = true;
    if (this.#queue.length > 0 || this.#draining || this.#syncing || this.#unsynced.length > 0) {
      await new Promise<void>((resolve) => this.#idle.push(resolve));
    }
    await this.#checkpointer.close();
    closeSync(this.#walFd);
    this.#walFd = -1;
    this.#endRead();
    this.reader.close();
    this.writer.close();
  }

  #schedule(): void {
    if (this.#scheduled || this.#draining) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      void this.#drain();
    });
  }

  #scheduleLater(): void {
    this.#scheduled = true;
    setTimeout(() => {
      this.#scheduled = false;
      void this.#drain();
    }, HELD_AGAIN_MS);
  }

  /** A file that was removed or replaced (with its folder, or its disk unmounted) takes everything as before, for nobody to
   * find. Put back it is as good as it was. */
  #requireInPlace(): void {
    let cause: unknown;
    try {
      if (statSync(this.path).ino === this.#fileIno) return;
    } catch (error) {
      cause = error;
    }
    throw new CloudError(
      'busy_server',
      'writing to the database: its file was removed or replaced while the server uses it; nothing is stored until it is back, or the server started anew',
      { cause },
    );
  }

  /** False: another process holds the database, come back. */
  #begin(): boolean {
    try {
      this.#sql.begin.run();
      this.#heldSince_ms = null;
      return true;
    } catch (error) {
      const now_ms = performance.now();
      this.#heldSince_ms ??= now_ms;
      const { code } = error as { readonly code?: string };
      if (code === 'SQLITE_BUSY' && now_ms - this.#heldSince_ms < HELD_TIMEOUT_MS) return false;
      this.#heldSince_ms = null;
      throw error;
    }
  }

  /** Runs one group. Never rejects. */
  async #drain(): Promise<void> {
    this.#draining = true;
    const sql = this.#sql;
    this.#endRead();
    const group = this.#queue.splice(0, GROUP_MAX);
    const done: Settled[] = [];
    let committed: readonly Settled[] = [];
    const failed: { readonly job: Job; readonly error: unknown }[] = [];
    try {
      this.#requireInPlace();
      if (!this.#begin()) {
        this.#draining = false;
        this.#queue.unshift(...group);
        this.#scheduleLater();
        return;
      }
      const guard = new TurnGuard();
      for (const job of group) {
        sql.savepoint.run();
        try {
          let value = job.run();
          if (value instanceof Promise) value = await guard.within(value);
          sql.release.run();
          done.push({ job, value, isAwaited: true });
        } catch (error) {
          failed.push({ job, error });
          // Disk full and I/O errors roll the whole transaction back by themselves.
          if (!this.writer.inTransaction) throw error;
          sql.rollbackTo.run();
          sql.release.run();
        }
      }
      guard.end();
      sql.commit.run();
      this.#checkpointer.committed(done.length);
      this.#unsynced.push(...done);
      committed = done;
    } catch (error) {
      if (this.writer.inTransaction) this.writer.exec('ROLLBACK');
      const mapped = sqliteError(error);
      if (isCloudError(mapped, 'no_space')) this.#onFull();
      const settled = new Set(failed.map((f) => f.job));
      for (const job of group) if (!settled.has(job)) failed.push({ job, error: mapped });
    }
    this.#draining = false;
    this.#endRead();
    if (this.#failed === null) {
      for (const settled of committed) settled.isAwaited = settled.job.committed?.(settled.value) !== true;
    }
    for (const { job, error } of failed) job.reject(sqliteError(error));
    if (this.#queue.length > 0) this.#schedule();
    this.#syncWhenDue();
  }

  #syncWhenDue(): void {
    if (this.#failed !== null) for (const { job } of this.#unsynced.splice(0)) job.reject(this.#failed);
    if (this.#unsynced.length === 0) this.#checkIdle();
    else if (this.#unsynced.some(({ isAwaited }) => isAwaited)) this.#sync();
    else this.#syncTimer ??= setTimeout(() => this.#sync(), UNAWAITED_MS);
  }

  #sync(): void {
    if (this.#syncTimer !== null) clearTimeout(this.#syncTimer);
    this.#syncTimer = null;
    if (this.#syncing) return;
    this.#syncing = true;
    const batch = this.#unsynced;
    this.#unsynced = [];
    fdatasync(this.#walFd, (error) => {
      this.#syncing = false;
      this.#endRead();
      if (error === null) {
        for (const { job, value } of batch) job.resolve(value);
      } else {
        // After a failed sync nobody knows what the disk holds (the next one would succeed: the kernel tells once of what
        // it lost). Refuse all that waits, and further writes, until a restart.
        this.#failed = toCloudError(error, 'making the database durable');
        for (const { job } of batch) job.reject(this.#failed);
        for (const job of [...this.#queue.splice(0), ...this.#later.splice(0)]) job.reject(this.#failed);
      }
      this.#syncWhenDue();
    });
  }

  #checkIdle(): void {
    if (this.#queue.length > 0 || this.#draining || this.#syncing || this.#unsynced.length > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}

/** Fails a job that is still pending when the event loop has moved on: it awaited something that is no statement of
 * its transaction, and would hold every other writer. */
class TurnGuard {
  #fail: ((error: unknown) => void) | null = null;
  #immediate: NodeJS.Immediate | null = null;

  within(promise: Promise<unknown>): Promise<unknown> {
    this.#immediate ??= setImmediate(() => {
      this.#immediate = null;
      this.#fail?.(new Error('a write transaction awaited something other than its own statements'));
    });
    return new Promise((resolve, reject) => {
      this.#fail = reject;
      promise.then(resolve, reject);
    });
  }

  end(): void {
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#fail = null;
  }
}

function migrate(db: Connection, modules: readonly SchemaModule[]): void {
  db.exec(
    'CREATE TABLE IF NOT EXISTS schema_versions (module TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID',
  );
  const getVersion = db.prepare<[string], { version: number }>('SELECT version FROM schema_versions WHERE module = ?');
  const setVersion = db.prepare('INSERT OR REPLACE INTO schema_versions (module, version) VALUES (?, ?)');
  for (const { name, migrations } of modules) {
    const bringUp = db.transaction(() => {
      const found = getVersion.get(name)?.version ?? 0;
      if (found > migrations.length) {
        throw new CloudError(
          'unsupported',
          `opening the database: its "${name}" tables have version ${found}, this program knows up to ${migrations.length}; use the newer program`,
        );
      }
      for (const sql of migrations.slice(found)) db.exec(sql);
      if (found < migrations.length) setVersion.run(name, migrations.length);
    });
    bringUp.immediate();
  }
}

/** Less than what opening takes. */
const TIGHT_BYTES = 1 << 18;

/** When it is opened, SQLite calls a full disk an I/O error. */
export function isFullDisk(error: unknown, path: string): boolean {
  if (!(error instanceof Database.SqliteError) || !/^SQLITE_(IOERR|FULL|CANTOPEN)/.test(error.code)) return false;
  const { bavail, bsize } = statfsSync(dirname(path));
  return bavail * bsize < TIGHT_BYTES;
}

export function fullDisk(cause: unknown): CloudError {
  return new CloudError('no_space', 'writing to the database: no space left on its disk', { cause });
}

/** What is wrong with a file that SQLite does not open, in words for whoever runs the server. */
function cannotOpen(error: unknown, path: string): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  const found = `found: ${error.message} (${error.code})`;
  if (/^SQLITE_(NOTADB|CORRUPT)/.test(error.code)) {
    return new CloudError(
      'corrupt',
      `opening the database ${path}: a whole SQLite database is required, ${found}. It is left as it is; "cloudmount restore" brings a backup back`,
      { cause: error },
    );
  }
  if (/^SQLITE_(CANTOPEN|READONLY|PERM)/.test(error.code)) {
    return new CloudError(
      'no_access',
      `opening the database ${path}: a file is required that this user can read and write, in a folder where they can make others, ${found}`,
      { cause: error },
    );
  }
  return sqliteError(error);
}

/** SQLite's own failures as domain errors; anything else as it is. */
export function sqliteError(error: unknown): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  const { code } = error;
  if (code.startsWith('SQLITE_FULL')) return fullDisk(error);
  if (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED')) {
    return new CloudError('busy', 'writing to the database: another process holds it', { cause: error });
  }
  if (code.startsWith('SQLITE_IOERR') && /ENOSPC|disk is full/i.test(error.message)) return fullDisk(error);
  return new CloudError('io', `using the database: ${code}: ${error.message}`, { cause: error });
}
