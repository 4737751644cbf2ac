// May a collection that is removed here be removed there in one request, under its ETag?

import type { Clock } from '../../clock.js';
import { isStrongEtag, type Remote } from '../../remote/remote.js';
import type { NodeRecord } from '../metadata/node.js';
import type { Mirror } from '../mirror.js';

/** So long it is waited for what the ETag stands for, above all for the echo of members that were removed singly before:
 * that is a moment, unless others go on changing what is in it. */
const PATIENCE_MS = 10_000;

export type Whole = 'yes' | 'not yet' | 'no';

export interface WholeTreesOptions {
  readonly remote: Remote;
  readonly mirror: Mirror;
  readonly clock: Clock;
  /** A part of what the feed has to tell is known, and the rest is not. */
  readonly isCatchingUp: () => boolean;
}

interface Wait {
  readonly since_ms: number;
  /** The ETag under which the server would not. */
  readonly refused: string | null;
}

export class WholeTrees {
  readonly #o: WholeTreesOptions;
  readonly #waits = new WeakMap<NodeRecord, Wait>();
  /** Something in them is not as it is known here: one by one, then. */
  readonly #never = new WeakSet<NodeRecord>();

  constructor(options: WholeTreesOptions) {
    this.#o = options;
  }

  judge(node: NodeRecord): Whole {
    const { capabilities } = this.#o.remote;
    if (!capabilities.collectionEtags || !isStrongEtag(node.baseEtag) || this.#never.has(node)) return 'no';
    if (this.#isKnown(node)) return 'yes';
    if (!this.#waits.has(node)) this.#waits.set(node, { since_ms: this.#o.clock.monotonic_ms(), refused: null });
    return 'not yet';
  }

  /** Is all known that a collection's ETag stands for? It may have come before what the server said of the members. */
  #isKnown(node: NodeRecord): boolean {
    const { mirror, isCatchingUp } = this.#o;
    const path = mirror.remotePath(node);
    if (path === null || isCatchingUp() || mirror.deferred.hasBelow(path)) return false;
    return this.#waits.get(node)?.refused !== node.baseEtag;
  }

  /** The server has another version. Where a feed tells of it, it is tried again under that. */
  refused(node: NodeRecord): void {
    if (!this.#o.remote.capabilities.changeFeed) {
      this.never(node);
      return;
    }
    const since_ms = this.#waits.get(node)?.since_ms ?? this.#o.clock.monotonic_ms();
    this.#waits.set(node, { since_ms, refused: node.baseEtag });
  }

  never(node: NodeRecord): void {
    this.#never.add(node);
  }

  /** Has it been waited for long enough? True once: from then on it goes one by one. */
  isGivenUp(node: NodeRecord): boolean {
    const wait = this.#waits.get(node);
    if (wait === undefined || this.#o.clock.monotonic_ms() - wait.since_ms < PATIENCE_MS) return false;
    this.#waits.delete(node);
    this.#never.add(node);
    return true;
  }

  /** The server does not have it any more. */
  forget(node: NodeRecord): void {
    this.#waits.delete(node);
    this.#never.delete(node);
  }
}
