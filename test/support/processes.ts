// Child processes of tests and benchmarks: started in a group of their own, remembered by pid, and ended by that pid
// whatever happens to the test. `run` is for programs that end, `spawnTracked` for those that serve.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** The program changes there itself, after exec: a mount that hangs must not block the test's own spawn. */
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | Buffer;
  readonly timeout_ms?: number;
  /** Run as this user (needs root): no supplementary groups, no capabilities. */
  readonly user?: { readonly uid: number; readonly gid: number };
}

const running = new Set<ChildProcess>();
const exitHooks: (() => void)[] = [];
let hooked = false;

/** Runs when this process ends, however it ends short of SIGKILL. Must be synchronous. */
export function atExit(hook: () => void): void {
  exitHooks.push(hook);
  if (hooked) return;
  hooked = true;
  process.once('exit', () => {
    for (const child of running) killGroup(child, 'SIGKILL');
    for (const each of exitHooks) each();
  });
  // By default these end a process without its exit hooks.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));
}

/** Signals the whole group of a child that was started here. */
export function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Gone between the check and the call: what was wanted.
  }
}

/** The line to run. What serves is told when this process dies of SIGKILL, which runs no hook. */
function command(
  program: string,
  args: readonly string[],
  options: RunOptions,
  serves: boolean,
): readonly [string, readonly string[]] {
  let line = serves ? ['setpriv', '--pdeathsig', 'SIGTERM', program, ...args] : [program, ...args];
  if (options.cwd !== undefined) line = ['env', '-C', options.cwd, ...line];
  if (options.user !== undefined) {
    const { uid, gid } = options.user;
    line = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--inh-caps=-all', ...line];
  }
  return [line[0] ?? program, line.slice(1)];
}

/** Starts a program that keeps running; ended at the latest when this process ends. What it says goes to the file `log`,
 * else to pipes that the caller must read. */
export function spawnTracked(
  program: string,
  args: readonly string[],
  options: RunOptions & { readonly stdin?: 'pipe' | 'ignore'; readonly log?: string } = {},
): ChildProcess {
  atExit(() => {});
  const [file, argv] = command(program, args, options, options.log !== undefined);
  const log = options.log === undefined ? 'pipe' : openSync(options.log, 'a');
  const child = spawn(file, argv, {
    detached: true,
    env: { ...process.env, ...options.env },
    stdio: [options.stdin ?? 'ignore', log, log],
  });
  if (typeof log === 'number') closeSync(log);
  running.add(child);
  child.once('exit', () => running.delete(child));
  child.once('error', () => running.delete(child));
  return child;
}

/** Runs a program to its end and collects what it says; over the bound it is killed and the promise rejects. */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const timeout_ms = options.timeout_ms ?? 60_000;
  const child = spawnTracked(program, args, { ...options, stdin: options.input === undefined ? 'ignore' : 'pipe' });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));
  if (options.input !== undefined) {
    child.stdin?.on('error', () => {}); // the program may end without reading all of it
    child.stdin?.end(options.input);
  }
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    killGroup(child, 'SIGKILL');
  }, timeout_ms);
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    const finished = { code, signal, stdout: text(stdout), stderr: text(stderr) };
    if (late) throw new Error(`${describe(program, args)}: no end after ${timeout_ms} ms\n${finished.stderr}`);
    return finished;
  } finally {
    clearTimeout(timer);
  }
}

/** As `run`, and rejects unless the program ends with 0. Answers its standard output. */
export async function must(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, signal, stdout, stderr } = await run(program, args, options);
  if (code !== 0) {
    throw new Error(
      `${describe(program, args)}: ended with ${signal ?? code}\n${stdout.slice(-2000)}${stderr.slice(-4000)}`,
    );
  }
  return stdout;
}

/** Asks a child to end, then makes it; resolves when it is gone. Answers how it ended. */
export async function stop(
  child: ChildProcess,
  signal: NodeJS.Signals = 'SIGTERM',
  bound_ms = 15_000,
): Promise<{ code: number | null; signal: NodeJS.Signals | null; forced: boolean }> {
  let forced = false;
  if (child.exitCode === null && child.signalCode === null) {
    const gone = once(child, 'exit');
    child.kill(signal);
    const timer = setTimeout(() => {
      forced = true;
      killGroup(child, 'SIGKILL');
    }, bound_ms);
    await gone;
    clearTimeout(timer);
  }
  return { code: child.exitCode, signal: child.signalCode, forced };
}

/** Thrown by a probe that knows that waiting is in vain. */
export class GivenUp extends Error {}

/** Asks until the answer is accepted. The bound is the harness's, far beyond any promise: it ends a test that hangs. */
export async function eventually<T>(
  what: string,
  probe: () => T | Promise<T>,
  accept: (value: T) => boolean = Boolean,
  bound_ms = 20_000,
): Promise<T> {
  const deadline = performance.now() + bound_ms;
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (accept(value)) return value;
      last = value;
    } catch (error) {
      if (error instanceof GivenUp) throw error;
      last = error;
    }
    if (performance.now() > deadline) {
      const found = last instanceof Error ? last.message : JSON.stringify(last);
      throw new Error(`waited ${bound_ms} ms for: ${what}; last found: ${found}`, { cause: last });
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export function describe(program: string, args: readonly string[]): string {
  return [program, ...args].join(' ');
}

function text(chunks: readonly Buffer[]): string {
  return Buffer.concat(chunks).toString('utf8');
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
