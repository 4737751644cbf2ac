import { readFile } from 'node:fs/promises';
import { createServer as createPlain, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createServer as createSecure } from 'node:tls';
import { dir as tempDir } from 'tmp-promise';
import { afterEach, describe, expect, it } from 'vitest';
import { type PlainAnswer, PlainConnections } from '../../../src/remote/plain_get.js';
import type { TlsOptions } from '../../../src/remote/tls.js';
import { codeOf } from '../../contract/remote_contract.js';
import { eventually, must } from '../../support/processes.js';
import { gateSeeds, Random } from '../../support/random.js';

const TIMEOUT_ms = 400;
const HEAD = 'HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nETag: "a"\r\n\r\n';

/** Answers questions as the test says, and counts what is asked over what. */
class Scripted {
  readonly connections: Socket[] = [];
  readonly asked: string[] = [];
  readonly #server: Server;
  #port = 0;

  constructor(answer: (socket: Socket, question: number) => void, server: Server = createPlain()) {
    this.#server = server;
    server.on('setTicketKeys' in server ? 'secureConnection' : 'connection', (socket: Socket) => {
      this.connections.push(socket);
      socket.on('error', () => undefined);
      let seen = '';
      socket.on('data', (bytes: Buffer) => {
        seen += bytes.toString('latin1');
        if (!seen.endsWith('\r\n\r\n')) return;
        this.asked.push(seen);
        seen = '';
        answer(socket, this.asked.length);
      });
    });
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.#port = (this.#server.address() as { port: number }).port;
    return this;
  }

  url(scheme: 'http' | 'https' = 'http'): string {
    return `${scheme}://127.0.0.1:${this.#port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.connections) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const ending: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

async function scripted(answer: (socket: Socket, question: number) => void, server?: Server): Promise<Scripted> {
  const started = await new Scripted(answer, server).start();
  ending.push(() => started.stop());
  return started;
}

/** How often questions have ended. */
let over = 0;

function client(origin: string, tls: TlsOptions = {}): PlainConnections {
  const connections = new PlainConnections({ origin, tls, timeout_ms: TIMEOUT_ms });
  ending.push(() => connections.close());
  over = 0;
  return connections;
}

function get(from: PlainConnections, options: { signal?: AbortSignal; headers?: Record<string, string> } = {}) {
  return from.get({
    path: '/file',
    headers: options.headers ?? { range: 'bytes=0-4' },
    signal: options.signal,
    over: () => {
      over += 1;
    },
  });
}

async function body(answer: PlainAnswer | null): Promise<Buffer> {
  if (answer === null) throw new Error('a plain answer is required');
  const chunks: Buffer[] = [];
  await answer.pour((chunk) => {
    chunks.push(Buffer.from(chunk));
  });
  return Buffer.concat(chunks);
}

describe('a plain answer', () => {
  it('comes whole and in order, however it is cut up, one after the other on one connection', async () => {
    const [seed = 0] = gateSeeds(1);
    const random = new Random(seed);
    const sent: Buffer[] = [];
    const server = await scripted(async (socket) => {
      const content = random.bytes(1 + random.below(300_000));
      sent.push(content);
      const head = `HTTP/1.1 206 \r\nA: b\r\nX-Two: 1\r\ncontent-length:  ${content.length} \r\nx-two: 2\r\n\r\n`;
      const all = Buffer.concat([Buffer.from(head), content]);
      for (let at = 0; at < all.length; ) {
        const size = 1 + random.below(random.chance(0.5) ? 60 : 100_000);
        socket.write(all.subarray(at, at + size));
        at += size;
        if (random.chance(0.3)) await pause(1);
      }
    });
    const connections = client(server.url());
    for (let i = 0; i < 30; i += 1) {
      const answer = await get(connections);
      expect(answer?.headers['x-two']).toBe('1, 2');
      const found = await body(answer);
      expect(found.equals(sent[i] ?? Buffer.alloc(0)), `seed ${seed}, answer ${i}`).toBe(true);
    }
    expect(server.connections.length).toBe(1);
    expect(server.asked[0]).toMatch(
      /^GET \/file HTTP\/1\.1\r\nhost: 127\.0\.0\.1:\d+\r\nconnection: keep-alive\r\nrange: bytes=0-4\r\n\r\n$/,
    );
    expect(over).toBe(30);
  });

  it('is kept while nobody takes it, and while the taker waits nothing more is handed over', async () => {
    const content = Buffer.alloc(3_000_000, 'abc');
    const server = await scripted((socket) => {
      socket.write(`HTTP/1.1 206 x\r\ncontent-length: ${content.length}\r\n\r\n`);
      socket.write(content);
    });
    const answer = await get(client(server.url()));
    await pause(50);
    let taking = 0;
    const chunks: Buffer[] = [];
    await answer?.pour(async (chunk) => {
      const mine = Buffer.from(chunk);
      taking += 1;
      expect(taking).toBe(1);
      await pause(2);
      taking -= 1;
      chunks.push(mine);
    });
    expect(Buffer.concat(chunks).equals(content)).toBe(true);
  });

  it('comes through TLS, whoever reads more slowly than it is decrypted', async () => {
    const { path, cleanup } = await tempDir({ unsafeCleanup: true });
    ending.push(cleanup);
    const files = ['-keyout', join(path, 'key'), '-out', join(path, 'cert')];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    const name = ['-subj', '/CN=x', '-addext', 'subjectAltName=IP:127.0.0.1'];
    await must('openssl', ['req', '-x509', ...curve, '-nodes', '-days', '2', ...files, ...name]);
    const [cert, key] = await Promise.all(['cert', 'key'].map((file) => readFile(join(path, file))));
    if (cert === undefined || key === undefined) throw new Error('a certificate is required');
    const content = new Random(1).bytes(2_000_000);
    const server = await scripted((socket) => {
      socket.write(`HTTP/1.1 206 x\r\ncontent-length: ${content.length}\r\n\r\n`);
      socket.write(content);
    }, createSecure({ cert, key }));
    const connections = client(server.url('https'), { ca: cert });
    expect((await body(await get(connections))).equals(content)).toBe(true);
    const chunks: Buffer[] = [];
    const slow = await get(connections);
    await pause(20);
    await slow?.pour(async (chunk) => {
      chunks.push(Buffer.from(chunk));
      await pause(1);
    });
    expect(Buffer.concat(chunks).equals(content)).toBe(true);
    expect(server.connections.length).toBe(1);
    expect(await codeOf(get(client(server.url('https'))))).toBe('protocol');
  });
});

describe('what is no plain answer', () => {
  const answers = {
    'another status': 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcde',
    'an error': 'HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n',
    'a redirect': 'HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n',
    'an interim answer': `HTTP/1.1 103 Early Hints\r\n\r\n${HEAD}abcde`,
    'chunked coding': 'HTTP/1.1 206 x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n',
    'chunked coding and a length':
      'HTTP/1.1 206 x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n',
    'no length': 'HTTP/1.1 206 x\r\netag: "a"\r\n\r\nabcde',
    'two lengths': 'HTTP/1.1 206 x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde',
    'a length that is none': 'HTTP/1.1 206 x\r\ncontent-length: -5\r\n\r\nabcde',
    'an older HTTP': 'HTTP/1.0 206 x\r\ncontent-length: 5\r\n\r\nabcde',
    'a folded header': 'HTTP/1.1 206 x\r\na: b\r\n c\r\ncontent-length: 5\r\n\r\nabcde',
    'a space before the colon': 'HTTP/1.1 206 x\r\ncontent-length : 5\r\n\r\nabcde',
    'a zero byte': 'HTTP/1.1 206 x\r\na: \0\r\ncontent-length: 5\r\n\r\nabcde',
    'something else altogether': 'SSH-2.0-OpenSSH_9.9\r\n\r\n',
    'a head without end': `HTTP/1.1 206 x\r\na: ${'b'.repeat(70_000)}`,
    'a long head': `HTTP/1.1 206 x\r\na: ${'b'.repeat(70_000)}\r\ncontent-length: 5\r\n\r\nabcde`,
    // Where reading a line costs more than its length these take hours.
    'blanks and a lone line feed': `HTTP/1.1 206 x\r\na:${' '.repeat(60_000)}\n\r\ncontent-length: 5\r\n\r\nabcde`,
    'blanks and a zero byte': `HTTP/1.1 206 x\r\na: x${' '.repeat(60_000)}\0\r\ncontent-length: 5\r\n\r\nabcde`,
  };
  it.each(Object.entries(answers))('is left to the other way: %s', async (_, bytes) => {
    const server = await scripted((socket) => void socket.write(bytes, 'latin1'));
    const connections = client(server.url());
    expect(await get(connections)).toBeNull();
    expect(over).toBe(1);
    expect(connections.hasIdle).toBe(false);
    await eventually('the connection to be closed', async () => server.connections[0]?.closed, Boolean);
  });

  it('is not asked for again and again', async () => {
    let plain = false;
    const server = await scripted((socket) => {
      socket.write(plain ? `${HEAD}abcde` : 'HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n');
    });
    const connections = client(server.url());
    for (const answered of [false, false, true, false, false, false, false, false]) {
      plain = answered;
      const answer = await get(connections);
      if (answered) await body(answer);
    }
    expect(server.asked.length).toBe(6); // after three in a row no more for a while
  });

  it('is not asked for where a header might become two', async () => {
    const server = await scripted(() => undefined);
    expect(await get(client(server.url()), { headers: { 'if-match': '"a"\r\nx: y' } })).toBeNull();
    expect(server.connections.length).toBe(0);
    expect(over).toBe(1);
  });
});

describe('a body that ends badly', () => {
  const took = async (answer: PlainAnswer | null) => {
    let bytes = '';
    const code = await codeOf(
      answer?.pour((chunk) => {
        bytes += chunk.toString();
      }) ?? Promise.resolve(),
    );
    return [code, bytes];
  };

  it.each(['end', 'resetAndDestroy'] as const)(
    'is cut short (%s): what came is handed over, then `network`',
    async (way) => {
      const server = await scripted((socket) => {
        socket.write(`${HEAD}abc`);
        setTimeout(() => socket[way](), 30);
      });
      expect(await took(await get(client(server.url())))).toEqual(['network', 'abc']);
      expect(over).toBe(1);
    },
  );

  it('is cut short while nobody takes it', async () => {
    const server = await scripted((socket) => void socket.end(`${HEAD}abc`));
    const answer = await get(client(server.url()));
    await pause(50);
    expect(await took(answer)).toEqual(['network', 'abc']);
  });

  it('is whole although the connection is gone when it is taken', async () => {
    const server = await scripted((socket) => void socket.end(`${HEAD}abcde`));
    const connections = client(server.url());
    const answer = await get(connections);
    await pause(50);
    expect((await body(answer)).toString()).toBe('abcde');
    await eventually('the connection to be given up', async () => !connections.hasIdle, Boolean);
  });

  it('is longer than announced', async () => {
    const server = await scripted((socket) => void socket.write(`${HEAD}abcdefg`));
    const connections = client(server.url());
    expect(await took(await get(connections))).toEqual(['protocol', '']);
    expect(connections.hasIdle).toBe(false);
  });

  it('goes on after its end: nobody is given what nobody asked for', async () => {
    const server = await scripted((socket, question) => {
      socket.write(`${HEAD}abcde`);
      if (question === 1) setTimeout(() => socket.write(`${HEAD}evil!`), 20);
    });
    const connections = client(server.url());
    expect((await body(await get(connections))).toString()).toBe('abcde');
    await eventually('the connection to be closed', async () => server.connections[0]?.closed, Boolean);
    expect((await body(await get(connections))).toString()).toBe('abcde');
    expect(server.connections.length).toBe(2);
  });
});

describe('every wait has a bound', () => {
  it.each([
    ['nothing is answered', ''],
    ['half a head is', HEAD.slice(0, 20)],
  ])('%s', async (_, bytes) => {
    const server = await scripted((socket) => void socket.write(bytes));
    expect(await codeOf(get(client(server.url())))).toBe('timeout');
    expect(over).toBe(1);
    await eventually('the connection to be closed', async () => server.connections[0]?.closed, Boolean);
  });

  it.each([0, 30])('the body stops, or trickles (a byte every %i ms)', async (every_ms) => {
    const server = await scripted((socket) => {
      socket.write(`HTTP/1.1 206 x\r\ncontent-length: 100000\r\n\r\n`);
      const timer = every_ms === 0 ? undefined : setInterval(() => socket.write('a'), every_ms);
      socket.on('close', () => clearInterval(timer));
    });
    const answer = await get(client(server.url()));
    expect(await codeOf(answer?.pour(() => undefined) ?? Promise.resolve())).toBe('timeout');
    expect(over).toBe(1);
  });

  it('but a taker may wait as long as it likes', async () => {
    const server = await scripted((socket) => void socket.write(`${HEAD}abcde`));
    const answer = await get(client(server.url()));
    await answer?.pour(() => pause(2 * TIMEOUT_ms));
    expect(over).toBe(1);
  });

  it('nobody listens there: `network`', async () => {
    const server = await new Scripted(() => undefined).start();
    const url = server.url();
    await server.stop();
    expect(await codeOf(get(client(url)))).toBe('network');
    expect(over).toBe(1);
  });
});

describe('the caller', () => {
  it.each(['before', 'waiting for the head', 'before the body is taken', 'within the body'])(
    'may end it: %s',
    async (when) => {
      const server = await scripted((socket) => {
        if (when !== 'waiting for the head') socket.write(`${HEAD}abc`);
      });
      const ending = new AbortController();
      const connections = client(server.url());
      if (when === 'before') ending.abort();
      const asking = get(connections, { signal: ending.signal });
      if (when === 'waiting for the head') setTimeout(() => ending.abort(), 30);
      if (when === 'before' || when === 'waiting for the head') expect(await codeOf(asking)).toBe('interrupted');
      else {
        const answer = await asking;
        if (when === 'before the body is taken') ending.abort();
        const pouring = answer?.pour(() => ending.abort()) ?? Promise.resolve();
        expect(await codeOf(pouring)).toBe('interrupted');
      }
      expect(over).toBe(1);
      expect(connections.hasIdle).toBe(false);
      await eventually('it to be closed', async () => server.connections.every(({ closed }) => closed), Boolean);
    },
  );

  it.each(['throws', 'rejects'])('gets its own failure back when it %s', async (how) => {
    const server = await scripted((socket) => void socket.write(`${HEAD}abc`));
    const answer = await get(client(server.url()));
    const mine = new Error('the disk is full');
    const take = (): Promise<void> => {
      if (how === 'throws') throw mine;
      return Promise.reject(mine);
    };
    await expect(answer?.pour(take)).rejects.toBe(mine);
    expect(over).toBe(1);
    await eventually('the connection to be closed', async () => server.connections[0]?.closed, Boolean);
  });

  it('may end it while it holds the last chunk: the connection is not taken for a good one', async () => {
    const server = await scripted((socket) => void socket.write(`${HEAD}abcde`));
    const connections = client(server.url());
    const stopping = new AbortController();
    const answer = await get(connections, { signal: stopping.signal });
    const pouring = answer?.pour(async () => {
      stopping.abort();
      await eventually('the connection to be closed', async () => server.connections[0]?.closed, Boolean);
    });
    expect(await codeOf(pouring ?? Promise.resolve())).toBe('interrupted');
    await eventually('the connection to be closed', async () => server.connections[0]?.closed, Boolean);
    await pause(50); // for the end of what still ran
    expect(connections.hasIdle).toBe(false);
    expect((await body(await get(connections))).toString()).toBe('abcde');
    expect(over).toBe(2);
  });

  it('may leave the body alone', async () => {
    const server = await scripted((socket) => void socket.write(`${HEAD}abc`));
    (await get(client(server.url())))?.cancel();
    expect(over).toBe(1);
    await eventually('the connection to be closed', async () => server.connections[0]?.closed, Boolean);
  });
});

describe('a connection', () => {
  it('that the server gave up between two questions is no failure: it is asked in the other way', async () => {
    const server = await scripted((socket, question) => {
      if (question === 1) socket.write(`${HEAD}abcde`);
      else socket.destroy();
    });
    const connections = client(server.url());
    await body(await get(connections));
    expect(await get(connections)).toBeNull();
    expect(server.connections.length).toBe(1);
    expect(over).toBe(2);
  });

  it('that closes without its first answer is one', async () => {
    const server = await scripted((socket) => void socket.end());
    expect(await codeOf(get(client(server.url())))).toBe('network');
  });

  it.each(['connection: close', 'keep-alive: timeout=1'])('is not kept where the server says %s', async (said) => {
    const server = await scripted((socket) => void socket.write(HEAD.replace('\r\n\r\n', `\r\n${said}\r\n\r\nabcde`)));
    const connections = client(server.url());
    await body(await get(connections));
    expect(connections.hasIdle).toBe(false);
  });

  it('is made anew after a break in the network, and none is left at the end', async () => {
    const server = await scripted((socket) => void socket.write(`${HEAD}abcde`));
    const connections = client(server.url());
    await body(await get(connections));
    expect(connections.hasIdle).toBe(true);
    connections.renew();
    await body(await get(connections));
    expect(server.connections.length).toBe(2);
    connections.close();
    await eventually('all to be closed', async () => server.connections.every(({ closed }) => closed), Boolean);
    expect(await codeOf(get(connections))).toBe('interrupted');
  });

  it('is one for each of those that ask at once', async () => {
    const server = await scripted((socket) => void socket.write(`${HEAD}abcde`));
    const connections = client(server.url());
    const found = await Promise.all(Array.from({ length: 8 }, async () => body(await get(connections))));
    expect(found.map(String)).toEqual(Array(8).fill('abcde'));
    expect(server.connections.length).toBe(8);
  });
});
