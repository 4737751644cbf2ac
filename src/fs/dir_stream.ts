// One directory being read. The offset of an entry is derived from its inode number, and the cache lists in
// ascending order of those: whatever is added or removed meanwhile, nothing that stays is lost or seen twice, and
// seekdir(3) works. No state but the directory is kept between two requests.

import type { DriveCache, NodeView } from '../cache/cache_api.js';
import type { Ino } from '../ids.js';
import { direntType } from './attributes.js';
import { DIRENT_BYTES, DIRENTPLUS_BYTES } from './wire/abi.js';
import type { DirentWriter } from './wire/encode.js';
import { DT_DIR } from './wire/flags.js';
import type { Entry } from './wire/ops.js';

/** Offsets: 0 = start, 1 = after `.`, 2 = after `..`, ino + 2 = after that entry. */
const AFTER_DOT = 1;
const AFTER_DOTDOT = 2;
/** A record is at least this much longer than its structure: a name, padded. */
const SHORTEST_NAME_BYTES = 8;

export class DirStream {
  readonly #cache: DriveCache;
  readonly #ino: Ino;

  constructor(cache: DriveCache, ino: Ino) {
    this.#cache = cache;
    this.#ino = ino;
  }

  /** READDIR: fills `out` from `offset` on. */
  read(out: DirentWriter, offset: number, size_bytes: number): void {
    this.#each(offset, size_bytes, DIRENT_BYTES, (node, ino, next, name) =>
      out.add(ino, next, name, node === null ? DT_DIR : direntType(node)),
    );
  }

  /** READDIRPLUS: the same with `entryOf` each node. Returns the inodes that were put in, each of which counts a lookup. */
  readPlus(out: DirentWriter, offset: number, size_bytes: number, entryOf: (node: NodeView) => Entry): Ino[] {
    const counted: Ino[] = [];
    this.#each(offset, size_bytes, DIRENTPLUS_BYTES, (node, ino, next, name) => {
      if (node === null) return out.addPlus(null, ino, next, name, DT_DIR);
      if (!out.addPlus(entryOf(node), ino, next, name, direntType(node))) return false;
      counted.push(node.ino);
      return true;
    });
    return counted;
  }

  #each(
    offset: number,
    size_bytes: number,
    record_bytes: number,
    add: (node: NodeView | null, ino: Ino, next: number, name: string) => boolean,
  ): void {
    const ino = this.#ino;
    if (offset < AFTER_DOT && !add(null, ino, AFTER_DOT, '.')) return;
    if (offset < AFTER_DOTDOT && !add(null, this.#cache.node(ino).parent ?? ino, AFTER_DOTDOT, '..')) return;
    const after = Math.max(offset - AFTER_DOTDOT, 0) as Ino | 0;
    const limit = Math.floor(size_bytes / (record_bytes + SHORTEST_NAME_BYTES));
    for (const node of this.#cache.listDir(ino, after, limit)) {
      if (!add(node, node.ino, node.ino + AFTER_DOTDOT, node.name)) return;
    }
  }
}
