// One node in memory: the row of `schema.ts` with names, types and the few rules that follow from it.

import type { Timestamp } from '../../clock.js';
import { type Ino, type Name, ROOT_INO } from '../../ids.js';
import {
  ALL_RIGHTS,
  type LockInfo,
  type NodeKind,
  packRights,
  type Rights,
  unpackRights,
} from '../../remote/remote.js';
import type { NodeView } from '../cache_api.js';
import type { LockCover } from './lock_cover.js';

/** What of a node differs from the server besides its place. */
export const Dirty = {
  content: 1,
  mode: 2,
  owner: 4,
  mtime: 8,
  xattrs: 16,
} as const;

export const DIRTY_META = Dirty.mode | Dirty.owner | Dirty.mtime | Dirty.xattrs;

export interface ConflictNote {
  readonly original: string;
  /** Folder of the original, where the copy is in another one. */
  readonly parent?: Ino;
  readonly atEpoch_ms: number;
  readonly reason: string;
}

/** Told to the server, but its answer may have been lost: with the connection, or with the process. */
export interface Sending {
  /** Where a new node was to be made; null when its base says where it is. */
  readonly place: BasePlace | null;
  /** Of the content that was on its way, hex; null for what is not a file. */
  readonly sha256: string | null;
  readonly size_bytes: number;
}

/** Where the server has a node: member `name` of the collection that is node `parent` here. */
export interface BasePlace {
  readonly parent: Ino;
  readonly name: Name;
}

const knownRights: (Rights | undefined)[] = [];

export function rightsOfBits(bits: number): Rights {
  return (knownRights[bits] ??= unpackRights(bits));
}

const ONLY_FILES = packRights({ ...unpackRights(0), write: true });
const ONLY_DIRS = packRights({ ...unpackRights(0), createFile: true, createDir: true });

/** Without what means nothing for such a node and servers tell one way or another: what was made here has all rights, and
 * if the server grants these nothing has changed. */
export function rightsBitsOf(kind: NodeKind, rights: Rights): number {
  return packRights(rights) & ~(kind === 'dir' ? ONLY_FILES : ONLY_DIRS);
}

const ALL_OF_FILE = rightsBitsOf('file', ALL_RIGHTS);
const ALL_OF_DIR = rightsBitsOf('dir', ALL_RIGHTS);

export class NodeRecord implements NodeView {
  readonly ino: Ino;
  readonly kind: NodeKind;
  parent: Ino | null;
  name: Name;
  size_bytes = 0;
  mtime: Timestamp;
  ctime: Timestamp;
  atime: Timestamp;
  mode: number | null = null;
  uid: number | null = null;
  gid: number | null = null;
  symlinkTarget: string | null = null;
  rightsBits: number;
  shared: 'in' | 'out' | 'link' | null = null;
  checksum: string | null = null;
  fileid: string | null = null;
  /** The lock on the node itself; `heldLock` is the one that counts. */
  lockInfo: LockInfo | null = null;
  xattrs: Map<string, Buffer> | null = null;
  base: BasePlace | null = null;
  baseEtag: string | null = null;
  baseSize_bytes: number | null = null;
  /** Truncated here: bytes of the base version at and beyond this offset never come back. Null = not truncated. */
  cut_bytes: number | null = null;
  /** Truncated, and nothing was synced since: a power cut now leaves the base version, not an empty file. */
  torn = false;
  /** A truncate to `cut_bytes` is recorded, and its file, of which only parts are here, may still be as long as before. */
  cutting = false;
  /** The disk has refused what was written: the content may be another by now. It is not sent before it is written anew. */
  unstored = false;
  /** Since the base version, oldest first. */
  sending: readonly Sending[] = [];
  seen = 0;
  /** Pushed out of its base slot by a feed that has not ended: where is it now? `follow` = the drive shows it where the
   * server has it; `stay` = the user has put it elsewhere. */
  limbo: 'none' | 'follow' | 'stay' = 'none';
  listed_ms = 0;
  listedEtag: string | null = null;
  dirty = 0;
  xattrDirty: Set<string> | null = null;
  pending: number | null = null;
  pendingSince_ms = 0;
  error: string | null = null;
  errorCode: string | null = null;
  attempts = 0;
  uploadState: string | null = null;
  gen = 0;
  extents: Buffer | null = null;
  sums: Buffer | null = null;
  fingerprint: string | null = null;
  cached_bytes = 0;
  used_ms = 0;
  pin = false;
  /** A file that is called like what only this machine cares about; a folder that the server has removed, and nothing else
   * than such files are in here. */
  localOnly = false;
  conflict: ConflictNote | null = null;
  /** In memory only. */
  dataVersion = 0;
  /** Where it was shown until the server gave the name to another version, or removed it, while it was open here: if
   * somebody writes to it yet, it comes back. In memory only. */
  displaced: BasePlace | null = null;
  /** The server has told of another version while there were changes here, or of a file where a new one is here. In memory
   * only: of what was not sent yet, or is not to be, when it was read from the disk it may be so. */
  surpassed = false;
  /** Monotonic time before which writeback leaves the node alone (quiet time, backoff). In memory only. */
  notBefore_ms = 0;
  /** Set by the store. In memory only. */
  cover: LockCover | null = null;

  constructor(ino: Ino, kind: NodeKind, parent: Ino | null, name: Name, now: Timestamp) {
    this.ino = ino;
    this.kind = kind;
    this.parent = parent;
    this.name = name;
    this.rightsBits = kind === 'dir' ? ALL_OF_DIR : ALL_OF_FILE;
    this.mtime = now;
    this.ctime = now;
    this.atime = now;
  }

  get rights(): Rights {
    return rightsOfBits(this.rightsBits);
  }

  set rights(rights: Rights) {
    this.rightsBits = rightsBitsOf(this.kind, rights);
  }

  get lock(): 'none' | 'mine' | 'other' {
    const held = this.heldLock;
    if (held === null) return 'none';
    return held.mine ? 'mine' : 'other';
  }

  /** The lock that applies: on the node itself, or on a folder above it. */
  get heldLock(): LockInfo | null {
    const above = this.cover?.at(this.parent)?.lock ?? null;
    return lockThatCounts(this.lockInfo, above, this.base !== null || this.ino === ROOT_INO);
  }

  /** Of our lock on it, or on a folder above it, where the server has it (or is to have it). */
  get lockToken(): string | null {
    const own = this.lockInfo;
    if (own?.mine === true) return own.token;
    const above = this.cover?.at(this.base?.parent ?? this.parent)?.lock;
    return above?.mine === true ? above.token : null;
  }

  get nlink(): number {
    if (this.parent === null && this.ino !== 1) return 0;
    // 1 for directories tells find(1) not to count sub-directories, which would cost a query per directory.
    return 1;
  }

  get isDir(): boolean {
    return this.kind === 'dir';
  }

  get contentDirty(): boolean {
    return (this.dirty & Dirty.content) !== 0;
  }

  /** Is the node where the server has it? Unlinked, or not on the server, is not. */
  get inPlace(): boolean {
    if (this.ino === 1) return true;
    return this.base !== null && this.parent === this.base.parent && this.name === this.base.name;
  }

  /** Never sent. Not so what got its name while the server had it, or may have had it: that is still to be told. */
  get staysHere(): boolean {
    return this.localOnly && this.base === null && this.sending.length === 0;
  }

  /** Anything at all that the server does not know yet. */
  get differs(): boolean {
    if (this.staysHere) return false;
    if (this.parent === null && this.ino !== 1) return this.base !== null || this.sending.length > 0;
    return this.dirty !== 0 || !this.inPlace;
  }
}

/** Of the lock on a node itself and that on a folder above it: one of ours before others'. What the server does not have
 * yet (`onServer` false) is nobody else's, whoever has locked the folder. */
export function lockThatCounts(own: LockInfo | null, above: LockInfo | null, onServer: boolean): LockInfo | null {
  if (own?.mine === true || above === null) return own;
  if (above.mine) return above;
  return own ?? (onServer ? above : null);
}
