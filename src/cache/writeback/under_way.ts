// What the server may have by now although we do not know it: requests that are on their way, and moves whose answer was
// lost. Everything about such a place or a path through it waits (docs/cache.md).

import type { Ino, Name } from '../../ids.js';
import type { BasePlace, NodeRecord } from '../metadata/node.js';
import type { NodeStore } from '../metadata/node_store.js';
import type { Step } from './plan.js';
import { firstOnWay } from './way.js';

export interface Running {
  readonly step: Step['do'];
  sent_bytes: number;
  readonly abort: AbortController;
}

export class UnderWay {
  readonly #store: NodeStore;
  readonly running = new Map<Ino, Running>();
  /** Where the running requests put nodes. */
  readonly targets = new Map<Ino, BasePlace>();
  /** Moves without an answer: the server may have the node where it was or here. */
  readonly unconfirmed = new Map<Ino, BasePlace>();

  constructor(store: NodeStore) {
    this.#store = store;
  }

  isBusy(node: NodeRecord): boolean {
    return this.running.has(node.ino);
  }

  isUncertain(node: NodeRecord): boolean {
    return this.running.has(node.ino) || this.unconfirmed.has(node.ino);
  }

  /** One that the server has, or had, in this collection. */
  uncertainIn(dir: NodeRecord): NodeRecord | null {
    for (const ino of [...this.running.keys(), ...this.unconfirmed.keys()]) {
      const node = this.#store.get(ino);
      if (node?.base?.parent === dir.ino) return node;
    }
    return null;
  }

  /** Is anything about this node, or about where it is, on its way or unconfirmed? What the server says of it meanwhile
   * may be of before or after. */
  isUnsettled(node: NodeRecord): boolean {
    if (this.running.size === 0 && this.unconfirmed.size === 0) return false;
    return this.isUncertain(node) || this.moverOnWayTo(node) !== null;
  }

  /** The node, or a collection above it, that is being moved or may have been. */
  moverOnWayTo(node: NodeRecord): NodeRecord | null {
    return firstOnWay(
      node,
      this.#store,
      ({ ino }) => this.unconfirmed.has(ino) || this.running.get(ino)?.step === 'move',
    );
  }

  /** A node that a request puts at this place which is on its way, or whose outcome is unknown. */
  makerAt(parent: Ino, name: Name): Ino | null {
    for (const [ino, place] of this.targets) if (place.parent === parent && place.name === name) return ino;
    return this.movedTo(parent, name) ?? this.#store.sentTo(parent, name);
  }

  /** A node whose unconfirmed move was to this place. */
  movedTo(parent: Ino, name: Name): Ino | null {
    for (const [ino, place] of this.unconfirmed) {
      if (place.parent !== parent || place.name !== name) continue;
      if (this.#store.get(ino) !== null) return ino;
      this.unconfirmed.delete(ino); // removed here and there since
    }
    return null;
  }

  /** Is a request on its way for anything below `dir`, as the server has the tree? */
  busyBelow(dir: NodeRecord): boolean {
    for (const ino of this.running.keys()) {
      if (ino === dir.ino) continue;
      const node = this.#store.get(ino);
      if (node !== null && this.isInside(node.base?.parent ?? node.parent, dir)) return true;
      if (this.isInside(this.targets.get(ino)?.parent ?? null, dir)) return true;
    }
    return false;
  }

  /** Is `ino` `dir` or, as the server has the tree, below it? */
  isInside(ino: Ino | null, dir: NodeRecord): boolean {
    for (let at = ino; at !== null && at !== 1; ) {
      if (at === dir.ino) return true;
      const node = this.#store.get(at);
      at = node?.base?.parent ?? node?.parent ?? null;
    }
    return false;
  }
}
