// For how long the kernel may believe what it was told. Where every change is followed by a notification answers hold for
// long; otherwise the kernel has to ask again soon, so that polling shows.

import type { DriveCache } from '../cache/cache_api.js';

const ANNOUNCED_MS = 3_600_000;
const POLLED_MS = 1_000;

export class Timeouts {
  readonly #cache: Pick<DriveCache, 'announcesChanges'>;

  constructor(cache: Pick<DriveCache, 'announcesChanges'>) {
    this.#cache = cache;
  }

  /** A name that exists, and its attributes. */
  get known_ms(): number {
    return this.#cache.announcesChanges ? ANNOUNCED_MS : POLLED_MS;
  }

  /** A name that does not exist. */
  get negative_ms(): number {
    return this.#cache.announcesChanges ? ANNOUNCED_MS : POLLED_MS;
  }

  /** May the kernel keep whole listings? */
  get keepListings(): boolean {
    return this.#cache.announcesChanges;
  }
}
