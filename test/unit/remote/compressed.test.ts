import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { CloudError } from '../../../src/errors.js';
import { gunzip, Way } from '../../../src/remote/compressed.js';
import { HttpClient } from '../../../src/remote/http.js';
import { codeOf } from '../../contract/remote_contract.js';

const TEXT = Buffer.from('<d:response/>'.repeat(100_000));
const CODED = gzipSync(TEXT);

async function* pieces(bytes: Buffer, then?: Error): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
  if (then !== undefined) throw then;
}

async function all(source: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('the way to the server', () => {
  it('is long when no answer comes fast, and not while nothing is known', () => {
    const way = new Way();
    expect(way.isLong).toBe(false);
    way.answered(30);
    expect(way.isLong).toBe(true);
    way.answered(1);
    expect(way.isLong).toBe(false);
  });

  it('a machine that was carried away is found out', () => {
    const way = new Way();
    way.answered(1);
    for (let i = 0; i < 130; i++) way.answered(25);
    expect(way.isLong).toBe(true);
  });
});

describe('gunzip', () => {
  it('gives back what was packed', async () => {
    expect((await all(gunzip(pieces(CODED), 'listing'))).equals(TEXT)).toBe(true);
  });

  it('names what is wrong: cut short, damaged, or what the source said', async () => {
    const half = CODED.subarray(0, CODED.length / 2);
    const damaged = Buffer.from(CODED);
    damaged.fill(0xff, damaged.length - 8); // its checksum and length
    expect(await codeOf(all(gunzip(pieces(half), 'listing')))).toBe('network');
    expect(await codeOf(all(gunzip(pieces(damaged), 'listing')))).toBe('protocol');
    expect(await codeOf(all(gunzip(pieces(TEXT), 'listing')))).toBe('protocol');
    expect(await codeOf(all(gunzip(pieces(half, new CloudError('timeout', 'late')), 'listing')))).toBe('timeout');
  });

  it('whoever leaves early ends the source', async () => {
    let ended = false;
    async function* endless(): AsyncGenerator<Buffer> {
      try {
        for (;;) yield CODED;
      } finally {
        ended = true;
      }
    }
    for await (const chunk of gunzip(endless(), 'listing')) {
      expect(chunk.length).toBeGreaterThan(0);
      break;
    }
    while (!ended) await new Promise((resolve) => setImmediate(resolve));
  });
});

describe('over HTTP', () => {
  const ends: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0)) await end();
  });

  /** A server that answers after `delay_ms`, compressed where that is asked for. */
  async function serve(delay_ms: number, cut = 0): Promise<{ http: HttpClient; asked: (string | undefined)[] }> {
    const asked: (string | undefined)[] = [];
    const server = createServer((req, res) => {
      const accept = req.headers['accept-encoding'] as string | undefined;
      asked.push(accept);
      setTimeout(() => {
        if (accept !== 'gzip') return void res.end(TEXT);
        res.writeHead(207, { 'content-encoding': 'gzip', 'content-length': CODED.length });
        if (cut === 0) return void res.end(CODED);
        res.write(CODED.subarray(0, cut));
        setTimeout(() => res.destroy(), 20);
      }, delay_ms);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const http = new HttpClient({ origin, credentials: { kind: 'none' }, timeout_ms: 2000, userAgent: 'test' });
    ends.push(
      () => http.close(),
      () => new Promise((resolve) => server.close(resolve)),
    );
    return { http, asked };
  }

  const listing = { method: 'PROPFIND', path: '/', compressible: true };
  const read = async (http: HttpClient, request: { method: string; path: string; compressible?: boolean }) =>
    all((await http.request(request)).body);

  it('a listing over a long way comes compressed, other answers do not', async () => {
    const { http, asked } = await serve(15);
    for (let i = 0; i < 2; i++) expect((await read(http, listing)).equals(TEXT)).toBe(true);
    expect((await read(http, { method: 'GET', path: '/' })).equals(TEXT)).toBe(true);
    expect(asked).toEqual([undefined, 'gzip', undefined]);
  });

  it('one that is cut short is an error', async () => {
    const { http } = await serve(15, 500);
    await read(http, listing);
    expect(await codeOf(read(http, listing))).toBe('network');
  });
});
