// The way of most bytes: GETs whose answer is a plain 206, on sockets of their own that read into one buffer each. undici
// makes two objects, a buffer and several turns of the loop for every 64 KiB, which is most of what a fast link costs the
// drive (docs/performance.md). Only the plainest answer is taken here; at any other the connection is closed and `null`
// says that the question is to be asked again of undici, which knows all of HTTP. A GET may be repeated.
// The bounds are those of `http.ts`: connecting, the head of the answer, the body by progress, the caller's signal.

import type { Socket } from 'node:net';
import { buildConnector } from 'undici';
import { CloudError } from '../errors.js';
import { interrupted } from './places.js';
import { connectOptions, type TlsOptions } from './tls.js';
import { transportError } from './transport_error.js';
import { Watchdog } from './watchdog.js';
import { parseResponseHead, plainLength } from './wire/response_head.js';

export interface PlainGet {
  /** Encoded, with query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal | undefined;
  /** Called once, when it has ended in whatever way. */
  readonly over: () => void;
}

export interface PlainAnswer {
  readonly status: 206;
  /** Lower-case names; repeated ones joined with `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** Hands the whole body over, once, in order. A chunk is valid until `take` returns: the next takes its place. While
   * `take` waits nothing more is read (and what it does then may outlast an aborted `pour`). Rejects with what `take` threw, `network` (cut short), `timeout`, `interrupted`. */
  pour(take: (chunk: Buffer) => void | Promise<void>): Promise<void>;
  /** Closes the connection: the body is of no use. */
  cancel(): void;
}

interface Options {
  /** `scheme://host:port`. */
  readonly origin: string;
  readonly tls: TlsOptions;
  readonly timeout_ms: number;
}

const BUFFER_bytes = 256 * 1024;
/** As undici's pools of `http.ts`. */
const IDLE_ms = 15_000;
const IDLE_MARGIN_ms = 1_000;
/** So many answers that are not plain, and for a while only the other way is used. */
const UNFIT_IN_A_ROW = 3;
const UNFIT_PAUSE_ms = 60_000;
const EMPTY = Buffer.alloc(0);

export class PlainConnections {
  readonly #options: Options;
  readonly #origin: URL;
  /** Answers in a row that were not plain ones. */
  #unfit = 0;
  #unfitUntil_ms = 0;
  readonly #all = new Set<Connection>();
  /** The one used last is the last. */
  #idle: Connection[] = [];
  #session: Buffer | undefined;
  #closed = false;

  constructor(options: Options) {
    this.#options = options;
    this.#origin = new URL(options.origin);
  }

  /** Would a question find a connection? */
  get hasIdle(): boolean {
    return this.#idle.length > 0;
  }

  /** Null: not a plain answer, ask in the other way. Rejects with `network`, `timeout`, `protocol` (TLS) or `interrupted`. */
  async get(request: PlainGet): Promise<PlainAnswer | null> {
    let given = false;
    const over = () => {
      if (!given) request.over();
      given = true;
    };
    try {
      const head = headOf(this.#origin.host, request);
      if (head === null || performance.now() < this.#unfitUntil_ms) {
        over();
        return null;
      }
      const connection = this.#idle.pop() ?? (await this.#connect(request));
      const answer = await connection.ask(request, head, { over, idle: (for_ms) => this.#keep(connection, for_ms) });
      this.#unfit = answer === null ? this.#unfit + 1 : 0;
      // A server that never answers plainly, or refuses us, is not to be asked everything twice.
      if (this.#unfit >= UNFIT_IN_A_ROW) this.#unfitUntil_ms = performance.now() + UNFIT_PAUSE_ms;
      return answer;
    } catch (error) {
      over();
      throw error;
    }
  }

  /** After a break in the network idle connections look alive and are not. */
  renew(): void {
    for (const connection of this.#idle) connection.destroy();
    this.#idle = [];
  }

  close(): void {
    this.#closed = true;
    for (const connection of this.#all) connection.destroy();
  }

  #keep(connection: Connection, for_ms: number): void {
    if (this.#closed || for_ms <= 0 || connection.isGone) connection.destroy();
    else {
      this.#idle.push(connection);
      connection.expire(for_ms);
    }
  }

  #connect(request: PlainGet): Promise<Connection> {
    const { tls, timeout_ms } = this.#options;
    const { protocol, host, hostname, port } = this.#origin;
    const { signal } = request;
    return new Promise((resolve, reject) => {
      const abort = () => reject(interrupted(signal));
      if (this.#closed || signal?.aborted) return abort();
      signal?.addEventListener('abort', abort, { once: true });
      const connection = new Connection(timeout_ms, () => {
        this.#all.delete(connection);
        this.#idle = this.#idle.filter((one) => one !== connection);
      });
      const connect = buildConnector({
        ...connectOptions(tls),
        timeout: timeout_ms,
        ...(this.#session === undefined ? {} : { session: this.#session }),
        // What undici does not know it hands to net.connect and tls.connect.
        onread: { buffer: connection.buffer, callback: (bytes) => connection.arrived(bytes) },
      });
      connect({ protocol, host, hostname: hostname.replace(/^\[|\]$/g, ''), port }, (error, socket) => {
        signal?.removeEventListener('abort', abort);
        if (error !== null) return reject(transportError(error, `GET ${request.path}`));
        if (this.#closed || signal?.aborted) {
          socket.destroy();
          return abort();
        }
        socket.on('session', (session: Buffer) => {
          this.#session = session;
        });
        this.#all.add(connection);
        connection.attach(socket);
        resolve(connection);
      });
    });
  }
}

/** A socket that answers one question after the other. */
class Connection {
  readonly buffer = Buffer.allocUnsafeSlow(BUFFER_bytes);
  readonly #timeout_ms: number;
  readonly #gone: () => void;
  #socket: Socket | null = null;
  #question: Question | null = null;
  #idle: NodeJS.Timeout | undefined;
  /** Answers so far. */
  #answers = 0;

  constructor(timeout_ms: number, gone: () => void) {
    this.#timeout_ms = timeout_ms;
    this.#gone = gone;
  }

  attach(socket: Socket): void {
    this.#socket = socket;
    let failure: Error | null = null;
    socket.on('error', (error) => {
      failure = error;
    });
    socket.on('end', () => socket.destroy());
    socket.on('close', () => {
      clearTimeout(this.#idle);
      this.#gone();
      this.#question?.closed(failure);
    });
  }

  /** `idle`: it may be used again, for so long. */
  ask(request: PlainGet, head: string, hooks: Hooks): Promise<PlainAnswer | null> {
    clearTimeout(this.#idle);
    const first = this.#answers === 0;
    this.#answers += 1;
    const question = new Question(request, this, this.#timeout_ms, first, {
      ...hooks,
      idle: (for_ms) => {
        this.#question = null;
        hooks.idle(for_ms);
      },
    });
    this.#question = question;
    this.#socket?.write(head, 'latin1');
    this.#socket?.resume();
    return question.head;
  }

  expire(after_ms: number): void {
    this.#idle = setTimeout(() => this.destroy(), after_ms).unref();
  }

  /** `count` bytes are in the buffer. False: read no more for now. */
  arrived(count: number): boolean {
    if (this.#question === null) {
      this.destroy(); // nobody asked
      return false;
    }
    return this.#question.arrived(this.buffer.subarray(0, count));
  }

  get isGone(): boolean {
    return this.#socket?.destroyed !== false;
  }

  resume(): void {
    this.#socket?.resume();
  }

  destroy(): void {
    this.#socket?.destroy();
  }
}

interface Hooks {
  readonly over: () => void;
  /** The connection is free again and may be kept for so long. */
  readonly idle: (for_ms: number) => void;
}

type Phase =
  /** The head of the answer is awaited; so much of it is here. */
  | { readonly kind: 'head'; readonly seen: Buffer }
  /** Nobody takes the body at the moment; this has arrived of it. */
  | { readonly kind: 'held'; readonly chunks: Buffer[] }
  | { readonly kind: 'pouring' }
  | { readonly kind: 'over'; readonly failure: Error | null };

interface Settle<T> {
  resolve(value: T): void;
  reject(error: unknown): void;
}

/** One question and its answer. */
class Question implements PlainAnswer {
  readonly status = 206;
  headers: Readonly<Record<string, string>> = {};
  readonly head: Promise<PlainAnswer | null>;
  readonly #doing: string;
  readonly #connection: Connection;
  readonly #timeout_ms: number;
  readonly #first: boolean;
  readonly #hooks: Hooks;
  readonly #signal: AbortSignal | undefined;
  readonly #answering: NodeJS.Timeout;
  readonly #aborted = () => this.#fail(interrupted(this.#signal));
  #phase: Phase = { kind: 'head', seen: EMPTY };
  #settleHead: Settle<PlainAnswer | null> | null = null;
  #settleBody: Settle<void> | null = null;
  #take: (chunk: Buffer) => void | Promise<void> = () => undefined;
  #watchdog: Watchdog | null = null;
  #length = 0;
  #received = 0;
  /** The connection is gone; what it has brought can still be taken. */
  #closed: CloudError | null = null;

  constructor(request: PlainGet, connection: Connection, timeout_ms: number, first: boolean, hooks: Hooks) {
    this.#doing = `GET ${request.path}`;
    this.#connection = connection;
    this.#timeout_ms = timeout_ms;
    this.#first = first;
    this.#hooks = hooks;
    this.#signal = request.signal;
    this.head = new Promise((resolve, reject) => {
      this.#settleHead = { resolve, reject };
    });
    const late = () => this.#fail(new CloudError('timeout', `${this.#doing}: no answer within ${timeout_ms} ms`));
    this.#answering = setTimeout(late, timeout_ms);
    this.#signal?.addEventListener('abort', this.#aborted, { once: true });
    if (this.#signal?.aborted) this.#aborted();
  }

  arrived(bytes: Buffer): boolean {
    const phase = this.#phase;
    switch (phase.kind) {
      case 'head':
        this.#headArrived(phase.seen.length === 0 ? bytes : Buffer.concat([phase.seen, bytes]));
        break;
      case 'held':
        // TLS hands over what it has decrypted although nothing is to be read.
        phase.chunks.push(Buffer.from(bytes));
        break;
      case 'pouring':
        this.#give(bytes);
        break;
      case 'over':
        this.#connection.destroy();
    }
    return this.#phase.kind !== 'held';
  }

  #headArrived(bytes: Buffer): void {
    const head = parseResponseHead(bytes);
    if (head.kind === 'incomplete') {
      this.#phase = { kind: 'head', seen: Buffer.from(bytes) };
      return;
    }
    const length = head.kind === 'whole' && head.status === 206 ? plainLength(head.headers) : null;
    if (head.kind !== 'whole' || length === null) {
      this.#unfit();
      return;
    }
    clearTimeout(this.#answering);
    this.headers = head.headers;
    this.#length = length;
    this.#phase = { kind: 'held', chunks: [Buffer.from(bytes.subarray(head.bodyAt))] };
    this.#settleHead?.resolve(this);
  }

  pour(take: (chunk: Buffer) => void | Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#phase.kind === 'over') return reject(this.#phase.failure);
      this.#settleBody = { resolve, reject };
      this.#take = take;
      this.#watchdog = new Watchdog(this.#timeout_ms, () => {
        const found = `no progress in receiving for ${this.#timeout_ms} ms`;
        this.#fail(new CloudError('timeout', `${this.#doing}: ${found}`));
      });
      this.#proceed();
    });
  }

  cancel(): void {
    if (this.#phase.kind !== 'over') this.#fail(new CloudError('interrupted', `${this.#doing}: not wanted`));
  }

  #proceed(): void {
    const held = this.#phase.kind === 'held' ? this.#phase.chunks : [];
    if (this.#phase.kind === 'over') return;
    this.#phase = { kind: 'pouring' };
    for (let chunk = held.shift(); chunk !== undefined; chunk = held.shift()) {
      const phase = this.#give(chunk);
      if (phase.kind === 'held') phase.chunks.push(...held); // `take` waits again
      if (phase.kind !== 'pouring') return;
    }
    if (this.#closed !== null) this.#fail(this.#closed);
    else this.#connection.resume();
  }

  /** What that led to. */
  #give(chunk: Buffer): Phase {
    this.#received += chunk.length;
    this.#watchdog?.progress(chunk.length);
    if (this.#received > this.#length) {
      const found = `${this.#length} bytes were announced, more came`;
      this.#fail(new CloudError('protocol', `${this.#doing}: ${found}`));
      return this.#phase;
    }
    let taken: void | Promise<void>;
    try {
      taken = chunk.length > 0 ? this.#take(chunk) : undefined;
    } catch (error) {
      this.#fail(toError(error));
      return this.#phase;
    }
    if (this.#phase.kind !== 'pouring') {
      // What `take` did has ended it all.
      taken?.catch(() => undefined);
      return this.#phase;
    }
    if (taken === undefined) {
      if (this.#received === this.#length) this.#finish();
      return this.#phase;
    }
    this.#phase = { kind: 'held', chunks: [] };
    this.#watchdog?.waiting(false);
    taken.then(
      () => {
        if (this.#phase.kind === 'over') return; // ended meanwhile
        this.#watchdog?.waiting(true);
        if (this.#received === this.#length) this.#finish();
        else this.#proceed();
      },
      (error: unknown) => this.#fail(toError(error)),
    );
    return this.#phase;
  }

  /** The connection has closed. */
  closed(error: Error | null): void {
    const found = `cut short, ${this.#length} bytes were announced, ${this.#received} came`;
    switch (this.#phase.kind) {
      case 'head':
        // The server gives up connections it has not heard of for a while, as it may: no failure.
        if (!this.#first && this.#phase.seen.length === 0) this.#unfit();
        else if (error !== null) this.#fail(transportError(error, this.#doing));
        else
          this.#fail(new CloudError('network', `${this.#doing}: the server closed the connection before its answer`));
        break;
      case 'held':
        this.#closed = new CloudError('network', `${this.#doing}: cut short`, { cause: error });
        break;
      case 'pouring':
        this.#fail(new CloudError('network', `${this.#doing}: ${found}`, { cause: error }));
        break;
      case 'over':
    }
  }

  #unfit(): void {
    this.#end(null);
    this.#connection.destroy();
    this.#settleHead?.resolve(null);
  }

  #finish(): void {
    if (this.#phase.kind === 'held' && this.#phase.chunks.length > 0) {
      this.#fail(new CloudError('protocol', `${this.#doing}: more bytes came than were announced`));
      return;
    }
    this.#end(null);
    if (this.#closed === null) this.#hooks.idle(idle_ms(this.headers));
    this.#connection.resume(); // to notice when the server closes it
    this.#settleBody?.resolve();
  }

  #fail(error: Error): void {
    if (this.#phase.kind === 'over') return;
    this.#end(error);
    this.#connection.destroy();
    this.#settleHead?.reject(error);
    this.#settleBody?.reject(error);
  }

  #end(failure: Error | null): void {
    this.#phase = { kind: 'over', failure };
    clearTimeout(this.#answering);
    this.#watchdog?.stop();
    this.#signal?.removeEventListener('abort', this.#aborted);
    this.#hooks.over();
  }
}

/** Null where it is not certain that every byte may stand there. */
function headOf(host: string, request: PlainGet): string | null {
  const fields = Object.entries({ host, connection: 'keep-alive', ...request.headers });
  if (!/^\/[\x21-\x7e]*$/.test(request.path)) return null;
  if (!fields.every(([, value]) => /^[\x20-\x7e]*$/.test(value))) return null;
  return `GET ${request.path} HTTP/1.1\r\n${fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
}

/** How long the server lets a connection wait for the next question, as far as it says so. */
function idle_ms(headers: Readonly<Record<string, string>>): number {
  if (/\bclose\b/i.test(headers['connection'] ?? '')) return 0;
  const said_s = /\btimeout=(\d{1,6})/i.exec(headers['keep-alive'] ?? '')?.[1];
  return said_s === undefined ? IDLE_ms : Math.min(IDLE_ms, Number(said_s) * 1000 - IDLE_MARGIN_ms);
}

function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
