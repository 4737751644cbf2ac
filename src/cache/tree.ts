// Changes of the local namespace. Every method is one transaction that leaves rows from which writeback can derive what
// the server must still be told (see metadata/schema.ts). Nothing here waits.
//
// Identity follows the name a user cares about: when a file that the server does not know yet takes the place of one it
// does know (atomic save: temporary file renamed over the target; vim: target moved aside, written anew, old one
// removed), the new file *adopts* the old one's identity on the server, so that id, versions, shares and lock survive
// and the temporary name is never sent.

import type { Clock, Timestamp } from '../clock.js';
import { CloudError } from '../errors.js';
import type { Ino, Name } from '../ids.js';
import { NAME_MAX_BYTES, nameBytes } from '../names.js';
import type { NodeKind } from '../remote/remote.js';
import type { NewNode, RenameMode } from './cache_api.js';
import { crashPoint } from './crash_points.js';
import { isLocalOnly } from './local_names.js';
import { Dirty, type NodeRecord } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';

/** Until what is removed in a received share is sent. */
const IN_SHARE_MS = 3_000;

export interface TreeOptions {
  readonly store: NodeStore;
  readonly clock: Clock;
  /** Writeback leaves a node alone for this long after a change. */
  readonly quiet_ms: number;
  /** Called after a transaction with nodes whose pending work changed. */
  readonly onPending: (node: NodeRecord) => void;
  /** A request about this node is on its way: its identity on the server must not change hands now. */
  readonly isBusy: (node: NodeRecord) => boolean;
  /** Is a request on its way, or its outcome unknown, that puts something at this place? */
  readonly isBeingMade: (parent: Ino, name: Name) => boolean;
  /** Somebody has the file open. */
  readonly isOpen: (node: NodeRecord) => boolean;
  /** A new file has left its place, where the server may have another one that was not shown because of it. */
  readonly onVacated: (parent: Ino, name: Name) => void;
  /** A node is no longer in the drive; its content may go once nobody has it open. */
  readonly onUnlinked: (node: NodeRecord) => void;
}

export class Tree {
  readonly #store: NodeStore;
  readonly #clock: Clock;
  readonly #options: TreeOptions;

  constructor(options: TreeOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#clock = options.clock;
  }

  /** Saves `node` and brings its place in the queue in line with what differs from the server. */
  changed(node: NodeRecord, quiet_ms = this.#options.quiet_ms): void {
    if (node.differs) {
      this.#mustBeSent(node);
      this.#folderMustBeSent(node);
      node.notBefore_ms = this.#clock.monotonic_ms() + quiet_ms;
    } else if (node.pending !== null) {
      node.pending = null;
      node.error = null;
      node.errorCode = null;
      node.attempts = 0;
      node.uploadState = null;
    }
    this.#store.save(node);
    this.#options.onPending(node);
  }

  /** A folder that stayed here for what is never sent has something else in it now. */
  #folderMustBeSent({ parent }: NodeRecord): void {
    const dir = parent === null ? null : this.#store.get(parent);
    if (dir === null || !dir.localOnly) return;
    dir.localOnly = false;
    this.changed(dir);
  }

  #mustBeSent(node: NodeRecord): void {
    if (node.pending !== null) return;
    node.pending = this.#store.nextPending();
    node.pendingSince_ms = this.#clock.now_ms();
    node.attempts = 0;
    node.error = null;
    node.errorCode = null;
  }

  /** The bytes of `node` changed, or somebody who could change them is done. Of what waits to be sent already only that
   * changed, so it waits on: its size and times are written with the record of its content (`Contents`). */
  rewritten(node: NodeRecord): void {
    if (node.pending === null || !node.contentDirty) {
      this.changed(node);
      return;
    }
    node.notBefore_ms = this.#clock.monotonic_ms() + this.#options.quiet_ms;
    this.#options.onPending(node);
  }

  create(
    parent: NodeRecord,
    name: Name,
    kind: NodeKind,
    wanted: NewNode,
    target: string | null = null,
    holdsPosix = true,
  ): NodeRecord {
    checkName(name);
    if (kind === 'dir' && parent.ino === 1 && /^\.Trash(-\d+)?$/.test(name)) {
      // File managers would move whole trees into it, as an upload; the server has a trash of its own.
      throw new CloudError(
        'not_permitted',
        `creating ${name}: the drive keeps no desktop trash; delete removes on the server`,
      );
    }
    return this.#store.transaction(() => {
      if (this.#store.child(parent.ino, name) !== null) {
        throw new CloudError('exists', `creating "${name}": the name is taken`);
      }
      const now = this.#clock.timestamp();
      const node = this.#store.insert(kind, parent.ino, name, now, (draft) => {
        draft.mode = wanted.mode & 0o7777;
        draft.uid = wanted.uid;
        draft.gid = wanted.gid;
        draft.symlinkTarget = target;
        draft.size_bytes = target === null ? 0 : Buffer.byteLength(target);
        draft.localOnly = kind !== 'dir' && isLocalOnly(name);
        if (kind === 'file') draft.dirty = Dirty.content;
        if (kind !== 'symlink' && holdsPosix) draft.dirty |= Dirty.mode;
        if (wanted.uid !== null && holdsPosix) draft.dirty |= Dirty.owner;
        // What was made here is completely known here.
        draft.listed_ms = kind === 'dir' ? this.#clock.now_ms() : 0;
        draft.used_ms = this.#clock.now_ms();
        if (draft.differs) this.#mustBeSent(draft); // at once: one row written instead of two
      });
      this.#touchDir(parent, now);
      this.#adoptTombstone(node);
      this.changed(node);
      return node;
    });
  }

  /** Removes a name. Directories must be empty and the caller must have made sure that they are listed. */
  unlink(node: NodeRecord): void {
    this.#store.transaction(() => {
      if (node.isDir && this.#store.hasMembers(node.ino)) {
        throw new CloudError('not_empty', `removing "${node.name}": the directory is not empty`);
      }
      const now = this.#clock.timestamp();
      const parent = node.parent === null ? null : this.#store.get(node.parent);
      this.#unlinkRow(node, now);
      if (parent !== null) this.#touchDir(parent, now);
    });
  }

  rename(node: NodeRecord, toParent: NodeRecord, toName: Name, mode: RenameMode): void {
    checkName(toName);
    this.#store.transaction(() => {
      const target = this.#store.child(toParent.ino, toName);
      if (mode === 'exchange') {
        if (target === null) throw new CloudError('not_found', `exchanging with "${toName}": no such name`);
        this.#exchange(node, target);
      } else {
        this.#move(node, toParent, toName, target, mode);
      }
      crashPoint('rename.before_commit');
    });
    crashPoint('rename.after_commit');
  }

  /** Is `node` `ancestor` itself or below it, as the drive shows the tree? */
  isBelow(node: NodeRecord, ancestor: NodeRecord): boolean {
    for (let at: NodeRecord | null = node; at !== null; at = at.parent === null ? null : this.#store.get(at.parent)) {
      if (at === ancestor) return true;
    }
    return false;
  }

  /** The last handle of an unlinked node closed, or its deletion reached the server. */
  purgeIfGone(node: NodeRecord): void {
    if (node.parent !== null || node.base !== null || node.limbo !== 'none' || node.ino === 1) return;
    if (node.sending.length > 0) return; // the server may have it: writeback looks
    if (this.#options.isBusy(node) || this.#options.isOpen(node)) return;
    if (node.extents !== null) this.#options.onUnlinked(node);
    this.#store.remove(node);
  }

  #move(node: NodeRecord, toParent: NodeRecord, toName: Name, target: NodeRecord | null, mode: RenameMode): void {
    if (target === node) return;
    if (target !== null) {
      if (mode === 'noreplace') throw new CloudError('exists', `renaming to "${toName}": the name is taken`);
      if (target.isDir && !node.isDir) throw new CloudError('is_dir', `renaming to "${toName}": it is a directory`);
      if (!target.isDir && node.isDir)
        throw new CloudError('not_dir', `renaming to "${toName}": it is not a directory`);
      if (target.isDir && this.#store.hasMembers(target.ino)) {
        throw new CloudError('not_empty', `renaming to "${toName}": the directory there is not empty`);
      }
    }
    if (node.isDir && this.isBelow(toParent, node)) {
      throw new CloudError('invalid', `renaming "${node.name}" into itself`);
    }
    const now = this.#clock.timestamp();
    const fromParent = node.parent === null ? null : this.#store.get(node.parent);
    if (target?.pin === true && node.kind !== 'symlink') node.pin = true; // it is the name that was pinned
    if (target !== null) this.#unlinkRow(target, now);
    this.#vacate(node);
    settleConflict(node, toParent, toName);
    node.parent = toParent.ino;
    node.name = toName;
    node.ctime = now;
    keepOrSend(node);
    if (node.base === null) this.#adoptTombstone(node);
    this.changed(node);
    if (fromParent !== null && fromParent !== toParent) this.#touchDir(fromParent, now);
    this.#touchDir(toParent, now);
  }

  #exchange(a: NodeRecord, b: NodeRecord): void {
    if (a === b) return;
    const aParent = a.parent === null ? null : this.#store.get(a.parent);
    const bParent = b.parent === null ? null : this.#store.get(b.parent);
    if (aParent === null || bParent === null) throw new CloudError('not_found', 'exchanging names: one is gone');
    if ((a.isDir && this.isBelow(bParent, a)) || (b.isDir && this.isBelow(aParent, b))) {
      throw new CloudError('invalid', `exchanging "${a.name}" with "${b.name}": one is inside the other`);
    }
    const now = this.#clock.timestamp();
    const [aName, bName] = [a.name, b.name];
    settleConflict(a, bParent, bName);
    settleConflict(b, aParent, aName);
    a.parent = null; // frees the unique (parent, name) slot
    this.#store.save(a);
    b.parent = aParent.ino;
    b.name = aName;
    b.ctime = now;
    keepOrSend(b);
    this.changed(b);
    a.parent = bParent.ino;
    a.name = bName;
    a.ctime = now;
    keepOrSend(a);
    this.changed(a);
    this.#touchDir(aParent, now);
    if (aParent !== bParent) this.#touchDir(bParent, now);
  }

  #unlinkRow(node: NodeRecord, now: Timestamp): void {
    const { base: slot, pin } = node;
    this.#vacate(node);
    node.parent = null;
    node.ctime = now;
    node.conflict = null;
    node.pin = false;
    this.changed(node, this.#removalWait(node));
    const successor = slot === null ? null : this.#store.child(slot.parent, slot.name);
    if (successor?.kind === 'file' && successor.base === null) {
      if (pin) {
        successor.pin = true;
        this.#store.save(successor);
      }
      this.#adoptTombstone(successor);
    }
    this.#options.onUnlinked(node);
    this.purgeIfGone(node);
  }

  /** Who removes a received share with all that is in it (`rm -r`) does without it, as who removes its entry alone; the owner
   * keeps what is in it. So what is removed in a share waits for whether the entry follows. */
  #removalWait({ base, shared }: NodeRecord): number {
    const above = base === null ? null : this.#store.get(base.parent);
    return shared === 'in' && above?.shared === 'in' ? IN_SHARE_MS : this.#options.quiet_ms;
  }

  #vacate(node: NodeRecord): void {
    if (!node.surpassed || node.base !== null || node.parent === null) return;
    this.#options.onVacated(node.parent, node.name);
    node.surpassed = false;
  }

  /** If the server still has a file, deleted here, in the very place of this new one: it becomes its new content. */
  #adoptTombstone(node: NodeRecord, isBusy = this.#options.isBusy(node)): void {
    if (node.kind !== 'file' || node.parent === null || node.base !== null || node.localOnly) return;
    const old = this.#store.atBase(node.parent, node.name);
    if (old === null || old === node || old.parent !== null || old.kind !== 'file') return;
    if (this.#options.isBusy(old) || isBusy) return;
    if (this.#options.isBeingMade(node.parent, node.name)) return; // by something else: it would be in the way
    // A move of the old one, or the making of this one, had no answer: the server may have it elsewhere.
    if ([old, node].some(({ sending }) => sending.some(({ place }) => place !== null))) return;
    const { base, baseEtag, baseSize_bytes, fileid, rightsBits, shared, lockInfo, checksum } = old;
    // What was sent of the old one without an answer may be what the server has now.
    node.sending = [...node.sending, ...old.sending];
    old.sending = [];
    Object.assign(old, {
      base: null,
      baseEtag: null,
      baseSize_bytes: null,
      fileid: null,
      checksum: null,
      lockInfo: null,
    });
    this.changed(old);
    this.purgeIfGone(old);
    Object.assign(node, { base, baseEtag, baseSize_bytes, fileid, rightsBits, shared, lockInfo, checksum });
    node.cut_bytes = 0; // not a byte of the old content counts
    // The server has the old file's attributes and the new one must replace all of them.
    node.dirty |= Dirty.content | Dirty.mtime;
    if (old.mode !== null && old.mode !== node.mode) node.dirty |= Dirty.mode;
    if (old.xattrs !== null) {
      node.xattrDirty = new Set([...(node.xattrDirty ?? []), ...old.xattrs.keys(), ...(node.xattrs?.keys() ?? [])]);
      node.dirty |= Dirty.xattrs;
    }
    this.changed(node);
  }

  /** The server has made `node` under none of the names by which it was sent: it is as new as before. Told by who has just
   * looked. */
  wasNotMade(node: NodeRecord): void {
    this.#store.transaction(() => {
      node.sending = [];
      this.changed(node, 0);
      this.#adoptTombstone(node, false);
    });
  }

  /** `dir` is not on the server (any more): what was sent into it without an answer is not there either. */
  nothingWasSentInto(dir: NodeRecord): void {
    for (const node of this.#store.sending()) {
      const left = node.sending.filter(({ place }) => place?.parent !== dir.ino);
      if (left.length === node.sending.length) continue;
      node.sending = left;
      this.changed(node);
      this.purgeIfGone(node);
    }
  }

  #touchDir(dir: NodeRecord, now: Timestamp): void {
    dir.mtime = now;
    dir.ctime = now;
    this.#store.save(dir);
  }
}

/** A copy that gets the name it competed for, by a move or by hand, is one no longer. */
function settleConflict(node: NodeRecord, toParent: NodeRecord, toName: Name): void {
  const { conflict } = node;
  if (conflict?.original === toName && (conflict.parent ?? node.parent) === toParent.ino) node.conflict = null;
}

/** Whether a node that the server does not have is to stay on this machine depends on what it is called now. */
function keepOrSend(node: NodeRecord): void {
  node.localOnly = node.base === null && !node.isDir && isLocalOnly(node.name);
}

function checkName(name: Name): void {
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) {
    throw new CloudError('invalid', `"${name}" cannot be a name`);
  }
  if (nameBytes(name) > NAME_MAX_BYTES) {
    throw new CloudError('name_too_long', `a name has at most ${NAME_MAX_BYTES} bytes, found ${nameBytes(name)}`);
  }
}
