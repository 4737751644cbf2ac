// Who goes first while the whole tree is listed for the first time. A program that asks for a few directories gets them
// listed by themselves, and the tree waits meanwhile: what it costs does not depend on the size of the account. A program
// that walks asks for one directory after the other: it waits for the tree, which comes in a few large answers, unless
// that takes too long. What was listed by itself is only compared when the tree names it.

import type { Clock } from '../clock.js';

/** Directories listed by themselves before it counts as a walk. */
const SINGLY = 3;
/** So long, in all, walks wait for the tree. */
const PATIENCE_MS = 3_000;
/** So long one piece of the tree waits for programs. */
const HOLD_MS = 2_000;
/** Entries in the first answer; twice as many in each that follows. */
const FIRST_ENTRIES = 1_000;

export class FirstListing {
  readonly #clock: Clock;
  readonly #stop: AbortSignal;
  #running: { readonly done: Promise<void>; readonly end: () => void } | null = null;
  #asked = 0;
  #answers = 0;
  #patience_ms = PATIENCE_MS;

  constructor(clock: Clock, stop: AbortSignal) {
    this.#clock = clock;
    this.#stop = stop;
  }

  begin(): void {
    if (this.#running !== null) return;
    let end: () => void = () => undefined;
    const done = new Promise<void>((resolve) => {
      end = resolve;
    });
    this.#running = { done, end };
  }

  /** Whether it is through or was interrupted: nobody waits for it any more. */
  end(): void {
    this.#running?.end();
    this.#running = null;
  }

  /** How many entries the next answer shall have; undefined = as many as there are in one answer usually. */
  nextEntries(): number | undefined {
    if (this.#running === null) return undefined;
    const entries = FIRST_ENTRIES * 2 ** Math.min(this.#answers, 10);
    this.#answers += 1;
    return entries;
  }

  /** A program asks for a directory that is not here yet. Null: list it by itself; else wait for this, and look again. */
  tree(): Promise<void> | null {
    const running = this.#running;
    if (running === null) return null;
    this.#asked += 1;
    if (this.#asked <= SINGLY || this.#patience_ms <= 0) return null;
    return this.#within(running.done);
  }

  async #within(done: Promise<void>): Promise<void> {
    const since_ms = this.#clock.monotonic_ms();
    await Promise.race([done, this.#sleep(this.#patience_ms)]);
    this.#patience_ms -= this.#clock.monotonic_ms() - since_ms;
  }

  /** The tree's next piece waits until the programs' listings are through. */
  async hold(listings: ReadonlyMap<unknown, Promise<void>>): Promise<void> {
    if (this.#running === null || listings.size === 0) return;
    await Promise.race([Promise.allSettled(listings.values()), this.#sleep(HOLD_MS)]);
  }

  async #sleep(delay_ms: number): Promise<void> {
    await this.#clock.sleep(delay_ms, this.#stop).catch(() => undefined);
  }
}
