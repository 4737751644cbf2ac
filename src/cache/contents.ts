// Which contents are in use, how they are opened and checked, made durable, accounted for and evicted.
//
// Order of durability: bytes first, then the record that claims them, then the journal. A record therefore never claims
// bytes that a power cut took; bytes nobody claims are fetched again, or were never promised to anybody.

import { createHash } from 'node:crypto';
import type { Clock } from '../clock.js';
import { CloudError } from '../errors.js';
import type { Ino } from '../ids.js';
import type { Log } from '../log.js';
import type { MaybePromise } from '../maybe_promise.js';
import { ActiveContent } from './active_content.js';
import { BlockSums } from './content/block_sums.js';
import type { ContentStore } from './content/content_store.js';
import { type ByteRange, ExtentSet } from './content/extents.js';
import { verifyContent } from './content/verify.js';
import { crashPoint } from './crash_points.js';
import type { Hydratable, Hydrator } from './hydrator.js';
import type { NodeRecord } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';
import type { Mirror } from './mirror.js';
import { farFrom, type ShrinkSides, type SpaceBudget, type Victim } from './space.js';
import type { Tree } from './tree.js';

const SAVE_EVERY_MS = 500;
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
  readonly #opening = new Map<Ino, Promise<ActiveContent>>();
  #timer: NodeJS.Timeout | null = null;
  #saving: Promise<void> = Promise.resolve();

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
    if (node.size_bytes === 0 && (node.base === null || node.baseSize_bytes === 0)) return true;
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
    const check = this.#mustVerify(content);
    if (!check) return this.#activate(content);
    const work = this.#verify(content)
      .then(() => this.#activate(content))
      .finally(() => this.#opening.delete(node.ino));
    this.#opening.set(node.ino, work);
    return work;
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

  scheduleSave(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.saveAll().catch((error: unknown) =>
        this.#o.log.error({ err: error }, 'writing the records of contents failed'),
      );
    }, SAVE_EVERY_MS);
  }

  /** Everything written so far is on the disk and in the journal when it resolves. */
  saveAll(): Promise<void> {
    const next = this.#saving.then(() => this.#saveUnsaved());
    this.#saving = next.catch(() => undefined);
    return next;
  }

  /** The same for one file: fsync(2). */
  async save(content: ActiveContent): Promise<void> {
    content.unsaved = true;
    await this.#saveThese([content]);
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
    // A removal on its way to the server may still be dropped (somebody changed the file): then it is fetched again.
    this.drop(node);
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
    const freed = node.cached_bytes;
    crashPoint('evict.before_record');
    const active = this.#active.get(node.ino);
    if (active !== undefined) this.#retire(active);
    this.#dropFile(node, node.gen, 'counted by the caller');
    crashPoint('evict.after_record');
    return freed;
  }

  /** Gives back about `bytes` of clean files that are open, far from where they are being read. */
  shrinkOpen(bytes: number, sides: ShrinkSides): number {
    let freed = 0;
    for (const content of this.#active.values()) {
      if (freed >= bytes) break;
      if (content.node.contentDirty || content.access === 'passthrough' || this.#o.isPinned(content.node)) continue;
      for (const range of farFrom(
        content.extents,
        [...content.positions.values()],
        bytes - freed,
        KEEP_NEAR_BYTES,
        sides,
      )) {
        content.extents.remove(range.start, range.end);
        content.sums.forget(range.start, range.end);
        content.file.punchHole(range.start, range.end);
        content.unsaved = true;
        content.accounted_bytes = Math.max(0, content.accounted_bytes - (range.end - range.start));
        freed += range.end - range.start;
      }
    }
    if (freed > 0) this.scheduleSave();
    return freed;
  }

  // ---- end ------------------------------------------------------------------------------------------------------------

  /** Content files that no record knows: left by a crash between removing a record and its file. */
  async collectOrphans(): Promise<number> {
    let removed = 0;
    for await (const stored of this.#o.files.list()) {
      const node = this.#o.store.get(stored.ino);
      if (node !== null && node.gen === stored.gen) continue;
      if (this.#o.files.isOpen(stored.ino, stored.gen)) continue;
      this.#o.files.remove(stored.ino, stored.gen);
      removed += 1;
    }
    return removed;
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    await this.saveAll();
    for (const content of [...this.#active.values()]) this.#retire(content);
    await this.#o.files.close();
  }

  // ---- inside ---------------------------------------------------------------------------------------------------------

  #mayGo(node: NodeRecord): boolean {
    if (node.kind !== 'file' || node.dirty !== 0 || node.base === null || node.cached_bytes === 0) return false;
    if (this.isOpen(node)) return false;
    const active = this.#active.get(node.ino);
    if (active !== undefined && this.#o.hydrator().isBusy(active)) return false;
    return !this.#o.isPinned(node);
  }

  #load(node: NodeRecord): ActiveContent {
    const extents = node.extents === null ? new ExtentSet() : ExtentSet.parse(node.extents);
    const sums = node.contentDirty ? new BlockSums() : BlockSums.parse(node.sums);
    // Written and closed just before a crash: the record does not claim the bytes yet, but they are there.
    const unclaimed = extents.isEmpty && node.contentDirty && this.#o.files.has(node.ino, node.gen);
    const file =
      extents.isEmpty && !unclaimed
        ? this.#o.files.open(node.ino, node.gen, { create: true, size_bytes: node.size_bytes })
        : this.#openExisting(node, extents);
    if (unclaimed && file.stat().size_bytes < node.size_bytes) file.truncate(node.size_bytes);
    const content = new ActiveContent(node, file, extents, sums, (of) => {
      const path = this.#o.mirror().remotePath(of);
      if (path === null) throw new CloudError('stale', `reading "${of.name}": its version is no longer on the server`);
      return path;
    });
    // What lies beyond the server's version can only have been made here: holes, or bytes an unsynced crash took.
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
      if (node.contentDirty) {
        file.close();
        throw new CloudError(
          'corrupt',
          `opening "${node.name}": its cached content has unsent changes and should have at least ${extents.end} bytes, found ${size}; it is kept as it is, see "cloudmount check" and "cloudmount discard"`,
        );
      }
      file.close();
    } catch (error) {
      if (node.contentDirty || !(error instanceof CloudError) || error.code !== 'corrupt') {
        this.#markDamaged(node, error);
        throw error;
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

  #mustVerify(content: ActiveContent): boolean {
    const { node } = content;
    if (content.extents.isEmpty || node.fingerprint === content.file.fingerprint()) return false;
    // Dirty content without a fingerprint was being written when the daemon ended: nothing to compare with.
    return !(node.contentDirty && node.fingerprint === null);
  }

  /** The content file is not as we left it: believe only what its sums prove. */
  async #verify(content: ActiveContent): Promise<void> {
    const { node, file, extents } = content;
    if (node.contentDirty) {
      file.close();
      const error = new CloudError(
        'corrupt',
        `opening "${node.name}": its cached content has unsent changes and was altered from outside; it is kept as it is, see "cloudmount check" and "cloudmount discard"`,
      );
      this.#markDamaged(node, error);
      throw error;
    }
    const good = await this.#provenRanges(content);
    const before = extents.presentBytes;
    extents.clear();
    for (const range of good) extents.insert(range.start, range.end);
    if (extents.presentBytes < before) {
      this.#o.log.warn(
        { ino: node.ino, name: node.name, lost_bytes: before - extents.presentBytes },
        'cached content was altered or cannot be proven; the rest is fetched again',
      );
      for (const gap of extents.missing(0, file.stat().size_bytes)) file.punchHole(gap.start, gap.end);
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
    content.users = 1;
    content.node.used_ms = this.#o.clock.now_ms();
    this.#active.set(content.ino, content);
    return content;
  }

  #retire(content: ActiveContent): void {
    if (this.#active.get(content.ino) !== content) return;
    this.#active.delete(content.ino);
    this.#o
      .hydrator()
      .cancel(content, new CloudError('stale', `"${content.node.name}": its cached content was dropped`));
    content.file.close();
  }

  /** Takes the content file away; the next one of this node is a new generation. */
  #dropFile(node: NodeRecord, gen: number, accounting: 'refund' | 'counted by the caller' = 'refund'): void {
    if (accounting === 'refund' && node.cached_bytes > 0) this.#o.space().refund(node.cached_bytes);
    const had = node.extents !== null || node.cached_bytes > 0;
    node.extents = null;
    node.sums = null;
    node.fingerprint = null;
    node.cached_bytes = 0;
    node.gen = gen + 1;
    if (had || this.#o.files.has(node.ino, gen)) {
      this.#o.store.save(node);
      this.#o.files.remove(node.ino, gen);
    }
  }

  #markDamaged(node: NodeRecord, error: unknown): void {
    node.error = error instanceof Error ? error.message : String(error);
    node.errorCode = 'corrupt';
    this.#o.store.save(node);
    this.#o.log.error({ ino: node.ino, name: node.name }, 'cached content with unsent changes is damaged');
  }

  async #saveUnsaved(): Promise<void> {
    const unsaved = [...this.#active.values()].filter((content) => content.unsaved);
    await this.#saveThese(unsaved);
    for (const content of unsaved) {
      if (content.users === 0 && !content.unsaved && !this.#o.hydrator().isBusy(content)) this.#retire(content);
    }
  }

  async #saveThese(contents: readonly ActiveContent[]): Promise<void> {
    if (contents.length === 0) return;
    const captured = contents.map((content) => {
      content.unsaved = false;
      return {
        content,
        extents: content.extents.isEmpty ? null : content.extents.serialise(),
        sums: content.node.contentDirty ? null : content.sums.serialise(),
        writeSeq: content.writeSeq,
      };
    });
    const synced = await Promise.allSettled(captured.map(({ content }) => content.file.sync()));
    crashPoint('content.before_extents');
    this.#o.store.transaction(() => {
      for (const { content, extents, sums, writeSeq } of captured) {
        const { node } = content;
        if (this.#active.get(content.ino) !== content || node.gen !== content.gen) continue;
        node.extents = extents;
        node.sums = sums;
        const quiet = content.users === 0 && writeSeq === content.writeSeq && !content.unsaved;
        node.fingerprint = quiet ? content.file.fingerprint() : null;
        this.#reconcile(content);
        node.cached_bytes = content.accounted_bytes;
        this.#o.store.save(node);
      }
    });
    await this.#o.store.durable();
    const failed = synced.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
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

const KEEP_NEAR_BYTES = 4 * 1024 * 1024;
const HASH_STEP_BYTES = 1024 * 1024;
const BLOCK_SLACK_BYTES = 128 * 1024;
