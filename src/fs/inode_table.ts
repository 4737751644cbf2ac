// How many references the kernel holds on each inode (its lookup count), and of which directories it may know names. What
// a node is, the cache knows. An inode that is not in here is unknown to the kernel, and needs no invalidation; nor does
// a name in a directory of which the kernel was never told one.

import { type Ino, ROOT_INO } from '../ids.js';

export class InodeTable {
  readonly #lookups = new Map<Ino, number>();
  readonly #named = new Set<Ino>();

  /** An answer that names `ino` is on its way (LOOKUP, CREATE, MKDIR, MKNOD, SYMLINK, READDIRPLUS). */
  remember(ino: Ino): void {
    this.#lookups.set(ino, (this.#lookups.get(ino) ?? 0) + 1);
  }

  /** FORGET, or an answer that did not arrive. True if the kernel holds no reference any more. */
  forget(ino: Ino, nlookup: number): boolean {
    if (ino === ROOT_INO) return false;
    const left = (this.#lookups.get(ino) ?? 0) - nlookup;
    if (left > 0) {
      this.#lookups.set(ino, left);
      return false;
    }
    this.#lookups.delete(ino);
    this.#named.delete(ino);
    return true;
  }

  /** An answer that says what is, or what is not, in directory `ino` is on its way. */
  named(ino: Ino): void {
    this.#named.add(ino);
  }

  /** May the kernel know of a name in directory `ino`, that it is there or that it is not? */
  knowsNamesIn(ino: Ino): boolean {
    return this.#named.has(ino);
  }

  /** Does the kernel know `ino`? The root always. */
  has(ino: Ino): boolean {
    return ino === ROOT_INO || this.#lookups.has(ino);
  }

  lookups(ino: Ino): number {
    return this.#lookups.get(ino) ?? 0;
  }

  get size(): number {
    return this.#lookups.size;
  }
}
