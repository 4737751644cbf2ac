// An HTTP proxy in front of a real server that does everything a bad network, a bad server or somebody in between can do,
// by rules that are switched while it runs. WebSockets pass through and can be cut or frozen.
//
//   const proxy = await FaultProxy.open({ targetPort });           point the client at proxy.url
//   proxy.add({ method: 'PUT', times: 1, fault: { kind: 'lost_answer' } });
//   proxy.add({ path: /\/big$/, fault: { kind: 'truncate', after_bytes: 1000 } });
//   proxy.clear();                                                  honest again

import { once } from 'node:events';
import {
  Agent,
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerResponse,
} from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex, Writable } from 'node:stream';

export type Fault =
  /** Passed on so much later. */
  | { readonly kind: 'latency'; readonly delay_ms: number }
  /** The answer's body comes no faster. */
  | { readonly kind: 'bandwidth'; readonly bytesPerSecond: number }
  /** The connection is reset before the request is passed on. */
  | { readonly kind: 'reset' }
  /** The request is swallowed; no answer ever. */
  | { readonly kind: 'silence' }
  /** The connection is reset in the middle of the request's body; the server sees a request cut short. */
  | { readonly kind: 'cut_request'; readonly after_bytes: number }
  /** The server does what was asked; the answer is lost: reset, or silence for ever. */
  | { readonly kind: 'lost_answer'; readonly how?: 'reset' | 'silence' }
  /** The answer's body ends by reset after so many bytes. */
  | { readonly kind: 'cut'; readonly after_bytes: number }
  /** The answer's body ends by FIN after so many bytes, whatever was announced. */
  | { readonly kind: 'truncate'; readonly after_bytes: number }
  /** As `truncate`, and what is announced is what comes. */
  | { readonly kind: 'shorten'; readonly after_bytes: number }
  /** The answer's body stops after so many bytes and the connection stays open. */
  | { readonly kind: 'stall'; readonly after_bytes: number }
  /** The answer's body drips: so many bytes every so often. */
  | { readonly kind: 'drip'; readonly bytes: number; readonly every_ms: number }
  /** This answer instead of the server's; the request is not passed on. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers?: OutgoingHttpHeaders;
      readonly body?: string | Buffer;
    }
  /** The sign-in page of a network: 200 text/html for everything. */
  | { readonly kind: 'captive_portal' }
  /** The server's answer with another status. */
  | { readonly kind: 'status'; readonly status: number }
  /** The server's answer with headers replaced (null = removed). */
  | { readonly kind: 'headers'; readonly set: Readonly<Record<string, string | null>> }
  /** The request with headers replaced (null = removed): a server that ignores Range or If-Match. */
  | { readonly kind: 'request_headers'; readonly set: Readonly<Record<string, string | null>> }
  /** The server's answer with its body changed. */
  | { readonly kind: 'body'; change(body: Buffer): Buffer };

export interface Rule {
  /** Without: every method. */
  readonly method?: string;
  /** Tested against the raw request path; without: every path. */
  readonly path?: RegExp;
  /** How often the rule applies before it is gone; without: until removed. */
  readonly times?: number;
  readonly fault: Fault;
}

export interface ProxiedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** Bytes of the request's body that came in. */
  requestBytes: number;
  /** Bytes of the answer's body that went out. */
  answerBytes: number;
  /** What the client was told; null when it was told nothing. */
  status: number | null;
}

export interface FaultProxyOptions {
  readonly targetPort: number;
  readonly targetHost?: string;
  /** 0 = any free one. */
  readonly port?: number;
}

const PORTAL =
  '<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please sign in to the network.</body></html>';

export class FaultProxy {
  readonly #options: FaultProxyOptions;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 });
  readonly #sockets = new Set<Socket>();
  readonly #upgraded = new Set<Duplex>();
  readonly #rules: { rule: Rule; left: number }[] = [];
  #server: Server | null = null;
  #port: number;
  /** Every request that came in, in order. */
  readonly requests: ProxiedRequest[] = [];
  /** Connections taken, kept-alive ones once. */
  connections = 0;

  private constructor(options: FaultProxyOptions) {
    this.#options = options;
    this.#port = options.port ?? 0;
  }

  static async open(options: FaultProxyOptions): Promise<FaultProxy> {
    const proxy = new FaultProxy(options);
    await proxy.accept();
    return proxy;
  }

  get port(): number {
    return this.#port;
  }
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** The rule holds from now on, before those added earlier; the returned function takes it away. */
  add(rule: Rule): () => void {
    const entry = { rule, left: rule.times ?? Number.POSITIVE_INFINITY };
    this.#rules.unshift(entry);
    return () => {
      const index = this.#rules.indexOf(entry);
      if (index >= 0) this.#rules.splice(index, 1);
    };
  }

  clear(): void {
    this.#rules.length = 0;
  }

  count(method: string, path?: RegExp): number {
    return this.requests.filter((one) => one.method === method && (path?.test(one.path) ?? true)).length;
  }

  /** New connections are refused, open ones are reset: the server's machine is off. */
  async refuse(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    this.cutAll();
    if (server === null) return;
    server.close();
    await once(server, 'close');
  }

  /** Takes connections (again), on the same port. */
  async accept(): Promise<void> {
    if (this.#server !== null) return;
    const server = createServer({ keepAliveTimeout: 60_000, requestTimeout: 0, headersTimeout: 0 });
    server.on('connection', (socket) => {
      this.connections += 1;
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    server.on(
      'request',
      (request, response) => void this.#handle(request, response).catch(() => request.socket.destroy()),
    );
    server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    server.on('checkContinue', (request, response) => {
      response.writeContinue();
      void this.#handle(request, response).catch(() => request.socket.destroy());
    });
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Every open connection is reset. */
  cutAll(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Open WebSockets stop carrying anything and stay open. */
  freezeUpgraded(): void {
    for (const socket of this.#upgraded) {
      socket.unpipe();
      socket.pause();
    }
  }

  async close(): Promise<void> {
    await this.refuse();
    this.#agent.destroy();
  }

  #faultsFor(request: IncomingMessage): Fault[] {
    const faults: Fault[] = [];
    for (const entry of [...this.#rules]) {
      const { method, path, fault } = entry.rule;
      if (method !== undefined && method !== request.method) continue;
      if (path !== undefined && !path.test(request.url ?? '')) continue;
      faults.push(fault);
      entry.left -= 1;
      if (entry.left <= 0) this.#rules.splice(this.#rules.indexOf(entry), 1);
    }
    return faults;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen: ProxiedRequest = {
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      requestBytes: 0,
      answerBytes: 0,
      status: null,
    };
    this.requests.push(seen);
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    const faults = this.#faultsFor(request);
    const fault = <K extends Fault['kind']>(kind: K) =>
      faults.find((one): one is Extract<Fault, { kind: K }> => one.kind === kind);

    const latency = fault('latency');
    if (latency !== undefined) await sleep(latency.delay_ms);
    if (fault('silence') !== undefined) {
      request.resume();
      return;
    }
    if (fault('reset') !== undefined) {
      request.socket.resetAndDestroy();
      return;
    }
    const answer = fault('answer') ?? (fault('captive_portal') && portal());
    if (answer !== undefined) {
      request.resume();
      await once(request, 'end').catch(() => undefined);
      seen.status = answer.status;
      response.writeHead(answer.status, { 'content-length': Buffer.byteLength(answer.body ?? ''), ...answer.headers });
      response.end(answer.body ?? '');
      return;
    }

    const fromServer = await this.#passOn(request, seen, fault('request_headers')?.set ?? {}, fault('cut_request'));
    if (fromServer === null) return;
    const lost = fault('lost_answer');
    if (lost !== undefined) {
      fromServer.resume();
      await once(fromServer, 'end').catch(() => undefined);
      if (lost.how !== 'silence') request.socket.resetAndDestroy();
      return;
    }
    seen.status = fault('status')?.status ?? fromServer.statusCode ?? 502;
    await this.#answer(seen, fromServer, response, faults);
  }

  #passOn(
    request: IncomingMessage,
    seen: ProxiedRequest,
    set: Readonly<Record<string, string | null>>,
    cut: Extract<Fault, { kind: 'cut_request' }> | undefined,
  ): Promise<IncomingMessage | null> {
    const { targetPort, targetHost } = this.#options;
    const headers: OutgoingHttpHeaders = { ...request.headers };
    for (const [name, value] of Object.entries(set)) {
      if (value === null) delete headers[name];
      else headers[name] = value;
    }
    delete headers['expect'];
    return new Promise((resolve) => {
      const outgoing = httpRequest({
        host: targetHost ?? '127.0.0.1',
        port: targetPort,
        method: request.method ?? 'GET',
        path: request.url ?? '/',
        headers,
        agent: this.#agent,
      });
      outgoing.on('response', resolve);
      outgoing.on('error', () => {
        request.socket.resetAndDestroy();
        resolve(null);
      });
      request.on('close', () => {
        if (!request.complete) outgoing.destroy();
      });
      request.on('data', (chunk: Buffer) => {
        seen.requestBytes += chunk.length;
        if (cut !== undefined && seen.requestBytes >= cut.after_bytes) {
          outgoing.destroy();
          request.socket.resetAndDestroy();
          resolve(null);
          return;
        }
        if (!outgoing.write(chunk)) {
          request.pause();
          outgoing.once('drain', () => request.resume());
        }
      });
      request.on('end', () => outgoing.end());
    });
  }

  async #answer(
    seen: ProxiedRequest,
    from: IncomingMessage,
    to: ServerResponse,
    faults: readonly Fault[],
  ): Promise<void> {
    const headers: OutgoingHttpHeaders = { ...from.headers };
    delete headers['connection'];
    delete headers['keep-alive'];
    delete headers['transfer-encoding'];
    let body: AsyncIterable<Buffer> = from;
    let limit = Number.POSITIVE_INFINITY;
    let atLimit: 'reset' | 'fin' | 'stall' | 'end' = 'end';
    let pace: (bytes: number) => Promise<void> = () => Promise.resolve();
    let step = Number.POSITIVE_INFINITY;
    for (const fault of [...faults].reverse()) {
      switch (fault.kind) {
        case 'headers':
          for (const [name, value] of Object.entries(fault.set)) {
            if (value === null) delete headers[name];
            else headers[name] = value;
          }
          break;
        case 'body': {
          const changed = fault.change(await collect(body));
          if (headers['content-length'] !== undefined) headers['content-length'] = String(changed.length);
          body = once1(changed);
          break;
        }
        case 'cut':
          [limit, atLimit] = [fault.after_bytes, 'reset'];
          break;
        case 'truncate':
          [limit, atLimit] = [fault.after_bytes, 'fin'];
          break;
        case 'shorten': {
          const short = (await collect(body)).subarray(0, fault.after_bytes);
          headers['content-length'] = String(short.length);
          body = once1(short);
          break;
        }
        case 'stall':
          [limit, atLimit] = [fault.after_bytes, 'stall'];
          break;
        case 'drip':
          step = fault.bytes;
          pace = () => sleep(fault.every_ms);
          break;
        case 'bandwidth':
          step = Math.max(1, Math.floor(fault.bytesPerSecond / 20));
          pace = (bytes) => sleep((bytes * 1000) / fault.bytesPerSecond);
          break;
        default:
      }
    }
    to.writeHead(seen.status ?? 502, headers);
    if (limit === 0) to.flushHeaders();
    for await (const chunk of body) {
      for (let at = 0; at < chunk.length; ) {
        const end = Math.min(chunk.length, at + Math.min(step, limit - seen.answerBytes));
        const part = chunk.subarray(at, end);
        if (part.length > 0) {
          seen.answerBytes += part.length;
          at = end;
          if (!to.write(part)) await drained(to);
          if (to.destroyed) return;
          await pace(part.length);
        }
        if (seen.answerBytes >= limit) {
          await breakOff(to, atLimit);
          return;
        }
      }
    }
    if (limit === 0 && atLimit !== 'end') {
      await breakOff(to, atLimit);
      return;
    }
    to.end();
  }

  #upgrade(request: IncomingMessage, client: Duplex, head: Buffer): void {
    const faults = this.#faultsFor(request);
    this.requests.push({
      method: 'UPGRADE',
      path: request.url ?? '',
      headers: request.headers,
      requestBytes: 0,
      answerBytes: 0,
      status: null,
    });
    if (faults.some((fault) => fault.kind === 'reset' || fault.kind === 'answer' || fault.kind === 'captive_portal')) {
      client.destroy();
      return;
    }
    client.on('error', () => undefined);
    if (faults.some((fault) => fault.kind === 'silence')) return;
    const server = connect(this.#options.targetPort, this.#options.targetHost ?? '127.0.0.1');
    server.on('error', () => client.destroy());
    this.#upgraded.add(client);
    this.#upgraded.add(server);
    client.on('close', () => {
      this.#upgraded.delete(client);
      server.destroy();
    });
    server.on('close', () => {
      this.#upgraded.delete(server);
      client.destroy();
    });
    const lines = [`${request.method} ${request.url} HTTP/1.1`];
    for (let i = 0; i < request.rawHeaders.length; i += 2) {
      lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
    }
    server.write(`${lines.join('\r\n')}\r\n\r\n`);
    server.write(head);
    client.pipe(server);
    server.pipe(client);
  }
}

function portal(): Extract<Fault, { kind: 'answer' }> {
  return { kind: 'answer', status: 200, headers: { 'content-type': 'text/html; charset=utf-8' }, body: PORTAL };
}

async function breakOff(to: ServerResponse, how: 'reset' | 'fin' | 'stall' | 'end'): Promise<void> {
  // What was written must be out before the connection ends.
  await new Promise<void>((resolve) => to.write('', () => resolve()));
  if (how === 'reset') to.socket?.resetAndDestroy();
  if (how === 'fin') to.socket?.end();
  if (how === 'end') to.end();
}

async function collect(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function* once1(body: Buffer): AsyncGenerator<Buffer> {
  yield body;
}

function sleep(delay_ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delay_ms));
}

/** There is room for more, or nobody takes it any more. */
async function drained(to: Writable): Promise<void> {
  const settled = new AbortController();
  const { signal } = settled;
  await Promise.race([once(to, 'drain', { signal }), once(to, 'close', { signal })]).catch(() => undefined);
  settled.abort();
}
