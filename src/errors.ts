// The closed set of things that can go wrong. No errno and no HTTP status here: `fs/errno.ts`, `remote/http.ts` and
// `server/dav/status.ts` each hold the one table that translates.

export type ErrorCode =
  // names and tree
  | 'not_found'
  | 'exists'
  | 'not_dir'
  | 'is_dir'
  | 'not_empty'
  | 'invalid'
  | 'name_too_long'
  | 'symlink_loop'
  // rights
  | 'no_access' // rights or locks say no (EACCES)
  | 'not_permitted' // the operation itself is not possible for this caller or server (EPERM)
  | 'read_only'
  | 'unauthorized' // the server does not accept our credentials
  | 'locked' // somebody else holds a lock
  // space
  | 'no_space'
  | 'quota'
  | 'too_large'
  // content
  | 'precondition' // the server's version is not the one we based our change on (412)
  | 'stale' // the version a handle reads is gone
  | 'corrupt' // local data damaged: checksum or size does not match its record
  // network
  | 'offline' // known to be without the server: fails at once
  | 'timeout'
  | 'network' // connection refused, reset, cut short
  | 'server' // 5xx
  | 'busy_server' // 503, 429: come back later
  | 'protocol' // an answer that is not what the protocol allows (captive portal, lying Content-Range, broken XML)
  // calls
  | 'interrupted'
  | 'busy'
  | 'again' // EAGAIN
  | 'unsupported' // EOPNOTSUPP
  | 'no_attribute'
  | 'range' // ERANGE: buffer too small
  | 'past_end' // ENXIO: lseek beyond the data there is
  | 'too_big' // E2BIG
  | 'io';

export interface ErrorDetails {
  /** Seconds the server asked us to wait (Retry-After). */
  readonly retryAfter_s?: number;
  /** Who holds the lock that is in the way. */
  readonly lockOwner?: string;
  /** The HTTP status it came from, for the log only. */
  readonly status?: number;
  readonly path?: string;
}

/** Every expected failure. `message` says what was tried, what is required and what was found. */
export class CloudError extends Error {
  override readonly name = 'CloudError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: ErrorDetails & { cause?: unknown } = {}) {
    const { cause, ...details } = options;
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }
}

export function isCloudError(error: unknown, ...codes: ErrorCode[]): error is CloudError {
  return error instanceof CloudError && (codes.length === 0 || codes.includes(error.code));
}

/** Any thrown value as a CloudError; what is not one becomes `io` with the original as cause. */
export function toCloudError(error: unknown, doing: string): CloudError {
  if (error instanceof CloudError) return error;
  if (
    error instanceof Error &&
    (error.name === 'AbortError' || (error as NodeJS.ErrnoException).code === 'ABORT_ERR')
  ) {
    return new CloudError('interrupted', `${doing}: interrupted`, { cause: error });
  }
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code === 'ENOSPC')
    return new CloudError('no_space', `${doing}: no space left on the local disk`, { cause: error });
  if (code === 'EDQUOT') return new CloudError('quota', `${doing}: local disk quota exceeded`, { cause: error });
  if (code === 'EROFS') return new CloudError('read_only', `${doing}: the local disk is read-only`, { cause: error });
  return new CloudError('io', `${doing}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}
