// Who goes first while the whole tree is listed for the first time. A program that asks for a few directories gets them
// listed by themselves, and the tree waits meanwhile: what it costs does not depend on the size of the account. A program
// that walks asks for one directory after the other: it waits for the tree, which comes in a few large answers, unless
// that takes too long. What was listed by itself is only compared when the tree names it.

import type { Clock } from '../clock.js';

/** Directories listed by themselves before it counts as a walk. */
const SINGLY = 3;
/** Who asks for the next one so long after the last was there has looked at it: that is no walk. */
const LOOKED_MS = 200;
/** So long, in all, walks wait for the tree. */
const PATIENCE_MS = 3_000;
/** So long one piece of the tree waits for programs. */
const HOLD_MS = 2_000;
/** A program has paused when the kernel has not asked for so long. */
const PAUSE_MS = 100;
/** So long, in all, the tree waits for programs that work on what is here. */
const GIVEN_MS = 3_000;
/** Entries in the first answers, then in each: the next is on its way while one is applied. */
const FIRST_ENTRIES = [1_000, 2_000];
const ENTRIES = 4_000;

export class FirstListing {
  readonly #clock: Clock;
  readonly #stop: AbortSignal;
  #running: { readonly done: Promise<void>; readonly end: () => void } | null = null;
  #asked = 0;
  /** When a directory was last asked for, or listed by itself. */
  #last_ms = Number.NEGATIVE_INFINITY;
  #answers = 0;
  #patience_ms = PATIENCE_MS;
  #walks = 0;
  #served_ms = Number.NEGATIVE_INFINITY;
  #given_ms = GIVEN_MS;
  /** Ends the pause that is being given. */
  #walkBegins: () => void = () => undefined;

  constructor(clock: Clock, stop: AbortSignal) {
    this.#clock = clock;
    this.#stop = stop;
  }

  /** The tree is on its way, and walks still wait for it. */
  get comesSoon(): boolean {
    return this.#running !== null && this.#patience_ms > 0;
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
    this.#answers += 1;
    return FIRST_ENTRIES[this.#answers - 1] ?? ENTRIES;
  }

  /** A program asks for a directory that is not here yet. Null: list it by itself; else wait for this, and look again. */
  tree(): Promise<void> | null {
    const running = this.#running;
    if (running === null) return null;
    if (this.#clock.monotonic_ms() - this.#last_ms > LOOKED_MS) this.#asked = 0;
    this.listed();
    this.#asked += 1;
    if (this.#asked <= SINGLY || this.#patience_ms <= 0) return null;
    return this.#within(running.done);
  }

  /** A directory was listed by itself. */
  listed(): void {
    if (this.#running !== null) this.#last_ms = this.#clock.monotonic_ms();
  }

  async #within(done: Promise<void>): Promise<void> {
    const since_ms = this.#clock.monotonic_ms();
    this.#walks += 1;
    this.#walkBegins();
    await Promise.race([done, this.#sleep(this.#patience_ms)]);
    this.#walks -= 1;
    this.#patience_ms -= this.#clock.monotonic_ms() - since_ms;
    this.listed();
  }

  /** The kernel asks for something. */
  served(): void {
    if (this.#running !== null) this.#served_ms = this.#clock.monotonic_ms();
  }

  /** The tree's next piece waits until the programs' listings are through and read. */
  async hold(listings: ReadonlyMap<unknown, Promise<void>>): Promise<void> {
    if (this.#running === null) return;
    if (listings.size > 0) {
      await Promise.race([Promise.allSettled(listings.values()), this.#sleep(HOLD_MS)]);
      this.served(); // the kernel asked for nothing else meanwhile, but whoever waited goes on now
    }
    await this.#giveWay();
  }

  async #giveWay(): Promise<void> {
    while (this.#running !== null && this.#walks === 0 && this.#given_ms > 0 && !this.#stop.aborted) {
      const since_ms = this.#clock.monotonic_ms();
      const rest_ms = this.#served_ms + PAUSE_MS - since_ms;
      if (rest_ms <= 0) return;
      const walk = new Promise<void>((resolve) => {
        this.#walkBegins = resolve;
      });
      await Promise.race([this.#sleep(rest_ms), walk]);
      this.#given_ms -= this.#clock.monotonic_ms() - since_ms;
    }
  }

  async #sleep(delay_ms: number): Promise<void> {
    await this.#clock.sleep(delay_ms, this.#stop).catch(() => undefined);
  }
}
