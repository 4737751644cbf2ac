// Changes of which mod_dav survives only one at a time. For all that one drive sends, over every reconnect.

import { raceAbort } from '../race_abort.js';
import { Turns } from './places.js';

export class ChangeTurns {
  readonly #folders = new Turns();
  readonly #locks = new Turns();

  /** Resolves with the function that ends the turn: of what makes locked new names in one folder, which mod_dav keeps in
   * one file per folder. */
  inFolder(folder: string, signal: AbortSignal | undefined): Promise<() => void> {
    return this.#folders.take(folder, signal);
  }

  /** For requests that change what the server knows of locks: mod_dav opens its database of locks without regard to who
   * else writes there, and two at once damage it for good (500 for every LOCK until it is deleted). The caller's signal
   * ends its waiting, not the request: the server goes on with it, and the next one's turn has not come. */
  async changingLocks<T>(signal: AbortSignal | undefined, act: () => Promise<T>): Promise<T> {
    const turnOver = await this.#locks.take('', signal);
    const acting = act().finally(turnOver);
    return await (signal === undefined ? acting : raceAbort(acting, signal));
  }
}
