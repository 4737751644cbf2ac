// HTTP to one origin, on undici pools with kept-alive connections. What this file guarantees to those above:
// every wait is bounded (connecting, sending by progress, the answer's headers, the body by progress) and ends with the
// caller's signal; credentials go to no other origin (redirects are followed only to the same one and only for safe
// methods); a body shorter than announced is an error; every failure is a CloudError (what a status means: http_failure.ts).

import { setMaxListeners } from 'node:events';
import type { Readable } from 'node:stream';
import { Pool } from 'undici';
import { LONGEST_TIMER_MS } from '../clock.js';
import { CloudError, toCloudError } from '../errors.js';
import { raceAbort } from '../race_abort.js';
import { authorization, type Credentials } from './auth.js';
import { gunzip, Way } from './compressed.js';
import { interrupted, Places } from './places.js';
import { type PlainAnswer, PlainConnections } from './plain_get.js';
import { connectOptions, type TlsOptions } from './tls.js';
import { transportError } from './transport_error.js';
import { Watchdog } from './watchdog.js';

export interface HttpOptions {
  /** `scheme://host:port`. */
  readonly origin: string;
  readonly credentials: Credentials;
  readonly timeout_ms: number;
  readonly userAgent: string;
  readonly tls?: TlsOptions;
}

/** Which pool a request goes through: long transfers never stand in the way of short questions. */
export type Lane = 'meta' | 'read' | 'write' | 'probe';

export interface HttpRequest {
  readonly method: string;
  /** Encoded path, with query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** A stream without `contentLength` goes in chunked coding (RFC 9112 section 7.1). Never repeated by this file. Its
   * chunks may change once the next one is asked for. */
  readonly body?: string | Buffer | AsyncIterable<Buffer>;
  readonly contentLength?: number;
  readonly signal?: AbortSignal | undefined;
  readonly lane?: Lane;
  /** A short answer that somebody waits for: where its lane would first have to connect, one that is connected takes it. */
  readonly urgent?: boolean;
  /** A long text that may come compressed. */
  readonly compressible?: boolean;
  /** How long the headers of the answer may take once the request is sent; default `timeout_ms`. */
  readonly answer_ms?: number;
  /** The window of the progress rule for the answer's body; default `timeout_ms`. */
  readonly timeout_ms?: number;
}

export interface HttpResponse {
  readonly status: number;
  /** Lower-case names; repeated ones joined with `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** The path that answered, after redirects. */
  readonly path: string;
  /** May be consumed once. Leaving the loop early closes the connection. */
  readonly body: AsyncIterable<Buffer>;
  /** The body, chunk by chunk, as `PlainAnswer.pour` does. */
  pour(take: (chunk: Buffer) => void | Promise<void>): Promise<void>;
  /** The whole body; `protocol` when longer than `limit_bytes`. */
  text(limit_bytes?: number): Promise<string>;
  /** Reads the rest if it is short, else closes the connection. Never rejects. */
  discard(): Promise<void>;
  /** Closes the connection: the body is of no use. */
  cancel(): void;
}

const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'PROPFIND', 'REPORT']);
const MAX_REDIRECTS = 5;
const LANES: Readonly<Record<Lane, number>> = { meta: 8, read: 16, write: 16, probe: 1 };
/** A kernel buffer of some megabytes drains in bursts on a thin link: sending gets more patience than receiving. */
const SEND_PATIENCE = 3;

export class HttpClient {
  readonly origin: string;
  readonly #options: HttpOptions;
  #authorization: string | null;
  readonly #pools = new Map<Lane, { pool: Pool; places: Places }>();
  readonly #plain: PlainConnections;
  readonly #way = new Way();

  constructor(options: HttpOptions) {
    this.#options = options;
    this.origin = options.origin;
    this.#authorization = authorization(options.credentials);
    this.#plain = new PlainConnections({ ...options, tls: options.tls ?? {} });
    for (const lane of ['meta', 'read', 'write', 'probe'] as const) {
      this.#pools.set(lane, { pool: newPool(options, lane), places: new Places(LANES[lane]) });
    }
  }

  /** From the next request on. Throws `invalid`. */
  useCredentials(credentials: Credentials): void {
    this.#authorization = authorization(credentials);
  }

  /** After a break in the network idle connections look alive and are not: new requests get new ones. What runs goes on. */
  renew(): void {
    for (const [lane, { pool, places }] of this.#pools) {
      this.#pools.set(lane, { pool: newPool(this.#options, lane), places });
      pool.close().catch(() => undefined); // its last requests fail by themselves
    }
    this.#plain.renew();
  }

  get timeout_ms(): number {
    return this.#options.timeout_ms;
  }

  /** Any answer, whatever its status. Rejects with `network`, `timeout`, `protocol` or `interrupted`. */
  async request(request: HttpRequest): Promise<HttpResponse> {
    let { path } = request;
    // One signal ends as many calls as its owner likes.
    if (request.signal !== undefined) setMaxListeners(0, request.signal);
    for (let redirects = 0; ; redirects++) {
      const response = await this.#send({ ...request, path });
      const location = response.headers['location'];
      if (response.status < 300 || response.status > 399 || response.status === 304 || location === undefined) {
        return response;
      }
      await response.discard();
      path = this.#redirected(request, path, { status: response.status, location }, redirects);
    }
  }

  /** The same for a GET of a range, in a cheaper way that knows plain answers only. Null: ask with `request`. */
  async plainGet(request: HttpRequest): Promise<PlainAnswer | null> {
    const meta = this.#lane('meta');
    if (request.urgent === true && !this.#plain.hasIdle && meta.pool.stats.free > 0) return null;
    const { path, signal } = request;
    if (signal !== undefined) setMaxListeners(0, signal);
    const { places } = this.#lane(request.lane);
    await places.take(signal);
    return await this.#plain.get({ path, headers: this.#headers(request), signal, over: () => places.give() });
  }

  async close(): Promise<void> {
    this.#plain.close();
    await Promise.all([...this.#pools.values()].map(({ pool }) => pool.destroy()));
  }

  /** Where a redirect leads. Throws `protocol` where following would repeat a change or show credentials elsewhere. */
  #redirected(
    request: HttpRequest,
    from: string,
    { status, location }: { readonly status: number; readonly location: string },
    redirects: number,
  ): string {
    const target = URL.canParse(location, this.origin + from) ? new URL(location, this.origin + from) : null;
    const doing = `${request.method} ${from}`;
    if (target === null) throw new CloudError('protocol', `${doing}: a redirect without a usable address`);
    if (target.origin !== this.origin) {
      throw new CloudError(
        'protocol',
        `${doing}: the server sends us to ${target.origin}, which was not the address given; sign in there if that is right (or sign in to the network you are on)`,
      );
    }
    if (!SAFE.has(request.method) || (request.body !== undefined && typeof request.body !== 'string')) {
      throw new CloudError(
        'protocol',
        `${doing}: redirected to ${target.pathname}, which is followed only for reading`,
        { status },
      );
    }
    if (redirects >= MAX_REDIRECTS) throw new CloudError('protocol', `${doing}: more than ${MAX_REDIRECTS} redirects`);
    return target.pathname + target.search;
  }

  async #send(request: HttpRequest): Promise<HttpResponse> {
    const lane = this.#laneOf(request);
    await lane.places.take(request.signal);
    const call = new Call(request, this.#options.timeout_ms, () => lane.places.give());
    const since_ms = performance.now();
    try {
      const asking = lane.pool.request({
        method: request.method as 'GET',
        path: request.path,
        headers: this.#headers(request),
        // undici takes any async iterable; its types name only streams.
        body: call.outgoing as string | Buffer | Readable | null,
        signal: call.signal,
        // undici takes a body only with methods it knows for meant, and gives the connection up after others: after every
        // REPORT, LOCK and MKCOL. In WebDAV they have one.
        ...(request.method === 'HEAD' ? {} : { reset: false }),
      });
      // undici hears the signal once it is connected. A stream it must have let go of before anybody goes on.
      const answer = await (isStream(request.body) ? asking : raceAbort(asking, call.signal));
      // A change is answered when the server's disk has it.
      if (SAFE.has(request.method)) this.#way.answered(performance.now() - since_ms);
      return call.answered(answer.statusCode, answer.headers, answer.body);
    } catch (error) {
      throw call.failed(error);
    }
  }

  #laneOf(request: HttpRequest): { pool: Pool; places: Places } {
    const meta = this.#lane('meta');
    const lane = this.#lane(request.lane);
    if (request.urgent !== true || lane.pool.stats.free > 0) return lane;
    return meta.pool.stats.free > 0 ? meta : lane;
  }

  #lane(name: Lane = 'meta'): { pool: Pool; places: Places } {
    const lane = this.#pools.get(name);
    if (lane === undefined) throw new CloudError('io', 'no such lane');
    return lane;
  }

  #headers(request: HttpRequest): Record<string, string> {
    return {
      'user-agent': this.#options.userAgent,
      accept: '*/*',
      ...(this.#authorization === null ? {} : { authorization: this.#authorization }),
      ...(request.contentLength === undefined ? {} : { 'content-length': String(request.contentLength) }),
      ...(request.compressible === true && this.#way.isLong ? { 'accept-encoding': 'gzip' } : {}),
      ...request.headers,
    };
  }
}

function newPool(options: HttpOptions, lane: Lane): Pool {
  return new Pool(options.origin, {
    connections: LANES[lane],
    pipelining: 1,
    keepAliveTimeout: 15_000,
    keepAliveMaxTimeout: 60_000,
    keepAliveTimeoutThreshold: 1_000,
    // The watchdogs of this file do it, to the millisecond and by progress.
    headersTimeout: 0,
    bodyTimeout: 0,
    maxHeaderSize: 64 * 1024,
    connect: { ...connectOptions(options.tls ?? {}), timeout: options.timeout_ms },
  });
}

/** One request on its way: its bounds, its signal, its place in the lane. */
class Call {
  readonly #request: HttpRequest;
  readonly #timeout_ms: number;
  readonly #release: () => void;
  readonly #abort = new AbortController();
  readonly #onCallerAbort = () => this.#end(interrupted(this.#request.signal));
  #sending: Watchdog | null = null;
  #answering: NodeJS.Timeout | null = null;
  #finished = false;
  /** Our own side could not give what it was to send. */
  #sourceFailure: CloudError | null = null;

  constructor(request: HttpRequest, timeout_ms: number, release: () => void) {
    this.#request = request;
    this.#timeout_ms = request.timeout_ms ?? timeout_ms;
    this.#release = release;
    request.signal?.addEventListener('abort', this.#onCallerAbort, { once: true });
    if (!isStream(request.body)) this.#awaitAnswer();
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get outgoing(): string | Buffer | AsyncGenerator<Buffer> | null {
    const { body } = this.#request;
    return isStream(body) ? this.#watchSending(body) : (body ?? null);
  }

  async *#watchSending(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    const window_ms = this.#timeout_ms * SEND_PATIENCE;
    const watchdog = new Watchdog(window_ms, () => this.#end(this.#late(`no progress in sending for ${window_ms} ms`)));
    this.#sending = watchdog;
    try {
      watchdog.waiting(false);
      for await (const chunk of body) {
        watchdog.waiting(true);
        yield chunk;
        watchdog.progress(chunk.length);
        watchdog.waiting(false);
      }
      this.#awaitAnswer();
    } catch (error) {
      this.#sourceFailure = toCloudError(error, `${this.#doing}: reading what is to be sent`);
      throw error;
    } finally {
      watchdog.stop();
    }
  }

  #awaitAnswer(): void {
    const answer_ms = Math.min(Math.max(this.#request.answer_ms ?? 0, this.#timeout_ms), LONGEST_TIMER_MS);
    this.#answering = setTimeout(() => this.#end(this.#late(`no answer within ${answer_ms} ms`)), answer_ms);
  }

  #late(found: string): CloudError {
    return new CloudError('timeout', `${this.#doing}: ${found}`);
  }

  get #doing(): string {
    return `${this.#request.method} ${this.#request.path}`;
  }

  #end(reason: CloudError): void {
    if (!this.#abort.signal.aborted) this.#abort.abort(reason);
  }

  answered(
    status: number,
    raw: Readonly<Record<string, string | string[] | undefined>>,
    body: AsyncIterable<Buffer> & { destroy(): void; on(event: 'error', listener: () => void): unknown },
  ): HttpResponse {
    if (this.#answering !== null) clearTimeout(this.#answering);
    this.#sending?.stop();
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(raw)) {
      if (value !== undefined) headers[name.toLowerCase()] = Array.isArray(value) ? value.join(', ') : value;
    }
    body.on('error', () => this.#finish()); // an aborted body that nobody reads must not end the process
    const received = this.#watchReceiving(body, headers, status);
    const isGzip = this.#request.compressible === true && /^(x-)?gzip$/i.test(headers['content-encoding'] ?? '');
    const stream = isGzip ? gunzip(received, this.#doing) : received;
    return new Received(status, headers, this.#request, stream, () => {
      body.destroy();
      this.#finish();
    });
  }

  async *#watchReceiving(
    body: AsyncIterable<Buffer>,
    headers: Readonly<Record<string, string>>,
    status: number,
  ): AsyncGenerator<Buffer> {
    const window_ms = this.#timeout_ms;
    const watchdog = new Watchdog(window_ms, () =>
      this.#end(this.#late(`no progress in receiving for ${window_ms} ms`)),
    );
    const announced = headers['content-length'];
    const bodyless = this.#request.method === 'HEAD' || status === 204 || status === 304;
    let received = 0;
    try {
      for await (const chunk of body) {
        received += chunk.length;
        watchdog.progress(chunk.length);
        watchdog.waiting(false);
        yield chunk;
        watchdog.waiting(true);
      }
      if (announced !== undefined && !bodyless && received !== Number(announced)) {
        throw new CloudError(
          'network',
          `${this.#doing}: cut short, ${announced} bytes were announced, ${received} came`,
        );
      }
    } catch (error) {
      throw this.failed(error);
    } finally {
      watchdog.stop();
      this.#finish();
    }
  }

  /** The error to throw; the call is over. */
  failed(error: unknown): CloudError {
    this.#finish();
    const { reason } = this.#abort.signal as { reason: unknown };
    if (this.#abort.signal.aborted && reason instanceof CloudError) return reason;
    if (this.#sourceFailure !== null) return this.#sourceFailure;
    if (error instanceof CloudError) return error;
    return transportError(error, this.#doing);
  }

  #finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    if (this.#answering !== null) clearTimeout(this.#answering);
    this.#sending?.stop();
    this.#request.signal?.removeEventListener('abort', this.#onCallerAbort);
    this.#release();
  }
}

class Received implements HttpResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly path: string;
  readonly body: AsyncIterable<Buffer>;
  readonly #method: string;
  readonly #drop: () => void;

  constructor(
    status: number,
    headers: Readonly<Record<string, string>>,
    request: HttpRequest,
    body: AsyncIterable<Buffer>,
    drop: () => void,
  ) {
    this.status = status;
    this.headers = headers;
    this.path = request.path;
    this.body = body;
    this.#method = request.method;
    this.#drop = drop;
  }

  async pour(take: (chunk: Buffer) => void | Promise<void>): Promise<void> {
    for await (const chunk of this.body) await take(chunk);
  }

  async text(limit_bytes = 1 << 20): Promise<string> {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of this.body) {
      size += chunk.length;
      if (size > limit_bytes) {
        this.#drop();
        throw new CloudError(
          'protocol',
          `${this.#method} ${this.path}: an answer of at most ${limit_bytes} bytes is required`,
        );
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString('utf8');
  }

  cancel(): void {
    this.#drop();
  }

  async discard(): Promise<void> {
    const announced = this.headers['content-length'];
    if (announced !== undefined && Number(announced) > 256 * 1024) {
      this.#drop();
      return;
    }
    try {
      await this.text(256 * 1024);
    } catch {
      this.#drop(); // the status said it all
    }
  }
}

function isStream(body: HttpRequest['body']): body is AsyncIterable<Buffer> {
  return body !== undefined && typeof body !== 'string' && !Buffer.isBuffer(body);
}
