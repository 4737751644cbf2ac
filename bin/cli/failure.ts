// A failure, as the user is told of it.

import { CloudError } from '../../src/errors.js';
import { CommandError, codeOf, EXIT, type ExitCode, exitCodeOf } from './exit_codes.js';
import { note, printJson } from './output.js';

/** What went wrong as `--json` has it (docs/json.md). */
export function failureOf(error: unknown): object {
  return { exitCode: exitCodeOf(error), code: codeOf(error), message: messageOf(error) };
}

/** On standard error. `about`: which of several, unless the message says so. Names in it are anybody's. */
export function noteFailure(error: unknown, about?: string): void {
  const message = messageOf(error);
  const subject = about === undefined || message.includes(about) ? '' : `${about}: `;
  note(`cloudmount: ${subject}${message}`);
}

/** The command has failed: with --json the failure is its document. */
export function reportFailure(error: unknown, json: boolean, about?: string): void {
  noteFailure(error, about);
  if (json) printJson({ error: failureOf(error) });
}

/** Of several things these failed, each perhaps named by `about`: all are told. Returns the exit code of the first, which
 * with `json` is the command's document. */
export function reportFailures(
  failures: readonly { readonly error: unknown; readonly about?: string | undefined }[],
  json: boolean,
): ExitCode {
  const [first, ...others] = failures;
  if (first === undefined) return EXIT.ok;
  reportFailure(first.error, json, first.about);
  for (const { error, about } of others) noteFailure(error, about);
  return exitCodeOf(first.error);
}

/** Expected failures explain themselves; anything else is a defect whose place helps. */
function messageOf(error: unknown): string {
  if (error instanceof CommandError || error instanceof CloudError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
