// All chunked uploads of the server: DIR/uploads/USER/ID. The folders are the truth and survive a restart; what is kept
// in memory (which chunks there are, what of them is assembled already) only saves work.

import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { CloudError } from '../../errors.js';
import type { Log } from '../../log.js';
import type { parseChecksums } from '../dav/checksum.js';
import type { BlobPin, BlobStore } from '../storage/blobs/blob_store.js';
import { type ByteSource, watched } from '../storage/byte_source.js';
import { Assembly } from './assembly.js';
import { compareChunks, contiguousCount, demandGapless } from './chunk_name.js';
import { type Chunk, type Committed, type ReceiveOptions, UploadFolder } from './upload_folder.js';

export interface UploadKey {
  readonly userId: string;
  /** As the client named it. */
  readonly upload: string;
}

interface ActiveUpload {
  readonly chunks: Map<string, Chunk>;
  readonly assembly: Assembly;
}

export interface ReceivedChunk {
  readonly replaced: boolean;
  /** Strong, quoted. */
  readonly etag: string;
}

/** Uploads that are assembled ahead; further ones are assembled at their end. */
const ACTIVE_MAX = 256;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$/;

export class ChunkedUploads {
  readonly #root: string;
  readonly #blobs: BlobStore;
  readonly #log: Log;
  readonly #active: LRUCache<string, ActiveUpload>;
  readonly #finishing = new Map<string, Promise<Committed>>();
  /** User -> bytes in their open uploads, where that was asked for and nothing has been taken away since. */
  readonly #held = new Map<string, number>();
  /** User -> bytes of chunks that are under way. */
  readonly #incoming = new Map<string, number>();

  /** `root`: DIR/uploads, which exists. */
  constructor(root: string, blobs: BlobStore, log: Log) {
    this.#root = root;
    this.#blobs = blobs;
    this.#log = log;
    this.#active = new LRUCache({ max: ACTIVE_MAX, dispose: ({ assembly }) => this.#drop(assembly) });
  }

  /** Rejects with `exists` if there is one of this name, `invalid` for a name that is not allowed. */
  async create(key: UploadKey): Promise<void> {
    const folder = this.#folder(key);
    await mkdir(join(this.#root, key.userId), { recursive: true, mode: 0o700 });
    await this.#blobs.demandRoom(0);
    this.#active.delete(keyText(key));
    await folder.create();
  }

  async exists(key: UploadKey): Promise<boolean> {
    return this.#folder(key).isOpen();
  }

  /** Names of the user's open uploads. */
  async list(userId: string): Promise<readonly string[]> {
    const names = await namesIn(join(this.#root, userId));
    const open = await Promise.all(names.map((upload) => this.exists({ userId, upload })));
    return names.filter((_, i) => open[i]);
  }

  /** In order. Rejects with `not_found`. */
  async chunks(key: UploadKey): Promise<readonly Chunk[]> {
    const folder = this.#folder(key);
    if (!(await folder.isOpen())) throw noSuchUpload();
    return folder.chunks();
  }

  /** Of all chunks but `except`, which is about to be replaced. */
  async size_bytes(key: UploadKey, except: string): Promise<number> {
    const active = this.#active.get(keyText(key)) ?? (await this.#load(key));
    let sum = 0;
    for (const { name, size_bytes } of active.chunks.values()) if (name !== except) sum += size_bytes;
    return sum;
  }

  /** `total_bytes`: of the whole upload, null = not announced. `all_bytes`: what all open uploads of the user may have, null =
   * any amount; rejects with `quota` beyond it. */
  async receive(
    key: UploadKey,
    name: string,
    source: ByteSource,
    total_bytes: number | null,
    limits: Omit<ReceiveOptions, 'sum'> & { readonly all_bytes: number | null },
  ): Promise<ReceivedChunk> {
    const folder = this.#folder(key);
    if (!(await folder.isOpen())) throw noSuchUpload();
    if (this.#finishing.has(keyText(key))) {
      throw new CloudError('busy', 'chunked upload: it is being put together, no chunk can be added');
    }
    const active = this.#active.get(keyText(key)) ?? (await this.#load(key));
    const counted = limits.all_bytes === null ? source : this.#counted(key, name, source, limits.all_bytes);
    const room = (bytes: number) => this.#blobs.demandRoom(bytes);
    await room(0);
    const { chunk, replaced } = await folder.receive(name, counted, { ...limits, room, sum: active.chunks.size === 0 });
    const held = this.#held.get(key.userId);
    const before = active.chunks.get(name)?.size_bytes ?? 0;
    if (held !== undefined) this.#held.set(key.userId, held + chunk.size_bytes - before);
    active.chunks.set(name, chunk);
    // All of the file in one chunk becomes the file by itself.
    if (chunk.size_bytes !== total_bytes) this.#workAhead(key, active);
    return { replaced, etag: `"${chunk.version}"` };
  }

  /** Unfinished uploads are no files yet, and so in no quota: they have a bound of their own. */
  #counted({ userId, upload }: UploadKey, name: string, source: ByteSource, all_bytes: number): ByteSource {
    const replaced = this.#active.get(keyText({ userId, upload }))?.chunks.get(name)?.size_bytes ?? 0;
    let came = 0;
    const note = (bytes: number) => this.#incoming.set(userId, (this.#incoming.get(userId) ?? 0) + bytes);
    const count = async (bytes: number) => {
      came += bytes;
      note(bytes);
      const held = this.#held.get(userId) ?? (await this.#heldBytes(userId));
      if (held - replaced + (this.#incoming.get(userId) ?? 0) > all_bytes) {
        throw new CloudError(
          'quota',
          `receiving a chunk: unfinished uploads may have ${all_bytes} bytes together, more came; finish or delete some`,
        );
      }
    };
    const end = () => {
      note(-came);
      if (this.#incoming.get(userId) === 0) this.#incoming.delete(userId);
    };
    return watched(source, count, end);
  }

  async #heldBytes(userId: string): Promise<number> {
    let sum = 0;
    for (const upload of await this.list(userId)) {
      // It may be gone by now.
      const chunks = await this.chunks({ userId, upload }).catch(() => []);
      for (const { size_bytes } of chunks) sum += size_bytes;
    }
    this.#held.set(userId, sum);
    return sum;
  }

  async removeChunk(key: UploadKey, name: string): Promise<boolean> {
    this.#active.get(keyText(key))?.chunks.delete(name);
    const existed = await this.#folder(key).removeChunk(name);
    this.#held.delete(key.userId);
    return existed;
  }

  /** False if there was none. */
  async remove(key: UploadKey): Promise<boolean> {
    await this.#finishing.get(keyText(key))?.catch(() => undefined);
    const folder = this.#folder(key);
    const existed = await folder.isOpen();
    this.#active.delete(keyText(key));
    await folder.remove();
    this.#held.delete(key.userId);
    return existed;
  }

  /** Puts the upload together and hands it to `commit`, once: who asks meanwhile, or again later, gets the same answer.
   * When it fails nothing has changed and the chunks are still there. */
  finish(
    key: UploadKey,
    wanted: {
      /** Rejects when the commit would be refused whatever the content. */
      readonly judge: () => Promise<void>;
      readonly total_bytes: number | null;
      readonly checksums: ReturnType<typeof parseChecksums>;
      readonly destination: string;
    },
    commit: (blob: BlobPin) => Promise<Committed>,
  ): Promise<Committed> {
    const text = keyText(key);
    const running = this.#finishing.get(text);
    if (running !== undefined) return running.then((done) => sameDestination(done, wanted.destination));
    const run = this.#finish(key, wanted, commit).finally(() => this.#finishing.delete(text));
    this.#finishing.set(text, run);
    return run;
  }

  async #finish(
    key: UploadKey,
    wanted: Parameters<ChunkedUploads['finish']>[1],
    commit: (blob: BlobPin) => Promise<Committed>,
  ): Promise<Committed> {
    const folder = this.#folder(key);
    const before = await folder.committed();
    if (before !== null) return sameDestination(before, wanted.destination);
    const chunks = await folder.chunks();
    const total_bytes = chunks.reduce((sum, { size_bytes }) => sum + size_bytes, 0);
    if (wanted.total_bytes !== null && total_bytes !== wanted.total_bytes) {
      throw new CloudError(
        'invalid',
        `chunked upload: ${wanted.total_bytes} bytes are announced, the ${chunks.length} chunks here have ${total_bytes}`,
      );
    }
    demandGapless(chunks);
    await wanted.judge();
    const active = this.#active.get(keyText(key)) ?? (await this.#load(key));
    const { assembly } = active;
    // What is known of them besides what their folder says.
    const known = chunks.map((chunk) => withSum(chunk, active.chunks.get(chunk.name)));
    try {
      const { path, sha256, size_bytes } = await assembly.finish(known, wanted.checksums);
      const blob = await this.#blobs.adopt(path, { sha256, size_bytes });
      try {
        const committed = await commit(blob);
        // It is done, whether or not that can be noted (the disk may be full, the account gone).
        await folder.markCommitted(committed).catch((error: unknown) => {
          this.#log.warn({ err: error, upload: key.upload }, 'what became of an upload could not be noted');
        });
        return committed;
      } finally {
        blob.release();
      }
    } finally {
      this.#active.delete(keyText(key));
      this.#held.delete(key.userId);
    }
  }

  /** Removes uploads nobody touched since `before_ms`. */
  async sweep(before_ms: number): Promise<number> {
    let removed = 0;
    for (const userId of await namesIn(this.#root)) {
      for (const upload of await namesIn(join(this.#root, userId))) {
        const key = { userId, upload };
        const folder = new UploadFolder(join(this.#root, userId, upload));
        const modified_ms = await folder.modified_ms();
        if (this.#finishing.has(keyText(key)) || modified_ms === null || modified_ms >= before_ms) continue;
        this.#active.delete(keyText(key));
        await folder.remove();
        this.#held.delete(userId);
        removed += 1;
      }
    }
    return removed;
  }

  /** Waits for what is being committed. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#finishing.values());
    this.#active.clear();
  }

  #folder({ userId, upload }: UploadKey): UploadFolder {
    if (!NAME.test(upload)) {
      throw new CloudError(
        'invalid',
        `chunked upload ${JSON.stringify(upload.slice(0, 60))}: its name must be 1 to 128 letters, digits, ".", "_", "~", "-"`,
      );
    }
    return new UploadFolder(join(this.#root, userId, upload));
  }

  async #load(key: UploadKey): Promise<ActiveUpload> {
    const folder = this.#folder(key);
    const chunks = await folder.chunks();
    // Somebody else may have loaded it while this one read the folder.
    const known = this.#active.get(keyText(key));
    if (known !== undefined) return known;
    const active = {
      chunks: new Map(chunks.map((chunk) => [chunk.name, chunk])),
      assembly: new Assembly(folder, this.#blobs.temporaryPath(), (bytes) => this.#blobs.demandRoom(bytes)),
    };
    this.#active.set(keyText(key), active);
    return active;
  }

  #workAhead(key: UploadKey, active: ActiveUpload): void {
    const chunks = [...active.chunks.values()].sort(compareChunks);
    active.assembly.advance(chunks.slice(0, contiguousCount(chunks))).catch((error: unknown) => {
      // The end of the upload does it again, and answers with what is wrong.
      this.#log.debug({ err: error, upload: key.upload }, 'assembling ahead failed');
    });
  }

  #drop(assembly: Assembly): void {
    assembly.discard().catch((error: unknown) => this.#log.warn({ err: error }, 'an assembly could not be removed'));
  }
}

function keyText({ userId, upload }: UploadKey): string {
  return `${userId}/${upload}`;
}

function withSum(chunk: Chunk, known: Chunk | undefined): Chunk {
  return known?.sha256 !== undefined && known.version === chunk.version ? known : chunk;
}

function sameDestination(committed: Committed, destination: string): Committed {
  if (committed.destination === destination) return committed;
  throw new CloudError('not_found', 'chunked upload: it has been committed to another place already');
}

function noSuchUpload(): CloudError {
  return new CloudError('not_found', 'chunked upload: there is none of this name, start it with MKCOL');
}

async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    // A file that is none of ours must not keep the server from cleaning up the rest.
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}
