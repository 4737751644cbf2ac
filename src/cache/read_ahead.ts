// Decides what to fetch before it is asked for. Pure: no clock, no I/O. `ReadAhead` watches the reads of one handle and
// recognises streams (several at once, e.g. a player that reads sound and picture from two places): a stream's window
// doubles each time its reader has used half of it, a read elsewhere fetches nothing but itself. `LinkMeter` learns the
// network's latency and speed and says how big one request of a big fetch should be.

import type { ByteRange } from './content/extents.js';

const KiB = 1024;
const MiB = 1024 * KiB;

export class LinkMeter {
  #latency_ms: number | null = null;
  /** Of one connection. */
  #speed_bytes_ms: number | null = null;

  /** One finished (or cut) request: time to its first byte, then how long `bytes` took. */
  record(sample: { readonly latency_ms: number; readonly duration_ms: number; readonly bytes: number }): void {
    if (sample.bytes <= 0) return;
    this.#latency_ms = smooth(this.#latency_ms, Math.max(sample.latency_ms, 0.01));
    // A short body measures buffers, not the line.
    if (sample.bytes >= 64 * KiB && sample.duration_ms > 0) {
      this.#speed_bytes_ms = smooth(this.#speed_bytes_ms, sample.bytes / sample.duration_ms);
    }
  }

  get latency_ms(): number | null {
    return this.#latency_ms;
  }

  get bytesPerSecond(): number | null {
    return this.#speed_bytes_ms === null ? null : this.#speed_bytes_ms * 1000;
  }

  /** Size of one request of a big fetch, a power of two from 1 to 8 MiB: waiting for the first byte shall be at most an
   * eighth of it. 4 MiB until something is known. */
  get chunk_bytes(): number {
    if (this.#latency_ms === null || this.#speed_bytes_ms === null) return 4 * MiB;
    const wanted = 8 * this.#latency_ms * this.#speed_bytes_ms;
    let chunk = MiB;
    while (chunk < wanted && chunk < 8 * MiB) chunk *= 2;
    return chunk;
  }
}

function smooth(old: number | null, sample: number): number {
  return old === null ? sample : old * 0.75 + sample * 0.25;
}

export interface ReadAheadLimits {
  /** Window of a stream when it is recognised (with its second read). Default 256 KiB. */
  readonly first_bytes: number;
  /** Largest window. Default 32 MiB. */
  readonly max_bytes: number;
}

/** One recognised or possible stream. */
interface Stream {
  /** End of the last read that belongs to it. */
  at: number;
  /** Bytes to have ahead of `at`; 0 until the stream has been seen twice. */
  window: number;
  /** Everything before this has been asked for. */
  askedTo: number;
}

const STREAMS = 8;
/** The kernel sends neighbouring requests in any order: a read this near its stream's position still belongs to it. */
const SLACK = MiB;

export class ReadAhead {
  readonly #limits: ReadAheadLimits;
  /** Most recently used first. */
  readonly #streams: Stream[] = [];

  constructor(limits: Partial<ReadAheadLimits> = {}) {
    this.#limits = { first_bytes: 256 * KiB, max_bytes: 32 * MiB, ...limits };
  }

  /** A read of [offset, offset+size) was asked of a file of `fileSize` bytes: what to fetch beyond it, or null. Tell it
   * every read, also those that need nothing: the window moves with the reader. */
  onRead(offset: number, size: number, fileSize: number): ByteRange | null {
    const end = Math.min(offset + size, fileSize);
    if (end <= offset) return null;
    const index = this.#streams.findIndex((stream) => belongs(stream, offset, end));
    const stream = this.#streams[index];
    if (stream === undefined) {
      this.#streams.unshift({ at: end, window: 0, askedTo: end });
      this.#streams.length = Math.min(this.#streams.length, STREAMS);
      return null;
    }
    if (index > 0) {
      this.#streams.splice(index, 1);
      this.#streams.unshift(stream);
    }
    if (end <= stream.at) return null; // again, or a late one: no progress
    const skipped = offset - stream.at > SLACK;
    stream.at = end;
    stream.askedTo = Math.max(stream.askedTo, end);
    if (stream.window === 0) stream.window = this.#limits.first_bytes;
    else if (stream.askedTo - end > stream.window / 2) return null;
    else if (!skipped) stream.window = Math.min(stream.window * 2, this.#limits.max_bytes);
    const target = Math.min(end + stream.window, fileSize);
    if (target <= stream.askedTo) return null;
    const ahead = { start: stream.askedTo, end: target };
    stream.askedTo = target;
    return ahead;
  }
}

/** Forward and without a gap, or inside what a recognised stream has asked for already. */
function belongs(stream: Stream, offset: number, end: number): boolean {
  if (stream.window === 0) return offset === stream.at;
  return offset <= stream.askedTo && end > stream.at - SLACK;
}
