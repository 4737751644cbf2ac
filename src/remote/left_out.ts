// What listings tell or name in a way that cannot be is left out of them, and said once.

import { LRUCache } from 'lru-cache';
import type { RemotePath } from '../ids.js';
import type { Log } from './dav.js';
import { leftOut } from './entry.js';
import type { RemoteEntry } from './remote.js';

const SAID = 1000;

export class LeftOut {
  readonly #log: Log;
  readonly #said = new LRUCache<string, true>({ max: SAID });

  constructor(log: Log) {
    this.#log = log;
  }

  /** What stands for `what` (as the server names it) in a listing: it is there, and no more is known. */
  entry(path: RemotePath, what: string, why: unknown): RemoteEntry {
    if (!this.#said.has(what)) {
      this.#said.set(what, true);
      const reason = why instanceof Error ? why.message : String(why);
      this.#log.warn(
        { entry: what, reason },
        'left out of a listing: the server tells or names it in a way that cannot be',
      );
    }
    return leftOut(path);
  }
}
