// A question to several drives: one that fails is in no other's way. What was found is told in any case, then what failed.

import type { Listed } from '../../src/daemon/drive_methods.js';
import type { RunningMount } from '../../src/daemon/mount_registry.js';
import type { UserDirs } from '../../src/daemon/user_dirs.js';
import type { ExitCode } from './exit_codes.js';
import { failureOf, reportFailures } from './failure.js';
import { drivesFor, withDrive } from './find_drive.js';
import { printJson } from './output.js';

export interface InDrive {
  readonly mountPoint: string;
}

export interface DriveQuestion<T> {
  readonly json: boolean;
  /** What stands in the list for this drive. */
  ask(mount: RunningMount): Promise<readonly T[]>;
  /** Without --json: what all that answered have, unless `ask` has told it. `isAll`: none failed. */
  show?(entries: readonly T[], isAll: boolean): void;
}

/** Returns the exit code of the first failure. */
export async function eachDrive<T>(
  mounts: readonly RunningMount[],
  { json, ask, show }: DriveQuestion<T>,
): Promise<ExitCode> {
  const entries: T[] = [];
  const failures: { readonly mountPoint: string; readonly error: unknown }[] = [];
  for (const mount of mounts) {
    try {
      entries.push(...(await ask(mount)));
    } catch (error) {
      failures.push({ mountPoint: mount.mountPoint, error });
    }
  }
  const failed = failures.map(({ mountPoint, error }) => ({ mountPoint, error: failureOf(error) }));
  const answered = failures.length < mounts.length;
  if (answered && json) printJson([...entries, ...failed]);
  else if (answered) show?.(entries, failures.length === 0);
  const told = failures.map(({ mountPoint, error }) => ({
    error,
    about: mounts.length > 1 ? mountPoint : undefined,
  }));
  return reportFailures(told, json && !answered);
}

/** A question whose answer is a list of what is in the drive, told as one list. `target`: as `drivesFor`. */
export async function listFromEach<T extends object>(
  method: 'conflicts' | 'locks' | 'pins',
  { dirs, target, json }: { readonly dirs: UserDirs; readonly target: string | undefined; readonly json: boolean },
  show: (entries: readonly (T & InDrive)[], isAll: boolean) => void,
): Promise<ExitCode> {
  return await eachDrive(await drivesFor(dirs, target), {
    json,
    ask: async (mount) => {
      const { items } = (await withDrive(dirs, mount, (client) => client.call(method))) as Listed<T>;
      return items.map((item) => ({ mountPoint: mount.mountPoint, ...item }));
    },
    show,
  });
}
