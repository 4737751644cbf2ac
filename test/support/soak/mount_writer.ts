// One program that writes on a mount: appends to files that everybody appends to, makes files, saves a document the way
// editors do, changes parts of larger files, renames folders, removes what it made. What comes back with an error was not
// promised; what returns from fsync is entered into the ledger.

import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { FsError, type FsProcess } from '../fs_process.js';
import { Random } from '../random.js';
import type { Ledger } from './ledger.js';

export const SHARED_FILES = 4;
const BLOB_BYTES = 600_000;

export class MountWriter {
  readonly #name: string;
  readonly #dir: string;
  readonly #fs: FsProcess;
  readonly #ledger: Ledger;
  readonly #random: Random;
  readonly #document: string[] = [];
  readonly #made: { path: string; lines: string[] }[] = [];
  readonly #blobs = new Map<string, Buffer>();
  #folder: string | null = null;
  #count = 0;

  constructor(name: string, dir: string, fs: FsProcess, ledger: Ledger, seed: number) {
    this.#name = name;
    this.#dir = dir;
    this.#fs = fs;
    this.#ledger = ledger;
    this.#random = new Random(seed);
  }

  async run(stop: AbortSignal): Promise<void> {
    const acts: readonly (readonly [number, () => Promise<void>])[] = [
      [6, () => this.#append()],
      [4, () => this.#make()],
      [3, () => this.#save()],
      [1, () => this.#blob()],
      [2, () => this.#changeBlob()],
      [1, () => this.#renameFolder()],
      [1, () => this.#remove()],
    ];
    while (!stop.aborted) {
      this.#ledger.operations += 1;
      try {
        await this.#random.weighted(acts)();
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        this.#ledger.refused += 1;
        await pause(200);
      }
      await pause(this.#random.below(60));
    }
  }

  async #write(path: string, flags: string, text: string | Buffer, offset?: number): Promise<void> {
    const fd = await this.#fs.open(path, flags);
    try {
      const written = offset === undefined ? await this.#fs.write(fd, text) : await this.#fs.pwrite(fd, text, offset);
      // A failure behind the first mebibyte shows as a short count.
      if (written !== Buffer.byteLength(text)) throw new FsError('EIO', `writing ${path}: ${written} bytes were taken`);
      await this.#fs.fsync(fd);
    } finally {
      await this.#fs.close(fd).catch(() => undefined);
    }
  }

  async #append(): Promise<void> {
    const line = this.#ledger.line(this.#name);
    const path = `${this.#dir}/shared-${this.#random.below(SHARED_FILES)}`;
    await this.#write(path, 'O_WRONLY|O_APPEND|O_CREAT', line);
    this.#ledger.acknowledge(`appended to ${path}`, line);
  }

  async #make(): Promise<void> {
    const lines = Array.from({ length: 1 + this.#random.below(40) }, () => this.#ledger.line(this.#name));
    this.#count += 1;
    const path = `${this.#folder ?? this.#dir}/${this.#name}-${this.#count}`;
    await this.#write(path, 'O_WRONLY|O_CREAT|O_EXCL', lines.join(''));
    this.#ledger.acknowledge(`written into the new ${path}`, ...lines);
    if (this.#folder === null) this.#made.push({ path, lines });
  }

  /** As editors do: all of it into a temporary file, then over the old one. */
  async #save(): Promise<void> {
    const line = this.#ledger.line(this.#name);
    this.#document.push(line);
    const path = `${this.#dir}/document-${this.#name}`;
    await this.#write(`${path}.tmp`, 'O_WRONLY|O_CREAT|O_TRUNC', this.#document.join(''));
    await this.#fs.rename(`${path}.tmp`, path);
    this.#ledger.acknowledge(`saved in ${path}`, line);
  }

  async #blob(): Promise<void> {
    if (this.#blobs.size >= 3) return this.#changeBlob();
    const content = randomBytes(BLOB_BYTES + this.#random.below(BLOB_BYTES));
    this.#count += 1;
    const path = `${this.#dir}/blob-${this.#name}-${this.#count}.bin`;
    await this.#write(path, 'O_WRONLY|O_CREAT|O_EXCL', content);
    this.#blobs.set(path, content);
    this.#ledger.blobIs(this.#remote(path), content);
  }

  async #changeBlob(): Promise<void> {
    const path = this.#random.pick([...this.#blobs.keys()]);
    const old = path === undefined ? undefined : this.#blobs.get(path);
    if (path === undefined || old === undefined) return;
    const at = this.#random.below(old.length - 5000);
    const part = randomBytes(1 + this.#random.below(5000));
    const content = Buffer.from(old);
    part.copy(content, at);
    this.#ledger.blobWill(this.#remote(path), at, part);
    try {
      await this.#write(path, 'O_WRONLY', part, at);
    } catch (error) {
      this.#blobs.delete(path); // there, or not, or in part; not touched any more
      throw error;
    }
    this.#blobs.set(path, content);
    this.#ledger.blobIs(this.#remote(path), content);
  }

  async #renameFolder(): Promise<void> {
    this.#count += 1;
    const next = `${this.#dir}/folder-${this.#name}-${this.#count}`;
    const old = this.#folder;
    this.#folder = null; // where it is after an error nobody needs to know: its files are found by their lines
    if (old === null) await this.#fs.mkdir(next);
    else await this.#fs.rename(old, next);
    this.#folder = next;
  }

  async #remove(): Promise<void> {
    const made = this.#made.shift();
    if (made === undefined) return;
    this.#ledger.retract(...made.lines);
    await this.#fs.unlink(made.path);
  }

  #remote(path: string): string {
    return `soak/${path.slice(this.#dir.length + 1)}`;
  }
}
