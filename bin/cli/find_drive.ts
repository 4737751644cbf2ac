// From what the user names (a path, an account, nothing) to the daemon that serves it.

import { realpath } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ControlClient } from '../../src/daemon/control/control_client.js';
import { markDead, type RunningMount, runningMounts } from '../../src/daemon/mount_registry.js';
import { driveOf, readMountTable } from '../../src/daemon/mount_table.js';
import type { UserDirs } from '../../src/daemon/user_dirs.js';
import { CloudError, isCloudError } from '../../src/errors.js';
import { decodeName, encodeName } from '../../src/names.js';
import { describeDeath, loginAgain } from './describe.js';
import { CommandError, EXIT } from './exit_codes.js';
import { printable } from './output.js';

export interface PlaceInDrive {
  readonly mount: RunningMount;
  /** Relative to the mount point, `''` = its root. */
  readonly path: string;
}

const REALPATH_TIMEOUT_MS = 5_000;

/** Rejects with exit code 3 if `path` lies in no drive of this user. */
export async function placeInDrive(dirs: UserDirs, path: string): Promise<PlaceInDrive> {
  let absolute = await followParents(resolve(path));
  let entry = driveOf(absolute, readMountTable());
  if (entry === null) {
    // A link that leads into a drive.
    absolute = (await boundedRealpath(absolute)) ?? absolute;
    entry = driveOf(absolute, readMountTable());
  }
  const mounts = await runningMounts(dirs);
  if (entry === null)
    throw new CommandError(EXIT.notRunning, `${printable(path)} is not in a mounted drive. ${listMounts(mounts)}`);
  const mount = mounts.find((candidate) => candidate.mountPoint === entry.mountPoint);
  if (mount === undefined) {
    throw new CommandError(
      EXIT.notRunning,
      `${printable(path)} is in the drive ${printable(entry.mountPoint)}, but its daemon is not one of yours or no longer runs.`,
    );
  }
  return { mount, path: relative(mount.mountPoint, absolute) };
}

/** The drive with this mount point, account name, or the path inside it. Undefined: all drives, at least one. */
export async function drivesFor(dirs: UserDirs, target: string | undefined): Promise<readonly RunningMount[]> {
  const mounts = await runningMounts(dirs);
  if (target === undefined) {
    if (mounts.length === 0) throw new CommandError(EXIT.notRunning, 'No drive is mounted.');
    return mounts;
  }
  const byAccount = mounts.filter((mount) => mount.account === target);
  if (byAccount.length > 0) return byAccount;
  return [(await placeInDrive(dirs, target)).mount];
}

export function listMounts(mounts: readonly RunningMount[]): string {
  if (mounts.length === 0) return 'No drive is mounted.';
  return `Mounted: ${mounts.map((mount) => printable(mount.mountPoint)).join(', ')}.`;
}

/** Connects; a daemon that is gone (killed, its process number given to another program) is struck off the list. */
export async function connectTo(dirs: UserDirs, mount: RunningMount, timeout_ms?: number): Promise<ControlClient> {
  try {
    return await ControlClient.connect(mount.socket, timeout_ms);
  } catch (error) {
    if (!isCloudError(error, 'not_found')) throw error;
    markDead(dirs, mount);
    throw new CommandError(EXIT.notRunning, describeDeath(mount));
  }
}

/** `use` with a connection that is closed afterwards; `timeout_ms`: of the connecting alone. */
export async function withDrive<T>(
  dirs: UserDirs,
  mount: RunningMount,
  use: (client: ControlClient) => Promise<T>,
  timeout_ms?: number,
): Promise<T> {
  const client = await connectTo(dirs, mount, timeout_ms);
  try {
    return await use(client);
  } catch (error) {
    if (!isCloudError(error, 'unauthorized')) throw error;
    throw new CloudError(error.code, `${error.message}; ${loginAgain(mount)}`, { ...error.details, cause: error });
  } finally {
    client.close();
  }
}

/** The last name is kept as it is: a symbolic link may itself be meant. */
export async function followParents(absolute: string): Promise<string> {
  if (absolute === '/') return absolute;
  const parent = await boundedRealpath(dirname(absolute));
  return parent === null ? absolute : join(parent, basename(absolute));
}

/** Null if there is no such path, or a file system on the way does not answer. */
export async function boundedRealpath(path: string): Promise<string | null> {
  const stop = new AbortController();
  try {
    const late = sleep(REALPATH_TIMEOUT_MS, null, { signal: stop.signal }).catch(() => null);
    // By their bytes: a name need not be UTF-8.
    const found = realpath(encodeName(path), { encoding: 'buffer' }).then(decodeName);
    return await Promise.race([found.catch(() => null), late]);
  } finally {
    stop.abort();
  }
}
