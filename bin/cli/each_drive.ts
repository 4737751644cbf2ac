// A question to several drives: one that fails is in no other's way.

import type { RunningMount } from '../../src/daemon/mount_registry.js';
import { EXIT, type ExitCode, exitCodeOf } from './exit_codes.js';
import { failureOf, noteFailure } from './failure.js';

export interface Answers<T> {
  readonly answers: readonly T[];
  /** For --json: what stands in the list for the drives that failed. */
  readonly failed: readonly object[];
  /** Of the first failure. */
  readonly code: ExitCode;
}

/** Failures are told at the end, on standard error. Rejects where every drive failed, with the first reason. */
export async function eachDrive<T>(
  mounts: readonly RunningMount[],
  ask: (mount: RunningMount) => Promise<T>,
): Promise<Answers<T>> {
  const answers: T[] = [];
  const failures: { readonly mountPoint: string; readonly error: unknown }[] = [];
  for (const mount of mounts) {
    try {
      answers.push(await ask(mount));
    } catch (error) {
      failures.push({ mountPoint: mount.mountPoint, error });
    }
  }
  const [first] = failures;
  // The first is told by whoever catches it.
  const untold = answers.length === 0 ? failures.slice(1) : failures;
  for (const { error } of untold) noteFailure(error);
  if (first !== undefined && answers.length === 0) throw first.error;
  return {
    answers,
    failed: failures.map(({ mountPoint, error }) => ({ mountPoint, error: failureOf(error) })),
    code: first === undefined ? EXIT.ok : exitCodeOf(first.error),
  };
}
