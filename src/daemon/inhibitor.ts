// Asks logind not to shut down while uploads are pending (systemd-inhibit(1)). The inhibitor lives in a child that reads
// from a pipe of ours: when this process ends, however it ends, the pipe closes, the child ends, the lock is gone.
// Without systemd-inhibit or logind nothing is held and nothing is said (`cloudmount doctor` tells); it is tried again
// after a while, since logind and the bus may be restarted.

import { type ChildProcess, spawn } from 'node:child_process';
import type { Log } from '../log.js';

const AGAIN_MS = 60_000;

export class ShutdownInhibitor {
  readonly #log: Log;
  readonly #command: string;
  readonly #now_ms: () => number;
  #child: ChildProcess | null = null;
  #notBefore_ms = Number.NEGATIVE_INFINITY;

  constructor(log: Log, command = 'systemd-inhibit', now_ms: () => number = () => performance.now()) {
    this.#log = log;
    this.#command = command;
    this.#now_ms = now_ms;
  }

  get held(): boolean {
    return this.#child !== null;
  }

  /** Takes or frees the lock; cheap to call again with the same answer. */
  set(needed: boolean, why: string): void {
    if (needed) this.#take(why);
    else this.release();
  }

  release(): void {
    this.#child?.stdin?.end();
    this.#child = null;
  }

  #take(why: string): void {
    if (this.#child !== null || this.#now_ms() < this.#notBefore_ms) return;
    const child = spawn(this.#command, ['--what=shutdown', '--who=cloudmount', `--why=${why}`, '--mode=block', 'cat'], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    this.#child = child;
    // Neither the child nor its pipe keeps the daemon running.
    child.unref();
    child.stdin?.on('error', () => undefined);
    child.on('error', (error) => this.#lost(child, error.message));
    child.on('exit', (code) => {
      if (this.#child === child) this.#lost(child, `it ended with code ${code}`);
    });
  }

  #lost(child: ChildProcess, reason: string): void {
    if (this.#child === child) this.#child = null;
    this.#notBefore_ms = this.#now_ms() + AGAIN_MS;
    this.#log.debug({ reason }, 'no shutdown inhibitor');
  }
}
