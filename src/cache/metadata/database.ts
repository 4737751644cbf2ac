// The cache's SQLite file: opened, checked, made durable.
//
// WAL with synchronous=NORMAL: a commit is a few microseconds of page-cache work on the event loop. What must survive a
// power cut is made so by `durable()`, an fdatasync of the WAL on the thread pool that all who wait at the same time
// share. A frame that was torn by the cut fails its checksum and ends recovery there, so the file is always a prefix of
// the commits that were made.
//
// PATH.clean is written when the file was closed in good order and says how it looked then; it is gone while the file is
// in use. As long as it fits nothing is checked at the start. PATH.suspect is left by whoever met damage on the way.

import { close, fdatasync, open, statSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import Sqlite from 'better-sqlite3';
import { CloudError, type ErrorCode, toCloudError } from '../../errors.js';
import type { Log } from '../../log.js';
import { bootId } from '../boot_id.js';
import { crashPoint } from '../crash_points.js';
import { quickCheck } from './quick_check.js';
import { SCHEMA, SCHEMA_VERSION } from './schema.js';

const openFile = promisify(open);
const closeFile = promisify(close);
const syncFile = promisify(fdatasync);

/** Up to this size the file is checked before it is used; a larger one meanwhile, on a thread (4 ms per megabyte). */
const CHECK_FIRST_BYTES = 64 * 1024 * 1024;

/** Changes here are small and each is a commit of its own: what a commit writes and sums up is whole pages. */
const PAGE_BYTES = 1024;
const CHECKPOINT_BYTES = 16 * 1024 * 1024;
const TIGHT_CHECKPOINT_BYTES = 256 * 1024;

/** How long a statement waits for somebody else's locks. */
const BUSY_MS = 5_000;

/** How the last process that used the file ended. A killed process loses nothing that was written; a power cut takes
 * what was not synced. */
export type PreviousEnd = 'none' | 'clean' | 'killed' | 'power_cut';

/** The disk the file is on. */
export interface DatabaseDisk {
  /** Is there hardly room? Asked before each commit. */
  isTight(): boolean;
  /** There was none for a commit. */
  isFull(): void;
}

export class Database {
  readonly sql: Sqlite.Database;
  readonly previousEnd: PreviousEnd;
  readonly #path: string;
  readonly #log: Log;
  readonly #disk: DatabaseDisk | null;
  readonly #closing = new AbortController();
  #walFd: number | null = null;
  #running: Promise<void> | null = null;
  #next: Promise<void> | null = null;
  #checking: Promise<unknown> = Promise.resolve();
  #sharing = 0;
  #depth = 0;
  /** Which file is used, whatever is at its path by now. */
  readonly #fileIno: number;
  readonly #begin: Sqlite.Statement;
  readonly #commit: Sqlite.Statement;
  #damage: string | null = null;
  #tight = false;
  /** A sync failed. The kernel tells once of what it could not write: the next sync would succeed without it. */
  #unwritten = false;

  private constructor(
    sql: Sqlite.Database,
    path: string,
    previousEnd: PreviousEnd,
    log: Log,
    disk: DatabaseDisk | null,
  ) {
    this.sql = sql;
    this.#begin = sql.prepare('BEGIN IMMEDIATE');
    this.#commit = sql.prepare('COMMIT');
    this.#path = path;
    this.#fileIno = statSync(path).ino;
    this.previousEnd = previousEnd;
    this.#log = log;
    this.#disk = disk;
  }

  /** Opens or creates. Throws `corrupt` when SQLite finds the file damaged; the file is left as it is. */
  static async open(path: string, log: Log, disk: DatabaseDisk | null = null): Promise<Database> {
    const endedWell = await takeCleanMark(path);
    const suspect = await exists(`${path}.suspect`);
    const size_bytes = await fs.stat(path).then(
      (stat) => stat.size,
      () => 0,
    );
    let sql: Sqlite.Database | null = null;
    try {
      sql = new Sqlite(path, { timeout: BUSY_MS });
      sql.pragma(`page_size = ${PAGE_BYTES}`); // of a new file
      sql.pragma('journal_mode = WAL');
      sql.pragma('synchronous = NORMAL');
      sql.pragma('foreign_keys = OFF');
      sql.pragma('temp_store = MEMORY');
      sql.pragma('cache_size = -16000');
      sql.pragma(`wal_autocheckpoint = ${pagesOf(sql, CHECKPOINT_BYTES)}`);
      const version = Number(sql.pragma('user_version', { simple: true }));
      if (version > SCHEMA_VERSION) {
        throw new CloudError(
          'invalid',
          `opening the cache database: it has format ${version}, this program knows formats up to ${SCHEMA_VERSION}; use the newer program that wrote it`,
        );
      }
      const checkFirst = suspect || (!endedWell && size_bytes <= CHECK_FIRST_BYTES);
      if (checkFirst && version > 0) {
        const state = sql.pragma('quick_check(1)', { simple: true });
        if (state !== 'ok') throw Object.assign(new Error(String(state)), { code: 'SQLITE_CORRUPT' });
      }
      if (suspect) await fs.rm(`${path}.suspect`, { force: true });
      if (version === 0) {
        sql.exec('BEGIN');
        sql.exec(SCHEMA);
        sql.pragma(`user_version = ${SCHEMA_VERSION}`);
        sql.exec('COMMIT');
      }
      const previousEnd = version === 0 ? 'none' : endedWell ? 'clean' : sameBoot(sql) ? 'killed' : 'power_cut';
      const db = new Database(sql, path, previousEnd, log, disk);
      db.#keepLocks();
      await syncFolders(path);
      if (!endedWell && !checkFirst && version > 0) db.#checkMeanwhile();
      return db;
    } catch (error) {
      sql?.close();
      throw databaseError(error, `opening the cache database ${path}`);
    }
  }

  /** Everything is as it should be after `previousEnd`: from now on it counts how this run ends. A start that does not get
   * so far leaves it to the next one to mend that. */
  beginRun(): void {
    this.run('noting the start', () =>
      this.sql.prepare("INSERT OR REPLACE INTO setting VALUES ('boot', ?)").run(bootId()),
    );
  }

  /** What SQLite met on the way; null = nothing. */
  get damage(): string | null {
    return this.#damage;
  }

  /** Runs `work` in one transaction; nested calls join the outer one. Rolls back when it throws. Never awaits. */
  transaction<T>(work: () => T): T {
    if (this.#depth > 0) return work();
    this.#setTight(this.#disk?.isTight() ?? false);
    this.#depth = 1;
    try {
      this.#begin.run();
      const result = work();
      crashPoint('journal.before_commit');
      this.#commit.run();
      crashPoint('journal.after_commit');
      return result;
    } catch (error) {
      if (this.sql.inTransaction) this.sql.exec('ROLLBACK');
      const known = this.#noted(error, `writing the cache database ${this.#path}`);
      if (known.code === 'no_space') this.#beginJournalAnew();
      throw known;
    } finally {
      this.#depth = 0;
    }
  }

  /** One statement; SQLite's errors as ours. */
  run<T>(doing: string, statement: () => T): T {
    try {
      return statement();
    } catch (error) {
      throw this.#noted(error, doing);
    }
  }

  /** Resolves when everything committed before the call is on the disk. */
  durable(): Promise<void> {
    if (this.#running === null) return this.#start();
    // The running sync may have begun before our commit: wait for the one after it, together with everybody else.
    this.#next ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#next = null;
        return this.#start();
      });
    return this.#next;
  }

  /** Will the next start find this file? False: it was removed or replaced since it was opened, as a rule with its folder. */
  get isInPlace(): boolean {
    try {
      return statSync(this.#path).ino === this.#fileIno;
    } catch {
      return false;
    }
  }

  /** For who must not be told that something is on the disk when it is where nobody will look. */
  requireInPlace(): void {
    if (this.isInPlace) return;
    throw new CloudError('io', `${this.#displaced}: nothing is kept there`);
  }

  get #displaced(): string {
    return `${this.#path} was removed or replaced while the drive uses it`;
  }

  /** Checks the whole file on a thread of its own; null = sound. */
  async check(): Promise<string | null> {
    if (!this.isInPlace) return this.#displaced; // no damage: it may be put back
    this.#sharing += 1;
    try {
      if (this.#sharing === 1) this.#giveLocksBack();
      const found = await quickCheck(this.#path, this.#closing.signal);
      if (found !== null) this.#noteDamage(found);
      return this.#damage;
    } finally {
      this.#sharing -= 1;
      if (this.#sharing === 0 && this.sql.open) this.#keepLocks();
    }
  }

  /** Nobody else uses the file (the cache folder has a lock of its own): then a commit need not ask for locks. Somebody who
   * only looks into it all the same must not stop the drive: then it goes on with asking. */
  #keepLocks(): void {
    this.sql.pragma('locking_mode = EXCLUSIVE');
    this.sql.pragma('busy_timeout = 0');
    try {
      this.#begin.run(); // takes the locks, which stay
      this.#commit.run();
    } catch (error) {
      if (!String((error as { code?: unknown }).code ?? '').startsWith('SQLITE_BUSY')) throw error;
      this.#log.warn({ path: this.#path }, 'another program has the cache database open');
      this.#giveLocksBack();
    } finally {
      this.sql.pragma(`busy_timeout = ${BUSY_MS}`);
    }
  }

  /** A thread of ours that reads the file needs them for that time. */
  #giveLocksBack(): void {
    this.sql.pragma('locking_mode = NORMAL');
    this.sql.prepare('SELECT 1 FROM setting LIMIT 1').get(); // takes effect with the next use
  }

  /** `inGoodOrder`: everything that belongs to the file is as it says, the next start need not look. */
  async close(inGoodOrder: boolean): Promise<void> {
    this.#closing.abort();
    await this.#checking;
    await this.#running?.catch(() => undefined);
    if (this.#walFd !== null) await closeFile(this.#walFd);
    this.#walFd = null;
    let folded = false;
    try {
      folded = this.#fold();
    } catch (error) {
      this.#log.warn({ err: error }, 'the cache journal could not be folded into its database; the next start will');
    }
    this.sql.close();
    if (!inGoodOrder || !folded || this.#damage !== null || !this.isInPlace) return;
    try {
      await fs.writeFile(`${this.#path}.clean`, fingerprint(this.#path), { mode: 0o600 });
    } catch (error) {
      this.#log.warn({ err: error }, 'the next start will check the cache database');
    }
  }

  #start(): Promise<void> {
    const run = this.#sync().finally(() => {
      if (this.#running === run) this.#running = null;
    });
    this.#running = run;
    return run;
  }

  async #sync(): Promise<void> {
    try {
      this.#walFd ??= await openFile(`${this.#path}-wal`, 'r');
      if (this.#unwritten && !this.#fold()) {
        throw new CloudError('io', 'its pages were not written, and cannot be written anew now');
      }
      await syncFile(this.#walFd);
      this.#unwritten = false;
    } catch (error) {
      this.#unwritten = true;
      throw toCloudError(error, 'making the cache journal durable');
    }
  }

  /** What the journal has goes into the file itself, which SQLite syncs, and the journal begins anew. False: not all of it,
   * somebody reads. */
  #fold(): boolean {
    const [row] = this.sql.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[];
    return row?.busy === 0;
  }

  /** On a full disk the journal is begun anew often, in the room that it has: what is in it goes into the file, most of
   * which needs no more. */
  #setTight(tight: boolean): void {
    if (tight === this.#tight) return;
    this.#tight = tight;
    this.sql.pragma(`wal_autocheckpoint = ${pagesOf(this.sql, tight ? TIGHT_CHECKPOINT_BYTES : CHECKPOINT_BYTES)}`);
    if (tight) this.#beginJournalAnew();
  }

  #beginJournalAnew(): void {
    try {
      this.sql.pragma('wal_checkpoint(PASSIVE)');
    } catch (error) {
      this.#log.debug({ err: error }, 'the cache journal could not be begun anew');
    }
  }

  #checkMeanwhile(): void {
    this.#checking = this.check().catch((error: unknown) => {
      this.#log.warn({ err: error }, 'the cache database could not be checked');
    });
  }

  #noted(error: unknown, doing: string): CloudError {
    const known = databaseError(error, doing);
    if (error instanceof CloudError) return known;
    if (known.code === 'corrupt') this.#noteDamage(known.message);
    if (known.code === 'no_space') this.#disk?.isFull();
    return known;
  }

  #noteDamage(what: string): void {
    if (this.#damage !== null) return;
    this.#damage = what;
    this.#log.error(
      { path: this.#path, what },
      'the cache database is damaged; the next start sets it aside, keeps what is unsent and begins anew',
    );
    fs.writeFile(`${this.#path}.suspect`, what, { mode: 0o600 }).catch((error: unknown) => {
      this.#log.warn({ err: error }, 'noting the damage failed');
    });
  }
}

/** The files that belong to the database at `path`, itself first. */
export function databaseFiles(path: string): string[] {
  return ['', '-wal', '-shm', '.clean', '.suspect'].map((suffix) => path + suffix);
}

const SQLITE_CODES: readonly (readonly [string, ErrorCode])[] = [
  ['SQLITE_CORRUPT', 'corrupt'],
  ['SQLITE_NOTADB', 'corrupt'],
  ['SQLITE_FULL', 'no_space'],
  ['SQLITE_IOERR_SHMSIZE', 'no_space'],
  ['SQLITE_READONLY', 'read_only'],
  ['SQLITE_CANTOPEN', 'read_only'],
];

function databaseError(error: unknown, doing: string): CloudError {
  if (error instanceof CloudError) return error;
  const sqlite = String((error as { code?: unknown }).code ?? '');
  const code = SQLITE_CODES.find(([prefix]) => sqlite.startsWith(prefix))?.[1];
  if (code === undefined) return toCloudError(error, doing);
  return new CloudError(code, `${doing}: ${error instanceof Error ? error.message : String(error)} (${sqlite})`, {
    cause: error,
  });
}

function pagesOf(sql: Sqlite.Database, bytes: number): number {
  return Math.floor(bytes / Number(sql.pragma('page_size', { simple: true })));
}

function sameBoot(sql: Sqlite.Database): boolean {
  const row = sql.prepare("SELECT value FROM setting WHERE key = 'boot'").get() as { value: string } | undefined;
  return row?.value === bootId();
}

/** Is the file as the last process left it, in good order? Takes the mark away: from now on it may differ. */
async function takeCleanMark(path: string): Promise<boolean> {
  try {
    const mark = await fs.readFile(`${path}.clean`, 'utf8');
    await fs.rm(`${path}.clean`);
    const wal = await fs.stat(`${path}-wal`).catch(() => null);
    return mark === fingerprint(path) && (wal === null || wal.size === 0);
  } catch {
    return false;
  }
}

function fingerprint(path: string): string {
  const { size, mtimeNs, ctimeNs, ino } = statSync(path, { bigint: true });
  return `${size}:${mtimeNs}:${ctimeNs}:${ino}`;
}

async function exists(path: string): Promise<boolean> {
  return fs.access(path).then(
    () => true,
    () => false,
  );
}

/** Names of new files are durable only when their folders are. */
async function syncFolders(path: string): Promise<void> {
  const dir = dirname(path);
  for (const folder of [dir, dirname(dir)]) {
    const handle = await fs.open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}
