// A whole server in this process for tests of its HTTP face, and a raw client that shows what is on the wire.

import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Log } from '../../../../src/log.js';
import type { ServerOptions } from '../../../../src/server/config.js';
import { type RunningServer, startServer } from '../../../../src/server/server.js';

export const PASSWORD = 'correct horse battery';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly text: string;
}

export interface LogLine {
  readonly level: keyof Log;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface CallOptions {
  readonly user?: string | null;
  readonly password?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

export class TestServer {
  readonly dir: string;
  readonly lines: LogLine[] = [];
  readonly #agent = new Agent({ keepAlive: true });
  #running: RunningServer | null = null;

  private constructor(dir: string) {
    this.dir = dir;
  }

  /** With the users alice (an administrator) and bert. */
  static async start(options: Partial<ServerOptions> = {}): Promise<TestServer> {
    const server = new TestServer(await mkdtemp(join(tmpdir(), 'server-')));
    await server.run(options);
    await server.running.accounts.create({ name: 'Alice', password: PASSWORD, isAdmin: true });
    await server.running.accounts.create({ name: 'bert', password: PASSWORD });
    return server;
  }

  async run(options: Partial<ServerOptions> = {}): Promise<void> {
    const record = (level: keyof Log) => (fields: object, message: string) => {
      this.lines.push({ level, message, fields: fields as Record<string, unknown> });
    };
    this.#running = await startServer({
      dataDir: this.dataDir,
      listen: { host: '127.0.0.1', port: 0 },
      log: { debug: record('debug'), info: record('info'), warn: record('warn'), error: record('error') },
      ...options,
    });
  }

  get dataDir(): string {
    return join(this.dir, 'data');
  }
  get running(): RunningServer {
    if (this.#running === null) throw new Error('the server does not run');
    return this.#running;
  }
  get url(): string {
    return this.running.url;
  }
  get port(): number {
    return this.running.address.port;
  }

  /** One request; as alice unless said otherwise, `user: null` = without credentials. */
  call(method: string, path: string, options: CallOptions = {}): Promise<Answer> {
    const { user = 'alice', password = PASSWORD, headers = {}, body } = options;
    return new Promise((resolve, reject) => {
      const sent = request({
        host: '127.0.0.1',
        port: this.port,
        method,
        path,
        agent: this.#agent,
        headers: { ...(user === null ? {} : { authorization: basic(user, password) }), ...headers },
      });
      sent.on('error', reject);
      sent.on('response', (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('error', reject);
        answer.on('end', () => {
          const bytes = Buffer.concat(chunks);
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: bytes, text: bytes.toString() });
        });
      });
      sent.end(body);
    });
  }

  async json(path: string, options: CallOptions = {}): Promise<unknown> {
    return JSON.parse((await this.call('GET', path, options)).text);
  }

  /** A TCP connection that says exactly what it is told. */
  raw(): RawConnection {
    return new RawConnection(connect(this.port, '127.0.0.1'));
  }

  requests(): LogLine[] {
    return this.lines.filter(({ message }) => message === 'request');
  }

  async stop(graceful_ms = 1000): Promise<void> {
    this.#agent.destroy();
    await this.#running?.close({ graceful_ms });
    this.#running = null;
  }

  async end(): Promise<void> {
    await this.stop();
    await rm(this.dir, { recursive: true, force: true });
  }
}

export function basic(user: string, password = PASSWORD): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
}

export class RawConnection {
  readonly socket: Socket;
  #received = '';
  #ended = false;
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => {
      this.#received += chunk.toString('latin1');
      this.#wake();
    });
    socket.on('close', () => {
      this.#ended = true;
      this.#wake();
    });
    socket.on('error', () => {});
  }

  get received(): string {
    return this.#received;
  }

  send(text: string | Buffer): void {
    this.socket.write(text);
  }

  /** Until the pattern was received; rejects when the connection ends without it. */
  async until(pattern: RegExp): Promise<string> {
    for (;;) {
      if (pattern.test(this.#received)) return this.#received;
      if (this.#ended) throw new Error(`the connection ended, received: ${this.#received}`);
      await this.#next();
    }
  }

  async untilClosed(): Promise<string> {
    while (!this.#ended) await this.#next();
    return this.#received;
  }

  #next(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
