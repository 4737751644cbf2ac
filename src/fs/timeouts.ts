// For how long the kernel may believe what it was told. While the server pushes changes, every change is followed by a
// notification and answers hold for long; without push the kernel has to ask again soon, so that polling shows.

import type { DriveCache } from '../cache/cache_api.js';

const PUSHED_MS = 3_600_000;
const POLLED_MS = 1_000;

export class Timeouts {
  readonly #cache: Pick<DriveCache, 'pushed'>;
  #pushed: boolean;

  constructor(cache: Pick<DriveCache, 'pushed'>) {
    this.#cache = cache;
    this.#pushed = cache.pushed;
  }

  /** A name that exists, and its attributes. */
  get known_ms(): number {
    return this.#cache.pushed ? PUSHED_MS : POLLED_MS;
  }

  /** A name that does not exist. */
  get negative_ms(): number {
    return this.#cache.pushed ? PUSHED_MS : POLLED_MS;
  }

  /** May the kernel keep whole listings? */
  get keepListings(): boolean {
    return this.#cache.pushed;
  }

  /** True once after push was lost: what was promised for long must then be taken back. */
  pushWasLost(): boolean {
    const lost = this.#pushed && !this.#cache.pushed;
    this.#pushed = this.#cache.pushed;
    return lost;
  }
}
