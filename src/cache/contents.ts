// Which contents are in use, and when they are made durable, taken away and evicted.
//
// Order of durability: bytes first, then the record that claims them, then the journal. A record therefore never claims
// bytes that a power cut took; bytes nobody claims are fetched again, or were never promised to anybody.

import type { Clock } from '../clock.js';
import { CloudError, isCloudError } from '../errors.js';
import type { Ino } from '../ids.js';
import type { Log } from '../log.js';
import { isPromise, type MaybePromise } from '../maybe_promise.js';
import type { ActiveContent } from './active_content.js';
import type { ContentStore } from './content/content_store.js';
import { ExtentSet } from './content/extents.js';
import { fillSums } from './content/verify.js';
import { ContentLoader } from './contents_loading.js';
import { ContentSaver } from './contents_saving.js';
import { ContentShrinker } from './contents_shrinking.js';
import { crashPoint } from './crash_points.js';
import type { Hydrator } from './hydrator.js';
import { Dirty, type NodeRecord } from './metadata/node.js';
import type { LastUsed, NodeStore } from './metadata/node_store.js';
import type { Mirror } from './mirror.js';
import type { Hydratable } from './range_fetch.js';
import type { ShrinkSides, SpaceBudget, Victim } from './space.js';
import type { Tree } from './tree.js';

/** A closed file is on the disk within a second: this long it waits for others, the rest is for the disk. */
const SAVE_EVERY_MS = 400;
const SAVE_AGAIN_MS = 3_000;
const SCAN_PAGE = 256;

export interface ContentsOptions {
  readonly store: NodeStore;
  readonly files: ContentStore;
  readonly clock: Clock;
  readonly log: Log;
  /** Late-bound neighbours: they need this object too. */
  readonly mirror: () => Mirror;
  readonly hydrator: () => Hydrator;
  readonly space: () => SpaceBudget;
  readonly tree: () => Tree;
  readonly isPinned: (node: NodeRecord) => boolean;
}

export class Contents {
  readonly #o: ContentsOptions;
  readonly #active = new Map<Ino, ActiveContent>();
  /** Up to here nothing could go when it was looked at last. */
  #staying: LastUsed | null = null;
  readonly #opening = new Map<Ino, Promise<ActiveContent>>();
  readonly #loader: ContentLoader;
  readonly #saver: ContentSaver;
  readonly #shrinker: ContentShrinker;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | null = null;
  /** Two lines, so that a large file that is still being written does not hold up the ones that are closed. */
  readonly #saving: Record<'closed' | 'open', Promise<void>> = { closed: Promise.resolve(), open: Promise.resolve() };
  #summing: Promise<void> = Promise.resolve();
  #collecting: Promise<unknown> = Promise.resolve();
  /** Content files whose records are gone, but not durably so. */
  #graves: { readonly ino: Ino; readonly gen: number }[] = [];
  /** The server has their bytes, but a power cut could still bring back the record that says it has not. */
  #justClean = new Set<Ino>();

  constructor(options: ContentsOptions) {
    this.#o = options;
    this.#loader = new ContentLoader({ ...options, dropFile: (node) => this.#dropFile(node, node.gen) });
    this.#saver = new ContentSaver({
      ...options,
      isActive: (content) => this.#active.get(content.ino) === content,
      saveAgain: () => this.scheduleSave(SAVE_AGAIN_MS),
    });
    this.#shrinker = new ContentShrinker({
      ...options,
      active: () => this.#active.values(),
      peek: (ino) => this.peek(ino),
      acquire: (node) => this.acquire(node),
      release: (content) => this.release(content),
      save: (content) => this.save(content),
      scheduleSave: () => this.scheduleSave(),
      mustStay: (node) => this.#mustStay(node),
      reconcile: (content) => this.#saver.reconcile(content),
      stop: this.#stop.signal,
    });
  }

  peek(ino: Ino): ActiveContent | null {
    return this.#active.get(ino) ?? null;
  }

  /** Is the file open by a program (or was it a moment ago, its record not yet written)? */
  isOpen(node: NodeRecord): boolean {
    return (this.#active.get(node.ino)?.users ?? 0) > 0 || this.#opening.has(node.ino);
  }

  isComplete(node: NodeRecord): boolean {
    const active = this.#active.get(node.ino);
    if (active !== undefined) return active.complete;
    if (node.size_bytes === 0) return true;
    return node.extents !== null && ExtentSet.parse(node.extents).isComplete(node.size_bytes);
  }

  cachedBytes(node: NodeRecord): number {
    const active = this.#active.get(node.ino);
    if (active !== undefined) return active.extents.presentBytes;
    return node.extents === null ? 0 : ExtentSet.parse(node.extents).presentBytes;
  }

  /** One user more; pair with `release`. Checks what lies on the disk against its record before anybody sees it. */
  acquire(node: NodeRecord): MaybePromise<ActiveContent> {
    const active = this.#active.get(node.ino);
    if (active !== undefined) {
      active.users += 1;
      return active;
    }
    const opening = this.#opening.get(node.ino);
    if (opening !== undefined) return opening.then(() => this.acquire(node));
    const loaded = this.#loader.load(node);
    if (!isPromise(loaded)) return this.#activate(loaded);
    const work = loaded.finally(() => this.#opening.delete(node.ino));
    this.#opening.set(node.ino, work);
    return work.then((content) => {
      // Dropped while it was being checked (a new version on the server): then it is opened again, as that.
      if (node.gen === content.gen && !this.#active.has(node.ino)) return this.#activate(content);
      content.file.close();
      return this.acquire(node);
    });
  }

  release(content: ActiveContent): void {
    content.users -= 1;
    if (content.users > 0) return;
    content.access = 'undecided';
    const { node } = content;
    if (node.parent === null) {
      this.#retire(content);
      node.cached_bytes = content.accounted_bytes;
      this.#dropFile(node, content.gen);
      this.#nothingToSend(node);
      this.#o.tree().purgeIfGone(node);
      return;
    }
    content.unsaved = true;
    this.scheduleSave();
    this.#o.space().changed();
  }

  /** Bytes were fetched; the hydrator has reserved them in the budget. */
  fetched(content: Hydratable, start: number, end: number): void {
    const active = this.#active.get(content.ino);
    if (active === undefined) return;
    active.accounted_bytes += end - start;
    active.unsaved = true;
    this.scheduleSave();
  }

  scheduleSave(delay_ms = SAVE_EVERY_MS): void {
    if (this.#stop.signal.aborted) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.saveAll().catch((error: unknown) => {
        this.#o.log.error({ err: error }, 'writing the records of contents failed; it is tried again');
        this.scheduleSave(SAVE_AGAIN_MS);
      });
    }, delay_ms);
  }

  /** Everything written so far is on the disk and in the journal when it resolves. */
  async saveAll(): Promise<void> {
    const [closed, open] = await Promise.allSettled([this.#saveLine('closed'), this.#saveLine('open')]);
    if (closed.status === 'rejected') throw closed.reason;
    if (open.status === 'rejected') throw open.reason;
  }

  /** The same for one file: fsync(2). */
  async save(content: ActiveContent): Promise<void> {
    await this.#saver.save([content]);
  }

  /** The same, if anything is not on the disk yet. */
  async saveIfNeeded(content: ActiveContent): Promise<void> {
    if (content.unsaved || content.saveShown < content.savesBegun) await this.save(content);
  }

  /** All that goes on behind the scenes has ended: records are written, sums taken, left-overs collected. */
  async settled(): Promise<void> {
    await this.saveAll();
    await this.#summing;
    await this.saveAll();
    await this.#collecting;
  }

  /** The server has the bytes of this file: the row says so too. Inside the caller's transaction. */
  markClean(node: NodeRecord): void {
    const active = this.#active.get(node.ino);
    if (active !== undefined) {
      active.extents.markClean();
      active.unsaved = true;
      this.scheduleSave();
    }
    if (node.extents !== null) {
      const extents = ExtentSet.parse(node.extents);
      extents.markClean();
      node.extents = extents.serialise();
    }
    node.dirty &= ~Dirty.content;
    node.sending = [];
    node.surpassed = false;
    this.#justClean.add(node.ino);
    this.scheduleSave();
  }

  /** Forgets the cached bytes of a clean, closed node. */
  drop(node: NodeRecord): void {
    const active = this.#active.get(node.ino);
    if (active !== undefined) {
      node.cached_bytes = active.accounted_bytes;
      this.#retire(active);
    }
    this.#dropFile(node, node.gen);
  }

  /** A node left the drive: its bytes go with its last user. Not if it is still there because that could not be written. */
  unlinked(node: NodeRecord): void {
    this.#o.store.afterCommit(() => {
      if (node.parent !== null || this.isOpen(node) || node.kind !== 'file') return;
      try {
        this.drop(node);
        this.#nothingToSend(node);
      } catch (error) {
        this.#o.log.warn({ err: error, ino: node.ino }, 'removed content is still there; the next start tries again');
      }
    });
  }

  /** A removal on its way to the server may still be dropped (somebody changed the file): then it is fetched again. */
  #nothingToSend(node: NodeRecord): void {
    node.dirty = 0;
    if (node.base !== null) this.#o.store.save(node);
  }

  /** Room for bytes of which only the next save will say where they are. Answers how to give it back. */
  async room(bytes: number, signal: AbortSignal): Promise<() => void> {
    await this.#o.space().reserve(bytes, { signal });
    return () => this.#o.space().refund(bytes);
  }

  /** What all contents together may take. */
  get limit_bytes(): number {
    return this.#o.space().limit_bytes;
  }

  /** The same, with what else is on the disk. */
  get holdable_bytes(): number {
    return this.#o.space().holdable_bytes;
  }

  // ---- eviction -------------------------------------------------------------------------------------------------------

  /** `known`: behind those of which the last look found that they stay; of a large pinned folder that nobody has used for
   * long not every file is looked at each time. */
  candidates(limit: number, staying: 'known' | 'looked at'): Victim[] {
    const victims: Victim[] = [];
    if (staying === 'looked at') this.#staying = null;
    let last = this.#staying;
    for (;;) {
      const page = this.#o.store.leastRecentlyUsed(last, SCAN_PAGE);
      for (const place of page) {
        const node = this.#o.store.get(place.ino);
        if (node !== null && this.#mayGo(node)) {
          victims.push({ ino: node.ino, gen: node.gen, bytes: node.cached_bytes, lastUsed_ms: node.used_ms });
          if (victims.length === limit) return victims;
        } else if (victims.length === 0) this.#staying = place;
      }
      if (page.length < SCAN_PAGE) return victims;
      last = page.at(-1) ?? null;
    }
  }

  /** Dehydrates one file; returns the bytes freed, 0 if it may not go. */
  evict(victim: Victim): number {
    const node = this.#o.store.get(victim.ino);
    if (node === null || node.gen !== victim.gen || !this.#mayGo(node)) return 0;
    const active = this.#active.get(node.ino);
    const freed = active?.accounted_bytes ?? node.cached_bytes;
    crashPoint('evict.before_record');
    if (active !== undefined) this.#retire(active);
    this.#dropFile(node, node.gen, 'counted by the caller');
    crashPoint('evict.after_record');
    return freed;
  }

  /** See `ContentShrinker.shrinkOpen`. */
  shrinkOpen(bytes: number, sides: ShrinkSides): MaybePromise<number> {
    return this.#shrinker.shrinkOpen(bytes, sides);
  }

  // ---- end ------------------------------------------------------------------------------------------------------------

  /** Content files that no record knows: left by a crash between removing a record and its file. */
  collectOrphans(): Promise<number> {
    const work = this.#collect();
    this.#collecting = work.catch((error: unknown) => {
      this.#o.log.warn({ err: error }, 'collecting left-over content files failed');
    });
    return work;
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    try {
      await this.saveAll();
    } finally {
      this.#stop.abort();
      if (this.#timer !== null) clearTimeout(this.#timer);
      this.#timer = null;
      await this.#summing;
      await this.#collecting;
      for (const content of [...this.#active.values()]) this.#retire(content);
      await this.#o.files.close();
    }
  }

  /** What all contents together have in the budget: must be what the budget counts. */
  accountedBytes(): number {
    let total = this.#o.store.cachedBytes();
    for (const content of this.#active.values()) total += content.accounted_bytes - content.node.cached_bytes;
    return total;
  }

  /** Still there, but on its way out: open, or waiting until it is durable that no record wants it. */
  isLeaving(ino: Ino, gen: number): boolean {
    return this.#o.files.isOpen(ino, gen) || this.#graves.some((grave) => grave.ino === ino && grave.gen === gen);
  }

  get anyInUse(): boolean {
    for (const content of this.#active.values()) if (content.users > 0) return true;
    return this.#opening.size > 0;
  }

  // ---- inside ---------------------------------------------------------------------------------------------------------

  #mayGo(node: NodeRecord): boolean {
    if (node.kind !== 'file' || node.dirty !== 0 || node.base === null || node.cached_bytes === 0) return false;
    if (this.isOpen(node) || this.#justClean.has(node.ino)) return false;
    const active = this.#active.get(node.ino);
    if (active !== undefined && this.#o.hydrator().isBusy(active)) return false;
    return !this.#mustStay(node);
  }

  /** Of a pinned file that can never be here completely a part is no use. */
  #mustStay(node: NodeRecord): boolean {
    return node.size_bytes <= this.limit_bytes && this.#o.isPinned(node);
  }

  async #collect(): Promise<number> {
    let removed = 0;
    for await (const stored of this.#o.files.list()) {
      if (this.#stop.signal.aborted) break;
      const node = this.#o.store.get(stored.ino);
      if (node !== null && node.gen === stored.gen) continue;
      if (this.isLeaving(stored.ino, stored.gen)) continue;
      this.#o.files.remove(stored.ino, stored.gen);
      removed += 1;
    }
    return removed;
  }

  #activate(content: ActiveContent): ActiveContent {
    const { node } = content;
    content.users = 1;
    node.used_ms = this.#o.clock.now_ms();
    if (node.errorCode === 'corrupt' && node.contentDirty) {
      // Somebody put back what was damaged.
      node.error = null;
      node.errorCode = null;
      node.notBefore_ms = 0;
      this.#o.tree().changed(node);
    }
    this.#active.set(content.ino, content);
    return content;
  }

  #retire(content: ActiveContent): void {
    if (this.#active.get(content.ino) !== content) return;
    this.#active.delete(content.ino);
    const hydrator = this.#o.hydrator();
    if (hydrator.isBusy(content)) {
      hydrator.cancel(content, new CloudError('stale', `"${content.node.name}": its cached content was dropped`));
    }
    content.file.close();
  }

  /** Takes the content file away; the next one of this node is a new generation. */
  #dropFile(node: NodeRecord, gen: number, accounting: 'refund' | 'counted by the caller' = 'refund'): void {
    const { cached_bytes } = node;
    if (accounting === 'refund' && cached_bytes > 0) this.#o.space().refund(cached_bytes);
    const had = node.extents !== null || cached_bytes > 0;
    // Bytes that exist only here go when it is durable that nobody wants them: a power cut may bring the record back.
    const precious = (node.contentDirty || this.#justClean.has(node.ino)) && node.extents !== null;
    node.extents = null;
    node.sums = null;
    node.fingerprint = null;
    node.cached_bytes = 0;
    node.unstored = false;
    node.gen = gen + 1;
    if (!had && !this.#o.files.has(node.ino, gen)) return;
    try {
      this.#o.store.save(node);
    } catch (error) {
      // A full disk must not keep what would make room on it. Without its file the old record means: fetch again.
      if (precious || !isCloudError(error, 'no_space')) throw error;
      this.#o.log.warn(
        { err: error, ino: node.ino },
        'a record could not be written; its content is removed all the same',
      );
    }
    if (precious) {
      this.#o.store.afterCommit(() => {
        this.#graves.push({ ino: node.ino, gen });
        this.scheduleSave();
      });
    } else this.#o.files.remove(node.ino, gen, cached_bytes);
  }

  /** One after another within a line; a call that comes while one waits shares it. */
  #saveLine(line: 'closed' | 'open'): Promise<void> {
    const next = this.#saving[line].then(() => this.#saveUnsaved(line));
    this.#saving[line] = next.catch(() => undefined);
    return next;
  }

  async #saveUnsaved(line: 'closed' | 'open'): Promise<void> {
    const mine = [...this.#active.values()].filter((content) => (content.users === 0) === (line === 'closed'));
    const unsaved = mine.filter((content) => content.unsaved);
    try {
      await this.#saver.save(unsaved, 'told once');
    } finally {
      if (line === 'closed') {
        await this.#bury();
        for (const content of mine) this.#settle(content);
      }
    }
  }

  /** Closed, saved and quiet: its descriptor goes. What exists only here gets sums first, so that damage shows. */
  #settle(content: ActiveContent): void {
    if (content.users > 0 || content.unsaved || this.#o.hydrator().isBusy(content)) return;
    if (this.#active.get(content.ino) !== content) return;
    const { node } = content;
    if (!node.contentDirty || content.extents.isEmpty || node.fingerprint !== null) {
      this.#retire(content);
      return;
    }
    if (content.summing) return;
    content.summing = true;
    const work = this.#summing.then(() => this.#sumUp(content));
    this.#summing = work
      .catch((error: unknown) => this.#o.log.debug({ err: error, ino: node.ino }, 'summing up a content file failed'))
      .finally(() => {
        content.summing = false;
      });
  }

  /** Reads what was written once more (it is in the page cache) while nobody uses it, and records sums and fingerprint. */
  async #sumUp(content: ActiveContent): Promise<void> {
    const { node, file } = content;
    const { writeSeq } = content;
    const fingerprint = file.fingerprint();
    const changed = () =>
      content.users > 0 || content.unsaved || content.writeSeq !== writeSeq || this.#stop.signal.aborted;
    if (changed() || this.#active.get(content.ino) !== content) return;
    await fillSums(file, content.extents, node.size_bytes, content.sums, changed);
    if (changed() || this.#active.get(content.ino) !== content) return;
    if (!node.contentDirty || file.fingerprint() !== fingerprint) return;
    node.sums = content.sums.serialise();
    node.fingerprint = fingerprint;
    this.#o.store.save(node);
    this.#retire(content);
  }

  /** Removes content files whose records are durably gone. */
  async #bury(): Promise<void> {
    if (this.#graves.length === 0 && this.#justClean.size === 0) return;
    const graves = this.#graves;
    this.#graves = [];
    const clean = this.#justClean;
    this.#justClean = new Set();
    try {
      await this.#o.store.durable();
      if (clean.size > 0) this.#o.space().changed();
      for (const { ino, gen } of graves) this.#o.files.remove(ino, gen);
    } catch (error) {
      this.#graves.push(...graves);
      for (const ino of clean) this.#justClean.add(ino);
      throw error;
    }
  }
}
