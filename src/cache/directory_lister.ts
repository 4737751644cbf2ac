// One directory, listed by itself: what is there is applied while the rest comes, what is not there any more when all has.

import { isCloudError } from '../errors.js';
import { joinPath, type Name, nameOf, type RemotePath } from '../ids.js';
import type { RemoteEntry } from '../remote/remote.js';
import { crashPoint } from './crash_points.js';
import type { FollowerOptions } from './follower.js';
import { inPieces } from './in_pieces.js';
import type { NodeRecord } from './metadata/node.js';
import { Spelling } from './spelling.js';
import { statOrNull } from './writeback/request.js';

/** Entries of a listing that are applied while the rest of it comes. */
const APPLY_BATCH = 500;

/** Of one directory, whole. */
interface Listing {
  readonly dir: NodeRecord;
  readonly path: RemotePath;
  readonly asked_ms: number;
  readonly seen: ReadonlySet<Name>;
  /** Something was left out: what is not in it may be there all the same. */
  readonly isPartial: boolean;
  /** The directory itself. */
  readonly own: RemoteEntry | null;
}

/** Listed in another spelling than `ours`, which may be the same to the server. */
interface Respelled {
  readonly entry: RemoteEntry;
  readonly ours: Name;
}

/** What the server had in a directory and does not list any more. */
interface Missing {
  readonly path: RemotePath;
  /** The listing might not name it if it were there. */
  readonly isHidden: boolean;
}

export interface DirectoryListerOptions
  extends Pick<FollowerOptions, 'remote' | 'store' | 'mirror' | 'recent' | 'clock' | 'invalidate' | 'onApplied'> {
  readonly stop: AbortSignal;
  /** All that the server had in it when it was asked is here. Inside the transaction. */
  readonly listed: (dir: NodeRecord, asked_ms: number) => void;
}

export class DirectoryLister {
  readonly #o: DirectoryListerOptions;
  /** Folders whose members the server lists in another spelling than ours. */
  readonly #respells = new Set<number>();

  constructor(options: DirectoryListerOptions) {
    this.#o = options;
  }

  /** Lists `dir` and applies what is there, and what is not there any more. Nothing where the server cannot have it. */
  async list(dir: NodeRecord): Promise<void> {
    const { remote, mirror, store, recent } = this.#o;
    const path = mirror.remotePath(dir);
    if (path === null) return;
    const asked_ms = recent.now_ms();
    const seen = new Set<Name>();
    let entries: RemoteEntry[] = [];
    let own: RemoteEntry | null = null;
    let isPartial = false;
    const spelling = new Spelling(() => store.baseNames(dir.ino));
    const respelled: Respelled[] = [];
    const present = (entry: RemoteEntry) => mirror.presentIn(dir, nameOf(entry.path), entry, asked_ms, 0);
    try {
      for await (const batch of remote.list(path, { signal: this.#o.stop })) {
        for (const entry of batch) {
          if (entry.path === path) own = entry;
          else {
            const name = nameOf(entry.path);
            const ours = spelling.ours(name);
            if (ours !== null) {
              respelled.push({ entry, ours });
              continue;
            }
            seen.add(name);
            if (entry.leftOut === true) isPartial = true;
            else entries.push(entry);
          }
        }
        if (entries.length < APPLY_BATCH) continue;
        // What is there is true already; the rest of the answer comes meanwhile.
        const arrived = entries;
        entries = [];
        await inPieces(arrived, this.#o, present);
      }
      for (const { entry, ours } of respelled) {
        const known = { ...entry, path: joinPath(path, ours) };
        const shown = !seen.has(ours) && (await this.#isOneName(dir, known)) ? known : entry;
        seen.add(nameOf(shown.path));
        entries.push(shown);
      }
    } catch (error) {
      if (isCloudError(error, 'not_found', 'not_dir') && dir.ino !== 1) {
        store.transaction(() => mirror.gonePath(path, asked_ms));
        if (error.code === 'not_dir') mirror.deferred.add(path); // somebody put a file in its place
        this.#o.onApplied();
      }
      throw error;
    }
    // Only a listing that arrived whole says what is not there.
    const listing: Listing = { dir, path, asked_ms, seen, isPartial, own };
    const membersOf = (gone: Missing) => (gone.isHidden ? [] : mirror.belowGone(gone.path, asked_ms));
    let full: readonly Missing[] = [];
    await inPieces(entries, this.#o, present, () => {
      const missing = this.#missingIn(listing);
      full = missing.filter((gone) => !isEmpty(membersOf(gone)));
      if (full.length === 0) this.#applied(listing, missing);
    });
    if (full.length > 0) {
      for (const gone of full) await inPieces(membersOf(gone), this.#o, (member) => mirror.gone(member));
      store.transaction(() => this.#applied(listing, this.#missingIn(listing)));
    }
    this.#o.onApplied();
  }

  /** Does the server take the spelling of `known` for what it lists in another one? It does so in all of a folder. */
  async #isOneName(dir: NodeRecord, { path, kind }: RemoteEntry): Promise<boolean> {
    if (this.#respells.has(dir.ino)) return true;
    const found = await statOrNull(this.#o.remote, path, this.#o.stop);
    if (found?.kind !== kind) return false;
    this.#respells.add(dir.ino);
    return true;
  }

  #missingIn({ dir, path, seen, isPartial }: Listing): readonly Missing[] {
    const { store, remote } = this.#o;
    const hidesDotNames = remote.capabilities.hidesDotNames === true;
    const names = store.baseNames(dir.ino).filter((name) => !seen.has(name));
    const isHidden = (name: Name) => isPartial || (hidesDotNames && name.startsWith('.'));
    return names.map((name) => ({ path: joinPath(path, name), isHidden: isHidden(name) }));
  }

  #applied({ dir, path, asked_ms, isPartial, own }: Listing, missing: readonly Missing[]): void {
    const { mirror, store, recent } = this.#o;
    for (const gone of missing) {
      if (gone.isHidden) mirror.deferred.add(gone.path);
      else mirror.gonePath(gone.path, asked_ms);
    }
    mirror.endOfFeed();
    if (own !== null) {
      dir.baseEtag = own.etag;
      dir.listedEtag = isPartial ? null : own.etag; // it goes as a whole only if all of it was seen
      const { rightsBits, lock } = dir;
      dir.rights = own.rights;
      if (recent.touchedSince(path, asked_ms)) mirror.deferred.add(path);
      else mirror.applyLock(dir, own);
      if (dir.rightsBits !== rightsBits || dir.lock !== lock)
        this.#o.invalidate({ kind: 'inode', ino: dir.ino, data: false });
    }
    dir.listed_ms = this.#o.clock.now_ms();
    this.#o.listed(dir, asked_ms);
    store.save(dir);
    crashPoint('apply.before_commit');
  }
}

function isEmpty(work: Iterable<unknown>): boolean {
  for (const _ of work) return false;
  return true;
}
