// The server of `cloudmount up`, in a process of its own: a busy server does not slow the drive's event loop, and either
// can crash alone. It is in no terminal's foreground group, so Ctrl-C reaches `up` only, which stops the drive first. If
// `up` dies, the IPC channel closes and the server stops by itself.

import { type ChildProcess, spawn } from 'node:child_process';
import type { ServingMessage } from '../commands/serve.js';
import { CommandError, EXIT, type ExitCode } from './exit_codes.js';

export interface EmbeddedServerOptions {
  readonly dataDir: string;
  readonly host: string;
  readonly port: number;
  readonly logFile: string;
  /** Called when the server ended without being asked to; it is started again by itself. */
  onRestart(reason: string): void;
  /** Called when it takes long to start. */
  onSlow(seconds: number): void;
}

const SLOW_START_MS = 30_000;
/** A server that brings a large folder up to date, or writes the WAL of a crash back, takes minutes: killed before its end
 * it would begin anew each time. */
const START_TIMEOUT_MS = 30 * 60_000;
/** `up` itself is gone 4.7 s after it was asked to stop (`STOP_LIMIT_MS`); nothing that was answered is lost. */
const STOP_TIMEOUT_MS = 3_300;
const RESTART_DELAYS_MS = [500, 1_000, 2_000, 5_000, 10_000, 30_000];
/** After so long without a crash the next one counts as the first again. */
const STEADY_MS = 60_000;

export class EmbeddedServer {
  readonly url: string;
  readonly #options: EmbeddedServerOptions;
  #child: ChildProcess;
  #said: () => string;
  #stopping = false;
  #crashes = 0;
  #startedAt_ms = performance.now();
  #restart: NodeJS.Timeout | undefined;

  private constructor(options: EmbeddedServerOptions, launched: Launched) {
    this.#options = options;
    this.#child = launched.child;
    this.#said = launched.said;
    this.url = launched.url;
    this.#watch(launched.child);
  }

  /** Resolves when the server answers. */
  static async start(options: EmbeddedServerOptions): Promise<EmbeddedServer> {
    return new EmbeddedServer(options, await launch(options));
  }

  get pid(): number | null {
    return this.#child.pid ?? null;
  }

  /** Asks it to finish, kills it by its id after a while. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restart);
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await ended;
    clearTimeout(timer);
  }

  /** For a process that must end at once. */
  kill(): void {
    this.#stopping = true;
    this.#child.kill('SIGKILL');
  }

  #watch(child: ChildProcess): void {
    child.once('exit', (code, signal) => {
      if (this.#stopping) return;
      if (performance.now() - this.#startedAt_ms > STEADY_MS) this.#crashes = 0;
      const delay_ms = RESTART_DELAYS_MS[Math.min(this.#crashes, RESTART_DELAYS_MS.length - 1)] ?? 0;
      this.#crashes += 1;
      const lastLine = this.#said().trim().split('\n').at(-1);
      this.#options.onRestart(`it ended with ${signal ?? `code ${code}`}${lastLine ? `: ${lastLine}` : ''}`);
      this.#scheduleRestart(delay_ms);
    });
  }

  #scheduleRestart(delay_ms: number): void {
    this.#restart = setTimeout(() => {
      launch({ ...this.#options, port: Number(new URL(this.url).port) }).then(
        ({ child, said }) => {
          this.#child = child;
          this.#said = said;
          this.#startedAt_ms = performance.now();
          if (this.#stopping) child.kill('SIGTERM');
          this.#watch(child);
        },
        (error: Error) => {
          if (this.#stopping) return;
          this.#options.onRestart(error.message);
          this.#scheduleRestart(RESTART_DELAYS_MS.at(-1) ?? 0);
        },
      );
    }, delay_ms);
  }
}

interface Launched {
  readonly child: ChildProcess;
  readonly url: string;
  /** The end of what it wrote to standard error. */
  readonly said: () => string;
}

function launch(options: EmbeddedServerOptions): Promise<Launched> {
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  const args = [
    'serve',
    '--listen',
    `${host}:${options.port}`,
    '--data',
    options.dataDir,
    '--log-file',
    options.logFile,
  ];
  const child = spawn(process.execPath, [process.argv[1] ?? '', ...args], {
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4096);
  });
  return new Promise((resolve, reject) => {
    const fail = (message: string, exitCode: ExitCode = EXIT.failed): void => {
      clearTimeout(timer);
      clearTimeout(slowTimer);
      child.removeAllListeners();
      child.kill('SIGKILL');
      reject(new CommandError(exitCode, message));
    };
    const timer = setTimeout(
      () => fail(`The server did not answer within ${START_TIMEOUT_MS / 1000} s; see ${options.logFile}`),
      START_TIMEOUT_MS,
    );
    const slowTimer = setTimeout(() => options.onSlow(SLOW_START_MS / 1000), SLOW_START_MS);
    child.once('error', (error) => fail(`Starting the server: ${error.message}`));
    child.once('close', (code, signal) => {
      const reason = said.trim().replace(/^cloudmount: /, '');
      fail(
        `The server ended with ${signal ?? `code ${code}`}: ${reason}`,
        code === EXIT.busy ? EXIT.busy : EXIT.failed,
      );
    });
    child.once('message', (message: ServingMessage) => {
      clearTimeout(timer);
      clearTimeout(slowTimer);
      child.removeAllListeners();
      said = '';
      resolve({ child, url: message.url, said: () => said });
    });
  });
}
