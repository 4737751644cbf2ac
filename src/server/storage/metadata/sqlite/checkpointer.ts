// Moves the WAL's pages into the database file on a thread of its own: a checkpoint writes and syncs megabytes, which on
// the event loop would hold every request. A passive checkpoint never blocks writers; under a load without pauses it can
// never quite catch up, so once the WAL has grown long the short rest is done on the writing connection, between groups,
// which lets the WAL begin anew.

import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import type Database from 'better-sqlite3';

/** Committed jobs after which the thread is set to work. */
const EVERY_JOBS = 300;
/** Quiet time after which it is, however few there were. */
const IDLE_MS = 2000;
/** Pages in the WAL from which on the rest is done on the writing connection. */
const LONG_PAGES = 4000;

interface Outcome {
  /** Pages in the WAL, and how many of them are in the database now. */
  readonly log: number;
  readonly checkpointed: number;
}

// Plain text because a worker is started from a file of its own otherwise, which tests (run from TypeScript) do not have.
const THREAD = `
const { parentPort, workerData } = require('node:worker_threads');
const Database = require(workerData.module);
const db = new Database(workerData.path, { timeout: 5000, fileMustExist: true });
db.pragma('synchronous = NORMAL');
parentPort.on('message', (message) => {
  if (message === 'close') {
    db.close();
    parentPort.close();
    return;
  }
  let outcome = { log: 0, checkpointed: 0 };
  try {
    const [row] = db.pragma('wal_checkpoint(PASSIVE)');
    outcome = { log: row.log, checkpointed: row.checkpointed };
  } catch {
    // Busy or out of space: the next round tries again, and the writer notices by itself.
  }
  parentPort.postMessage(outcome);
});
`;

export class Checkpointer {
  readonly #path: string;
  readonly #writer: Database.Database;
  #thread: Worker | null = null;
  #timer: NodeJS.Timeout | null = null;
  #jobs = 0;
  #running = false;
  #restIsDue = false;

  constructor(path: string, writer: Database.Database) {
    this.#path = path;
    this.#writer = writer;
    writer.pragma('wal_autocheckpoint = 0');
  }

  /** After each group. Must not be called inside a transaction. */
  committed(jobs: number): void {
    this.#jobs += jobs;
    if (this.#restIsDue) {
      this.#restIsDue = false;
      try {
        this.#writer.pragma('wal_checkpoint(PASSIVE)');
      } catch {
        // The group is committed whatever becomes of this; the pages stay in the WAL.
      }
    }
    if (this.#running) return;
    if (this.#jobs >= EVERY_JOBS) this.#run();
    else {
      this.#timer ??= setTimeout(() => this.#run(), IDLE_MS);
      this.#timer.unref();
    }
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    const thread = this.#thread;
    this.#thread = null;
    if (thread === null) return;
    // Nothing else may be left to keep the process from ending before this is done.
    thread.ref();
    const ended = new Promise((resolve) => thread.once('exit', resolve));
    thread.postMessage('close');
    await ended;
  }

  #run(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#running || this.#jobs === 0) return;
    this.#running = true;
    this.#jobs = 0;
    this.#thread ??= this.#start();
    this.#thread.postMessage('run');
  }

  #start(): Worker {
    const module = createRequire(import.meta.url).resolve('better-sqlite3');
    const thread = new Worker(THREAD, { eval: true, workerData: { module, path: this.#path } });
    thread.unref();
    thread.on('message', ({ log }: Outcome) => {
      this.#running = false;
      this.#restIsDue = log >= LONG_PAGES;
    });
    thread.on('error', () => {
      // Without the thread the writing connection does it, as SQLite does by itself.
      this.#running = true;
      this.#thread = null;
      this.#writer.pragma('wal_autocheckpoint = 1000');
    });
    return thread;
  }
}
