// A mounted drive under test: the daemon as a foreground child with a home, runtime and cache folder of its own. All
// questions about what is in the drive go through other processes (`FsProcess`, `run`), never through this one.

import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cli, mustCli, PROGRAM } from './cli.js';
import type { DavLogin } from './dav_client.js';
import { mountAt } from './mounts.js';
import {
  eventually,
  type Finished,
  GivenUp,
  killGroup,
  must,
  type RunOptions,
  run,
  spawnTracked,
  stop,
} from './processes.js';

/** Exit code of a command that needs the server and has no connection (docs/exit-codes.md). */
const OFFLINE = 4;

export interface DriveOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Mount as this user instead of root. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** Seconds after which a listing is asked for again; short, so that tests of poll-only servers see changes. */
  readonly dirCacheTime_s?: number;
}

export interface DriveTarget {
  readonly url: string;
  readonly login: DavLogin;
}

export class Drive {
  readonly dir: string;
  readonly log: string;
  readonly #base: string;
  readonly #target: DriveTarget;
  #options: DriveOptions;
  #generation = 0;
  #daemon: ChildProcess | null = null;

  /** `base` is this drive's own temporary folder. */
  constructor(base: string, target: DriveTarget, options: DriveOptions = {}) {
    this.#base = base;
    this.#target = target;
    this.#options = options;
    this.dir = join(base, 'drive');
    this.log = join(base, 'daemon.log');
    for (const name of ['drive', 'home', 'run', 'cache-0'])
      mkdirSync(join(base, name), { recursive: true, mode: 0o700 });
  }

  get cacheDir(): string {
    return join(this.#base, `cache-${this.#generation}`);
  }

  get base(): string {
    return this.#base;
  }

  get env(): Record<string, string> {
    const home = join(this.#base, 'home');
    return {
      HOME: home,
      XDG_CONFIG_HOME: join(home, '.config'),
      XDG_CACHE_HOME: join(home, '.cache'),
      XDG_DATA_HOME: join(home, '.local/share'),
      XDG_STATE_HOME: join(home, '.local/state'),
      XDG_RUNTIME_DIR: join(this.#base, 'run'),
      DBUS_SESSION_BUS_ADDRESS: '',
      NODE_ENV: 'test',
      ...this.#options.env,
    };
  }

  path(...names: string[]): string {
    return [this.dir, ...names].join('/');
  }

  get daemonPid(): number {
    if (this.#daemon?.pid === undefined) throw new Error(`${this.dir} is not mounted`);
    return this.#daemon.pid;
  }

  get mounted(): boolean {
    return mountAt(this.dir) !== undefined;
  }

  get daemonEnded(): boolean {
    return this.#daemon === null || this.#daemon.exitCode !== null || this.#daemon.signalCode !== null;
  }

  said(): string {
    try {
      return readFileSync(this.log, 'utf8');
    } catch {
      return '';
    }
  }

  /** Options for the next `mount`, over those of before. */
  change(options: DriveOptions): void {
    this.#options = { ...this.#options, ...options };
  }

  /** The next `mount` starts with an empty cache, as on another machine. */
  forgetCache(): void {
    this.#generation += 1;
    mkdirSync(this.cacheDir, { mode: 0o700 });
  }

  mountArgs(): string[] {
    const { login, url } = this.#target;
    return [
      'mount',
      url,
      this.dir,
      '--user',
      login.user,
      '--password-file',
      join(this.#base, 'password'),
      '--cache-dir',
      this.cacheDir,
      '--dir-cache-time',
      String(this.#options.dirCacheTime_s ?? 1),
      ...(this.#options.args ?? []),
    ];
  }

  /** Mounts in the foreground and waits until the drive answers another process. */
  async mount(): Promise<this> {
    await must('sh', ['-c', 'umask 077; cat > "$0"', join(this.#base, 'password')], {
      input: this.#target.login.password,
    });
    const { user } = this.#options;
    if (user !== undefined) await must('chown', ['-R', `${user.uid}:${user.gid}`, this.#base]);
    const from = this.said().length;
    const daemon = spawnTracked(process.execPath, [PROGRAM, ...this.mountArgs(), '--foreground'], {
      env: this.env,
      log: this.log,
      ...(user === undefined ? {} : { user }),
    });
    this.#daemon = daemon;
    await eventually(
      `${this.dir} to be mounted`,
      () => {
        if (this.daemonEnded) {
          throw new GivenUp(
            `the daemon ended with ${daemon.signalCode ?? daemon.exitCode}:\n${this.said().slice(from)}`,
          );
        }
        // Said once the drive answers: a dead mount of before is in the mount table, too.
        return this.mounted && this.said().slice(from).includes('is mounted');
      },
      Boolean,
      30_000,
    ).catch(async (error: unknown) => {
      killGroup(daemon, 'SIGKILL');
      throw new Error(`mounting failed: ${error instanceof Error ? error.message : error}\n${this.said().slice(from)}`);
    });
    await must('stat', ['-c', '%i', this.dir], { timeout_ms: 30_000, ...(user === undefined ? {} : { user }) });
    return this;
  }

  /** One command of the product's command line, as the user who mounted. */
  cli(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return cli(args, { ...this.#asUser(), ...options, env: { ...this.env, ...options.env } });
  }

  mustCli(args: readonly string[], options: RunOptions = {}): Promise<string> {
    return mustCli(args, { ...this.#asUser(), ...options, env: { ...this.env, ...options.env } });
  }

  async status(path?: string): Promise<Record<string, unknown>> {
    const said = await this.mustCli(['status', path ?? this.dir, '--json']);
    return JSON.parse(said) as Record<string, unknown>;
  }

  /** Everything that is pending below `path` is on the server when it resolves. A drive that still believes to be
   * offline is given time to find out: `flush` itself does not wait for a network. */
  async flush(path = '', bound_s = 80): Promise<void> {
    const target = path === '' ? this.dir : this.path(path);
    const { code, stderr } = await eventually(
      'the drive to be online',
      () => this.cli(['flush', '--wait', '--timeout', String(bound_s), target], { timeout_ms: (bound_s + 10) * 1000 }),
      (ended) => ended.code !== OFFLINE,
    );
    if (code === 0) return;
    const queue = await this.cli(['status', this.dir]);
    throw new Error(`flush --wait ${target}: ended with ${code}: ${stderr}\n${queue.stdout}`);
  }

  /** Runs a program in the drive. */
  run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return run(program, args, { cwd: this.dir, ...this.#asUser(), ...options });
  }

  must(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
    return must(program, args, { cwd: this.dir, ...this.#asUser(), ...options });
  }

  /** Resident memory of the daemon with its threads, bytes. */
  rss_bytes(): number {
    const status = readFileSync(`/proc/${this.daemonPid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  }

  /** The most it ever had, bytes. */
  peakRss_bytes(): number {
    const status = readFileSync(`/proc/${this.daemonPid}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  }

  /** `cloudmount unmount`, and the daemon is gone. */
  async unmount(): Promise<void> {
    await this.mustCli(['unmount', this.dir]);
    await this.#gone();
  }

  /** Sends a signal to the daemon and waits until it is gone; answers how it ended. */
  async signal(
    signal: NodeJS.Signals,
  ): Promise<{ code: number | null; signal: NodeJS.Signals | null; forced: boolean }> {
    if (this.#daemon === null) throw new Error(`${this.dir} is not mounted`);
    const ended = await stop(this.#daemon, signal, 30_000);
    this.#daemon = null;
    return ended;
  }

  /** As if the power went for the daemon: no chance to clean up. The guard takes the mount away. */
  async kill9(): Promise<void> {
    await this.signal('SIGKILL');
    await eventually('the guard to unmount', () => !this.mounted);
  }

  async remount(options: { readonly emptyCache?: boolean } = {}): Promise<void> {
    await this.unmount();
    if (options.emptyCache === true) this.forgetCache();
    await this.mount();
  }

  /** The signal that ended a daemon that is expected to be dead. */
  async endedBy(): Promise<NodeJS.Signals | null> {
    const daemon = this.#daemon;
    await this.waitEnded();
    return daemon?.signalCode ?? null;
  }

  /** Waits until a daemon that is expected to end by itself has ended. */
  async waitEnded(): Promise<void> {
    await eventually('the daemon to end', () => this.daemonEnded, Boolean, 60_000);
    this.#daemon = null;
  }

  /** Ends the drive whatever state it is in. */
  async end(): Promise<void> {
    if (!this.daemonEnded && this.#daemon !== null) {
      await stop(this.#daemon, 'SIGTERM', 15_000);
    }
    this.#daemon = null;
  }

  async #gone(): Promise<void> {
    await eventually('the daemon to end after unmount', () => this.daemonEnded);
    this.#daemon = null;
  }

  #asUser(): RunOptions {
    return this.#options.user === undefined ? {} : { user: this.#options.user };
  }
}
