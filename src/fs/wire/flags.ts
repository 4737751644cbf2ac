// Bit flags of the FUSE kernel protocol. Source: `include/uapi/linux/fuse.h`; open(2), rename(2) and fallocate(2) flags
// from the generic Linux ABI (the same on x64 and arm64 for those used here).

/** INIT flags, bits 0..31 (`fuse_init_in.flags`). */
export const Init = {
  ASYNC_READ: 1 << 0,
  POSIX_LOCKS: 1 << 1,
  ATOMIC_O_TRUNC: 1 << 3,
  BIG_WRITES: 1 << 5,
  AUTO_INVAL_DATA: 1 << 12,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  PARALLEL_DIROPS: 1 << 18,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  NO_OPENDIR_SUPPORT: 1 << 24,
  EXPLICIT_INVAL_DATA: 1 << 25,
  HANDLE_KILLPRIV_V2: 1 << 28,
  INIT_EXT: 1 << 30,
} as const;

/** INIT flags, bits 32..63 counted from 0 (`fuse_init_in.flags2`). */
export const Init2 = {
  DIRECT_IO_ALLOW_MMAP: 1 << 4,
  PASSTHROUGH: 1 << 5,
} as const;

/** `fuse_open_out.open_flags` */
export const Fopen = {
  DIRECT_IO: 1 << 0,
  KEEP_CACHE: 1 << 1,
  CACHE_DIR: 1 << 3,
  /** No FLUSH at close(2); Linux 5.16, older ones send it all the same. */
  NOFLUSH: 1 << 5,
  PASSTHROUGH: 1 << 7,
} as const;

/** `fuse_setattr_in.valid` */
export const Fattr = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  CTIME: 1 << 10,
  KILL_SUIDGID: 1 << 11,
} as const;

/** `fuse_getattr_in.getattr_flags` */
export const GETATTR_FH = 1 << 0;
/** `fuse_open_in.open_flags`: kill suid and sgid on O_TRUNC (HANDLE_KILLPRIV_V2). */
export const OPEN_KILL_SUIDGID = 1 << 0;
/** `fuse_write_in.write_flags`: of a dirty page, not of a write(2). */
export const WRITE_CACHE = 1 << 0;
/** `fuse_write_in.write_flags` */
export const WRITE_KILL_SUIDGID = 1 << 2;
/** `fuse_fsync_in.fsync_flags` */
export const FSYNC_FDATASYNC = 1 << 0;

export const O_ACCMODE = 3;
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;

export const RENAME_NOREPLACE = 1 << 0;
export const RENAME_EXCHANGE = 1 << 1;
export const RENAME_WHITEOUT = 1 << 2;

export const XATTR_CREATE = 1;
export const XATTR_REPLACE = 2;

export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

/** `mode_t` */
export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const S_IXGRP = 0o010;
export const PERMISSION_BITS = 0o7777;

/** `d_type` of a directory entry (`S_IFMT >> 12`). */
export const DT_DIR = S_IFDIR >> 12;
