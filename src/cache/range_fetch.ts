// One ranged request on its way from the server into a content file.
//
// Bytes are written as they arrive, synchronously and only where nothing is present at that moment: check, write and
// extent are one step of the event loop, so a fetched byte can never land on one that was written here.

import type { Clock } from '../clock.js';
import { CloudError, toCloudError } from '../errors.js';
import type { Ino, RemotePath } from '../ids.js';
import { isPromise, type MaybePromise } from '../maybe_promise.js';
import type { Remote } from '../remote/remote.js';
import { type BlockSums, RunningSum, SUM_BLOCK_BYTES } from './content/block_sums.js';
import type { ContentFile } from './content/content_file.js';
import type { ExtentSet } from './content/extents.js';
import type { LinkMeter } from './read_ahead.js';

/** What the hydrator needs of a file: one generation, so one version of its bytes. The fields are read anew each time. */
export interface Hydratable {
  readonly ino: Ino;
  readonly gen: number;
  /** Size of the file as the drive shows it now (a local truncate or write may have changed it). */
  readonly size_bytes: number;
  /** Size of the version `etag` on the server: nothing beyond is ever asked for. */
  readonly remoteSize_bytes: number;
  /** May change within a generation only when the bytes do not. Null = the server has none: then a range counts only
   * when it came whole in one answer. */
  readonly etag: string | null;
  readonly extents: ExtentSet;
  readonly sums: BlockSums;
  readonly file: ContentFile;
  /** Where that version is on the server now. */
  remotePath(): RemotePath;
}

/** Who waits: a program, its read-ahead, or a pin. In this order of urgency. */
export type FetchPriority = 'read' | 'ahead' | 'pin';

/** Where fetched bytes may go: part of `SpaceBudget`. */
export interface FetchSpace {
  reserve(bytes: number, options: { readonly signal: AbortSignal; readonly wait: boolean }): MaybePromise<void>;
  refund(bytes: number): void;
}

export interface FetchServices {
  readonly remoteRead: Remote['read'];
  readonly clock: Clock;
  readonly space: FetchSpace | null;
  readonly link: LinkMeter;
  readonly onReceived: (bytes: number) => void;
  /** Bytes [start, end) of `node` have just become present. Must not throw. */
  readonly onProgress: (node: Hydratable, start: number, end: number) => void;
  /** All of [start, end) has come; who waits for it can go on. */
  readonly onArrived: (start: number, end: number) => void;
  /** It wants nothing more: its slot is free. Once. */
  readonly onOver: () => void;
  /** It has let go of everything. `failure`: what those who wait for it are to know; null where all came, or it was
   * aborted. In one step with `onOver` where that comes last: nobody takes the free slot before the failure counts. */
  readonly onEnded: (failure: CloudError | null) => void;
}

export class RangeFetch {
  readonly node: Hydratable;
  readonly priority: FetchPriority;
  readonly start: number;
  readonly etag: string | null;
  readonly path: RemotePath;
  /** Somebody got bytes from it: worth finishing although nobody waits now. */
  served = false;
  progress_ms: number;
  readonly #s: FetchServices;
  readonly #requestedEnd: number;
  readonly #gen: number;
  readonly #file: ContentFile;
  readonly #controller = new AbortController();
  readonly #sum = new RunningSum();
  /** Where it stops: less than what was requested after a more urgent fetch took the rest over. */
  #end: number;
  /** Next byte to arrive. */
  #at: number;
  #phase: 'space' | 'running' | 'over' = 'space';
  #stored = 0;

  /** Of the bytes [start, end) of the version that `node` has now. */
  constructor(
    node: Hydratable,
    priority: FetchPriority,
    path: RemotePath,
    range: { readonly start: number; readonly end: number },
    services: FetchServices,
  ) {
    this.node = node;
    this.priority = priority;
    this.path = path;
    this.start = range.start;
    this.#requestedEnd = range.end;
    this.#end = range.end;
    this.#at = range.start;
    this.#gen = node.gen;
    this.etag = node.etag;
    this.#file = node.file.retain();
    this.#s = services;
    this.progress_ms = services.clock.monotonic_ms();
  }

  get end(): number {
    return this.#end;
  }

  /** Next byte to arrive. */
  get at(): number {
    return this.#at;
  }

  get isOver(): boolean {
    return this.#phase === 'over';
  }

  /** Waits for room in the cache: the reservation has a bound of its own. */
  get waitsForSpace(): boolean {
    return this.#phase === 'space';
  }

  /** First byte it will still make present: without a version nothing counts before the end. */
  get coming(): number {
    return this.etag === null ? this.start : this.#at;
  }

  overlaps(start: number, end: number): boolean {
    return this.coming < end && this.#end > start;
  }

  /** Leaves everything from `at` on to another fetch. */
  stopBefore(at: number): void {
    this.#end = at;
  }

  /** Nobody wants it any more, or `why`: what asks the server finds it as the signal's reason. What still arrives is refused. */
  abort(why = new CloudError('interrupted', `${describe(this.node)}: nobody waits for it`)): void {
    this.#over();
    this.#controller.abort(why);
  }

  /** Resolves when it has ended. */
  async run(): Promise<void> {
    const { clock, space, link, remoteRead } = this.#s;
    const { signal } = this.#controller;
    const bytes = this.#end - this.start;
    let reserved = 0;
    let failure: CloudError | null = null;
    let sinkFailure: unknown;
    const started_ms = clock.monotonic_ms();
    let first_ms: number | null = null;
    try {
      if (space !== null) {
        const room = space.reserve(bytes, { signal, wait: this.priority !== 'ahead' });
        if (isPromise(room)) await room;
        reserved = bytes;
      }
      if (signal.aborted) throw new CloudError('interrupted', `${describe(this.node)}: nobody waits for it`);
      this.#phase = 'running';
      this.progress_ms = clock.monotonic_ms();
      const sink = (chunk: Buffer, offset: number): void => {
        first_ms ??= clock.monotonic_ms();
        try {
          this.#arrived(chunk, offset);
        } catch (error) {
          sinkFailure ??= error;
          throw error;
        }
      };
      await remoteRead(this.path, { start: this.start, end: this.#requestedEnd }, this.etag, sink, { signal });
      if (this.#phase === 'running' && this.#at < this.#end) {
        failure = new CloudError(
          'protocol',
          `${describe(this.node)}: required bytes up to ${this.#end}, found the end of the answer at ${this.#at}`,
        );
      }
    } catch (error) {
      failure = toCloudError(sinkFailure ?? error, describe(this.node));
    }
    const complete = this.#at >= this.#end;
    const wanted = !this.isOver;
    if (complete && wanted && this.etag === null) this.#keepUnverified();
    this.#sumEdges();
    space?.refund(reserved - this.#stored);
    if (first_ms !== null) {
      const duration_ms = clock.monotonic_ms() - first_ms;
      link.record({ latency_ms: first_ms - started_ms, duration_ms, bytes: this.#at - this.start });
    }
    this.#over();
    this.#file.close();
    this.#s.onEnded(wanted && !complete ? failure : null);
  }

  #over(): void {
    if (this.#phase === 'over') return;
    this.#phase = 'over';
    this.#s.onOver();
  }

  #arrived(chunk: Buffer, offset: number): void {
    const { node } = this;
    if (this.isOver) throw new CloudError('interrupted', `${describe(node)}: nobody waits for it`);
    if (offset !== this.#at || offset + chunk.length > this.#requestedEnd) {
      throw new CloudError(
        'protocol',
        `${describe(node)}: required bytes from ${this.#at} to ${this.#requestedEnd}, found ${chunk.length} bytes at ${offset}`,
      );
    }
    if (node.gen !== this.#gen) {
      throw new CloudError('stale', `${describe(node)}: another version took its place while it was fetched`);
    }
    if (node.etag !== this.etag) {
      // The same bytes under a new ETag, says the owner: what is still missing is asked for under that one.
      this.abort();
      throw new CloudError('interrupted', `${describe(node)}: its ETag changed while it was fetched`);
    }
    const end = Math.min(offset + chunk.length, this.#end);
    this.progress_ms = this.#s.clock.monotonic_ms();
    this.#s.onReceived(chunk.length);
    this.#store(chunk, offset, Math.min(end, fetchable(node)));
    this.#at = end;
    this.#s.onArrived(offset, end);
    if (this.#at < this.#requestedEnd && this.#at >= Math.min(this.#end, fetchable(node))) {
      // The rest was taken over, or cut off by a local truncate: done early.
      this.#end = this.#at = Math.min(this.#end, this.#at);
      this.#controller.abort(new CloudError('interrupted', `${describe(node)}: the rest is not needed`));
    }
  }

  #store(chunk: Buffer, offset: number, end: number): void {
    const { node } = this;
    if (end <= offset) return;
    for (const gap of node.extents.missing(offset, end)) {
      const bytes = chunk.subarray(gap.start - offset, gap.end - offset);
      this.#file.write(gap.start, bytes);
      if (this.etag === null) continue; // counts when the whole range has come
      this.#present(gap.start, gap.end);
      this.#sum.feed(gap.start, bytes, node.remoteSize_bytes, (block, crc, length) => {
        const start = block * SUM_BLOCK_BYTES;
        // A write may have changed an earlier part of the block meanwhile.
        if (
          node.extents.covers(start, start + length) &&
          node.extents.dirtyWithin(start, start + length).length === 0
        ) {
          node.sums.set(block, crc, length);
        }
      });
    }
  }

  #present(start: number, end: number): void {
    this.node.extents.insert(start, end);
    this.#stored += end - start;
    this.#s.onProgress(this.node, start, end);
  }

  /** Blocks that came in pieces, by this fetch and another: summed from what has just been written. */
  #sumEdges(): void {
    const { extents, sums, remoteSize_bytes, gen } = this.node;
    if (this.#stored === 0 || gen !== this.#gen) return;
    for (const at of [this.start, this.#at - 1]) {
      const block = Math.floor(at / SUM_BLOCK_BYTES);
      const start = block * SUM_BLOCK_BYTES;
      const end = Math.min(start + SUM_BLOCK_BYTES, remoteSize_bytes);
      if (end <= start || sums.get(block) !== undefined || !extents.covers(start, end)) continue;
      if (extents.dirtyWithin(start, end).length > 0) continue;
      const bytes = this.#file.readWarm(start, end - start);
      if (bytes !== null) sums.record(block, bytes);
    }
  }

  /** A server without ETags: the range counts only because all of it came in one answer. */
  #keepUnverified(): void {
    const { node } = this;
    if (node.gen !== this.#gen || node.etag !== this.etag) return;
    for (const gap of node.extents.missing(this.start, Math.max(this.start, Math.min(this.#end, fetchable(node))))) {
      this.#present(gap.start, gap.end);
    }
    this.#s.onArrived(this.start, this.#end);
  }
}

/** End of what can be fetched: a local truncate hides the rest of the server's version for good. */
export function fetchable(node: Hydratable): number {
  return Math.min(node.size_bytes, node.remoteSize_bytes);
}

export function describe(node: Hydratable): string {
  return `fetching inode ${node.ino} (version ${node.etag ?? 'unknown'})`;
}
