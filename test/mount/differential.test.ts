// Random operations of several processes on a drive and on a local folder: every answer must be the same, and so must
// the trees in the end, here and through a second cache. SEED=… replays a run.

import { expect, it } from 'vitest';
import type { Answer, Call, FsProcess } from '../support/fs_process.js';
import { gateSeeds, Random } from '../support/random.js';
import { onServers, type World } from '../support/world.js';

const STEPS = 1500;
const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const NAMES = ['a', 'b', 'c', 'ü', 'with space', '%41'] as const;
const OPEN_FLAGS = [
  'O_RDONLY',
  'O_RDWR',
  'O_WRONLY',
  'O_RDWR|O_CREAT',
  'O_RDWR|O_CREAT',
  'O_WRONLY|O_CREAT|O_TRUNC',
  'O_WRONLY|O_CREAT|O_APPEND',
  'O_RDWR|O_CREAT|O_EXCL',
  'O_RDONLY|O_DIRECTORY',
] as const;

interface Handle {
  readonly path: string;
  readonly process: number;
  readonly drive: number;
  readonly local: number;
}

/** A call whose paths and descriptors are still to be put in: once for the drive, once for the local folder. */
type Step = (root: string, fd: (handle: Handle) => number) => Call;

class Walk {
  readonly #random: Random;
  readonly #processes: readonly FsProcess[];
  readonly #drive: string;
  readonly #local: string;
  readonly #symlinks: boolean;
  readonly #handles: Handle[] = [];
  readonly log: string[] = [];

  constructor(random: Random, processes: readonly FsProcess[], drive: string, local: string, symlinks: boolean) {
    this.#random = random;
    this.#processes = processes;
    this.#drive = drive;
    this.#local = local;
    this.#symlinks = symlinks;
  }

  async step(): Promise<void> {
    const random = this.#random;
    const handle = this.#handles.length > 0 && random.chance(0.5) ? random.pick(this.#handles) : undefined;
    if (handle === undefined) {
      const process = random.below(this.#processes.length);
      if (this.#handles.length < 10 && random.chance(0.35)) await this.#open(process);
      else await this.#compare(process, this.#pathStep());
    } else if (random.chance(0.15)) {
      this.#handles.splice(this.#handles.indexOf(handle), 1);
      await this.#compare(handle.process, (_, fd) => ({ op: 'close', fd: fd(handle) }));
    } else {
      await this.#compare(handle.process, this.#handleStep(handle));
    }
  }

  async closeAll(): Promise<void> {
    for (const handle of this.#handles.splice(0)) {
      await this.#compare(handle.process, (_, fd) => ({ op: 'close', fd: fd(handle) }));
    }
  }

  #path(): string {
    const random = this.#random;
    let path = '';
    do path += `/${random.pick(NAMES)}`;
    while (random.chance(0.4) && path.length < 40);
    return path;
  }

  async #open(process: number): Promise<void> {
    const path = this.#path();
    const flags = this.#random.pick(OPEN_FLAGS);
    const [drive, local] = await this.#compare(process, (root) => ({ op: 'open', path: root + path, flags }));
    if ('ok' in drive && 'ok' in local) {
      this.#handles.push({ path, process, drive: Number(drive.ok), local: Number(local.ok) });
    }
  }

  #pathStep(): Step {
    const random = this.#random;
    const path = this.#path();
    const other = this.#path();
    const size = random.below(60_000);
    const data = random.bytes(random.below(200)).toString('base64');
    const mode = random.pick([0o600, 0o644, 0o755, 0o444, 0o700] as const);
    const flags = random.pick([RENAME_NOREPLACE, RENAME_EXCHANGE] as const);
    const time = String(BigInt(1_000_000_000 + random.below(1_000_000_000)) * 1_000_000_000n + 123_456_789n);
    return random.weighted<Step>([
      [6, (root) => ({ op: 'lstat', path: root + path })],
      [6, (root) => ({ op: 'listdir', path: root + path.slice(0, path.lastIndexOf('/')) })],
      [8, (root) => ({ op: 'read_file', path: root + path })],
      [8, (root) => ({ op: 'write_file', path: root + path, data })],
      [8, (root) => ({ op: 'mkdir', path: root + path })],
      [4, (root) => ({ op: 'rmdir', path: root + path })],
      [6, (root) => ({ op: 'unlink', path: root + path })],
      [9, (root) => ({ op: 'rename', old: root + path, new: root + other })],
      [6, (root) => ({ op: 'renameat2', old: root + path, new: root + other, flags })],
      [4, (root) => ({ op: 'truncate', path: root + path, size })],
      [3, (root) => ({ op: 'utimens', path: root + path, atime: time, mtime: time })],
      [2, (root) => ({ op: 'stat', path: `${root}${path}/.` })],
      [2, (root) => ({ op: 'rename', old: root + path, new: `${root}${path}/below` })],
      [this.#symlinks ? 3 : 0, (root) => ({ op: 'symlink', target: other.slice(1), path: root + path })],
      [this.#symlinks ? 2 : 0, (root) => ({ op: 'readlink', path: root + path })],
      [this.#symlinks ? 3 : 0, (root) => ({ op: 'chmod', path: root + path, mode })],
    ]);
  }

  #handleStep(handle: Handle): Step {
    const random = this.#random;
    const offset = random.below(50_000);
    const size = random.below(20_000);
    const data = random.bytes(random.below(3000)).toString('base64');
    return random.weighted<Step>([
      [8, (_, fd) => ({ op: 'pread', fd: fd(handle), size, offset })],
      [8, (_, fd) => ({ op: 'pwrite', fd: fd(handle), data, offset })],
      [4, (_, fd) => ({ op: 'write', fd: fd(handle), data })],
      [3, (_, fd) => ({ op: 'read', fd: fd(handle), size })],
      [3, (_, fd) => ({ op: 'ftruncate', fd: fd(handle), size: offset })],
      [3, (_, fd) => ({ op: 'fstat', fd: fd(handle) })],
      [2, (_, fd) => ({ op: 'fsync', fd: fd(handle) })],
      [1, (_, fd) => ({ op: 'fallocate', fd: fd(handle), mode: 3, offset, length: size + 1 })],
      [1, (_, fd) => ({ op: 'fallocate', fd: fd(handle), mode: 0, offset, length: size + 1 })],
      [2, (_, fd) => ({ op: 'lseek', fd: fd(handle), offset: size, whence: 'SEEK_SET' })],
    ]);
  }

  /** What happened to the file in question, and what happened last. */
  #story(process: number, call: Call): string {
    const handle = this.#handles.find((each) => each.process === process && each.local === call['fd']);
    const about = handle === undefined ? [] : [`${process} {`, `"fd":${handle.local},`];
    const concerned = this.log.filter(
      (line) =>
        handle !== undefined &&
        ((line.startsWith(about[0] ?? '') && line.includes(about[1] ?? '')) ||
          line.includes(`${this.#local}${handle.path}"`)),
    );
    return `${handle?.path ?? ''}\n${concerned.slice(-25).join('\n')}\n...\n${this.log.slice(-15).join('\n')}`;
  }

  async #compare(process: number, step: Step): Promise<readonly [Answer, Answer]> {
    const driveCall = step(this.#drive, (handle) => handle.drive);
    const localCall = step(this.#local, (handle) => handle.local);
    const [drive = { ok: null }, local = { ok: null }] =
      (await this.#processes[process]?.batch([driveCall, localCall])) ?? [];
    this.log.push(
      `${process} ${JSON.stringify(localCall).slice(0, 140)} -> ${JSON.stringify(essence(localCall, local)).slice(0, 60)}`,
    );
    expect(essence(driveCall, drive), this.#story(process, localCall)).toEqual(essence(localCall, local));
    return [drive, local];
  }
}

/** What must be the same in both: not inode numbers, descriptors, or the clock. */
function essence(call: Call, answer: Answer): unknown {
  if ('errno' in answer) return { errno: answer.errno };
  if (call.op === 'open') return 'opened';
  if (!['stat', 'lstat', 'fstat'].includes(call.op)) return answer.ok;
  const { kind, mode, size, nlink } = answer.ok as Record<string, unknown>;
  return { kind, mode, size: kind === 'dir' ? 0 : size, nlink: kind === 'dir' ? 0 : nlink };
}

async function contents(fs: FsProcess, root: string, modes: boolean): Promise<unknown> {
  const tree = Object.entries(await fs.tree(root));
  return tree.map(([path, [kind, mode, size, content]]) => [path, kind, modes ? mode : 0, size, content]).sort();
}

onServers(['cloudmount', 'apache'], {}, (world: World) => {
  for (const seed of gateSeeds(3)) {
    it(`random operations of three processes give what a local folder gives (SEED=${seed})`, async () => {
      const drive = await world.folder();
      const local = world.stage.folder('local');
      const processes = [world.stage.fs(), world.stage.fs(), world.stage.fs()];
      const own = world.kind === 'cloudmount';
      const walk = new Walk(new Random(seed), processes, drive, local, own);
      for (let i = 0; i < STEPS; i++) await walk.step();
      await walk.closeAll();
      expect(await contents(world.fs, drive, own)).toEqual(await contents(world.fs, local, own));
      await world.drive.flush();
      expect(await contents(world.fs, drive, own)).toEqual(await contents(world.fs, local, own));
      await world.drive.mustCli(['check', world.drive.dir]);
      const second = await world.stage.mount(world.server);
      expect(await contents(world.fs, second.path(world.remote(drive)), own)).toEqual(
        await contents(world.fs, local, own),
      );
      await second.unmount();
      for (const process of processes) await process.end();
    });
  }
});
