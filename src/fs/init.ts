// The first exchange of a connection: what the kernel offers and what this drive takes.
//
// No write-back cache: it excludes passthrough and would make the kernel the owner of sizes and times. POSIX locks and
// flock are left to the kernel (local to the machine). Page caches are dropped by explicit notification, never because
// a time stamp moved: the drive itself moves the time stamp with every local write. No ASYNC_DIO: with it an O_DIRECT read
// waits where no signal reaches it; without it the kernel sends INTERRUPT.

import { CloudError } from '../errors.js';
import { KERNEL_MINOR_VERSION, KERNEL_VERSION, MAX_IO_BYTES, MAX_PAGES, OLDEST_MINOR_VERSION } from './wire/abi.js';
import { Init, Init2 } from './wire/flags.js';
import type { InitOp, InitReply } from './wire/ops.js';

const WANTED =
  Init.ASYNC_READ |
  Init.ATOMIC_O_TRUNC |
  Init.BIG_WRITES |
  Init.DO_READDIRPLUS |
  Init.PARALLEL_DIROPS |
  Init.MAX_PAGES |
  Init.CACHE_SYMLINKS |
  Init.EXPLICIT_INVAL_DATA |
  Init.HANDLE_KILLPRIV_V2 |
  Init.INIT_EXT;

/** Requests of the kernel's own making (read-ahead, asynchronous I/O) that may be under way at once. */
const MAX_BACKGROUND = 128;
const CONGESTION_THRESHOLD = 96;

export interface Negotiated {
  readonly reply: InitReply;
  /** The kernel will take FOPEN_PASSTHROUGH. */
  readonly passthrough: boolean;
  /** It does without OPENDIR and RELEASEDIR where the first of them is answered with ENOSYS, and keeps listings then. */
  readonly opendirIsOptional: boolean;
}

/** Throws `unsupported` for a kernel that is too old. */
export function negotiate(op: InitOp, wants: { readonly passthrough: boolean }): Negotiated {
  if (op.major !== KERNEL_VERSION || op.minor < OLDEST_MINOR_VERSION) {
    throw new CloudError(
      'unsupported',
      `FUSE protocol ${KERNEL_VERSION}.${OLDEST_MINOR_VERSION} (Linux 5.4) or newer is required, ` +
        `this kernel speaks ${op.major}.${op.minor}`,
    );
  }
  const passthrough = wants.passthrough && (op.flags2 & Init2.PASSTHROUGH) !== 0;
  const flags2 = Init2.DIRECT_IO_ALLOW_MMAP | (passthrough ? Init2.PASSTHROUGH : 0);
  return {
    passthrough,
    opendirIsOptional: (op.flags & Init.NO_OPENDIR_SUPPORT) !== 0,
    reply: {
      minor: Math.min(op.minor, KERNEL_MINOR_VERSION),
      maxReadahead_bytes: op.maxReadahead_bytes,
      flags: (WANTED & op.flags) >>> 0,
      flags2: (flags2 & op.flags2) >>> 0,
      maxBackground: MAX_BACKGROUND,
      congestionThreshold: CONGESTION_THRESHOLD,
      maxWrite_bytes: MAX_IO_BYTES,
      timeGranularity_ns: 1,
      maxPages: MAX_PAGES,
      maxStackDepth: passthrough ? 1 : 0,
    },
  };
}
