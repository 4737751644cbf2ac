// The cache's byte budget: never more than the limit, never less free on the disk than the floor. Whoever wants to store
// bytes reserves them first. When there is no room the least recently used clean files go; when none is left, clean
// open files give back what is far from where they are read; when that is not enough the caller waits (back-pressure)
// until an upload, a close or a removal makes room, and gets `no_space` after a bound: a short one where nothing is on its
// way that will make room. One reservation at a time is worked on, in order of arrival, so that a big one is not starved by small ones.

import * as fs from 'node:fs';
import type { Clock } from '../clock.js';
import { CloudError, toCloudError } from '../errors.js';
import type { Ino } from '../ids.js';
import type { Log } from '../log.js';
import { isPromise, type MaybePromise } from '../maybe_promise.js';
import type { ByteRange, ExtentSet } from './content/extents.js';

/** A file whose content may go: clean, unpinned, not open, nothing on its way. */
export interface Victim {
  readonly ino: Ino;
  readonly gen: number;
  readonly bytes: number;
  readonly lastUsed_ms: number;
}

/** Which side of the read positions may be given back. */
export type ShrinkSides = 'behind' | 'any';

export interface SpaceOptions {
  /** Bytes the cache may hold. */
  readonly limit_bytes: number;
  /** Bytes that must stay free on the disk of the cache. */
  readonly minFree_bytes: number;
  /** Bytes the cache holds at the start (sum of the present bytes of all files). */
  readonly used_bytes: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Longest wait for room before `no_space`. Default 30 s. */
  readonly wait_ms?: number;
  /** Is something being sent, or about to be, that may go afterwards? Default: always. */
  mayComeFree?(): boolean;
  /** Free bytes of the cache disk (see `diskFree`). Sampled, not asked each time. */
  freeBytes(): number;
  /** The least recently used files that may go, oldest first, at most `limit`. `known`: what stayed at the last look is not
   * looked at again. */
  candidates(limit: number, staying: 'known' | 'looked at'): readonly Victim[];
  /** Dehydrates one file and returns the bytes it freed; 0 = it may not go (any more). Does not call `refund`. */
  evict(victim: Victim): MaybePromise<number>;
  /** Called when no closed file is left: give back about `bytes` from clean files that are open (see `farFrom`, which
   * takes `sides` too), return what was freed. Does not call `refund`. `behind` = the room is for read-ahead, which
   * must not push out what other read-ahead has just brought. */
  shrinkOpen?(bytes: number, sides: ShrinkSides): MaybePromise<number>;
}

export interface ReserveOptions {
  /** Only looked at by those who wait: a caller makes its signal when it is asked for. */
  readonly signal?: AbortSignal;
  /** False: `no_space` at once instead of waiting for others to give back. Default true. */
  readonly wait?: boolean;
}

interface Waiter {
  readonly bytes: number;
  readonly wait: boolean;
  readonly since_ms: number;
  /** When something was last on its way that may make room. */
  hope_ms: number;
  settle(error: CloudError | null): void;
}

const SAMPLE_MS = 1000;
const SAMPLE_BYTES = 64 * 1024 * 1024;
const BATCH = 64;
const RETRY_MS = 500;
/** What has just been sent, fetched or closed may go a moment later. */
const HOPELESS_MS = 1500;
/** A request larger than this (a program preallocating a big file) does not hold up the smaller ones behind it. */
const BIG_BYTES = 16 * 1024 * 1024;

export class SpaceBudget {
  readonly #options: SpaceOptions;
  readonly #wait_ms: number;
  readonly #closed = new AbortController();
  #used: number;
  #waiters: Waiter[] = [];
  #working = false;
  #again = false;
  #ticking = false;
  #free = 0;
  #sampledAt_ms = Number.NEGATIVE_INFINITY;
  #sinceSample = 0;

  constructor(options: SpaceOptions) {
    this.#options = options;
    this.#wait_ms = options.wait_ms ?? 30_000;
    this.#used = options.used_bytes;
  }

  get used_bytes(): number {
    return this.#used;
  }

  get limit_bytes(): number {
    return this.#options.limit_bytes;
  }

  /** What the cache may hold with what else is on its disk now. */
  get holdable_bytes(): number {
    this.#sample(false);
    return this.#used + this.#room();
  }

  get minFree_bytes(): number {
    return this.#options.minFree_bytes;
  }

  /** Callers that wait for room. */
  get waiting(): number {
    return this.#waiters.length;
  }

  /** Counts `bytes` as used: at once when there is room (or eviction makes some), else when others give back, else
   * `no_space` after the bound. `interrupted` when aborted. A single request larger than the whole limit is let
   * through when nothing is stored (a file must be readable in a tiny cache), unless it is one that never can fit. */
  reserve(bytes: number, options: ReserveOptions = {}): MaybePromise<void> {
    if (bytes <= 0) return undefined;
    if (this.#waiters.length === 0 && !this.#working && this.#take(bytes)) return undefined;
    return this.#enqueue(bytes, options);
  }

  /** Counts bytes that are on the disk already, whether there is room or not. */
  charge(bytes: number): void {
    if (bytes > 0) this.#count(bytes);
  }

  /** Counted bytes are not there (any more): truncated, removed, or reserved and not needed. */
  refund(bytes: number): void {
    if (bytes <= 0) return;
    this.#used -= bytes;
    this.#sinceSample -= bytes;
    if (this.#used < 0) {
      this.#options.log.error({ used: this.#used, refunded: bytes }, 'more cache space was given back than taken');
      this.#used = 0;
    }
    if (this.#waiters.length > 0) this.#work();
  }

  /** Something may have become evictable (uploaded, closed, unpinned): waiting callers look again. */
  changed(): void {
    if (this.#waiters.length > 0) this.#work();
  }

  /** Evicts down to the limit and the floor, e.g. after the limit was lowered or somebody else filled the disk. */
  async trim(): Promise<void> {
    this.#sample(true);
    const excess = -this.#room();
    if (excess > 0) await this.#makeRoom(excess, 'any');
  }

  close(): void {
    this.#closed.abort();
    for (const waiter of this.#waiters.splice(0)) {
      waiter.settle(new CloudError('interrupted', 'waiting for cache space: the cache is closing'));
    }
  }

  #room(): number {
    const byLimit = this.#options.limit_bytes - this.#used;
    const byDisk = this.#free - this.#sinceSample - this.#options.minFree_bytes;
    return Math.min(byLimit, byDisk);
  }

  #sample(now: boolean): void {
    const time = this.#options.clock.monotonic_ms();
    if (!now && time - this.#sampledAt_ms < SAMPLE_MS && this.#sinceSample < SAMPLE_BYTES) return;
    try {
      this.#free = this.#options.freeBytes();
      this.#sampledAt_ms = time;
      this.#sinceSample = 0;
    } catch (error) {
      this.#options.log.warn({ error }, 'the free space of the cache disk could not be read');
    }
  }

  #take(bytes: number): boolean {
    this.#sample(false);
    if (bytes > this.#room()) return false;
    this.#count(bytes);
    return true;
  }

  #count(bytes: number): void {
    this.#used += bytes;
    this.#sinceSample += bytes;
  }

  #enqueue(bytes: number, options: ReserveOptions): MaybePromise<void> {
    if (this.#closed.signal.aborted) {
      throw new CloudError('interrupted', 'reserving cache space: the cache is closing');
    }
    if (options.signal?.aborted) throw interrupted(bytes);
    if (bytes > BIG_BYTES && bytes > this.#options.limit_bytes) throw this.#noSpace({ bytes });
    let outcome: { readonly error: CloudError | null } | null = null;
    let onSettled: ((error: CloudError | null) => void) | null = null;
    const onAbort = () => {
      this.#waiters = this.#waiters.filter((other) => other !== waiter);
      waiter.settle(interrupted(bytes));
      this.changed();
    };
    const now_ms = this.#options.clock.monotonic_ms();
    const waiter: Waiter = {
      bytes,
      wait: options.wait ?? true,
      since_ms: now_ms,
      hope_ms: now_ms,
      settle: (error) => {
        options.signal?.removeEventListener('abort', onAbort);
        outcome = { error };
        onSettled?.(error);
      },
    };
    options.signal?.addEventListener('abort', onAbort, { once: true });
    this.#waiters.push(waiter);
    this.#work();
    // Eviction is usually synchronous: then the answer is here already.
    const now = outcome as { readonly error: CloudError | null } | null;
    if (now !== null) {
      if (now.error !== null) throw now.error;
      return undefined;
    }
    return new Promise((resolve, reject) => {
      onSettled = (error) => (error === null ? resolve() : reject(error));
    });
  }

  /** Serves the waiters in order, as far as it goes without waiting for others. */
  #work(): void {
    if (this.#working) {
      this.#again = true;
      return;
    }
    this.#working = true;
    const pass = this.#pass();
    if (!isPromise(pass)) {
      this.#working = false;
      return;
    }
    const done = () => {
      this.#working = false;
      if (this.#again) this.changed();
    };
    pass.then(done, (error: unknown) => {
      this.#options.log.error({ error }, 'making room in the cache failed');
      done();
    });
  }

  /** `skipped` big requests at the head go on waiting while those behind them are served. */
  #pass(skipped = 0): MaybePromise<void> {
    this.#again = false;
    let waiting = skipped;
    for (;;) {
      const waiter = this.#waiters[waiting];
      if (waiter === undefined) return undefined;
      if (this.#take(waiter.bytes)) {
        this.#finish(waiter, null);
        continue;
      }
      let freed: MaybePromise<number>;
      try {
        freed = this.#makeRoom(waiter.bytes - this.#room(), waiter.wait ? 'any' : 'behind');
      } catch (error) {
        this.#finish(waiter, toCloudError(error, 'making room in the cache'));
        continue;
      }
      if (isPromise(freed)) return this.#passLater(freed, waiter, waiting);
      if (this.#settleAfter(waiter, freed)) continue;
      if (waiter.bytes <= BIG_BYTES) return undefined;
      waiting += 1;
    }
  }

  async #passLater(making: Promise<number>, waiter: Waiter, waiting: number): Promise<void> {
    let served: boolean;
    try {
      served = this.#settleAfter(waiter, await making);
    } catch (error) {
      this.#finish(waiter, toCloudError(error, 'making room in the cache'));
      served = true;
    }
    if (served) await this.#pass(Math.min(waiting, this.#waiters.length));
    else if (waiter.bytes > BIG_BYTES) await this.#pass(waiting + 1);
  }

  #finish(waiter: Waiter, error: CloudError | null): void {
    const at = this.#waiters.indexOf(waiter);
    if (at >= 0) this.#waiters.splice(at, 1);
    waiter.settle(error);
  }

  /** After an attempt to make room for `waiter`. False = it goes on waiting. */
  #settleAfter(waiter: Waiter, freed: number): boolean {
    if (!this.#waiters.includes(waiter)) return true; // aborted meanwhile
    this.#sample(freed > 0);
    if (this.#take(waiter.bytes)) {
      this.#finish(waiter, null);
      return true;
    }
    if (this.#used === 0 && waiter.bytes > this.#options.limit_bytes && this.#diskHolds(waiter.bytes)) {
      this.#count(waiter.bytes);
      this.#finish(waiter, null);
      return true;
    }
    if (!waiter.wait || this.#isOver(waiter)) {
      this.#finish(waiter, this.#noSpace(waiter));
      return true;
    }
    // Those behind that must not wait are told now; the others keep their place.
    for (const other of this.#waiters.filter((each) => !each.wait)) this.#finish(other, this.#noSpace(other));
    this.#tick();
    return false;
  }

  #isOver(waiter: Waiter): boolean {
    const now_ms = this.#options.clock.monotonic_ms();
    if (this.#options.mayComeFree?.() ?? true) waiter.hope_ms = now_ms;
    return now_ms - waiter.since_ms >= this.#wait_ms || now_ms - waiter.hope_ms >= HOPELESS_MS;
  }

  #diskHolds(bytes: number): boolean {
    return this.#free - this.#sinceSample - this.#options.minFree_bytes >= bytes;
  }

  /** Evicts at least `bytes` if it can; returns what was freed. */
  #makeRoom(bytes: number, sides: ShrinkSides): MaybePromise<number> {
    const refused = new Set<string>();
    let freed = 0;
    const note = (got: number) => {
      freed += got;
      this.#used = Math.max(0, this.#used - got);
      this.#sinceSample -= got;
    };
    const shrink = (): MaybePromise<number> => {
      const got = this.#options.shrinkOpen?.(bytes - freed, sides) ?? 0;
      const done = (count: number) => {
        note(count);
        return freed;
      };
      return isPromise(got) ? got.then(done) : done(got);
    };
    let staying: 'known' | 'looked at' = 'known';
    const evictMore = (): MaybePromise<number> => {
      for (;;) {
        const batch = this.#options
          .candidates(BATCH + refused.size, staying)
          .filter((victim) => !refused.has(`${victim.ino}.${victim.gen}`));
        if (batch.length === 0) {
          if (staying === 'looked at') return shrink();
          staying = 'looked at';
          continue;
        }
        for (const [index, victim] of batch.entries()) {
          if (freed >= bytes) return freed;
          const key = `${victim.ino}.${victim.gen}`;
          const got = this.#options.evict(victim);
          if (isPromise(got)) {
            return got.then((count) => {
              note(count);
              refused.add(key);
              return freed >= bytes ? freed : evictMore();
            });
          }
          note(got);
          refused.add(key);
          if (index === batch.length - 1 && freed >= bytes) return freed;
        }
      }
    };
    return bytes <= 0 ? 0 : evictMore();
  }

  /** Room may also appear without anyone telling (another program frees the disk), and waits have an end. */
  #tick(): void {
    if (this.#ticking) return;
    this.#ticking = true;
    this.#options.clock.sleep(RETRY_MS, this.#closed.signal).then(
      () => {
        this.#ticking = false;
        this.#sample(true);
        this.changed();
      },
      () => {
        this.#ticking = false;
      },
    );
  }

  #noSpace(waiter: Pick<Waiter, 'bytes'>): CloudError {
    const { limit_bytes, minFree_bytes } = this.#options;
    return new CloudError(
      'no_space',
      `storing ${waiter.bytes} bytes in the cache: required room within ${limit_bytes} bytes of cache and ${minFree_bytes} bytes of free disk, found ${this.#used} bytes used that may not be evicted and ${this.#free} bytes of free disk`,
    );
  }
}

function interrupted(bytes: number): CloudError {
  return new CloudError('interrupted', `waiting for ${bytes} bytes of cache space: interrupted`);
}

/** Free bytes for an unprivileged user on the file system of `dir` (statfs). */
export function diskFree(dir: string): number {
  const stat = fs.statfsSync(dir);
  return stat.bavail * stat.bsize;
}

/** Who reads a file, and what must not be taken from under them. */
export interface Readers {
  /** Where they read last, and how much around each place stays. */
  readonly positions: readonly number[];
  readonly keep_bytes: number;
  /** What they wait for. Taking the first half for the room of the second would never end. */
  readonly wanted: readonly ByteRange[];
}

/** Which present ranges of a clean open file to punch so that about `bytes` come free: what is farthest behind the
 * positions that are being read first, then what is farthest ahead; never what `readers` keep. */
export function farFrom(
  extents: ExtentSet,
  { positions, keep_bytes, wanted }: Readers,
  bytes: number,
  sides: ShrinkSides = 'any',
): ByteRange[] {
  const near = positions.map((at) => ({ start: Math.max(0, at - keep_bytes), end: at + keep_bytes }));
  const kept = [...near, ...wanted].sort((a, b) => a.start - b.start);
  const pieces: { start: number; end: number; behind: boolean; distance: number }[] = [];
  const first = kept[0]?.start ?? Number.MAX_SAFE_INTEGER;
  for (const range of extents.presentRanges()) {
    let from = range.start;
    for (const keep of [...kept, { start: Number.MAX_SAFE_INTEGER, end: Number.MAX_SAFE_INTEGER }]) {
      const to = Math.min(range.end, keep.start);
      if (to > from) pieces.push(describe(from, to, first, positions));
      from = Math.max(from, keep.end);
      if (from >= range.end) break;
    }
  }
  pieces.sort((a, b) => (a.behind === b.behind ? b.distance - a.distance : a.behind ? -1 : 1));
  const chosen: ByteRange[] = [];
  let total = 0;
  for (const piece of pieces) {
    if (total >= bytes || (sides === 'behind' && !piece.behind)) break;
    const take = Math.min(piece.end - piece.start, bytes - total);
    // Behind: from its start, the farthest. Ahead: from its end.
    chosen.push(
      piece.behind ? { start: piece.start, end: piece.start + take } : { start: piece.end - take, end: piece.end },
    );
    total += take;
  }
  return chosen.sort((a, b) => a.start - b.start);
}

function describe(start: number, end: number, first: number, positions: readonly number[]) {
  const distances = positions.map((at) => (at >= end ? at - end : at <= start ? start - at : 0));
  return { start, end, behind: end <= first, distance: Math.min(...distances, Number.MAX_SAFE_INTEGER) };
}
