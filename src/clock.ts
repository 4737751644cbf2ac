// Time as a dependency, so that tests can hold it still.

/** A point in time as the kernel has it: seconds since the epoch and nanoseconds 0..999,999,999. */
export interface Timestamp {
  readonly s: number;
  readonly ns: number;
}

/** What a timer can be set to, in milliseconds: one that is set to more goes off at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

export interface Clock {
  /** Wall clock, milliseconds since the epoch. */
  now_ms(): number;
  /** Wall clock with the best resolution there is. Never goes backwards within one process. */
  timestamp(): Timestamp;
  /** Monotonic, milliseconds, for durations. */
  monotonic_ms(): number;
  /** Resolves after `delay_ms`; rejects with the signal's reason when aborted. Does not keep the process alive. */
  sleep(delay_ms: number, signal?: AbortSignal): Promise<void>;
}

class SystemClock implements Clock {
  #lastNs = 0n;
  readonly #offsetNs = BigInt(Date.now()) * 1_000_000n - process.hrtime.bigint();

  now_ms(): number {
    return Date.now();
  }

  timestamp(): Timestamp {
    // hrtime gives nanoseconds but drifts from the wall clock when that is set: follow the wall clock's milliseconds.
    const wallNs = BigInt(Date.now()) * 1_000_000n;
    let ns = process.hrtime.bigint() + this.#offsetNs;
    const drift = ns - wallNs;
    if (drift < 0n || drift >= 1_000_000n) ns = wallNs + (((ns % 1_000_000n) + 1_000_000n) % 1_000_000n);
    if (ns <= this.#lastNs && this.#lastNs - ns < 1_000_000_000n) ns = this.#lastNs + 1n;
    this.#lastNs = ns;
    return { s: Number(ns / 1_000_000_000n), ns: Number(ns % 1_000_000_000n) };
  }

  monotonic_ms(): number {
    return performance.now();
  }

  sleep(delay_ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      }, delay_ms);
      timer.unref();
      const onAbort = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }
}

export const systemClock: Clock = new SystemClock();

/** `2026-11-21 22:10:58`, in the time zone of whoever reads it. */
export function formatTime(epoch_ms: number): string {
  const at = new Date(epoch_ms);
  return new Date(epoch_ms - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace('T', ' ');
}
