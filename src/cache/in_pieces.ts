// Work on many rows, in transactions between which the kernel's requests are answered: none is kept waiting for long, and no
// more rows are held in memory than one of them writes.

import type { Clock } from '../clock.js';
import type { NodeStore } from './metadata/node_store.js';

/** Rows in one go, and for how long. */
const PIECE = 500;
const PIECE_MS = 4;
const LOOK_EVERY = 16;

export interface PiecesOptions {
  readonly store: Pick<NodeStore, 'transaction'>;
  readonly clock: Clock;
}

/** `apply` to each of `work`, which may be found while it is done; `last` in one transaction with the last of it. */
export async function inPieces<T>(
  work: Iterable<T>,
  { store, clock }: PiecesOptions,
  apply: (one: T) => void,
  last?: () => void,
): Promise<void> {
  const left = work[Symbol.iterator]();
  for (let more = true; more; ) {
    store.transaction(() => {
      more = applySome(left, clock, apply);
      if (!more) last?.();
    });
    await breathe();
  }
}

/** `apply` to as many of `work` as go at once. Is there more? */
export function applySome<T>(work: Iterator<T>, clock: Clock, apply: (one: T) => void): boolean {
  const until_ms = clock.monotonic_ms() + PIECE_MS;
  for (let done = 1; done <= PIECE; done++) {
    const next = work.next();
    if (next.done === true) return false;
    apply(next.value);
    if (done % LOOK_EVERY === 0 && clock.monotonic_ms() >= until_ms) break;
  }
  return true;
}

/** Lets the kernel's requests in between. */
export function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
