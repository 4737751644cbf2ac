// The bytes of one node while somebody uses them: an open handle, a fetch, an upload. One object per inode; it joins the
// record (sizes, ETag), the content file, the extents and the block sums, and knows who uses it.

import type { Timestamp } from '../clock.js';
import type { Ino, RemotePath } from '../ids.js';
import type { BlockSums } from './content/block_sums.js';
import type { ContentFile } from './content/content_file.js';
import type { ExtentSet } from './content/extents.js';
import type { NodeRecord } from './metadata/node.js';
import type { Hydratable } from './range_fetch.js';

/** The content file as it was when the kernel was allowed to write it, or when it was last looked at. */
export interface KernelWrites {
  readonly size_bytes: number;
  readonly mtime_ns: bigint;
  /** The file's time in the record at the beginning; null once it is known that something was written. */
  readonly untouchedSince: Timestamp | null;
}

/** How the handles of this inode reach the bytes: decided by the first one, kept until the last one closes. */
export type AccessPath = 'undecided' | 'cached' | 'passthrough';

export class ActiveContent implements Hydratable {
  readonly node: NodeRecord;
  readonly gen: number;
  readonly file: ContentFile;
  readonly extents: ExtentSet;
  readonly sums: BlockSums;
  readonly #pathOf: (node: NodeRecord) => RemotePath;
  /** Handles, uploads, pins: what keeps this object alive. */
  users = 0;
  handles = 0;
  writers = 0;
  access: AccessPath = 'undecided';
  /** Moves with every local change of the bytes; an upload that sees it move has sent a mixture. */
  writeSeq = 0;
  lastWrite_ms = 0;
  /** Moves when the server does not let the user change this file any more: handles opened before fail. */
  revoked = 0;
  /** Somebody waits for the server to have it (write-through): send although it is still open. */
  sendNow = false;
  /** Extents or size changed since the row was written. */
  unsaved = false;
  /** Saves begun, and the latest of them that the row shows: an earlier one that ends later must not undo it. */
  savesBegun = 0;
  saveShown = 0;
  /** Its sums are being taken. */
  summing = false;
  /** A truncate to this size is about to happen: the row must not claim anything beyond. */
  cutting_bytes: number | null = null;
  /** What the record said before that, should it not happen. */
  uncut: Pick<NodeRecord, 'cut_bytes' | 'torn' | 'cutting' | 'extents'> | null = null;
  /** Bytes this content has in the space budget. */
  accounted_bytes: number;
  /** Where handles read last, for partial eviction. */
  readonly positions = new Map<object, number>();
  /** While the kernel may write the content file by itself. */
  kernelWrites: KernelWrites | null = null;

  /** What is missing is being taken from another version, and no extent says yet how far. */
  completing = false;

  #announced = 0;

  constructor(
    node: NodeRecord,
    file: ContentFile,
    extents: ExtentSet,
    sums: BlockSums,
    pathOf: (node: NodeRecord) => RemotePath,
  ) {
    this.node = node;
    this.gen = node.gen;
    this.file = file;
    this.extents = extents;
    this.sums = sums;
    this.#pathOf = pathOf;
    this.accounted_bytes = node.cached_bytes;
  }

  get ino(): Ino {
    return this.node.ino;
  }

  get size_bytes(): number {
    return this.node.size_bytes;
  }

  /** What the server's version has; bytes beyond exist only here. */
  get remoteSize_bytes(): number {
    return remoteSizeOf(this.node);
  }

  get etag(): string | null {
    return this.node.baseEtag;
  }

  /** Whoever has written will write on: what is not here by then must be brought back before it can be sent. */
  get isBeingWritten(): boolean {
    return this.writers > 0 && this.writeSeq > 0;
  }

  /** The kernel reads the content file by itself: for a handle, or for a mapping that has outlasted it (also one that was made
   * through a drive that is gone). What it reads must stay where it is. */
  get isReadByKernel(): boolean {
    return this.access === 'passthrough' || this.file.isHeldElsewhere();
  }

  get complete(): boolean {
    return this.extents.isComplete(this.node.size_bytes);
  }

  /** Nobody can say what the bytes are: the kernel may write them by itself, or a truncate or a write is about to happen. */
  get changing(): boolean {
    return this.kernelWrites !== null || this.cutting_bytes !== null || this.completing || this.#announced > 0;
  }

  /** A write waits until the disk has its record: what goes on meanwhile must not take the bytes for settled, and what has
   * begun before not for those of then. Settles as `recorded`. */
  announce(recorded: Promise<void>): Promise<void> {
    this.#announced += 1;
    this.writeSeq += 1;
    return recorded.finally(() => {
      this.#announced -= 1;
    });
  }

  /** To be asked later: are the bytes still those of now? */
  snapshot(): () => boolean {
    const { writeSeq, size_bytes } = this;
    return () => !this.changing && this.writeSeq === writeSeq && this.size_bytes === size_bytes;
  }

  remotePath(): RemotePath {
    return this.#pathOf(this.node);
  }

  /** Bytes [start, end) now exist here only. */
  wrote(start: number, end: number, now_ms: number): void {
    this.extents.insertDirty(start, end);
    this.sums.forget(start, end);
    this.writeSeq += 1;
    this.lastWrite_ms = now_ms;
    this.unsaved = true;
  }
}

/** How much of the server's version still counts here. */
export function remoteSizeOf(node: NodeRecord): number {
  const base_bytes = node.baseSize_bytes ?? 0;
  return node.contentDirty && node.cut_bytes !== null ? Math.min(base_bytes, node.cut_bytes) : base_bytes;
}

/** What the budget counts for content that takes `allocated_bytes` on the disk: holes are free, and what the file system
 * allocates ahead is not ours. */
export function countedBytes(allocated_bytes: number, extents: ExtentSet): number {
  return Math.min(allocated_bytes, extents.presentBytes + BLOCK_SLACK_BYTES);
}

/** Can all of it be here at once? What is not sent yet cannot go, and is sent as a whole. */
export function fitsWith(
  { accounted_bytes }: Pick<ActiveContent, 'accounted_bytes'>,
  missing_bytes: number,
  limit_bytes: number,
): boolean {
  return missing_bytes <= 0 || missing_bytes + accounted_bytes <= limit_bytes;
}

const BLOCK_SLACK_BYTES = 128 * 1024;
