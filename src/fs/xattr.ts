// Extended attributes as the kernel asks for them. Only `user.*` is offered: it goes to the cache, which answers
// `user.cloudmount.*` itself. Other namespaces (security, system, trusted) are not supported and say so at once, because
// programs ask for them on every file.

import type { Caller, DriveCache, XattrMode } from '../cache/cache_api.js';
import { CloudError } from '../errors.js';
import type { Ino } from '../ids.js';
import { andThen, type MaybePromise } from '../maybe_promise.js';
import { encodeName } from '../names.js';
import { Errno } from './errno.js';
import { XATTR_CREATE, XATTR_REPLACE } from './wire/flags.js';
import { type Answer, type GetxattrOp, type ListxattrOp, OK, type RemovexattrOp, type SetxattrOp } from './wire/ops.js';

/** XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h. */
export const XATTR_MAX_BYTES = 65_536;

const NOT_SUPPORTED: Answer = { kind: 'error', errno: Errno.EOPNOTSUPP };
const BUFFER_TOO_SMALL: Answer = { kind: 'error', errno: Errno.ERANGE };
const TOO_BIG: Answer = { kind: 'error', errno: Errno.E2BIG };

function isOffered(name: string): boolean {
  return name.startsWith('user.') && name.length > 'user.'.length;
}

export function getxattr(cache: DriveCache, ino: Ino, op: GetxattrOp, caller: Caller): MaybePromise<Answer> {
  if (!isOffered(op.name)) return NOT_SUPPORTED;
  return andThen(cache.getXattr(ino, op.name, caller), (value) => sized(value, op.size));
}

export function listxattr(cache: DriveCache, ino: Ino, op: ListxattrOp, caller: Caller): MaybePromise<Answer> {
  return andThen(cache.listXattr(ino, caller), (names) =>
    sized(Buffer.concat(names.map((name) => encodeName(`${name}\0`))), op.size),
  );
}

export function setxattr(cache: DriveCache, ino: Ino, op: SetxattrOp, caller: Caller): MaybePromise<Answer> {
  if (!isOffered(op.name)) return NOT_SUPPORTED;
  if (op.value.length > XATTR_MAX_BYTES) return TOO_BIG;
  return andThen(cache.setXattr(ino, op.name, op.value, modeOf(op.flags), caller), () => OK);
}

export function removexattr(cache: DriveCache, ino: Ino, op: RemovexattrOp, caller: Caller): MaybePromise<Answer> {
  if (!isOffered(op.name)) return NOT_SUPPORTED;
  return andThen(cache.removeXattr(ino, op.name, caller), () => OK);
}

function modeOf(flags: number): XattrMode {
  switch (flags) {
    case 0:
      return 'set';
    case XATTR_CREATE:
      return 'create';
    case XATTR_REPLACE:
      return 'replace';
    default:
      throw new CloudError('invalid', `setxattr: flags are 0, XATTR_CREATE or XATTR_REPLACE, found ${flags}`);
  }
}

/** xattr(7): size 0 asks how large the buffer must be; a buffer that is too small is ERANGE. */
function sized(value: Uint8Array, size: number): Answer {
  if (value.length > XATTR_MAX_BYTES) return TOO_BIG;
  if (size === 0) return { kind: 'xattr_size', size: value.length };
  return value.length > size ? BUFFER_TOO_SMALL : { kind: 'data', data: value };
}
