// Which remote paths our own requests changed lately. A listing or a feed page that was asked for before such a change
// describes the past: what it says about these paths is looked up again instead of being believed.

import type { Clock } from '../clock.js';
import type { RemotePath } from '../ids.js';

const KEEP_MS = 10 * 60_000;
const SWEEP_EVERY = 4096;

export class RecentOperations {
  readonly #clock: Clock;
  readonly #doneAt_ms = new Map<string, number>();
  #sinceSweep = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now_ms(): number {
    return this.#clock.monotonic_ms();
  }

  note(path: RemotePath): void {
    const now = this.#clock.monotonic_ms();
    this.#doneAt_ms.set(path, now);
    this.#sinceSweep += 1;
    if (this.#sinceSweep < SWEEP_EVERY) return;
    this.#sinceSweep = 0;
    for (const [old, at] of this.#doneAt_ms) if (now - at > KEEP_MS) this.#doneAt_ms.delete(old);
  }

  /** Did we change `path` or a collection above it at or after `since_ms`? */
  touchedSince(path: RemotePath, since_ms: number): boolean {
    if (this.#doneAt_ms.size === 0) return false;
    for (let at: string = path; at !== ''; at = at.slice(0, Math.max(at.lastIndexOf('/'), 0))) {
      const done = this.#doneAt_ms.get(at);
      if (done !== undefined && done >= since_ms) return true;
    }
    return false;
  }
}
