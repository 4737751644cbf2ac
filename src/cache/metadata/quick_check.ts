// SQLite's `quick_check` on a thread of its own: it reads the whole file, seconds for a large one.

import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';

// Plain text because a worker is started from a file of its own otherwise, which tests (run from TypeScript) do not have.
const THREAD = `
const { parentPort, workerData } = require('node:worker_threads');
const Sqlite = require(workerData.module);
let found;
try {
  const db = new Sqlite(workerData.path, { readonly: true, fileMustExist: true });
  found = db.pragma('quick_check(1)', { simple: true });
  db.close();
} catch (error) {
  const code = String(error.code);
  found = code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB' ? error.message : 'ok';
}
parentPort.postMessage(found);
`;

/** Null = sound, else what SQLite says is wrong. Ends with null when `signal` aborts. */
export function quickCheck(path: string, signal: AbortSignal): Promise<string | null> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      resolve(null);
      return;
    }
    const module = createRequire(import.meta.url).resolve('better-sqlite3');
    const thread = new Worker(THREAD, { eval: true, workerData: { module, path } });
    thread.unref();
    const stop = () => {
      thread.terminate().then(
        () => resolve(null),
        () => resolve(null),
      );
    };
    signal.addEventListener('abort', stop, { once: true });
    thread.once('message', (found: string) => {
      signal.removeEventListener('abort', stop);
      resolve(found === 'ok' ? null : found);
    });
    thread.once('error', (error) => {
      signal.removeEventListener('abort', stop);
      reject(error);
    });
  });
}
