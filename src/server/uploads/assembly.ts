// Chunks into one file. The whole must be hashed and laid down as one blob; doing that when the client says "done" keeps
// it waiting for minutes on a big file (and proxies give up after one). So it is done as the chunks arrive: whatever
// certainly follows what is assembled already is appended at once, and the end has only the last chunk to add. If a
// chunk that was used is sent again, the assembly starts over: what counts is the folder, this is only work done ahead.
// A chunk that is all of the file is not copied at all.

import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { CloudError } from '../../errors.js';
import { ChecksumVerifier, type parseChecksums } from '../dav/checksum.js';
import { SYNC_BYTES } from '../storage/file_writes.js';
import type { Chunk, UploadFolder } from './upload_folder.js';

export interface Assembled {
  /** A synced file, handed over. */
  readonly path: string;
  readonly sha256: string;
  readonly size_bytes: number;
}

type Expected = ReturnType<typeof parseChecksums>;

const READ_BYTES = 512 * 1024;

export class Assembly {
  readonly #folder: UploadFolder;
  readonly #path: string;
  readonly #room: (bytes: number) => Promise<void>;
  #file: FileHandle | null = null;
  #used: Chunk[] = [];
  #size_bytes = 0;
  #unsynced_bytes = 0;
  #sha256: Hash = createHash('sha256');
  #sha1: Hash = createHash('sha1');
  #queue: Promise<unknown> = Promise.resolve();
  #ended = false;

  /** `path`: a free name on the file system of the blobs. `room`: as in `writeStream`. */
  constructor(folder: UploadFolder, path: string, room: (bytes: number) => Promise<void>) {
    this.#folder = folder;
    this.#path = path;
    this.#room = room;
  }

  /** Appends what is missing of `chunks` (sorted). Calls run one after the other. */
  advance(chunks: readonly Chunk[]): Promise<void> {
    return this.#next(() => this.#advance(chunks));
  }

  /** The whole of `chunks` as a file of its own. Rejects with `invalid` if a checksum does not match. */
  finish(chunks: readonly Chunk[], expected: Expected): Promise<Assembled> {
    return this.#next(async () => {
      const [only] = chunks;
      if (only?.sha256 !== undefined && chunks.length === 1) {
        const taken = await this.#take(only, only.sha256, expected);
        if (taken !== null) return taken;
      }
      await this.#advance(chunks);
      const file = this.#file ?? (await this.#open());
      const sha256 = this.#sha256.copy().digest('hex');
      const sha1 = this.#sha1.copy().digest('hex');
      // What the clients in use send is known by now; anything else costs another pass.
      const rest = expected.filter(({ algorithm, hex }) => algorithm !== 'SHA1' || hex !== sha1);
      const verifier = new ChecksumVerifier(rest);
      if (verifier.isNeeded) await feed(file, this.#size_bytes, verifier);
      verifier.verify(sha256);
      await file.datasync();
      await file.close();
      this.#file = null;
      this.#ended = true;
      return { path: this.#path, sha256, size_bytes: this.#size_bytes };
    });
  }

  /** Gives the work done ahead up. */
  discard(): Promise<void> {
    return this.#next(async () => {
      if (this.#ended) return;
      this.#ended = true;
      await this.#removeFile();
    });
  }

  #next<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#queue.then(work);
    this.#queue = run.catch(() => undefined);
    return run;
  }

  /** One chunk that is all of the file, synced when it came, and still the one whose sum is known: nothing has to be
   * copied. Null = it must be, after all. */
  async #take(chunk: Chunk, sha256: string, expected: Expected): Promise<Assembled | null> {
    await this.#removeFile(); // what was assembled before the chunk was sent anew
    this.#forget();
    if (!(await this.#folder.link(chunk, this.#path))) return null;
    try {
      const verifier = new ChecksumVerifier(expected);
      if (verifier.isNeeded) {
        const file = await open(this.#path, 'r');
        await feed(file, chunk.size_bytes, verifier).finally(() => file.close());
      }
      verifier.verify(sha256);
    } catch (error) {
      await rm(this.#path, { force: true });
      throw error;
    }
    this.#ended = true;
    return { path: this.#path, sha256, size_bytes: chunk.size_bytes };
  }

  async #advance(chunks: readonly Chunk[]): Promise<void> {
    if (this.#ended) throw new CloudError('busy', 'chunked upload: it is being finished');
    const isPrefix = this.#used.every(
      (used, i) => chunks[i]?.name === used.name && chunks[i]?.version === used.version,
    );
    if (!isPrefix) await this.#startOver();
    for (const chunk of chunks.slice(this.#used.length)) await this.#append(chunk);
  }

  async #append(chunk: Chunk): Promise<void> {
    const file = this.#file ?? (await this.#open());
    const source = await this.#folder.open(chunk);
    try {
      // Two buffers: one is read into while the other is hashed and written.
      let [next, spare] = [Buffer.allocUnsafeSlow(READ_BYTES), Buffer.allocUnsafeSlow(READ_BYTES)];
      let writing: Promise<unknown> = Promise.resolve();
      for (let at = 0; at < chunk.size_bytes; ) {
        const { bytesRead } = await source.read(next, 0, Math.min(chunk.size_bytes - at, READ_BYTES), at);
        if (bytesRead === 0) throw new CloudError('corrupt', `chunk ${chunk.name}: it is shorter than it was`);
        await writing;
        await this.#room(bytesRead);
        const bytes = next.subarray(0, bytesRead);
        writing = file.writeFile(bytes);
        writing.catch(() => undefined);
        this.#sha256.update(bytes);
        this.#sha1.update(bytes);
        [next, spare] = [spare, next];
        at += bytesRead;
        this.#unsynced_bytes += bytesRead;
      }
      await writing;
    } catch (error) {
      await this.#startOver();
      throw error;
    } finally {
      await source.close();
    }
    this.#used.push(chunk);
    this.#size_bytes += chunk.size_bytes;
    if (this.#unsynced_bytes >= SYNC_BYTES) {
      this.#unsynced_bytes = 0;
      await file.datasync();
    }
  }

  async #open(): Promise<FileHandle> {
    this.#file = await open(this.#path, 'w+', 0o600);
    return this.#file;
  }

  async #startOver(): Promise<void> {
    await this.#file?.close();
    await this.#open();
    this.#forget();
  }

  async #removeFile(): Promise<void> {
    await this.#file?.close();
    this.#file = null;
    await rm(this.#path, { force: true });
  }

  #forget(): void {
    this.#used = [];
    this.#size_bytes = 0;
    this.#unsynced_bytes = 0;
    this.#sha256 = createHash('sha256');
    this.#sha1 = createHash('sha1');
  }
}

async function feed(file: FileHandle, size_bytes: number, verifier: ChecksumVerifier): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  for (let at = 0; at < size_bytes; ) {
    const { bytesRead } = await file.read(buffer, 0, READ_BYTES, at);
    if (bytesRead === 0) throw new CloudError('corrupt', 'chunked upload: the assembled file ends early');
    verifier.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}
