// Locks of folders that cover all that is below them (RFC 4918 Depth: infinity). Only the folder's own record has such a
// lock; what is below derives it from its place, so that one change of the server is one change here, and what moves in
// or out is covered or free at once. Nearly always there is none, and then nothing is looked up.

import type { Ino } from '../../ids.js';
import type { LockInfo, NodeKind } from '../../remote/remote.js';

export interface Covering {
  readonly folder: Ino;
  readonly lock: LockInfo;
}

interface Locked {
  readonly ino: Ino;
  readonly kind: NodeKind;
  readonly lockInfo: LockInfo | null;
}

export class LockCover {
  readonly #held = new Map<Ino, LockInfo>();
  readonly #parentOf: (ino: Ino) => Ino | null;
  /** Whether others may change what is below a folder is another answer than before. */
  onChange: (folder: Ino) => void = () => undefined;

  constructor(parentOf: (ino: Ino) => Ino | null) {
    this.#parentOf = parentOf;
  }

  /** What is recorded of the node now. */
  note({ ino, kind, lockInfo }: Locked): void {
    if (kind !== 'dir') return;
    const before = this.#held.get(ino);
    const deep = lockInfo?.deep === true ? lockInfo : undefined;
    if (before === undefined && deep === undefined) return;
    if (deep === undefined) this.#held.delete(ino);
    else this.#held.set(ino, deep);
    if ((before?.mine ?? true) !== (deep?.mine ?? true)) this.onChange(ino);
  }

  forget(ino: Ino): void {
    this.#held.delete(ino);
  }

  get isEmpty(): boolean {
    return this.#held.size === 0;
  }

  /** The lock of `folder` or of the nearest above it. One of ours counts before others': where locks are shared, theirs
   * do not keep us out. */
  at(folder: Ino | null): Covering | null {
    if (this.#held.size === 0) return null;
    let found: Covering | null = null;
    for (let ino = folder; ino !== null; ino = this.#parentOf(ino)) {
      const lock = this.#held.get(ino);
      if (lock?.mine === true) return { folder: ino, lock };
      if (lock !== undefined) found ??= { folder: ino, lock };
    }
    return found;
  }
}
