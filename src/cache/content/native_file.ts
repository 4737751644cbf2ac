// The file calls that Node has no API for, by koffi: sparse-file operations and reads that refuse to wait for the disk.
// All take a descriptor, all throw `CloudError` with the errno in the message.

import { constants } from 'node:os';
import koffi from 'koffi';
import { CloudError, type ErrorCode } from '../../errors.js';

const libc = koffi.load('libc.so.6');
const callFallocate = libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
const callLseek = libc.func('int64_t lseek(int fd, int64_t offset, int whence)');
const callPreadv2 = libc.func('long preadv2(int fd, void *iov, int count, int64_t offset, int flags)');

const { EAGAIN, EDQUOT, EFBIG, EINVAL, ENODEV, ENOSPC, ENOSYS, ENXIO, EOPNOTSUPP } = constants.errno;

// linux/falloc.h
export const FALLOC_FL_KEEP_SIZE = 0x01;
export const FALLOC_FL_PUNCH_HOLE = 0x02;
export const FALLOC_FL_ZERO_RANGE = 0x10;
// unistd.h
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
// linux/fs.h: fail with EAGAIN instead of waiting for the disk
const RWF_NOWAIT = 0x08;

function errorName(errno: number): string {
  for (const [name, value] of Object.entries(constants.errno)) if (value === errno) return name;
  return `errno ${errno}`;
}

function failure(doing: string): CloudError {
  const errno = koffi.errno();
  let code: ErrorCode = 'io';
  if (errno === ENOSPC) code = 'no_space';
  else if (errno === EDQUOT) code = 'quota';
  else if (errno === EFBIG) code = 'too_large';
  else if (errno === EINVAL) code = 'invalid';
  else if (errno === EOPNOTSUPP || errno === ENOSYS || errno === ENODEV) code = 'unsupported';
  return new CloudError(code, `${doing}: ${errorName(errno)}`);
}

/** fallocate(2). `unsupported` where the local file system cannot. */
export function fallocate(fd: number, mode: number, offset: number, length: number): void {
  if (callFallocate(fd, mode, offset, length) !== 0) {
    throw failure(`fallocate(mode ${mode}, offset ${offset}, length ${length})`);
  }
}

function seek(fd: number, offset: number, whence: number): number | null {
  const at = Number(callLseek(fd, offset, whence));
  if (at >= 0) return at;
  if (koffi.errno() === ENXIO) return null;
  throw failure(`lseek(offset ${offset}, ${whence === SEEK_DATA ? 'SEEK_DATA' : 'SEEK_HOLE'})`);
}

/** First byte at or after `offset` that is not in a hole; null when only holes follow. */
export function seekData(fd: number, offset: number): number | null {
  return seek(fd, offset, SEEK_DATA);
}

/** Start of the first hole at or after `offset` (the end of the file counts as one); null past the end. */
export function seekHole(fd: number, offset: number): number | null {
  return seek(fd, offset, SEEK_HOLE);
}

/** Reads into one fixed buffer without ever waiting for the disk. */
export class WarmReader {
  readonly buffer: Buffer;
  readonly #iov = Buffer.alloc(16);
  #supported = true;

  constructor(size_bytes: number) {
    this.buffer = Buffer.allocUnsafeSlow(size_bytes);
    // struct iovec { void *iov_base; size_t iov_len; }: the buffer does not move, so its address is written once.
    this.#iov.writeBigUInt64LE(BigInt(koffi.address(this.buffer)), 0);
  }

  /** Bytes now in `buffer`; -1 when the page cache does not have the first of them (or the file system cannot say). */
  read(fd: number, offset: number, size: number): number {
    if (!this.#supported) return -1;
    this.#iov.writeUInt32LE(Math.min(size, this.buffer.length), 8);
    const count = Number(callPreadv2(fd, this.#iov, 1, offset, RWF_NOWAIT));
    if (count >= 0) return count;
    const errno = koffi.errno();
    if (errno === EAGAIN) return -1;
    if (errno === EOPNOTSUPP || errno === ENOSYS || errno === EINVAL) {
      this.#supported = false;
      return -1;
    }
    throw failure(`preadv2(offset ${offset}, size ${size})`);
  }
}
