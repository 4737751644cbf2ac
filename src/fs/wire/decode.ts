// Bytes of a request -> `Request`. One short function per structure of `linux/fuse.h`; the layout is stated where it is
// read. Views (`data`, `value`) point into the request buffer.

import { CloudError } from '../../errors.js';
import type { HandleId, Ino } from '../../ids.js';
import { IN_HEADER_BYTES, Opcode } from './abi.js';
import { type Cursor, ShortReadError } from './cursor.js';
import {
  Fattr,
  FSYNC_FDATASYNC,
  GETATTR_FH,
  Init,
  O_APPEND,
  OPEN_KILL_SUIDGID,
  WRITE_CACHE,
  WRITE_KILL_SUIDGID,
} from './flags.js';
import type { Op, ReaddirOp, Request, SetattrOp, TimeChange } from './ops.js';

/** The header was read, the operation was not: the kernel must still get an answer to `unique`. */
export class DecodeError extends Error {
  override readonly name = 'DecodeError';
  readonly unique: number;
  readonly opcode: number;

  constructor(unique: number, opcode: number, cause: unknown) {
    super(`decoding request ${unique}, opcode ${opcode}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
    this.unique = unique;
    this.opcode = opcode;
  }
}

/**
 * Decodes the `length` bytes that were read into the cursor's buffer.
 * Throws `ShortReadError` where there is no whole header, else `DecodeError`.
 */
export function decodeRequest(cursor: Cursor, length: number): Request {
  // struct fuse_in_header: u32 len, opcode; u64 unique, nodeid; u32 uid, gid, pid; u16 total_extlen, padding
  cursor.reset(0, length);
  const stated = cursor.u32();
  if (stated !== length) throw new ShortReadError('fuse_in_header.len', 0, stated, length);
  const opcode = cursor.u32();
  const unique = cursor.u64();
  const ino = cursor.u64() as Ino;
  const uid = cursor.u32();
  const gid = cursor.u32();
  const pid = cursor.u32();
  const extensions_bytes = cursor.u16() * 8;
  try {
    cursor.reset(IN_HEADER_BYTES, length - extensions_bytes);
    return { opcode, unique, ino, uid, gid, pid, op: decodeOp(opcode, cursor) };
  } catch (cause) {
    throw new DecodeError(unique, opcode, cause);
  }
}

/** File handles are numbers of our own making; anything else is answered as a bad handle, not decoded as one. */
function handle(cursor: Cursor): HandleId {
  return cursor.u64() as HandleId;
}

function decodeOp(opcode: number, cursor: Cursor): Op {
  switch (opcode) {
    case Opcode.LOOKUP:
      return { kind: 'lookup', name: cursor.fileName() };
    case Opcode.GETATTR: {
      // struct fuse_getattr_in: u32 flags, dummy; u64 fh
      const flags = cursor.u32();
      cursor.skip(4);
      return { kind: 'getattr', handle: flags & GETATTR_FH ? handle(cursor) : null };
    }
    case Opcode.READ: {
      // struct fuse_read_in: u64 fh, offset; u32 size, read_flags; u64 lock_owner; u32 flags, padding
      const op = { kind: 'read', handle: handle(cursor), offset: cursor.u64(), size: cursor.u32() } as const;
      cursor.skip(20);
      return op;
    }
    case Opcode.WRITE: {
      // struct fuse_write_in: u64 fh, offset; u32 size, write_flags; u64 lock_owner; u32 flags, padding; then the data
      const fh = handle(cursor);
      const offset = cursor.u64();
      const size = cursor.u32();
      const flags = cursor.u32();
      cursor.skip(8);
      const append = (cursor.u32() & O_APPEND) !== 0 && (flags & WRITE_CACHE) === 0;
      cursor.skip(4);
      const killSuidgid = (flags & WRITE_KILL_SUIDGID) !== 0;
      return { kind: 'write', handle: fh, offset, data: cursor.bytes(size), append, killSuidgid };
    }
    case Opcode.READDIRPLUS:
      return readdir(cursor, true);
    case Opcode.READDIR:
      return readdir(cursor, false);
    case Opcode.OPEN: {
      // struct fuse_open_in: u32 flags, open_flags
      const flags = cursor.u32();
      return { kind: 'open', flags, killSuidgid: (cursor.u32() & OPEN_KILL_SUIDGID) !== 0 };
    }
    case Opcode.OPENDIR:
      return { kind: 'opendir' };
    case Opcode.FLUSH:
      // struct fuse_flush_in: u64 fh; u32 unused, padding; u64 lock_owner
      return { kind: 'flush', handle: handle(cursor) };
    case Opcode.RELEASE:
      // struct fuse_release_in: u64 fh; u32 flags, release_flags; u64 lock_owner
      return { kind: 'release', handle: handle(cursor) };
    case Opcode.RELEASEDIR:
      return { kind: 'releasedir', handle: handle(cursor) };
    case Opcode.FORGET:
      return { kind: 'forget', nlookup: cursor.u64() };
    case Opcode.BATCH_FORGET:
      return batchForget(cursor);
    case Opcode.INTERRUPT:
      return { kind: 'interrupt', target: cursor.u64() };
    case Opcode.GETXATTR: {
      // struct fuse_getxattr_in: u32 size, padding; then the name
      const size = cursor.u32();
      cursor.skip(4);
      return { kind: 'getxattr', size, name: cursor.text() };
    }
    case Opcode.LISTXATTR:
      return { kind: 'listxattr', size: cursor.u32() };
    case Opcode.SETXATTR: {
      // struct fuse_setxattr_in without SETXATTR_EXT: u32 size, flags; then the name and the value
      const size = cursor.u32();
      const flags = cursor.u32();
      const name = cursor.text();
      return { kind: 'setxattr', name, value: cursor.bytes(size), flags };
    }
    case Opcode.REMOVEXATTR:
      return { kind: 'removexattr', name: cursor.text() };
    case Opcode.CREATE: {
      // struct fuse_create_in: u32 flags, mode, umask, open_flags; then the name
      const flags = cursor.u32();
      const mode = cursor.u32();
      cursor.skip(8);
      return { kind: 'create', flags, mode, name: cursor.fileName() };
    }
    case Opcode.SETATTR:
      return setattr(cursor);
    case Opcode.READLINK:
      return { kind: 'readlink' };
    case Opcode.SYMLINK: {
      const name = cursor.fileName();
      return { kind: 'symlink', name, target: cursor.text() };
    }
    case Opcode.MKNOD: {
      // struct fuse_mknod_in: u32 mode, rdev, umask, padding; then the name
      const mode = cursor.u32();
      cursor.skip(12);
      return { kind: 'mknod', mode, name: cursor.fileName() };
    }
    case Opcode.MKDIR: {
      // struct fuse_mkdir_in: u32 mode, umask; then the name
      const mode = cursor.u32();
      cursor.skip(4);
      return { kind: 'mkdir', mode, name: cursor.fileName() };
    }
    case Opcode.UNLINK:
      return { kind: 'unlink', name: cursor.fileName() };
    case Opcode.RMDIR:
      return { kind: 'rmdir', name: cursor.fileName() };
    case Opcode.RENAME: {
      // struct fuse_rename_in: u64 newdir; then both names
      const newParent = cursor.u64() as Ino;
      return { kind: 'rename', newParent, flags: 0, name: cursor.fileName(), newName: cursor.fileName() };
    }
    case Opcode.RENAME2: {
      // struct fuse_rename2_in: u64 newdir; u32 flags, padding; then both names
      const newParent = cursor.u64() as Ino;
      const flags = cursor.u32();
      cursor.skip(4);
      return { kind: 'rename', newParent, flags, name: cursor.fileName(), newName: cursor.fileName() };
    }
    case Opcode.LINK:
      return { kind: 'link' };
    case Opcode.STATFS:
      return { kind: 'statfs' };
    case Opcode.FSYNC: {
      // struct fuse_fsync_in: u64 fh; u32 fsync_flags, padding
      const fh = handle(cursor);
      return { kind: 'fsync', handle: fh, dataOnly: (cursor.u32() & FSYNC_FDATASYNC) !== 0 };
    }
    case Opcode.FSYNCDIR:
      return { kind: 'fsyncdir' };
    case Opcode.ACCESS:
      return { kind: 'access', mask: cursor.u32() };
    case Opcode.FALLOCATE: {
      // struct fuse_fallocate_in: u64 fh, offset, length; u32 mode, padding
      const fh = handle(cursor);
      const offset = cursor.u64();
      const length = cursor.u64();
      return { kind: 'fallocate', handle: fh, offset, length, mode: cursor.u32() };
    }
    case Opcode.LSEEK: {
      // struct fuse_lseek_in: u64 fh, offset; u32 whence, padding
      const fh = handle(cursor);
      const offset = cursor.u64();
      return { kind: 'lseek', handle: fh, offset, whence: cursor.u32() };
    }
    case Opcode.IOCTL:
      return { kind: 'ioctl' };
    case Opcode.DESTROY:
      return { kind: 'destroy' };
    case Opcode.INIT: {
      // struct fuse_init_in: u32 major, minor, max_readahead, flags, and from 7.36 on flags2, unused[11]
      const major = cursor.u32();
      const minor = cursor.u32();
      const maxReadahead_bytes = cursor.u32();
      const flags = cursor.u32();
      const flags2 = flags & Init.INIT_EXT && cursor.remaining_bytes >= 4 ? cursor.u32() : 0;
      return { kind: 'init', major, minor, maxReadahead_bytes, flags, flags2 };
    }
    default:
      return { kind: 'unknown' };
  }
}

function readdir(cursor: Cursor, plus: boolean): ReaddirOp {
  // struct fuse_read_in, as in READ
  const fh = handle(cursor);
  const offset = cursor.u64();
  return { kind: 'readdir', handle: fh, offset, size: cursor.u32(), plus };
}

function batchForget(cursor: Cursor): Op {
  // struct fuse_batch_forget_in: u32 count, dummy; then count times struct fuse_forget_one: u64 nodeid, nlookup
  const count = cursor.u32();
  cursor.skip(4);
  if (count * 16 > cursor.remaining_bytes) {
    throw new CloudError(
      'io',
      `BATCH_FORGET of ${count} inodes needs ${count * 16} bytes, found ${cursor.remaining_bytes}`,
    );
  }
  const forgets: { ino: Ino; nlookup: number }[] = [];
  for (let i = 0; i < count; i++) forgets.push({ ino: cursor.u64() as Ino, nlookup: cursor.u64() });
  return { kind: 'batch_forget', forgets };
}

function setattr(cursor: Cursor): SetattrOp {
  // struct fuse_setattr_in: u32 valid, padding; u64 fh, size, lock_owner, atime, mtime, ctime;
  //                         u32 atimensec, mtimensec, ctimensec, mode, unused4, uid, gid, unused5
  const valid = cursor.u32();
  cursor.skip(4);
  const has = (bit: number) => (valid & bit) !== 0;
  const fh = has(Fattr.FH) ? handle(cursor) : skip8(cursor);
  const size = has(Fattr.SIZE) ? cursor.u64() : skip8(cursor);
  cursor.skip(8);
  const atime_s = has(Fattr.ATIME) ? cursor.i64() : skip8(cursor);
  const mtime_s = has(Fattr.MTIME) ? cursor.i64() : skip8(cursor);
  const ctime_s = has(Fattr.CTIME) ? cursor.i64() : skip8(cursor);
  const atime_ns = cursor.u32();
  const mtime_ns = cursor.u32();
  const ctime_ns = cursor.u32();
  const mode = cursor.u32();
  cursor.skip(4);
  const uid = cursor.u32();
  const gid = cursor.u32();
  return {
    kind: 'setattr',
    handle: fh,
    mode: has(Fattr.MODE) ? mode : null,
    uid: has(Fattr.UID) ? uid : null,
    gid: has(Fattr.GID) ? gid : null,
    size,
    atime: timeChange(has(Fattr.ATIME_NOW), atime_s, atime_ns),
    mtime: timeChange(has(Fattr.MTIME_NOW), mtime_s, mtime_ns),
    ctime: ctime_s === null ? null : { s: ctime_s, ns: ctime_ns },
    killSuidgid: has(Fattr.KILL_SUIDGID),
  };
}

function skip8(cursor: Cursor): null {
  cursor.skip(8);
  return null;
}

function timeChange(now: boolean, s: number | null, ns: number): TimeChange | null {
  if (now) return 'now';
  return s === null ? null : { s, ns };
}
