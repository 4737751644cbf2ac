// For servers that ignore If-Match: the check before a change is made by looking, and where the server has locks the look
// and the change happen under one, so that nobody who respects locks comes in between.

import { CloudError, isCloudError } from '../errors.js';
import type { RemotePath } from '../ids.js';
import { type Dav, show } from './dav.js';
import { freeLock, takeLock } from './locks.js';
import type { CallOptions, Precondition, RemoteEntry } from './remote.js';

const GUARD_TIMEOUT_s = 3600;

/** What is there, null for nothing. */
export async function lookAt(dav: Dav, path: RemotePath, options: CallOptions): Promise<RemoteEntry | null> {
  try {
    return await dav.stat(path, options);
  } catch (error) {
    if (isCloudError(error, 'not_found')) return null;
    throw error;
  }
}

export function mismatch(path: RemotePath, precondition: Precondition, found: string | null): CloudError {
  const wanted = precondition.kind === 'if_match' ? `the version ${precondition.etag}` : 'a free name';
  return new CloudError('precondition', `changing ${show(path)}: ${wanted} is required, found ${found ?? 'nothing'}`, {
    status: 412,
    path,
  });
}

/** Throws `precondition` unless what is there now is what is required. */
export async function requireNow(
  dav: Dav,
  path: RemotePath,
  precondition: Precondition,
  options: CallOptions,
): Promise<RemoteEntry | null> {
  const entry = await lookAt(dav, path, options);
  if (precondition.kind === 'if_absent' && entry !== null) throw mismatch(path, precondition, entry.etag ?? entry.kind);
  if (precondition.kind === 'if_match' && entry?.etag !== precondition.etag) {
    throw mismatch(path, precondition, entry === null ? null : (entry.etag ?? entry.kind));
  }
  return entry;
}

/** Runs `act` right after the check. `act` gets the token to send along. */
export async function guarded<T>(
  dav: Dav,
  path: RemotePath,
  precondition: Precondition,
  options: CallOptions,
  act: (lockToken: string | undefined) => Promise<T>,
): Promise<T> {
  if (!dav.info.capabilities.locks || options.lockToken !== undefined || precondition.kind === 'none') {
    await requireNow(dav, path, precondition, options);
    return await act(options.lockToken);
  }
  const lock = await takeLock(dav, path, GUARD_TIMEOUT_s, options);
  let done = false;
  try {
    if (lock.created) {
      // Locking a free name makes an empty file of it: the server itself has said that it was free.
      if (precondition.kind === 'if_match') throw mismatch(path, precondition, null);
    } else {
      await requireNow(dav, path, precondition, options);
    }
    const result = await act(lock.token);
    done = true;
    return result;
  } finally {
    await release(dav, path, lock, done);
  }
}

/** Gives the lock back; the empty file it made goes too, if nothing came of it. A failure is logged: the lock runs out. */
async function release(
  dav: Dav,
  path: RemotePath,
  lock: { readonly token: string; readonly created: boolean },
  done: boolean,
): Promise<void> {
  try {
    if (lock.created && !done) {
      const entry = await lookAt(dav, path, {});
      if (entry?.kind === 'file' && entry.size_bytes === 0) {
        const headers = dav.conditionHeaders(path, { kind: 'none' }, lock.token);
        await dav.send({ method: 'DELETE', path: dav.href(path), headers }, [200, 204, 404], `removing ${show(path)}`);
      }
    }
    await freeLock(dav, path, lock.token, {});
  } catch (error) {
    dav.log.warn({ path, error: String(error) }, 'a lock taken for one change could not be given back');
  }
}
