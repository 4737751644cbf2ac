// Folders and files that stay here completely. A pin is a mark on one node; what is below inherits it. One worker walks
// the pinned trees whenever something changed and fetches what is missing.

import { CloudError, type ErrorCode, isCloudError, toCloudError } from '../errors.js';
import type { Ino } from '../ids.js';
import type { Log } from '../log.js';
import type { Connection } from './connection.js';
import type { Contents } from './contents.js';
import type { Follower } from './follower.js';
import type { Hydrator } from './hydrator.js';
import type { NodeRecord } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';

const PARALLEL = 4;
const SETTLE_MS = 300;
const RETRY_MS = 30_000;
/** Failures to fetch one file that stand in the way of all others, too. */
const OF_ALL: readonly ErrorCode[] = ['offline', 'unauthorized', 'interrupted', 'no_space', 'quota'];
/** Failures that end when something is heard of the file, not with time. */
const OF_THE_FILE: readonly ErrorCode[] = ['stale', 'not_found', 'corrupt', 'no_access'];
/** A file that could not be fetched may just have changed: who waits is told when it fails again. */
const TOLD_AFTER = 2;

export interface PinsOptions {
  readonly store: NodeStore;
  readonly contents: Contents;
  readonly hydrator: Hydrator;
  readonly follower: Follower;
  readonly connection: Connection;
  readonly log: Log;
}

interface Failure {
  readonly error: CloudError;
  /** Rounds in a row. */
  readonly times: number;
}

interface Round {
  readonly failedBefore: ReadonlyMap<Ino, Failure>;
  /** What of all that is pinned is here, or on its way; null until there is something to fetch. */
  held_bytes: number | null;
}

export interface PinTotals {
  readonly files: number;
  readonly size_bytes: number;
  readonly cached_bytes: number;
  readonly complete: boolean;
}

export class Pins {
  readonly #o: PinsOptions;
  readonly #stop = new AbortController();
  readonly #listeners = new Set<() => void>();
  #roots: Set<Ino>;
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> | null = null;
  #again = false;
  #rounds = 0;
  /** What could not be fetched in the last round, and what ended it early. */
  #failures = new Map<Ino, Failure>();
  #ended: CloudError | null = null;

  constructor(options: PinsOptions) {
    this.#o = options;
    this.#roots = new Set(options.store.pinned().map((node) => node.ino));
  }

  get count(): number {
    return this.#roots.size;
  }

  isPinned(node: NodeRecord): boolean {
    return this.#roots.size > 0 && this.state(node) !== 'none';
  }

  state(node: NodeRecord): 'none' | 'pinned' | 'inherited' {
    if (node.pin) return 'pinned';
    let at = node.parent === null ? null : this.#o.store.get(node.parent);
    while (at !== null) {
      if (at.pin) return 'inherited';
      at = at.parent === null ? null : this.#o.store.get(at.parent);
    }
    return 'none';
  }

  set(node: NodeRecord, pinned: boolean): void {
    if (node.kind === 'symlink')
      throw new CloudError('invalid', `pinning "${node.name}": a symbolic link has no content`);
    node.pin = pinned;
    this.#o.store.save(node);
    this.refresh();
    this.#hurry();
    this.#tell(); // who waits may wait for what is not pinned any more
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** Rows changed that may carry a pin; fetches what is missing. */
  refresh(): void {
    this.#roots = new Set(this.#o.store.pinned().map((node) => node.ino));
    this.kick();
  }

  /** Somebody asks for it: a round that waits because the last one failed does not wait any more. */
  #hurry(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.kick();
  }

  /** Something changed below a pin, perhaps. */
  kick(): void {
    if (this.#roots.size === 0 || this.#stop.signal.aborted) return;
    if (this.#running !== null) {
      this.#again = true;
      return;
    }
    this.#arm(SETTLE_MS);
  }

  totals(root: NodeRecord): PinTotals {
    const totals = { files: 0, size_bytes: 0, cached_bytes: 0, complete: true };
    for (const node of this.#o.store.walk(root)) {
      if (node.isDir) {
        if (node.listed_ms === 0 && !this.#o.follower.mirrored && node.base !== null) totals.complete = false;
        continue;
      }
      if (node.kind !== 'file') continue;
      totals.files += 1;
      totals.size_bytes += node.size_bytes;
      totals.cached_bytes += Math.min(this.#o.contents.cachedBytes(node), node.size_bytes);
      if (!this.#o.contents.isComplete(node)) totals.complete = false;
    }
    return totals;
  }

  /** Resolves when everything below `root()` is here; rejects with what stands in the way once a round has failed. */
  async wait(root: () => NodeRecord, signal: AbortSignal): Promise<void> {
    const before = this.#rounds;
    for (let node = root(); !this.totals(node).complete; node = root()) {
      if (signal.aborted) throw new CloudError('interrupted', 'waiting for a pin: interrupted');
      await this.#o.connection.reach(`fetching "${node.name}"`, signal);
      if (!this.isPinned(node)) throw new CloudError('invalid', `fetching "${node.name}": it is not pinned any more`);
      if (this.#running === null) {
        const failure = this.#rounds > before ? this.#failureBelow(node) : null;
        if (failure !== null) throw failure;
        this.#hurry();
      }
      await this.#roundEnds(signal);
    }
  }

  #failureBelow(root: NodeRecord): CloudError | null {
    if (this.#ended !== null) return this.#ended;
    for (const node of this.#o.store.walk(root)) {
      const failure = this.#failures.get(node.ino);
      if (failure !== undefined && failure.times >= TOLD_AFTER) return failure.error;
    }
    return null;
  }

  #roundEnds(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        signal.removeEventListener('abort', done);
        this.#listeners.delete(done);
        resolve();
      };
      this.#listeners.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  async close(): Promise<void> {
    this.#stop.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#running?.catch(() => undefined);
  }

  #arm(delay_ms: number): void {
    if (this.#timer !== null || this.#stop.signal.aborted) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#rounds += 1;
      const failedBefore = this.#failures;
      this.#failures = new Map();
      this.#ended = null;
      this.#running = this.#runRound({ failedBefore, held_bytes: null })
        .then(() => {
          const mayPass = [...this.#failures.values()].some(({ error }) => !isCloudError(error, ...OF_THE_FILE));
          if (mayPass) this.#arm(RETRY_MS);
        })
        .catch((error: unknown) => {
          this.#ended = toCloudError(error, 'fetching what is pinned');
          this.#o.log.debug({ err: error }, 'fetching pinned content was interrupted');
          this.#arm(RETRY_MS);
        })
        .finally(() => {
          this.#running = null;
          this.#tell();
          if (this.#again) {
            this.#again = false;
            this.#arm(SETTLE_MS);
          }
        });
    }, delay_ms);
  }

  async #runRound(round: Round): Promise<void> {
    if (!this.#o.connection.online) return;
    for (const ino of this.#roots) {
      const root = this.#o.store.get(ino);
      if (root !== null) await this.#fetchTree(root, round);
    }
  }

  async #fetchTree(root: NodeRecord, round: Round): Promise<void> {
    await this.#listTree(root, round);
    const work = this.#o.store.walk(root);
    const lane = async () => {
      for (const node of work) {
        if (this.#stop.signal.aborted) return;
        if (node.kind !== 'file' || this.#o.contents.isComplete(node)) continue;
        const tooLarge = this.#tooLarge(node, round);
        if (tooLarge !== null) this.#failed(node, tooLarge, round);
        else await this.#fetch(node, round).catch((error: unknown) => this.#note(node, error, round));
      }
    };
    await Promise.all(Array.from({ length: PARALLEL }, lane));
  }

  async #listTree(root: NodeRecord, round: Round): Promise<void> {
    if (this.#o.follower.mirrored) return;
    for (const node of this.#o.store.walk(root)) {
      if (!node.isDir) continue;
      try {
        await this.#o.follower.ensureListed(node, () => this.#stop.signal);
      } catch (error) {
        this.#note(node, error, round);
      }
    }
  }

  /** One that cannot be had does not keep the others away. */
  #note(node: NodeRecord, caught: unknown, round: Round): void {
    const error = toCloudError(caught, `fetching "${node.name}"`);
    this.#o.connection.suspect(error);
    if (isCloudError(error, ...OF_ALL)) throw error;
    this.#failed(node, error, round);
  }

  #failed(node: NodeRecord, error: CloudError, round: Round): void {
    this.#o.log.debug({ err: error, ino: node.ino }, 'something pinned could not be fetched');
    this.#failures.set(node.ino, { error, times: (round.failedBefore.get(node.ino)?.times ?? 0) + 1 });
  }

  /** Nothing pinned can go again: what does not fit beside the rest of it is not begun, it would only take the room of what
   * fits and of all that is not pinned. */
  #tooLarge(node: NodeRecord, round: Round): CloudError | null {
    const { holdable_bytes } = this.#o.contents;
    round.held_bytes ??= this.#held();
    if (round.held_bytes + this.#missing(node) <= holdable_bytes) return null;
    return new CloudError(
      'no_space',
      `fetching "${node.name}": its ${node.size_bytes} bytes do not fit beside what is pinned and here already ` +
        `(${round.held_bytes} bytes) into the cache, which has room for ${holdable_bytes}. Mount with a larger one, or unpin something`,
    );
  }

  #missing(node: NodeRecord): number {
    return Math.max(0, node.size_bytes - this.#o.contents.cachedBytes(node));
  }

  #held(): number {
    let held_bytes = 0;
    for (const ino of this.#roots) {
      const root = this.#o.store.get(ino);
      const above = root === null || root.parent === null ? null : this.#o.store.get(root.parent);
      if (root === null || (above !== null && this.state(above) !== 'none')) continue; // counted with that
      for (const node of this.#o.store.walk(root))
        if (node.kind === 'file') held_bytes += this.#o.contents.cachedBytes(node);
    }
    return held_bytes;
  }

  async #fetch(node: NodeRecord, round: Round): Promise<void> {
    const missing_bytes = this.#missing(node);
    // At once: others are begun meanwhile.
    const take = (bytes: number) => {
      if (round.held_bytes !== null) round.held_bytes += bytes;
    };
    take(missing_bytes);
    try {
      const content = await this.#o.contents.acquire(node);
      try {
        await this.#o.hydrator.need(content, 0, node.size_bytes, { priority: 'pin', signal: this.#stop.signal });
      } finally {
        this.#o.contents.release(content);
      }
    } catch (error) {
      take(-missing_bytes);
      throw error;
    }
  }
}
