// A real cache in a temporary folder on a server in memory, with path-based helpers that act as programs on the drive do.

import { setTimeout as sleep } from 'node:timers/promises';
import { dir as tmpDir } from 'tmp-promise';
import type { CacheControl, Caller, DriveCache, Invalidation, NodeView, OpenFile } from '../../src/cache/cache_api.js';
import { type OpenCacheOptions, openCache } from '../../src/cache/open_cache.js';
import { systemClock } from '../../src/clock.js';
import { CloudError } from '../../src/errors.js';
import { type Ino, type Name, ROOT_INO } from '../../src/ids.js';
import type { Log } from '../../src/log.js';
import type { Remote } from '../../src/remote/remote.js';
import { FakeRemote, FakeServer } from './fake_remote.js';
import { traceLog } from './trace.js';

export const CALLER: Caller = { uid: 0, gid: 0, pid: 1, signal: new AbortController().signal };

const NEW = { mode: 0o644, uid: null, gid: null };
const NEW_DIR = { mode: 0o755, uid: null, gid: null };

export class TestCache {
  readonly dir: string;
  readonly #remote: Remote;
  readonly cache: DriveCache & CacheControl;
  readonly invalidations: Invalidation[] = [];

  private constructor(dir: string, remote: Remote, cache: DriveCache & CacheControl) {
    this.dir = dir;
    this.#remote = remote;
    this.cache = cache;
    cache.onInvalidate((event) => this.invalidations.push(event));
  }

  /** On the server in memory, unless it is given another `remote`. */
  static async open(options: Partial<OpenCacheOptions> & { remote?: Remote; log?: Log } = {}): Promise<TestCache> {
    const remote = options.remote ?? new FakeRemote(new FakeServer());
    const dir = options.dir ?? (await tmpDir({ unsafeCleanup: true, prefix: 'cloudmount-test-' })).path;
    const cache = await openCache({
      account: { name: 'test', user: 'anna', host: 'desk' },
      sizeLimit_bytes: 1e9,
      minFree_bytes: 0,
      dirCacheTime_ms: 200,
      timeout_ms: 2_000,
      quiet_ms: 20,
      readOnly: false,
      writeThrough: false,
      log: traceLog,
      clock: systemClock,
      ...options,
      dir,
      remote,
    });
    return new TestCache(dir, remote, cache);
  }

  get remote(): FakeRemote {
    if (this.#remote instanceof FakeRemote) return this.#remote;
    throw new CloudError('unsupported', 'test: this drive is not on the server in memory');
  }

  get server(): FakeServer {
    return this.remote.server;
  }

  async node(path: string): Promise<NodeView | null> {
    let at = this.cache.node(ROOT_INO);
    for (const name of path.split('/')) {
      if (name === '') continue;
      const next = await this.cache.lookup(at.ino, name as Name, CALLER);
      if (next === null) return null;
      at = next;
    }
    return at;
  }

  async must(path: string): Promise<NodeView> {
    const node = await this.node(path);
    if (node === null) throw new CloudError('not_found', `test: ${path} is not in the drive`);
    return node;
  }

  async list(path = ''): Promise<string[]> {
    const { ino } = await this.must(path);
    await this.cache.ensureListed(ino, CALLER);
    const names: string[] = [];
    for (let after: Ino | 0 = 0; ; ) {
      const page = this.cache.listDir(ino, after, 100);
      names.push(...page.map((node) => node.name));
      const last = page.at(-1);
      if (last === undefined) return names.sort();
      after = last.ino;
    }
  }

  /** `wx`: a new file, `exists` if there is one. */
  async open(path: string, mode: 'r' | 'w' | 'wx' | 'r+' = 'r'): Promise<OpenFile> {
    const known = mode === 'wx' ? null : await this.node(path);
    const { parent, name } = split(path);
    const node =
      known ??
      (mode === 'w' || mode === 'wx'
        ? await this.cache.create((await this.must(parent)).ino, name, NEW, CALLER)
        : null);
    if (node === null) throw new CloudError('not_found', `test: ${path} is not in the drive`);
    return this.cache.open(node.ino, { read: true, write: mode !== 'r', truncate: mode === 'w' }, CALLER);
  }

  async read(path: string): Promise<string> {
    const file = await this.open(path);
    try {
      const { size_bytes } = this.cache.node(file.ino);
      const read = file.read(0, size_bytes, CALLER);
      // What is answered at once lies in a buffer that the next read uses.
      return read instanceof Promise ? (await read).toString() : read.toString();
    } finally {
      file.release();
    }
  }

  async write(path: string, text: string | Buffer): Promise<void> {
    const file = await this.open(path, 'w');
    try {
      await file.write(0, Buffer.from(text), CALLER);
      await file.flush(CALLER);
    } finally {
      file.release();
    }
  }

  async mkdir(path: string): Promise<void> {
    const { parent, name } = split(path);
    await this.cache.mkdir((await this.must(parent)).ino, name, NEW_DIR, CALLER);
  }

  async unlink(path: string): Promise<void> {
    const { parent, name } = split(path);
    await this.cache.unlink((await this.must(parent)).ino, name, CALLER);
  }

  async rmdir(path: string): Promise<void> {
    const { parent, name } = split(path);
    await this.cache.rmdir((await this.must(parent)).ino, name, CALLER);
  }

  async rename(from: string, to: string, mode: 'replace' | 'noreplace' | 'exchange' = 'replace'): Promise<void> {
    const [a, b] = [split(from), split(to)];
    await this.cache.rename(
      (await this.must(a.parent)).ino,
      a.name,
      (await this.must(b.parent)).ino,
      b.name,
      mode,
      CALLER,
    );
  }

  /** Everything is on the server (or the error that is in the way). */
  flush(path = '', bound_ms = 15_000): Promise<void> {
    return this.cache.flush(path, AbortSignal.timeout(bound_ms));
  }

  /** Waits until `condition` holds; names what it waited for when it does not within `bound_ms`. */
  async until(what: string, condition: () => boolean | Promise<boolean>, bound_ms = 10_000): Promise<void> {
    const end = performance.now() + bound_ms;
    while (!(await condition())) {
      if (performance.now() > end) throw new Error(`waited ${bound_ms} ms in vain until ${what}`);
      await sleep(10);
    }
  }

  async check(): Promise<readonly string[]> {
    return this.cache.check({ content: true });
  }

  close(): Promise<void> {
    return this.cache.close();
  }
}

function split(path: string): { parent: string; name: Name } {
  const slash = path.lastIndexOf('/');
  return { parent: path.slice(0, Math.max(slash, 0)), name: path.slice(slash + 1) as Name };
}
