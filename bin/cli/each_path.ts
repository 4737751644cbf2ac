// A command for several paths: one that fails is in no other's way. What was done is told in any case, then what was not.

import type { Outcome } from './command.js';
import type { ExitCode } from './exit_codes.js';
import { failureOf, reportFailures } from './failure.js';
import { printJson, printLine } from './output.js';

/** Returns the exit code of the first failure. */
export async function eachPath(
  paths: readonly string[],
  json: boolean,
  run: (path: string) => Promise<Outcome>,
): Promise<ExitCode> {
  const entries: object[] = [];
  const failures: { readonly error: unknown }[] = [];
  for (const path of paths) {
    try {
      const done = await run(path);
      entries.push(done.json);
      if (!json) printLine(done.text);
    } catch (error) {
      entries.push({ given: path, error: failureOf(error) });
      failures.push({ error });
    }
  }
  const done = entries.length - failures.length;
  if (json && (done > 0 || failures.length === 0)) printJson(entries);
  return reportFailures(failures, json && done === 0);
}
