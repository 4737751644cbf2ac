// A load generator that costs less than the servers it measures: keep-alive connections on bare sockets, requests built
// once, answers read only as far as their framing (Content-Length or chunked) needs.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { DavLogin } from '../test/support/dav_client.js';
import { type ProcessorUse, watchProcessors } from './processors.js';

export interface LoadRequest {
  readonly method: string;
  /** Below the account's root, encoded. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

export interface LoadAnswer {
  readonly status: number;
  readonly headers: string;
  readonly body_bytes: number;
}

/** One request, in one or two pieces. */
type Message = readonly Buffer[];

const JOINED_bytes = 64 * 1024;

/** What all connections read into, one after the other: to make a buffer for each piece would cost more than a server takes
 * to send it. */
const READ_INTO = Buffer.alloc(256 * 1024);

/** One keep-alive connection with one request in flight. */
export class LoadConnection {
  #socket: Socket | null = null;
  readonly #prefix: string;
  readonly #host: string;
  #waiting: ((answer: LoadAnswer) => void) | null = null;
  #failed: ((error: Error) => void) | null = null;
  #head: Buffer = Buffer.alloc(0);
  #state: 'head' | 'sized' | 'chunked' = 'head';
  #status = 0;
  #headers = '';
  #left_bytes = 0;
  #body_bytes = 0;
  #tail: Buffer = Buffer.alloc(0);

  private constructor(url: URL, auth: string) {
    this.#prefix = url.pathname;
    this.#host = `Host: ${url.host}\r\nAuthorization: ${auth}\r\n`;
  }

  static async open(login: DavLogin): Promise<LoadConnection> {
    const url = new URL(login.root);
    const auth = `Basic ${Buffer.from(`${login.user}:${login.password}`).toString('base64')}`;
    const opened = new LoadConnection(url, auth);
    const onread = {
      buffer: READ_INTO,
      callback: (length: number) => {
        opened.#take(READ_INTO.subarray(0, length));
        return true;
      },
    };
    const socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true, onread });
    await once(socket, 'connect');
    socket.on('error', (error) => opened.#failed?.(error));
    socket.on('close', () => opened.#failed?.(new Error('the server closed the connection')));
    opened.#socket = socket;
    return opened;
  }

  /** The request's bytes, to be sent many times. */
  build({ method, path, headers = {}, body }: LoadRequest): Message {
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    const length = body === undefined && method !== 'PUT' ? '' : `Content-Length: ${body?.length ?? 0}\r\n`;
    const head = Buffer.from(
      `${method} ${this.#prefix}${path} HTTP/1.1\r\n${this.#host}${lines.join('')}${length}\r\n`,
    );
    if (body === undefined) return [head];
    // To join gigabytes would be most of what this client does.
    return body.length > JOINED_bytes ? [head, body] : [Buffer.concat([head, body])];
  }

  send(request: Message): Promise<LoadAnswer> {
    return new Promise((resolve, reject) => {
      this.#waiting = resolve;
      this.#failed = reject;
      this.#socket?.cork();
      for (const piece of request) this.#socket?.write(piece);
      this.#socket?.uncork();
    });
  }

  close(): void {
    this.#failed = null;
    this.#socket?.destroy();
  }

  /** `chunk` is the caller's again when this returns. */
  #take(chunk: Buffer): void {
    if (this.#state === 'head') {
      const head = this.#head.length === 0 ? chunk : Buffer.concat([this.#head, chunk]);
      const end = head.indexOf('\r\n\r\n');
      if (end === -1) {
        this.#head = Buffer.from(head);
        return;
      }
      const rest = head.subarray(end + 4);
      this.#headers = head.toString('latin1', 0, end);
      this.#head = Buffer.alloc(0);
      this.#status = Number(this.#headers.slice(9, 12));
      if (this.#status === 100) {
        if (rest.length > 0) this.#take(rest);
        return;
      }
      this.#body_bytes = 0;
      const length = /\r\ncontent-length: *(\d+)/i.exec(this.#headers);
      if (length === null && /\r\ntransfer-encoding: *chunked/i.test(this.#headers)) {
        this.#state = 'chunked';
        this.#tail = Buffer.alloc(0);
      } else {
        this.#state = 'sized';
        this.#left_bytes = Number(length?.[1] ?? 0);
      }
      this.#body(rest);
      return;
    }
    this.#body(chunk);
  }

  #body(chunk: Buffer): void {
    this.#body_bytes += chunk.length;
    if (this.#state === 'sized') {
      this.#left_bytes -= chunk.length;
      if (this.#left_bytes <= 0) this.#done();
      return;
    }
    // One request is in flight, so the last chunk ends what the server sends: its mark is at the very end.
    const tail = chunk.length >= 5 ? chunk : Buffer.concat([this.#tail, chunk]);
    this.#tail = Buffer.from(tail.subarray(-5));
    if (this.#tail.toString('latin1') === '0\r\n\r\n') this.#done();
  }

  #done(): void {
    this.#state = 'head';
    const waiting = this.#waiting;
    this.#waiting = null;
    this.#failed = null;
    waiting?.({ status: this.#status, headers: this.#headers, body_bytes: this.#body_bytes });
  }
}

export interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  readonly body_bytes: number;
  /** Status -> how many, for those that were not expected. */
  readonly unexpected: ReadonlyMap<number, number>;
  readonly use: ProcessorUse;
}

/**
 * Keeps `connections` busy for `duration_s`: each works through what `cycle` gives it (for connection i, round n) one
 * request after the other. A request may depend on the answer before it.
 */
export async function load(
  login: DavLogin,
  connections: number,
  duration_s: number,
  cycle: (connection: LoadConnection, i: number) => (n: number) => readonly ((last: LoadAnswer | null) => Message)[],
  expected: (status: number) => boolean,
): Promise<LoadResult> {
  const all = await Promise.all(Array.from({ length: connections }, () => LoadConnection.open(login)));
  const unexpected = new Map<number, number>();
  let requests = 0;
  let body_bytes = 0;
  const watched = watchProcessors();
  const start = performance.now();
  const deadline = start + duration_s * 1000;
  const note = (status: number) => unexpected.set(status, (unexpected.get(status) ?? 0) + 1);
  await Promise.all(
    all.map(async (opened, i) => {
      let connection = opened;
      let steps = cycle(connection, i);
      for (let n = 0; performance.now() < deadline; n++) {
        try {
          let last: LoadAnswer | null = null;
          for (const step of steps(n)) {
            last = await connection.send(step(last));
            requests += 1;
            body_bytes += last.body_bytes;
            if (!expected(last.status)) note(last.status);
          }
        } catch {
          // The server closed the connection: an error as well (status 0), and on with a new one.
          note(0);
          connection = await LoadConnection.open(login);
          steps = cycle(connection, i);
        }
      }
      connection.close();
    }),
  );
  const seconds = (performance.now() - start) / 1000;
  return { requests, seconds, body_bytes, unexpected, use: watched() };
}
