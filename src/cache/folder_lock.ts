// One daemon per cache folder. DIR/lock is proper-lockfile's; DIR/owner says which process holds it, so that the lock of
// a process that was killed is taken over at once instead of after its time has run out. A process is known by its
// number, its start time and the boot it belongs to: numbers are given out again. Another host's lock (a cache folder on
// a network disk) is only taken over when it has not been refreshed for long. How long that is says nothing of a process of
// this host: it may have been stopped, or the clock set forward.

import { randomBytes } from 'node:crypto';
import { readFile, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import lockfile from 'proper-lockfile';
import { CloudError, toCloudError } from '../errors.js';
import type { Log } from '../log.js';
import { startTime } from '../process_state.js';
import { bootId } from './boot_id.js';

const STALE_MS = 15_000;
const REFRESH_MS = 5_000;

interface Owner {
  readonly pid: number;
  /** See `startTime`. */
  readonly started: string;
  readonly boot: string;
  readonly host: string;
}

/** Resolves with the function that gives the lock back; rejects with `busy`. */
export async function lockFolder(dir: string, log: Log): Promise<() => Promise<void>> {
  const path = join(dir, 'lock');
  const attempt = () =>
    lockfile.lock(dir, {
      lockfilePath: path,
      stale: STALE_MS,
      update: REFRESH_MS,
      onCompromised: (error) => log.error({ err: error }, 'the lock of the cache folder was taken away'),
    });
  const running = await runningHere(dir, path);
  if (running !== null) throw busy(dir, running);
  let unlock: () => Promise<void>;
  try {
    unlock = await attempt();
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ELOCKED') throw toCloudError(error, `locking the cache folder ${dir}`);
    const owner = await removeDead(dir, path);
    if (owner !== null) throw busy(dir, owner, error);
    log.info({ dir }, 'took over the lock of a process that is gone');
    unlock = await attempt().catch((again: unknown) => {
      throw busy(dir, 'another process', again);
    });
  }
  try {
    await writeFile(join(dir, 'owner'), JSON.stringify(self()), { mode: 0o600 });
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ENOSPC') {
      await unlock().catch(() => undefined);
      throw toCloudError(error, `locking the cache folder ${dir}`);
    }
    // Without it the lock holds as long as it is refreshed. To refuse the start would keep what waits here from being sent.
    log.warn({ dir }, 'the disk is too full to note who holds the cache folder');
  }
  return async () => {
    await rm(join(dir, 'owner'), { force: true });
    await unlock();
  };
}

function busy(dir: string, owner: string, cause?: unknown): CloudError {
  return new CloudError(
    'busy',
    `opening the cache folder ${dir}: one process at a time may use it, and ${owner} does`,
    {
      cause,
    },
  );
}

/** Null once a dead owner's lock is out of the way, else who holds it. */
async function removeDead(dir: string, path: string): Promise<string | null> {
  const before = await stat(path).catch(() => null);
  if (before === null) return null;
  const owner = await readOwner(dir);
  if (owner === null) return 'another process';
  if (owner.host !== hostname()) return `process ${owner.pid} on ${owner.host}`;
  if (runs(owner)) return `process ${owner.pid}`;
  // Only the lock that was looked at: another starter may have taken it over meanwhile.
  const aside = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') return null;
    throw toCloudError(error, `taking over the lock of the cache folder ${dir}`);
  }
  const taken = await stat(aside);
  if (taken.ino === before.ino && taken.mtimeMs === before.mtimeMs) {
    // Before anybody can hold the lock anew: a dead owner's note beside a fresh lock would have it taken over again.
    await rm(join(dir, 'owner'), { force: true });
    await rmdir(aside);
    return null;
  }
  await rename(aside, path);
  return 'another process';
}

/** The process of this host that holds the lock and is alive, whatever the lock's age. */
async function runningHere(dir: string, path: string): Promise<string | null> {
  if ((await stat(path).catch(() => null)) === null) return null;
  const owner = await readOwner(dir);
  return owner !== null && owner.host === hostname() && runs(owner) ? `process ${owner.pid}` : null;
}

function runs({ boot, pid, started }: Owner): boolean {
  return boot === bootId() && startTime(pid) === started;
}

async function readOwner(dir: string): Promise<Owner | null> {
  return parseOwner(await readFile(join(dir, 'owner'), 'utf8').catch(() => ''));
}

function self(): Owner {
  return { pid: process.pid, started: startTime(process.pid) ?? '', boot: bootId(), host: hostname() };
}

function parseOwner(text: string): Owner | null {
  try {
    const value = JSON.parse(text) as Partial<Record<keyof Owner, unknown>>;
    const { pid, started, boot, host } = value;
    if (
      typeof pid !== 'number' ||
      typeof started !== 'string' ||
      typeof boot !== 'string' ||
      typeof host !== 'string'
    ) {
      return null;
    }
    return { pid, started, boot, host };
  } catch {
    return null;
  }
}
