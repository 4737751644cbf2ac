// What the kernel side (`fs`) and the daemon ask of the cache. Methods answer synchronously what is known and return a
// promise only where the network or the disk must be waited for (`MaybePromise`). All failures are `CloudError`s,
// thrown or rejected. Every promise ends when its `signal` aborts (with `interrupted`) or its bound passes.

import type { Timestamp } from '../clock.js';
import type { Ino, Name } from '../ids.js';
import type { MaybePromise } from '../maybe_promise.js';
import type { LockInfo, NodeKind, Quota, Rights } from '../remote/remote.js';

/** A node as the drive shows it. A live object: read it at once, do not keep it across an await. */
export interface NodeView {
  readonly ino: Ino;
  readonly kind: NodeKind;
  /** Local place; null once unlinked (still open, or a deletion on its way to the server). */
  readonly parent: Ino | null;
  readonly name: Name;
  readonly size_bytes: number;
  readonly mtime: Timestamp;
  readonly ctime: Timestamp;
  readonly atime: Timestamp;
  /** Permission bits 0o7777, uid and gid as stored; null = not stored, the mount's defaults apply. */
  readonly mode: number | null;
  readonly uid: number | null;
  readonly gid: number | null;
  readonly rights: Rights;
  readonly lock: 'none' | 'mine' | 'other';
  readonly symlinkTarget: string | null;
  /** Directories: number of sub-directories + 2 where known, else 1. Files: 1, or 0 once unlinked. */
  readonly nlink: number;
  /** Moves whenever the bytes a reader would get may differ (new version, local write through another handle). */
  readonly dataVersion: number;
}

export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  readonly signal: AbortSignal;
}

export interface NewNode {
  readonly mode: number;
  readonly uid: number | null;
  readonly gid: number | null;
}

export interface AttrChange {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size_bytes?: number;
  readonly mtime?: Timestamp;
  readonly atime?: Timestamp;
  readonly ctime?: Timestamp;
}

export type RenameMode = 'replace' | 'noreplace' | 'exchange';
export type XattrMode = 'set' | 'create' | 'replace';

export interface SpaceInfo {
  readonly total_bytes: number;
  readonly free_bytes: number;
  readonly files: number;
}

export type Seek = 'data' | 'hole';

export interface OpenMode {
  readonly read: boolean;
  readonly write: boolean;
  /** O_TRUNC: size becomes 0 as part of the open. */
  readonly truncate: boolean;
}

/** One open file. Reads see all writes of every handle of the same inode. */
export interface OpenFile {
  readonly ino: Ino;
  /** Bytes at [offset, offset+size), shorter only at end of file. The buffer is the callee's; consume it before the next
   * call on the event loop. Fetches what is missing. `stale` if the version this handle reads is gone. */
  read(offset: number, size: number, caller: Caller): MaybePromise<Buffer>;
  /** Stores all of `data` or nothing; `end` = behind what is there at that moment (O_APPEND). `data` is only valid until
   * the returned value settles (sync: until return). */
  write(offset: number | 'end', data: Buffer, caller: Caller): MaybePromise<void>;
  /** close(2) was called on one descriptor; queues what is dirty. Errors of this file's storage surface here. */
  flush(caller: Caller): MaybePromise<void>;
  /** Data and journal are on the local disk when it resolves. */
  fsync(caller: Caller): MaybePromise<void>;
  fallocate(mode: number, offset: number, length: number, caller: Caller): MaybePromise<void>;
  seek(offset: number, whence: Seek, caller: Caller): MaybePromise<number>;
  /** Descriptor of a content file the kernel may read and write itself, or null. Asked once, right after open, and
   * only by a mount that can pass through: while it is used, size and times come from the content file. The cache
   * keeps the descriptor valid until `release`. All handles of one inode that are open together answer alike. */
  passthroughFd(): number | null;
  /** The last reference to this handle is gone. Never fails. */
  release(): void;
}

/** Tells the kernel side what it must forget. Emitted on the event loop; the receiver must not call back into the cache. */
export type Invalidation =
  /** Attributes and, if `data`, cached pages of an inode changed. */
  | { readonly kind: 'inode'; readonly ino: Ino; readonly data: boolean }
  /** The dentry (or negative dentry) `name` of `parent` is not what it was, nor is the listing of `parent`. Its attributes
   * may be: that is another event. */
  | { readonly kind: 'entry'; readonly parent: Ino; readonly name: Name }
  /** `child` is gone from `parent`. */
  | { readonly kind: 'delete'; readonly parent: Ino; readonly child: Ino; readonly name: Name };

export interface DriveCache {
  readonly readOnly: boolean;
  /** Every change of what was told here is followed by an invalidation, so that the kernel may keep it for long: the server
   * has a feed of changes, pushed or polled. Otherwise it must ask again, which makes the cache ask the server again. */
  readonly announcesChanges: boolean;
  /** What the server can hold beyond bytes and names. */
  readonly holds: { readonly posix: boolean; readonly symlinks: boolean; readonly xattrs: boolean };

  /** Throws `stale` for an inode that no longer exists. */
  node(ino: Ino): NodeView;
  /** Null = no such name (and it is known that there is none). */
  lookup(parent: Ino, name: Name, caller: Caller): MaybePromise<NodeView | null>;
  /** Makes sure that `dir`'s listing is here and fresh enough; `listDir` then works from memory and disk only. */
  ensureListed(dir: Ino, caller: Caller): MaybePromise<void>;
  /** Up to `limit` entries with an inode number above `after`, ascending: the inode number is the directory offset, so
   * a scan neither loses nor doubles entries while the directory changes. */
  listDir(dir: Ino, after: Ino | 0, limit: number): readonly NodeView[];

  setattr(ino: Ino, change: AttrChange, caller: Caller): MaybePromise<NodeView>;
  create(parent: Ino, name: Name, node: NewNode, caller: Caller): MaybePromise<NodeView>;
  mkdir(parent: Ino, name: Name, node: NewNode, caller: Caller): MaybePromise<NodeView>;
  symlink(parent: Ino, name: Name, target: string, node: NewNode, caller: Caller): MaybePromise<NodeView>;
  unlink(parent: Ino, name: Name, caller: Caller): MaybePromise<void>;
  rmdir(parent: Ino, name: Name, caller: Caller): MaybePromise<void>;
  rename(parent: Ino, name: Name, newParent: Ino, newName: Name, mode: RenameMode, caller: Caller): MaybePromise<void>;

  open(ino: Ino, mode: OpenMode, caller: Caller): MaybePromise<OpenFile>;
  fsyncDir(ino: Ino): MaybePromise<void>;
  space(caller: Caller): MaybePromise<SpaceInfo>;

  getXattr(ino: Ino, name: string, caller: Caller): MaybePromise<Buffer>;
  setXattr(ino: Ino, name: string, value: Buffer, mode: XattrMode, caller: Caller): MaybePromise<void>;
  listXattr(ino: Ino, caller: Caller): MaybePromise<readonly string[]>;
  removeXattr(ino: Ino, name: string, caller: Caller): MaybePromise<void>;

  onInvalidate(listener: (event: Invalidation) => void): void;

  /** The kernel asks for something: what goes on behind the scenes gives way for a moment. Called for every request. */
  served(): void;
}

// ---- for the daemon -------------------------------------------------------------------------------------------------

/** `user.cloudmount.status` and `cloudmount status PATH`. */
export type NodeStatus = 'cloud' | 'partial' | 'cached' | 'dirty' | 'uploading' | 'failed' | 'conflict';

export interface QueueItem {
  readonly path: string;
  readonly ino: Ino;
  readonly operation: 'upload' | 'create' | 'move' | 'delete' | 'attributes';
  readonly size_bytes: number;
  readonly sent_bytes: number;
  readonly state: 'waiting' | 'running' | 'failed';
  readonly attempts: number;
  readonly error: string | null;
  readonly sinceEpoch_ms: number;
}

export interface CacheStatus {
  readonly connection: 'online' | 'offline' | 'unauthorized';
  readonly connectionError: string | null;
  readonly pushed: boolean;
  readonly cacheUsed_bytes: number;
  readonly cacheLimit_bytes: number;
  readonly minFree_bytes: number;
  /** False: the cache folder was removed or replaced while the drive uses it, and what is unsent ends with the drive. */
  readonly inPlace: boolean;
  readonly dirty_bytes: number;
  readonly pinned: number;
  readonly nodes: number;
  readonly queue: readonly QueueItem[];
  readonly conflicts: number;
  /** Folders that keep what was unsent when a damaged database had to be set aside. */
  readonly recovered: readonly string[];
  readonly quota: Quota | null;
}

export interface PathStatus {
  readonly path: string;
  readonly kind: NodeKind;
  readonly status: NodeStatus;
  /** Of a folder: of all files in it, however deep. */
  readonly size_bytes: number;
  readonly cached_bytes: number;
  /** Of a folder only: how many files are in it, however deep. */
  readonly files?: number;
  readonly pin: 'none' | 'pinned' | 'inherited';
  readonly lock: LockInfo | null;
  /** The number the server gave it; null where it is not there yet, or the server gives none. */
  readonly fileid: string | null;
  readonly error: string | null;
}

export interface PinInfo {
  readonly path: string;
  readonly kind: NodeKind;
  readonly files: number;
  readonly size_bytes: number;
  readonly cached_bytes: number;
  readonly complete: boolean;
}

export interface HeldLock {
  readonly path: string;
  readonly lock: LockInfo;
}

export interface ConflictInfo {
  /** Where the local version is kept. */
  readonly path: string;
  /** The name it competed for. */
  readonly original: string;
  /** Is anything there? Not where nothing could be made, and not when it is gone since. */
  readonly hasOriginal: boolean;
  readonly atEpoch_ms: number;
  readonly reason: string;
}

/** Paths here are local: relative to the mount point, `''` = the root, names joined with `/`. */
export interface CacheControl {
  status(): CacheStatus;
  /** Brings `quota` of the status up to date. Rejects never. */
  refreshQuota(maxAge_ms?: number): Promise<void>;
  pathStatus(path: string): MaybePromise<PathStatus>;
  /** What is pending under `path` is tried now, whatever it was to wait for. */
  sendNow(path: string): void;
  /** The same, and resolves when all of it is on the server, or rejects with what stands in the way. */
  flush(path: string, signal: AbortSignal): Promise<void>;
  pin(path: string): void;
  unpin(path: string): void;
  pins(): readonly PinInfo[];
  /** Resolves when the pinned subtree is complete. */
  waitPinned(path: string, signal: AbortSignal): Promise<void>;
  /** Dehydrates what is clean below `path`; returns the bytes freed and what was kept with the reason. */
  free(path: string): { freed_bytes: number; kept: readonly { path: string; reason: string }[] };
  conflicts(): readonly ConflictInfo[];
  resolve(path: string, keep: 'mine' | 'theirs' | 'both'): Promise<void>;
  /** Throws local changes away; the only way that ever happens. Resolves with how many files and folders had some. */
  discard(path: string): Promise<number>;
  lock(path: string): Promise<LockInfo>;
  /** `force`: also a lock of somebody else, if the server lets the user break it. Was it locked? */
  unlock(path: string, options?: { readonly force?: boolean }): Promise<boolean>;
  /** All locks that are known here, mine and others', by path. */
  locks(): readonly HeldLock[];
  /** Every invariant of the cache; an empty list is a healthy cache. */
  check(options: { readonly content: boolean }): Promise<readonly string[]>;
  /** Tries the connection now, if there is none. Resolves when it is known whether there is; rejects never. */
  reconnect(): Promise<void>;
  /** Stops accepting work, makes everything durable, closes. What is queued stays queued for the next start. */
  close(): Promise<void>;
}
