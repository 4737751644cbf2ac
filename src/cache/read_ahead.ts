import type { ByteRange } from './content/extents.js';

/** What the network does for us: learned from fetches, used to choose the size of requests. */
export declare class LinkMeter {
  /** One finished (or cut) request: time to the first byte, then `bytes` in `duration_ms`. */
  record(sample: { readonly latency_ms: number; readonly duration_ms: number; readonly bytes: number }): void;
  /** Size of one request of a big fetch: 1 to 8 MiB, so that waiting for its first byte is a small part of it. */
  get chunk_bytes(): number;
}

export interface ReadAheadLimits {
  /** Default 256 KiB. */
  readonly first_bytes: number;
  /** Default 32 MiB. */
  readonly max_bytes: number;
}

/** One per open handle (or per inode): sees every read, says what to fetch ahead. Pure. */
export declare class ReadAhead {
  constructor(limits?: Partial<ReadAheadLimits>);
  /** A read of [offset, offset+size) was asked. Returns the range to fetch ahead of it (beyond the read itself), or null. */
  onRead(offset: number, size: number, fileSize: number): ByteRange | null;
}
