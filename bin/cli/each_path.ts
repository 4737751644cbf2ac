// A command for several paths: one that fails is in no other's way. What was done is told in any case, then what was not.

import type { Outcome } from './command.js';
import { EXIT, type ExitCode, exitCodeOf } from './exit_codes.js';
import { failureOf, noteFailure, reportFailure } from './failure.js';
import { printJson, printLine } from './output.js';

/** Returns the exit code of the first failure. */
export async function eachPath(
  paths: readonly string[],
  json: boolean,
  run: (path: string) => Promise<Outcome>,
): Promise<ExitCode> {
  const entries: object[] = [];
  const failures: unknown[] = [];
  for (const path of paths) {
    try {
      const done = await run(path);
      entries.push(done.json);
      if (!json) printLine(done.text);
    } catch (error) {
      entries.push({ given: path, error: failureOf(error) });
      failures.push(error);
    }
  }
  const done = entries.length - failures.length;
  if (json && (done > 0 || failures.length === 0)) printJson(entries);
  const [first, ...others] = failures;
  if (first === undefined) return EXIT.ok;
  reportFailure(first, json && done === 0);
  for (const error of others) noteFailure(error);
  return exitCodeOf(first);
}
