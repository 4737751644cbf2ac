// A bound on work that is dear: at most `width` at a time, at most `queue` waiting, the rest is refused at once.

import { CloudError } from '../../errors.js';

export class Gate {
  readonly #width: number;
  readonly #queueMax: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(width: number, queueMax: number) {
    this.#width = width;
    this.#queueMax = queueMax;
  }

  /** Rejects with `busy_server` when too many wait already. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#width) {
      if (this.#waiting.length >= this.#queueMax) {
        throw new CloudError('busy_server', 'checking a password: too many logins at once, come back in a moment', {
          retryAfter_s: 2,
        });
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      this.#running += 1;
    }
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}
