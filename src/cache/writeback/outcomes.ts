// What an answer of the server means for our rows. Callers run these inside a transaction, except what is awaited.

import type { Clock } from '../../clock.js';
import type { Remote, RemoteEntry } from '../../remote/remote.js';
import { inPieces } from '../in_pieces.js';
import { Dirty, type NodeRecord } from '../metadata/node.js';
import type { NodeStore } from '../metadata/node_store.js';
import type { Mirror } from '../mirror.js';
import type { Tree } from '../tree.js';
import type { WholeTrees } from './whole_trees.js';

export interface OutcomeServices {
  readonly remote: Remote;
  readonly store: NodeStore;
  readonly tree: Tree;
  readonly mirror: Mirror;
  readonly clock: Clock;
}

export class Outcomes {
  readonly #o: OutcomeServices;
  readonly #wholeTrees: WholeTrees;

  constructor(services: OutcomeServices, wholeTrees: WholeTrees) {
    this.#o = services;
    this.#wholeTrees = wholeTrees;
  }

  /** A step is done. `wait_ms`: until what is left to do for the node is sent. */
  done(node: NodeRecord, wait_ms?: number): void {
    node.error = null;
    node.errorCode = null;
    this.#o.tree.changed(node, wait_ms);
  }

  /** Attributes that this server has no place for are ours alone and never pending. */
  dropWhatCannotBeSent(node: NodeRecord): void {
    const { capabilities } = this.#o.remote;
    if (!capabilities.posix) node.dirty &= ~(Dirty.mode | Dirty.owner);
    if (!capabilities.setMtime) node.dirty &= ~Dirty.mtime;
    if (!capabilities.xattrs) {
      node.dirty &= ~Dirty.xattrs;
      node.xattrDirty = null;
    }
  }

  /** The server no longer has this node. */
  forget(node: NodeRecord): void {
    node.base = null;
    node.baseEtag = null;
    node.fileid = null;
    this.#wholeTrees.forget(node);
    if (node.isDir) this.#o.tree.nothingWasSentInto(node);
    this.#o.tree.changed(node);
    this.#o.tree.purgeIfGone(node);
  }

  /** Nor anything that was in it. The node goes last: if that does not come to its end, it is found out again. */
  async forgetTree(node: NodeRecord): Promise<void> {
    const { store, clock } = this.#o;
    await inPieces(store.belowAtBase(node), { store, clock }, (member) => this.forget(member));
    store.transaction(() => this.forget(node));
  }

  /** The server has what we sent last, the answer to which was lost: that is the version the next step is about. */
  adoptOwn(node: NodeRecord, entry: RemoteEntry): void {
    this.#o.mirror.adoptVersion(node, entry);
    this.#o.tree.changed(node, 0);
  }

  /** The server already has this very thing under the wanted name. */
  take(node: NodeRecord, entry: RemoteEntry): void {
    if (node.parent !== null && node.base === null) {
      const occupant = this.#o.store.atBase(node.parent, node.name);
      if (occupant !== null && occupant !== node) {
        if (occupant.parent !== null) return; // that is what is there
        this.forget(occupant);
      }
      node.base = { parent: node.parent, name: node.name };
    }
    this.#o.mirror.adoptVersion(node, entry);
    this.done(node, 0);
  }
}
