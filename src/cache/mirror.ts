// What the server says, applied to the local tree. Methods run inside one transaction of the caller and never wait.
//
// The rules: a clean node follows the server. A dirty one keeps its content and its base ETag, so that its upload will
// find out by its precondition. Local places win over remote moves where the user moved the node too. What cannot be
// shown under its name is kept under a conflict name (`conflicts.ts`). Nothing dirty is ever removed.

import type { Clock } from '../clock.js';
import type { Ino, Name, RemotePath } from '../ids.js';
import { splitPath } from '../ids.js';
import type { Log } from '../log.js';
import type { NodeKind, RemoteEntry } from '../remote/remote.js';
import type { Invalidation } from './cache_api.js';
import type { Conflicts } from './conflicts.js';
import { Deferred } from './deferred.js';
import { ownLock, sameIdentity, sameVersion, saysNothingNew, shownOf, usable } from './entry_rules.js';
import type { Listed } from './metadata/listed_row.js';
import { Dirty, type NodeRecord, rightsBitsOf } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';
import type { RecentOperations } from './recent_operations.js';
import type { Tree } from './tree.js';
import { mayBeSentByUs } from './writeback/sent.js';

export interface MirrorOptions {
  readonly store: NodeStore;
  readonly tree: Tree;
  readonly clock: Clock;
  readonly conflicts: Conflicts;
  readonly recent: RecentOperations;
  readonly log: Log;
  readonly invalidate: (event: Invalidation) => void;
  /** A folder came under a lock of a folder above it, or out of it. */
  readonly coverChanged: (folder: Ino) => void;
  /** Does the server keep the times we give it? If not, ours count for the versions we made. */
  readonly keepsTimes: () => boolean;
  readonly keepsXattrs: () => boolean;
  /** A request about the node, or one that moves it with a collection above, is on its way or its outcome unknown. */
  readonly isBusy: (node: NodeRecord) => boolean;
  readonly isOpen: (node: NodeRecord) => boolean;
  /** Is a request of ours on its way, or its outcome unknown, that makes something at this place? */
  readonly isBeingMade: (parent: Ino, name: Name) => boolean;
  /** Did the server say later than at `since_ms` what is in the directory? */
  readonly listedSince: (dir: NodeRecord, since_ms: number) => boolean;
  /** All bytes are here. */
  readonly isComplete: (node: NodeRecord) => boolean;
  /** The node's cached bytes are of a version that is gone; nobody has it open. */
  readonly dropContent: (node: NodeRecord) => void;
  /** The node left the drive; its content may go once nobody has it open. */
  readonly onUnlinked: (node: NodeRecord) => void;
}

export class Mirror {
  readonly #o: MirrorOptions;
  readonly #store: NodeStore;
  readonly #conflicts: Conflicts;
  readonly deferred = new Deferred();
  /** Was the last entry of this kind one of which nothing was known? */
  readonly #expectsNew: Record<NodeKind, boolean> = { file: false, dir: false, symlink: false };
  /** When the server was asked what it answered about the place of each node in limbo. */
  readonly #pushedOut_ms = new Map<Ino, number>();

  constructor(options: MirrorOptions) {
    this.#o = options;
    this.#store = options.store;
    this.#conflicts = options.conflicts;
  }

  /** Paths about which the server must be asked again, because a request of ours was on its way; where it still is, they
   * stay put off. The server's echo of what we know by now is no question. Each path is to be `deferred.answered`. */
  takeDeferred(): RemotePath[] {
    return this.deferred.take((entry) => {
      const node = this.atPath(entry.path);
      if (node === null ? this.#isBeingMade(entry.path) : this.#o.isBusy(node)) return 'wait';
      if (node === null || !saysNothingNew(entry, node)) return 'ask';
      this.#takeRights(node, entry);
      return 'known';
    });
  }

  #isBeingMade(path: RemotePath): boolean {
    const { parent, name } = splitPath(path);
    const above = this.atPath(parent);
    return above !== null && this.#o.isBeingMade(above.ino, name);
  }

  /** What was made here has all rights until the server says which; no request of ours changes them. */
  #takeRights(node: NodeRecord, entry: RemoteEntry): void {
    if (rightsBitsOf(node.kind, entry.rights) === node.rightsBits) return;
    node.rights = entry.rights;
    this.#store.save(node);
    this.#o.invalidate({ kind: 'inode', ino: node.ino, data: false });
  }

  /** Where the server has `node`, or null if it does not. */
  remotePath(node: NodeRecord): RemotePath | null {
    let path = '' as RemotePath;
    let at: NodeRecord | null = node;
    while (at !== null && at.ino !== 1) {
      if (at.base === null) return null;
      path = (path === '' ? at.base.name : `${at.base.name}/${path}`) as RemotePath;
      at = this.#store.get(at.base.parent);
    }
    return at === null ? null : path;
  }

  /** The node that the server has at `path`. */
  atPath(path: RemotePath): NodeRecord | null {
    let at: NodeRecord | null = this.#store.get(1 as Ino);
    if (path === '') return at;
    for (const name of path.split('/')) {
      if (at === null) return null;
      at = this.#store.atBase(at.ino, name as Name);
    }
    return at;
  }

  /** The server has `entry`, as it said in an answer to a request made at `asked_ms`. */
  present(entry: RemoteEntry, asked_ms: number, epoch: number): void {
    if (entry.path === '') {
      this.#updateRoot(entry);
      return;
    }
    const { parent: parentPath, name } = splitPath(entry.path);
    const parent = this.atPath(parentPath);
    if (parent === null || this.#o.recent.touchedSince(entry.path, asked_ms)) {
      this.deferred.addEntry(entry);
      return;
    }
    this.presentIn(parent, name, entry, asked_ms, epoch);
  }

  /** What the server has where it had `node`, says the step that works on the node: for others it is busy. */
  found(node: NodeRecord, entry: RemoteEntry): void {
    const parent = node.base === null ? null : this.#store.get(node.base.parent);
    if (node.base !== null && parent !== null) this.#update(node, parent, node.base.name, entry, node.seen);
  }

  /** As `present`, for a caller that knows the collection. */
  presentIn(parent: NodeRecord, name: Name, entry: RemoteEntry, asked_ms: number, epoch: number): void {
    // A page of the tree that may be older than what is known of the directory: only what says the same is believed.
    const isOld = epoch !== 0 && this.#o.listedSince(parent, asked_ms);
    if (this.#presentQuickly(parent, name, entry, asked_ms, epoch, isOld)) return;
    const occupant = this.#store.atBase(parent.ino, name);
    let node = entry.fileid === null ? null : this.#store.byFileid(entry.fileid);
    if (node === null && occupant !== null && sameIdentity(occupant, entry)) node = occupant;
    if (node !== null && node.kind !== entry.kind) node = null;
    const local = this.#store.child(parent.ino, name);
    const involved = [node, occupant, local, parent].filter((n) => n !== null);
    if (
      isOld ||
      involved.some((n) => this.#o.isBusy(n)) ||
      this.#o.recent.touchedSince(entry.path, asked_ms) ||
      (occupant === null && this.#o.isBeingMade(parent.ino, name))
    ) {
      this.deferred.addEntry(entry);
      return;
    }
    if (this.deferred.has(entry.path)) this.deferred.add(entry.path); // what was said before is older
    if (occupant !== null && occupant !== node) this.#pushOut(occupant, asked_ms);
    if (node === null) this.insert(parent, name, entry, epoch);
    else this.#update(node, parent, name, entry, epoch);
  }

  /** What nearly all entries of a listing are, with the fewest questions to the database: nothing new, or something of
   * which nothing was known. False, and nothing done, for what the rules must judge. */
  #presentQuickly(
    parent: NodeRecord,
    name: Name,
    entry: RemoteEntry,
    asked_ms: number,
    epoch: number,
    isOld: boolean,
  ): boolean {
    if (parent.parent === null && parent.ino !== 1) return false;
    if (this.deferred.has(entry.path) || this.#o.recent.touchedSince(entry.path, asked_ms)) return false;
    if (this.#o.isBusy(parent)) return false;
    const { kind } = entry;
    const known = entry.mtime.s > 0 ? entry.mtime : null;
    const mtime = entry.posix.mtime ?? known ?? this.#o.clock.timestamp(); // not asked for in vain, many thousand times
    const lock = ownLock(null, entry);
    const listed: Listed = { place: { parent: parent.ino, name }, entry, mtime, lock, epoch };
    // What was so with the last entry is likely so with this one: then the insertion finds out.
    const tryFirst = this.#expectsNew[kind] && !isOld;
    if (tryFirst && this.#insertNew(parent, name, listed)) return true;
    this.#expectsNew[kind] = false;
    const row = this.#store.asListed(listed);
    if (row === null) {
      this.#expectsNew[kind] = !tryFirst && !isOld && this.#insertNew(parent, name, listed);
      return this.#expectsNew[kind];
    }
    const node = this.#store.inMemory(row.ino);
    if (node !== null && this.#o.isBusy(node)) return false;
    if (epoch !== 0 && row.seen !== epoch) this.#store.markSeen(row.ino, epoch);
    return true;
  }

  #insertNew(parent: NodeRecord, name: Name, listed: Listed): boolean {
    if (this.#o.isBeingMade(parent.ino, name) || !this.#store.insertListed(listed)) return false;
    this.#told(parent, name);
    return true;
  }

  #fill(draft: NodeRecord, parent: NodeRecord, name: Name, entry: RemoteEntry, epoch: number): void {
    draft.base = { parent: parent.ino, name };
    draft.seen = epoch;
    this.#applyIdentity(draft, entry);
    draft.size_bytes = entry.size_bytes;
    this.#applyMeta(draft, entry);
    draft.ctime = draft.mtime;
    draft.atime = draft.mtime;
  }

  /** A new name in `parent`. */
  #told(parent: NodeRecord, name: Name): void {
    this.#membersChanged(parent);
    this.#o.invalidate({ kind: 'entry', parent: parent.ino, name });
  }

  /** The server no longer has what it had at `path`. */
  gonePath(path: RemotePath, asked_ms: number): void {
    const node = this.atPath(path);
    if (node?.ino === 1) return;
    if (node === null) {
      // Perhaps in a directory that was put off itself: it may be there when that is known. (What was put off elsewhere says
      // nothing of it: two such paths would keep each other alive for ever.)
      if (this.deferred.hasAbove(path) && this.atPath(splitPath(path).parent) === null) this.deferred.add(path);
      return;
    }
    if (this.#isNewer(node, path, asked_ms)) {
      this.deferred.add(path);
      return;
    }
    this.gone(node);
  }

  /** What `gonePath` would have go with the collection at `path`, each behind what is in it, for who lets it go in pieces
   * before. */
  *belowGone(path: RemotePath, asked_ms: number): Generator<NodeRecord, void> {
    const node = this.atPath(path);
    if (node === null || !node.isDir || node.ino === 1 || this.#isNewer(node, path, asked_ms)) return;
    const mayEnter = (dir: NodeRecord) => !this.#o.isBusy(dir);
    if (mayEnter(node)) yield* this.#store.belowAtBase(node, mayEnter);
  }

  /** Is more known of it than what was said to a question of that time? */
  #isNewer(node: NodeRecord, path: RemotePath, asked_ms: number): boolean {
    const parent = node.base === null ? null : this.#store.get(node.base.parent);
    return this.#o.recent.touchedSince(path, asked_ms) || (parent !== null && this.#o.listedSince(parent, asked_ms));
  }

  /** The server no longer has `node`. */
  gone(node: NodeRecord): void {
    if (this.#o.isBusy(node) || !this.#membersGone(node)) {
      const path = this.remotePath(node);
      if (path !== null) this.deferred.add(path);
      return;
    }
    const keep = this.#mustBeSentAgain(node);
    this.#conflicts.forgetBase(node);
    if (node.isDir) this.#o.tree.nothingWasSentInto(node);
    if (node.parent === null) {
      this.#store.save(node);
      this.#o.tree.changed(node);
      this.#o.onUnlinked(node);
      this.#o.tree.purgeIfGone(node);
      return;
    }
    if (keep) {
      if (node.kind === 'file') node.dirty |= Dirty.content | Dirty.mtime | Dirty.mode;
      if (node.isDir) node.localOnly = this.#holdsOnlyOurs(node);
      this.#o.log.info(
        { ino: node.ino, name: node.name, localOnly: node.localOnly },
        'removed on the server, kept here: it will be sent again, unless nothing in it is ever sent',
      );
      this.#o.tree.changed(node);
      return;
    }
    this.#removeLocally(node);
  }

  /** Whether the members of a collection could go, too. One of which a move has no answer yet could not: where it was must be
   * known until then, or it could never be confirmed. */
  #membersGone(node: NodeRecord): boolean {
    for (const member of this.#store.baseMembers(node.ino)) this.gone(member);
    return this.#store.aBaseMember(node.ino) === null;
  }

  /** The feed has caught up with what the server had at `asked_ms`: what was pushed out of its place before, and not seen
   * again, is gone. */
  endOfFeed(asked_ms = Number.POSITIVE_INFINITY): void {
    for (const node of this.#store.limbo()) {
      if ((this.#pushedOut_ms.get(node.ino) ?? 0) > asked_ms) continue; // where it went since, the next one tells
      if (this.#o.isBusy(node) || !this.#membersGone(node)) continue; // the end of the next page decides
      this.#pushedOut_ms.delete(node.ino);
      node.limbo = 'none';
      this.#store.save(node);
      this.gone(node);
    }
  }

  /** Takes over what the server says of a node whose content is the same as ours. */
  adoptVersion(node: NodeRecord, entry: RemoteEntry): void {
    node.baseEtag = entry.etag;
    node.baseSize_bytes = entry.size_bytes;
    node.fileid = entry.fileid;
    node.checksum = entry.checksum;
    if (node.contentDirty) node.cut_bytes = 0; // changed since: all bytes that count are here
  }

  #updateRoot(entry: RemoteEntry): void {
    const root = this.#store.must(1 as Ino);
    const before = shownOf(root);
    root.baseEtag = entry.etag;
    root.fileid = entry.fileid;
    root.rights = entry.rights;
    this.#applyMeta(root, entry);
    this.#store.save(root);
    if (shownOf(root) !== before) this.#o.invalidate({ kind: 'inode', ino: root.ino, data: false });
  }

  /** What a listing says of the locks of its collection. The caller saves. */
  applyLock(dir: NodeRecord, entry: RemoteEntry): void {
    dir.lockInfo = ownLock(dir.lockInfo, entry);
    const covering = this.#store.cover.at(dir.parent);
    const folder = covering === null ? null : this.#store.get(covering.folder);
    const known = folder === null ? null : this.remotePath(folder);
    const told = entry.lockRoot ?? null;
    if (told === known) return;
    // A lock was taken or ended above, where nobody has looked since.
    if (told !== null) this.deferred.add(told);
    if (known !== null) this.deferred.add(known);
  }

  /** The server has `entry`, and no row is of it yet. */
  insert(parent: NodeRecord, name: Name, entry: RemoteEntry, epoch: number): void {
    if (parent.parent === null && parent.ino !== 1) {
      // Removed here, but somebody put something new into it: the removal is dropped.
      this.#o.log.debug({ ino: parent.ino, name, fileid: entry.fileid }, 'something new in a removed directory');
      this.#conflicts.resurrect(parent);
    }
    const local = this.#store.child(parent.ino, name);
    if (local !== null && local.base === null && local.limbo === 'none') {
      if (local.isDir && entry.kind === 'dir' && !this.isShare(parent, entry)) {
        if (local.sending.length > 0) {
          // Probably the one we asked for, the answer lost: writeback finds out, and whether anything is in it.
          this.#o.tree.changed(local, 0);
          return;
        }
        this.#joinDirectories(local, parent, entry, epoch);
        return;
      }
      if (local.localOnly && !local.isDir && entry.kind !== 'dir') {
        local.surpassed = true; // ours is never sent, and in use; theirs is asked for when it goes
        return;
      }
      if (local.kind === 'file' && entry.kind === 'file') {
        // Both made the same name. The upload will meet the server's file, compare, and keep both if they differ; if ours
        // is removed or renamed before that, theirs is asked for.
        local.surpassed = true;
        this.#o.tree.changed(local, 0);
        return;
      }
    }
    this.#conflicts.makeRoom(parent, name, null);
    this.#store.insert(entry.kind, parent.ino, name, this.#o.clock.timestamp(), (draft) =>
      this.#fill(draft, parent, name, entry, epoch),
    );
    this.#told(parent, name);
  }

  /** Is it the entry itself of what somebody else shares? What was made here under its name is not for them to see. */
  isShare(parent: NodeRecord, entry: RemoteEntry): boolean {
    if (entry.shared !== 'in') return false;
    let at: NodeRecord | null = parent;
    while (at !== null && at.shared !== 'in') at = at.base === null ? null : this.#store.get(at.base.parent);
    return at === null;
  }

  /** Where directories' times are this machine's own, a change made elsewhere moves them too. */
  #membersChanged(parent: NodeRecord): void {
    if (this.#o.keepsTimes() || parent.listed_ms === 0) return;
    parent.mtime = this.#o.clock.timestamp();
    this.#store.save(parent);
    this.#o.invalidate({ kind: 'inode', ino: parent.ino, data: false });
  }

  #joinDirectories(local: NodeRecord, parent: NodeRecord, entry: RemoteEntry, epoch: number): void {
    local.base = { parent: parent.ino, name: local.name };
    local.localOnly = false;
    local.seen = epoch;
    local.listed_ms = 0;
    this.#applyIdentity(local, entry);
    this.#o.tree.changed(local);
  }

  #update(node: NodeRecord, parent: NodeRecord, name: Name, entry: RemoteEntry, epoch: number): void {
    const before = shownOf(node);
    const lockBefore = node.lock;
    const followed = node.limbo === 'follow' || (node.limbo === 'none' && node.inPlace);
    const moved = node.base === null || node.base.parent !== parent.ino || node.base.name !== name;
    const unlinkedHere = node.parent === null && node.limbo !== 'follow';
    this.#pushedOut_ms.delete(node.ino);
    node.limbo = 'none';
    node.seen = epoch;
    if (moved) {
      const oldPlace = { parent: node.parent, name: node.name };
      node.base = { parent: parent.ino, name };
      if (followed && !unlinkedHere) {
        if (parent.parent === null && parent.ino !== 1) this.#conflicts.resurrect(parent);
        this.#conflicts.makeRoom(parent, name, node);
        node.parent = parent.ino;
        node.name = name;
        node.conflict = null;
        if (oldPlace.parent !== null) {
          this.#o.invalidate({ kind: 'entry', parent: oldPlace.parent, name: oldPlace.name });
          this.#o.invalidate({ kind: 'inode', ino: oldPlace.parent, data: true });
        }
        this.#o.invalidate({ kind: 'entry', parent: parent.ino, name });
        this.#o.invalidate({ kind: 'inode', ino: parent.ino, data: true });
      }
    }
    const changed = node.kind === 'file' && !sameVersion(node.baseEtag, entry.etag, node, entry);
    const sent = changed ? mayBeSentByUs(node, entry) : 'no';
    if (sent === 'maybe' && unlinkedHere) {
      this.#o.tree.changed(node, 0); // the deletion's precondition will find out whose version it is
      return;
    }
    if (sent === 'yes') this.adoptVersion(node, entry);
    const newVersion = changed && sent !== 'yes';
    node.surpassed = newVersion && node.contentDirty;
    if (newVersion && unlinkedHere) this.#conflicts.resurrect(node);
    if (newVersion && !node.contentDirty) {
      this.#takeVersion(node, entry);
      return;
    }
    const ours = !newVersion && !this.#o.keepsTimes() && node.checksum !== null;
    const { mtime, checksum } = node;
    if (!newVersion) this.#applyIdentity(node, entry);
    else {
      // Dirty here and changed there: the base ETag stays, the upload's precondition will fail, both are kept.
      node.rights = entry.rights;
      this.#o.tree.changed(node, 0);
    }
    this.#applyMeta(node, entry);
    if (ours) {
      node.mtime = mtime;
      node.checksum ??= checksum;
    }
    const visible = shownOf(node) !== before;
    if (visible) this.#o.invalidate({ kind: 'inode', ino: node.ino, data: false });
    if (moved && node.isDir && node.lock !== lockBefore) this.#o.coverChanged(node.ino);
    // What a lock or a missing right stood in the way of is tried as soon as these change.
    const mayHelp = visible && (node.errorCode === 'locked' || node.errorCode === 'no_access');
    const wait_ms = mayHelp ? 0 : Math.max(0, node.notBefore_ms - this.#o.clock.monotonic_ms());
    this.#o.tree.changed(node, wait_ms);
  }

  /** A clean node has a new version on the server. Whoever has the old one open keeps it, under an inode that is no
   * longer in the tree; so no handle and no page of the kernel's cache ever mixes two versions. */
  #takeVersion(node: NodeRecord, entry: RemoteEntry): void {
    const versions = { had: node.baseEtag, has: entry.etag };
    this.#o.log.debug({ ino: node.ino, name: node.name, ...versions }, 'the server has another version');
    if (!this.#o.isOpen(node)) {
      this.#o.dropContent(node);
      node.size_bytes = entry.size_bytes;
      node.dataVersion += 1;
      this.#applyIdentity(node, entry);
      this.#applyMeta(node, entry);
      node.ctime = this.#o.clock.timestamp();
      this.#o.tree.changed(node);
      this.#o.invalidate({ kind: 'inode', ino: node.ino, data: true });
      return;
    }
    // What was changed here besides its bytes is of the name: that goes on to the new version.
    const { parent, name, base, pin, seen, dirty, xattrs, xattrDirty, lockInfo, conflict } = node;
    const oldEtag = node.baseEtag;
    this.#conflicts.forgetBase(node);
    node.baseEtag = oldEtag;
    node.displaced = parent === null ? null : { parent, name };
    node.parent = null;
    node.pin = false;
    node.dirty = 0;
    node.xattrDirty = null;
    node.conflict = null;
    this.#o.tree.changed(node);
    const successor = this.#store.insert('file', parent, name, this.#o.clock.timestamp(), (draft) => {
      draft.base = base;
      draft.pin = pin;
      draft.seen = seen;
      Object.assign(draft, { dirty, xattrs, xattrDirty, lockInfo, conflict, mtime: node.mtime });
      // What this server does not store is known only here.
      draft.mode = node.mode;
      draft.uid = node.uid;
      draft.gid = node.gid;
      draft.size_bytes = entry.size_bytes;
      this.#applyIdentity(draft, entry);
      this.#applyMeta(draft, entry);
    });
    this.#o.tree.changed(successor);
    if (parent !== null) this.#o.invalidate({ kind: 'entry', parent, name });
  }

  #applyIdentity(node: NodeRecord, entry: RemoteEntry): void {
    node.fileid = entry.fileid;
    node.baseEtag = entry.etag;
    node.baseSize_bytes = entry.size_bytes;
    node.rights = entry.rights;
    node.lockInfo = ownLock(node.lockInfo, entry);
    node.shared = entry.shared;
    node.checksum = entry.checksum;
  }

  /** Attributes that are not ours to keep. */
  #applyMeta(node: NodeRecord, entry: RemoteEntry): void {
    node.rights = entry.rights;
    node.lockInfo = ownLock(node.lockInfo, entry);
    node.shared = entry.shared;
    const timeIsOurs = node.isDir && !this.#o.keepsTimes() && node.listed_ms > 0;
    if ((node.dirty & (Dirty.mtime | Dirty.content)) === 0 && !timeIsOurs) {
      node.mtime = entry.posix.mtime ?? usable(entry.mtime, node.mtime);
    }
    // What a server does not store stays as it is known here.
    const { mode, uid, gid } = entry.posix;
    if ((node.dirty & Dirty.mode) === 0) node.mode = mode ?? node.mode;
    if ((node.dirty & Dirty.owner) === 0) {
      node.uid = uid ?? node.uid;
      node.gid = gid ?? node.gid;
    }
    if (this.#o.keepsXattrs()) this.#applyXattrs(node, entry);
    if (node.kind === 'symlink') {
      node.symlinkTarget = entry.symlinkTarget;
      node.size_bytes = Buffer.byteLength(entry.symlinkTarget ?? '');
    }
  }

  #applyXattrs(node: NodeRecord, entry: RemoteEntry): void {
    const xattrs = new Map(entry.xattrs);
    for (const name of node.xattrDirty ?? []) {
      const mine = node.xattrs?.get(name);
      if (mine === undefined) xattrs.delete(name);
      else xattrs.set(name, mine);
    }
    node.xattrs = xattrs.size === 0 ? null : xattrs;
  }

  /** Something else is now where the server had `node`; whether it moved or is gone the rest of the feed will say. */
  #pushOut(node: NodeRecord, asked_ms: number): void {
    this.#o.log.debug(
      { ino: node.ino, name: node.name, fileid: node.fileid },
      'something else is in its place on the server',
    );
    this.#pushedOut_ms.set(node.ino, asked_ms);
    node.limbo = node.inPlace ? 'follow' : 'stay';
    node.base = null; // its size there stays: see `Conflicts.forgetBase`
    if (node.limbo === 'follow' && node.parent !== null) {
      const { parent, name } = node;
      if (this.#mustBeSentAgain(node)) {
        this.#conflicts.setAside(node, 'replaced on the server while it had local changes');
        return;
      }
      if (!node.isDir) {
        node.parent = null;
        this.#o.invalidate({ kind: 'entry', parent, name });
      } else this.#conflicts.setAside(node, 'replaced on the server');
    }
    this.#store.save(node);
  }

  #mustBeSentAgain(node: NodeRecord): boolean {
    if (node.parent === null && node.limbo !== 'follow') return false;
    if (node.isDir) return this.#store.hasMembers(node.ino);
    if (node.kind === 'symlink') return !node.inPlace && node.limbo === 'none';
    return node.contentDirty || (node.limbo === 'none' && !node.inPlace && this.#o.isComplete(node));
  }

  #holdsOnlyOurs(dir: NodeRecord): boolean {
    for (const member of this.#store.everyMember(dir.ino)) if (!member.staysHere) return false;
    return true;
  }

  #removeLocally(node: NodeRecord): void {
    this.#o.log.debug({ ino: node.ino, name: node.name }, 'removed, as the server has');
    const { parent, name } = node;
    if (parent !== null && this.#o.isOpen(node)) node.displaced = { parent, name };
    node.parent = null;
    node.dirty = 0;
    node.xattrDirty = null;
    node.pin = false;
    this.#o.tree.changed(node);
    const above = parent === null ? null : this.#store.get(parent);
    if (above !== null) this.#membersChanged(above);
    if (parent !== null) this.#o.invalidate({ kind: 'delete', parent, child: node.ino, name });
    this.#o.onUnlinked(node);
    this.#o.tree.purgeIfGone(node);
  }
}
