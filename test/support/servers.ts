// The servers a drive is tested against: our own, Apache mod_dav, `rclone serve webdav`, nginx and lighttpd. A test names the kind it
// wants and sees the same face: where to mount, a plain client beside the drive, and a way to stop and start it.

import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startApache } from './apache.js';
import { mustCli, PROGRAM } from './cli.js';
import { DavClient, type DavLogin } from './dav_client.js';
import { eventually, GivenUp, spawnTracked, stop } from './processes.js';
import { startRclone } from './rclone.js';
import { startLighttpd, startNginx } from './small_dav_servers.js';

export type ForeignKind = 'apache' | 'rclone' | 'nginx' | 'lighttpd';
export type ServerKind = 'cloudmount' | ForeignKind;

const START = { apache: startApache, rclone: startRclone, nginx: startNginx, lighttpd: startLighttpd } as const;

export interface TestServer {
  readonly kind: ServerKind;
  /** What `cloudmount mount` is given. */
  readonly url: string;
  readonly port: number;
  readonly login: DavLogin;
  readonly dav: DavClient;
  readonly pid: number;
  /** Restarts on the same port with the same data. */
  start(): Promise<void>;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

const PASSWORD = 'correct horse battery';

/** `cloudmount serve` in a process of its own, on a free port, with the account `alice`. */
export class OwnServer implements TestServer {
  readonly kind = 'cloudmount';
  readonly data: string;
  readonly log: string;
  readonly #args: readonly string[];
  #child: ReturnType<typeof spawnTracked> | null = null;
  #port = 0;
  #dav: DavClient | null = null;

  private constructor(dir: string, args: readonly string[]) {
    this.data = join(dir, 'server');
    this.log = join(dir, 'server.log');
    this.#args = args;
  }

  static async open(dir: string, args: readonly string[] = []): Promise<OwnServer> {
    const server = new OwnServer(dir, args);
    await server.addUser('alice');
    await server.start();
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }
  get port(): number {
    return this.#port;
  }
  get pid(): number {
    return this.#child?.pid ?? 0;
  }
  get login(): DavLogin {
    return this.loginOf('alice');
  }
  get dav(): DavClient {
    this.#dav ??= new DavClient(this.login);
    return this.#dav;
  }

  loginOf(user: string): DavLogin {
    return { root: `${this.url}/dav/files/${user}/`, user, password: PASSWORD };
  }

  async addUser(name: string): Promise<void> {
    await mustCli(['user', 'add', name, '--data', this.data, '--password-stdin'], { input: `${PASSWORD}\n` });
  }

  async start(): Promise<void> {
    const from = (await this.said()).length;
    const args = ['serve', '--listen', `127.0.0.1:${this.#port}`, '--data', this.data, ...this.#args];
    const child = spawnTracked(process.execPath, [PROGRAM, ...args], { log: this.log });
    this.#child = child;
    const address = await eventually(
      'the server to say where it listens',
      async () => {
        const said = (await this.said()).slice(from);
        if (child.exitCode !== null) throw new GivenUp(`the server ended with ${child.exitCode}: ${said}`);
        return /https?:\/\/127\.0\.0\.1:(\d+)/.exec(said);
      },
      Boolean,
      30_000,
    );
    this.#port = Number(address?.[1]);
    await eventually('the server to answer', async () => (await fetch(`${this.url}/healthz`)).ok);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#dav?.close();
    this.#dav = null;
    if (this.#child !== null) await stop(this.#child, signal);
    this.#child = null;
  }

  async said(): Promise<string> {
    return readFile(this.log, 'utf8').catch(() => '');
  }
}

/** Somebody else's server, on a folder that can be looked into. */
export class ForeignServer implements TestServer {
  readonly kind: ForeignKind;
  /** The folder that is served. */
  readonly root: string;
  #running: { readonly url: string; readonly port: number; readonly pid: number; stop(): Promise<void> } | null = null;
  #port = 0;
  #url = '';
  #dav: DavClient | null = null;

  private constructor(kind: ForeignKind, root: string) {
    this.kind = kind;
    this.root = root;
  }

  static async open(kind: ForeignKind, dir: string): Promise<ForeignServer> {
    const server = new ForeignServer(kind, join(dir, 'files'));
    await mkdir(server.root);
    await server.start();
    return server;
  }

  get url(): string {
    return this.#url;
  }
  get port(): number {
    return this.#port;
  }
  get pid(): number {
    return this.#running?.pid ?? 0;
  }
  get login(): DavLogin {
    return { root: this.#url, user: 'alice', password: PASSWORD };
  }
  get dav(): DavClient {
    this.#dav ??= new DavClient(this.login);
    return this.#dav;
  }

  async start(): Promise<void> {
    const options = {
      user: 'alice',
      password: PASSWORD,
      root: this.root,
      ...(this.#port === 0 ? {} : { port: this.#port }),
    };
    this.#running = await START[this.kind](options);
    this.#port = this.#running.port;
    this.#url = this.#running.url;
  }

  async stop(): Promise<void> {
    await this.#dav?.close();
    this.#dav = null;
    await this.#running?.stop();
    this.#running = null;
  }
}
