// What the daemon tells the kernel unasked, as bytes: a reply header with `unique` 0 and the notification's code in
// place of the error. Several are put one behind the other for the thread that writes them; each states its length.

import type { Ino, Name } from '../../ids.js';
import { encodeName } from '../../names.js';
import { EXPIRE_ONLY, NotifyCode, OUT_HEADER_BYTES } from './abi.js';

export type Notification =
  /** Forget attributes, and with `data` the cached pages (of a directory: its cached listing). */
  | { readonly kind: 'inval_inode'; readonly ino: Ino; readonly data: boolean }
  /** Look the name up again before the dentry, positive or negative, is used next. */
  | { readonly kind: 'inval_entry'; readonly parent: Ino; readonly name: Name }
  /** The dentry is gone: also tells who has it open or as working directory. */
  | { readonly kind: 'delete'; readonly parent: Ino; readonly child: Ino; readonly name: Name }
  /** All dentries are to be looked up again when next used (protocol 7.44). */
  | { readonly kind: 'inc_epoch' };

export function encodeNotification(notification: Notification): Buffer {
  switch (notification.kind) {
    case 'inval_inode': {
      // struct fuse_notify_inval_inode_out: u64 ino; s64 off, len. A negative offset means attributes only.
      const out = start(NotifyCode.INVAL_INODE, 24);
      out.writeBigUInt64LE(BigInt(notification.ino), OUT_HEADER_BYTES);
      out.writeBigInt64LE(notification.data ? 0n : -1n, OUT_HEADER_BYTES + 8);
      return out;
    }
    case 'inval_entry': {
      // struct fuse_notify_inval_entry_out: u64 parent; u32 namelen, flags; then the name and a NUL. Always with
      // FUSE_EXPIRE_ONLY (protocol 7.38, padding before): to unhash a live dentry of a directory would make getcwd(2)
      // fail for everybody in it, also when the name only now became known here.
      const name = encodeName(notification.name);
      const out = start(NotifyCode.INVAL_ENTRY, 16 + name.length + 1);
      out.writeBigUInt64LE(BigInt(notification.parent), OUT_HEADER_BYTES);
      out.writeUInt32LE(name.length, OUT_HEADER_BYTES + 8);
      out.writeUInt32LE(EXPIRE_ONLY, OUT_HEADER_BYTES + 12);
      name.copy(out, OUT_HEADER_BYTES + 16);
      return out;
    }
    case 'delete': {
      // struct fuse_notify_delete_out: u64 parent, child; u32 namelen, padding; then the name and a NUL
      const name = encodeName(notification.name);
      const out = start(NotifyCode.DELETE, 24 + name.length + 1);
      out.writeBigUInt64LE(BigInt(notification.parent), OUT_HEADER_BYTES);
      out.writeBigUInt64LE(BigInt(notification.child), OUT_HEADER_BYTES + 8);
      out.writeUInt32LE(name.length, OUT_HEADER_BYTES + 16);
      name.copy(out, OUT_HEADER_BYTES + 24);
      return out;
    }
    case 'inc_epoch':
      return start(NotifyCode.INC_EPOCH, 0);
  }
}

function start(code: number, payload_bytes: number): Buffer {
  const out = Buffer.alloc(OUT_HEADER_BYTES + payload_bytes);
  out.writeUInt32LE(out.length, 0);
  out.writeInt32LE(code, 4);
  return out;
}
