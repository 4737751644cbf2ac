import { join } from 'node:path';
import { dir as tmpDir } from 'tmp-promise';
import { BlockSums } from '../../../../src/cache/content/block_sums.js';
import type { ContentFile } from '../../../../src/cache/content/content_file.js';
import { ContentStore } from '../../../../src/cache/content/content_store.js';
import { ExtentSet } from '../../../../src/cache/content/extents.js';
import type { Hydratable } from '../../../../src/cache/range_fetch.js';
import { CloudError } from '../../../../src/errors.js';
import type { Ino, RemotePath } from '../../../../src/ids.js';
import { silentLog } from '../../../../src/log.js';
import type { CallOptions, ReadSink } from '../../../../src/remote/remote.js';

/** The byte the server has at an offset. */
export function byteAt(offset: number): number {
  return ((offset * 31) ^ (offset >> 7)) & 0xff;
}

export function serverBytes(start: number, end: number): Buffer {
  const bytes = Buffer.allocUnsafe(end - start);
  for (let i = start; i < end; i++) bytes[i - start] = byteAt(i);
  return bytes;
}

/** One request in the hands of the test. */
export class Request {
  readonly path: string;
  readonly start: number;
  readonly end: number;
  readonly etag: string | null;
  readonly signal: AbortSignal;
  readonly #sink: ReadSink;
  readonly #settle: { resolve(): void; reject(error: unknown): void };
  at: number;
  over: 'no' | 'resolved' | 'rejected' | 'aborted' = 'no';

  constructor(
    path: string,
    range: { start: number; end: number },
    etag: string | null,
    sink: ReadSink,
    signal: AbortSignal,
    settle: { resolve(): void; reject(error: unknown): void },
  ) {
    this.path = path;
    this.start = range.start;
    this.end = range.end;
    this.at = range.start;
    this.etag = etag;
    this.signal = signal;
    this.#sink = sink;
    this.#settle = settle;
    const onAbort = () => {
      if (this.over !== 'no') return;
      this.over = 'aborted';
      settle.reject(new CloudError('interrupted', 'aborted'));
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort);
  }

  /** The next bytes arrive (at the offset given, for servers that lie). */
  async send(bytes: number, at = this.at): Promise<void> {
    if (this.over !== 'no') return;
    const end = Math.min(this.at + bytes, this.end);
    try {
      await this.#sink(serverBytes(this.at, end), at);
      this.at = end;
    } catch (error) {
      if (this.over === 'no') {
        this.over = 'rejected';
        this.#settle.reject(error);
      }
    }
  }

  async finish(): Promise<void> {
    if (this.at < this.end) await this.send(this.end - this.at);
    this.resolve();
  }

  resolve(): void {
    if (this.over !== 'no') return;
    this.over = 'resolved';
    this.#settle.resolve();
  }

  fail(error: CloudError): void {
    if (this.over !== 'no') return;
    this.over = 'rejected';
    this.#settle.reject(error);
  }

  get range(): [number, number] {
    return [this.start, this.end];
  }
}

/** A server whose every answer the test gives. */
export class HandRemote {
  readonly requests: Request[] = [];

  readonly read = (
    path: RemotePath,
    range: { readonly start: number; readonly end: number },
    etag: string | null,
    sink: ReadSink,
    options: CallOptions = {},
  ): Promise<void> =>
    new Promise((resolve, reject) => {
      const signal = options.signal ?? new AbortController().signal;
      this.requests.push(new Request(path, range, etag, sink, signal, { resolve, reject }));
    });

  get open(): Request[] {
    return this.requests.filter((request) => request.over === 'no');
  }

  request(index: number): Request {
    const request = this.requests[index];
    if (request === undefined) throw new Error(`there is no request ${index}, only ${this.requests.length}`);
    return request;
  }
}

export class TestNode implements Hydratable {
  readonly ino: Ino;
  gen = 1;
  size_bytes: number;
  remoteSize_bytes: number;
  etag: string | null = '"v1"';
  extents = new ExtentSet();
  sums = new BlockSums();
  readonly file: ContentFile;
  /** Null: the server has it nowhere. */
  path: string | null;

  constructor(ino: number, size: number, store: ContentStore) {
    this.ino = ino as Ino;
    this.size_bytes = size;
    this.remoteSize_bytes = size;
    this.path = `file${ino}`;
    this.file = store.open(this.ino, 1, { create: true, size_bytes: size });
  }

  remotePath(): RemotePath {
    if (this.path === null) throw new CloudError('stale', `reading ${this.ino}: no longer on the server`);
    return this.path as RemotePath;
  }

  /** A local write, as the cache does it. */
  write(offset: number, data: Buffer): void {
    if (offset > this.size_bytes) this.extents.insertDirty(this.size_bytes, offset);
    this.file.write(offset, data);
    this.extents.insertDirty(offset, offset + data.length);
    this.sums.forget(offset, offset + data.length);
    this.size_bytes = Math.max(this.size_bytes, offset + data.length);
  }

  truncate(size: number): void {
    const old = this.size_bytes;
    this.file.truncate(size);
    if (size < old) {
      this.extents.clip(size);
      this.sums.clip(size);
    } else this.extents.insertDirty(old, size);
    this.size_bytes = size;
  }

  /** Gives back what is here, and only that. */
  evict(start: number, end: number): void {
    for (const range of this.extents.presentWithin(start, end)) {
      this.extents.remove(range.start, range.end);
      this.sums.forget(range.start, range.end);
      this.file.punchHole(range.start, range.end);
    }
  }

  content(start = 0, end = this.size_bytes): Buffer {
    const bytes = Buffer.alloc(end - start);
    this.file.readSync(start, bytes);
    return bytes;
  }
}

export interface Files {
  readonly store: ContentStore;
  node(size: number): TestNode;
  cleanup(): Promise<void>;
}

export async function makeFiles(): Promise<Files> {
  const made = await tmpDir({ unsafeCleanup: true });
  const store = new ContentStore({ dir: join(made.path, 'content'), log: silentLog });
  const nodes: TestNode[] = [];
  return {
    store,
    node(size) {
      const node = new TestNode(nodes.length + 2, size, store);
      nodes.push(node);
      return node;
    },
    async cleanup() {
      for (const node of nodes) node.file.close();
      await store.close();
      await made.cleanup();
    },
  };
}
