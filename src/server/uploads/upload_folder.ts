// One chunked upload on disk: a folder with one file per finished chunk. A chunk is received into a temporary file and
// renamed into the folder when it is whole and synced, so what a listing shows is what a client may skip when it resumes.
// When the upload is committed the chunks go and `committed.json` stays: a client that lost the answer asks again.

import { createHash, randomBytes } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { type FileHandle, link, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError, toCloudError } from '../../errors.js';
import type { ByteSource } from '../storage/byte_source.js';
import type { NodeId } from '../storage/metadata/metadata_store.js';
import { syncPath } from '../storage/sync_path.js';
import { writeStream } from '../storage/write_stream.js';
import { type ChunkName, compareChunks, parseChunkName } from './chunk_name.js';

export interface Chunk extends ChunkName {
  readonly size_bytes: number;
  readonly modified_ms: number;
  /** Differs when the chunk was sent again. */
  readonly version: string;
  /** Known if it was taken while the chunk came. */
  readonly sha256?: string;
}

export interface ReceiveOptions {
  /** Null = not announced. */
  readonly expected_bytes: number | null;
  readonly max_bytes: number;
  readonly signal?: AbortSignal;
  /** Take its SHA-256: it may be all of the file. */
  readonly sum: boolean;
  /** As in `writeStream`. */
  readonly room?: (bytes: number) => Promise<void>;
}

/** What an upload became. */
export interface Committed {
  /** Decoded path below the user's root. */
  readonly destination: string;
  readonly etag: string;
  readonly fileId: NodeId;
  readonly created: boolean;
}

const COMMITTED_FILE = 'committed.json';
const TEMPORARY = /^receiving-/;

export class UploadFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Rejects with `exists` when the upload is there and not committed; a committed one makes room. */
  async create(): Promise<void> {
    if ((await this.committed()) !== null) await this.remove();
    try {
      await mkdir(this.path, { recursive: false, mode: 0o700 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') {
        throw new CloudError('exists', 'starting an upload: there is one of this name', { cause: error });
      }
      throw toCloudError(error, 'starting an upload');
    }
  }

  /** Is there an upload that can take chunks? */
  async isOpen(): Promise<boolean> {
    try {
      return (await stat(this.path)).isDirectory() && (await this.committed()) === null;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw toCloudError(error, 'looking for an upload');
    }
  }

  /** When a chunk was last added or removed; null = it is gone. */
  async modified_ms(): Promise<number | null> {
    try {
      return (await stat(this.path)).mtimeMs;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw toCloudError(error, 'looking at an upload');
    }
  }

  /** In order. Rejects with `not_found` when there is no such upload. */
  async chunks(): Promise<readonly Chunk[]> {
    const chunks: Chunk[] = [];
    for (const name of await this.#names()) {
      if (TEMPORARY.test(name) || name === COMMITTED_FILE) continue;
      const chunk = await this.#stat(name);
      if (chunk !== null) chunks.push(chunk);
    }
    return chunks.sort(compareChunks);
  }

  /** Takes the stream to its end; the chunk is there afterwards, whole, or as it was before. Rejects with `quota` beyond
   * `max_bytes`, with `network` when it is not `expected_bytes` long. */
  async receive(
    name: string,
    source: ByteSource,
    { expected_bytes, max_bytes, signal, sum, room }: ReceiveOptions,
  ): Promise<{ readonly chunk: Chunk; readonly replaced: boolean }> {
    parseChunkName(name);
    const temporary = join(this.path, `receiving-${randomBytes(8).toString('hex')}`);
    const target = join(this.path, name);
    let file: FileHandle | null = null;
    try {
      file = await open(temporary, 'wx', 0o600);
      const hash = sum ? createHash('sha256') : null;
      let room_bytes = max_bytes;
      const tap = (bytes: Buffer) => {
        room_bytes -= bytes.length;
        if (room_bytes < 0) throw tooLarge(max_bytes);
        hash?.update(bytes);
      };
      const size_bytes = await writeStream(file, source, { signal, tap, room });
      if (expected_bytes !== null && size_bytes !== expected_bytes) {
        throw new CloudError(
          'network',
          `receiving chunk ${name}: ${expected_bytes} bytes were announced, ${size_bytes} came`,
        );
      }
      await file.datasync();
      // Of this very file: by its name it may be another one's a moment later.
      const found = chunkOf(name, await file.stat({ bigint: true }));
      await file.close();
      file = null;
      const replaced = (await this.#stat(name)) !== null;
      await rename(temporary, target);
      // Its name, too: a client that was answered does not send it again, and the upload may be put together without.
      await syncPath(this.path);
      const chunk = hash === null ? found : { ...found, sha256: hash.digest('hex') };
      return { chunk, replaced };
    } catch (error) {
      await file?.close().catch(() => undefined);
      await rm(temporary, { force: true }).catch(() => undefined);
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw noUpload(error);
      throw toCloudError(error, `receiving chunk ${name}`);
    }
  }

  /** The file of the chunk under another name, too: false if that is another one meanwhile, or cannot be had. Chunks are
   * replaced as files, never changed: neither name sees what becomes of the other. */
  async link(chunk: Chunk, path: string): Promise<boolean> {
    try {
      await link(join(this.path, chunk.name), path);
    } catch {
      return false; // another file system, one without links
    }
    const same = await stat(path, { bigint: true }).then(
      (info) => versionOf(info) === chunk.version,
      () => false,
    );
    if (!same) await rm(path); // whoever writes to this name must not write to the chunk
    return same;
  }

  open(chunk: ChunkName): Promise<FileHandle> {
    return open(join(this.path, chunk.name), 'r');
  }

  async removeChunk(name: string): Promise<boolean> {
    parseChunkName(name);
    try {
      await rm(join(this.path, name));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw toCloudError(error, `removing chunk ${name}`);
    }
  }

  /** Notes what became of the upload, then frees the chunks' space. */
  async markCommitted(committed: Committed): Promise<void> {
    const temporary = join(this.path, `receiving-${randomBytes(8).toString('hex')}`);
    await writeFile(temporary, JSON.stringify(committed), { mode: 0o600, flush: true });
    await rename(temporary, join(this.path, COMMITTED_FILE));
    for (const name of await this.#names()) {
      if (name !== COMMITTED_FILE) await rm(join(this.path, name), { force: true });
    }
  }

  async committed(): Promise<Committed | null> {
    try {
      return JSON.parse(await readFile(join(this.path, COMMITTED_FILE), 'utf8')) as Committed;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw toCloudError(error, 'reading what became of an upload');
    }
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }

  async #stat(name: string): Promise<Chunk | null> {
    try {
      return chunkOf(name, await stat(join(this.path, name), { bigint: true }));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw toCloudError(error, `looking at chunk ${name}`);
    }
  }

  async #names(): Promise<readonly string[]> {
    try {
      return await readdir(this.path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw noUpload(error);
      throw toCloudError(error, 'listing an upload');
    }
  }
}

function chunkOf(name: string, info: BigIntStats): Chunk {
  return {
    ...parseChunkName(name),
    size_bytes: Number(info.size),
    modified_ms: Number(info.mtimeMs),
    version: versionOf(info),
  };
}

function versionOf({ ino, mtimeNs }: BigIntStats): string {
  return `${ino}:${mtimeNs}`;
}

function noUpload(cause: unknown): CloudError {
  return new CloudError('not_found', 'chunked upload: there is none of this name, start it with MKCOL', { cause });
}

function tooLarge(max_bytes: number): CloudError {
  return new CloudError('quota', `receiving a chunk: ${max_bytes} bytes are left in the quota, more came`);
}
