// Rights on servers that do not tell them: what was answered with 403 is remembered for a while, so that the drive shows
// it (as a mode) and does not offer it again and again.

import { LRUCache } from 'lru-cache';
import { type CloudError, isCloudError } from '../errors.js';
import { type RemotePath, splitPath } from '../ids.js';
import type { RemoteEntry, Rights } from './remote.js';

/** Somebody may have put it right by then; then it is tried once more. */
const REMEMBERED_MS = 10 * 60_000;
const PATHS = 4096;

export type Attempt = 'replace' | 'add' | 'make_dir' | 'remove' | 'move';

/** Of which place which right is missing then. */
const REFUSED: Readonly<
  Record<Attempt, (path: RemotePath, parent: RemotePath) => readonly [RemotePath, Partial<Rights>]>
> = {
  replace: (path) => [path, { write: false }],
  add: (_, parent) => [parent, { createFile: false }],
  make_dir: (_, parent) => [parent, { createDir: false }],
  remove: (path) => [path, { remove: false }],
  move: (path) => [path, { rename: false, move: false }],
};

export class LearnedRights {
  readonly #missing = new LRUCache<RemotePath, Partial<Rights>>({ max: PATHS, ttl: REMEMBERED_MS });

  /** Does `work`; a refusal is remembered, and told as before. */
  async attempt<T>(what: Attempt, path: RemotePath, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (isCloudError(error, 'no_access') && (error as CloudError).details.status === 403) this.#note(what, path);
      throw error;
    }
  }

  /** What the server said, without what it has refused. */
  apply(entry: RemoteEntry): RemoteEntry {
    const missing = this.#missing.get(entry.path);
    return missing === undefined ? entry : { ...entry, rights: { ...entry.rights, ...missing } };
  }

  #note(what: Attempt, path: RemotePath): void {
    const parent = path === '' ? path : splitPath(path).parent;
    const [where, rights] = REFUSED[what](path, parent);
    this.#without(where, rights);
  }

  #without(path: RemotePath, rights: Partial<Rights>): void {
    this.#missing.set(path, { ...this.#missing.get(path), ...rights });
  }
}
