// Runs the built product's command line, as a user would, with a home of its own.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Finished, must, type RunOptions, run } from './processes.js';

/** The built program. Tests and benchmarks may stand elsewhere once compiled, so it is looked for upwards. */
export const PROGRAM = findProgram();

function findProgram(): string {
  for (let dir = new URL('.', import.meta.url); ; dir = new URL('..', dir)) {
    const candidate = fileURLToPath(new URL('dist/bin/cloudmount.js', dir));
    if (existsSync(fileURLToPath(new URL('package.json', dir))) && existsSync(candidate)) return candidate;
    if (dir.pathname === '/') throw new Error('dist/bin/cloudmount.js is not there: run `npm run build` first');
  }
}

export function cli(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return run(process.execPath, [PROGRAM, ...args], options);
}

/** Rejects unless the command ends with 0. */
export function mustCli(args: readonly string[], options: RunOptions = {}): Promise<string> {
  return must(process.execPath, [PROGRAM, ...args], options);
}
