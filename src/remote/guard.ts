// The check before a change, as safe as the server allows. mod_dav checks and writes in two steps, and of two writers at
// once both win; Go's (rclone) does not check at all, so we look. Where there are locks, check and change happen under
// one: nobody comes in between.

import { CloudError, isCloudError } from '../errors.js';
import { type RemotePath, splitPath } from '../ids.js';
import { type Dav, propertyRequest, show } from './dav.js';
import { isLockNull, list, stat } from './listing.js';
import { freeLock, refreshLock, type Taken, takeLock } from './locks.js';
import type { CallOptions, LockInfo, Precondition, RemoteEntry } from './remote.js';
import { retry } from './retry.js';
import { isStamp } from './stamp.js';
import { propertyText } from './wire/multistatus.js';
import { DAV } from './wire/ns.js';

/** How long a lock outlives us if we die holding it: two minutes, more for what takes long to send. */
const LOCK_MIN_s = 120;
const LOCK_MAX_s = 7200;
const SLOW_bytesPerSecond = 200_000;
/** How often a lock is made to last, at most and at least. */
const REFRESH_MIN_ms = 250;
const REFRESH_MAX_ms = 10 * 60_000;
/** A lock that is said to be there and is not is gone within milliseconds. */
const GHOST_TRIES = 8;
/** Members of a collection. */
const ORPHANS_LOOKED_FOR = 2_000;
/** Sent in one write together with the headers. */
export const SMALL_bytes = 256 * 1024;

/** A lock for one change. */
interface Guard extends Taken {
  readonly owner: string;
}

/** What is there, null for nothing. */
export async function lookAt(dav: Dav, path: RemotePath, options: CallOptions): Promise<RemoteEntry | null> {
  const entry = await statOrNull(dav, path, options);
  return entry === null || isLockNull(entry) ? null : entry;
}

export function mismatch(path: RemotePath, precondition: Precondition, found: string | null): CloudError {
  const wanted = precondition.kind === 'if_match' ? `the version ${precondition.etag}` : 'a free name';
  return new CloudError('precondition', `changing ${show(path)}: ${wanted} is required, found ${found ?? 'nothing'}`, {
    status: 412,
    path,
  });
}

/** 412 although the version is the right one: no conflict, and worth another try. */
export function lockLost(path: RemotePath, cause: CloudError): CloudError {
  return new CloudError('busy_server', `changing ${show(path)}: the version is right but the server lost the lock`, {
    status: 412,
    path,
    cause,
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

/** Checking and writing are two steps in most servers' code, and between them somebody else's change is lost: where there
 * are locks both happen under one. Our own server and Nextcloud do it in one transaction; lighttpd, one thread, checks when
 * all has arrived and changes without a pause (with server.max-worker, which cannot be seen from here, it is several). Its
 * locks never run out, nor does it tell whose they are: one that a killed daemon had taken would keep everybody from the
 * file for ever. */
function needsLock(dav: Dav, precondition: Precondition, blind: boolean, options: CallOptions): boolean {
  const { dialect, ifHeader, capabilities } = dav.info;
  if (dialect !== 'generic' || !capabilities.locks) return false;
  if (ifHeader === 'lighttpd' && !blind) return false;
  return options.lockToken === undefined && precondition.kind !== 'none';
}

/** Does the server not check this by itself? */
async function isBlind(dav: Dav, path: RemotePath, precondition: Precondition, options: CallOptions): Promise<boolean> {
  if (dav.info.conditional === 'none') return true;
  if (precondition.kind === 'if_match' && isStamp(precondition.etag)) return true;
  if (precondition.kind !== 'if_absent' || dav.info.ifHeader !== 'lighttpd') return false;
  const folder = splitPath(path).parent;
  return !(await retry(() => makesTags(dav, folder, options), dav.retrying(options)));
}

/** lighttpd may be told to make no ETags in some folders only; there it holds no condition. */
async function makesTags(dav: Dav, folder: RemotePath, options: CallOptions): Promise<boolean> {
  const request = propertyRequest(dav.href(folder, true), 0, ['getetag'], options);
  let found = false;
  for await (const { responses } of dav.multistatus(request, `looking at ${show(folder)}`)) {
    found ||= responses.some((response) => (propertyText(response, DAV, 'getetag') ?? '') !== '');
  }
  return found;
}

/** The change itself: sends it with `headers`; calls `sent` as soon as the server has answered. */
export type Act<T> = (headers: Readonly<Record<string, string>>, sent: () => void) => Promise<T>;

/** Runs `act` with the headers that make it depend on `precondition`; on servers that ignore those, right after a look.
 * `size_bytes`: of what is sent, for the time the lock may be needed. */
export async function guarded<T>(
  dav: Dav,
  path: RemotePath,
  precondition: Precondition,
  size_bytes: number,
  options: CallOptions,
  act: Act<T>,
): Promise<T> {
  const blind = await isBlind(dav, path, precondition, options);
  if (needsLock(dav, precondition, blind, options))
    return await underLock(dav, path, precondition, blind, size_bytes, options, act);
  // lighttpd: whether it still makes the ETags it made once shows by that.
  const { conditional, ifHeader } = dav.info;
  const looks =
    blind || conditional === 'put_if_match' || (ifHeader === 'lighttpd' && precondition.kind === 'if_match');
  if (looks && precondition.kind !== 'none') await requireNow(dav, path, precondition, options);
  const checked: Precondition = blind ? { kind: 'none' } : precondition;
  return await act(dav.conditionHeaders(path, checked, options.lockToken), () => undefined);
}

async function underLock<T>(
  dav: Dav,
  path: RemotePath,
  precondition: Precondition,
  blind: boolean,
  size_bytes: number,
  options: CallOptions,
  act: Act<T>,
): Promise<T> {
  const timeout_s = Math.min(LOCK_MIN_s + Math.floor(size_bytes / SLOW_bytesPerSecond), LOCK_MAX_s);
  // mod_dav keeps the locks of free names in one file per folder and loses some when several are taken at once.
  const alone = precondition.kind === 'if_absent' && !blind;
  const turnOver = alone ? await dav.turns.inFolder(splitPath(path).parent, options.signal) : () => undefined;
  try {
    const lock = await takeGuard(dav, path, timeout_s, options);
    const letGo = keepAlive(dav, path, lock, timeout_s);
    let done = false;
    try {
      // Big ones do not make the others wait; at worst one of those finds its lock lost and tries again.
      if (size_bytes > SMALL_bytes) turnOver();
      let checked: Precondition = blind ? { kind: 'none' } : precondition;
      if (lock.created) {
        // Locking a free name makes an empty file of it: the server itself has said that it was free.
        if (precondition.kind === 'if_match') throw mismatch(path, precondition, null);
        checked = { kind: 'none' };
      } else if (blind) {
        await requireNow(dav, path, precondition, options);
      }
      const result = await act(dav.conditionHeaders(path, checked, lock.token), turnOver);
      done = true;
      return result;
    } finally {
      letGo();
      const released = release(dav, path, lock, done);
      if (options.signal?.aborted !== true) await released;
    }
  } finally {
    turnOver();
  }
}

/** Servers check a lock when a request begins, and may give it for less than was asked (nginx: a minute): what takes longer
 * to send would overwrite what others have changed since. Answers how to end it. */
function keepAlive(dav: Dav, path: RemotePath, { token, info }: Guard, timeout_s: number): () => void {
  if (info.expiresEpoch_s === null) return () => undefined;
  const third_ms = (info.expiresEpoch_s * 1000 - Date.now()) / 3;
  let over = false;
  const refresh = () =>
    refreshLock(dav, path, token, timeout_s, {}).catch((error: unknown) => {
      if (!over) dav.log.warn({ path, error: String(error) }, 'a lock taken for one change could not be made to last');
    });
  const timer = setInterval(() => void refresh(), Math.min(Math.max(third_ms, REFRESH_MIN_ms), REFRESH_MAX_ms));
  return () => {
    over = true;
    clearInterval(timer);
  };
}

/** A 423 that shows no lock (mod_dav loses locks that are taken and given back at the same time, in both directions), or
 * one of ours that nobody holds, is tried again for a moment before it counts. */
async function takeGuard(dav: Dav, path: RemotePath, timeout_s: number, options: CallOptions): Promise<Guard> {
  const attempt = async () => {
    const owner = dav.ownLocks.begin();
    try {
      return { ...(await takeLock(dav, path, timeout_s, options, owner)), owner };
    } catch (error) {
      dav.ownLocks.end(owner);
      if (!isCloudError(error, 'locked')) throw error;
      const shown = await lockShown(dav, path, options);
      if (shown !== null && !(await dropOrphan(dav, path, shown))) throw error;
      throw new CloudError('busy_server', `${error.message}, by nobody as it seems`, {
        ...error.details,
        cause: error,
      });
    }
  };
  const patience = { ...dav.retrying(options), tries: GHOST_TRIES, base_ms: 30, max_ms: 500, retryable: isGhost };
  try {
    return await retry(attempt, patience);
  } catch (error) {
    throw isCloudError(error) && isGhost(error) ? error.cause : error;
  }
}

function isHeld(error: CloudError): boolean {
  return error.code === 'locked';
}

function isGhost(error: CloudError): boolean {
  return error.code === 'busy_server' && error.details.status === 423;
}

/** After a 423 or 424: gives back what of these places, and of the members of those that are collections, is shown as
 * locked by a lock of ours that nobody holds. Was it that? */
export async function dropOrphans(dav: Dav, paths: readonly RemotePath[], options: CallOptions): Promise<boolean> {
  const collections: RemotePath[] = [];
  const locked: { readonly path: RemotePath; readonly lock: LockInfo }[] = [];
  const look = ({ path, lock, kind }: RemoteEntry) => {
    if (lock !== null) locked.push({ path, lock });
    if (kind === 'dir') collections.push(path);
  };
  try {
    for (const path of paths) {
      const entry = await statOrNull(dav, path, options);
      if (entry !== null) look(entry);
    }
    let looked = 0;
    for (let path = collections.shift(); path !== undefined; path = collections.shift()) {
      for await (const batch of list(dav, path, options)) {
        for (const entry of batch) if (entry.path !== path) look(entry);
        looked += batch.length;
      }
      if (looked > ORPHANS_LOOKED_FOR) break;
    }
  } catch (error) {
    if (!isCloudError(error, 'not_found')) throw error; // it goes while it is looked at: as well
  }
  // Not before the listings have ended: giving back waits for its turn, and a listing holds a connection.
  let found = false;
  for (const { path, lock } of locked) if (await dropOrphan(dav, path, lock)) found = true;
  return found;
}

async function dropOrphan(dav: Dav, path: RemotePath, lock: LockInfo): Promise<boolean> {
  if (lock.token === null || !dav.ownLocks.isOrphan(lock)) return false;
  await giveBack(dav, path, lock.token);
  return true;
}

async function lockShown(dav: Dav, path: RemotePath, options: CallOptions): Promise<LockInfo | null> {
  return (await statOrNull(dav, path, options))?.lock ?? null;
}

async function statOrNull(dav: Dav, path: RemotePath, options: CallOptions): Promise<RemoteEntry | null> {
  try {
    return await stat(dav, path, options);
  } catch (error) {
    if (isCloudError(error, 'not_found')) return null;
    throw error;
  }
}

/** Gives the lock back; the empty file it made goes too, if nothing came of it. A failure is logged: the lock runs out. */
async function release(dav: Dav, path: RemotePath, lock: Guard, done: boolean): Promise<void> {
  try {
    if (lock.created && !done) {
      const entry = await lookAt(dav, path, {});
      if (entry?.kind === 'file' && entry.size_bytes === 0) {
        const headers = dav.conditionHeaders(path, { kind: 'none' }, lock.token);
        await dav.send({ method: 'DELETE', path: dav.href(path), headers }, [200, 204, 404], `removing ${show(path)}`);
      }
    }
    await giveBack(dav, path, lock.token);
  } catch (error) {
    dav.log.warn({ path, error: String(error) }, 'a lock taken for one change could not be given back');
  } finally {
    dav.ownLocks.end(lock.owner);
  }
}

/** A lock goes with the file it was on, and some servers lose them: what is wanted is that it is gone. Go's keeps it while it
 * is still at a request that was cut off. */
export async function giveBack(dav: Dav, path: RemotePath, token: string): Promise<void> {
  dav.ownLocks.returned(token);
  const patience = { tries: GHOST_TRIES, base_ms: 30, max_ms: 500, retryable: isHeld };
  try {
    await retry(() => freeLock(dav, path, token, {}), patience);
  } catch (error) {
    if (!isCloudError(error, 'not_found', 'precondition', 'invalid')) throw error;
  }
}
