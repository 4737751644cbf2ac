// Trying again: exponential backoff with full jitter, a bounded number of tries and a bound on the time after which no
// new try begins. Only for calls that may be repeated; who calls decides that.

import { type Clock, systemClock } from '../clock.js';
import { type CloudError, isCloudError, toCloudError } from '../errors.js';

export interface RetryOptions {
  readonly tries?: number;
  /** The first wait is somewhere in [0, base], the next in [0, 2 base], … */
  readonly base_ms?: number;
  readonly max_ms?: number;
  /** No new try begins later than this after the first. */
  readonly deadline_ms?: number;
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock;
  /** In [0, 1). */
  readonly random?: () => number;
  readonly retryable?: (error: CloudError) => boolean;
}

/** Failures that may be gone the next time. A `timeout` has used up its patience already. */
export function isTransient(error: CloudError): boolean {
  return isCloudError(error, 'network', 'server', 'busy_server');
}

/** Result of the first try that works. `attempt` gets the number of the try, from 0. Rejects with the last error, as is
 * (`details.retryAfter_s` included), or with `interrupted`. */
export async function retry<T>(attempt: (tried: number) => Promise<T>, options: RetryOptions = {}): Promise<T> {
  const { tries = 4, base_ms = 200, max_ms = 5_000, deadline_ms = 20_000, signal } = options;
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  const retryable = options.retryable ?? isTransient;
  const begun_ms = clock.monotonic_ms();
  for (let tried = 0; ; tried++) {
    try {
      return await attempt(tried);
    } catch (error) {
      const failure = toCloudError(error, 'talking to the server');
      if (tried + 1 >= tries || !retryable(failure)) throw failure;
      const asked_ms = (failure.details.retryAfter_s ?? 0) * 1000;
      const wait_ms = Math.max(asked_ms, random() * Math.min(max_ms, base_ms * 2 ** tried));
      if (clock.monotonic_ms() - begun_ms + wait_ms >= deadline_ms) throw failure;
      await pause(wait_ms, signal, clock);
    }
  }
}

/** Waits; rejects with `interrupted` when aborted. */
export async function pause(
  wait_ms: number,
  signal: AbortSignal | undefined,
  clock: Clock = systemClock,
): Promise<void> {
  try {
    await clock.sleep(wait_ms, signal);
  } catch (error) {
    const aborted = Object.assign(new Error('aborted', { cause: error }), { name: 'AbortError' });
    throw toCloudError(aborted, 'waiting to try again');
  }
}
