// What the server said of paths about which a request of ours was on its way: put off, and asked about again when that is
// over.

import type { RemotePath } from '../ids.js';
import type { RemoteEntry } from '../remote/remote.js';

export class Deferred {
  /** With what the server said, if it said it once and something definite. */
  readonly #paths = new Map<RemotePath, RemoteEntry | null>();
  /** What is being asked about again. */
  readonly #asked = new Set<RemotePath>();
  #times = 0;

  add(path: RemotePath): void {
    this.#paths.set(path, null);
    this.#times += 1;
  }

  /** Of two answers that came meanwhile either may be the older one: then neither is remembered. */
  addEntry(entry: RemoteEntry): void {
    this.#paths.set(entry.path, this.#paths.has(entry.path) ? null : entry);
    this.#times += 1;
  }

  has(path: RemotePath): boolean {
    return this.#paths.has(path);
  }

  /** Is nothing to be asked about again, nor being asked? */
  get isEmpty(): boolean {
    return this.#paths.size === 0 && this.#asked.size === 0;
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
      if (judged === 'known') continue;
      this.#asked.add(path);
      paths.push(path);
    }
    return paths;
  }

  /** What was asked about again is known now, or was put off again. */
  answered(path: RemotePath): void {
    this.#asked.delete(path);
  }
}
