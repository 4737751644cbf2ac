// What the drive needs of a server, whatever the server is. One interface, several dialects behind it. The cache
// imports the types of this file and nothing else of this room. All methods reject with `CloudError` only, all waits
// are bounded, all are ended by their `signal` (rejecting with `interrupted`).

import type { Timestamp } from '../clock.js';
import type { RemotePath } from '../ids.js';
import { isStamp } from './stamp.js';

export type NodeKind = 'file' | 'dir' | 'symlink';

/** What we may do with a node; a set, as the server reports it. Absent knowledge = `ALL_RIGHTS`. */
export interface Rights {
  readonly read: boolean; // G
  readonly write: boolean; // W: change the content of a file
  readonly createFile: boolean; // C
  readonly createDir: boolean; // K
  readonly remove: boolean; // D
  readonly rename: boolean; // N
  readonly move: boolean; // V
  readonly share: boolean; // R
}

/** A lock the server reports on a node. */
export interface LockInfo {
  readonly owner: string;
  readonly sinceEpoch_s: number | null;
  readonly expiresEpoch_s: number | null;
  /** Present when the lock is ours and we know its token. */
  readonly token: string | null;
  readonly mine: boolean;
  /** It covers all that is below the folder, too (RFC 4918 section 9.10.3, Depth: infinity). Never said of a file. */
  readonly deep?: boolean;
  /** Ours, but held by another program or machine: not for this drive to keep alive. */
  readonly elsewhere?: boolean;
  /** The drive took it by itself and gives it back by itself (`--auto-lock`). Never said by a server. */
  readonly auto?: boolean;
}

/** In place of a token: whatever lock there is, by the right of its owner, of the file's owner or of an administrator. */
export const ANY_LOCK = 'cloudmount:user-lock';

/** POSIX attributes as our own server stores them. Every field is optional: other servers know none but mtime. */
export interface PosixMeta {
  readonly mode?: number; // permission bits 0o7777
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: Timestamp;
}

/** One node as the server describes it. */
export interface RemoteEntry {
  readonly path: RemotePath;
  readonly kind: NodeKind;
  /** Identity that survives renames, or null where the server has none. */
  readonly fileid: string | null;
  /** Version of the content (files) or of all below (collections), quotes included; null if the server sent none. */
  readonly etag: string | null;
  readonly size_bytes: number;
  readonly mtime: Timestamp;
  readonly rights: Rights;
  /** The lock that applies to the node, as far as the server says. */
  readonly lock: LockInfo | null;
  /** The collection above it on which that lock was taken. Absent: it was taken on the node itself. */
  readonly lockRoot?: RemotePath;
  readonly shared: 'in' | 'out' | 'link' | null;
  /** `ALGO:hex` as the server knows it, e.g. `SHA256:…`; null if unknown. */
  readonly checksum: string | null;
  readonly symlinkTarget: string | null;
  readonly posix: PosixMeta;
  /** The user's own xattrs (`user.` included in the name), values raw. Empty where the server cannot hold them. */
  readonly xattrs: ReadonlyMap<string, Buffer>;
  /** Only in listings: the server tells or names it in a way that cannot be. All that counts is that it is there; nothing
   * else here is true, `path` as far as it can be read. */
  readonly leftOut?: true;
}

export interface RemoteCapabilities {
  readonly dialect: 'cloudmount' | 'nextcloud' | 'owncloud' | 'generic';
  readonly changeFeed: boolean; // `changes` works: the whole tree can be mirrored
  readonly push: boolean; // `watch` delivers without polling
  readonly collectionEtags: boolean; // a collection's ETag moves when anything below it changes
  readonly fileIds: boolean;
  readonly symlinks: boolean;
  readonly xattrs: boolean;
  readonly posix: boolean; // mode, uid, gid stored
  readonly setMtime: boolean;
  readonly locks: boolean; // class 2
  readonly chunkedUpload: boolean;
  /** PUT honours If-Match / If-None-Match. False = every upload checks by PROPFIND first (and says so in status). */
  readonly conditionalPut: boolean;
  /** A listing leaves out what begins with a dot (nginx): only asked for by name is it there. Absent = it does not. */
  readonly hidesDotNames?: boolean;
}

/** What must hold on the server for a change to be applied. `none` only where the caller has said why. */
export type Precondition =
  | { readonly kind: 'if_match'; readonly etag: string }
  | { readonly kind: 'if_absent' }
  | { readonly kind: 'none' };

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Token of a lock we hold on the node, sent in the `If` header. */
  readonly lockToken?: string;
  /** MOVE: of other locks of ours in the way, on the collections it leads out of or into or on what is moved along. */
  readonly alsoTokens?: readonly string[];
  /** MOVE: the one of those that is on what is replaced itself. */
  readonly overToken?: string;
}

/** Body of an upload: reopened for each attempt, so that a retry sends the same bytes. */
export interface UploadSource {
  readonly size_bytes: number;
  /** Bytes [start, end). A chunk is valid until the next one is asked for. The stream errors if the local content cannot be
   * read in full. */
  open(start: number, end: number): AsyncIterable<Buffer>;
  /** SHA-256 of the whole, hex, if the caller can tell: taken on the way where `open` was read from start to end, else by
   * reading. Rejects as the stream does. */
  sha256?(): Promise<string>;
}

export interface PutResult {
  readonly etag: string | null;
  readonly fileid: string | null;
  readonly created: boolean;
}

/** Progress of a resumable upload; persisted by the caller as opaque JSON to continue after a restart. */
export interface UploadSession {
  readonly state: string | null;
  save(state: string | null): void;
  progress(sent_bytes: number): void;
  /** Awaited before the first request after which the server may have the file. */
  committing(): Promise<void>;
}

export interface MetaPatch extends PosixMeta {
  /** xattr name -> new value, null = remove. */
  readonly xattrs?: ReadonlyMap<string, Buffer | null>;
}

export interface Quota {
  readonly used_bytes: number;
  /** null = unlimited or unknown. */
  readonly available_bytes: number | null;
}

/** One step of the change feed. `path` is where the node is now (gone: where it was
 * in its collection, which may have moved since). What goes takes everything below it
 * along, named or not; so does a `present` that puts another kind or another file id at a path. The root is not named. */
export type RemoteChange =
  | { readonly kind: 'present'; readonly entry: RemoteEntry }
  | { readonly kind: 'gone'; readonly path: RemotePath };

export interface ChangePage {
  readonly changes: readonly RemoteChange[];
  /** Store this after applying the page; `changes(next)` continues from there. */
  readonly next: string;
  readonly more: boolean;
  /** True on every page of a listing that started without a cursor (or whose cursor the server no longer knows):
   * what is not named by the time `more` is false does not exist. */
  readonly full: boolean;
  /** The server no longer knew the cursor: with this page a listing begins, whatever the cursor belonged to. */
  readonly anew?: true;
}

export type ConnectionState = 'online' | 'offline' | 'unauthorized';

export interface RemoteEvents {
  /** Something changed on the server: fetch `changes` (or re-list what is watched). */
  onChange(): void;
  /** The push channel came up or broke. */
  onConnection(connected: boolean): void;
}

/** Where fetched bytes go. Calls come in order and without gaps within one `read`; awaited for back-pressure. A chunk is
 * valid until the call returns (not its promise): copy what is needed later. */
export type ReadSink = (chunk: Buffer, offset: number) => void | Promise<void>;

export interface MoveRule {
  readonly overwrite: { readonly etag: string } | null;
  readonly sourceEtag: string | null;
  readonly sourceKind?: NodeKind;
  readonly sourceId?: string | null;
}

export interface Remote {
  /** Valid after `connect`. */
  readonly capabilities: RemoteCapabilities;
  /** Shown to the user: scheme, host, path; never credentials. */
  readonly displayUrl: string;

  /** Finds out what the server is and whether we may in. Called again whenever we think we are back online. */
  connect(options?: CallOptions): Promise<RemoteCapabilities>;

  stat(path: RemotePath, options?: CallOptions): Promise<RemoteEntry>;

  /** The collection itself and its members (depth 1), in batches as they arrive. The collection comes first. An answer
   * that ends early or is no multistatus rejects: a listing is whole or it is an error. With a member that is `leftOut` it
   * does not say which others are not there. */
  list(path: RemotePath, options?: CallOptions): AsyncIterable<readonly RemoteEntry[]>;

  /** Bytes [start, end) of the version `etag` (null only where the server has no ETags). Resolves when the sink has
   * taken exactly those bytes. Rejects with `stale` if the server has another version, `protocol` if it answers with
   * another range or length than asked (nothing of a wrong answer reaches the sink), `network` if cut short. */
  read(
    path: RemotePath,
    range: { readonly start: number; readonly end: number },
    etag: string | null,
    sink: ReadSink,
    options?: CallOptions,
  ): Promise<void>;

  /** Whole-file upload, chunked and resumable where the server can and the size is worth it. `meta` travels with it
   * where the server takes it (mtime always tried). Rejects with `precondition` when the server's version is another;
   * a lost answer is looked into (stat + checksum/size/etag) before that is said. */
  put(
    path: RemotePath,
    source: UploadSource,
    precondition: Precondition,
    meta: PosixMeta,
    session: UploadSession,
    options?: CallOptions,
  ): Promise<PutResult>;

  mkdir(path: RemotePath, meta: PosixMeta, options?: CallOptions): Promise<PutResult>;
  symlink(path: RemotePath, target: string, precondition: Precondition, options?: CallOptions): Promise<PutResult>;

  /** Atomic on the server. `overwrite: null` = the target must not exist (`exists` otherwise); an ETag = the file there
   * must be exactly that version and is replaced (never used for collections). `sourceEtag`: precondition on the source.
   * `sourceKind`, `sourceId`: what it was, by its `fileid`; `precondition` if the name stands for something else by now, where
   * the server can be told the one or the other can be looked at. */
  move(from: RemotePath, to: RemotePath, rule: MoveRule, options?: CallOptions): Promise<void>;

  /** A file only if it is the version `etag`. A collection: `etag` is its collection ETag where the server has them,
   * else null (the caller has made sure that it is empty). `not_found` is success for the caller to judge. */
  remove(path: RemotePath, etag: string | null, options?: CallOptions): Promise<void>;

  /** Stores attributes; what the server cannot hold rejects with `unsupported` and changes nothing. */
  setMeta(path: RemotePath, patch: MetaPatch, options?: CallOptions): Promise<void>;

  lock(path: RemotePath, options?: CallOptions & { readonly timeout_s?: number }): Promise<LockInfo>;
  refreshLock(path: RemotePath, token: string, options?: CallOptions): Promise<LockInfo>;
  unlock(path: RemotePath, token: string, options?: CallOptions): Promise<void>;

  quota(options?: CallOptions): Promise<Quota | null>;

  /** One page of changes since `cursor` (null = everything there is), of `limit` entries at most if the server heeds it.
   * Only with `capabilities.changeFeed`. */
  changes(cursor: string | null, options?: CallOptions & { readonly limit?: number }): Promise<ChangePage>;

  /** Keeps a push channel open until the signal aborts, reconnecting by itself with backoff. Without push: returns at
   * once, the caller polls. */
  watch(events: RemoteEvents, signal: AbortSignal): void;

  /** Cheap reachability probe, bounded to a few seconds: resolves if the server answers and accepts us. */
  ping(options?: CallOptions): Promise<void>;

  close(): Promise<void>;
}

export const ALL_RIGHTS: Rights = {
  read: true,
  write: true,
  createFile: true,
  createDir: true,
  remove: true,
  rename: true,
  move: true,
  share: true,
};

/** Rights as a small integer, for storage; bit order is the field order of `Rights`. */
export function packRights(rights: Rights): number {
  return (
    Number(rights.read) |
    (Number(rights.write) << 1) |
    (Number(rights.createFile) << 2) |
    (Number(rights.createDir) << 3) |
    (Number(rights.remove) << 4) |
    (Number(rights.rename) << 5) |
    (Number(rights.move) << 6) |
    (Number(rights.share) << 7)
  );
}

export function unpackRights(bits: number): Rights {
  return {
    read: (bits & 1) !== 0,
    write: (bits & 2) !== 0,
    createFile: (bits & 4) !== 0,
    createDir: (bits & 8) !== 0,
    remove: (bits & 16) !== 0,
    rename: (bits & 32) !== 0,
    move: (bits & 64) !== 0,
    share: (bits & 128) !== 0,
  };
}

/** A version that can be insisted on: a strong ETag, or what stands for one where the server has none (`stamp.ts`). */
export function isCertain(version: string | null): version is string {
  return isStrongEtag(version) || isStamp(version);
}

/** A weak ETag cannot stand in If-Match (RFC 9110 section 13.1.1). */
export function isStrongEtag(etag: string | null): etag is string {
  return etag?.startsWith('"') === true;
}
