// Making room in files that stay: of what is open the parts far from where it is being read, of a changed file that is too
// large to be sent what the server has as well.

import { andThen, type MaybePromise } from '../maybe_promise.js';
import { type ActiveContent, fitsWith, remoteSizeOf } from './active_content.js';
import { ExtentSet, lengthOf } from './content/extents.js';
import type { Contents, ContentsOptions } from './contents.js';
import { crashPoint } from './crash_points.js';
import type { NodeRecord } from './metadata/node.js';
import { farFrom, type Readers, type ShrinkSides } from './space.js';

/** Around each place that is being read; in a tiny cache so much of it. */
const KEEP_NEAR_BYTES = 4 * 1024 * 1024;
const KEEP_NEAR_PARTS = 16;
/** Of a cache that is full of a changed file, at least so much is given back at a time. */
const SHRINK_PARTS = 8;

export interface ContentShrinkerOptions
  extends Pick<ContentsOptions, 'store' | 'log' | 'mirror' | 'hydrator' | 'space'>,
    Pick<Contents, 'peek' | 'acquire' | 'release' | 'save' | 'scheduleSave'> {
  active(): Iterable<ActiveContent>;
  mustStay(node: NodeRecord): boolean;
  /** What the budget counts for this file follows what it takes on the disk. */
  reconcile(content: ActiveContent): void;
  readonly stop: AbortSignal;
}

export class ContentShrinker {
  readonly #o: ContentShrinkerOptions;

  constructor(options: ContentShrinkerOptions) {
    this.#o = options;
  }

  /** Gives back about `bytes` of clean files that are open, far from where they are being read; then of changed ones that
   * cannot be sent, which are too large: of what these free the budget is told by itself. */
  shrinkOpen(bytes: number, sides: ShrinkSides): MaybePromise<number> {
    let freed = 0;
    for (const content of this.#o.active()) {
      if (freed >= bytes) break;
      if (content.node.contentDirty || content.isReadByKernel || this.#o.mustStay(content.node)) continue;
      if (content.isBeingWritten) continue;
      for (const { start, end } of farFrom(content.extents, this.#readersOf(content), bytes - freed, sides)) {
        content.extents.remove(start, end);
        content.sums.forget(start, end);
        content.file.punchHole(start, end);
        content.unsaved = true;
        // Holes in it were not counted: no more comes free than was.
        const counted = Math.min(content.accounted_bytes, end - start);
        content.accounted_bytes -= counted;
        freed += counted;
      }
    }
    if (freed > 0) this.#o.scheduleSave();
    return freed >= bytes ? freed : andThen(this.#shrinkTooLarge(bytes - freed, sides), () => freed);
  }

  #readersOf(content: ActiveContent): Readers {
    const keep_bytes = Math.min(KEEP_NEAR_BYTES, Math.floor(this.#limit_bytes / KEEP_NEAR_PARTS));
    const wanted = this.#o.hydrator().wanted(content);
    return { positions: [...content.positions.values()], keep_bytes, wanted };
  }

  #shrinkTooLarge(bytes: number, sides: ShrinkSides): MaybePromise<void> {
    const found = this.#o.store.withDirtyContent(this.#limit_bytes).filter((node) => !this.#spareOf(node).isEmpty);
    return found.length === 0 ? undefined : this.#shrinkChanged(found, bytes, sides);
  }

  async #shrinkChanged(nodes: readonly NodeRecord[], bytes: number, sides: ShrinkSides): Promise<void> {
    // Each time costs a sync of the file.
    const wanted_bytes = Math.max(bytes, Math.floor(this.#limit_bytes / SHRINK_PARTS));
    const enough_bytes = this.#o.space().used_bytes - bytes;
    for (const node of nodes) {
      if (this.#o.stop.aborted || this.#o.space().used_bytes <= enough_bytes) return;
      try {
        const content = await this.#o.acquire(node);
        try {
          await this.#forgetSpare(content, wanted_bytes, sides);
        } finally {
          this.#o.release(content);
        }
      } catch (error) {
        this.#o.log.warn({ err: error, ino: node.ino, name: node.name }, 'a changed file could not make room');
      }
    }
  }

  /** What the server has as well of a changed file that is too large to be all here: it cannot be sent whether that is here
   * or not. Nothing of one that is all here, however small the cache is by now; nor where the server is known to have
   * another version, is about to be told to remove this one, or cannot tell versions apart. */
  #spareOf(node: NodeRecord): ExtentSet {
    const spare = new ExtentSet();
    const active = this.#o.peek(node.ino);
    if (active !== null && (active.changing || active.access === 'passthrough')) return spare;
    const { parent, base, baseEtag, surpassed, size_bytes } = node;
    if (!node.contentDirty || parent === null || base === null || baseEtag === null || surpassed) return spare;
    if (this.#o.mirror().remotePath(node) === null) return spare;
    const extents = active?.extents ?? ExtentSet.parse(node.extents);
    const accounted_bytes = active?.accounted_bytes ?? node.cached_bytes;
    if (fitsWith({ accounted_bytes }, lengthOf(extents.missing(0, size_bytes)), this.#limit_bytes)) return spare;
    for (const gap of extents.notDirty(0, Math.min(size_bytes, remoteSizeOf(node)))) {
      for (const { start, end } of extents.presentWithin(gap.start, gap.end)) spare.insert(start, end);
    }
    return spare;
  }

  /** Not before it is durable that no record claims it: after a crash the holes would pass for zeros somebody wrote. */
  async #forgetSpare(content: ActiveContent, bytes: number, sides: ShrinkSides): Promise<void> {
    const { node, extents, file } = content;
    const ranges = farFrom(this.#spareOf(node), this.#readersOf(content), bytes, sides);
    if (ranges.length === 0) return;
    for (const { start, end } of ranges) {
      extents.remove(start, end);
      content.sums.forget(start, end);
    }
    content.unsaved = true;
    crashPoint('evict.before_record');
    await this.#o.save(content);
    crashPoint('evict.after_record');
    // Who changes it by now may have stored what no extent says yet.
    if (this.#o.peek(content.ino) !== content || content.changing) return;
    for (const { start, end } of ranges) {
      for (const gap of extents.missing(start, Math.max(start, Math.min(end, node.size_bytes)))) {
        file.punchHole(gap.start, gap.end);
      }
    }
    this.#o.reconcile(content);
    content.unsaved = true;
    this.#o.scheduleSave();
  }

  get #limit_bytes(): number {
    return this.#o.space().limit_bytes;
  }
}
