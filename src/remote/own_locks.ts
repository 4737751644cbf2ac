// Which of the locks that a server shows are ours by mistake: taken for one change, and nobody's any more. mod_dav shows
// some that were given back (it writes its locks from a stale copy when several change at once); and when the answer to a
// LOCK is lost, or the daemon is killed, one stays that nobody here knows the token of. Each carries who took it: the
// cache it was taken for, the process, a number.

import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { LockInfo } from './remote.js';

const KEPT = 4096;

export class OwnLocks {
  readonly #mark: string;
  readonly #process = randomBytes(4).toString('hex');
  /** Owners of the locks that are being asked for, or held. */
  readonly #live = new Set<string>();
  readonly #returned = new LRUCache<string, true>({ max: KEPT });
  #taken = 0;

  /** `owner`: as in the locks that users take. `instance`: the same after every start, and nobody else's. */
  constructor(owner: string, instance: string) {
    this.#mark = `${guardOwner(owner)}${instance}`;
  }

  /** The owner to be written into a lock that is about to be taken for one change; `end` it. */
  begin(): string {
    this.#taken += 1;
    const owner = `${this.#mark} ${this.#process}-${this.#taken})`;
    this.#live.add(owner);
    return owner;
  }

  /** It was not taken as far as is known, or is given back. */
  end(owner: string): void {
    this.#live.delete(owner);
  }

  returned(token: string): void {
    this.#returned.set(token, true);
  }

  isOrphan({ token, owner }: LockInfo): boolean {
    if (token === null) return false;
    return this.#returned.has(token) || (owner.startsWith(`${this.#mark} `) && !this.#live.has(owner));
  }

  /** Is a lock with this owner one of this user's on this machine, taken by him or for a change? */
  static isMine(owner: string, own: string): boolean {
    return owner === own || owner.startsWith(guardOwner(own));
  }
}

function guardOwner(owner: string): string {
  return `${owner} (for a change, `;
}
