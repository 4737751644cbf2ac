// The cache's SQLite file: opened, checked, migrated, made durable.
//
// WAL with synchronous=NORMAL: a commit is a few microseconds of page-cache work on the event loop. What must survive a
// power cut is made so by `durable()`, an fdatasync of the WAL on the thread pool that all who wait at the same time
// share. A frame that was torn by the cut fails its checksum and ends recovery there, so the file is always a prefix of
// the commits that were made.

import { close, fdatasync, open } from 'node:fs';
import { rename } from 'node:fs/promises';
import { promisify } from 'node:util';
import Sqlite from 'better-sqlite3';
import { CloudError, toCloudError } from '../../errors.js';
import type { Log } from '../../log.js';
import { crashPoint } from '../crash_points.js';
import { SCHEMA, SCHEMA_VERSION } from './schema.js';

const openFile = promisify(open);
const closeFile = promisify(close);
const syncFile = promisify(fdatasync);

export class Database {
  readonly sql: Sqlite.Database;
  readonly #walPath: string;
  #walFd: number | null = null;
  #running: Promise<void> | null = null;
  #next: Promise<void> | null = null;
  #depth = 0;

  private constructor(sql: Sqlite.Database, path: string) {
    this.sql = sql;
    this.#walPath = `${path}-wal`;
  }

  /** Opens or creates. A file that SQLite finds damaged is moved aside (`.damaged-TIME`), never deleted: `corrupt`
   * says where it is, and the caller decides whether to start anew from the server. */
  static async open(path: string, log: Log): Promise<Database> {
    let sql: Sqlite.Database;
    try {
      sql = new Sqlite(path);
      sql.pragma('journal_mode = WAL');
      sql.pragma('synchronous = NORMAL');
      sql.pragma('foreign_keys = OFF');
      sql.pragma('temp_store = MEMORY');
      sql.pragma('cache_size = -16000');
      sql.pragma('wal_autocheckpoint = 4000');
      const state = sql.pragma('quick_check(1)', { simple: true });
      if (state !== 'ok') throw Object.assign(new Error(String(state)), { code: 'SQLITE_CORRUPT' });
    } catch (error) {
      const code = (error as { code?: string }).code ?? '';
      if (code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB') {
        const aside = `${path}.damaged-${new Date().toISOString().replaceAll(':', '')}`;
        await rename(path, aside);
        for (const suffix of ['-wal', '-shm']) await rename(path + suffix, aside + suffix).catch(() => undefined);
        log.error({ aside }, 'the cache database is damaged and was moved aside');
        throw new CloudError('corrupt', `opening the cache database: it is damaged; moved to ${aside}`, {
          cause: error,
        });
      }
      throw toCloudError(error, `opening the cache database ${path}`);
    }
    const version = Number(sql.pragma('user_version', { simple: true }));
    if (version > SCHEMA_VERSION) {
      sql.close();
      throw new CloudError(
        'invalid',
        `opening the cache database: it has format ${version}, this program knows formats up to ${SCHEMA_VERSION}; use the newer program that wrote it`,
      );
    }
    if (version === 0) {
      sql.exec('BEGIN');
      sql.exec(SCHEMA);
      sql.pragma(`user_version = ${SCHEMA_VERSION}`);
      sql.exec('COMMIT');
    }
    return new Database(sql, path);
  }

  /** Runs `work` in one transaction; nested calls join the outer one. Rolls back when it throws. Never awaits. */
  transaction<T>(work: () => T): T {
    if (this.#depth > 0) return work();
    this.#depth = 1;
    this.sql.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      crashPoint('journal.before_commit');
      this.sql.exec('COMMIT');
      crashPoint('journal.after_commit');
      return result;
    } catch (error) {
      if (this.sql.inTransaction) this.sql.exec('ROLLBACK');
      throw error instanceof CloudError ? error : toCloudError(error, 'writing the cache database');
    } finally {
      this.#depth = 0;
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

  #start(): Promise<void> {
    const run = this.#sync().finally(() => {
      if (this.#running === run) this.#running = null;
    });
    this.#running = run;
    return run;
  }

  async #sync(): Promise<void> {
    try {
      this.#walFd ??= await openFile(this.#walPath, 'r');
      await syncFile(this.#walFd);
    } catch (error) {
      throw toCloudError(error, 'making the cache journal durable');
    }
  }

  async close(): Promise<void> {
    await this.#running?.catch(() => undefined);
    if (this.#walFd !== null) await closeFile(this.#walFd);
    this.#walFd = null;
    this.sql.pragma('wal_checkpoint(TRUNCATE)');
    this.sql.close();
  }
}
