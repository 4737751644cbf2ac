// Random operations on one cache, beside a naive tree in memory: every answer, every listing and every content must be
// the same, while requests fail, answers are lost, the network comes and goes and the cache is closed and opened again.
// In the end the server has exactly that tree. SEED=… replays a run.

import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { afterEach, describe, expect, it } from 'vitest';
import { isCloudError } from '../../src/errors.js';
import type { RemoteCapabilities } from '../../src/remote/remote.js';
import { GENERIC } from '../support/capabilities.js';
import { FakeRemote, FakeServer } from '../support/fake_remote.js';
import { gateSeeds, Random } from '../support/random.js';
import { TestCache } from '../support/test_cache.js';
import { trace } from '../support/trace.js';
import { serverTree, TreeModel } from './tree_model.js';

const STEPS = 400;
const NAMES = ['a', 'b', 'c', 'dir'] as const;

/** What is only on the server cannot be had. */
const UNREACHABLE: readonly string[] = ['offline', 'network', 'timeout', 'server', 'busy_server'];

/** What may need bytes, or names of a directory that somebody else made. */
const NEEDS_THE_SERVER = ['read', 'append', 'truncate', 'list', 'replace', 'noreplace', 'exchange'];

const open: TestCache[] = [];
afterEach(async () => {
  for (const cache of open.splice(0)) await cache.close().catch(() => undefined);
});

class Run {
  readonly #random: Random;
  readonly #model = new TreeModel();
  readonly #server = new FakeServer();
  readonly #capabilities: Partial<RemoteCapabilities>;
  readonly #trace: string[] = [];
  #cache: TestCache | null = null;
  #remote: FakeRemote | null = null;
  #count = 0;

  constructor(random: Random, capabilities: Partial<RemoteCapabilities>) {
    this.#random = random;
    this.#capabilities = capabilities;
  }

  async run(): Promise<void> {
    await this.#open();
    for (let i = 0; i < STEPS; i++) {
      if (this.#random.chance(0.12)) await this.#disturb();
      await this.#step();
      if (i % 50 === 49) await this.#compareTree();
    }
    await this.#settle();
  }

  get #now(): TestCache {
    if (this.#cache === null) throw new Error('the cache is not open');
    return this.#cache;
  }

  async #open(dir?: string): Promise<void> {
    this.#remote = new FakeRemote(this.#server, { capabilities: this.#capabilities });
    this.#cache = await TestCache.open({ remote: this.#remote, ...(dir === undefined ? {} : { dir }) });
    open.push(this.#cache);
    await this.#cache.list(''); // without the root's listing nothing can be answered
  }

  async #step(): Promise<void> {
    const random = this.#random;
    const path = this.#path();
    const other = this.#path();
    this.#count += 1;
    const text = `${this.#count} `.repeat(1 + random.below(300));
    const choice = random.weighted([
      [10, 'write'],
      [6, 'append'],
      [6, 'mkdir'],
      [4, 'rmdir'],
      [6, 'unlink'],
      [8, 'rename'],
      [3, 'noreplace'],
      [3, 'exchange'],
      [4, 'truncate'],
      [6, 'read'],
      [3, 'list'],
      [2, 'free'],
    ] as const);
    const cache = this.#now;
    switch (choice) {
      case 'write':
        return this.#both(
          `write ${path}`,
          () => this.#model.write(path, text),
          () => cache.write(path, text),
        );
      case 'append':
        return this.#both(
          `append ${path}`,
          () => this.#model.write(path, this.#model.read(path) + text),
          async () => {
            const file = await cache.open(path, 'r+');
            try {
              const end = cache.cache.node(file.ino).size_bytes;
              await file.write(end, Buffer.from(text), CALL);
              await file.flush(CALL);
            } finally {
              file.release();
            }
          },
        );
      case 'truncate': {
        const size = random.below(200);
        return this.#both(
          `truncate ${path} ${size}`,
          () => this.#model.write(path, this.#model.read(path).slice(0, size).padEnd(size, '\0')),
          async () => {
            const node = await cache.must(path);
            if (node.kind === 'dir') throw fail('is_dir');
            await cache.cache.setattr(node.ino, { size_bytes: size }, CALL);
          },
        );
      }
      case 'mkdir':
        return this.#both(
          `mkdir ${path}`,
          () => this.#model.mkdir(path),
          () => cache.mkdir(path),
        );
      case 'rmdir':
        return this.#both(
          `rmdir ${path}`,
          () => this.#model.rmdir(path),
          () => cache.rmdir(path),
        );
      case 'unlink':
        return this.#both(
          `unlink ${path}`,
          () => this.#model.unlink(path),
          () => cache.unlink(path),
        );
      case 'rename':
      case 'noreplace':
      case 'exchange': {
        const mode = choice === 'rename' ? 'replace' : choice;
        // The kernel itself answers these: a name over itself, a directory below itself, an exchange with a parent.
        // A parent that is missing or a file is found out before the drive is asked.
        const parents = [path, other].map((each) => each.slice(0, Math.max(each.lastIndexOf('/'), 0)));
        if (parents.some((parent) => parent !== '' && !this.#model.isDir(parent))) return;
        if (path === other || path.startsWith(`${other}/`) || other.startsWith(`${path}/`)) return;
        return this.#both(
          `${mode} ${path} -> ${other}`,
          () => this.#model.rename(path, other, mode),
          () => cache.rename(path, other, mode),
        );
      }
      case 'read':
        return this.#both(
          `read ${path}`,
          () => this.#model.read(path),
          () => cache.read(path),
        );
      case 'list':
        return this.#both(
          `list ${path}`,
          () => this.#model.list(path),
          () => cache.list(path),
        );
      case 'free':
        cache.cache.free('');
    }
  }

  #path(): string {
    const random = this.#random;
    let path: string = random.pick(NAMES);
    while (random.chance(0.45) && path.length < 12) path += `/${random.pick(NAMES)}`;
    return path;
  }

  /** The same on both sides: the same answer, or the same kind of failure. Only the network may make ours fail alone. */
  async #both(what: string, model: () => unknown, drive: () => Promise<unknown>): Promise<void> {
    const expected = await outcome(async () => this.#model.attempt(model));
    const found = await outcome(drive);
    this.#say(`${what}: ${JSON.stringify(found).slice(0, 50)}`);
    if ('code' in found && UNREACHABLE.includes(found.code)) {
      // Bytes that are only on the server cannot be had now. Nothing else may fail, and nothing may have changed.
      expect(NEEDS_THE_SERVER, this.#story(what)).toContain(what.split(' ')[0]);
      this.#model.undo();
      return;
    }
    expect(found, this.#story(what)).toEqual(expected);
  }

  #say(line: string): void {
    this.#trace.push(line);
    trace(line);
  }

  #story(what: string): string {
    return `SEED=${this.#random.seed}: ${what}, after\n${this.#trace.slice(-80).join('\n')}`;
  }

  async #disturb(): Promise<void> {
    const random = this.#random;
    const remote = this.#remote;
    if (remote === null) return;
    const choice = random.weighted([
      [4, 'fail'],
      [4, 'lose'],
      [2, 'offline'],
      [3, 'online'],
      [2, 'pause'],
      [2, 'flush'],
      [1, 'reopen'],
      [1, 'forget'],
    ] as const);
    this.#say(`-- ${choice}`);
    switch (choice) {
      case 'fail':
        remote.failNext(
          random.pick(['put', 'mkdir', 'move', 'remove', 'any'] as const),
          random.pick(['network', 'server', 'timeout', 'busy_server'] as const),
          {
            times: 1 + random.below(2),
          },
        );
        return;
      case 'lose':
        remote.failNext(random.pick(['put', 'mkdir', 'move', 'remove'] as const), 'network', { when: 'after' });
        return;
      case 'offline':
        remote.goOffline();
        return;
      case 'online':
        remote.goOnline();
        await this.#now.cache.reconnect();
        return;
      case 'pause':
        await new Promise((resolve) => setTimeout(resolve, 30));
        return;
      case 'flush':
        await this.#now.flush('', 300).catch(() => undefined);
        return;
      case 'reopen': {
        const { dir } = this.#now;
        remote.goOnline();
        await this.#now.close();
        await this.#open(dir);
        return;
      }
      case 'forget':
        this.#server.forgetCursors();
    }
  }

  async #compareTree(): Promise<void> {
    const names = async (path: string): Promise<string[]> => {
      const out: string[] = [];
      for (const name of await this.#now.list(path)) {
        const full = path === '' ? name : `${path}/${name}`;
        const node = await this.#now.must(full);
        out.push(`${full}:${node.kind}:${node.kind === 'dir' ? 0 : node.size_bytes}`);
        if (node.kind === 'dir') out.push(...(await names(full)));
      }
      return out.sort();
    };
    const found = await outcome(() => names(''));
    if ('code' in found && UNREACHABLE.includes(found.code)) return;
    expect(found, this.#story('the whole tree')).toEqual({ value: this.#model.sizes() });
  }

  async #settle(): Promise<void> {
    const remote = this.#remote;
    remote?.clearFailures();
    remote?.goOnline();
    await this.#now.cache.reconnect();
    await this.#now.until('the cache is online', () => this.#now.cache.status().connection === 'online', 20_000);
    await this.#now.flush('', 20_000).catch((error: unknown) => {
      throw new Error(`${this.#story('flush')}\n${rowsOf(this.#now.dir)}\n${serverTree(this.#server)}`, {
        cause: error,
      });
    });
    expect(serverTree(this.#server), this.#story('the server')).toEqual(this.#model.tree());
    await this.#compareTree();
    expect(await this.#now.check(), this.#story('check')).toEqual([]);
    const { dir } = this.#now;
    await this.#now.close();
    await this.#open(dir);
    await this.#compareTree();
    for (const [path, content] of this.#model.files()) expect(await this.#now.read(path)).toBe(content);
    expect(await this.#now.check()).toEqual([]);
    expect(serverTree(this.#server), this.#story('the server, later')).toEqual(this.#model.tree());
  }
}

/** What the cache has noted of every node, for the story of a failure: read from a copy, the cache has the file for itself. */
function rowsOf(dir: string): string {
  const copy = mkdtempSync(join(tmpdir(), 'rows-'));
  for (const name of ['metadata.db', 'metadata.db-wal']) copyFileSync(join(dir, name), join(copy, name));
  const db = new Sqlite(join(copy, 'metadata.db'), { readonly: true });
  try {
    return db
      .prepare('SELECT ino, kind, parent, name, base_parent, base_name, sent, limbo, dirty, pending, error FROM node')
      .all()
      .map((row) => JSON.stringify(row))
      .join('\n');
  } finally {
    db.close();
    rmSync(copy, { recursive: true });
  }
}

const CALL = { uid: 0, gid: 0, pid: 1, signal: new AbortController().signal };

function fail(code: string): Error {
  return Object.assign(new Error(code), { code });
}

async function outcome<T>(work: () => Promise<T>): Promise<{ value: T | null } | { code: string }> {
  try {
    return { value: (await work()) ?? null };
  } catch (error) {
    if (isCloudError(error, 'corrupt', 'io', 'protocol')) throw error;
    if (isCloudError(error)) return { code: error.code };
    const code = (error as { code?: unknown }).code;
    if (typeof code === 'string') return { code };
    throw error;
  }
}

for (const [dialect, capabilities] of [
  ['cloudmount', {}],
  ['generic', GENERIC],
] as const) {
  describe(`one cache on a ${dialect} server`, () => {
    for (const seed of gateSeeds(4)) {
      it(`agrees with a naive tree through failures, lost answers and restarts (SEED=${seed})`, async () => {
        await new Run(new Random(seed), capabilities).run();
      }, 120_000);
    }
  });
}
