import type { Clock } from '../clock.js';
import type { Ino } from '../ids.js';
import type { Log } from '../log.js';
import type { MaybePromise } from '../maybe_promise.js';
import type { ByteRange, ExtentSet } from './content/extents.js';

/** A file whose content may go: clean, unpinned, not open, nothing on its way. */
export interface Victim {
  readonly ino: Ino;
  readonly gen: number;
  readonly bytes: number;
  readonly lastUsed_ms: number;
}

export interface SpaceOptions {
  /** Bytes the cache may hold. */
  readonly limit_bytes: number;
  /** Bytes that must stay free on the disk of the cache. */
  readonly minFree_bytes: number;
  /** Bytes the cache holds at the start (sum of the present bytes of all files). */
  readonly used_bytes: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Longest wait of a writer for room before `no_space`. Default 30 s. */
  readonly wait_ms?: number;
  /** Free bytes of the cache disk (see `diskFree`). Sampled, not asked each time. */
  freeBytes(): number;
  /** The least recently used files that may go, oldest first, at most `limit`. */
  candidates(limit: number): readonly Victim[];
  /** Dehydrates one file and returns the bytes it freed; 0 = it may not go (any more). Does not call `refund`. */
  evict(victim: Victim): MaybePromise<number>;
  /** Called when no closed file is left: give back about `bytes` from clean files that are open (see
   * `farFrom`), return what was freed. Does not call `refund`. */
  shrinkOpen?(bytes: number): MaybePromise<number>;
}

export declare class SpaceBudget {
  constructor(options: SpaceOptions);
  get used_bytes(): number;
  get limit_bytes(): number;
  /** Counts `bytes` as used: at once when there is room (or eviction makes some), else when others give back, else
   * `no_space` after the bound. `wait: false` = `no_space` instead of waiting. `interrupted` when aborted. */
  reserve(bytes: number, options?: { readonly signal?: AbortSignal; readonly wait?: boolean }): MaybePromise<void>;
  /** Counted bytes are not there (any more): truncated, removed, or reserved and not needed. */
  refund(bytes: number): void;
  /** Something may have become evictable (uploaded, closed, unpinned): waiting writers look again. */
  changed(): void;
  close(): void;
}

/** Free bytes for an unprivileged user on the file system of `dir` (statfs). */
export declare function diskFree(dir: string): number;

/** Which present ranges of a clean open file to punch so that about `bytes` come free: what is farthest behind the
 * positions that are being read first, then what is farthest ahead; never within `keep_bytes` around one. */
export declare function farFrom(
  extents: ExtentSet,
  positions: readonly number[],
  bytes: number,
  keep_bytes: number,
): ByteRange[];
