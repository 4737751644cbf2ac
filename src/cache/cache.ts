// The whole cache: the kernel's side plus what the daemon's commands ask. Paths are local, relative to the mount point.

import { CloudError } from '../errors.js';
import { type Ino, type Name, ROOT_INO } from '../ids.js';
import type { MaybePromise } from '../maybe_promise.js';
import { raceAbort } from '../race_abort.js';
import type { LockInfo } from '../remote/remote.js';
import type {
  CacheControl,
  CacheStatus,
  ConflictInfo,
  HeldLock,
  NodeStatus,
  PathStatus,
  PinInfo,
  QueueItem,
} from './cache_api.js';
import { check } from './check.js';
import type { ContentStore } from './content/content_store.js';
import { DriveSide, type DriveSideOptions } from './drive_side.js';
import type { Locks } from './locks.js';
import type { Database } from './metadata/database.js';
import type { NodeRecord } from './metadata/node.js';
import type { Pins } from './pins.js';
import type { RecentOperations } from './recent_operations.js';

export interface CacheOptions extends DriveSideOptions {
  readonly pins: Pins;
  readonly locks: Locks;
  readonly files: ContentStore;
  readonly recent: RecentOperations;
  readonly limit_bytes: number;
  readonly minFree_bytes: number;
  readonly db: Database;
  /** Folders with what was saved from a damaged database. */
  readonly recovered: () => readonly string[];
  /** Closes everything below, in order. */
  readonly shutdown: () => Promise<void>;
}

/** More of the queue than anybody reads is only counted. */
const QUEUE_SHOWN = 1_000;
/** Who waits for the queue pauses so many times as long as looking through it took. */
const LOOK_PAUSES = 20;
const LONGEST_PAUSE_MS = 2_000;

export class Cache extends DriveSide implements CacheControl {
  readonly #c: CacheOptions;
  #closing: Promise<void> | null = null;

  constructor(options: CacheOptions) {
    super(options);
    this.#c = options;
  }

  status(): CacheStatus {
    const { store, connection, follower, space, pins } = this.#c;
    const queue = this.#queue();
    return {
      connection: connection.state,
      connectionError: connection.error,
      pushed: follower.pushed,
      cacheUsed_bytes: space.used_bytes,
      cacheLimit_bytes: this.#c.limit_bytes,
      minFree_bytes: this.#c.minFree_bytes,
      inPlace: this.#c.db.isInPlace,
      dirty_bytes: queue.reduce((sum, item) => sum + (item.operation === 'upload' ? item.size_bytes : 0), 0),
      pinned: pins.count,
      nodes: store.count(),
      queue,
      conflicts: store.conflicts().length,
      recovered: this.#c.recovered(),
      quota: this.quota,
    };
  }

  pathStatus(path: string): MaybePromise<PathStatus> {
    const node = this.#resolve(path);
    const below = node.isDir ? this.#c.pins.totals(node) : null;
    return {
      path,
      kind: node.kind,
      status: this.nodeStatus(node),
      size_bytes: below?.size_bytes ?? node.size_bytes,
      cached_bytes: below?.cached_bytes ?? this.#c.contents.cachedBytes(node),
      ...(below === null ? {} : { files: below.files }),
      pin: this.#c.pins.state(node),
      lock: node.heldLock,
      fileid: node.fileid,
      error: node.error,
    };
  }

  nodeStatus(node: NodeRecord): NodeStatus {
    if (node.conflict !== null) return 'conflict';
    if (node.errorCode !== null) return 'failed';
    if (this.#c.writeback.isBusy(node)) return 'uploading';
    if (node.pending !== null) return 'dirty';
    if (node.kind !== 'file') return 'cached';
    if (this.#c.contents.isComplete(node)) return 'cached';
    return this.#c.contents.cachedBytes(node) > 0 ? 'partial' : 'cloud';
  }

  sendNow(path: string): void {
    const root = this.#resolve(path);
    this.#c.writeback.retryAll((node) => this.#within(node, root), true);
  }

  async flush(path: string, signal: AbortSignal): Promise<void> {
    this.sendNow(path);
    const root = this.#resolve(path);
    const inside = (node: NodeRecord) => this.#within(node, root);
    const tried = new Map<Ino, number>();
    for (;;) {
      const looked_ms = this.#c.clock.monotonic_ms();
      const left = this.#c.store.pendingInos().flatMap((ino) => {
        const node = this.#c.store.get(ino);
        return node !== null && inside(node) ? [node] : [];
      });
      // What a deletion that was dropped, say, brought back shows as it is by then.
      if (left.length === 0) return await raceAbort(this.#c.writeback.lookedUp(), signal);
      for (const waiting of left) {
        // All that waits in the whole drive is looked at anyway.
        const node = root.ino === ROOT_INO ? waiting : this.#c.writeback.inTheWayOf(waiting);
        const before = tried.get(node.ino);
        if (before === undefined) {
          tried.set(node.ino, node.errorCode === null ? -1 : node.attempts);
          if (!inside(node)) this.#c.writeback.sendNow(node);
        } else if (node.errorCode !== null && node.attempts > before && !this.#c.writeback.isBusy(node)) {
          throw new CloudError('io', `flushing "${this.#pathOf(node)}": ${node.error ?? node.errorCode}`);
        }
      }
      const took_ms = this.#c.clock.monotonic_ms() - looked_ms;
      await this.#c.connection.reach(
        `flushing ${path === '' ? 'the drive' : `"${path}"`}: ${left.length === 1 ? 'a change waits' : `${left.length} changes wait`}`,
        signal,
      );
      await this.#c.writeback.changedWithin(1_000, signal);
      // A long queue is looked through now and then, not after each of its thousands of changes.
      const pause_ms = Math.min(took_ms * LOOK_PAUSES, LONGEST_PAUSE_MS);
      if (took_ms > 1) await raceAbort(this.#c.clock.sleep(pause_ms), signal);
    }
  }

  pin(path: string): void {
    this.#c.pins.set(this.#resolve(path), true);
  }

  unpin(path: string): void {
    this.#c.pins.set(this.#resolve(path), false);
    this.#c.space.changed();
  }

  pins(): readonly PinInfo[] {
    return this.#c.store
      .pinned()
      .map((node) => ({ path: this.#pathOf(node), kind: node.kind, ...this.#c.pins.totals(node) }));
  }

  waitPinned(path: string, signal: AbortSignal): Promise<void> {
    return this.#c.pins.wait(() => this.#resolve(path), signal);
  }

  free(path: string): { freed_bytes: number; kept: readonly { path: string; reason: string }[] } {
    let freed_bytes = 0;
    const kept: { path: string; reason: string }[] = [];
    for (const node of this.#c.store.walk(this.#resolve(path))) {
      if (node.kind !== 'file') continue;
      const bytes = this.#c.contents.cachedBytes(node);
      if (bytes === 0) continue;
      const reason = this.#whyKept(node);
      if (reason !== null) {
        kept.push({ path: this.#pathOf(node), reason });
        continue;
      }
      this.#c.contents.drop(node);
      freed_bytes += bytes;
    }
    return { freed_bytes, kept };
  }

  conflicts(): readonly ConflictInfo[] {
    return this.#c.store.conflicts().map((node) => {
      const from = this.#c.store.get(node.conflict?.parent ?? node.parent ?? ROOT_INO);
      const above = from === null ? '' : this.#pathOf(from);
      const original = (node.conflict?.original ?? '') as Name;
      return {
        path: this.#pathOf(node),
        original: (above === '' ? '' : `${above}/`) + original,
        hasOriginal: from !== null && this.#c.store.child(from.ino, original) !== null,
        atEpoch_ms: node.conflict?.atEpoch_ms ?? 0,
        reason: node.conflict?.reason ?? '',
      };
    });
  }

  /** `path`: the conflict copy, or the name it competed for when there is just one copy. */
  async resolve(path: string, keep: 'mine' | 'theirs' | 'both'): Promise<void> {
    const { store, tree } = this.#c;
    const mine = this.#conflictAt(path);
    const original = mine.conflict?.original as Name | undefined;
    const from = mine.conflict?.parent ?? mine.parent;
    const folder = from === null ? null : store.get(from);
    const parent = folder === null || (folder.parent === null && folder.ino !== ROOT_INO) ? null : folder;
    if (original === undefined) return;
    if (parent === null && keep === 'mine') {
      throw new CloudError('not_found', `resolving "${path}": the folder of "${original}" is gone; keep both`);
    }
    const theirs = parent === null ? null : store.child(parent.ino, original);
    if (theirs === null && keep === 'theirs') {
      throw new CloudError(
        'not_found',
        `resolving "${path}": "${original}" is gone, this is the only version; keep mine or both, or remove it`,
      );
    }
    const mayReplace = theirs === null ? parent?.rights.createFile !== false : theirs.isDir || theirs.rights.write;
    if (keep === 'mine' && !mayReplace) {
      throw new CloudError(
        'no_access',
        `resolving "${path}": the server does not let you write "${original}"; keep both`,
      );
    }
    const at = mine.parent ?? ROOT_INO;
    const shown = mine.name;
    store.transaction(() => {
      const note = mine.conflict;
      mine.conflict = null;
      if (keep === 'theirs') tree.unlink(mine);
      else if (keep === 'both' || parent === null) store.save(mine);
      else if (theirs === null || (!theirs.isDir && !mine.isDir)) tree.rename(mine, parent, original, 'replace');
      else {
        mine.conflict = note;
        throw new CloudError(
          'is_dir',
          `resolving "${path}": one of the two is a directory; move its members by hand and keep both`,
        );
      }
    });
    this.#emit(at, shown);
    if (parent !== null) this.#emit(parent.ino, original);
  }

  async discard(path: string): Promise<number> {
    const { store, contents, mirror, remote, connection } = this.#c;
    const node = this.#resolve(path);
    let discarded = 0;
    for (const at of [...this.#c.store.walk(node)].reverse()) {
      if (at.pending === null && at.errorCode === null) continue;
      this.#requireIdle(at);
      if (at.base === null) {
        if (at.isDir && store.hasMembers(at.ino)) continue;
        this.#emit(at.parent ?? ROOT_INO, at.name);
        store.transaction(() => this.#c.tree.unlink(at));
        discarded += 1;
        continue;
      }
      connection.require(`discarding changes of "${this.#pathOf(at)}": the server's version must be asked for`);
      const remotePath = mirror.remotePath(at);
      if (remotePath === null) continue;
      const asked_ms = this.#c.recent.now_ms();
      const entry = await remote.stat(remotePath);
      this.#requireIdle(at);
      if (mirror.remotePath(at) !== remotePath)
        throw new CloudError('busy', `discarding "${this.#pathOf(at)}": it has just been moved; try again`);
      store.transaction(() => {
        // Without changes of its bytes it is a version of the server's: which one, the mirror must judge.
        if (at.contentDirty) {
          contents.drop(at);
          at.size_bytes = entry.size_bytes;
          at.dataVersion += 1;
          at.baseEtag = entry.etag;
          at.baseSize_bytes = entry.size_bytes;
        }
        at.dirty = 0;
        at.xattrDirty = null;
        at.error = null;
        at.errorCode = null;
        this.#c.conflicts.moveBack(at);
        this.#c.tree.changed(at);
        mirror.present(entry, asked_ms, at.seen);
      });
      for (const listener of this.#c.listeners) listener({ kind: 'inode', ino: at.ino, data: true });
      discarded += 1;
    }
    return discarded;
  }

  lock(path: string): Promise<LockInfo> {
    return this.#c.locks.lock(this.#resolve(path));
  }

  unlock(path: string, options: { readonly force?: boolean } = {}): Promise<boolean> {
    return this.#c.locks.unlock(this.#resolve(path), options);
  }

  locks(): readonly HeldLock[] {
    return this.#c.store
      .locked()
      .flatMap((node) =>
        node.lockInfo === null || node.parent === null ? [] : [{ path: this.#pathOf(node), lock: node.lockInfo }],
      )
      .sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  check(options: { readonly content: boolean }): Promise<readonly string[]> {
    return check(this.#c, options);
  }

  reconnect(): Promise<void> {
    return this.#c.connection.reconnect();
  }

  close(): Promise<void> {
    this.#closing ??= this.#c.shutdown();
    return this.#closing;
  }

  // ---- inside -----------------------------------------------------------------------------------------------------------

  #queue(): QueueItem[] {
    const { store, writeback, mirror } = this.#c;
    const items: QueueItem[] = [];
    for (const ino of store.pendingInos().slice(0, QUEUE_SHOWN)) {
      const node = store.get(ino);
      if (node === null) continue;
      const running = writeback.running(ino);
      const gone = node.parent === null;
      items.push({
        path: gone ? (mirror.remotePath(node) ?? node.name) : this.#pathOf(node),
        ino,
        operation: gone
          ? 'delete'
          : node.kind === 'file' && node.contentDirty
            ? 'upload'
            : node.base === null
              ? 'create'
              : node.inPlace
                ? 'attributes'
                : 'move',
        size_bytes: node.kind === 'file' && !gone ? node.size_bytes : 0,
        sent_bytes: running?.sent_bytes ?? 0,
        state: running !== null ? 'running' : node.errorCode !== null ? 'failed' : 'waiting',
        attempts: node.attempts,
        error: node.error,
        sinceEpoch_ms: node.pendingSince_ms,
      });
    }
    return items;
  }

  #resolve(path: string): NodeRecord {
    let at = this.#c.store.must(ROOT_INO);
    for (const name of path.split('/')) {
      if (name === '') continue;
      const child = this.#c.store.child(at.ino, name as Name);
      if (child === null) throw new CloudError('not_found', `"${path}": no such file or directory in the drive`);
      at = child;
    }
    return at;
  }

  #conflictAt(path: string): NodeRecord {
    const node = this.#resolve(path);
    if (node.conflict !== null) return node;
    const copies = this.#c.store
      .conflicts()
      .filter(
        (copy) => (copy.conflict?.parent ?? copy.parent) === node.parent && copy.conflict?.original === node.name,
      );
    const [only] = copies;
    if (only !== undefined && copies.length === 1) return only;
    throw new CloudError(
      'invalid',
      copies.length === 0
        ? `resolving "${path}": it is no conflict copy and has none; "cloudmount conflicts" lists them`
        : `resolving "${path}": it has ${copies.length} conflict copies; name one of them`,
    );
  }

  #pathOf(node: NodeRecord): string {
    const names: string[] = [];
    for (let at: NodeRecord | null = node; at !== null && at.ino !== ROOT_INO; ) {
      names.push(at.name);
      at = at.parent === null ? null : this.#c.store.get(at.parent);
    }
    return names.reverse().join('/');
  }

  /** Its changes may be thrown away: nothing sends its bytes, and no program that has it open would go on with others. */
  #requireIdle(node: NodeRecord): void {
    const why = this.#c.writeback.isBusy(node)
      ? 'it is being sent right now; try again'
      : node.base !== null && node.contentDirty && this.#c.contents.isOpen(node)
        ? 'it is open; close it first'
        : null;
    if (why !== null) throw new CloudError('busy', `discarding "${this.#pathOf(node)}": ${why}`);
  }

  /** Below `root` here, or (deletions) below it on the server. */
  #within(node: NodeRecord, root: NodeRecord): boolean {
    if (root.ino === ROOT_INO) return true;
    for (let at: NodeRecord | null = node; at !== null; ) {
      if (at === root) return true;
      const above: Ino | null = at.parent ?? at.base?.parent ?? null;
      at = above === null ? null : this.#c.store.get(above);
    }
    return false;
  }

  #whyKept(node: NodeRecord): string | null {
    if (node.dirty !== 0 || node.base === null) return 'it has changes that are not on the server yet';
    if (this.#c.contents.isOpen(node)) return 'it is open';
    return this.#c.pins.isPinned(node) ? 'it is pinned' : null;
  }

  /** A name of `parent` changed, and with it the times of `parent`. */
  #emit(parent: Ino, name: Name): void {
    for (const listener of this.#c.listeners) {
      listener({ kind: 'entry', parent, name });
      listener({ kind: 'inode', ino: parent, data: false });
    }
  }
}
