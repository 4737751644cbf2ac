// Small files that must survive a power cut whole and that nobody else may read: accounts, credentials, the saved
// description of a server. Written to a temporary file, synced, renamed over, the folder synced.

import { randomBytes } from 'node:crypto';
import { open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CloudError, toCloudError } from '../errors.js';

/** A bound on what is read back: these files hold kilobytes. */
const MAX_BYTES = 16 * 1024 * 1024;

/** The file's text, null if there is none. Rejects with `corrupt` for one that cannot be one of ours. */
export async function readPrivateFile(path: string): Promise<string | null> {
  try {
    const found = await stat(path);
    if (!found.isFile() || found.size > MAX_BYTES) {
      throw new CloudError(
        'corrupt',
        `reading ${path}: expected a regular file of at most ${MAX_BYTES} bytes, found ${found.size} bytes`,
      );
    }
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw toCloudError(error, `reading ${path}`);
  }
}

/** Refuses a file that others can read or write: what is in it is a secret. */
export async function checkOnlyMine(path: string): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found !== null && (found.mode & 0o077) !== 0) {
    throw new CloudError(
      'no_access',
      `reading the credentials in ${path}: only its owner may have access (mode 600), found mode ` +
        `${(found.mode & 0o777).toString(8)}. If nobody else has read it: chmod 600 '${path}'`,
    );
  }
}

export async function writePrivateFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw toCloudError(error, `writing ${path}`);
  }
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
