// Waiting in line: a fixed number of places, taken in order, given up by the waiter's signal.

import { CloudError } from '../errors.js';

export function interrupted(signal: AbortSignal | undefined): CloudError {
  return new CloudError('interrupted', 'talking to the server: the call was interrupted', { cause: signal?.reason });
}

export class Places {
  #free: number;
  readonly #queue: (() => void)[] = [];

  constructor(free: number) {
    this.#free = free;
  }

  /** Resolves when a place is ours; `give` it back exactly once. Rejects with `interrupted`. */
  async take(signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) throw interrupted(signal);
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const turn = () => {
        signal?.removeEventListener('abort', abort);
        resolve();
      };
      const abort = () => {
        this.#queue.splice(this.#queue.indexOf(turn), 1);
        reject(interrupted(signal));
      };
      this.#queue.push(turn);
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  give(): void {
    const next = this.#queue.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}

/** One at a time for each key. */
export class Turns {
  readonly #lines = new Map<string, { readonly place: Places; users: number }>();

  /** Resolves with the function that ends our turn (calling it again does nothing). Rejects with `interrupted`. */
  async take(key: string, signal: AbortSignal | undefined): Promise<() => void> {
    const line = this.#lines.get(key) ?? { place: new Places(1), users: 0 };
    this.#lines.set(key, line);
    line.users += 1;
    const leave = () => {
      line.users -= 1;
      if (line.users === 0) this.#lines.delete(key);
    };
    try {
      await line.place.take(signal);
    } catch (error) {
      leave();
      throw error;
    }
    let over = false;
    return () => {
      if (over) return;
      over = true;
      line.place.give();
      leave();
    };
  }
}
