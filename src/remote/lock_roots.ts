// Where a lock that a listing shows was taken. `lockroot` says so (RFC 4918 section 14.12); mod_dav is of the time before
// it (RFC 2518) and shows the lock of a collection on each member: of one listing, the collection that comes first.

import { isWithin, type RemotePath } from '../ids.js';

export interface ShownLock {
  readonly token: string | null;
  /** Depth: infinity. */
  readonly deep: boolean;
  /** Address of what was locked; null = not told. */
  readonly root: string | null;
}

/** Of one answer. */
export class LockRoots {
  readonly #pathOf: (href: string) => RemotePath | null;
  readonly #shown = new Map<string, RemotePath>();

  /** `pathOf`: where an address is, null if not below our base. */
  constructor(pathOf: (href: string) => RemotePath | null) {
    this.#pathOf = pathOf;
  }

  /** The collection above `path` that the lock was taken on; null = it was taken here, as far as is known. */
  above(path: RemotePath, { token, deep, root }: ShownLock): RemotePath | null {
    const told = root === null ? (this.#shown.get(token ?? '') ?? null) : this.#pathOf(root);
    if (told !== null) return told !== path && isWithin(path, told) ? told : null;
    if (deep && token !== null) this.#shown.set(token, path);
    return null;
  }
}
