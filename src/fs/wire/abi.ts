// Numbers of the FUSE kernel protocol: opcodes, structure sizes, notification codes, ioctls. Source of every value:
// `include/uapi/linux/fuse.h`, protocol 7.45. The protocol is in host byte order; all machines served are little-endian.

export const KERNEL_VERSION = 7;
/** What this program speaks. */
export const KERNEL_MINOR_VERSION = 45;
/** Oldest kernel understood: 7.31 (Linux 5.4), for MAX_PAGES, CACHE_SYMLINKS and EXPLICIT_INVAL_DATA. */
export const OLDEST_MINOR_VERSION = 31;

/** `enum fuse_opcode` */
export const Opcode = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SETUPMAPPING: 48,
  REMOVEMAPPING: 49,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const;

/** `enum fuse_notify_code`: what the daemon may tell the kernel unasked. */
export const NotifyCode = {
  INVAL_INODE: 2,
  INVAL_ENTRY: 3,
  DELETE: 6,
  INC_EPOCH: 8,
} as const;

/** Flag of INVAL_ENTRY: the dentry expires and stays hashed (`FUSE_EXPIRE_ONLY`). */
export const EXPIRE_ONLY = 1;

/** First protocol minor that knows INC_EPOCH. */
export const INC_EPOCH_MINOR_VERSION = 44;

export const IN_HEADER_BYTES = 40;
export const OUT_HEADER_BYTES = 16;
export const ATTR_BYTES = 88;
export const ENTRY_OUT_BYTES = 128;
export const ATTR_OUT_BYTES = 104;
export const OPEN_OUT_BYTES = 16;
export const INIT_OUT_BYTES = 64;
export const STATFS_OUT_BYTES = 80;
export const WRITE_IN_BYTES = 40;
/** `offsetof(struct fuse_dirent, name)` */
export const DIRENT_BYTES = 24;
export const DIRENTPLUS_BYTES = ENTRY_OUT_BYTES + DIRENT_BYTES;

/** Largest data part of one READ or WRITE that is asked for: 256 pages of 4 KiB. */
export const MAX_IO_BYTES = 1 << 20;
export const MAX_PAGES = 256;
/** A request buffer must hold the largest WRITE; the kernel refuses smaller ones with EINVAL. */
export const REQUEST_BUFFER_BYTES = MAX_IO_BYTES + 4096;

/** `FUSE_DEV_IOC_BACKING_OPEN` with `struct fuse_backing_map`, and `FUSE_DEV_IOC_BACKING_CLOSE` with a u32 id. */
export const IOC_BACKING_OPEN = 0x4010e501;
export const IOC_BACKING_CLOSE = 0x4004e502;
