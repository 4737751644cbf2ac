// The process that is killed: a cache on the parent's server, and a random workload of primitive operations. Before and
// after every operation a line goes to the log file, so that the parent knows what had been promised when it died.

import './sync_shim.js';
import { openSync, readFileSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OpenFile } from '../../src/cache/cache_api.js';
import { CloudError } from '../../src/errors.js';
import type { RemoteCapabilities } from '../../src/remote/remote.js';
import type { FakeRemote } from '../support/fake_remote.js';
import { ProcessRemote } from '../support/process_remote.js';
import { Random } from '../support/random.js';
import { CALLER, TestCache } from '../support/test_cache.js';
import { contentOf, type LogLine, type Operation } from './operations.js';

export interface ChildConfig {
  readonly dir: string;
  readonly log: string;
  /** Where to remember what was synced, or null. */
  readonly shadow: string | null;
  readonly seed: number;
  readonly steps: number;
  readonly capabilities: RemoteCapabilities;
  readonly sizeLimit_bytes: number;
}

const config = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as ChildConfig;
const log = openSync(config.log, 'a');
const say = (line: LogLine) => writeSync(log, `${JSON.stringify(line)}\n`);

/** What the cache itself says, for the message of a failure. */
const diary = openSync(`${config.log}.cache`, 'a');
const note = (details: object, message: string) => {
  const { err, ...rest } = details as { err?: unknown };
  const reason = err instanceof Error ? ` ${err.message}` : '';
  writeSync(diary, `[${message}]${reason} ${JSON.stringify(rest)}\n`);
};

const DIRS = ['', 'd1', 'd2', 'd1/sub'] as const;
const FILES = ['a', 'b', 'c', 'e'] as const;

class Workload {
  readonly #random = new Random(config.seed);
  readonly #cache: TestCache;
  readonly #handles: { readonly file: OpenFile; readonly handle: number }[] = [];
  #number = 0;
  #lastHandle = 0;

  constructor(cache: TestCache) {
    this.#cache = cache;
  }

  async run(): Promise<void> {
    for (let step = 0; step < config.steps; step += 1) await this.#perform(this.#choose());
  }

  #choose(): Operation {
    const random = this.#random;
    const file = () => `${random.pick(DIRS)}/${random.pick(FILES)}`.replace(/^\//, '');
    const dir = () => random.pick(DIRS.slice(1)) ?? 'd1';
    const open = random.pick(this.#handles);
    const choices: (readonly [number, Operation])[] = [
      [9, { op: 'create', path: file(), handle: this.#lastHandle + 1 }],
      [7, { op: 'open', path: file(), handle: this.#lastHandle + 1, truncate: random.chance(0.4) }],
      [5, { op: 'rename', from: file(), to: file() }],
      [2, { op: 'rename', from: dir(), to: dir() }],
      [4, { op: 'unlink', path: file() }],
      [4, { op: 'mkdir', path: dir() }],
      [2, { op: 'rmdir', path: dir() }],
      [3, { op: 'read', path: file() }],
      [2, { op: 'cut', path: file(), size_bytes: random.below(3000) }],
      [1, { op: 'flush' }],
      [0.6, { op: 'settle' }],
      [2, { op: 'pause', ms: random.below(40) }],
    ];
    if (open !== undefined) {
      const { handle } = open;
      choices.push(
        [14, { op: 'write', handle, offset: random.below(9000), size_bytes: 1 + random.below(6000) }],
        [3, { op: 'truncate', handle, size_bytes: random.below(8000) }],
        [5, { op: 'fsync', handle }],
        [this.#handles.length > 3 ? 30 : 9, { op: 'close', handle }],
      );
    }
    return random.weighted(choices);
  }

  async #perform(operation: Operation): Promise<void> {
    this.#number += 1;
    say({ number: this.#number, operation });
    note({}, `operation ${this.#number}: ${JSON.stringify(operation)}`);
    try {
      await this.#do(operation);
      say({ number: this.#number, done: true });
    } catch (error) {
      if (!(error instanceof CloudError)) throw error;
      say({ number: this.#number, failed: error.code, message: error.message });
    }
  }

  async #do(operation: Operation): Promise<void> {
    const cache = this.#cache;
    switch (operation.op) {
      case 'create': {
        if ((await cache.node(operation.path)) !== null) throw new CloudError('exists', 'test: it is there');
        this.#opened(await cache.open(operation.path, 'w'), operation.handle);
        return;
      }
      case 'open': {
        const node = await cache.must(operation.path);
        const mode = { read: true, write: true, truncate: operation.truncate };
        this.#opened(await cache.cache.open(node.ino, mode, CALLER), operation.handle);
        return;
      }
      case 'write':
        await this.#file(operation.handle).write(
          operation.offset,
          contentOf(this.#number, operation.offset, operation.size_bytes),
          CALLER,
        );
        return;
      case 'truncate': {
        const { ino } = this.#file(operation.handle);
        await cache.cache.setattr(ino, { size_bytes: operation.size_bytes }, CALLER);
        return;
      }
      case 'cut': {
        const { ino } = await cache.must(operation.path);
        await cache.cache.setattr(ino, { size_bytes: operation.size_bytes }, CALLER);
        return;
      }
      case 'fsync':
        await this.#file(operation.handle).fsync(CALLER);
        return;
      case 'close': {
        const file = this.#file(operation.handle);
        this.#handles.splice(
          this.#handles.findIndex((one) => one.handle === operation.handle),
          1,
        );
        await file.flush(CALLER);
        file.release();
        return;
      }
      case 'rename':
        return cache.rename(operation.from, operation.to);
      case 'unlink':
        return cache.unlink(operation.path);
      case 'mkdir':
        return cache.mkdir(operation.path);
      case 'rmdir':
        return cache.rmdir(operation.path);
      case 'read':
        await cache.read(operation.path);
        return;
      case 'flush':
        // What is open may stay behind: only what can go is waited for.
        if (this.#handles.length === 0) await cache.flush();
        return;
      case 'settle':
        // The promise: closed, and a second later on the disk.
        await sleep(1000);
        return;
      case 'pause':
        await sleep(operation.ms);
    }
  }

  #opened(file: OpenFile, handle: number): void {
    this.#lastHandle = handle;
    this.#handles.push({ file, handle });
  }

  #file(handle: number): OpenFile {
    const found = this.#handles.find((one) => one.handle === handle);
    if (found === undefined) throw new Error(`handle ${handle} is not open`);
    return found.file;
  }
}

const remote = new ProcessRemote(config.capabilities);
const cache = await TestCache.open({
  dir: config.dir,
  remote: remote as unknown as FakeRemote,
  quiet_ms: 15,
  sizeLimit_bytes: config.sizeLimit_bytes,
  log: { debug: note, info: note, warn: note, error: note },
});
for (const dir of ['', 'd1', 'd2']) await cache.list(dir);
say({ number: 0, done: true });
await new Workload(cache).run();
say({ number: -1, done: true });
process.kill(process.pid, 'SIGKILL');
