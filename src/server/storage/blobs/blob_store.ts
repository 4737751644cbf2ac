// Where file contents live, as an interface made for a local folder and for S3. Contents are immutable and named by
// their SHA-256; the database is the arbiter of what is used (scale.md): bytes first, metadata second, orphans later.

import type { ByteSource } from '../byte_source.js';

export interface StoredBlob {
  readonly sha256: string; // hex, lower case
  readonly size_bytes: number;
}

export interface BlobInfo extends StoredBlob {
  readonly modified_ms: number;
}

export interface BlobPin extends StoredBlob {
  /** The metadata that refers to the blob is committed (or given up): the collector may judge it again. */
  release(): void;
}

export interface PutOptions {
  readonly signal?: AbortSignal | undefined;
  /** Sees every byte in order, once; to compute further checksums on the way. */
  readonly tap?: ((chunk: Buffer) => void) | undefined;
}

export type ChunkTaker = (chunk: Buffer) => Promise<void>;

/** Bytes of a blob that is known to be there, for a socket. */
export interface OpenBlob {
  readonly size_bytes: number;
  /** Bytes [start, end) in order. Errors with `corrupt` if the stored bytes end before that. */
  stream(start: number, end: number): AsyncIterable<Buffer>;
  /** The same bytes without allocating: each chunk is the taker's only until its promise resolves. One is read ahead. */
  send(start: number, end: number, taker: ChunkTaker): Promise<void>;
  /** Where the bytes are a local file: its descriptor, until `close`. */
  readonly fd: number | null;
  close(): Promise<void>;
}

export interface BlobStore {
  /** Takes the stream to its end; the blob exists afterwards, whole and durable, or not at all. Rejects with `no_space`
   * when the disk is full. The result is pinned against the collector until `release`. */
  put(source: ByteSource, options?: PutOptions): Promise<BlobPin>;
  /** Takes over a finished local file (it is moved, not copied; the caller has fsynced it and vouches for the hash).
   * Implementations without a local folder upload it and remove it. */
  adopt(path: string, blob: StoredBlob): Promise<BlobPin>;
  /** Rejects with `not_found`. */
  open(sha256: string): Promise<OpenBlob>;
  has(sha256: string): Promise<boolean>;
  /** No error if it is gone already. Refuses (false) what is pinned, and what was stored (again) at or after
   * `before_ms`: the caller's judgement is older than those bytes. */
  delete(sha256: string, before_ms?: number): Promise<boolean>;
  /** Everything stored, in no particular order. */
  list(): AsyncIterable<BlobInfo>;
  /** Bytes that still fit, null = without a known end. May be some seconds old. */
  free(): Promise<number | null>;
  /** Asked before so many bytes of content are written, and with 0 before the database is to hold more than before. Rejects
   * with `no_space` where that would leave it none: without it nobody could remove anything. What only changes what is
   * there (`change`: a move) may go somewhat further, as it may be what stands before a removal. */
  demandRoom(bytes: number, use?: 'new' | 'change'): Promise<void>;
  /** A name for a temporary file on the same file system as the blobs, cleared at the next start. */
  temporaryPath(): string;
  close(): Promise<void>;
}
