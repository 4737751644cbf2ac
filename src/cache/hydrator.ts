import type { Clock } from '../clock.js';
import type { Ino, RemotePath } from '../ids.js';
import type { Log } from '../log.js';
import type { MaybePromise } from '../maybe_promise.js';
import type { Remote } from '../remote/remote.js';
import type { BlockSums } from './content/block_sums.js';
import type { ContentFile } from './content/content_file.js';
import type { ExtentSet } from './content/extents.js';
import type { LinkMeter } from './read_ahead.js';

/** What the hydrator needs of a file: one generation, so one version of its bytes. All fields are read anew each time. */
export interface Hydratable {
  readonly ino: Ino;
  readonly gen: number;
  /** Size of the file as the drive shows it now (a local truncate or write may have changed it). */
  readonly size_bytes: number;
  /** Size of the version `etag` on the server: nothing beyond is ever asked for. */
  readonly remoteSize_bytes: number;
  readonly etag: string | null;
  readonly extents: ExtentSet;
  readonly sums: BlockSums;
  readonly file: ContentFile;
  /** Where that version is on the server now. */
  remotePath(): RemotePath;
}

/** Who waits: a program, its read-ahead, or a pin. In this order of urgency. */
export type FetchPriority = 'read' | 'ahead' | 'pin';

export interface HydratorLimits {
  /** Fetches are rounded to blocks of this size. Default 128 KiB. */
  readonly block_bytes: number;
  /** A file up to this size is fetched whole with its first read. Default 1 MiB. */
  readonly wholeFile_bytes: number;
  /** Requests at a time for one file, and in all. Default 8 and 24. */
  readonly perFile: number;
  readonly total: number;
  /** Of `total`, how many only programs that wait may use. Default 6. */
  readonly reserved: number;
  /** No byte for this long = `timeout`. Default 20 s. */
  readonly timeout_ms: number;
  /** Attempts without a single byte after which a failed fetch is given up. Default 3. */
  readonly attempts: number;
}

/** Where fetched bytes may go: part of `SpaceBudget`. */
export interface FetchSpace {
  reserve(bytes: number, options: { readonly signal?: AbortSignal; readonly wait: boolean }): MaybePromise<void>;
  refund(bytes: number): void;
}

export interface HydratorOptions {
  readonly remoteRead: Remote['read'];
  readonly clock: Clock;
  readonly log: Log;
  readonly limits?: Partial<HydratorLimits>;
  readonly space?: FetchSpace;
  readonly link?: LinkMeter;
  /** Bytes [start, end) of `node` have just become present (extents are already changed): persist, tell passers-by. */
  readonly onProgress?: (node: Hydratable, start: number, end: number) => void;
}

export interface FetchOptions {
  readonly priority: FetchPriority;
  readonly signal?: AbortSignal;
}

export declare class Hydrator {
  constructor(options: HydratorOptions);
  /** Resolves when [start, end) (cut at the file's size) is here; at once (no promise) when it already is. Rejects with
   * `stale` (the version is gone from the server), `timeout`, `offline`, `interrupted`, `no_space`, … Check `covers`
   * again right before using the bytes: an eviction may have come in between. */
  need(node: Hydratable, start: number, end: number, options: FetchOptions): MaybePromise<void>;
  /** need + read, repeated until the bytes read were here all the time. Cut at the file's size. The buffer of a
   * synchronous answer is shared: use it before the next read. */
  read(node: Hydratable, offset: number, size: number, signal?: AbortSignal): MaybePromise<Buffer>;
  /** Starts a fetch that nobody waits for; failures are only logged. Ends when `signal` aborts. */
  ahead(node: Hydratable, start: number, end: number, signal: AbortSignal): void;
  /** Is anything of this file on its way or waited for? Such a file must not be evicted or closed. */
  isBusy(node: Hydratable): boolean;
  /** Ends all fetches of this file; who waits gets `error`. */
  cancel(node: Hydratable, error: Error): void;
  /** Aborts everything and resolves when nothing runs any more. */
  close(): Promise<void>;
  /** For status and tests. */
  stats(): { readonly running: number; readonly waiting: number; readonly fetched_bytes: number };
}
