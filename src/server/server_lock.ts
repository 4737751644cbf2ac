// One server per data folder. The lock is an exclusive SQLite lock on DIR/server.lock, which is a POSIX lock of the
// kernel: it goes away with the process however that ends, so a start after `kill -9` neither waits nor asks. Who holds
// it is written beside it in DIR/server.json, because the kernel's lock cannot be asked for a name from here.

import { existsSync, readFileSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import Database from 'better-sqlite3';
import { CloudError, toCloudError } from '../errors.js';
import type { DataDir } from './data_dir.js';
import { fullDisk, isFullDisk } from './storage/metadata/sqlite/database.js';

export interface ServerState {
  readonly pid: number;
  /** What holds the folder: the server, or a restore that writes it. */
  readonly purpose: string;
  /** Where clients reach it; null until it listens. */
  readonly url: string | null;
  readonly startedAt: string;
}

export class ServerLock {
  readonly #database: Database.Database;
  readonly #dir: DataDir;
  #state: ServerState;

  private constructor(database: Database.Database, dir: DataDir, state: ServerState) {
    this.#database = database;
    this.#dir = dir;
    this.#state = state;
  }

  /** Takes the lock or rejects with `busy`, naming the process that holds it. The folder must exist. */
  static async acquire(dir: DataDir, purpose = 'server'): Promise<ServerLock> {
    const database = tryLock(dir.lockFile);
    if (database === null) throw heldByAnother(dir);
    const state = { pid: process.pid, purpose, url: null, startedAt: new Date().toISOString() };
    const lock = new ServerLock(database, dir, state);
    try {
      await lock.#write();
    } catch (error) {
      database.close();
      throw toCloudError(error, `noting in ${dir.stateFile} who serves the folder`);
    }
    return lock;
  }

  /** Tells other processes where the server listens. */
  async publish(url: string): Promise<void> {
    this.#state = { ...this.#state, url };
    await this.#write();
  }

  async release(): Promise<void> {
    await rm(this.#dir.stateFile, { force: true });
    this.#database.close();
  }

  async #write(): Promise<void> {
    const temporary = `${this.#dir.stateFile}.${process.pid}`;
    await writeFile(temporary, `${JSON.stringify(this.#state)}\n`, { mode: 0o600 });
    await rename(temporary, this.#dir.stateFile);
  }
}

/** Does a process hold the folder now? */
export function isServed(dir: DataDir): boolean {
  if (!existsSync(dir.lockFile)) return false;
  const database = tryLock(dir.lockFile);
  database?.close();
  return database === null;
}

/** Throws `busy`, naming the process, where one holds the folder: a start fails before it has done anything. */
export function refuseIfServed(dir: DataDir): void {
  if (isServed(dir)) throw heldByAnother(dir);
}

/** Another's look at the lock takes less than this. */
const LOCK_TIMEOUT_MS = 200;

/** Holds the file, which is made if it is missing, until the connection is closed. Null: another process holds it. */
export function tryLock(file: string): Database.Database | null {
  let database: Database.Database | null = null;
  try {
    database = new Database(file, { timeout: LOCK_TIMEOUT_MS });
    database.pragma('locking_mode = EXCLUSIVE');
    database.exec('BEGIN EXCLUSIVE');
    return database;
  } catch (error) {
    database?.close();
    if ((error as { code?: string }).code === 'SQLITE_BUSY') return null;
    if (isFullDisk(error, file)) throw fullDisk(error);
    throw new CloudError(
      'io',
      `locking ${file}: a file that this user can read and write is required, found: ${(error as Error).message}. ` +
        'It holds nothing: while no server runs it can be removed',
      { cause: error },
    );
  }
}

function heldByAnother(dir: DataDir): CloudError {
  const holder = readServerState(dir);
  const who = holder === null ? 'another process' : `process ${holder.pid} (${holder.purpose})`;
  return new CloudError(
    'busy',
    `locking the data folder ${dir.root}: one process at a time may serve it, and ${who} does` +
      `${holder?.url ? ` at ${holder.url}` : ''}. Stop that one first, or use another --data folder.`,
  );
}

/** Who served this folder last; null if nobody does or the note is unreadable. Only the lock itself is proof. */
export function readServerState(dir: DataDir): ServerState | null {
  try {
    const value: unknown = JSON.parse(readFileSync(dir.stateFile, 'utf8'));
    if (typeof value !== 'object' || value === null) return null;
    const { pid, purpose, url, startedAt } = value as Record<string, unknown>;
    if (typeof pid !== 'number' || typeof purpose !== 'string' || typeof startedAt !== 'string') return null;
    return { pid, purpose, url: typeof url === 'string' ? url : null, startedAt };
  } catch {
    return null;
  }
}
