// The only table from the program's errors to the kernel's numbers.

import { constants } from 'node:os';
import { CloudError, type ErrorCode } from '../errors.js';

const e = constants.errno;

const ERRNO: Record<ErrorCode, number> = {
  not_found: e.ENOENT,
  exists: e.EEXIST,
  not_dir: e.ENOTDIR,
  is_dir: e.EISDIR,
  not_empty: e.ENOTEMPTY,
  invalid: e.EINVAL,
  name_too_long: e.ENAMETOOLONG,
  symlink_loop: e.ELOOP,
  no_access: e.EACCES,
  not_permitted: e.EPERM,
  read_only: e.EROFS,
  unauthorized: e.EACCES,
  locked: e.EBUSY,
  no_space: e.ENOSPC,
  quota: e.EDQUOT,
  too_large: e.EFBIG,
  precondition: e.ESTALE,
  stale: e.ESTALE,
  corrupt: e.EIO,
  offline: e.ENETUNREACH,
  timeout: e.ETIMEDOUT,
  network: e.EIO,
  server: e.EIO,
  busy_server: e.EIO,
  protocol: e.EIO,
  interrupted: e.EINTR,
  busy: e.EBUSY,
  again: e.EAGAIN,
  unsupported: e.EOPNOTSUPP,
  no_attribute: e.ENODATA,
  range: e.ERANGE,
  past_end: e.ENXIO,
  too_big: e.E2BIG,
  io: e.EIO,
};

/** The positive errno of anything that was thrown; what is no `CloudError` is a defect and becomes EIO. */
export function errnoOf(error: unknown): number {
  return error instanceof CloudError ? ERRNO[error.code] : e.EIO;
}

/** Answers that come from the protocol itself and have no `CloudError`. */
export const Errno = {
  ENOENT: e.ENOENT,
  EIO: e.EIO,
  EACCES: e.EACCES,
  EPERM: e.EPERM,
  EINVAL: e.EINVAL,
  ENOTTY: e.ENOTTY,
  ENOSYS: e.ENOSYS,
  EOPNOTSUPP: e.EOPNOTSUPP,
  ERANGE: e.ERANGE,
  E2BIG: e.E2BIG,
  EPROTO: e.EPROTO,
  ETIMEDOUT: e.ETIMEDOUT,
} as const;
