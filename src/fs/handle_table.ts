// Open files, and what the kernel may do with their pages. Directories have no handles: to list one takes no state.
//
// Per inode, all opens agree on one way of I/O, chosen by the first and kept until the last release:
//   passthrough  the kernel reads and writes the content file itself (one backing id for all opens);
//   cached       the kernel keeps pages, all of ONE data version. An open that finds the same version keeps them across
//                opens (FOPEN_KEEP_CACHE); one that finds another version while older handles are open reads around
//                the page cache (FOPEN_DIRECT_IO), so that no reader ever sees two versions mixed.

import type { OpenFile } from '../cache/cache_api.js';
import { CloudError } from '../errors.js';
import type { HandleId, Ino } from '../ids.js';
import type { BackingFiles } from './passthrough.js';
import { Fopen } from './wire/flags.js';
import type { OpenReply } from './wire/ops.js';

export interface FileHandle {
  readonly ino: Ino;
  readonly file: OpenFile;
  readonly writable: boolean;
  readonly io: 'passthrough' | 'cached' | 'direct';
}

type InodeIo =
  | { readonly kind: 'passthrough'; readonly backingId: number; opens: number; writers: number }
  /** `opens` may be 0: then `version` is that of the pages the kernel may still hold. */
  | { readonly kind: 'cached'; version: number; opens: number };

export interface FileOpening {
  readonly file: OpenFile;
  readonly writable: boolean;
  /** Version of the bytes this handle reads, taken after the open. */
  readonly dataVersion: number;
  /** False where the kernel must not write by itself, because something has to happen on each write. */
  readonly mayPassThrough: boolean;
}

export class HandleTable {
  readonly #backing: BackingFiles;
  readonly #handles = new Map<HandleId, FileHandle>();
  readonly #io = new Map<Ino, InodeIo>();
  #next = 1;

  constructor(backing: BackingFiles) {
    this.#backing = backing;
  }

  get size(): number {
    return this.#handles.size;
  }

  openFile(opening: FileOpening): OpenReply {
    const { file, writable } = opening;
    const handle = this.#allocate();
    // Who only reads has nothing to be told at close(2), and would wait for it with every file.
    const noFlush = writable ? 0 : Fopen.NOFLUSH;
    const passthrough = this.#passthrough(opening);
    if (passthrough !== null) {
      this.#handles.set(handle, { ino: file.ino, file, writable, io: 'passthrough' });
      return { handle, flags: Fopen.PASSTHROUGH | noFlush, backingId: passthrough };
    }
    const { io, flags } = this.#cached(file.ino, opening.dataVersion);
    this.#handles.set(handle, { ino: file.ino, file, writable, io });
    return { handle, flags: flags | noFlush, backingId: 0 };
  }

  #passthrough({ file, writable, mayPassThrough }: FileOpening): number | null {
    const io = this.#io.get(file.ino);
    if (io?.kind === 'passthrough') {
      io.opens += 1;
      if (writable) io.writers += 1;
      return io.backingId;
    }
    if (!mayPassThrough || (io !== undefined && io.opens > 0)) return null;
    const fd = file.passthroughFd();
    if (fd === null) return null;
    const backingId = this.#backing.open(fd);
    if (backingId === null) return null;
    this.#io.set(file.ino, { kind: 'passthrough', backingId, opens: 1, writers: writable ? 1 : 0 });
    return backingId;
  }

  #cached(ino: Ino, version: number): { io: 'cached' | 'direct'; flags: number } {
    const io = this.#io.get(ino);
    if (io?.kind !== 'cached') {
      this.#io.set(ino, { kind: 'cached', version, opens: 1 });
      return { io: 'cached', flags: 0 };
    }
    if (io.version === version) {
      io.opens += 1;
      return { io: 'cached', flags: Fopen.KEEP_CACHE };
    }
    if (io.opens > 0) return { io: 'direct', flags: Fopen.DIRECT_IO };
    io.version = version;
    io.opens = 1;
    return { io: 'cached', flags: 0 };
  }

  #allocate(): HandleId {
    return this.#next++ as HandleId;
  }

  /** Throws `stale` if there is no such open file. */
  file(id: HandleId): FileHandle {
    const handle = this.#handles.get(id);
    if (handle === undefined) throw new CloudError('stale', `no open file has the handle ${id}`);
    return handle;
  }

  /** RELEASE, or an OPEN whose answer did not arrive. */
  release(id: HandleId): void {
    const handle = this.#handles.get(id);
    if (handle === undefined) return;
    this.#handles.delete(id);
    const io = this.#io.get(handle.ino);
    if (io !== undefined && handle.io === io.kind) {
      io.opens -= 1;
      if (io.kind === 'passthrough') {
        if (handle.writable) io.writers -= 1;
        if (io.opens === 0) {
          this.#io.delete(handle.ino);
          this.#backing.close(io.backingId);
        }
      }
    }
    handle.file.release();
  }

  /** The connection is gone: the kernel will release nothing any more. */
  releaseAll(): void {
    for (const id of [...this.#handles.keys()]) this.release(id);
  }

  /**
   * Bytes were changed through the kernel (write, truncate, fallocate), which keeps its pages right by itself: they now
   * are of version `after`, if they were of version `before`.
   */
  pagesFollow(ino: Ino, before: number, after: number): void {
    const io = this.#io.get(ino);
    if (io?.kind === 'cached' && io.version === before) io.version = after;
  }

  /** The kernel dropped the inode and with it its pages. */
  forget(ino: Ino): void {
    const io = this.#io.get(ino);
    if (io?.kind === 'cached' && io.opens === 0) this.#io.delete(ino);
  }

  /** Does the kernel write this file by itself, so that its attributes must be asked for each time? */
  isWrittenByKernel(ino: Ino): boolean {
    const io = this.#io.get(ino);
    return io?.kind === 'passthrough' && io.writers > 0;
  }

  /** Open files by way of I/O, for the status. */
  counts(): Record<FileHandle['io'], number> {
    const counts = { passthrough: 0, cached: 0, direct: 0 };
    for (const handle of this.#handles.values()) counts[handle.io] += 1;
    return counts;
  }
}
