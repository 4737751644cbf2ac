// Which contents are in use, how they are opened and checked, made durable, accounted for and evicted.
//
// Order of durability: bytes first, then the record that claims them, then the journal. A record therefore never claims
// bytes that a power cut took; bytes nobody claims are fetched again, or were never promised to anybody.

import { createHash } from 'node:crypto';
import type { Clock } from '../clock.js';
import { CloudError, isCloudError } from '../errors.js';
import type { Ino } from '../ids.js';
import type { Log } from '../log.js';
import type { MaybePromise } from '../maybe_promise.js';
import { ActiveContent, remoteSizeOf } from './active_content.js';
import { BlockSums } from './content/block_sums.js';
import type { ContentStore } from './content/content_store.js';
import { type ByteRange, ExtentSet } from './content/extents.js';
import { fillSums, verifyContent } from './content/verify.js';
import { crashPoint } from './crash_points.js';
import type { Hydratable, Hydrator } from './hydrator.js';
import type { PreviousEnd } from './metadata/database.js';
import { Dirty, type NodeRecord } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';
import type { Mirror } from './mirror.js';
import { farFrom, type ShrinkSides, type SpaceBudget, type Victim } from './space.js';
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
  readonly #opening = new Map<Ino, Promise<void>>();
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
    const content = this.#load(node);
    const verify = this.#mustVerify(content);
    if (!verify && !mayGrowUnseen(content)) return this.#activate(content);
    const work = this.#ready(content, verify).finally(() => this.#opening.delete(node.ino));
    this.#opening.set(node.ino, work);
    return work.then(() => {
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
    await this.#saveThese([content]);
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

  /** A node left the drive: its bytes go with its last user. */
  unlinked(node: NodeRecord): void {
    if (this.isOpen(node) || node.kind !== 'file') return;
    this.drop(node);
    this.#nothingToSend(node);
  }

  /** A removal on its way to the server may still be dropped (somebody changed the file): then it is fetched again. */
  #nothingToSend(node: NodeRecord): void {
    node.dirty = 0;
    if (node.base !== null) this.#o.store.save(node);
  }

  // ---- eviction -------------------------------------------------------------------------------------------------------

  candidates(limit: number): Victim[] {
    const victims: Victim[] = [];
    for (let offset = 0; victims.length < limit; offset += SCAN_PAGE) {
      const page = this.#o.store.leastRecentlyUsed(offset, SCAN_PAGE);
      for (const node of page) {
        if (victims.length < limit && this.#mayGo(node)) {
          victims.push({ ino: node.ino, gen: node.gen, bytes: node.cached_bytes, lastUsed_ms: node.used_ms });
        }
      }
      if (page.length < SCAN_PAGE) break;
    }
    return victims;
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

  /** Gives back about `bytes` of clean files that are open, far from where they are being read. */
  shrinkOpen(bytes: number, sides: ShrinkSides): number {
    let freed = 0;
    const keep_bytes = Math.min(KEEP_NEAR_BYTES, Math.floor(this.#o.space().limit_bytes / KEEP_NEAR_PARTS));
    for (const content of this.#active.values()) {
      if (freed >= bytes) break;
      if (content.node.contentDirty || content.access === 'passthrough' || this.#o.isPinned(content.node)) continue;
      const wanted = this.#o.hydrator().wanted(content);
      const readers = { positions: [...content.positions.values()], keep_bytes, wanted };
      for (const range of farFrom(content.extents, readers, bytes - freed, sides)) {
        content.extents.remove(range.start, range.end);
        content.sums.forget(range.start, range.end);
        content.file.punchHole(range.start, range.end);
        content.unsaved = true;
        // Holes in it were not counted: no more comes free than was.
        const counted = Math.min(content.accounted_bytes, range.end - range.start);
        content.accounted_bytes -= counted;
        freed += counted;
      }
    }
    if (freed > 0) this.scheduleSave();
    return freed;
  }

  // ---- end ------------------------------------------------------------------------------------------------------------

  /** After a start that followed no good end, before anything else: records and content files are brought in line. A
   * killed process loses nothing that was written, so its last writes are taken over as the content files show them. After
   * a power cut only what the records claim was synced, so only that counts. */
  recover(end: PreviousEnd): void {
    if (end === 'clean' || end === 'none') return;
    for (const node of this.#o.store.withDirtyContent()) {
      if (node.fingerprint !== null) continue; // closed in good order: its fingerprint and sums say more
      try {
        this.#o.store.transaction(() => this.#reclaim(node, end));
      } catch (error) {
        this.#o.log.warn({ err: error, ino: node.ino, name: node.name }, 'content of a crash could not be looked at');
      }
    }
  }

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
    return !this.#o.isPinned(node);
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

  #reclaim(node: NodeRecord, end: 'killed' | 'power_cut'): void {
    const claims = ExtentSet.parse(node.extents);
    const there = this.#o.files.has(node.ino, node.gen);
    if (!there && !claims.isEmpty) return; // reported when it is opened, and by check
    if (there && end === 'killed') this.#takeFromOthers(node);
    const file = there ? this.#o.files.open(node.ino, node.gen, { create: false }) : null;
    try {
      const stored = file?.stat().size_bytes ?? 0;
      if (stored < claims.end) return; // the same
      const theirs = Math.min(node.size_bytes, remoteSizeOf(node));
      if (end === 'killed' && file !== null) {
        const kept = Math.min(theirs, stored);
        for (const gap of claims.missing(kept, stored)) claims.insertDirty(gap.start, gap.end);
        node.size_bytes = stored;
      } else {
        node.size_bytes = Math.max(theirs, claims.end);
      }
      if (end === 'power_cut' && node.torn && node.base !== null && !claims.isDirty) {
        // Emptied for new content that never reached the disk: the version before is better than nothing.
        node.size_bytes = node.baseSize_bytes ?? 0;
        node.dirty &= ~(Dirty.content | Dirty.mtime);
        const path = this.#o.mirror().remotePath(node);
        if (path !== null) this.#o.mirror().defer(path); // its time is the server's again
        this.#o.log.warn(
          { ino: node.ino, name: node.name },
          'the power went before new content was stored: back to old',
        );
      }
      node.torn = false;
      if (file !== null) {
        // What no record claims must not show up in a hole later.
        if (stored !== node.size_bytes) file.truncate(node.size_bytes);
        for (const gap of claims.missing(0, node.size_bytes)) file.punchHole(gap.start, gap.end);
      }
      const cached_bytes = Math.min(file?.stat().allocated_bytes ?? 0, claims.presentBytes + BLOCK_SLACK_BYTES);
      if (cached_bytes > node.cached_bytes) this.#o.space().charge(cached_bytes - node.cached_bytes);
      else this.#o.space().refund(node.cached_bytes - cached_bytes);
      node.cached_bytes = cached_bytes;
      node.extents = claims.isEmpty ? null : claims.serialise();
      node.sums = null;
      this.#o.tree().changed(node);
    } finally {
      file?.close();
    }
  }

  /** What a program does through a mount whose daemon is gone must not change what this one has. */
  #takeFromOthers({ ino, gen, name }: NodeRecord): void {
    try {
      if (this.#o.files.takeFromOthers(ino, gen)) this.#o.log.info({ ino, name }, 'still being written elsewhere');
    } catch (error) {
      this.#o.log.warn({ err: error, ino, name }, 'still being written elsewhere, and could not be copied');
    }
  }

  #load(node: NodeRecord): ActiveContent {
    const extents = ExtentSet.parse(node.extents);
    const sums = BlockSums.parse(node.sums);
    const file = extents.isEmpty
      ? this.#o.files.open(node.ino, node.gen, { create: true, size_bytes: node.size_bytes })
      : this.#openExisting(node, extents);
    if (file.stat().size_bytes !== node.size_bytes && !node.contentDirty) file.truncate(node.size_bytes);
    const content = new ActiveContent(node, file, extents, sums, (of) => {
      const path = this.#o.mirror().remotePath(of);
      if (path === null) throw new CloudError('stale', `reading "${of.name}": its version is no longer on the server`);
      return path;
    });
    // What lies beyond the server's version can only have been made here.
    const remote = content.remoteSize_bytes;
    if (node.size_bytes > remote) {
      for (const gap of extents.missing(Math.min(remote, node.size_bytes), node.size_bytes)) {
        extents.insertDirty(gap.start, gap.end);
      }
    }
    return content;
  }

  #openExisting(node: NodeRecord, extents: ExtentSet): ReturnType<ContentStore['open']> {
    try {
      const file = this.#o.files.open(node.ino, node.gen, { create: false });
      const size = file.stat().size_bytes;
      if (size >= extents.end) return file;
      file.close();
      if (node.contentDirty) throw damaged(node, `should have at least ${extents.end} bytes, found ${size}`);
    } catch (error) {
      if (!(error instanceof CloudError) || error.code !== 'corrupt') throw error;
      if (node.contentDirty) {
        const gone = error.cause === undefined ? error : damaged(node, 'is gone');
        this.#markDamaged(node, gone);
        throw gone;
      }
    }
    this.#o.log.warn(
      { ino: node.ino, name: node.name },
      'cached content is gone or cut short; it will be fetched again',
    );
    extents.clear();
    this.#dropFile(node, node.gen);
    return this.#o.files.open(node.ino, node.gen, { create: true, size_bytes: node.size_bytes });
  }

  async #ready(content: ActiveContent, verify: boolean): Promise<void> {
    if (verify) await this.#verify(content);
    if (!mayGrowUnseen(content)) return;
    const { node } = content;
    try {
      node.fingerprint = null;
      node.sums = null;
      this.#o.store.save(node);
      await this.#o.store.durable();
    } catch (error) {
      content.file.close();
      throw error;
    }
  }

  #mustVerify(content: ActiveContent): boolean {
    const { node } = content;
    if (content.extents.isEmpty || node.fingerprint === content.file.fingerprint()) return false;
    // Dirty content without a fingerprint was being written when the daemon ended: nothing to compare with.
    return !(node.contentDirty && node.fingerprint === null);
  }

  /** The content file is not as we left it: believe only what its sums prove. */
  async #verify(content: ActiveContent): Promise<void> {
    const { node, file, extents, sums } = content;
    if (node.contentDirty) {
      try {
        await this.#verifyDirty(content);
      } catch (error) {
        file.close();
        if (error instanceof CloudError && error.code === 'corrupt') this.#markDamaged(node, error);
        throw error;
      }
      return;
    }
    const good = await this.#provenRanges(content);
    const before = extents.presentBytes;
    extents.clear();
    for (const range of good) extents.insert(range.start, range.end);
    for (const gap of extents.missing(0, node.size_bytes)) {
      file.punchHole(gap.start, gap.end);
      sums.forget(gap.start, gap.end);
    }
    if (extents.presentBytes < before) {
      this.#o.log.warn(
        { ino: node.ino, name: node.name, lost_bytes: before - extents.presentBytes },
        'cached content was altered or cannot be proven; the rest is fetched again',
      );
    }
    content.unsaved = true;
  }

  /** Bytes that exist only here are served only when all of them are proven; damaged ones of the server's are dropped. */
  async #verifyDirty(content: ActiveContent): Promise<void> {
    const { node, file, extents, sums } = content;
    const found = await verifyContent(file, extents, sums);
    const lost = [...found.damagedDirty, ...found.unproven.flatMap((at) => extents.dirtyWithin(at.start, at.end))];
    const [first] = lost;
    if (first !== undefined) {
      throw damaged(node, `was altered from outside: bytes ${first.start} to ${first.end} are not the ones written`);
    }
    for (const range of [...found.damaged, ...found.unproven]) {
      extents.remove(range.start, range.end);
      sums.forget(range.start, range.end);
      file.punchHole(range.start, range.end);
    }
    content.unsaved = true;
  }

  async #provenRanges(content: ActiveContent): Promise<readonly ByteRange[]> {
    const { node, file, extents, sums } = content;
    const checksum = node.checksum?.startsWith('SHA256:') ? node.checksum.slice(7).toLowerCase() : null;
    if (checksum !== null && extents.isComplete(node.size_bytes)) {
      const hash = createHash('sha256');
      for (let at = 0; at < node.size_bytes; at += HASH_STEP_BYTES) {
        hash.update(await file.readAsync(at, Math.min(HASH_STEP_BYTES, node.size_bytes - at)));
      }
      if (hash.digest('hex') === checksum) return [{ start: 0, end: node.size_bytes }];
    }
    const { proven } = await verifyContent(file, extents, sums);
    return proven;
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
    if (accounting === 'refund' && node.cached_bytes > 0) this.#o.space().refund(node.cached_bytes);
    const had = node.extents !== null || node.cached_bytes > 0;
    // Bytes that exist only here go when it is durable that nobody wants them: a power cut may bring the record back.
    const precious = (node.contentDirty || this.#justClean.has(node.ino)) && node.extents !== null;
    node.extents = null;
    node.sums = null;
    node.fingerprint = null;
    node.cached_bytes = 0;
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
      this.#graves.push({ ino: node.ino, gen });
      this.scheduleSave();
    } else this.#o.files.remove(node.ino, gen);
  }

  #markDamaged(node: NodeRecord, error: unknown): void {
    node.error = error instanceof Error ? error.message : String(error);
    node.errorCode = 'corrupt';
    this.#o.store.save(node);
    this.#o.log.error({ ino: node.ino, name: node.name }, 'cached content with unsent changes is damaged');
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
      await this.#saveThese(unsaved);
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

  async #saveThese(contents: readonly ActiveContent[]): Promise<void> {
    let left = contents;
    while (left.length > 0) left = await this.#saveOnce(left);
  }

  /** Bytes, then records, then the journal. Returns those that lost bytes meanwhile and must be looked at again. */
  async #saveOnce(contents: readonly ActiveContent[]): Promise<ActiveContent[]> {
    const captured = contents.map((content) => {
      content.unsaved = false;
      content.savesBegun += 1;
      return {
        content,
        number: content.savesBegun,
        extents: content.extents.clone(),
        removals: content.extents.removals,
        writeSeq: content.writeSeq,
      };
    });
    const again: ActiveContent[] = [];
    try {
      const failures = await this.#syncAll(contents);
      crashPoint('content.before_extents');
      this.#o.store.transaction(() => {
        for (const { content, number, extents, removals, writeSeq } of captured) {
          const { node } = content;
          if (this.#active.get(content.ino) !== content || node.gen !== content.gen) continue;
          if (failures.has(content) || number < content.saveShown) continue;
          if (content.extents.removals !== removals) {
            again.push(content);
            continue;
          }
          content.saveShown = number;
          if (content.cutting_bytes !== null) extents.clip(content.cutting_bytes);
          else node.torn = false;
          if (!node.contentDirty) extents.markClean();
          node.extents = extents.isEmpty ? null : extents.serialise();
          const quiet = content.users === 0 && writeSeq === content.writeSeq && !content.unsaved;
          // Of dirty content these two come later, together, when it has settled.
          node.sums = node.contentDirty ? null : content.sums.serialise();
          node.fingerprint = quiet && !node.contentDirty ? content.file.fingerprint() : null;
          this.#reconcile(content);
          node.cached_bytes = content.accounted_bytes;
          this.#o.store.save(node);
        }
      });
      await this.#o.store.durable();
      for (const [content, error] of failures) this.#notStored(content, error);
      const [failure] = failures.values();
      if (failure !== undefined) throw failure;
    } catch (error) {
      for (const content of contents) content.unsaved = true;
      this.scheduleSave(SAVE_AGAIN_MS);
      throw error;
    }
    return again;
  }

  /** Which could not be synced, and why. Of many files the writing is started first: then they share commits. */
  async #syncAll(contents: readonly ActiveContent[]): Promise<Map<ActiveContent, unknown>> {
    const failures = new Map<ActiveContent, unknown>();
    if (contents.length >= MANY) await Promise.all(contents.map((content) => content.file.startSync()));
    await Promise.all(
      contents.map(async (content) => {
        const settling = content.users === 0 && content.node.contentDirty;
        try {
          await (settling ? content.file.syncTimes() : content.file.sync());
        } catch (error) {
          failures.set(content, error);
        }
      }),
    );
    return failures;
  }

  /** The disk did not take what was written: said where the user looks, tried again by whoever saves next. */
  #notStored(content: ActiveContent, error: unknown): void {
    const { node } = content;
    if (!node.contentDirty) return;
    node.error = error instanceof Error ? error.message : String(error);
    this.#o.store.save(node);
  }

  /** What the budget counts for this file follows what it takes on the disk: holes are free. */
  #reconcile(content: ActiveContent): void {
    const allocated = Math.min(content.file.stat().allocated_bytes, content.extents.presentBytes + BLOCK_SLACK_BYTES);
    const difference = content.accounted_bytes - allocated;
    if (difference > 0) this.#o.space().refund(difference);
    else if (difference < 0) this.#o.space().charge(-difference);
    content.accounted_bytes = allocated;
  }
}

/** Around each place that is being read; in a tiny cache so much of it. */
const KEEP_NEAR_BYTES = 4 * 1024 * 1024;
const KEEP_NEAR_PARTS = 16;
const HASH_STEP_BYTES = 1024 * 1024;
const BLOCK_SLACK_BYTES = 128 * 1024;
const MANY = 4;

/** Changed here, and closed in good order, with parts that are not here: a fetch will write to the file, whose fingerprint
 * must not be believed then. Changes would look like damage after a crash: not every part of a block can have a sum. */
function mayGrowUnseen({ node, complete }: ActiveContent): boolean {
  return node.contentDirty && !complete && (node.fingerprint !== null || node.sums !== null);
}

function damaged(node: NodeRecord, what: string): CloudError {
  return new CloudError(
    'corrupt',
    `opening "${node.name}": its cached content (${node.ino}.${node.gen}) has unsent changes and ${what}; it is kept as it is, see "cloudmount check" and "cloudmount discard"`,
  );
}
