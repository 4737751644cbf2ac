// The requests the kernel sends and the answers it gets, as types. Each operation says which system call causes it
// and which fields matter. Sizes and offsets are bytes.

import type { Timestamp } from '../../clock.js';
import type { HandleId, Ino, Name } from '../../ids.js';

/** `fuse_in_header` and the decoded operation. */
export interface Request {
  readonly opcode: number;
  /** Identifies the request until it is answered. 0 is never used by the kernel. */
  readonly unique: number;
  readonly ino: Ino;
  readonly uid: number;
  readonly gid: number;
  /** Thread id of the caller in the mount's pid namespace, 0 for the kernel's own doing. */
  readonly pid: number;
  readonly op: Op;
}

/** The first request of a connection; nothing else is sent before its answer. */
export interface InitOp {
  readonly kind: 'init';
  readonly major: number;
  readonly minor: number;
  readonly maxReadahead_bytes: number;
  /** `Init` bits the kernel offers. */
  readonly flags: number;
  /** `Init2` bits the kernel offers; 0 without INIT_EXT. */
  readonly flags2: number;
}

/** Any path walk (open, stat, …) over a name the kernel does not know or no longer trusts. Counts one lookup. */
export interface LookupOp {
  readonly kind: 'lookup';
  readonly name: Name;
}

/** The kernel dropped an inode: `nlookup` references go. Not answered. */
export interface ForgetOp {
  readonly kind: 'forget';
  readonly nlookup: number;
}

/** Many FORGETs in one. Not answered. */
export interface BatchForgetOp {
  readonly kind: 'batch_forget';
  readonly forgets: readonly { readonly ino: Ino; readonly nlookup: number }[];
}

/** stat(2), fstat(2), and whenever attributes are older than their timeout. `handle` is set for fstat on an open file. */
export interface GetattrOp {
  readonly kind: 'getattr';
  readonly handle: HandleId | null;
}

/** A time to set: a given one, or the daemon's clock (UTIME_NOW). */
export type TimeChange = Timestamp | 'now';

/** chmod(2), chown(2), truncate(2), ftruncate(2), utimensat(2). Only what is to change is present. */
export interface SetattrOp {
  readonly kind: 'setattr';
  /** ftruncate(2): the open file it came through. */
  readonly handle: HandleId | null;
  readonly mode: number | null;
  readonly uid: number | null;
  readonly gid: number | null;
  readonly size: number | null;
  readonly atime: TimeChange | null;
  readonly mtime: TimeChange | null;
  readonly ctime: Timestamp | null;
  /** HANDLE_KILLPRIV_V2: a truncation by a caller without CAP_FSETID takes suid and sgid away. */
  readonly killSuidgid: boolean;
}

/** readlink(2) and every walk through a symlink that is not cached. */
export interface ReadlinkOp {
  readonly kind: 'readlink';
}

/** symlink(2). */
export interface SymlinkOp {
  readonly kind: 'symlink';
  readonly name: Name;
  readonly target: string;
}

/** mknod(2): the type is in `mode`. The umask is already applied. */
export interface MknodOp {
  readonly kind: 'mknod';
  readonly name: Name;
  readonly mode: number;
}

/** mkdir(2). The umask is already applied. */
export interface MkdirOp {
  readonly kind: 'mkdir';
  readonly name: Name;
  readonly mode: number;
}

/** unlink(2). */
export interface UnlinkOp {
  readonly kind: 'unlink';
  readonly name: Name;
}

/** rmdir(2). */
export interface RmdirOp {
  readonly kind: 'rmdir';
  readonly name: Name;
}

/** rename(2) (`flags` 0) and renameat2(2) (RENAME_* in `flags`). */
export interface RenameOp {
  readonly kind: 'rename';
  readonly name: Name;
  readonly newParent: Ino;
  readonly newName: Name;
  readonly flags: number;
}

/** link(2). */
export interface LinkOp {
  readonly kind: 'link';
}

/** open(2) of an existing file. */
export interface OpenOp {
  readonly kind: 'open';
  /** O_* of open(2), without O_CREAT and O_EXCL. */
  readonly flags: number;
  readonly killSuidgid: boolean;
}

/** open(2) with O_CREAT of a name that is not there. LOOKUP and OPEN in one: counts one lookup, makes a handle. */
export interface CreateOp {
  readonly kind: 'create';
  readonly name: Name;
  readonly flags: number;
  readonly mode: number;
}

/** read(2), page faults of mmap(2), and the kernel's read-ahead. */
export interface ReadOp {
  readonly kind: 'read';
  readonly handle: HandleId;
  readonly offset: number;
  readonly size: number;
}

/** write(2) and dirty mmap pages. `data` lives in the request buffer. */
export interface WriteOp {
  readonly kind: 'write';
  readonly handle: HandleId;
  readonly offset: number;
  readonly data: Buffer;
  /** O_APPEND: `offset` is where the kernel believes the end to be. */
  readonly append: boolean;
  readonly killSuidgid: boolean;
}

/** statfs(2), df(1). */
export interface StatfsOp {
  readonly kind: 'statfs';
}

/** The last reference to an open file is gone. Its answer's error reaches nobody. */
export interface ReleaseOp {
  readonly kind: 'release';
  readonly handle: HandleId;
}

/** fsync(2), fdatasync(2). */
export interface FsyncOp {
  readonly kind: 'fsync';
  readonly handle: HandleId;
  readonly dataOnly: boolean;
}

/** setxattr(2). `value` lives in the request buffer. */
export interface SetxattrOp {
  readonly kind: 'setxattr';
  readonly name: string;
  readonly value: Buffer;
  /** XATTR_CREATE, XATTR_REPLACE or 0. */
  readonly flags: number;
}

/** getxattr(2). `size` 0 asks for the size. */
export interface GetxattrOp {
  readonly kind: 'getxattr';
  readonly name: string;
  readonly size: number;
}

/** listxattr(2). `size` 0 asks for the size. */
export interface ListxattrOp {
  readonly kind: 'listxattr';
  readonly size: number;
}

/** removexattr(2). */
export interface RemovexattrOp {
  readonly kind: 'removexattr';
  readonly name: string;
}

/** close(2), once per descriptor, also after dup(2) and fork(2): may come several times per handle. */
export interface FlushOp {
  readonly kind: 'flush';
  readonly handle: HandleId;
}

/** opendir(3), and open(2) of a directory. */
export interface OpendirOp {
  readonly kind: 'opendir';
}

/** getdents64(2). `offset` is 0 or the offset of the last entry that was taken. */
export interface ReaddirOp {
  readonly kind: 'readdir';
  readonly handle: HandleId;
  readonly offset: number;
  readonly size: number;
  /** READDIRPLUS: attributes with every entry, each of which counts one lookup. */
  readonly plus: boolean;
}

/** closedir(3). */
export interface ReleasedirOp {
  readonly kind: 'releasedir';
  readonly handle: HandleId;
}

/** fsync(2) of a directory. */
export interface FsyncdirOp {
  readonly kind: 'fsyncdir';
}

/** access(2), chdir(2) — only on mounts without `default_permissions`. */
export interface AccessOp {
  readonly kind: 'access';
  /** R_OK 4, W_OK 2, X_OK 1, or 0. */
  readonly mask: number;
}

/** A signal reached the caller of request `target`. Not answered. */
export interface InterruptOp {
  readonly kind: 'interrupt';
  readonly target: number;
}

/** The last request of a connection, where the kernel sends it. */
export interface DestroyOp {
  readonly kind: 'destroy';
}

/** fallocate(2). */
export interface FallocateOp {
  readonly kind: 'fallocate';
  readonly handle: HandleId;
  readonly offset: number;
  readonly length: number;
  readonly mode: number;
}

/** lseek(2) with SEEK_DATA or SEEK_HOLE. */
export interface LseekOp {
  readonly kind: 'lseek';
  readonly handle: HandleId;
  readonly offset: number;
  readonly whence: number;
}

/** ioctl(2). */
export interface IoctlOp {
  readonly kind: 'ioctl';
}

/** Operations that are not offered; ENOSYS makes the kernel do without for the rest of the connection. */
export interface UnknownOp {
  readonly kind: 'unknown';
}

export type Op =
  | InitOp
  | LookupOp
  | ForgetOp
  | BatchForgetOp
  | GetattrOp
  | SetattrOp
  | ReadlinkOp
  | SymlinkOp
  | MknodOp
  | MkdirOp
  | UnlinkOp
  | RmdirOp
  | RenameOp
  | LinkOp
  | OpenOp
  | CreateOp
  | ReadOp
  | WriteOp
  | StatfsOp
  | ReleaseOp
  | FsyncOp
  | SetxattrOp
  | GetxattrOp
  | ListxattrOp
  | RemovexattrOp
  | FlushOp
  | OpendirOp
  | ReaddirOp
  | ReleasedirOp
  | FsyncdirOp
  | AccessOp
  | InterruptOp
  | DestroyOp
  | FallocateOp
  | LseekOp
  | IoctlOp
  | UnknownOp;

// ---- answers --------------------------------------------------------------------------------------------------------

/** `fuse_attr` */
export interface FileAttr {
  readonly ino: Ino;
  readonly size_bytes: number;
  readonly atime: Timestamp;
  readonly mtime: Timestamp;
  readonly ctime: Timestamp;
  /** Type and permission bits. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
}

/** `fuse_entry_out`: an inode under a name, and for how long the kernel may believe both. */
export interface Entry {
  readonly attr: FileAttr;
  readonly entryTimeout_ms: number;
  readonly attrTimeout_ms: number;
}

/** `fuse_open_out` */
export interface OpenReply {
  readonly handle: HandleId;
  /** `Fopen` bits. */
  readonly flags: number;
  /** Set with FOPEN_PASSTHROUGH. */
  readonly backingId: number;
}

/** `fuse_init_out` */
export interface InitReply {
  readonly minor: number;
  readonly maxReadahead_bytes: number;
  readonly flags: number;
  readonly flags2: number;
  readonly maxBackground: number;
  readonly congestionThreshold: number;
  readonly maxWrite_bytes: number;
  readonly timeGranularity_ns: number;
  readonly maxPages: number;
  /** How deep a file system may be stacked on the backing files of PASSTHROUGH; 0 = no passthrough. */
  readonly maxStackDepth: number;
}

/** `fuse_kstatfs` */
export interface StatfsReply {
  readonly blocks: number;
  readonly freeBlocks: number;
  readonly files: number;
  readonly freeFiles: number;
  readonly blockSize_bytes: number;
  readonly nameMax_bytes: number;
}

export type Answer =
  /** FORGET, BATCH_FORGET, INTERRUPT: the kernel expects none. */
  | { readonly kind: 'none' }
  | { readonly kind: 'ok' }
  /** A positive errno. */
  | { readonly kind: 'error'; readonly errno: number }
  | { readonly kind: 'init'; readonly init: InitReply }
  | { readonly kind: 'entry'; readonly entry: Entry }
  /** "There is no such name", to be believed for a while. */
  | { readonly kind: 'negative'; readonly timeout_ms: number }
  | { readonly kind: 'attr'; readonly attr: FileAttr; readonly timeout_ms: number }
  | { readonly kind: 'open'; readonly open: OpenReply }
  | { readonly kind: 'create'; readonly entry: Entry; readonly open: OpenReply }
  | { readonly kind: 'data'; readonly data: Uint8Array }
  /** Directory entries: `page`, or what a `DirentWriter` has just put in the reply buffer. `counted` count a lookup each. */
  | {
      readonly kind: 'dirents';
      readonly length: number;
      readonly counted: readonly Ino[];
      readonly page: Buffer | null;
    }
  | { readonly kind: 'written'; readonly size: number }
  | { readonly kind: 'statfs'; readonly statfs: StatfsReply }
  | { readonly kind: 'xattr_size'; readonly size: number }
  | { readonly kind: 'offset'; readonly offset: number };

export const OK: Answer = { kind: 'ok' };
export const NO_ANSWER: Answer = { kind: 'none' };
