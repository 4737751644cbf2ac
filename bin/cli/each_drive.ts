// A question to several drives: one that fails is in no other's way. What was found is told in any case, then what failed.

import type { RunningMount } from '../../src/daemon/mount_registry.js';
import { EXIT, type ExitCode, exitCodeOf } from './exit_codes.js';
import { failureOf, noteFailure, reportFailure } from './failure.js';
import { printJson } from './output.js';

export interface DriveQuestion<T> {
  readonly json: boolean;
  /** What stands in the list for this drive. */
  ask(mount: RunningMount): Promise<readonly T[]>;
  /** Without --json: what all that answered have. `isAll`: none failed. */
  show(entries: readonly T[], isAll: boolean): void;
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
  else if (answered) show(entries, failures.length === 0);
  const [first, ...others] = failures;
  if (first === undefined) return EXIT.ok;
  const about = (mountPoint: string) => (mounts.length > 1 ? mountPoint : undefined);
  reportFailure(first.error, json && !answered, about(first.mountPoint));
  for (const { mountPoint, error } of others) noteFailure(error, about(mountPoint));
  return exitCodeOf(first.error);
}
