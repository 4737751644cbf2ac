import type { Clock, Timestamp } from '../../../../src/clock.js';

/** A clock that stands still until it is told to move. */
export class ManualClock implements Clock {
  #now = 1000;
  #sleepers: { at: number; wake: () => void }[] = [];

  now_ms(): number {
    return this.#now;
  }

  timestamp(): Timestamp {
    return { s: Math.floor(this.#now / 1000), ns: (this.#now % 1000) * 1_000_000 };
  }

  monotonic_ms(): number {
    return this.#now;
  }

  sleep(delay_ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = () => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
        reject(signal?.reason);
      };
      const sleeper = {
        at: this.#now + delay_ms,
        wake: () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      this.#sleepers.push(sleeper);
      signal?.addEventListener('abort', onAbort);
    });
  }

  /** Moves on step by step, waking sleepers in order and letting what they start run. */
  async advance(by_ms: number): Promise<void> {
    const target = this.#now + by_ms;
    for (;;) {
      await settled();
      const next = this.#sleepers.reduce((least, sleeper) => Math.min(least, sleeper.at), Number.POSITIVE_INFINITY);
      if (next > target) break;
      this.#now = Math.max(this.#now, next);
      const due = this.#sleepers.filter((sleeper) => sleeper.at <= this.#now);
      this.#sleepers = this.#sleepers.filter((sleeper) => sleeper.at > this.#now);
      for (const sleeper of due) sleeper.wake();
    }
    this.#now = target;
    await settled();
  }
}

/** Resolves when everything that can run without outside help has run. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}
