// Where the bytes of files are kept: one sparse file per inode and generation, `xx/INO.GEN` (xx = low byte of the inode
// in hex). A new version on the server is a new generation, so that a handle on the old version never sees the new
// one's bytes. Removing takes the name away at once (by a rename into `.trash`, whose unlink runs on the thread pool);
// open users keep their descriptor. The metadata database says what each file holds, this store does not.

import * as fs from 'node:fs';
import { join } from 'node:path';
import { CloudError, toCloudError } from '../../errors.js';
import type { Ino } from '../../ids.js';
import * as libc from '../../libc.js';
import type { Log } from '../../log.js';
import { ContentFile } from './content_file.js';

export interface StoredContent {
  readonly ino: Ino;
  readonly gen: number;
  readonly size_bytes: number;
  readonly allocated_bytes: number;
}

export type OpenContent =
  /** The file must be there: `corrupt` if it is not (the metadata says that it holds something). */
  | { readonly create: false }
  /** The metadata says that there is none: a leftover of a crash is replaced. The file gets its full (sparse) size. */
  | { readonly create: true; readonly size_bytes: number };

const TRASH = '.trash';
const COPY_BYTES = 1024 * 1024;
/** Up to here to remove a file costs less than to move it and ask a thread to. */
const SMALL_BYTES = 256 * 1024;

export class ContentStore {
  readonly #dir: string;
  readonly #log: Log;
  readonly #open = new Map<string, ContentFile>();
  readonly #pending = new Set<Promise<void>>();
  /** Folders whose own names are durable. */
  readonly #durableFolders = new Set<string>();
  readonly #entrySyncs = new Map<string, { running: Promise<void>; next: Promise<void> | null }>();
  #trashed = 0;

  /** Makes the folder (0700) if needed; what an earlier run left in the trash is unlinked on the thread pool. */
  constructor(options: { readonly dir: string; readonly log: Log }) {
    this.#dir = options.dir;
    this.#log = options.log;
    try {
      fs.mkdirSync(join(this.#dir, TRASH), { recursive: true, mode: 0o700 });
      for (const name of fs.readdirSync(join(this.#dir, TRASH))) this.#bury(join(this.#dir, TRASH, name));
    } catch (error) {
      throw toCloudError(error, `preparing the content folder ${this.#dir}`);
    }
  }

  /** The shared open file of this generation, one user more. Every `open` needs its `close`. */
  open(ino: Ino, gen: number, how: OpenContent = { create: false }): ContentFile {
    const key = keyOf(ino, gen);
    const known = this.#open.get(key);
    if (known !== undefined) return known.retain();
    const path = this.#path(ino, gen);
    const fd = how.create ? this.#create(ino, path, how.size_bytes) : this.#openExisting(ino, gen, path);
    const file: ContentFile = new ContentFile(ino, gen, fd, how.create, {
      syncEntry: () => this.#syncEntry(this.#folder(ino)),
      closed: () => {
        if (this.#open.get(key) === file) this.#open.delete(key);
        this.#close(fd);
      },
    });
    this.#open.set(key, file);
    return file;
  }

  has(ino: Ino, gen: number): boolean {
    return this.#open.has(keyOf(ino, gen)) || fs.existsSync(this.#path(ino, gen));
  }

  isOpen(ino: Ino, gen: number): boolean {
    return this.#open.has(keyOf(ino, gen));
  }

  /** Takes the content, of about so many bytes, away. Open users keep reading and writing theirs until they close; the next
   * `open` of this generation does not see it any more. No error when there is none. */
  remove(ino: Ino, gen: number, size_bytes = Number.POSITIVE_INFINITY): void {
    this.#open.delete(keyOf(ino, gen));
    const path = this.#path(ino, gen);
    try {
      if (size_bytes <= SMALL_BYTES) fs.unlinkSync(path);
      else this.#bury(this.#toTrash(path, `${ino}.${gen}`));
    } catch (error) {
      if (isMissing(error)) return;
      throw toCloudError(error, `removing content ${ino}.${gen}`);
    }
  }

  /** To free the blocks of a big file takes long: it is moved aside, to be unlinked on the thread pool. */
  #toTrash(path: string, name: string): string {
    this.#trashed += 1;
    const grave = join(this.#dir, TRASH, `${name}.${process.pid}.${Date.now()}.${this.#trashed}`);
    fs.renameSync(path, grave);
    return grave;
  }

  /** After a crash: a program that has the content still open for writing, through the mount of the daemon that is gone,
   * goes on doing so without anybody noticing. The content gets a file of its own then, which nobody else has. Returns
   * whether that was so. Waits for the disk. */
  takeFromOthers(ino: Ino, gen: number): boolean {
    const path = this.#path(ino, gen);
    const copy = join(this.#dir, TRASH, `${ino}.${gen}.copy`);
    const from = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
    try {
      if (!libc.isWrittenElsewhere(from)) return false;
      const to = fs.openSync(copy, 'w', 0o600);
      try {
        copySparse(from, to);
        fs.fsyncSync(to);
      } finally {
        fs.closeSync(to);
      }
      fs.renameSync(copy, path);
      syncFolder(this.#folder(ino));
      return true;
    } catch (error) {
      fs.rmSync(copy, { force: true });
      throw toCloudError(error, `taking content ${ino}.${gen} from those who still have it open`);
    } finally {
      fs.closeSync(from);
    }
  }

  /** Bytes taken on the disk (st_blocks), 0 when there is none. */
  usedBytes(ino: Ino, gen: number): number {
    const stat = fs.statSync(this.#path(ino, gen), { throwIfNoEntry: false });
    return stat === undefined ? 0 : stat.blocks * 512;
  }

  /** Every content file on the disk, folder by folder, for `check` and to find what no record knows. */
  async *list(): AsyncGenerator<StoredContent> {
    for (const folder of await fs.promises.readdir(this.#dir)) {
      if (!/^[0-9a-f]{2}$/.test(folder)) continue;
      for (const name of await fs.promises.readdir(join(this.#dir, folder))) {
        const parts = /^([1-9]\d{0,15})\.(\d{1,15})$/.exec(name);
        if (parts === null) continue;
        const stat = await fs.promises.stat(join(this.#dir, folder, name)).catch((error: unknown) => {
          if (isMissing(error)) return null;
          throw toCloudError(error, `listing the content folder ${folder}`);
        });
        if (stat === null) continue;
        yield {
          ino: Number(parts[1]) as Ino,
          gen: Number(parts[2]),
          size_bytes: stat.size,
          allocated_bytes: stat.blocks * 512,
        };
      }
    }
  }

  /** Waits for what runs on the thread pool. Files that are still open stay so. */
  async close(): Promise<void> {
    while (this.#pending.size > 0) await Promise.allSettled(this.#pending);
  }

  #folder(ino: Ino): string {
    return join(this.#dir, (ino % 256).toString(16).padStart(2, '0'));
  }

  #path(ino: Ino, gen: number): string {
    return join(this.#folder(ino), `${ino}.${gen}`);
  }

  #openExisting(ino: Ino, gen: number, path: string): number {
    try {
      return fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NOFOLLOW);
    } catch (error) {
      if (!isMissing(error)) throw toCloudError(error, `opening content ${ino}.${gen}`);
      throw new CloudError('corrupt', `opening content ${ino}.${gen}: required a content file, found none`, {
        cause: error,
      });
    }
  }

  #create(ino: Ino, path: string, size_bytes: number): number {
    const { O_RDWR, O_CREAT, O_EXCL } = fs.constants;
    const flags = O_RDWR | O_CREAT | O_EXCL;
    let fd: number | null = null;
    try {
      try {
        fd = fs.openSync(path, flags, 0o600);
      } catch (error) {
        // Not the folder above it: where that is gone, what is put into a new one is kept for nobody.
        if (isMissing(error)) fs.mkdirSync(this.#folder(ino), { mode: 0o700 });
        // Left by a daemon that was killed. A program of that time may still map it, and must not write into this one.
        else if (isTaken(error) && fs.lstatSync(path).isFile()) fs.unlinkSync(path);
        else throw error;
        fd = fs.openSync(path, flags, 0o600);
      }
      if (size_bytes > 0) fs.ftruncateSync(fd, size_bytes);
      return fd;
    } catch (error) {
      if (fd !== null) fs.closeSync(fd);
      throw toCloudError(error, `creating a content file of ${size_bytes} bytes`);
    }
  }

  #bury(grave: string): void {
    this.#track(
      fs.promises.unlink(grave).catch((error: unknown) => {
        this.#log.warn({ error, grave }, 'removed content could not be unlinked; the next start tries again');
      }),
    );
  }

  #close(fd: number): void {
    // On the thread pool: the last close of an unlinked file frees its blocks, which takes long for a big one.
    this.#track(
      new Promise((resolve) => {
        fs.close(fd, (error) => {
          if (error !== null && error !== undefined) this.#log.warn({ error }, 'closing a content file failed');
          resolve();
        });
      }),
    );
  }

  /** fsync of a folder; callers that come while one runs share the next. */
  #syncEntry(folder: string): Promise<void> {
    const state = this.#entrySyncs.get(folder);
    if (state !== undefined) {
      state.next ??= state.running.then(
        () => this.#syncEntry(folder),
        () => this.#syncEntry(folder),
      );
      return state.next;
    }
    const running = (async () => {
      try {
        for (const dir of this.#durableFolders.has(folder) ? [folder] : [folder, this.#dir]) {
          const handle = await fs.promises.open(dir, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
          try {
            await handle.sync();
          } finally {
            await handle.close();
          }
        }
        this.#durableFolders.add(folder);
      } finally {
        this.#entrySyncs.delete(folder);
      }
    })();
    this.#entrySyncs.set(folder, { running, next: null });
    return running;
  }

  #track(work: Promise<void>): void {
    this.#pending.add(work);
    const done = () => this.#pending.delete(work);
    work.then(done, done);
  }
}

/** All bytes of one file into an empty one; holes stay holes. */
function copySparse(from: number, to: number): void {
  const { size } = fs.fstatSync(from);
  fs.ftruncateSync(to, size);
  const buffer = Buffer.allocUnsafe(COPY_BYTES);
  for (
    let at = libc.seekDataHole(from, 0, 'data');
    at !== null && at < size;
    at = libc.seekDataHole(from, at, 'data')
  ) {
    const end = Math.min(libc.seekDataHole(from, at, 'hole') ?? size, size);
    while (at < end) {
      const read = fs.readSync(from, buffer, 0, Math.min(buffer.length, end - at), at);
      if (read === 0) return; // cut short meanwhile
      fs.writeSync(to, buffer, 0, read, at);
      at += read;
    }
  }
}

function syncFolder(folder: string): void {
  const fd = fs.openSync(folder, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function keyOf(ino: Ino, gen: number): string {
  return `${ino}.${gen}`;
}

function isTaken(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'EEXIST';
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
}
