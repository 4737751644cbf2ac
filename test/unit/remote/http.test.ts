import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer as createPlain, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecure } from 'node:https';
import { type AddressInfo, type Server as AnyServer, createServer as createMute } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { dir as tempDir } from 'tmp-promise';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { authorization } from '../../../src/remote/auth.js';
import { HttpClient, type HttpOptions } from '../../../src/remote/http.js';
import { codeOfStatus, parseRetryAfter } from '../../../src/remote/http_failure.js';
import { Places, Turns } from '../../../src/remote/places.js';
import { transportError } from '../../../src/remote/transport_error.js';
import { codeOf } from '../../contract/remote_contract.js';
import { must } from '../../support/processes.js';

async function listen(server: AnyServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

function client(origin: string, options: Partial<HttpOptions> = {}): HttpClient {
  return new HttpClient({ origin, credentials: { kind: 'none' }, timeout_ms: 500, userAgent: 'test', ...options });
}

it('a short bound holds also while there is no connection yet', async () => {
  const mute = createMute(); // takes connections, says nothing
  const port = await listen(mute);
  const http = client(`https://127.0.0.1:${port}`, { timeout_ms: 8_000 });
  const since_ms = performance.now();
  const asked = http.request({ method: 'PROPFIND', path: '/', lane: 'probe', timeout_ms: 200 });
  expect(await codeOf(asked)).toBe('timeout');
  expect(performance.now() - since_ms).toBeLessThan(3_000);
  await http.close();
  mute.close();
});

describe('the table of statuses', () => {
  it('knows what each means, also those it has no row for', () => {
    const table = {
      401: 'unauthorized',
      403: 'no_access',
      404: 'not_found',
      409: 'not_found',
      412: 'precondition',
      413: 'too_large',
      423: 'locked',
      429: 'busy_server',
      500: 'server',
      502: 'server',
      503: 'busy_server',
      507: 'quota',
      511: 'network',
      418: 'not_permitted',
      599: 'server',
      302: 'protocol',
    };
    for (const [status, code] of Object.entries(table))
      expect([status, codeOfStatus(Number(status))]).toEqual([status, code]);
  });

  it('reads Retry-After as seconds and as a date', () => {
    expect(parseRetryAfter('120', 0)).toBe(120);
    expect(parseRetryAfter('Thu, 01 Jan 1970 00:01:00 GMT', 30_000)).toBe(30);
    expect(parseRetryAfter('Thu, 01 Jan 1970 00:01:00 GMT', 90_000)).toBe(0);
    expect(parseRetryAfter('31536000', 0)).toBe(3600);
    expect(parseRetryAfter('Thu, 31 Dec 2099 00:00:00 GMT', 0)).toBe(3600);
    expect(parseRetryAfter('soon', 0)).toBeNull();
    expect(parseRetryAfter(undefined, 0)).toBeNull();
  });

  it('names what goes wrong below HTTP', () => {
    const of = (code: string) => transportError(Object.assign(new Error('x'), { code }), 'doing').code;
    expect([of('ECONNREFUSED'), of('ENOTFOUND'), of('UND_ERR_SOCKET')]).toEqual(['network', 'network', 'network']);
    expect([of('UND_ERR_CONNECT_TIMEOUT'), of('ETIMEDOUT')]).toEqual(['timeout', 'timeout']);
    expect([of('DEPTH_ZERO_SELF_SIGNED_CERT'), of('HPE_INVALID_CONSTANT')]).toEqual(['protocol', 'protocol']);
    expect([of('UND_ERR_ABORTED'), of('EIO')]).toEqual(['interrupted', 'io']);
  });
});

describe('credentials', () => {
  it('are sent as the standards say', () => {
    expect(authorization({ kind: 'basic', user: 'Aladdin', password: 'open sesame' })).toBe(
      'Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==',
    );
    expect(authorization({ kind: 'basic', user: 'test', password: '123£' })).toBe('Basic dGVzdDoxMjPCow==');
    expect(authorization({ kind: 'bearer', token: 'abc.def' })).toBe('Bearer abc.def');
    expect(authorization({ kind: 'none' })).toBeNull();
    for (const wrong of [
      { kind: 'basic', user: 'a:b', password: 'x' },
      { kind: 'bearer', token: 'a\r\nb' },
    ] as const) {
      expect(() => authorization(wrong)).toThrow(expect.objectContaining({ code: 'invalid' }));
    }
  });
});

describe('waiting in line', () => {
  it('gives places in order and forgets who gave up', async () => {
    const places = new Places(1);
    const order: string[] = [];
    await places.take(undefined);
    const abort = new AbortController();
    const first = places.take(undefined).then(() => order.push('first'));
    const given = codeOf(places.take(abort.signal));
    const third = places.take(undefined).then(() => order.push('third'));
    abort.abort();
    expect(await given).toBe('interrupted');
    places.give();
    await first;
    places.give();
    await third;
    expect(order).toEqual(['first', 'third']);
  });

  it('lets one in for each key', async () => {
    const turns = new Turns();
    const over = await turns.take('a', undefined);
    (await turns.take('b', undefined))();
    let entered = false;
    const next = turns.take('a', undefined).then((end) => {
      entered = true;
      end();
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(entered).toBe(false);
    over();
    over();
    await next;
    (await turns.take('a', undefined))();
  });
});

describe('requests', () => {
  let server: Server;
  let origin: string;
  let sockets = 0;

  beforeAll(async () => {
    server = createPlain((request, response) => {
      request.resume();
      if (request.url === '/never') return;
      request.on('end', () => response.end(request.headers['user-agent']));
    });
    server.on('connection', () => void sockets++);
    origin = `http://127.0.0.1:${await listen(server)}`;
  });
  afterAll(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  it('keep their connections, and get new ones after a break', async () => {
    const http = client(origin);
    const get = async () => await (await http.request({ method: 'GET', path: '/' })).text();
    const before = sockets;
    for (let i = 0; i < 5; i++) expect(await get()).toBe('test');
    const used = sockets - before;
    expect(used).toBeLessThanOrEqual(2);
    http.renew();
    expect(await get()).toBe('test');
    expect(sockets - before).toBe(used + 1);
    await http.close();
  });

  it('do not stand in the way of each other between lanes', async () => {
    const http = client(origin);
    const abort = new AbortController();
    const stuck = Array.from({ length: 60 }, () =>
      codeOf(http.request({ method: 'GET', path: '/never', lane: 'read', signal: abort.signal })),
    );
    expect((await http.request({ method: 'GET', path: '/', lane: 'meta' })).status).toBe(200);
    abort.abort();
    expect(new Set(await Promise.all(stuck))).toEqual(new Set(['interrupted']));
    expect(await codeOf(http.request({ method: 'GET', path: '/never', lane: 'probe' }))).toBe('timeout');
    await http.close();
  });

  it('limit what they read into memory', async () => {
    const http = client(origin, { userAgent: 'x'.repeat(5000) });
    const response = await http.request({ method: 'GET', path: '/' });
    expect(await codeOf(response.text(1000))).toBe('protocol');
    await http.close();
  });
});

/** A key and a certificate of its own in `path`. */
async function certificate(path: string, name: string, extra: string[]): Promise<void> {
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  await must('openssl', [
    ...request,
    '-keyout',
    join(path, `${name}.key`),
    '-out',
    join(path, `${name}.pem`),
    ...extra,
  ]);
}

describe('a body that comes chunk by chunk', () => {
  const CHUNK_BYTES = 256 * 1024;
  const chunkAt = (index: number) =>
    createHash('shake256', { outputLength: CHUNK_BYTES - index })
      .update(`${index}`)
      .digest();

  /** All in one buffer, which is spoiled as soon as the next chunk is asked for. */
  async function* fromOneBuffer(count: number): AsyncGenerator<Buffer> {
    const buffer = Buffer.alloc(CHUNK_BYTES);
    for (let index = 0; index < count; index++) {
      const length = chunkAt(index).copy(buffer);
      yield buffer.subarray(0, length);
      buffer.fill(0xee);
    }
  }

  it.each(['http', 'https'] as const)(
    'arrives over %s as it was, whatever becomes of its buffers, however slowly it is read',
    async (scheme) => {
      const { path, cleanup } = await tempDir({ unsafeCleanup: true });
      await certificate(path, 'server', ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']);
      const [cert, key] = await Promise.all(['server.pem', 'server.key'].map((name) => readFile(join(path, name))));
      if (!cert || !key) throw new Error('a certificate is required');
      const answer = async (request: IncomingMessage, response: ServerResponse) => {
        const got = createHash('sha256');
        let reads = 0;
        for await (const chunk of request) {
          got.update(chunk as Buffer);
          reads += 1;
          if (reads % 16 === 0) await setTimeout(2);
        }
        response.end(got.digest('hex'));
      };
      const server = scheme === 'http' ? createPlain(answer) : createSecure({ cert, key }, answer);
      const http = client(`${scheme}://127.0.0.1:${await listen(server)}`, { timeout_ms: 5000, tls: { ca: cert } });
      const count = 24;
      const sent = createHash('sha256');
      let contentLength = 0;
      for (let index = 0; index < count; index++) {
        sent.update(chunkAt(index));
        contentLength += chunkAt(index).length;
      }
      const response = await http.request({ method: 'PUT', path: '/', body: fromOneBuffer(count), contentLength });
      expect(await response.text()).toBe(sent.digest('hex'));
      await http.close();
      await new Promise((resolve) => server.close(resolve));
      await cleanup();
    },
  );
});

describe('TLS', () => {
  it('trusts whom it is told to trust, shows its certificate, and refuses everybody else', async () => {
    const { path, cleanup } = await tempDir({ unsafeCleanup: true });
    await certificate(path, 'server', ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']);
    await certificate(path, 'client', ['-subj', '/CN=somebody']);
    const pem = (name: string) => readFile(join(path, name));
    const [ca, key, clientCert, clientKey] = await Promise.all(
      ['server.pem', 'server.key', 'client.pem', 'client.key'].map(pem),
    );
    if (!ca || !key || !clientCert || !clientKey) throw new Error('certificates are required');
    const server = createSecure(
      { cert: ca, key, requestCert: true, rejectUnauthorized: false, ca: clientCert },
      (request, response) => {
        const { authorized } = request.socket as unknown as { authorized: boolean };
        response.end(authorized ? 'known' : 'unknown');
      },
    );
    const origin = `https://127.0.0.1:${await listen(server)}`;
    const ask = async (tls: HttpOptions['tls']) => {
      const http = client(origin, { timeout_ms: 5000, ...(tls === undefined ? {} : { tls }) });
      try {
        return await (await http.request({ method: 'GET', path: '/' })).text();
      } finally {
        await http.close();
      }
    };
    expect(await codeOf(ask(undefined))).toBe('protocol');
    expect(await codeOf(ask({ ca: clientCert }))).toBe('protocol');
    expect(await ask({ ca })).toBe('unknown');
    expect(await ask({ ca, cert: clientCert, key: clientKey })).toBe('known');
    expect(await ask({ insecure: true })).toBe('unknown');
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await cleanup();
  });
});

it('methods of WebDAV with a body leave the connection to the next request', async () => {
  const ports = new Set<number | undefined>();
  const server = createPlain((request, response) => {
    ports.add(request.socket.remotePort);
    request.resume().on('end', () => response.end('done'));
  });
  const http = client(`http://127.0.0.1:${await listen(server)}`);
  for (const method of ['REPORT', 'LOCK', 'MKCOL', 'PROPFIND', 'REPORT']) {
    await (await http.request({ method, path: '/', body: '<a/>' })).text();
    await new Promise((resolve) => setImmediate(resolve)); // the connection is free again
  }
  expect(ports.size).toBe(1);
  await http.close();
  await new Promise((resolve) => server.close(resolve));
});

describe('an urgent short read', () => {
  it('takes a connection that is there instead of making one of its own', async () => {
    const ports = new Set<number | undefined>();
    const server = createPlain((request, response) => {
      ports.add(request.socket.remotePort);
      response.end('bytes');
    });
    const http = client(`http://127.0.0.1:${await listen(server)}`);
    const ask = async (lane: 'meta' | 'read', urgent: boolean) => {
      await (await http.request({ method: 'GET', path: '/', lane, urgent })).text();
      await new Promise((resolve) => setImmediate(resolve)); // the connection is free again
    };
    await ask('meta', false);
    await ask('read', true);
    expect(ports.size).toBe(1);
    await ask('read', false);
    expect(ports.size).toBe(2);
    await http.close();
    await new Promise((resolve) => server.close(resolve));
  });

  it('leaves the cheap way where that would have to connect, and somebody else need not', async () => {
    const server = createPlain((_, response) => {
      response.writeHead(206, { 'content-length': 5 }).end('bytes');
    });
    const http = client(`http://127.0.0.1:${await listen(server)}`);
    const urgent = { method: 'GET', path: '/', lane: 'read', urgent: true } as const;
    await (await http.request({ method: 'GET', path: '/' })).text();
    await new Promise((resolve) => setImmediate(resolve)); // the connection is free again
    expect(await http.plainGet(urgent)).toBeNull();
    const answer = await http.plainGet({ ...urgent, urgent: false });
    await answer?.pour(() => undefined);
    const second = await http.plainGet(urgent);
    expect(second).not.toBeNull();
    second?.cancel();
    await http.close();
    await new Promise((resolve) => server.close(resolve));
  });
});
