// Follows the server. With a change feed the whole tree is mirrored: one full listing at the first start, then deltas,
// asked for whenever the server pushes (and now and then in any case). Without a feed a directory is listed when it is
// needed and what we know is older than `dirCacheTime_ms`.

import type { Clock } from '../clock.js';
import { isCloudError } from '../errors.js';
import { type Name, splitPath } from '../ids.js';
import type { Log } from '../log.js';
import type { MaybePromise } from '../maybe_promise.js';
import { raceAbort } from '../race_abort.js';
import type { ChangePage, Remote, RemoteEntry } from '../remote/remote.js';
import type { Invalidation } from './cache_api.js';
import type { Connection } from './connection.js';
import { crashPoint } from './crash_points.js';
import { DirectoryLister } from './directory_lister.js';
import { FirstListing } from './first_listing.js';
import { applySome, breathe } from './in_pieces.js';
import type { NodeRecord } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';
import type { Mirror } from './mirror.js';
import type { RecentOperations } from './recent_operations.js';

/** Without a push channel the feed is polled. */
const POLL_MS = 5_000;
/** With one, it is still asked now and then: a lost message must not be for ever. */
const POLL_PUSHED_MS = 60_000;
/** Pushed changes that follow one another this fast are asked for together: mostly they are the echo of our own. */
const PUSH_GAP_MS = 150;
/** A directory that could not be listed is shown as it was for so long before it is tried again: otherwise each look-up in
 * it would wait for another failure. */
const FAILED_LISTING_MS = 5_000;
/** A walk: a directory is asked for this soon after the one above it was listed. */
const WALK_MS = 60_000;
/** Listings at a time, and how far ahead to look for directories. */
const WALK_AHEAD = 12;
const WALK_PAGE = 64;

/** Something that the feed tells, or a node that goes with what it says is gone. */
type Step = ChangePage['changes'][number] | { readonly kind: 'gone_with'; readonly node: NodeRecord };

export interface FollowerOptions {
  readonly remote: Remote;
  readonly store: NodeStore;
  readonly mirror: Mirror;
  readonly connection: Connection;
  readonly recent: RecentOperations;
  readonly clock: Clock;
  readonly log: Log;
  readonly dirCacheTime_ms: number;
  readonly invalidate: (event: Invalidation) => void;
  /** After each batch that was applied (pins look for new members, deferred paths are looked up). */
  readonly onApplied: () => void;
  readonly onPush: (connected: boolean) => void;
}

export class Follower {
  readonly #o: FollowerOptions;
  readonly #stop = new AbortController();
  readonly #listing = new Map<number, Promise<void>>();
  /** Directories that could not be listed the last time, and until when they are not tried again. */
  readonly #failed = new Map<number, number>();
  readonly #first: FirstListing;
  /** Directories that were listed by themselves before the whole tree is here, and when that was asked for. */
  readonly #alone = new Map<number, number>();
  readonly #lister: DirectoryLister;
  #watching: AbortController | null = null;
  #pushed = false;
  #wanted = false;
  #catching: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  #pushTimer: NodeJS.Timeout | null = null;
  /** Until the feed has told all for the first time: an earlier run may have ended in the middle of it. */
  #partial = true;
  #caughtUp_ms = Number.NEGATIVE_INFINITY;
  #mirrored: boolean;
  /** How far the feed has been read; what is stored may lag behind. */
  #cursor: string | null;

  constructor(options: FollowerOptions) {
    this.#o = options;
    this.#first = new FirstListing(options.clock, this.#stop.signal);
    this.#lister = new DirectoryLister({
      ...options,
      stop: this.#stop.signal,
      listed: (dir, asked_ms) => {
        if (options.remote.capabilities.changeFeed) this.#alone.set(dir.ino, asked_ms);
        this.#failed.delete(dir.ino);
      },
    });
    this.#cursor = options.store.setting('cursor');
    this.#mirrored = options.store.setting('mirrored') === '1';
  }

  get pushed(): boolean {
    return this.#pushed;
  }

  /** Is the whole tree here, as of the last contact? */
  get mirrored(): boolean {
    return this.#mirrored && (this.#o.remote.capabilities.changeFeed || !this.#o.connection.online);
  }

  /** Is only a part applied of what the feed has to tell? */
  get isCatchingUp(): boolean {
    return this.#partial && this.#o.remote.capabilities.changeFeed;
  }

  /** Was `dir` listed by itself with a question asked at or after `since_ms`? What else was asked for then may be older. */
  listedSince(dir: NodeRecord, since_ms: number): boolean {
    return (this.#alone.get(dir.ino) ?? Number.NEGATIVE_INFINITY) >= since_ms;
  }

  /** Is there a tree of an earlier run to show? */
  get hasTree(): boolean {
    return this.#mirrored || this.#o.store.must(1 as NodeRecord['ino']).listed_ms > 0;
  }

  /** The connection is up (again). */
  online(): void {
    this.#failed.clear();
    if (!this.#o.remote.capabilities.changeFeed) return;
    this.#watch();
    this.catchUp();
  }

  offline(): void {
    this.#watching?.abort();
    this.#watching = null;
    this.#setPushed(false);
  }

  /** The kernel asks for something: the first listing gives way. */
  served(): void {
    this.#first.served();
  }

  /** Asks the feed for what is new; calls during a running one make it run once more. */
  catchUp(): void {
    if (!this.#o.remote.capabilities.changeFeed || this.#stop.signal.aborted) return;
    this.#wanted = true;
    this.#catching ??= this.#catchUpLoop().finally(() => {
      this.#catching = null;
      this.#caughtUp_ms = this.#o.clock.monotonic_ms();
      this.#schedule();
    });
  }

  /** The server says that there is something new, or was found to have it. */
  hint(): void {
    if (!this.#o.remote.capabilities.changeFeed || this.#pushTimer !== null || this.#stop.signal.aborted) return;
    const rest_ms = this.#caughtUp_ms + PUSH_GAP_MS - this.#o.clock.monotonic_ms();
    if (this.#catching === null && rest_ms <= 0) {
      this.catchUp();
      return;
    }
    this.#pushTimer = setTimeout(
      () => {
        this.#pushTimer = null;
        this.catchUp();
      },
      this.#catching === null ? rest_ms : PUSH_GAP_MS,
    );
  }

  /** Resolves when everything the server had at the time of the call is applied. */
  async settled(): Promise<void> {
    this.catchUp();
    while (this.#catching !== null) await this.#catching;
  }

  /** Makes sure that the members of `dir` are here and fresh enough. */
  ensureListed(dir: NodeRecord, signal: () => AbortSignal): MaybePromise<void> {
    if (this.#isFresh(dir) || this.#hasJustFailed(dir)) return;
    if (!this.#o.connection.online) {
      if (dir.listed_ms > 0 || this.#mirrored) return;
      this.#o.connection.require(`listing "${dir.name}"`);
    }
    const work = this.#listed(dir).catch((error: unknown) => {
      // What we had is better than nothing when the network goes away; a listing that was never had is an error.
      this.#o.connection.suspect(error);
      if (
        dir.listed_ms > 0 &&
        isCloudError(error, 'offline', 'network', 'timeout', 'server', 'busy_server', 'protocol')
      ) {
        this.#noteFailure(dir, error);
        return;
      }
      if (isCloudError(error, 'not_found', 'not_dir')) return; // and the drive shows that by now
      throw error;
    });
    return raceAbort(work, signal());
  }

  #hasJustFailed(dir: NodeRecord): boolean {
    const until_ms = this.#failed.get(dir.ino);
    return dir.listed_ms > 0 && until_ms !== undefined && this.#o.clock.monotonic_ms() < until_ms;
  }

  #noteFailure(dir: NodeRecord, error: unknown): void {
    // Without a network this is said of the connection, not of each directory.
    if (!this.#failed.has(dir.ino) && !isCloudError(error, 'offline', 'network')) {
      this.#o.log.warn({ err: error, dir: dir.name }, 'a directory could not be listed; it is shown as it was');
    }
    const pause_ms = Math.min(FAILED_LISTING_MS, this.#o.dirCacheTime_ms);
    this.#failed.set(dir.ino, this.#o.clock.monotonic_ms() + pause_ms);
  }

  /** By itself, or with the whole tree if that is on its way and soon here. */
  async #listed(dir: NodeRecord): Promise<void> {
    const tree = this.#first.tree();
    if (tree !== null) {
      await tree;
      if (this.#isFresh(dir)) return;
    }
    if (!this.#first.comesSoon) this.#foresee(dir);
    await this.#refresh(dir);
    this.#first.listed();
  }

  /** As `ensureListed`, but content with a listing of any age. What replaces or removes a name must act on the version
   * its caller has seen: a refresh in the middle of the call would let it hit one that nobody here ever saw. */
  ensureKnown(dir: NodeRecord, signal: () => AbortSignal): MaybePromise<void> {
    if (dir.listed_ms > 0) return;
    return this.ensureListed(dir, signal);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#watching?.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#pushTimer !== null) clearTimeout(this.#pushTimer);
    await this.#catching?.catch(() => undefined);
    await Promise.allSettled(this.#listing.values());
  }

  #isFresh(dir: NodeRecord): boolean {
    if (this.mirrored) return true;
    if (dir.base === null && dir.ino !== 1) return true; // made here, not on the server yet
    if (dir.listed_ms === 0) return false;
    if (this.#o.remote.capabilities.changeFeed) return true; // the first full listing is on its way
    // Of the future: the clock was ahead then. Believed, it would hide what others do until that time has come.
    const age_ms = this.#o.clock.now_ms() - dir.listed_ms;
    return age_ms >= 0 && age_ms < this.#o.dirCacheTime_ms;
  }

  /** Somebody lists this directory soon after the one above it: a walk. What comes next in it is listed ahead, several
   * at a time, so that a walk costs a round trip per level and not per directory. */
  #foresee(dir: NodeRecord): void {
    const above = dir.parent === null ? null : this.#o.store.get(dir.parent);
    if (above === null || this.#o.clock.now_ms() - above.listed_ms > WALK_MS) return;
    let room = WALK_AHEAD - this.#listing.size;
    if (room <= 0) return;
    for (const next of this.#o.store.everyMember(above.ino, { after: dir.ino, page_rows: WALK_PAGE })) {
      if (!next.isDir || this.#isFresh(next) || this.#listing.has(next.ino)) continue;
      this.#refresh(next).catch((error: unknown) => {
        this.#o.log.debug({ err: error }, 'listing ahead of a walk failed; the walk will ask itself');
      });
      room -= 1;
      if (room === 0) return;
    }
  }

  /** Lists one directory; callers that come meanwhile share it. */
  #refresh(dir: NodeRecord): Promise<void> {
    const running = this.#listing.get(dir.ino);
    if (running !== undefined) return running;
    const work = this.#lister.list(dir).finally(() => this.#listing.delete(dir.ino));
    this.#listing.set(dir.ino, work);
    return work;
  }

  // ---- the feed ---------------------------------------------------------------------------------------------------------

  #watch(): void {
    if (this.#watching !== null || !this.#o.remote.capabilities.push) return;
    this.#watching = new AbortController();
    this.#o.remote.watch(
      {
        onChange: () => this.hint(),
        onConnection: (connected) => {
          this.#setPushed(connected);
          if (connected) this.catchUp();
        },
      },
      this.#watching.signal,
    );
  }

  #setPushed(pushed: boolean): void {
    if (pushed === this.#pushed) return;
    this.#pushed = pushed;
    this.#o.onPush(pushed);
  }

  #schedule(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#stop.signal.aborted) return;
    this.#timer = setTimeout(() => this.catchUp(), this.#pushed ? POLL_PUSHED_MS : POLL_MS);
  }

  async #catchUpLoop(): Promise<void> {
    while (this.#wanted && !this.#stop.signal.aborted && this.#o.connection.online) {
      this.#wanted = false;
      if (!this.#mirrored) this.#first.begin();
      try {
        await this.#catchUpOnce();
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        this.#o.connection.suspect(error);
        this.#o.log.warn({ err: error }, 'following the server failed; it is tried again');
        return;
      } finally {
        this.#first.end();
      }
    }
  }

  async #catchUpOnce(): Promise<void> {
    const { store, mirror } = this.#o;
    let epoch = Number(store.setting('epoch') ?? '0');
    let fullRunning = false;
    /** Deferrals before a full listing that is not one that an earlier run began: what that one put off is not known. */
    let deferrals: number | null = null;
    let asking = this.#ask(this.#cursor);
    for (;;) {
      const cursor = this.#cursor;
      const { page, asked_ms } = await asking;
      if (page.more) {
        asking = this.#ask(page.next); // the server reads while this page is applied
        asking.catch(() => undefined); // waited for above, unless applying fails first
      }
      if (page.full && (!fullRunning || page.anew)) {
        fullRunning = true;
        // A listing that was interrupted goes on under its own epoch; a new one gets a new epoch.
        if (cursor === null || page.anew || store.setting('full_running') !== '1') {
          epoch += 1;
          deferrals = mirror.deferred.times;
        }
        store.setSetting('epoch', String(epoch));
        store.setSetting('full_running', '1');
      }
      this.#partial = true;
      await this.#applyPage(page.changes, asked_ms, epoch);
      store.transaction(() => {
        if (!page.more) {
          if (page.full || store.setting('full_running') === '1')
            this.#sweep(epoch, asked_ms, deferrals === mirror.deferred.times);
          mirror.endOfFeed(asked_ms);
        }
        // What was put off is known only in memory: after a crash it must be told again.
        if (mirror.deferred.isEmpty) store.setSetting('cursor', page.next);
        crashPoint('apply.before_commit');
      });
      this.#cursor = page.next;
      crashPoint('apply.after_page');
      if (!page.more) {
        store.transaction(() => {
          store.setSetting('full_running', null);
          if (!this.#mirrored) store.setSetting('mirrored', '1');
        });
        this.#mirrored = true;
        this.#partial = false;
        this.#alone.clear();
        if (page.changes.length > 0 || fullRunning) this.#o.onApplied();
        return;
      }
    }
  }

  async #ask(cursor: string | null): Promise<{ readonly page: ChangePage; readonly asked_ms: number }> {
    const asked_ms = this.#o.recent.now_ms();
    const limit = this.#first.nextEntries();
    const page = await this.#o.remote.changes(cursor, {
      signal: this.#stop.signal,
      ...(limit === undefined ? {} : { limit }),
    });
    return { page, asked_ms };
  }

  async #applyPage(
    changes: readonly ({ kind: 'present'; entry: RemoteEntry } | { kind: 'gone'; path: RemoteEntry['path'] })[],
    asked_ms: number,
    epoch: number,
  ): Promise<void> {
    const { store, mirror } = this.#o;
    // One parent serves many entries in a row: it is looked up once.
    let parent: NodeRecord | null = null;
    let parentPath: string | null = null;
    const apply = (step: Step) => {
      if (step.kind === 'gone' || step.kind === 'gone_with') {
        if (step.kind === 'gone') mirror.gonePath(step.path, asked_ms);
        else mirror.gone(step.node);
        parentPath = null;
        return;
      }
      const { entry } = step;
      const place = entry.path === '' ? null : splitPath(entry.path);
      if (place === null) {
        mirror.present(entry, asked_ms, epoch);
        return;
      }
      if (place.parent !== parentPath) {
        parent = mirror.atPath(place.parent);
        parentPath = place.parent;
      }
      if (parent === null || (parent.base === null && parent.ino !== 1)) mirror.present(entry, asked_ms, epoch);
      else mirror.presentIn(parent, place.name as Name, entry, asked_ms, epoch);
    };
    const steps = this.#stepsOf(changes, asked_ms);
    for (let more = true; more; ) {
      store.transaction(() => {
        more = applySome(steps, this.#o.clock, apply);
      });
      await breathe();
      await this.#first.hold(this.#listing);
      parentPath = null; // others ran in between
    }
  }

  /** Each change when those before it are applied; of a collection that is gone first what is in it. */
  *#stepsOf(changes: ChangePage['changes'], asked_ms: number): Generator<Step, void> {
    for (const change of changes) {
      if (change.kind === 'gone') {
        for (const node of this.#o.mirror.belowGone(change.path, asked_ms)) yield { kind: 'gone_with', node };
      }
      yield change;
    }
  }

  /** A full listing has ended: what it did not name is gone; unless something of it was put off, then it is asked for. */
  #sweep(epoch: number, asked_ms: number, complete: boolean): void {
    const { store, mirror } = this.#o;
    for (const ino of store.unseen(epoch)) {
      const node = store.get(ino);
      if (node === null || node.base === null || node.seen >= epoch) continue;
      const path = mirror.remotePath(node);
      if (path === null) mirror.gone(node);
      else if (!complete || node.seen === 0 || this.#o.recent.touchedSince(path, 0)) mirror.deferred.add(path);
      else mirror.gonePath(path, asked_ms);
    }
  }
}
