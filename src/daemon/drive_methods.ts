// What a running drive answers on its control socket. Each method checks its parameters and calls the cache; lists are
// cut at `MAX_LIST` with their full length beside them, so that an answer is bounded whatever the cache holds.

import { setTimeout as sleep } from 'node:timers/promises';
import type { CacheControl, CacheStatus, ConflictInfo, HeldLock, PathStatus, PinInfo } from '../cache/cache_api.js';
import { CloudError, isCloudError } from '../errors.js';
import type { CallContext, Handlers } from './control/control_server.js';
import { choiceParam, durationParam, flagParam, MAX_LIST, pathParam, secretParam } from './control/protocol.js';
import { type PendingWork, pendingWork } from './pending_work.js';

/** `status` without a path. */
export interface DriveStatus {
  readonly version: string;
  readonly pid: number;
  readonly account: string;
  readonly url: string;
  readonly dialect: string;
  readonly mountPoint: string;
  readonly cacheDir: string;
  readonly logFile: string;
  readonly startedAt: string;
  readonly readOnly: boolean;
  readonly privileged: boolean;
  readonly passthrough: boolean;
  readonly shutdownInhibited: boolean;
  readonly cache: Omit<CacheStatus, 'queue'>;
  readonly pending: PendingWork;
  /** At most `MAX_LIST` entries. */
  readonly queue: CacheStatus['queue'];
}

export interface Listed<T> {
  readonly items: readonly T[];
  readonly total: number;
}

/** Progress of `flush` and `unmount`. */
export interface FlushProgress {
  readonly pending: PendingWork;
}

/** Progress of `pin`. */
export interface PinProgress {
  readonly cached_bytes: number;
  readonly size_bytes: number;
  readonly files: number;
}

export interface UnmountResult {
  /** What is not on the server yet and waits in the cache folder for the next mount. */
  readonly pending: PendingWork;
  /** False: it does not, the cache folder is gone. */
  readonly kept: boolean;
}

/** What the methods need of the drive they speak for. */
export interface DriveControl {
  readonly cache: CacheControl;
  status(): DriveStatus;
  /** Unmounts and stops; `busy` (naming the processes) leaves the drive as it was. */
  unmount(options: { readonly force: boolean }): Promise<UnmountResult>;
  /** The account was logged in again. */
  usePassword(password: string): void;
}

const PROGRESS_INTERVAL_MS = 500;
/** So many times as long as it took to find out is waited before it is found out again. */
const REPORT_PAUSES = 20;
const QUOTA_WAIT_MS = 500;

export function driveMethods(drive: DriveControl): Handlers {
  const { cache } = drive;
  return {
    ping: () => ({ pid: process.pid }),
    status: async () => {
      // A server that is slow to say how much room there is does not hold up the rest.
      await Promise.race([cache.refreshQuota(0), sleep(QUOTA_WAIT_MS)]);
      return drive.status();
    },
    pathStatus: (params): PathStatus | Promise<PathStatus> => cache.pathStatus(pathParam(params)),

    flush: async (params, context): Promise<PendingWork> => {
      const path = pathParam(params);
      if (flagParam(params, 'wait'))
        await withProgress(context, flushProgress(cache), flushNow(cache, path, context.signal));
      else cache.sendNow(path); // why something fails is in `status`
      return pendingWork(cache.status());
    },

    pin: async (params, context): Promise<PinInfo | null> => {
      const path = pathParam(params);
      cache.pin(path);
      if (flagParam(params, 'wait')) {
        const fetched = cache.reconnect().then(() => cache.waitPinned(path, context.signal));
        await withProgress(context, () => pinProgress(cache, path), fetched).catch((error: unknown) => {
          throw stillPinned(error, path);
        });
      }
      return cache.pins().find((pin) => pin.path === path) ?? null;
    },
    unpin: (params) => cache.unpin(pathParam(params)),
    pins: (): Listed<PinInfo> => listed(cache.pins()),
    free: (params) => {
      const { freed_bytes, kept } = cache.free(pathParam(params));
      return { freed_bytes, kept: listed(kept) };
    },

    conflicts: (): Listed<ConflictInfo> => listed(cache.conflicts()),
    resolve: (params) => cache.resolve(pathParam(params), choiceParam(params, 'keep', ['mine', 'theirs', 'both'])),
    discard: async (params) => ({ discarded: await cache.discard(pathParam(params)) }),

    lock: async (params) => withoutToken(await cache.lock(pathParam(params))),
    unlock: (params) => cache.unlock(pathParam(params), { force: flagParam(params, 'force') }),
    locks: (): Listed<Omit<HeldLock, 'lock'> & { readonly lock: Omit<HeldLock['lock'], 'token'> }> =>
      listed(cache.locks().map(({ path, lock }) => ({ path, lock: withoutToken(lock) }))),

    check: async (params, context): Promise<Listed<string>> =>
      listed(await withProgress(context, () => null, cache.check({ content: flagParam(params, 'content') }))),
    reconnect: () => cache.reconnect(),
    usePassword: async (params, context) => {
      drive.usePassword(secretParam(params, 'password'));
      await withProgress(context, () => null, cache.reconnect());
    },

    unmount: async (params, context): Promise<UnmountResult> => {
      const force = flagParam(params, 'force');
      const wait_ms = durationParam(params, 'wait_ms');
      if (!force && wait_ms > 0 && pendingWork(cache.status()).changes > 0) await uploadFirst(cache, wait_ms, context);
      if (!force) refuseToLose(cache);
      return drive.unmount({ force });
    },
  };
}

/** Whoever waits for the server wants to know what is so now, not what was at the last look. */
async function flushNow(cache: CacheControl, path: string, signal: AbortSignal): Promise<void> {
  await cache.reconnect();
  await cache.flush(path, signal);
}

/** The pin is set, whatever kept its content from being fetched now. */
function stillPinned(error: unknown, path: string): unknown {
  if (!isCloudError(error) || error.code === 'interrupted') return error;
  return new CloudError(
    error.code,
    `"${path}" is pinned, but not all of it is here yet: ${error.message}. The rest is fetched as soon as that is possible.`,
    { ...error.details, cause: error },
  );
}

/** A bounded chance for what is queued. What then remains stays in the cache folder: no reason not to unmount. */
async function uploadFirst(cache: CacheControl, wait_ms: number, context: CallContext): Promise<void> {
  if (cache.status().connection !== 'online') return;
  const bound = AbortSignal.any([context.signal, AbortSignal.timeout(wait_ms)]);
  try {
    await withProgress(context, flushProgress(cache), cache.flush('', bound));
  } catch {
    if (context.signal.aborted) throw new CloudError('interrupted', 'unmount: the command was interrupted');
  }
}

function refuseToLose(cache: CacheControl): void {
  const { changes } = pendingWork(cache.status());
  if (changes === 0 || cache.status().inPlace) return;
  throw new CloudError(
    'io',
    `unmount: ${changes === 1 ? 'a change is' : `${changes} changes are`} not on the server, and the cache folder was removed or ` +
      'replaced while the drive uses it, so nothing is kept there. Let the server have them (flush --wait), copy them ' +
      'elsewhere, or put the folder back; --force gives them up',
  );
}

function flushProgress(cache: CacheControl): () => FlushProgress {
  return () => ({ pending: pendingWork(cache.status()) });
}

function pinProgress(cache: CacheControl, path: string): PinProgress | null {
  const pin = cache.pins().find((candidate) => candidate.path === path);
  return pin === undefined ? null : { cached_bytes: pin.cached_bytes, size_bytes: pin.size_bytes, files: pin.files };
}

/** Reports while `work` runs; also the sign of life that keeps the client waiting. What takes long to find out (a pinned
 * folder is walked for it, and nobody else is served meanwhile) is told anew only now and then. */
async function withProgress<T>(context: CallContext, report: () => unknown, work: Promise<T>): Promise<T> {
  let told: unknown;
  let again_ms = 0;
  const tell = () => {
    const began_ms = performance.now();
    if (began_ms >= again_ms) {
      told = report();
      const took_ms = performance.now() - began_ms;
      again_ms = began_ms + took_ms * REPORT_PAUSES;
    }
    context.progress(told);
  };
  tell(); // so that who waits knows that somebody is there
  const timer = setInterval(tell, PROGRESS_INTERVAL_MS);
  try {
    return await work;
  } finally {
    clearInterval(timer);
  }
}

function listed<T>(items: readonly T[]): Listed<T> {
  return { items: items.slice(0, MAX_LIST), total: items.length };
}

/** The token is the power over the lock; who asks may know that it is theirs, not more. */
function withoutToken<T extends { readonly token: string | null }>(lock: T): Omit<T, 'token'> {
  const { token: _, ...rest } = lock;
  return rest;
}
