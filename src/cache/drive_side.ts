// The cache as the kernel side sees it. Answers from memory and SQLite at once; only these wait: a directory that must be
// listed (follower), bytes that must be fetched (hydrator), room that must be made (space), the first change of a clean
// file (journal), a lock (network). Nothing here holds anything while it waits.

import type { Clock } from '../clock.js';
import { CloudError } from '../errors.js';
import { type Ino, type Name, ROOT_INO } from '../ids.js';
import type { Log } from '../log.js';
import { andThen, type MaybePromise } from '../maybe_promise.js';
import type { Quota, Remote } from '../remote/remote.js';
import type { ActiveContent } from './active_content.js';
import type { AutoLock } from './auto_lock.js';
import type {
  AttrChange,
  Caller,
  DriveCache,
  Invalidation,
  NewNode,
  NodeView,
  OpenFile,
  OpenMode,
  RenameMode,
  SpaceInfo,
  XattrMode,
} from './cache_api.js';
import type { Conflicts } from './conflicts.js';
import type { Connection } from './connection.js';
import type { Contents } from './contents.js';
import {
  beginKernelWrites,
  FileHandle,
  type FileServices,
  markDirty,
  noteKernelWrites,
  resize,
} from './file_handle.js';
import type { Follower } from './follower.js';
import type { Hydrator } from './hydrator.js';
import { heldByOther } from './locks.js';
import type { MappedWrites } from './mapped_writes.js';
import { Dirty, type NodeRecord } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';
import type { Mirror } from './mirror.js';
import type { SpaceBudget } from './space.js';
import type { Tree } from './tree.js';
import type { Writeback } from './writeback/writeback.js';
import type { Xattrs } from './xattrs.js';

/** What an account without a quota shows in df: large enough for anybody, small enough for 32-bit block counts. */
const UNLIMITED_BYTES = 2 ** 50;
const QUOTA_FRESH_MS = 10_000;

export interface DriveSideOptions {
  readonly store: NodeStore;
  readonly tree: Tree;
  readonly mirror: Mirror;
  readonly conflicts: Conflicts;
  readonly contents: Contents;
  readonly mapped: MappedWrites;
  readonly hydrator: Hydrator;
  readonly space: SpaceBudget;
  readonly follower: Follower;
  readonly connection: Connection;
  readonly writeback: Writeback;
  readonly xattrs: Xattrs;
  readonly autoLock: AutoLock;
  readonly remote: Remote;
  readonly clock: Clock;
  readonly log: Log;
  readonly readOnly: boolean;
  readonly listeners: Set<(event: Invalidation) => void>;
  readonly writeThrough: ((content: ActiveContent, caller: Caller) => Promise<void>) | null;
}

export class DriveSide implements DriveCache {
  protected readonly o: DriveSideOptions;
  readonly #files: FileServices;
  #quota: { readonly quota: Quota | null; readonly at_ms: number } = { quota: null, at_ms: Number.NEGATIVE_INFINITY };
  #askingQuota: Promise<void> | null = null;

  constructor(options: DriveSideOptions) {
    this.o = options;
    this.#files = {
      ...options,
      putBack: (node) => options.conflicts.putBack(node),
      lookAgain: (node) => this.#lookAgain(node),
    };
  }

  get readOnly(): boolean {
    return this.o.readOnly;
  }

  get announcesChanges(): boolean {
    return this.o.remote.capabilities.changeFeed;
  }

  get holds(): { posix: boolean; symlinks: boolean; xattrs: boolean } {
    const { posix, symlinks, xattrs } = this.o.remote.capabilities;
    return { posix, symlinks, xattrs };
  }

  get quota(): Quota | null {
    return this.#quota.quota;
  }

  onInvalidate(listener: (event: Invalidation) => void): void {
    this.o.listeners.add(listener);
  }

  served(): void {
    this.o.writeback.served();
    this.o.follower.served();
  }

  node(ino: Ino): NodeView {
    const node = this.o.store.must(ino);
    if (node.kind === 'file') {
      const content = this.o.contents.peek(ino);
      if (content !== null) noteKernelWrites(content, this.#files);
    }
    return node;
  }

  lookup(parent: Ino, name: Name, caller: Caller): MaybePromise<NodeView | null> {
    return andThen(this.ensureListed(parent, caller), () => this.o.store.child(parent, name));
  }

  ensureListed(dir: Ino, caller: Caller): MaybePromise<void> {
    return this.o.follower.ensureListed(this.#dir(dir), () => caller.signal);
  }

  listDir(dir: Ino, after: Ino | 0, limit: number): readonly NodeView[] {
    return this.o.store.memberViews(dir, after, limit);
  }

  setattr(ino: Ino, change: AttrChange, caller: Caller): MaybePromise<NodeView> {
    const node = this.o.store.must(ino);
    this.#writable();
    const resized = change.size_bytes === undefined ? undefined : this.#truncate(node, change.size_bytes, caller);
    return andThen(resized, () => this.#setMeta(node, change));
  }

  create(parent: Ino, name: Name, node: NewNode, caller: Caller): MaybePromise<NodeView> {
    return this.#inDir(parent, caller, (dir) => this.o.tree.create(dir, name, 'file', node, null, this.holds.posix));
  }

  mkdir(parent: Ino, name: Name, node: NewNode, caller: Caller): MaybePromise<NodeView> {
    return this.#inDir(parent, caller, (dir) => this.o.tree.create(dir, name, 'dir', node, null, this.holds.posix));
  }

  symlink(parent: Ino, name: Name, target: string, node: NewNode, caller: Caller): MaybePromise<NodeView> {
    return this.#inDir(parent, caller, (dir) => {
      if (!this.holds.symlinks && !name.startsWith('.#')) {
        throw new CloudError('not_permitted', `linking "${name}": this server cannot store symbolic links`);
      }
      return this.o.tree.create(dir, name, 'symlink', node, target, this.holds.posix);
    });
  }

  unlink(parent: Ino, name: Name, caller: Caller): MaybePromise<void> {
    return this.#inDir(parent, caller, (dir) => {
      const node = this.#child(dir, name);
      if (node.isDir) throw new CloudError('is_dir', `removing "${name}": it is a directory`);
      this.#refuseLocked(node);
      this.o.tree.unlink(node);
    });
  }

  rmdir(parent: Ino, name: Name, caller: Caller): MaybePromise<void> {
    return this.#inDir(parent, caller, (dir) => {
      const node = this.#child(dir, name);
      if (!node.isDir) throw new CloudError('not_dir', `removing "${name}": it is not a directory`);
      return andThen(this.ensureListed(node.ino, caller), () => this.o.tree.unlink(node));
    });
  }

  rename(parent: Ino, name: Name, newParent: Ino, newName: Name, mode: RenameMode, caller: Caller): MaybePromise<void> {
    return this.#inDir(parent, caller, (from) =>
      this.#inDir(newParent, caller, (to) => {
        const node = this.#child(from, name);
        this.#refuseLockedTree(node);
        const target = this.o.store.child(to.ino, newName);
        if (target !== null && mode === 'exchange') this.#refuseLockedTree(target);
        else if (target !== null) this.#refuseLocked(target);
        const known = target?.isDir === true ? this.ensureListed(target.ino, caller) : undefined;
        return andThen(known, () => this.o.tree.rename(node, to, newName, mode));
      }),
    );
  }

  open(ino: Ino, mode: OpenMode, _caller: Caller): MaybePromise<OpenFile> {
    const node = this.o.store.must(ino);
    if (node.kind === 'dir') throw new CloudError('is_dir', `opening "${node.name}": it is a directory`);
    if (node.kind === 'symlink') throw new CloudError('symlink_loop', `opening "${node.name}": it is a symbolic link`);
    if (mode.write) {
      this.#writable();
      this.#refuseLocked(node);
    }
    const locked = mode.write ? this.o.autoLock.beforeWrite(node) : undefined;
    return andThen(locked, () => this.#opened(node, mode));
  }

  #opened(node: NodeRecord, mode: OpenMode): MaybePromise<OpenFile> {
    return andThen(this.o.contents.acquire(node), (content) => {
      const handle = new FileHandle(content, mode.write, this.#files);
      return andThen(this.#prepare(content, mode), () => handle);
    });
  }

  async fsyncDir(_ino: Ino): Promise<void> {
    await this.o.store.durable();
    this.o.store.requireInPlace();
  }

  space(_caller: Caller): SpaceInfo {
    // statfs never waits: the last answer of the server, refreshed behind the scenes.
    void this.refreshQuota();
    const { quota } = this.#quota;
    const used = quota?.used_bytes ?? 0;
    const available = quota?.available_bytes ?? null;
    const total = available === null ? Math.max(UNLIMITED_BYTES, used) : used + available;
    return { total_bytes: total, free_bytes: available ?? total - used, files: this.o.store.count() };
  }

  getXattr(ino: Ino, name: string, _caller: Caller): Buffer {
    return this.o.xattrs.get(this.o.store.must(ino), name);
  }

  listXattr(ino: Ino, _caller: Caller): readonly string[] {
    return this.o.xattrs.list(this.o.store.must(ino));
  }

  setXattr(ino: Ino, name: string, value: Buffer, mode: XattrMode, _caller: Caller): Promise<void> {
    const node = this.o.store.must(ino);
    if (!name.startsWith('user.cloudmount.')) this.#writable();
    return this.o.xattrs.set(node, name, value, mode);
  }

  removeXattr(ino: Ino, name: string, _caller: Caller): Promise<void> {
    const node = this.o.store.must(ino);
    if (!name.startsWith('user.cloudmount.')) this.#writable();
    return this.o.xattrs.remove(node, name);
  }

  // ---- inside -----------------------------------------------------------------------------------------------------------

  #lookAgain(node: NodeRecord): void {
    const { mirror, writeback } = this.o;
    const path = mirror.remotePath(node);
    if (path === null) return;
    mirror.deferred.add(path);
    writeback.lookUpDeferred();
  }

  #dir(ino: Ino): NodeRecord {
    const node = this.o.store.must(ino);
    if (!node.isDir) throw new CloudError('not_dir', `"${node.name}" is not a directory`);
    return node;
  }

  #child(dir: NodeRecord, name: Name): NodeRecord {
    const node = this.o.store.child(dir.ino, name);
    if (node === null) throw new CloudError('not_found', `"${name}": no such file or directory`);
    return node;
  }

  /** A change of names in `ino`: on a writable drive, in a directory that is still in the tree, whose names are known. */
  #inDir<T>(ino: Ino, caller: Caller, change: (dir: NodeRecord) => MaybePromise<T>): MaybePromise<T> {
    this.#writable();
    const dir = this.#dir(ino);
    return andThen(
      this.o.follower.ensureKnown(dir, () => caller.signal),
      () => {
        if (dir.parent === null && dir.ino !== ROOT_INO) throw new CloudError('not_found', `"${dir.name}" was removed`);
        this.#refuseLocked(dir);
        return change(dir);
      },
    );
  }

  #writable(): void {
    if (this.o.readOnly) throw new CloudError('read_only', 'the drive is mounted read-only');
  }

  #refuseLocked(node: NodeRecord): void {
    const held = node.heldLock;
    if (held !== null && !held.mine) throw heldByOther(node, held, 'no_access');
  }

  /** The server moves no folder in which others have something locked; until they have not, all changes in it would wait. */
  #refuseLockedTree(node: NodeRecord): void {
    if (this.#isEntryOfShare(node)) return;
    this.#refuseLocked(node);
    if (!node.isDir) return;
    for (const locked of this.o.store.locked()) {
      if (locked.lockInfo?.mine === false && this.o.tree.isBelow(locked, node)) this.#refuseLocked(locked);
    }
  }

  /** Where something shared by others stands in our own files: that goes elsewhere without what it stands for. */
  #isEntryOfShare({ shared, parent }: NodeRecord): boolean {
    return shared === 'in' && parent !== null && this.o.store.get(parent)?.shared !== 'in';
  }

  #prepare(content: ActiveContent, mode: OpenMode): MaybePromise<void> {
    if (!mode.write && !mode.truncate) return;
    const wasDirty = content.node.contentDirty;
    const fail = (error: unknown): never => {
      // The handle that the caller will not get must not stay open.
      content.handles -= 1;
      if (mode.write) content.writers -= 1;
      this.o.contents.release(content);
      throw error;
    };
    try {
      if (content.access === 'passthrough' && mode.write) {
        const marked = andThen(markDirty(content, this.#files, mode.truncate ? 0 : undefined), () => {
          beginKernelWrites(content, wasDirty);
          if (mode.truncate) resize(content, 0, this.#files);
        });
        return marked instanceof Promise ? marked.catch(fail) : marked;
      }
      if (!mode.truncate) return;
      if (content.size_bytes === 0) {
        // Nothing to cut and nothing to send, but its time moves: it may be a stamp for make.
        this.#setMeta(content.node, { mtime: this.o.clock.timestamp() });
        return;
      }
      const truncated = andThen(markDirty(content, this.#files, 0), () => resize(content, 0, this.#files));
      return truncated instanceof Promise ? truncated.catch(fail) : truncated;
    } catch (error) {
      return fail(error);
    }
  }

  #truncate(node: NodeRecord, size_bytes: number, _caller: Caller): MaybePromise<void> {
    if (node.kind !== 'file')
      throw new CloudError(node.isDir ? 'is_dir' : 'invalid', `truncating "${node.name}": it is no file`);
    if (!node.rights.write)
      throw new CloudError('no_access', `truncating "${node.name}": there is no right to write it`);
    this.#refuseLocked(node);
    return andThen(this.o.contents.acquire(node), (content) => {
      let done: MaybePromise<void>;
      try {
        done = andThen(markDirty(content, this.#files, size_bytes), () => {
          resize(content, size_bytes, this.#files);
          this.o.store.transaction(() => this.o.tree.changed(node));
        });
      } catch (error) {
        this.o.contents.release(content);
        throw error;
      }
      if (done instanceof Promise) return done.finally(() => this.o.contents.release(content));
      return this.o.contents.release(content);
    });
  }

  #setMeta(node: NodeRecord, change: AttrChange): NodeView {
    const { mode, uid, gid, mtime, atime, ctime } = change;
    if (
      mode === undefined &&
      uid === undefined &&
      gid === undefined &&
      mtime === undefined &&
      atime === undefined &&
      ctime === undefined
    ) {
      return node;
    }
    this.o.store.transaction(() => {
      if (mode !== undefined && mode !== node.mode) {
        node.mode = mode & 0o7777;
        node.dirty |= this.holds.posix ? Dirty.mode : 0;
      }
      if ((uid !== undefined && uid !== node.uid) || (gid !== undefined && gid !== node.gid)) {
        node.uid = uid ?? node.uid;
        node.gid = gid ?? node.gid;
        node.dirty |= this.holds.posix ? Dirty.owner : 0;
      }
      if (mtime !== undefined) {
        node.mtime = mtime;
        if (this.o.remote.capabilities.setMtime || node.contentDirty) node.dirty |= Dirty.mtime;
      }
      // Reading times are this machine's own.
      if (atime !== undefined) node.atime = atime;
      node.ctime = ctime ?? this.o.clock.timestamp();
      this.o.tree.changed(node);
    });
    return node;
  }

  /** Asks the server unless the last answer is younger than `maxAge_ms`. Resolves when it is known or cannot be. */
  refreshQuota(maxAge_ms = QUOTA_FRESH_MS): Promise<void> {
    const now = this.o.clock.monotonic_ms();
    if (this.#askingQuota !== null) return this.#askingQuota;
    if (!this.o.connection.online || now - this.#quota.at_ms < maxAge_ms) return Promise.resolve();
    this.#askingQuota = this.o.remote
      .quota()
      .then((quota) => {
        this.#quota = { quota, at_ms: this.o.clock.monotonic_ms() };
      })
      .catch((error: unknown) => {
        this.#quota = { ...this.#quota, at_ms: this.o.clock.monotonic_ms() };
        this.o.log.debug({ err: error }, 'asking for the quota failed');
      })
      .finally(() => {
        this.#askingQuota = null;
      });
    return this.#askingQuota;
  }
}
