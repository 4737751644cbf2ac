// A process that makes system calls on behalf of a test (fsop.py): tests never touch a mount themselves. Every call is
// bounded; a call that does not come back kills the process and fails the test instead of hanging it.

import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { killGroup, spawnTracked, stop } from './processes.js';

const PROGRAM = fileURLToPath(new URL('./fsop.py', import.meta.url));
/** The system's own first: version managers put slow wrappers before it, and other users may not run those. */
const PYTHON = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';

/** A system call's failure, by the name of its errno. */
export class FsError extends Error {
  override readonly name = 'FsError';
  readonly errno: string;

  constructor(errno: string, message: string) {
    super(message);
    this.errno = errno;
  }
}

export interface Stat {
  readonly ino: number;
  readonly dev: number;
  readonly kind: 'file' | 'dir' | 'symlink' | 'fifo' | 'other';
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly blocks: number;
  readonly atime_ns: bigint;
  readonly mtime_ns: bigint;
  readonly ctime_ns: bigint;
}

export interface DirEntry {
  readonly name: string;
  readonly ino: number;
  readonly offset: string;
  readonly type: number;
}

/** [kind, mode, size, SHA-256 or link target, mtime in ns or null] */
export type TreeEntry = readonly [string, number, number, string | null, string | null];

export type Time = 'now' | 'omit' | bigint;
export type Call = { readonly op: string } & Readonly<Record<string, unknown>>;
export type Answer = { readonly ok: unknown } | { readonly errno: string; readonly message: string };

interface Pending {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

type RawStat = Omit<Stat, 'atime_ns' | 'mtime_ns' | 'ctime_ns'> & Record<'atime_ns' | 'mtime_ns' | 'ctime_ns', string>;

export class FsProcess {
  readonly #child: ChildProcess;
  readonly #pending = new Map<number, Pending>();
  #next = 1;
  #ended: Error | null = null;

  constructor(options: { readonly user?: { readonly uid: number; readonly gid: number } } = {}) {
    this.#child = spawnTracked(PYTHON, ['-u', PROGRAM], { ...options, stdin: 'pipe' });
    let stderr = '';
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      stderr += chunk.toString('utf8');
    });
    this.#child.stdin?.on('error', () => {});
    this.#child.once('error', (error) => this.#end(error));
    this.#child.once('close', (code, signal) =>
      this.#end(new Error(`the system call process ended (${signal ?? code}) ${stderr}`)),
    );
    if (this.#child.stdout !== null) {
      createInterface({ input: this.#child.stdout }).on('line', (line) => {
        const { id, ...answer } = JSON.parse(line) as { id: number } & Answer;
        const pending = this.#pending.get(id);
        this.#pending.delete(id);
        if (pending === undefined) return;
        clearTimeout(pending.timer);
        pending.resolve(answer);
      });
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** One call; what it gave or the errno it failed with. */
  ask(call: Call, bound_ms = 60_000): Promise<Answer> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#end(new Error(`${call.op} ${String(call['path'] ?? '')}: no answer after ${bound_ms} ms`));
        killGroup(this.#child, 'SIGKILL');
      }, bound_ms);
      this.#pending.set(id, { resolve, reject, timer });
      this.#child.stdin?.write(`${JSON.stringify({ id, ...call })}\n`);
    });
  }

  /** One call that is expected to work; rejects with `FsError`. */
  async call<T>(call: Call, bound_ms?: number): Promise<T> {
    const answer = await this.ask(call, bound_ms);
    if ('errno' in answer) throw new FsError(answer.errno, answer.message);
    return answer.ok as T;
  }

  /** Several calls in one round trip, each answered. */
  batch(calls: readonly Call[], bound_ms?: number): Promise<Answer[]> {
    return this.call<Answer[]>({ op: 'batch', calls }, bound_ms);
  }

  open(path: string, flags = 'O_RDONLY', mode = 0o666): Promise<number> {
    return this.call({ op: 'open', path, flags, mode });
  }
  close(fd: number): Promise<void> {
    return this.call({ op: 'close', fd });
  }
  async pread(fd: number, size: number, offset: number): Promise<Buffer> {
    return Buffer.from(await this.call<string>({ op: 'pread', fd, size, offset }), 'base64');
  }
  async read(fd: number, size: number): Promise<Buffer> {
    return Buffer.from(await this.call<string>({ op: 'read', fd, size }), 'base64');
  }
  write(fd: number, data: string | Buffer): Promise<number> {
    return this.call({ op: 'write', fd, data: base64(data) });
  }
  pwrite(fd: number, data: string | Buffer, offset: number): Promise<number> {
    return this.call({ op: 'pwrite', fd, data: base64(data), offset });
  }
  lseek(fd: number, offset: number, whence = 'SEEK_SET'): Promise<number> {
    return this.call({ op: 'lseek', fd, offset, whence });
  }
  fsync(fd: number): Promise<void> {
    return this.call({ op: 'fsync', fd });
  }
  ftruncate(fd: number, size: number): Promise<void> {
    return this.call({ op: 'ftruncate', fd, size });
  }
  truncate(path: string, size: number): Promise<void> {
    return this.call({ op: 'truncate', path, size });
  }
  async stat(path: string): Promise<Stat> {
    return statOf(await this.call<RawStat>({ op: 'stat', path }));
  }
  async lstat(path: string): Promise<Stat> {
    return statOf(await this.call<RawStat>({ op: 'lstat', path }));
  }
  async fstat(fd: number): Promise<Stat> {
    return statOf(await this.call<RawStat>({ op: 'fstat', fd }));
  }
  async exists(path: string): Promise<boolean> {
    const answer = await this.ask({ op: 'lstat', path });
    if ('errno' in answer && answer.errno !== 'ENOENT') throw new FsError(answer.errno, answer.message);
    return 'ok' in answer;
  }
  list(path: string): Promise<string[]> {
    return this.call({ op: 'listdir', path });
  }
  mkdir(path: string, mode = 0o777): Promise<void> {
    return this.call({ op: 'mkdir', path, mode });
  }
  rmdir(path: string): Promise<void> {
    return this.call({ op: 'rmdir', path });
  }
  unlink(path: string): Promise<void> {
    return this.call({ op: 'unlink', path });
  }
  rename(old: string, to: string): Promise<void> {
    return this.call({ op: 'rename', old, new: to });
  }
  renameat2(old: string, to: string, flags: number): Promise<void> {
    return this.call({ op: 'renameat2', old, new: to, flags });
  }
  link(old: string, to: string): Promise<void> {
    return this.call({ op: 'link', old, new: to });
  }
  symlink(target: string, path: string): Promise<void> {
    return this.call({ op: 'symlink', target, path });
  }
  readlink(path: string): Promise<string> {
    return this.call({ op: 'readlink', path });
  }
  chmod(path: string, mode: number): Promise<void> {
    return this.call({ op: 'chmod', path, mode });
  }
  chown(path: string, uid: number, gid: number): Promise<void> {
    return this.call({ op: 'chown', path, uid, gid });
  }
  utimens(path: string, atime: Time, mtime: Time, follow = true): Promise<void> {
    return this.call({ op: 'utimens', path, atime: String(atime), mtime: String(mtime), follow });
  }
  setxattr(path: string, name: string, value: string | Buffer, flags = 0): Promise<void> {
    return this.call({ op: 'setxattr', path, name, value: base64(value), flags });
  }
  async getxattr(path: string, name: string): Promise<Buffer> {
    return Buffer.from(await this.call<string>({ op: 'getxattr', path, name }), 'base64');
  }
  listxattr(path: string): Promise<string[]> {
    return this.call({ op: 'listxattr', path });
  }
  removexattr(path: string, name: string): Promise<void> {
    return this.call({ op: 'removexattr', path, name });
  }
  fallocate(fd: number, mode: number, offset: number, length: number): Promise<void> {
    return this.call({ op: 'fallocate', fd, mode, offset, length });
  }
  getdents(fd: number, size = 4096): Promise<DirEntry[]> {
    return this.call({ op: 'getdents', fd, size });
  }
  seekDir(fd: number, offset: string): Promise<string> {
    return this.call({ op: 'seek_dir', fd, offset });
  }
  async readFile(path: string): Promise<Buffer> {
    return Buffer.from(await this.call<string>({ op: 'read_file', path }), 'base64');
  }
  async readText(path: string): Promise<string> {
    return (await this.readFile(path)).toString('utf8');
  }
  writeFile(path: string, data: string | Buffer, options: { mode?: number; sync?: boolean } = {}): Promise<void> {
    return this.call({ op: 'write_file', path, data: base64(data), ...options });
  }
  /** Writes the seed's pattern; answers its SHA-256. */
  fill(path: string, size: number, options: { seed?: number; offset?: number; sync?: boolean } = {}): Promise<string> {
    return this.call({ op: 'fill', path, size, ...options }, 300_000);
  }
  sha256(path: string): Promise<{ sha256: string; size: number }> {
    return this.call({ op: 'sha256', path }, 300_000);
  }
  tree(path: string, times = false): Promise<Record<string, TreeEntry>> {
    return this.call({ op: 'tree', path, times }, 300_000);
  }
  walk(path: string): Promise<{ files: number; dirs: number; size: number }> {
    return this.call({ op: 'walk', path }, 300_000);
  }

  async end(): Promise<void> {
    if (this.#ended !== null) return;
    this.#child.stdin?.end();
    await stop(this.#child, 'SIGKILL');
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#pending.clear();
  }
}

function statOf(s: RawStat): Stat {
  return { ...s, atime_ns: BigInt(s.atime_ns), mtime_ns: BigInt(s.mtime_ns), ctime_ns: BigInt(s.ctime_ns) };
}

function base64(data: string | Buffer): string {
  return (typeof data === 'string' ? Buffer.from(data, 'utf8') : data).toString('base64');
}
