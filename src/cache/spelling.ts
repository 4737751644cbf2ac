// Names that a server lists in another spelling than they were made in: some compose accents in their own way (macOS, some
// NAS, Nextcloud), and take either. Programs here know the spelling they made: it stays.

import type { Name } from '../ids.js';

const PLAIN = /^[\x20-\x7e]*$/;

/** Of the members of one folder. */
export class Spelling {
  readonly #load: () => readonly Name[];
  #known: ReadonlySet<Name> | null = null;
  #byComposed: ReadonlyMap<string, Name> = new Map();

  /** `load`: the names that the server is known to have. */
  constructor(load: () => readonly Name[]) {
    this.#load = load;
  }

  /** The known name that `name` may be another spelling of, null where it is known itself or none is alike. */
  ours(name: Name): Name | null {
    if (PLAIN.test(name)) return null;
    if (this.#known === null) {
      const names = this.#load();
      this.#known = new Set(names);
      this.#byComposed = new Map(names.map((one) => [one.normalize('NFC'), one]));
    }
    return this.#known.has(name) ? null : (this.#byComposed.get(name.normalize('NFC')) ?? null);
  }
}
