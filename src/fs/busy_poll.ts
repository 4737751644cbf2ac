// Whether to look for the next request a little longer before the loop goes to sleep.
//
// A program that works on files asks for one thing after another: its next request comes some microseconds after the last
// answer. To sleep and be woken for it costs more than to keep looking (an idle processor has to be started again, dear in
// virtual machines). Where looking was in vain it is done ever more rarely, so that a drive that is read now and then, or a
// machine with more to do than processors, pays next to nothing.

import { availableParallelism } from 'node:os';

const MOST_SKIPPED = 64;

export class BusyPoll {
  readonly #possible: boolean;
  #toSkip = 0;
  #skipNext = 0;

  /** With one processor the program could not ask while we look. */
  constructor(processors = availableParallelism()) {
    this.#possible = processors > 1;
  }

  /** Asked each time there is nothing to read after something was. Whoever gets true says what came of it. */
  isWorthwhile(): boolean {
    if (!this.#possible) return false;
    if (this.#toSkip === 0) return true;
    this.#toSkip -= 1;
    return false;
  }

  found(): void {
    this.#skipNext = 0;
  }

  foundNothing(): void {
    this.#toSkip = this.#skipNext;
    this.#skipNext = Math.min(MOST_SKIPPED, 2 * this.#skipNext + 1);
  }
}
