// What the server knows about every file, as an interface made for SQLite in one process and PostgreSQL under several.
//
// Nodes are addressed by id; a path is resolved inside a transaction. All methods are asynchronous because PostgreSQL's
// are; inside `read` and `write` nothing but the transaction's own methods may be awaited (SQLite runs many write
// transactions as one group and must not wait for I/O in the middle). `snapshot` is the one that may.
//
// The change sequence is one growing number for the whole store. Every visible change gives the node (and each node
// whose path moved with it) a new, unique number; what goes away leaves a tombstone with a number. A collection's ETag is
// the newest number at or below it, written to all ancestors in the same transaction, so it moves when anything below
// moves. Ordering all changes of one root by this number is the change feed (RFC 6578).

import type { Timestamp } from '../../../clock.js';
import type { Name } from '../../../ids.js';
import type { Mount, ShareRead, ShareWrite } from './share_records.js';

declare const brand: unique symbol;
/** Identity of a node; survives rename and move; never reused. Shown to clients as `oc:fileid`. */
export type NodeId = number & { readonly [brand]: 'NodeId' };
/** Identity of stored bytes; several nodes may share one. */
export type ContentId = number & { readonly [brand]: 'ContentId' };

export type NodeKind = 'file' | 'dir' | 'symlink';

export interface NodeRecord {
  readonly id: NodeId;
  /** null for a user's root. */
  readonly parentId: NodeId | null;
  readonly rootId: NodeId;
  /** '' for a root. */
  readonly name: Name;
  readonly kind: NodeKind;
  /** Strong, quoted. Files: never the same for two contents. Collections: moves with anything below. */
  readonly etag: string;
  /** Files: content length; symlinks: length of the target; collections: sum of everything below. */
  readonly size_bytes: number;
  readonly mtime: Timestamp;
  readonly created_ms: number;
  /** Permission bits 0o7777, null = never set. */
  readonly mode: number | null;
  readonly uid: number | null;
  readonly gid: number | null;
  /** Bytes of the target as `decodeName` gives them; null unless a symlink. */
  readonly target: string | null;
  /** Hex SHA-256 of the content; null for collections. */
  readonly sha256: string | null;
  readonly contentId: ContentId | null;
  readonly changedSeq: number;
  /** False = there are certainly no dead properties: saves the query. */
  readonly hasProperties: boolean;
  /** Set when the node was found as an entry for a share: all else is the shared node's, but for `name`, which is the
   * entry's. */
  readonly mount?: Mount;
}

/** A path looked up: `node` is what stands there, `parent` the collection it is (or would be) in. `ancestors` goes from
 * the root of the tree that `parent` is in to `parent`: once a path has entered a share, that is the owner's tree.
 * `parent` is null when a collection on the way is missing (or is none), and for the root. */
export interface Resolved {
  readonly node: NodeRecord | null;
  readonly parent: NodeRecord | null;
  readonly ancestors: readonly NodeRecord[];
  /** The collections above `node` where it is stored; other than `ancestors` only for the entry of a share itself. */
  readonly above: readonly NodeRecord[];
}

/** A property as set by PROPPATCH; `xml` is the whole serialised element, namespaces declared. */
export interface DeadProperty {
  readonly ns: string;
  readonly name: string;
  readonly xml: string;
}

export type PropertyChange =
  | ({ readonly kind: 'set' } & DeadProperty)
  | { readonly kind: 'remove'; readonly ns: string; readonly name: string };

/** A lock (RFC 4918 section 6). `nodeId` is its lock root. */
export interface LockRecord {
  readonly token: string; // absolute URI, `urn:uuid:…` or `opaquelocktoken:…`
  readonly nodeId: NodeId;
  readonly scope: 'exclusive' | 'shared';
  readonly depth: '0' | 'infinity';
  /** Content of the client's `DAV:owner`, serialised; '' = none given. */
  readonly ownerXml: string;
  readonly userId: string;
  readonly displayName: string;
  readonly created_ms: number;
  readonly timeout_s: number;
  readonly expires_ms: number;
  /** Belongs to the user, whatever program they use: no token has to be shown. Default false. */
  readonly byUser?: boolean;
}

/** Bytes on their way into the store: small ones travel in the transaction, others are in the blob store already. */
export type NewContent =
  | { readonly kind: 'inline'; readonly data: Buffer; readonly sha256: string; readonly size_bytes: number }
  | { readonly kind: 'blob'; readonly sha256: string; readonly size_bytes: number };

/** Where the bytes of a content are: `data` when inline, else the blob store under `sha256`. */
export interface ContentRecord {
  readonly sha256: string;
  readonly size_bytes: number;
  readonly data: Buffer | null;
}

export interface Readable {
  readonly node: NodeRecord;
  /** null for collections and symlinks. */
  readonly content: ContentRecord | null;
}

export interface Attributes {
  readonly mtime?: Timestamp | undefined;
  readonly created_ms?: number | undefined;
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

export type NewNode = Attributes &
  (
    | { readonly kind: 'dir' }
    | { readonly kind: 'file'; readonly content: NewContent }
    | { readonly kind: 'symlink'; readonly target: string }
  );

export interface Usage {
  readonly used_bytes: number;
  /** null = unlimited. */
  readonly quota_bytes: number | null;
}

/** One step of the feed, in order. `path` from the root. A `present` may repeat a node (a collection is sent ahead of
 * its first member); the later one is as true as the first. */
export type Change =
  | { readonly kind: 'present'; readonly node: NodeRecord; readonly path: readonly Name[] }
  | { readonly kind: 'gone'; readonly path: readonly Name[] };

/** Where a client is in the feed: everything up to `seq` is known to it. During its first listing, `listedFrom` is where
 * the feed stood when that began: what went away before then was never told. */
export interface FeedCursor {
  readonly seq: number;
  readonly listedFrom: number | null;
}

export interface FeedPage {
  readonly changes: readonly Change[];
  readonly next: FeedCursor;
  readonly more: boolean;
}

export type Detail = 'full' | 'brief';

export interface MetadataRead extends ShareRead {
  root(userId: string): Promise<NodeRecord | null>;
  node(id: NodeId): Promise<NodeRecord | null>;
  resolve(rootId: NodeId, path: readonly Name[]): Promise<Resolved>;
  /** The node at `path` with its content: what GET needs, at the least cost. Of files and symlinks without what GET does
   * not tell (as 0, null or false): nanoseconds, mode, uid, gid, changedSeq, hasProperties. */
  readable(rootId: NodeId, path: readonly Name[]): Promise<Readable | null>;
  /** From the root down to the node itself. */
  lineage(id: NodeId): Promise<readonly NodeRecord[]>;
  /** Members ordered by name, `limit` at most, those after `after`. One query whatever their number. `brief` costs half
   * of `full` (the default) and leaves out (as 0 or null) what most listings do not ask for: nanoseconds, mode, uid, gid,
   * target, sha256, contentId, changedSeq. */
  children(parent: NodeRecord, after: Name | null, limit: number, detail?: Detail): Promise<readonly NodeRecord[]>;
  hasChildren(parentId: NodeId): Promise<boolean>;
  /** How many nodes are below, counted up to `limit`. */
  countBelow(id: NodeId, limit: number): Promise<number>;
  /** Dead properties of many nodes in one query. Nodes without any are absent from the map. */
  properties(ids: readonly NodeId[]): Promise<ReadonlyMap<NodeId, readonly DeadProperty[]>>;
  content(id: ContentId): Promise<ContentRecord | null>;
  usage(rootId: NodeId): Promise<Usage>;

  /** Locks that live at `now_ms` and are rooted at one of the nodes. One query. */
  locksOn(ids: readonly NodeId[], now_ms: number): Promise<readonly LockRecord[]>;
  /** Living locks of a whole tree, oldest first. */
  locksIn(rootId: NodeId, now_ms: number): Promise<readonly LockRecord[]>;
  /** Living locks rooted strictly below the node. */
  locksBelow(id: NodeId, now_ms: number): Promise<readonly LockRecord[]>;
  lock(token: string, now_ms: number): Promise<LockRecord | null>;
  /** How many of the locks in this tree this user holds. */
  countLocks(rootId: NodeId, userId: string, now_ms: number): Promise<number>;
  /** Does anything in this root carry a living lock? The cheap question in front of the others. */
  anyLock(rootId: NodeId, now_ms: number): Promise<boolean>;
  /** When the first lock runs out (it may have done so); null = there is none. */
  nextLockExpiry(): Promise<number | null>;

  /** Newest number of the sequence and the identity of this history (changes when a backup is restored). */
  head(): Promise<{ readonly seq: number; readonly epoch: string }>;
  /** One page of what changed at or below `collectionId` since `cursor`, `limit` entries at most (parents sent ahead
   * come on top). A null cursor starts a first listing. Returns null when the cursor is too old, from the future, or
   * from before the collection itself was moved: the client must start anew. */
  changes(collectionId: NodeId, cursor: FeedCursor | null, limit: number): Promise<FeedPage | null>;
}

/** Records handed in name the node; its state is read again, so that an old record does no harm. */
export interface MetadataWrite extends MetadataRead, ShareWrite {
  /** The user's root, made if it is not there. */
  ensureRoot(userId: string): Promise<NodeRecord>;
  /** null = unlimited. Does not touch what is stored already. */
  setQuota(rootId: NodeId, quota_bytes: number | null): Promise<void>;
  /** Takes the root and everything below away (an account is removed). */
  removeRoot(userId: string): Promise<void>;
  /** All that is in one user's tree goes into a new folder `name` (numbered if it is taken) of another's, with what is
   * shared of it; what the first one has received ends, and their root goes. Returns the folder, null if there was
   * nothing. Rejects with `quota`. */
  handOver(userId: string, toUserId: string, name: Name): Promise<NodeRecord | null>;

  /** Rejects with `exists` if the name is taken. The quota is checked (`quota`). */
  create(parent: NodeRecord, name: Name, spec: NewNode): Promise<NodeRecord>;
  /** New content for a file or symlink, keeping its identity, properties and locks. The quota is checked. */
  replace(node: NodeRecord, spec: Exclude<NewNode, { kind: 'dir' }>): Promise<NodeRecord>;
  setAttributes(node: NodeRecord, attributes: Attributes): Promise<NodeRecord>;
  setProperties(node: NodeRecord, changes: readonly PropertyChange[]): Promise<NodeRecord>;
  /** The node and everything below, with properties and locks. */
  remove(node: NodeRecord): Promise<void>;
  /** Same identity at another place; the name there must be free (`exists`). The caller has made sure that `parent` is
   * not below `node`. Locks rooted at the node are dropped (RFC 4918 section 7.6), as are those below. */
  move(node: NodeRecord, parent: NodeRecord, name: Name): Promise<NodeRecord>;
  /** New nodes with the same contents, attributes and dead properties, without locks; `deep` false = a collection without
   * its members. The name must be free. The quota is checked. */
  copy(node: NodeRecord, parent: NodeRecord, name: Name, deep: boolean): Promise<NodeRecord>;

  addLock(lock: LockRecord): Promise<void>;
  refreshLock(token: string, timeout_s: number, expires_ms: number): Promise<void>;
  removeLock(token: string): Promise<void>;
  /** Drops the locks that have run out, as a change of what they were on. Returns how many. */
  expireLocks(now_ms: number): Promise<number>;
}

/** What one committed transaction changed, per user whose tree it was in. */
export interface CommittedChange {
  readonly userId: string;
  readonly seq: number;
  readonly fileIds: readonly NodeId[];
}

/** Result of a round of housekeeping. */
export interface SweepResult {
  readonly expiredLocks: number;
  readonly prunedTombstones: number;
}

/** A content nobody refers to any more, kept in the blob store for the grace time. */
export interface UnusedContent {
  readonly sha256: string;
  readonly size_bytes: number;
}

export interface MetadataStore {
  /** A consistent view; `fn` awaits only `tx` methods. */
  read<T>(fn: (tx: MetadataRead) => Promise<T>): Promise<T>;
  /** A consistent view that may be held over I/O (streaming a long listing). Bounded in number, also of each holder; waits
   * for a free one. */
  snapshot<T>(fn: (tx: MetadataRead) => Promise<T>, holder?: string): Promise<T>;
  /** All or nothing, one after the other; resolves when durable. `fn` awaits only `tx` methods, and may run again. With
   * `mayLapse` (of the result) it resolves as soon as everybody sees it and a crash does not undo it: for what a power cut
   * in the next milliseconds may undo without harm to any file. */
  write<T>(fn: (tx: MetadataWrite) => Promise<T>, mayLapse?: (result: T) => boolean): Promise<T>;
  /** What is written waits in large amounts for a `snapshot` to end. */
  isHeldUp(): boolean;
  /** Resolves when all that a `read` could have seen so far is durable. */
  durable(): Promise<void>;
  /** Called after a transaction is durable, in order, before its `write` resolves (unless that `mayLapse`). */
  onCommit(listener: (changes: readonly CommittedChange[]) => void): () => void;

  /** Drops expired locks and tombstones beyond the retention (their count and age). */
  sweep(now_ms: number): Promise<SweepResult>;
  /** Contents in the blob store that lost their last reference before `before_ms`. */
  unusedContents(before_ms: number, limit: number): Promise<readonly UnusedContent[]>;
  /** Forgets those of the given contents that are still unused, in one transaction, and says which: their bytes may go. */
  forgetContents(sha256: readonly string[]): Promise<readonly string[]>;
  /** Which of these are known to the store (used, or unused within grace)? */
  knownContents(sha256: readonly string[]): Promise<ReadonlySet<string>>;
  /** Starts a new history: every sync token and collection ETag handed out before is void, and no number of a history that
   * is not known here any more is given out again. For a restored backup. */
  newEpoch(): Promise<void>;
  close(): Promise<void>;
}
