// Reads that refuse to wait for the disk: preadv2(2) with RWF_NOWAIT, which Node does not offer. It costs what
// `fs.readSync` costs (1.4 µs for 4 KiB), but the event loop that serves the kernel can never be caught in it.

import { constants } from 'node:os';
import koffi from 'koffi';
import { CloudError } from '../../errors.js';

type Preadv2 = (fd: number, iov: Uint8Array, count: number, offset: number, flags: number) => number | bigint;

function bindPreadv2(): Preadv2 | null {
  try {
    return koffi.load(null).func('long preadv2(int, void *, int, int64_t, int)') as unknown as Preadv2;
  } catch {
    return null; // an old musl does not have it: every read goes to the thread pool
  }
}

const preadv2 = bindPreadv2();
const { EAGAIN, EINTR, EINVAL, ENOSYS, EOPNOTSUPP } = constants.errno;

/** linux/fs.h: fail with EAGAIN instead of waiting for the disk. */
const RWF_NOWAIT = 0x08;

/** One fixed buffer and the reads that go into it. */
export class WarmReader {
  readonly buffer: Buffer;
  readonly #iov = Buffer.alloc(16);
  #supported = preadv2 !== null;

  constructor(size_bytes: number) {
    this.buffer = Buffer.allocUnsafeSlow(size_bytes);
    // struct iovec { void *iov_base; size_t iov_len; }: the buffer does not move, so its address is written once.
    this.#iov.writeBigUInt64LE(BigInt(koffi.address(this.buffer)), 0);
  }

  /** Bytes now in `buffer`; -1 when the page cache does not have the first of them (or the file system cannot say). */
  read(fd: number, offset: number, size: number): number {
    if (!this.#supported || preadv2 === null) return -1;
    this.#iov.writeUInt32LE(Math.min(size, this.buffer.length), 8);
    const count = Number(preadv2(fd, this.#iov, 1, offset, RWF_NOWAIT));
    if (count >= 0) return count;
    const errno = koffi.errno();
    if (errno === EAGAIN || errno === EINTR) return -1;
    if (errno === EOPNOTSUPP || errno === ENOSYS || errno === EINVAL) {
      this.#supported = false;
      return -1;
    }
    throw new CloudError('io', `reading ${size} bytes at ${offset} of a content file: errno ${errno}`);
  }
}
