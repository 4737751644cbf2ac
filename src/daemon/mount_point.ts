// Is this folder fit to be a mount point? Asked before anything is started. A folder with files in it is refused unless
// the user says otherwise: the drive would hide them.

import type { Stats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CloudError } from '../errors.js';
import { makeFolder } from '../make_folder.js';
import { driveOf, readMountTable } from './mount_table.js';

const STAT_TIMEOUT_MS = 3_000;

export interface MountPointRules {
  /** Make the folder if it is missing. */
  readonly create: boolean;
  readonly nonEmpty: boolean;
  /** Folders the drive needs while it runs: they must not lie in the drive itself. */
  readonly outside: readonly string[];
}

/** A dead drive (ENOTCONN, its daemon was killed) passes: mounting clears it, and hides what it hid. */
export async function checkMountPoint(mountPoint: string, rules: MountPointRules): Promise<void> {
  for (const dir of rules.outside) {
    if (dir === mountPoint || dir.startsWith(`${mountPoint}/`)) {
      throw new CloudError(
        'invalid',
        `mounting on ${mountPoint}: ${dir} lies in it, and the drive needs that folder itself`,
      );
    }
  }
  const table = readMountTable();
  const above = driveOf(mountPoint, table);
  if (above !== null && above.mountPoint !== mountPoint) {
    throw new CloudError(
      'invalid',
      `mounting on ${mountPoint}: it lies in the drive ${above.mountPoint}; choose a folder outside`,
    );
  }
  if (rules.create) await makeFolder(mountPoint).catch(ignoreDead);
  const found = await boundedStat(mountPoint).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOTCONN') return null;
    if (error instanceof CloudError) throw error;
    throw error.code === 'ENOENT'
      ? new CloudError(
          'not_found',
          `mounting on ${mountPoint}: the folder does not exist; make it first: mkdir -p '${mountPoint}'`,
        )
      : new CloudError('io', `mounting on ${mountPoint}: ${error.message}`, { cause: error });
  });
  if (found === null) return;
  if (!found.isDirectory()) throw new CloudError('not_dir', `mounting on ${mountPoint}: it must be a folder`);
  if (above !== null) {
    throw new CloudError(
      'busy',
      `mounting on ${mountPoint}: a drive is mounted there already; cloudmount unmount '${mountPoint}'`,
    );
  }
  if (rules.nonEmpty) return;
  const names = await namesIn(mountPoint);
  if (names.length === 0) return;
  throw new CloudError(
    'not_empty',
    `mounting on ${mountPoint}: the folder is not empty, and the drive would hide what is in it (${listed(names)}). ` +
      'What was written there while no drive was mounted is on this disk only: move it away, mount, and copy it into ' +
      'the drive; or choose another folder, or say -o nonempty',
  );
}

const NAMES_SHOWN = 3;

function listed(names: readonly string[]): string {
  const shown = names
    .toSorted()
    .slice(0, NAMES_SHOWN)
    .map((name) => JSON.stringify(name));
  const rest = names.length - shown.length;
  return rest === 0 ? shown.join(', ') : `${shown.join(', ')} and ${rest} more`;
}

async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir);
  } catch (cause) {
    throw new CloudError('no_access', `mounting on ${dir}: whether the folder is empty cannot be read`, { cause });
  }
}

/** mkdir on a dead mount says EEXIST or ENOTCONN; `stat` tells what it is. */
function ignoreDead(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'EEXIST' || error.code === 'ENOTCONN') return undefined;
  throw new CloudError('io', `making the mount point: ${error.message}`, { cause: error });
}

/** `stat` in a drive that hangs never returns. */
async function boundedStat(path: string): Promise<Stats> {
  const late = new AbortController();
  const timeout = sleep(STAT_TIMEOUT_MS, null, { signal: late.signal }).then(() => {
    throw new CloudError(
      'busy',
      `mounting on ${path}: what is mounted there does not answer; cloudmount unmount --force '${path}'`,
    );
  });
  try {
    return await Promise.race([stat(path), timeout]);
  } finally {
    timeout.catch(() => undefined);
    late.abort();
  }
}
