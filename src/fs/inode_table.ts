// How many references the kernel holds on each inode (its lookup count). Nothing else: what a node is, the cache knows.
// An inode that is not in here is unknown to the kernel, and needs no invalidation.

import { type Ino, ROOT_INO } from '../ids.js';

export class InodeTable {
  readonly #lookups = new Map<Ino, number>();

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
    return true;
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
