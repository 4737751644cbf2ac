// Files the kernel reads and writes itself. A backing file is registered by ioctl (CAP_SYS_ADMIN in the first user
// namespace) and named by its id in the answer to OPEN. Where the kernel refuses, the mount goes on without.

import { ioctl } from '../libc.js';
import type { Log } from '../log.js';
import { IOC_BACKING_CLOSE, IOC_BACKING_OPEN } from './wire/abi.js';

export interface BackingFiles {
  /** Registers `fd`; null if this mount cannot pass through (any more). */
  open(fd: number): number | null;
  close(backingId: number): void;
}

export const noBackingFiles: BackingFiles = { open: () => null, close: () => undefined };

export class KernelBackingFiles implements BackingFiles {
  readonly #device: number;
  readonly #log: Log;
  #usable = true;

  constructor(device: number, log: Log) {
    this.#device = device;
    this.#log = log;
  }

  get usable(): boolean {
    return this.#usable;
  }

  open(fd: number): number | null {
    if (!this.#usable) return null;
    // struct fuse_backing_map: s32 fd; u32 flags; u64 padding
    const map = Buffer.alloc(16);
    map.writeInt32LE(fd, 0);
    try {
      return ioctl(this.#device, IOC_BACKING_OPEN, map);
    } catch (error) {
      // EPERM without the privilege, ELOOP where the content folder is on a stacked file system (overlayfs).
      this.#usable = false;
      this.#log.info({ err: error }, 'the kernel refuses passthrough; files are read through the page cache instead');
      return null;
    }
  }

  close(backingId: number): void {
    const id = Buffer.alloc(4);
    id.writeUInt32LE(backingId, 0);
    try {
      ioctl(this.#device, IOC_BACKING_CLOSE, id);
    } catch (error) {
      this.#log.debug({ err: error, backingId }, 'closing a backing file');
    }
  }
}
