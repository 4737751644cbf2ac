// One crash: a cache in a child process is killed somewhere in a random workload, then opened again, first without the
// network, then with it. What it shows is held against the model; in the end the server must have exactly that, once.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CrashPoint } from '../../src/cache/crash_points.js';
import { isCloudError } from '../../src/errors.js';
import type { RemoteCapabilities } from '../../src/remote/remote.js';
import { bundle } from '../support/bundle.js';
import { FakeRemote, FakeServer } from '../support/fake_remote.js';
import { PART_BYTES, PARTS_FROM_BYTES, serveRemote } from '../support/process_remote.js';
import { eventually } from '../support/processes.js';
import { Random } from '../support/random.js';
import { CALLER, TestCache } from '../support/test_cache.js';
import type { ChildConfig } from './cache_child.js';
import { CrashModel, type Names } from './crash_model.js';
import type { LogLine } from './operations.js';
import { powerCut } from './power_cut.js';

export interface CrashOptions {
  readonly seed: number;
  /** Null = at any moment. */
  readonly at: { readonly point: CrashPoint; readonly pass: number } | null;
  /** Also lose what was not synced. */
  readonly powerCut: boolean;
  readonly capabilities?: Partial<RemoteCapabilities>;
}

export interface CrashOutcome {
  /** Was the point reached? Else the process was killed at the end of its workload. */
  readonly reached: boolean;
  readonly operations: number;
}

const STEPS = 140;

let program: Promise<string> | null = null;

export async function crash(options: CrashOptions): Promise<CrashOutcome> {
  const base = await mkdtemp(join(tmpdir(), 'cm-crash-'));
  const world = new CrashWorld(base, options);
  try {
    const outcome = await world.run();
    await rm(base, { recursive: true, force: true });
    return outcome;
  } catch (error) {
    if (process.env['CLOUDMOUNT_KEEP'] === undefined) await rm(base, { recursive: true, force: true });
    const { seed, at } = options;
    const place = at === null ? 'any moment' : `${at.point}:${at.pass}`;
    throw new Error(
      `SEED=${seed} killed at ${place}${options.powerCut ? ', power cut' : ''}: ${(error as Error).message}\n${world.trace}`,
      { cause: error },
    );
  }
}

class CrashWorld {
  readonly #base: string;
  readonly #o: CrashOptions;
  readonly #random: Random;
  /** Without, as with Nextcloud, nobody else sees that parts of two versions were put together. */
  readonly #checksSums: boolean;
  readonly #server = new FakeServer();
  readonly #initial = new Map<string, Buffer | null>();
  #diary = '';
  readonly #after: string[] = [];
  #lines: LogLine[] = [];
  #said = '';

  constructor(base: string, options: CrashOptions) {
    this.#base = base;
    this.#o = options;
    this.#random = new Random(options.seed);
    this.#checksSums = this.#random.chance(0.5);
    for (const [path, text] of [
      ['a', 'A'],
      ['d1/b', 'B'],
      ['d2/c', 'C'],
    ] as const) {
      const content = Buffer.from(`${text} as the server has it. `.repeat(200));
      this.#server.write(path, content);
      this.#initial.set(path, content);
    }
    for (const dir of ['d1', 'd2']) this.#initial.set(dir, null);
  }

  /** The last operations, for the message. */
  get trace(): string {
    const shown = this.#lines
      .slice(-200)
      .map((line) => `${line.number} ${'operation' in line ? JSON.stringify(line.operation) : JSON.stringify(line)}`);
    const diary = this.#diary.split('\n').slice(-400);
    return [...shown, '--- the cache', ...diary, '--- after the crash', ...this.#after, this.#said.slice(-3000)].join(
      '\n',
    );
  }

  async run(): Promise<CrashOutcome> {
    const reached = await this.#untilKilled();
    this.#diary = await readFile(join(this.#base, 'log.cache'), 'utf8').catch(() => '');
    const text = await readFile(join(this.#base, 'log'), 'utf8').catch(() => '');
    this.#lines = text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as LogLine);
    const model = new CrashModel(this.#initial, this.#lines);
    let dir = join(this.#base, 'cache');
    if (this.#o.powerCut) {
      dir = join(this.#base, 'after');
      await powerCut(join(this.#base, 'cache'), join(this.#base, 'shadow'), dir, this.#random);
    }
    await this.#recover(dir, model);
    return { reached, operations: model.acknowledged };
  }

  async #untilKilled(): Promise<boolean> {
    program ??= bundle('test/crash/cache_child.ts');
    const config: ChildConfig = {
      dir: join(this.#base, 'cache'),
      log: join(this.#base, 'log'),
      shadow: this.#o.powerCut ? join(this.#base, 'shadow') : null,
      seed: this.#o.seed,
      steps: STEPS,
      capabilities: this.#remote().capabilities,
      // Room for a part of it: evictions happen.
      sizeLimit_bytes: this.#random.chance(0.5) ? 150_000 : 1e9,
    };
    await writeFile(join(this.#base, 'config.json'), JSON.stringify(config));
    const { at } = this.#o;
    const child = fork(await program, [join(this.#base, 'config.json')], {
      serialization: 'advanced',
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      execArgv: [],
      env: {
        ...process.env,
        NODE_ENV: 'test',
        ...(at === null ? {} : { CLOUDMOUNT_CRASH_AT: `${at.point}:${at.pass}` }),
      },
    });
    const listen = (chunk: Buffer) => {
      this.#said += chunk.toString();
    };
    child.stdout?.on('data', listen);
    child.stderr?.on('data', listen);
    const remote = this.#remote();
    remote.latency_ms = this.#random.below(8);
    const end = serveRemote(child, remote);
    const gone = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    const late = setTimeout(() => child.kill('SIGKILL'), 60_000);
    if (at === null) {
      const delay_ms = this.#random.below(2500);
      const started = async () => (await readFile(join(this.#base, 'log'), 'utf8').catch(() => '')) !== '';
      void eventually('the workload to begin', () => child.exitCode !== null || started())
        .then(() => sleep(delay_ms))
        .finally(() => child.kill('SIGKILL'));
    }
    const [code, signal] = await gone;
    clearTimeout(late);
    end();
    if (signal !== 'SIGKILL') throw new Error(`the child ended with ${signal ?? code}`);
    const log = await readFile(join(this.#base, 'log'), 'utf8').catch(() => '');
    return !log.includes('"number":-1');
  }

  #remote(): FakeRemote {
    const remote = new FakeRemote(this.#server, { capabilities: this.#o.capabilities ?? {} });
    remote.chunkedFrom_bytes = PARTS_FROM_BYTES;
    remote.uploadChunk_bytes = PART_BYTES;
    remote.checksSums = this.#checksSums;
    for (const op of ['put', 'mkdir', 'move', 'remove', 'stat'] as const) {
      const diary = join(this.#base, 'log.cache');
      remote.before(op, (call) => appendFileSync(diary, `server: ${op} ${call.path}\n`));
      remote.after(op, (call) => appendFileSync(diary, `server: done ${op} ${call.path}\n`));
    }
    return remote;
  }

  async #recover(dir: string, model: CrashModel): Promise<void> {
    const remote = this.#remote();
    const wasUp = this.#lines.some((line) => line.number === 0);
    if (wasUp) remote.goOffline();
    const note = (details: object, message: string) => {
      const { err, ...rest } = details as { err?: unknown };
      this.#after.push(`[${message}]${err instanceof Error ? ` ${err.message}` : ''} ${JSON.stringify(rest)}`);
    };
    const log = { debug: note, info: note, warn: note, error: note };
    for (const op of ['put', 'mkdir', 'move', 'remove', 'stat'] as const) {
      remote.after(op, (call) => void this.#after.push(`server: done ${op} ${call.path}`));
    }
    const drive = await TestCache.open({ dir, remote, quiet_ms: 15, log });
    try {
      if (wasUp) await this.#compare(drive, model, 'before the network is back');
      expectNothing('problems after the start', await drive.check());
      remote.goOnline();
      await drive.cache.reconnect();
      await drive.until('it is online', () => drive.cache.status().connection === 'online');
      await drive.flush('', 20_000);
      expectNothing(
        'conflicts of our own making',
        drive.cache.conflicts().map(({ path, reason }) => `${path}: ${reason}`),
      );
      await drive
        .until('the drive to show what the server has', async () => {
          return (await this.#paths(drive)).join('\n') === this.#server.paths().sort().join('\n');
        })
        .catch(async (error: unknown) => {
          throw new Error(
            `${String(error)}\nthe drive has:\n${(await this.#paths(drive)).join('\n')}\nthe server has:\n${this.#server.paths().sort().join('\n')}`,
          );
        });
      const shown = await this.#compare(drive, model, 'in the end');
      for (const [path, file] of shown) {
        if (file === null) continue;
        const there = this.#server.read(path);
        const here = await contentOfFile(drive, path);
        if (here?.equals(there) !== true) throw new Error(`${path}: the server has other bytes than the drive`);
      }
      expectNothing('problems in the end', await drive.check());
    } finally {
      await drive.close();
    }
  }

  /** The names must be those of a state that may be, and every content one that its file may have. Answers that state. */
  async #compare(drive: TestCache, model: CrashModel, when: string): Promise<Names> {
    const first = this.#o.powerCut ? model.durable : model.acknowledged;
    const found = (await this.#paths(drive)).join('\n');
    let names: Names | null = null;
    for (const state of model.states.slice(first)) {
      if ([...state.keys()].sort().join('\n') === found) names = state;
    }
    if (names === null) {
      const wanted = [...(model.states[model.acknowledged]?.keys() ?? [])].sort().join('\n');
      throw new Error(`${when} the drive has\n${found}\nwhich it had at no moment since\n${wanted}`);
    }
    for (const [path, file] of names) {
      if (file === null) continue;
      const content = await contentOfFile(drive, path);
      const wrong = content === null ? null : file.whatIsWrong(content);
      if (wrong !== null) throw new Error(`${when} ${path}: ${wrong}`);
    }
    return names;
  }

  async #paths(drive: TestCache, dir = ''): Promise<string[]> {
    const paths: string[] = [];
    for (const name of await drive.list(dir)) {
      const path = dir === '' ? name : `${dir}/${name}`;
      paths.push(path);
      if ((await drive.must(path)).kind === 'dir') paths.push(...(await this.#paths(drive, path)));
    }
    return paths.sort();
  }
}

/** Null = not here and the server is out of reach. */
async function contentOfFile(drive: TestCache, path: string): Promise<Buffer | null> {
  const file = await drive.open(path);
  try {
    const { size_bytes } = drive.cache.node(file.ino);
    return Buffer.from(await file.read(0, size_bytes, CALLER));
  } catch (error) {
    if (isCloudError(error, 'offline')) return null;
    throw error;
  } finally {
    file.release();
  }
}

function expectNothing(what: string, found: readonly string[]): void {
  if (found.length > 0) throw new Error(`${what}:\n${found.join('\n')}`);
}
