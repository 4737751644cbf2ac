// A failure, as the user is told of it.

import { CloudError } from '../../src/errors.js';
import { CommandError, codeOf, exitCodeOf } from './exit_codes.js';
import { note, printJson } from './output.js';

/** What went wrong as `--json` has it (docs/json.md). */
export function failureOf(error: unknown): object {
  return { exitCode: exitCodeOf(error), code: codeOf(error), message: messageOf(error) };
}

/** On standard error. */
export function noteFailure(error: unknown): void {
  note(`cloudmount: ${messageOf(error)}`);
}

/** The command has failed: with --json the failure is its document. */
export function reportFailure(error: unknown, json: boolean): void {
  noteFailure(error);
  if (json) printJson({ error: failureOf(error) });
}

/** Expected failures explain themselves; anything else is a defect whose place helps. */
function messageOf(error: unknown): string {
  if (error instanceof CommandError || error instanceof CloudError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
