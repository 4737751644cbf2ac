// Runs the measuring program (probe.c) and times ordinary commands.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { must, type RunOptions, run } from '../test/support/processes.js';

export interface Measured {
  readonly seconds: number;
  /** Bytes, operations or files, as the probe counts. */
  readonly count: number;
}

const LIMIT_ms = 600_000;
let program: string | null = null;

/** Compiles probe.c into `dir`. Needs a C compiler, as building the product's native dependencies does. */
export async function buildProbe(dir: string): Promise<void> {
  program = join(dir, 'probe');
  await must('cc', ['-O2', '-o', program, join(sourceDir(), 'probe.c')]);
}

/** Where the sources are: this module may run from where it was compiled to. */
export function sourceDir(): string {
  for (let dir = dirname(fileURLToPath(import.meta.url)); ; dir = dirname(dir)) {
    const candidate = join(dir, 'bench');
    if (existsSync(join(candidate, 'probe.c'))) return candidate;
    if (dir === '/') throw new Error('bench/probe.c is not there');
  }
}

export async function probe(as: RunOptions, ...args: readonly (string | number)[]): Promise<Measured> {
  if (program === null) throw new Error('the probe is not built yet');
  const said = await must(program, args.map(String), { timeout_ms: LIMIT_ms, ...as });
  const [seconds = 0, count = 0] = said.trim().split(' ').map(Number);
  return { seconds, count };
}

/** Seconds a command takes from start to end; it must succeed. */
export async function timed(program: string, args: readonly string[], options: RunOptions = {}): Promise<number> {
  const start = performance.now();
  const { code, signal, stderr } = await run(program, args, { timeout_ms: LIMIT_ms, ...options });
  const seconds = (performance.now() - start) / 1000;
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ended with ${signal ?? code}: ${stderr.slice(-1000)}`);
  return seconds;
}

/** Throws the clean pages, dentries and inodes of the whole machine away. Only root may. */
export async function dropPageCache(): Promise<void> {
  if (process.getuid?.() !== 0) return;
  await must('sh', ['-c', 'sync; echo 3 > /proc/sys/vm/drop_caches']);
}
