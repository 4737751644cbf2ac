// The HTTP face: node:http(s) with limits, one `RequestContext` per request, and an end that is bounded. Knows no path
// and no user; `onRequest` does.
//
// Time limits: headers have their own (slow-loris). A request as a whole has none, uploads last as long as they last;
// instead a connection on which nothing moves is judged: waiting for the client (body not coming, answer not read) ends
// it, our own work does not.

import { randomBytes } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import http, {
  type IncomingMessage,
  type OutgoingHttpHeader,
  type OutgoingHttpHeaders,
  ServerResponse,
} from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createSecureContext } from 'node:tls';
import { CloudError, toCloudError } from '../errors.js';
import type { Log } from '../log.js';
import type { Principal } from './auth/authenticator.js';
import { clientAddress, clientOrigin } from './client_address.js';
import type { ServerLimits, ServerOptions } from './config.js';
import { Departure, type Leaving } from './departure.js';
import type { SentDirectly } from './direct_line.js';
import type { RequestContext } from './http_context.js';
import { hostInUrl, listensOnAll } from './listen_address.js';
import type { PulledRequest } from './pulled_body.js';
import { closeOverUnreadBody, sendContinueOnFirstRead, unknownCoding } from './request_body.js';
import { sendText } from './respond.js';

export interface HttpFrontOptions {
  readonly tls: NonNullable<ServerOptions['tls']> | null;
  readonly limits: ServerLimits;
  readonly trustProxy: boolean;
  readonly log: Log;
  /** Must answer; a rejection is a bug and becomes a 500 if nothing was sent yet. */
  readonly onRequest: (context: RequestContext) => Promise<void>;
  readonly onUpgrade: (request: IncomingMessage, socket: Duplex, head: Buffer, address: string) => void;
  /** Once per request, when its answer is out or its connection gone. */
  readonly onDone: (done: RequestDone) => void;
}

export interface RequestDone {
  readonly context: RequestContext;
  readonly duration_ms: number;
  readonly received_bytes: number;
  readonly sent_bytes: number;
  /** The answer was not finished: the client went away or the server stopped hard. */
  readonly aborted: boolean;
}

/** What a connection has moved, and its request that is being answered. */
interface Connection {
  exchange: Exchange | null;
  /** When its previous request was done: a request's headers are read before it begins. */
  read_bytes: number;
  written_bytes: number;
}

const CONNECTION = Symbol('connection');
type ClientSocket = Socket & { [CONNECTION]?: Connection };

/** After the graceful time: what a handler gets to notice that it was aborted. */
const ABORT_GRACE_MS = 2_000;

export class HttpFront {
  readonly #options: HttpFrontOptions;
  readonly #server: http.Server | https.Server;
  readonly #active = new Set<Exchange>();
  readonly #timers: NodeJS.Timeout[] = [];
  /** Request ids: of this run, then counted. */
  readonly #run = randomBytes(4).toString('hex');
  #requests = 0;
  readonly #departure = new Departure();
  #stopping = false;
  #onIdle: (() => void) | null = null;

  private constructor(options: HttpFrontOptions, server: http.Server | https.Server) {
    this.#options = options;
    this.#server = server;
    const { limits } = options;
    server.headersTimeout = limits.headersTimeout_ms;
    server.requestTimeout = 0;
    server.keepAliveTimeout = limits.keepAlive_ms;
    server.maxConnections = limits.maxConnections;
    // All there are, as their length is bounded: node would leave out those behind the thousandth, and a request that is
    // given back to it (`#stay`) without its Content-Length would have its body taken for the next request.
    server.maxHeadersCount = 0;
    server.setTimeout(limits.idleTimeout_ms);
    // Who ends their half behind a request (`nc -N`, some clients of HTTP/1.0) waits for the answer; node would end ours
    // without it.
    (server as { httpAllowHalfOpen?: boolean }).httpAllowHalfOpen = true;
    server.on('request', (request, response) => this.#onRequest(request, response));
    server.on('checkContinue', (request, response) => {
      sendContinueOnFirstRead(request, response);
      this.#onRequest(request, response);
    });
    server.on('checkExpectation', (_request, response) => response.writeHead(417, { Connection: 'close' }).end());
    server.on('timeout', (socket: Socket) => this.#onIdleSocket(socket));
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      const before = this.#answersOn(socket);
      const last = before.at(-1);
      // Behind the first half of an answer nothing but its other half may follow.
      if (before.some(({ response }) => response.headersSent)) socket.destroy();
      else if (last !== undefined && error.code !== 'ECONNRESET' && before.every(({ request }) => request.complete)) {
        // What was asked whole is done, and must not be told as having failed: its answer, then the end.
        last.response.shouldKeepAlive = false;
      } else answerBroken(error, socket);
    });
    server.on('upgrade', (request, socket, head) => {
      // Asked before the answer to something else; or so late that nobody would end it, and the server wait for it.
      if (this.#stopping || this.#answersOn(socket).length > 0) {
        socket.destroy();
        return;
      }
      if (!/^\s*websocket\s*$/i.test(request.headers.upgrade ?? '')) {
        this.#stay(request, socket, head);
        return;
      }
      // From here on it is nobody's but ours: an error without a listener would end the process.
      socket.on('error', () => socket.destroy());
      const { trustProxy } = options;
      options.onUpgrade(request, socket, head, clientAddress(request, trustProxy));
    });
  }

  static async create(options: HttpFrontOptions): Promise<HttpFront> {
    const common = {
      maxHeaderSize: options.limits.maxHeader_bytes,
      keepAlive: true,
      noDelay: true,
      ServerResponse: Answer,
      connectionsCheckingInterval: Math.min(5_000, options.limits.headersTimeout_ms),
    };
    const { tls } = options;
    if (tls === null) return new HttpFront(options, http.createServer(common));
    const server = https.createServer({ ...common, ...(await readCertificate(tls)), minVersion: 'TLSv1.2' });
    const front = new HttpFront(options, server);
    front.#followCertificate(server, tls);
    return front;
  }

  get activeRequests(): number {
    return this.#active.size;
  }

  listen(host: string, port: number): Promise<AddressInfo> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error) => reject(cannotListen(error, host, port)));
      this.#server.listen({ host, port }, () => {
        this.#server.removeAllListeners('error');
        this.#server.on('error', (error) => this.#options.log.error({ err: error }, 'HTTP server error'));
        resolve(this.#server.address() as AddressInfo);
      });
    });
  }

  /** Takes no new connections, lets running requests end for `graceful_ms`, then aborts them. */
  async close(graceful_ms: number): Promise<void> {
    this.#stopping = true;
    for (const timer of this.#timers) clearInterval(timer);
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    for (const { response } of this.#active) response.shouldKeepAlive = false;
    await this.#drained(graceful_ms);
    for (const exchange of this.#active) {
      exchange.abort(new Error('the server is stopping'));
      // Nothing of it is done yet, and whoever reads the body waits for the client.
      if (!exchange.request.complete) exchange.request.destroy();
    }
    if (this.#active.size > 0) await this.#drained(ABORT_GRACE_MS);
    this.#server.closeAllConnections();
    await closed;
  }

  /** Who would rather speak something else that we do not (HTTP/2: `curl --http2`, Java's client) is answered as asked
   * (RFC 9110 section 7.8). Node has let go of the connection by then: it is given back with the request without the wish. */
  #stay(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    let again = `${request.method} ${request.url} HTTP/${request.httpVersion}\r\n`;
    for (let i = 0; i + 1 < request.rawHeaders.length; i += 2) {
      const name = request.rawHeaders[i] ?? '';
      if (/^(upgrade|connection|http2-settings)$/i.test(name)) continue;
      again += `${name}: ${request.rawHeaders[i + 1]}\r\n`;
    }
    if (/\bclose\b/i.test(request.headers.connection ?? '')) again += 'Connection: close\r\n';
    socket.unshift(Buffer.concat([Buffer.from(`${again}\r\n`, 'latin1'), head]));
    this.#server.emit(this.#server instanceof https.Server ? 'secureConnection' : 'connection', socket);
  }

  #drained(limit_ms: number): Promise<void> {
    if (this.#active.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(done, limit_ms);
      const self = this;
      function done() {
        clearTimeout(timer);
        self.#onIdle = null;
        resolve();
      }
      this.#onIdle = done;
    });
  }

  /** Requests of this connection whose answers have not gone out whole. */
  #answersOn(socket: Duplex): readonly Exchange[] {
    return [...this.#active].filter(({ request }) => request.socket === socket);
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const socket: ClientSocket = request.socket;
    const id = `${this.#run}-${(this.#requests++).toString(36)}`;
    const exchange = new Exchange(id, request, response, this.#options);
    if (response instanceof Answer) {
      response.requestId = id;
      response.departure = this.#departure;
      this.#departure.began(socket);
    }
    if (this.#stopping) response.shouldKeepAlive = false;
    this.#active.add(exchange);
    const connection = (socket[CONNECTION] ??= this.#connectionOf(socket));
    connection.exchange = exchange;
    response.once('close', () => this.#onClose(exchange, socket, connection));
    const coding = unknownCoding(request);
    if (coding !== null) {
      sendText(exchange, 501, `${coding}\n`);
      return;
    }
    this.#options.onRequest(exchange).catch((error: unknown) => {
      if (!exchange.isAborted) this.#options.log.error({ err: error, id }, 'a request handler failed');
      if (response.headersSent) response.destroy();
      else response.writeHead(500, { 'Content-Type': 'text/plain' }).end('Internal error\n');
    });
  }

  #connectionOf(socket: Socket): Connection {
    // Of answers that wait for an earlier one of their connection node says nothing when that ends.
    socket.once('close', () => {
      for (const { response } of this.#answersOn(socket)) {
        response.destroy();
        response.emit('close');
      }
    });
    return { exchange: null, read_bytes: 0, written_bytes: 0 };
  }

  #onClose(exchange: Exchange, socket: Socket, connection: Connection): void {
    const { response } = exchange;
    const aborted = !response.writableFinished;
    if (aborted) exchange.abort(new Error('the client went away'));
    this.#active.delete(exchange);
    if (connection.exchange === exchange) connection.exchange = null;
    if (this.#stopping) setImmediate(() => this.#server.closeIdleConnections());
    const { read_bytes, written_bytes } = connection;
    connection.read_bytes = socket.bytesRead;
    connection.written_bytes = socket.bytesWritten;
    this.#options.onDone({
      context: exchange,
      duration_ms: performance.now() - exchange.started_ms,
      received_bytes:
        connection.read_bytes - read_bytes + ((exchange.request as PulledRequest).pulled?.direct_bytes ?? 0),
      sent_bytes: connection.written_bytes - written_bytes + (response instanceof Answer ? response.direct_bytes : 0),
      aborted,
    });
    if (this.#active.size === 0) this.#onIdle?.();
  }

  #onIdleSocket(socket: ClientSocket): void {
    const exchange = socket[CONNECTION]?.exchange ?? null;
    if (exchange === null) {
      socket.destroy();
      return;
    }
    const { request, response } = exchange;
    const { pulled } = request as PulledRequest;
    const waitsForBody = !request.complete && (pulled?.waits ?? request.readableLength === 0);
    const waitsForReader = response.writableLength > 0 || socket.writableLength > 0;
    if (waitsForBody || waitsForReader) {
      this.#options.log.info({ id: exchange.id }, 'connection ended: the client stood still for too long');
      socket.destroy();
    } else {
      socket.setTimeout(this.#options.limits.idleTimeout_ms);
    }
  }

  #followCertificate(server: https.Server, tls: NonNullable<ServerOptions['tls']>): void {
    let known = '';
    const look = async () => {
      const stats = await Promise.all([stat(tls.certFile), stat(tls.keyFile)]);
      const now = stats.map((entry) => `${entry.mtimeMs}:${entry.size}`).join(' ');
      if (known !== '' && now !== known) {
        server.setSecureContext(await readCertificate(tls));
        this.#options.log.info({ certFile: tls.certFile }, 'certificate read again');
      }
      known = now;
    };
    const again = () => {
      look().catch((error: unknown) => this.#options.log.warn({ err: error }, 'certificate could not be read again'));
    };
    again();
    const timer = setInterval(again, this.#options.limits.certificateCheck_ms);
    timer.unref();
    this.#timers.push(timer);
  }
}

/** Rejects with `invalid` for what is no certificate with its key, before anybody is served with it. */
export async function readCertificate(tls: NonNullable<ServerOptions['tls']>): Promise<{ cert: Buffer; key: Buffer }> {
  const [cert, key] = await Promise.all(
    [tls.certFile, tls.keyFile].map((file) =>
      readFile(file).catch((error: unknown) => {
        throw toCloudError(error, `reading the certificate file ${file}`);
      }),
    ),
  );
  const pair = { cert: cert ?? Buffer.alloc(0), key: key ?? Buffer.alloc(0) };
  try {
    createSecureContext(pair);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CloudError(
      'invalid',
      `using the certificate ${tls.certFile} with the key ${tls.keyFile}: a PEM certificate and the key that belongs to it are required, found: ${why}`,
      { cause: error },
    );
  }
  return pair;
}

/** The answer to one request. What is done just before the headers go out is done here. */
class Answer<Request extends IncomingMessage = IncomingMessage>
  extends ServerResponse<Request>
  implements Leaving, SentDirectly
{
  direct_bytes = 0;
  /** '' = refused before it became a request. */
  requestId = '';
  departure: Departure | null = null;
  /** What `end` was given, while others are waited for. */
  #given: readonly unknown[] | null = null;

  override end(...given: unknown[]): this {
    if (this.departure === null) super.end(...(given as []));
    else if (this.#given === null) {
      this.#given = given;
      this.departure.ready(this);
    }
    return this;
  }

  leave(): void {
    super.end(...((this.#given ?? []) as []));
  }

  abandon(error: unknown): void {
    this.destroy(error instanceof Error ? error : new Error(String(error)));
  }

  override writeHead(status: number, ...rest: unknown[]): this {
    if (this.requestId === '') return super.writeHead(status, ...(rest as [OutgoingHttpHeaders]));
    closeOverUnreadBody(this.req, this);
    const last = rest.at(-1);
    // Headers given all at once go out as they are, which costs half of setting each. So does the id beside them; to copy
    // them for it would cost a twentieth of a small answer, and whoever gives them again gives them another id.
    if (rest.length === 1 && isHeaders(last) && this.getHeaderNames().length === 0) {
      last['X-Request-Id'] = this.requestId;
      return super.writeHead(status, last);
    }
    this.setHeader('X-Request-Id', this.requestId);
    return super.writeHead(status, ...(rest as [OutgoingHttpHeaders]));
  }
}

function isHeaders(value: unknown): value is Record<string, OutgoingHttpHeader> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** One request and its answer. */
class Exchange implements RequestContext {
  readonly id: string;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: string;
  readonly address: string;
  readonly log: Log;
  readonly started_ms = performance.now();
  principal: Principal | null = null;
  readonly #trustProxy: boolean;
  readonly #queryText: string;
  #query: URLSearchParams | null = null;
  #abort: AbortController | null = null;
  #aborted: Error | null = null;

  constructor(id: string, request: IncomingMessage, response: ServerResponse, options: HttpFrontOptions) {
    this.id = id;
    this.request = request;
    this.response = response;
    this.log = options.log;
    this.#trustProxy = options.trustProxy;
    // Not later: a connection that is gone has no address any more, and its request is still to be logged.
    this.address = clientAddress(request, options.trustProxy);
    const target = localTarget(request.url ?? '/');
    const mark = target.indexOf('?');
    this.path = mark < 0 ? target : target.slice(0, mark);
    this.#queryText = mark < 0 ? '' : target.slice(mark + 1);
  }

  get query(): URLSearchParams {
    this.#query ??= new URLSearchParams(this.#queryText);
    return this.#query;
  }

  get origin(): string {
    return clientOrigin(this.request, this.#trustProxy);
  }

  get signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController();
      if (this.#aborted !== null) this.#abort.abort(this.#aborted);
    }
    return this.#abort.signal;
  }

  get isAborted(): boolean {
    return this.#aborted !== null;
  }

  abort(reason: Error): void {
    this.#aborted ??= reason;
    this.#abort?.abort(reason);
  }
}

/** A request target in origin or absolute form (RFC 9112 section 3.2) without scheme and host; `*` is the root. */
function localTarget(target: string): string {
  if (target.startsWith('/')) return target;
  const local = target === '*' ? '/' : target.replace(/^https?:\/\/[^/?#]*/i, '');
  return local.startsWith('/') ? local : `/${local}`;
}

/** What could not be parsed as a request gets the status that says why, if the connection still takes it. */
function answerBroken(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const status =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? '408 Request Timeout'
        : '400 Bad Request';
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
}

function cannotListen(error: NodeJS.ErrnoException, host: string, port: number): CloudError {
  const doing = `listening on ${listensOnAll(host) ? `port ${port}` : `${hostInUrl(host)}:${port}`}`;
  switch (error.code) {
    case 'EADDRINUSE':
      return new CloudError('busy', `${doing}: another program listens there; stop it, or choose another port`, {
        cause: error,
      });
    case 'EACCES':
      return new CloudError(
        'no_access',
        `${doing}: ports below 1024 need the right to (root, or CAP_NET_BIND_SERVICE)`,
        {
          cause: error,
        },
      );
    case 'EADDRNOTAVAIL':
      return new CloudError('invalid', `${doing}: this machine does not have that address`, { cause: error });
    default:
      return toCloudError(error, doing);
  }
}
