// Where what was done here and what the server has do not go together: nothing is thrown away. Of two versions or two things
// of one name the server's keeps the name and ours goes beside it; what somebody still needs comes back. Methods run inside
// one transaction of the caller and never wait.

import type { Clock } from '../clock.js';
import { CloudError } from '../errors.js';
import type { Ino, Name } from '../ids.js';
import type { Log } from '../log.js';
import { ALL_RIGHTS, type RemoteEntry } from '../remote/remote.js';
import { isAsideName } from './aside_name.js';
import type { Invalidation } from './cache_api.js';
import { type Author, conflictName } from './conflict_name.js';
import { Dirty, type NodeRecord } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';
import type { Tree } from './tree.js';

export interface ConflictsOptions {
  readonly store: NodeStore;
  readonly tree: Tree;
  readonly clock: Clock;
  readonly author: Author;
  readonly log: Log;
  readonly invalidate: (event: Invalidation) => void;
  /** All bytes are here. */
  readonly isComplete: (node: NodeRecord) => boolean;
  /** Shows `entry`, which the server has under `name` in `parent`. */
  readonly insert: (parent: NodeRecord, name: Name, entry: RemoteEntry) => void;
}

export class Conflicts {
  readonly #o: ConflictsOptions;
  readonly #store: NodeStore;

  constructor(options: ConflictsOptions) {
    this.#o = options;
    this.#store = options.store;
  }

  /** Frees the local name for a node that the server has there. */
  makeRoom(parent: NodeRecord, name: Name, wanted: NodeRecord | null): void {
    const local = this.#store.child(parent.ino, name);
    if (local === null || local === wanted) return;
    this.setAside(local, 'the server has something else under this name');
  }

  /** Moves `node` out of the way under a conflict name. */
  setAside(node: NodeRecord, reason: string): Name {
    const shown = node.name;
    // A copy that is in the way again keeps the name it first competed for, else names would grow without end.
    const original = (node.conflict?.original ?? shown) as Name;
    const parent = node.parent ?? (1 as Ino);
    const name = conflictName(original, this.#o.author, new Date(this.#o.clock.now_ms()), (candidate) => {
      return this.#store.child(parent, candidate) !== null || this.#store.atBase(parent, candidate) !== null;
    });
    node.name = name;
    node.conflict = { original, atEpoch_ms: this.#o.clock.now_ms(), reason };
    if (!node.isDir) node.localOnly = false;
    this.#o.tree.changed(node, 0);
    this.#o.invalidate({ kind: 'entry', parent, name: shown });
    this.#o.invalidate({ kind: 'entry', parent, name });
    this.#o.log.warn({ ino: node.ino, original, name, reason }, 'conflict: both versions are kept');
    return name;
  }

  /** Moves `node` into `place`, under a conflict name: where it is the server does not take it. */
  moveAside(node: NodeRecord, place: NodeRecord, reason: string): void {
    const { parent, name } = node;
    node.parent = place.ino;
    this.setAside(node, reason);
    if (node.conflict !== null && parent !== null) node.conflict = { ...node.conflict, parent };
    this.#forgetRights(node);
    this.#o.tree.changed(node, 0);
    if (parent !== null) {
      this.#o.invalidate({ kind: 'entry', parent, name });
      this.#o.invalidate({ kind: 'inode', ino: parent, data: true });
    }
    this.#o.invalidate({ kind: 'inode', ino: place.ino, data: true });
  }

  /** The upload of `node` met another version: the server's keeps the name, ours goes beside it. */
  conflictWith(node: NodeRecord, entry: RemoteEntry, reason: string): NodeRecord | null {
    const place = node.base ?? (node.parent === null ? null : { parent: node.parent, name: node.name });
    const movedAway = node.base !== null && !node.inPlace;
    const pinned = node.pin;
    this.forgetBase(node);
    if (node.kind === 'file') node.dirty |= Dirty.content | Dirty.mtime | Dirty.mode;
    if (node.parent !== null && !movedAway) this.setAside(node, reason);
    else this.#o.tree.changed(node, 0);
    const parent = place === null ? null : this.#store.get(place.parent);
    if (parent === null || place === null) return null;
    this.#o.insert(parent, place.name, entry);
    const theirs = this.#store.atBase(parent.ino, place.name);
    if (theirs !== null && pinned) {
      theirs.pin = true;
      this.#store.save(theirs);
    }
    return theirs;
  }

  /** Bytes of `node` that the kernel may have are others now. */
  otherBytes(node: NodeRecord): void {
    node.dataVersion += 1;
    this.#o.invalidate({ kind: 'inode', ino: node.ino, data: true });
  }

  /** A deletion that met a newer version is dropped: the node is back where the server has it. */
  resurrect(node: NodeRecord): void {
    if (node.parent !== null || node.base === null) return;
    const parent = this.#store.get(node.base.parent);
    if (parent === null) return;
    this.#o.log.debug({ ino: node.ino, name: node.base.name }, 'a deletion is dropped');
    if (parent.parent === null && parent.ino !== 1) this.resurrect(parent);
    this.#showIn(parent, node, node.base.name);
    this.#o.invalidate({ kind: 'entry', parent: parent.ino, name: node.name });
  }

  /** A move that was not sent is given up: `node` is where the server has it, and what it was to replace is back. */
  moveBack(node: NodeRecord): void {
    const { parent: from, name, base } = node;
    const parent = base === null ? null : this.#store.get(base.parent);
    if (from === null || base === null || parent === null || node.inPlace) return;
    if (!this.mayMoveBack(node)) {
      throw new CloudError('busy', `moving "${name}" back: the folder it was in is inside it; move that out first`);
    }
    if (parent.parent === null && parent.ino !== 1) this.resurrect(parent);
    node.conflict = null;
    this.#showIn(parent, node, base.name);
    const replaced = this.#store.atBase(from, name);
    if (replaced !== null) this.resurrect(replaced);
    for (const [ino, at] of [
      [from, name],
      [parent.ino, node.name],
    ] as const) {
      this.#o.invalidate({ kind: 'entry', parent: ino, name: at });
      this.#o.invalidate({ kind: 'inode', ino, data: true });
    }
  }

  /** False where the folder that it was in is, or would be shown, inside it. */
  mayMoveBack(node: NodeRecord): boolean {
    for (let at = node.base === null ? null : this.#store.get(node.base.parent); at !== null && at.ino !== 1; ) {
      if (at === node) return false;
      const above = at.parent ?? at.base?.parent ?? null;
      at = above === null ? null : this.#store.get(above);
    }
    return true;
  }

  /** Where the server has it. Where that is the name of a moment it is on its way to its own, or beside what has that. */
  #showIn(parent: NodeRecord, node: NodeRecord, name: Name): void {
    node.parent = parent.ino;
    if (!isAsideName(name)) {
      this.makeRoom(parent, name, node);
      node.name = name;
      this.#o.tree.changed(node);
      return;
    }
    const taken = this.#store.child(parent.ino, node.name);
    if (taken === null || taken === node) this.#o.tree.changed(node, 0);
    else this.setAside(node, 'changed on the server while it was removed or moved here');
  }

  /** Somebody goes on to write to a file that the server has taken the name of while it was open here: it comes back,
   * beside what has the name now. All of it must be here. */
  putBack(node: NodeRecord): void {
    const place = node.displaced;
    if (place === null) return;
    const folder = this.#store.get(place.parent);
    const parent = folder === null || folder.parent === null ? this.#store.must(1 as Ino) : folder;
    node.displaced = null;
    this.forgetBase(node);
    node.parent = parent.ino;
    node.name = place.name;
    node.dirty |= Dirty.content | Dirty.mtime | Dirty.mode;
    if (this.#store.child(parent.ino, place.name) === null) {
      this.#o.tree.changed(node);
      this.#o.invalidate({ kind: 'entry', parent: parent.ino, name: place.name });
    } else this.setAside(node, 'changed on the server while it was open here, and written to after that');
    this.#o.invalidate({ kind: 'inode', ino: parent.ino, data: true });
  }

  /** The server has nothing any more that `node` is a version of. */
  forgetBase(node: NodeRecord): void {
    // Of a changed file the parts that are not here are lost with the server's version. Its size is kept: it says which
    // bytes are missing, and that they are not zeros.
    if (node.kind !== 'file' || this.#o.isComplete(node)) node.baseSize_bytes = null;
    node.base = null;
    node.baseEtag = null;
    node.fileid = null;
    node.lockInfo = null;
    node.checksum = null;
    node.uploadState = null;
    this.#forgetRights(node);
    if (node.isDir) node.listedEtag = null;
  }

  /** What the server knows nothing of is the user's own. */
  #forgetRights(node: NodeRecord): void {
    const { rightsBits } = node;
    node.rights = ALL_RIGHTS;
    node.shared = null;
    if (rightsBits !== node.rightsBits) this.#o.invalidate({ kind: 'inode', ino: node.ino, data: false });
  }
}
