// Programs first. One thread answers the kernel and sends changes, and what a program waits for is a chain of short
// requests: each would wait behind a part of an upload. So while the kernel keeps asking nothing new is started; when it
// pauses, what has gathered goes out together. Bounded: of a drive that is never idle the changes have every other turn.

import type { Clock } from '../../clock.js';

/** The kernel has paused when it has not asked for so long. */
const PAUSE_MS = 10;
/** For so long changes wait for programs, and for so long then programs share with them. */
const TURN_MS = 5_000;
/** After a rest the programs' turn begins anew: everything could be sent meanwhile. */
const REST_MS = 1_000;

export class Precedence {
  readonly #clock: Clock;
  readonly #onTurn: () => void;
  #served_ms = Number.NEGATIVE_INFINITY;
  /** When the programs' turn began. */
  #since_ms = Number.NEGATIVE_INFINITY;
  #waiting = false;

  /** `onTurn`: after a no, it is worth asking again. */
  constructor(clock: Clock, onTurn: () => void) {
    this.#clock = clock;
    this.#onTurn = onTurn;
  }

  /** The kernel asks for something. */
  served(): void {
    const now = this.#clock.monotonic_ms();
    if (now - this.#served_ms >= REST_MS) this.#since_ms = now;
    this.#served_ms = now;
  }

  /** Somebody waits for changes to be sent: it is their turn. */
  hurry(): void {
    this.#since_ms = this.#clock.monotonic_ms() - TURN_MS;
  }

  /** May changes be sent now? */
  mayStart(): boolean {
    const now = this.#clock.monotonic_ms();
    if (now - this.#served_ms >= PAUSE_MS) return true;
    if (now - this.#since_ms >= 2 * TURN_MS) this.#since_ms = now;
    if (now - this.#since_ms >= TURN_MS) return true;
    this.#askAgain();
    return false;
  }

  #askAgain(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    void this.#clock.sleep(PAUSE_MS).then(() => {
      this.#waiting = false;
      this.#onTurn();
    });
  }
}
