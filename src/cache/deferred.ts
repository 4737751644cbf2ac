// What the server said of paths about which a request of ours was on its way: put off, and asked about again when that is
// over.

import type { RemotePath } from '../ids.js';
import type { RemoteEntry } from '../remote/remote.js';

export class Deferred {
  /** With what the server said, if it said it once and something definite. */
  readonly #paths = new Map<RemotePath, RemoteEntry | null>();
  /** What is being asked about again. */
  readonly #asked = new Set<RemotePath>();
  /** How many of these are below a path. */
  readonly #below = new Map<string, number>();
  #times = 0;

  add(path: RemotePath): void {
    this.#put(path, null);
  }

  #put(path: RemotePath, entry: RemoteEntry | null): void {
    if (!this.#paths.has(path)) this.#count(path, 1);
    this.#paths.set(path, entry);
    this.#times += 1;
  }

  #count(path: RemotePath, by: 1 | -1): void {
    for (let slash = path.lastIndexOf('/'); slash > 0; slash = path.lastIndexOf('/', slash - 1)) {
      const above = path.slice(0, slash);
      const count = (this.#below.get(above) ?? 0) + by;
      if (count > 0) this.#below.set(above, count);
      else this.#below.delete(above);
    }
  }

  /** Of two answers that came meanwhile either may be the older one: then neither is remembered. */
  addEntry(entry: RemoteEntry): void {
    this.#put(entry.path, this.#paths.has(entry.path) ? null : entry);
  }

  has(path: RemotePath): boolean {
    return this.#paths.has(path);
  }

  /** Is nothing to be asked about again, nor being asked? */
  get isEmpty(): boolean {
    return this.#paths.size === 0 && this.#asked.size === 0;
  }

  /** Is something in the collection `path`, however deep, to be asked about again, or being asked? */
  hasBelow(path: RemotePath): boolean {
    return this.#below.has(path);
  }

  /** Is a collection above `path` to be asked about again, or being asked? */
  hasAbove(path: RemotePath): boolean {
    for (let slash = path.lastIndexOf('/'); slash > 0; slash = path.lastIndexOf('/', slash - 1)) {
      const above = path.slice(0, slash) as RemotePath;
      if (this.#paths.has(above) || this.#asked.has(above)) return true;
    }
    return false;
  }

  /** How often something was put off so far. */
  get times(): number {
    return this.#times;
  }

  /** Paths to be asked about now; each is to be `answered`. `judge` says of what was told only once whether it has to wait
   * on, is known by now, or is a question. */
  take(judge: (entry: RemoteEntry) => 'wait' | 'known' | 'ask'): RemotePath[] {
    const paths: RemotePath[] = [];
    for (const [path, entry] of this.#paths) {
      const judged = entry === null ? 'ask' : judge(entry);
      if (judged === 'wait') continue;
      this.#paths.delete(path);
      this.#count(path, -1);
      if (judged === 'known') continue;
      if (!this.#asked.has(path)) this.#count(path, 1);
      this.#asked.add(path);
      paths.push(path);
    }
    return paths;
  }

  /** What was asked about again is known now, or was put off again. */
  answered(path: RemotePath): void {
    if (this.#asked.delete(path)) this.#count(path, -1);
  }
}
