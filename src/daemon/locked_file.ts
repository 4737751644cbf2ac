// One process at a time changes a small file: what is read, changed and written back loses nobody else's change.

import { access, constants } from 'node:fs/promises';
import { dirname } from 'node:path';
import lockfile from 'proper-lockfile';
import { CloudError, toCloudError } from '../errors.js';

const STALE_MS = 10_000;
/** Longer than a lock that was left behind counts. */
const RETRIES = { retries: 200, minTimeout: 20, maxTimeout: 100 };

/** The folder of `path` must be there. */
export async function whileLocked<T>(path: string, change: () => Promise<T>): Promise<T> {
  const unlock = await lock(path);
  try {
    return await change();
  } finally {
    await unlock();
  }
}

async function lock(path: string): Promise<() => Promise<void>> {
  try {
    // Where nothing can be written, the lock would be tried again and again.
    await access(dirname(path), constants.W_OK);
    return await lockfile.lock(path, { realpath: false, stale: STALE_MS, retries: RETRIES });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ELOCKED') throw toCloudError(error, `changing ${path}`);
    throw new CloudError('busy', `changing ${path}: another process has been at it for many seconds; try again`, {
      cause: error,
    });
  }
}
