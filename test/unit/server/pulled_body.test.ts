// Long request bodies are read past node: whole and in order whatever the client does, and what comes behind one is a
// request again.

import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type NativeCalls, nativeCalls } from '../../../src/server/native_calls.js';
import { PulledBody } from '../../../src/server/pulled_body.js';
import { sendContinueOnFirstRead } from '../../../src/server/request_body.js';
import { eventually, must } from '../../support/processes.js';
import { gateSeeds, Random } from '../../support/random.js';

const MIB = 1 << 20;
const sumOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

interface Taken {
  readonly sum: string;
  readonly bytes: number;
  readonly direct_bytes: number;
}

type Take = (req: IncomingMessage, body: PulledBody) => Promise<Taken>;

async function takeAll(_req: IncomingMessage, body: PulledBody, into_bytes = 100_000, pause_ms = 0): Promise<Taken> {
  const into = Buffer.alloc(into_bytes);
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    for (let n = await body.fill(into); n > 0; n = await body.fill(into)) {
      hash.update(into.subarray(0, n));
      bytes += n;
      if (pause_ms > 0) await sleep(pause_ms);
    }
  } finally {
    body.close();
  }
  return { sum: hash.digest('hex'), bytes, direct_bytes: body.direct_bytes };
}

let native: NativeCalls | null;
let server: http.Server;
let port: number;
let take: Take;
let failures: unknown[];

async function listen(made: http.Server): Promise<void> {
  server = made;
  const onRequest = (req: IncomingMessage, res: http.ServerResponse) => {
    const { 'content-length': length } = req.headers;
    const body = new PulledBody(req, length === undefined ? null : Number(length), native);
    take(req, body).then(
      (taken) => res.end(JSON.stringify(taken)),
      (error: unknown) => {
        failures.push(error);
        res.writeHead(400, { connection: 'close' }).end();
      },
    );
  };
  server.on('request', onRequest);
  server.on('checkContinue', (req, res) => {
    sendContinueOnFirstRead(req, res);
    onRequest(req, res);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
}

beforeEach(async () => {
  native = await nativeCalls();
  take = (req, body) => takeAll(req, body);
  failures = [];
  await listen(http.createServer());
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const head = (length: number, more = '') => `PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n${more}\r\n`;

async function client(): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

/** `count` answers, as they come one behind the other. */
async function answers(socket: Socket, count: number): Promise<Taken[]> {
  const out: Taken[] = [];
  let text = '';
  for await (const piece of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    text += piece.toString('latin1');
    for (let found = /\r\n\r\n.*?(\{.*?\})/s.exec(text); found !== null; found = /\r\n\r\n.*?(\{.*?\})/s.exec(text)) {
      out.push(JSON.parse(found[1] ?? '') as Taken);
      text = text.slice(found.index + found[0].length);
    }
    if (out.length >= count) return out;
  }
  throw new Error(`the connection ended after ${out.length} of ${count} answers: ${text}`);
}

async function certificate(): Promise<{ cert: Buffer; key: Buffer }> {
  const dir = await mkdtemp(join(tmpdir(), 'cloudmount-pulled-'));
  const files = ['-keyout', join(dir, 'key'), '-out', join(dir, 'cert')];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-subj', '/CN=localhost'];
  await must('openssl', ['req', '-x509', '-nodes', '-days', '2', ...kind, ...files]);
  const pair = { cert: await readFile(join(dir, 'cert')), key: await readFile(join(dir, 'key')) };
  await rm(dir, { recursive: true });
  return pair;
}

describe('a long body', () => {
  it('comes whole and in order, most of it past node, one after the other on one connection', async () => {
    const socket = await client();
    for (const size of [24 * MIB + 1, 17 * MIB, 16 * MIB + 4095]) {
      const content = randomBytes(size);
      socket.write(head(size));
      socket.write(content);
      const [taken] = await answers(socket, 1);
      expect(taken).toMatchObject({ sum: sumOf(content), bytes: size });
      expect(taken?.direct_bytes).toBeGreaterThan(size / 2);
    }
    socket.destroy();
  });

  it('ends where it ends: what comes behind it at once is the next request', async () => {
    const contents = [3 * MIB + 7, 10, 2 * MIB, 1].map((size) => randomBytes(size));
    const socket = await client();
    socket.write(Buffer.concat(contents.flatMap((content) => [Buffer.from(head(content.length)), content])));
    const taken = await answers(socket, contents.length);
    expect(taken.map(({ sum }) => sum)).toEqual(contents.map(sumOf));
    socket.destroy();
  });

  it('is not read further than it is taken, also behind another', async () => {
    let ahead = 0;
    take = async (req, body) => {
      const into = Buffer.alloc(100_000);
      let bytes = 0;
      for (let n = await body.fill(into); n > 0; n = await body.fill(into)) {
        bytes += n;
        if (bytes < 2 * MIB) await sleep(10);
        ahead = Math.max(ahead, req.socket.bytesRead + body.direct_bytes - bytes);
      }
      body.close();
      return { sum: '', bytes, direct_bytes: body.direct_bytes };
    };
    const contents = [randomBytes(1000), randomBytes(24 * MIB)];
    const socket = await client();
    socket.write(Buffer.concat(contents.flatMap((content) => [Buffer.from(head(content.length)), content])));
    expect((await answers(socket, 2)).map(({ bytes }) => bytes)).toEqual([1000, 24 * MIB]);
    expect(ahead).toBeLessThan(MIB);
    socket.destroy();
  });

  it.each(gateSeeds(3))('comes as it was sent, in pieces and with pauses of any kind, seed %i', async (seed) => {
    const random = new Random(seed);
    take = (req, body) => takeAll(req, body, 1 + random.below(300_000), random.below(2));
    const contents = Array.from({ length: 4 }, () => randomBytes(1 + random.below(2 * MIB)));
    const socket = await client();
    const all = Buffer.concat(contents.flatMap((content) => [Buffer.from(head(content.length)), content]));
    const sending = (async () => {
      for (let at = 0; at < all.length; ) {
        const n = 1 + random.below(random.below(3) === 0 ? 500_000 : 20_000);
        socket.write(all.subarray(at, at + n));
        at += n;
        if (random.below(4) === 0) await sleep(random.below(4));
      }
    })();
    const taken = await answers(socket, contents.length);
    await sending;
    expect(taken.map(({ sum }) => sum)).toEqual(contents.map(sumOf));
    socket.destroy();
  });

  it('comes in chunked coding, too, and ends where that says', async () => {
    const content = randomBytes(5 * MIB + 3);
    const coded: Buffer[] = [Buffer.from('PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n')];
    for (let at = 0; at < content.length; at += 300_000) {
      const piece = content.subarray(at, at + 300_000);
      coded.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n'));
    }
    coded.push(Buffer.from('0\r\n\r\n'), Buffer.from(head(3)), Buffer.from('end'));
    const socket = await client();
    socket.write(Buffer.concat(coded));
    const taken = await answers(socket, 2);
    expect(taken.map(({ sum }) => sum)).toEqual([sumOf(content), sumOf(Buffer.from('end'))]);
    socket.destroy();
  });

  it('is asked for when it is wanted (100-continue)', async () => {
    const content = randomBytes(3 * MIB);
    const socket = await client();
    socket.write(head(content.length, 'Expect: 100-continue\r\n'));
    await new Promise<void>((resolve) => {
      socket.once('data', (piece: Buffer) => {
        expect(piece.toString('latin1')).toMatch(/^HTTP\/1.1 100 /);
        resolve();
      });
    });
    socket.write(content);
    const [taken] = await answers(socket, 1);
    expect(taken).toMatchObject({ sum: sumOf(content) });
    socket.destroy();
  });

  it('that is cut off is an error, not a shorter one', async () => {
    for (const reset of [false, true]) {
      const socket = await client();
      socket.write(head(3 * MIB));
      socket.write(randomBytes(2 * MIB));
      await sleep(50);
      if (reset) socket.resetAndDestroy();
      else socket.end();
      await eventually('the end to be seen', () => failures.length > 0);
      expect(failures.splice(0)).toMatchObject([{ code: 'network' }]);
      socket.destroy();
    }
  });

  it('that is given up in the very moment when it is asked for is an error, and not waited for', async () => {
    take = async (req, body) => {
      const into = Buffer.alloc(MIB);
      await body.fill(into);
      const filling = body.fill(into);
      req.destroy();
      await filling;
      throw new Error('it was given up');
    };
    const socket = await client();
    socket.on('error', () => undefined);
    socket.write(Buffer.concat([Buffer.from(head(40 * MIB)), randomBytes(1000)]));
    await eventually('the end to be seen', () => failures.length > 0);
    expect(failures).toMatchObject([{ code: 'network' }]);
    socket.destroy();
  });

  it('waits while node takes no more because an earlier answer is not read', async () => {
    const before = Buffer.alloc(32 * MIB, 'x');
    const content = randomBytes(3 * MIB);
    server.prependListener('request', (req: IncomingMessage, res: http.ServerResponse) => {
      if (req.method === 'GET') res.writeHead(200, { 'content-length': before.length }).end(before);
    });
    take = async (req, body) => (req.method === 'GET' ? await new Promise<Taken>(() => undefined) : takeAll(req, body));
    const socket = await client();
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await sleep(50);
    socket.write(head(content.length));
    socket.write(content);
    await sleep(200);
    const pieces: Buffer[] = [];
    socket.on('data', (piece: Buffer) => pieces.push(piece));
    await eventually('both answers', () => pieces.at(-1)?.includes('}') === true);
    expect(failures).toEqual([]);
    const answer = /\{.*\}/.exec(Buffer.concat(pieces).subarray(before.length).toString('latin1'))?.[0] ?? '{}';
    expect(JSON.parse(answer)).toMatchObject({ sum: sumOf(content) });
    socket.destroy();
  });

  it('can be refused when part of it has come', async () => {
    take = async (_req, body) => {
      await body.fill(Buffer.alloc(1000));
      body.close();
      throw new Error('no more');
    };
    const socket = await client();
    socket.on('error', () => undefined);
    socket.write(head(40 * MIB));
    socket.write(randomBytes(MIB));
    const answer = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
    expect(answer.toString('latin1')).toMatch(/^HTTP\/1.1 400 /);
    socket.destroy();
  });

  it('keeps its connection while it is stored, and while it is read past node', async () => {
    server.setTimeout(300);
    const idle: Socket[] = [];
    server.on('timeout', (socket: Socket) => idle.push(socket));
    const content = randomBytes(6 * MIB);
    take = (req, body) => takeAll(req, body, MIB, 100);
    const socket = await client();
    socket.write(head(content.length));
    socket.write(content);
    const [taken] = await answers(socket, 1);
    expect(taken).toMatchObject({ sum: sumOf(content) });
    expect(idle).toEqual([]);
    socket.destroy();
  });

  it('comes from node alone where there is no other way', async () => {
    native = null;
    const content = randomBytes(5 * MIB);
    const socket = await client();
    for (let round = 0; round < 2; round += 1) {
      socket.write(head(content.length));
      socket.write(content);
      expect(await answers(socket, 1)).toMatchObject([{ sum: sumOf(content), direct_bytes: 0 }]);
    }
    socket.destroy();
  });

  it('comes from node alone behind TLS', async () => {
    await new Promise((resolve) => server.close(resolve));
    await listen(https.createServer(await certificate()) as unknown as http.Server);
    const content = randomBytes(5 * MIB);
    const answer = await new Promise<string>((resolve, reject) => {
      const request = https.request(
        {
          host: '127.0.0.1',
          port,
          method: 'PUT',
          rejectUnauthorized: false,
          headers: { 'content-length': content.length },
        },
        (response) => {
          let text = '';
          response.on('data', (piece: Buffer) => {
            text += piece.toString();
          });
          response.on('end', () => resolve(text));
        },
      );
      request.on('error', reject);
      request.end(content);
    });
    expect(JSON.parse(answer)).toMatchObject({ sum: sumOf(content), direct_bytes: 0 });
  });
});
