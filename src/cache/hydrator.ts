// Brings missing bytes from the server into content files. Who needs a range registers as a waiter; everything else
// follows from the waiters: whenever a slot is free, the most urgent waiter's first missing range that no running fetch
// brings is fetched. So two readers of one range share one fetch, a fetch that nobody waits for any more is aborted, and
// a dirty write that fills a gap simply takes it off the list.
// A waiter is released as soon as its own bytes are there, not when the whole request is.

import { setMaxListeners } from 'node:events';
import type { Clock } from '../clock.js';
import { CloudError, isCloudError, toCloudError } from '../errors.js';
import type { RemotePath } from '../ids.js';
import type { Log } from '../log.js';
import { isPromise, type MaybePromise } from '../maybe_promise.js';
import type { Remote } from '../remote/remote.js';
import type { ByteRange } from './content/extents.js';
import {
  describe,
  type FetchPriority,
  type FetchServices,
  type FetchSpace,
  fetchable,
  type Hydratable,
  RangeFetch,
} from './range_fetch.js';
import { LinkMeter } from './read_ahead.js';

export interface HydratorLimits {
  /** Fetches are rounded to blocks of this size. Default 128 KiB. */
  readonly block_bytes: number;
  /** A file up to this size is fetched whole with its first read. Default 1 MiB. */
  readonly wholeFile_bytes: number;
  /** Largest single request. Default 8 MiB. */
  readonly request_bytes: number;
  /** Requests at a time for one file, and in all. Default 8 and 24. */
  readonly perFile: number;
  readonly total: number;
  /** Of `total`, how many only programs that wait may use. Default 6. */
  readonly reserved: number;
  /** No byte for this long = `timeout`. Default 20 s. */
  readonly timeout_ms: number;
  /** Attempts without a single byte after which a waiter gets the error. Default 3. */
  readonly attempts: number;
  /** Pause before the second attempt; doubles. Default 200 ms. */
  readonly backoff_ms: number;
}

export interface HydratorOptions {
  readonly remoteRead: Remote['read'];
  readonly clock: Clock;
  readonly log: Log;
  readonly limits?: Partial<HydratorLimits>;
  readonly space?: FetchSpace;
  readonly link?: LinkMeter;
  /** Bytes [start, end) of `node` have just become present (extents are already changed). Called for every chunk of the
   * network: collect before persisting. Must not throw. */
  readonly onProgress?: (node: Hydratable, start: number, end: number) => void;
}

export interface FetchOptions {
  readonly priority: FetchPriority;
  readonly signal?: AbortSignal | undefined;
}

interface Waiter {
  readonly state: FileState;
  readonly priority: FetchPriority;
  /** What is needed. */
  readonly start: number;
  readonly end: number;
  /** What is fetched for it (rounded to blocks). */
  from: number;
  to: number;
  attempts: number;
  notBefore_ms: number;
  progress_ms: number;
  settle(error: Error | null): void;
}

interface FileState {
  readonly node: Hydratable;
  readonly fetches: Set<RangeFetch>;
  readonly waiters: Set<Waiter>;
}

const DEFAULTS: HydratorLimits = {
  block_bytes: 128 * 1024,
  wholeFile_bytes: 1024 * 1024,
  request_bytes: 8 * 1024 * 1024,
  perFile: 8,
  total: 24,
  reserved: 6,
  timeout_ms: 20_000,
  attempts: 3,
  backoff_ms: 200,
};

/** Of a file's requests, how many only programs that wait may use. */
const PER_FILE_RESERVED = 1;
/** A program that would wait longer than this for bytes far inside a running request gets a request of its own. */
const PATIENCE_ms = 100;
/** A read-ahead window is split into this many requests, unless they get smaller than the least or the link's chunk. */
const AHEAD_PARTS = 4;
const AHEAD_LEAST_BYTES = 512 * 1024;
const PRIORITIES: readonly FetchPriority[] = ['read', 'ahead', 'pin'];
const EMPTY = Buffer.alloc(0);

export class Hydrator {
  readonly #services: Omit<FetchServices, 'onArrived' | 'onOver' | 'onEnded'>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #limits: HydratorLimits;
  readonly #link: LinkMeter;
  readonly #states = new Map<Hydratable, FileState>();
  readonly #queues: Readonly<Record<FetchPriority, Set<Waiter>>> = {
    read: new Set(),
    ahead: new Set(),
    pin: new Set(),
  };
  readonly #runs = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  #running = 0;
  #watching = false;
  #pumping = false;
  #fetched = 0;

  constructor(options: HydratorOptions) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#limits = { ...DEFAULTS, ...options.limits };
    this.#link = options.link ?? new LinkMeter();
    this.#services = {
      remoteRead: options.remoteRead,
      clock: options.clock,
      space: options.space ?? null,
      link: this.#link,
      onProgress: options.onProgress ?? (() => undefined),
      onReceived: (bytes) => {
        this.#fetched += bytes;
      },
    };
    setMaxListeners(0, this.#closing.signal); // one per waiter that pauses: not a leak
  }

  /** Resolves when [start, end) (cut at the file's size) is here; at once (no promise) when it already is. Throws or
   * rejects with `stale` (the version is gone from the server), `timeout`, `offline`, `interrupted`, `no_space`, …
   * Check `covers` again right before using the bytes: an eviction may have come in between. */
  need(node: Hydratable, start: number, end: number, options: FetchOptions): MaybePromise<void> {
    const to = Math.min(end, node.size_bytes);
    if (start >= to || node.extents.covers(start, to)) return undefined;
    if (this.#closing.signal.aborted) throw new CloudError('interrupted', `${describe(node)}: the cache is closing`);
    if (options.signal?.aborted) throw new CloudError('interrupted', `${describe(node)}: interrupted`);
    const gap = node.extents.missing(start, to).at(-1);
    if (gap !== undefined && gap.end > node.remoteSize_bytes) {
      throw new CloudError(
        'corrupt',
        `${describe(node)}: required bytes up to ${gap.end}, found neither here nor in the server's ${node.remoteSize_bytes} bytes`,
      );
    }
    return this.#wait(node, start, to, options);
  }

  /** `need` and then read, repeated until the bytes read were here all the time. Cut at the file's size. The buffer of a
   * synchronous answer is shared: use it before the next read. */
  read(node: Hydratable, offset: number, size: number, signal?: AbortSignal): MaybePromise<Buffer> {
    const end = Math.min(offset + size, node.size_bytes);
    if (offset >= end) return EMPTY;
    if (!node.extents.covers(offset, end)) return this.#readLater(node, offset, size, signal);
    const { removals } = node.extents;
    const data = node.file.read(offset, end - offset);
    if (!isPromise(data)) return data;
    return unchanged(node, removals, data).then((bytes) => bytes ?? this.#readLater(node, offset, size, signal));
  }

  async #readLater(node: Hydratable, offset: number, size: number, signal?: AbortSignal): Promise<Buffer> {
    for (;;) {
      const end = Math.min(offset + size, node.size_bytes);
      if (offset >= end) return EMPTY;
      if (!node.extents.covers(offset, end)) {
        await this.need(node, offset, end, { priority: 'read', signal });
        continue; // others ran in between: look again
      }
      const { removals } = node.extents;
      const data = node.file.read(offset, end - offset);
      // The shared buffer does not survive the way through a promise.
      if (!isPromise(data)) return Buffer.from(data);
      const bytes = await unchanged(node, removals, data);
      if (bytes !== null) return bytes;
    }
  }

  /** Starts a fetch that nobody waits for; failures are only logged. Ends when `signal` aborts. */
  ahead(node: Hydratable, start: number, end: number, signal: AbortSignal): void {
    setMaxListeners(0, signal); // one per piece of the window: not a leak
    try {
      const pending = this.need(node, start, end, { priority: 'ahead', signal });
      if (isPromise(pending)) pending.catch((error: unknown) => this.#aheadFailed(node, error));
    } catch (error) {
      this.#aheadFailed(node, error);
    }
  }

  #aheadFailed(node: Hydratable, error: unknown): void {
    if (!isCloudError(error, 'interrupted')) this.#log.debug({ error, ino: node.ino }, 'read-ahead failed');
  }

  /** Is anything of this file on its way or waited for? Such a file must not be evicted. */
  isBusy(node: Hydratable): boolean {
    return this.#states.has(node);
  }

  /** What programs wait for in this file, whether some of it is here already or not. */
  wanted(node: Hydratable): ByteRange[] {
    const waiters = this.#states.get(node)?.waiters ?? [];
    return [...waiters].filter(({ priority }) => priority === 'read').map(({ start, end }) => ({ start, end }));
  }

  /** Ends all fetches of this file; who waits gets `error`. */
  cancel(node: Hydratable, error: Error): void {
    const state = this.#states.get(node);
    if (state === undefined) return;
    for (const waiter of [...state.waiters]) this.#settle(waiter, error);
    for (const fetch of [...state.fetches]) this.#abort(state, fetch);
  }

  /** Aborts everything and resolves when nothing runs any more. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const state of [...this.#states.values()]) {
      this.cancel(state.node, new CloudError('interrupted', `${describe(state.node)}: the cache is closing`));
    }
    while (this.#runs.size > 0) await Promise.allSettled(this.#runs);
  }

  /** `running` requests, `waiting` waiters, bytes that came over the network since the start. */
  stats(): { readonly running: number; readonly waiting: number; readonly fetched_bytes: number } {
    const waiting = this.#queues.read.size + this.#queues.ahead.size + this.#queues.pin.size;
    return { running: this.#running, waiting, fetched_bytes: this.#fetched };
  }

  // ---- waiters -------------------------------------------------------------------------------------------------------

  #wait(node: Hydratable, start: number, end: number, options: FetchOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      let state = this.#states.get(node);
      if (state === undefined) {
        state = { node, fetches: new Set(), waiters: new Set() };
        this.#states.set(node, state);
      }
      const { signal } = options;
      const onAbort = () => {
        this.#settle(waiter, new CloudError('interrupted', `${describe(node)}: interrupted`));
        this.#abortUnwanted(waiter);
      };
      const waiter: Waiter = {
        state,
        priority: options.priority,
        start,
        end,
        ...this.#rounded(node, start, end),
        attempts: 0,
        notBefore_ms: 0,
        progress_ms: this.#clock.monotonic_ms(),
        settle: (error) => {
          signal?.removeEventListener('abort', onAbort);
          if (error === null) resolve();
          else reject(error);
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      state.waiters.add(waiter);
      this.#queues[waiter.priority].add(waiter);
      this.#pump();
      this.#watch();
    });
  }

  #rounded(node: Hydratable, start: number, end: number): { from: number; to: number } {
    const limit = fetchable(node);
    if (limit <= this.#limits.wholeFile_bytes) return { from: 0, to: limit };
    const block = this.#limits.block_bytes;
    return { from: Math.floor(start / block) * block, to: Math.min(limit, Math.ceil(end / block) * block) };
  }

  #settle(waiter: Waiter, error: Error | null): void {
    const { state } = waiter;
    if (!state.waiters.delete(waiter)) return;
    this.#queues[waiter.priority].delete(waiter);
    if (error === null) {
      for (const fetch of state.fetches) if (fetch.overlaps(waiter.from, waiter.to)) fetch.served = true;
    }
    this.#forget(state);
    waiter.settle(error);
  }

  #forget(state: FileState): void {
    if (state.waiters.size > 0 || state.fetches.size > 0) return;
    if (this.#states.get(state.node) === state) this.#states.delete(state.node);
  }

  /** A waiter has gone without its bytes: what only it wanted stops. */
  #abortUnwanted(gone: Waiter, why?: CloudError): void {
    for (const fetch of [...gone.state.fetches]) {
      if (fetch.served || !fetch.overlaps(gone.from, gone.to)) continue;
      let wanted = false;
      for (const waiter of gone.state.waiters) wanted ||= fetch.overlaps(waiter.from, waiter.to);
      if (!wanted) this.#abort(gone.state, fetch, why);
    }
    this.#pump();
  }

  /** Releases the waiters whose bytes are all here. */
  #release(state: FileState, start: number, end: number): void {
    const { node } = state;
    for (const waiter of state.waiters) {
      if (waiter.from >= end || waiter.to <= start) continue;
      waiter.attempts = 0;
      waiter.progress_ms = this.#clock.monotonic_ms();
      if (node.extents.covers(waiter.start, Math.min(waiter.end, node.size_bytes))) this.#settle(waiter, null);
    }
  }

  // ---- fetches -------------------------------------------------------------------------------------------------------

  /** Starts what may start. */
  #pump(): void {
    if (this.#pumping || this.#closing.signal.aborted) return;
    this.#pumping = true;
    try {
      const now = this.#clock.monotonic_ms();
      for (const priority of PRIORITIES) {
        const urgent = priority === 'read';
        const total = urgent ? this.#limits.total : Math.max(1, this.#limits.total - this.#limits.reserved);
        const perFile = urgent ? this.#limits.perFile : Math.max(1, this.#limits.perFile - PER_FILE_RESERVED);
        for (const waiter of this.#queues[priority]) {
          if (this.#running >= total) break;
          if (waiter.notBefore_ms > now) continue;
          this.#startFor(waiter, total, perFile);
        }
      }
    } finally {
      this.#pumping = false;
    }
  }

  #startFor(waiter: Waiter, total: number, perFile: number): void {
    const { state } = waiter;
    if (waiter.priority === 'read') this.#takeOver(waiter);
    while (this.#running < total && state.fetches.size < perFile) {
      const gap = this.#nextGap(waiter);
      if (gap === null) break;
      let path: RemotePath;
      try {
        path = state.node.remotePath();
      } catch (error) {
        this.#settle(waiter, toCloudError(error, `reading ${describe(state.node)}`));
        return;
      }
      const before = state.fetches.size;
      const end = Math.min(gap.end, gap.start + this.#requestSize(waiter));
      this.#start(state, waiter.priority, path, { start: gap.start, end });
      if (state.fetches.size > before) continue;
      // Over at once, as read-ahead is where there is no room: trying again at once would never end.
      if (waiter.priority === 'ahead') this.#settle(waiter, new CloudError('no_space', 'read-ahead: there is no room'));
      return;
    }
    // A local truncate or write may have made the waiter's bytes unnecessary or present.
    if (state.fetches.size === 0 && this.#nextGap(waiter) === null) this.#settle(waiter, null);
  }

  /** A program's read is one request. Read-ahead is split so that a young window runs in parallel already: several
   * connections fill a long line sooner than one. */
  #requestSize(waiter: Waiter): number {
    const { request_bytes, block_bytes } = this.#limits;
    if (waiter.priority === 'read') return request_bytes;
    const chunk = Math.min(this.#link.chunk_bytes, request_bytes);
    if (waiter.priority === 'pin') return chunk;
    const part = Math.ceil((waiter.to - waiter.from) / AHEAD_PARTS / block_bytes) * block_bytes;
    return Math.min(chunk, Math.max(part, AHEAD_LEAST_BYTES));
  }

  /** The first range the waiter misses and that no running fetch brings. */
  #nextGap(waiter: Waiter): { start: number; end: number } | null {
    const { node, fetches } = waiter.state;
    const to = Math.min(waiter.to, fetchable(node));
    let at = waiter.from;
    for (;;) {
      const gap = node.extents.firstMissing(at, to);
      if (gap === null) return null;
      let { start, end } = gap;
      let covered = false;
      for (const fetch of fetches) {
        if (fetch.isOver) continue;
        if (fetch.coming <= start && start < fetch.end) {
          start = fetch.end;
          covered = true;
        } else if (fetch.coming > start) end = Math.min(end, fetch.coming);
      }
      if (!covered) return { start, end };
      at = start;
    }
  }

  /** A program needs bytes far inside a running request: that one stops before them, and they get their own. */
  #takeOver(waiter: Waiter): void {
    const { state } = waiter;
    if (state.fetches.size >= this.#limits.perFile || this.#running >= this.#limits.total) return;
    const speed = this.#link.bytesPerSecond;
    for (const fetch of state.fetches) {
      const cut = Math.floor(waiter.start / this.#limits.block_bytes) * this.#limits.block_bytes;
      if (fetch.isOver || cut >= fetch.end || cut <= fetch.at || fetch.etag === null) continue;
      if (state.node.extents.covers(waiter.start, Math.min(waiter.end, fetch.end))) continue;
      const distance = cut - fetch.at;
      const patience = Math.max(PATIENCE_ms, 4 * (this.#link.latency_ms ?? 0));
      const long = speed === null ? distance > 1024 * 1024 : distance / (speed / 1000) > patience;
      if (long) fetch.stopBefore(cut);
    }
  }

  #start(state: FileState, priority: FetchPriority, path: RemotePath, range: ByteRange): void {
    const fetch = new RangeFetch(state.node, priority, path, range, {
      ...this.#services,
      onArrived: (start, end) => this.#release(state, start, end),
      onOver: () => {
        state.fetches.delete(fetch);
        this.#running -= 1;
      },
      onEnded: (failure) => {
        if (failure !== null) this.#failed(state, fetch, failure);
        this.#forget(state);
        this.#pump();
      },
    });
    state.fetches.add(fetch);
    this.#running += 1;
    const run = fetch.run();
    this.#runs.add(run);
    run.finally(() => this.#runs.delete(run)).catch(() => {});
  }

  #abort(state: FileState, fetch: RangeFetch, why?: CloudError): void {
    fetch.abort(why);
    this.#forget(state);
  }

  #failed(state: FileState, fetch: RangeFetch, error: CloudError): void {
    if (error.code === 'stale') {
      this.cancel(state.node, error);
      return;
    }
    const moved = error.code === 'not_found' && isElsewhere(state.node, fetch.path);
    const retry = moved || isCloudError(error, 'network', 'busy_server', 'server', 'timeout');
    if (retry && fetch.at > fetch.start && fetch.etag !== null) return; // it got on: go on from there
    // Read-ahead does not wait for room; a program that counted on it asks for itself, and does.
    const onlyAhead = fetch.priority === 'ahead' && error.code === 'no_space';
    for (const waiter of [...state.waiters]) {
      if (waiter.from >= fetch.end || waiter.to <= fetch.at) continue;
      if (onlyAhead && waiter.priority !== 'ahead') continue;
      waiter.attempts += 1;
      const asked_ms = (error.details.retryAfter_s ?? 0) * 1000;
      // A program is not kept waiting longer than for a server that says nothing.
      const isPatient = waiter.priority !== 'read' || asked_ms <= this.#limits.timeout_ms;
      if (retry && isPatient && waiter.attempts < this.#limits.attempts) this.#backOff(waiter, asked_ms);
      else if (waiter.start < fetch.end && waiter.end > fetch.coming) this.#settle(waiter, error);
      else {
        // Only the rounding failed: what is needed is fetched without it.
        waiter.from = waiter.start;
        waiter.to = waiter.end;
      }
    }
  }

  #backOff(waiter: Waiter, asked_ms: number): void {
    const pause_ms = Math.max(this.#limits.backoff_ms * 2 ** (waiter.attempts - 1), asked_ms);
    waiter.notBefore_ms = this.#clock.monotonic_ms() + pause_ms;
    this.#clock.sleep(pause_ms, this.#closing.signal).then(
      () => {
        waiter.notBefore_ms = 0;
        this.#pump();
      },
      () => {}, // closing
    );
  }

  // ---- bounds --------------------------------------------------------------------------------------------------------

  /** Looks every now and then for fetches and waiters that get nothing; ends when nothing runs. */
  #watch(): void {
    if (this.#watching || this.#closing.signal.aborted) return;
    this.#watching = true;
    this.#clock.sleep(Math.min(1000, this.#limits.timeout_ms / 10), this.#closing.signal).then(
      () => {
        this.#watching = false;
        this.#checkBounds();
        if (this.#states.size > 0) this.#watch();
      },
      () => {
        this.#watching = false;
      },
    );
  }

  #checkBounds(): void {
    const oldest = this.#clock.monotonic_ms() - this.#limits.timeout_ms;
    const late = (node: Hydratable) =>
      new CloudError('timeout', `${describe(node)}: no byte came for ${this.#limits.timeout_ms} ms`);
    for (const state of [...this.#states.values()]) {
      for (const fetch of [...state.fetches]) {
        // While a fetch waits for room in the cache the reservation has its own bound.
        if (fetch.waitsForSpace) {
          for (const waiter of state.waiters) {
            if (fetch.overlaps(waiter.from, waiter.to)) waiter.progress_ms = this.#clock.monotonic_ms();
          }
        } else if (fetch.progress_ms <= oldest) {
          this.#abort(state, fetch, late(state.node));
          for (const waiter of [...state.waiters]) {
            if (fetch.overlaps(waiter.from, waiter.to)) this.#settle(waiter, late(state.node));
          }
        }
      }
      for (const waiter of [...state.waiters]) {
        if (waiter.priority === 'read' && waiter.progress_ms <= oldest) {
          this.#settle(waiter, late(state.node));
          this.#abortUnwanted(waiter, late(state.node));
        }
      }
    }
    this.#pump();
  }
}

/** The bytes a read from the disk brought; null when an eviction or a truncate came in between, which may have left it
 * zeros or the end of the file. */
async function unchanged(node: Hydratable, removals: number, reading: Promise<Buffer>): Promise<Buffer | null> {
  try {
    const bytes = await reading;
    return node.extents.removals === removals ? bytes : null;
  } catch (error) {
    if (node.extents.removals !== removals && isCloudError(error, 'corrupt')) return null;
    throw error;
  }
}

/** Has the server the node at another place than `path`? Not if it has it nowhere. */
function isElsewhere(node: Hydratable, path: RemotePath): boolean {
  try {
    return node.remotePath() !== path;
  } catch {
    return false;
  }
}
