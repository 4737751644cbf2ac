// What the commands return; explained in docs/exit-codes.md. Scripts depend on these numbers: they never change meaning.

import { CloudError, type ErrorCode } from '../../src/errors.js';

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  notRunning: 3,
  offline: 4,
  auth: 5,
  conflict: 6,
  busy: 7,
  unfinished: 8,
  problems: 9,
  interrupted: 130,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** A failure whose exit code the command knows better than the error's own code says. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly exitCode: ExitCode;
  readonly code: ErrorCode;

  /** `code`: where the exit code alone does not say it. */
  constructor(exitCode: ExitCode, message: string, code?: ErrorCode) {
    super(message);
    this.exitCode = exitCode;
    this.code = code ?? BY_EXIT[exitCode];
  }
}

const BY_CODE: Partial<Record<ErrorCode, ExitCode>> = {
  invalid: EXIT.usage,
  offline: EXIT.offline,
  timeout: EXIT.offline,
  network: EXIT.offline,
  busy_server: EXIT.offline, // in maintenance: as with no server at all, it will be there again
  unauthorized: EXIT.auth,
  precondition: EXIT.conflict,
  exists: EXIT.conflict,
  not_empty: EXIT.conflict,
  locked: EXIT.busy,
  busy: EXIT.busy,
  interrupted: EXIT.interrupted,
};

/** What a `CommandError` is called in JSON. */
const BY_EXIT: Readonly<Record<ExitCode, ErrorCode>> = {
  [EXIT.ok]: 'io',
  [EXIT.failed]: 'io',
  [EXIT.usage]: 'invalid',
  [EXIT.notRunning]: 'not_found',
  [EXIT.offline]: 'offline',
  [EXIT.auth]: 'unauthorized',
  [EXIT.conflict]: 'exists',
  [EXIT.busy]: 'busy',
  [EXIT.unfinished]: 'timeout',
  [EXIT.problems]: 'corrupt',
  [EXIT.interrupted]: 'interrupted',
};

export function codeOf(error: unknown): ErrorCode {
  return error instanceof CloudError || error instanceof CommandError ? error.code : 'io';
}

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommandError) return error.exitCode;
  if (error instanceof CloudError) return BY_CODE[error.code] ?? EXIT.failed;
  return EXIT.failed;
}
