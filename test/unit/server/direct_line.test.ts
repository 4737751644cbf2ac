// Large answers leave past node (sendfile): whole and in order whatever the client does, and counted.

import { createHash, randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { silentLog } from '../../../src/log.js';
import { DirectLine } from '../../../src/server/direct_line.js';
import { type RunningServer, startServer } from '../../../src/server/server.js';
import { eventually } from '../../support/processes.js';

const MIB = 1 << 20;
const SIZE = 24 * MIB + 12_345;
const AUTH = `Basic ${Buffer.from('alice:correct horse battery').toString('base64')}`;
const CONTENT = randomBytes(SIZE);

let dir: string;
let server: RunningServer;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloudmount-direct-'));
  server = await startServer({ dataDir: dir, listen: { host: '127.0.0.1', port: 0 }, log: silentLog });
  await server.accounts.create({ name: 'alice', password: 'correct horse battery' });
  const url = `${server.url}/dav/files/alice/large`;
  const put = await fetch(url, { method: 'PUT', headers: { authorization: AUTH }, body: CONTENT });
  expect(put.status).toBe(201);
});

afterAll(async () => {
  await server.close({ graceful_ms: 100 });
  await rm(dir, { recursive: true, force: true });
});

function sumOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function ask(range?: string): string {
  const more = range === undefined ? '' : `Range: bytes=${range}\r\n`;
  return `GET /dav/files/alice/large HTTP/1.1\r\nHost: x\r\nAuthorization: ${AUTH}\r\n${more}\r\n`;
}

async function client(): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: server.address.port });
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

/** The bodies of `answers` answers that come one behind the other; each piece is read after a pause. */
async function bodies(socket: Socket, answers: number, pause_ms = 0): Promise<Buffer[]> {
  const out: Buffer[] = [];
  let text = Buffer.alloc(0);
  let pieces: Buffer[] = [];
  let left: number | null = null;
  for await (const piece of socket as AsyncIterable<Buffer>) {
    if (pause_ms > 0) await sleep(pause_ms);
    let rest: Buffer = piece;
    while (rest.length > 0) {
      if (left === null) {
        text = Buffer.concat([text, rest]);
        const end = text.indexOf('\r\n\r\n');
        if (end < 0) break;
        left = Number(/\r\ncontent-length: (\d+)/i.exec(text.toString('latin1', 0, end))?.[1]);
        rest = text.subarray(end + 4);
        text = Buffer.alloc(0);
      }
      const mine = rest.subarray(0, left);
      pieces.push(mine);
      left -= mine.length;
      rest = rest.subarray(mine.length);
      if (left > 0) continue;
      out.push(Buffer.concat(pieces));
      [pieces, left] = [[], null];
      if (out.length === answers) return out;
    }
  }
  throw new Error(`the connection ended after ${out.length} of ${answers} answers`);
}

const sockets = () => readdirSync('/proc/self/fd').length;

async function sentBytes(): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(/^cloudmount_http_sent_bytes_total (\d+)$/m.exec(text)?.[1]);
}

describe('a large answer', () => {
  it('is what is stored, to many at once, and is counted', async () => {
    const before = await sentBytes();
    const direct = vi.spyOn(DirectLine.prototype, 'send');
    const many = Array.from({ length: 12 }, async () => {
      const socket = await client();
      socket.write(ask());
      const [body] = await bodies(socket, 1);
      socket.destroy();
      return sumOf(body ?? Buffer.alloc(0));
    });
    expect(new Set(await Promise.all(many))).toEqual(new Set([sumOf(CONTENT)]));
    const passed = await Promise.all(direct.mock.results.map(({ value }) => value as Promise<number>));
    direct.mockRestore();
    expect(passed.reduce((sum, bytes) => sum + bytes, 0)).toBeGreaterThan(6 * SIZE); // most of it went that way
    await eventually('the count', async () => (await sentBytes()) - before > 12 * SIZE);
    expect((await sentBytes()) - before).toBeLessThan(12 * SIZE + 100_000);
  });

  it('waits for who reads slowly, while others are answered', async () => {
    const slow = await client();
    slow.write(ask());
    const reading = bodies(slow, 1, 2);
    for (let i = 0; i < 3; i++) {
      const quick = await client();
      quick.write(ask());
      expect(sumOf((await bodies(quick, 1))[0] ?? Buffer.alloc(0))).toBe(sumOf(CONTENT));
      quick.destroy();
    }
    expect(sumOf((await reading)[0] ?? Buffer.alloc(0))).toBe(sumOf(CONTENT));
    slow.destroy();
  });

  it('stands in order with those asked for before and behind it', async () => {
    const socket = await client();
    const ranges = ['0-9', '5-20000000', '1000000-1300000', '100-', `${SIZE - 300_000}-`, '7-7'];
    socket.write(ranges.map(ask).join(''));
    const found = await bodies(socket, ranges.length);
    const wanted = ranges.map((range) => {
      const [from = 0, to = SIZE - 1] = range.split('-').map((text) => (text === '' ? SIZE - 1 : Number(text)));
      return CONTENT.subarray(from, to + 1);
    });
    expect(found.map(sumOf)).toEqual(wanted.map(sumOf));
    socket.destroy();
  });

  it('of several ranges has each between its marks', async () => {
    const url = `${server.url}/dav/files/alice/large`;
    const headers = { authorization: AUTH, range: `bytes=0-2999999,4000000-4000009,5000000-${SIZE - 1}` };
    const answer = await fetch(url, { headers });
    const bytes = Buffer.from(await answer.arrayBuffer());
    expect([answer.status, bytes.length]).toEqual([206, Number(answer.headers.get('content-length'))]);
    const head = bytes.indexOf('\r\n\r\n') + 4;
    expect(sumOf(bytes.subarray(head, head + 3_000_000))).toBe(sumOf(CONTENT.subarray(0, 3_000_000)));
    const last = bytes.lastIndexOf('\r\n\r\n') + 4;
    expect(sumOf(bytes.subarray(last, last + SIZE - 5_000_000))).toBe(sumOf(CONTENT.subarray(5_000_000)));
  });

  it('of which the client leaves in the middle keeps nothing open', async () => {
    const before = sockets();
    for (let i = 0; i < 20; i++) {
      const socket = await client();
      socket.write(ask());
      await new Promise((resolve) => socket.once('readable', resolve));
      if (i % 2 === 0) socket.destroy();
      else socket.resetAndDestroy();
    }
    await eventually('all descriptors closed', () => sockets() <= before);
  });

  it('is never followed, nor interrupted, by the answer to something that is no request', async () => {
    for (let i = 0; i < 40; i++) {
      const socket = await client();
      socket.write(ask());
      await new Promise((resolve) => socket.once('readable', resolve));
      if (i % 4 > 0) await sleep(i % 4);
      socket.write('\x01\x02 garbage\r\n\r\n');
      const pieces: Buffer[] = [];
      for await (const piece of socket as AsyncIterable<Buffer>) pieces.push(piece);
      const all = Buffer.concat(pieces);
      const body = all.subarray(all.indexOf('\r\n\r\n') + 4);
      expect(body.length).toBeLessThanOrEqual(SIZE);
      expect(body.equals(CONTENT.subarray(0, body.length))).toBe(true);
    }
  });

  it('is copied where the kernel cannot send it', async () => {
    const direct = vi.spyOn(DirectLine.prototype, 'send').mockResolvedValue(null);
    const answer = await fetch(`${server.url}/dav/files/alice/large`, { headers: { authorization: AUTH } });
    expect(sumOf(new Uint8Array(await answer.arrayBuffer()))).toBe(sumOf(CONTENT));
    expect(direct).toHaveBeenCalledTimes(1);
    direct.mockRestore();
    const line = vi.spyOn(DirectLine, 'open').mockResolvedValue(null);
    const again = await fetch(`${server.url}/dav/files/alice/large`, { headers: { authorization: AUTH } });
    expect(sumOf(new Uint8Array(await again.arrayBuffer()))).toBe(sumOf(CONTENT));
    line.mockRestore();
  });

  it('ends with the connection for a client that speaks HTTP/1.0', async () => {
    const socket = await client();
    socket.write(ask().replace('HTTP/1.1', 'HTTP/1.0'));
    const pieces: Buffer[] = [];
    for await (const piece of socket as AsyncIterable<Buffer>) pieces.push(piece);
    const all = Buffer.concat(pieces);
    expect(sumOf(all.subarray(all.indexOf('\r\n\r\n') + 4))).toBe(sumOf(CONTENT));
  });

  it('does not keep the server from stopping', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'cloudmount-direct-'));
    const other = await startServer({ dataDir: folder, listen: { host: '127.0.0.1', port: 0 }, log: silentLog });
    await other.accounts.create({ name: 'alice', password: 'correct horse battery' });
    const url = `${other.url}/dav/files/alice/large`;
    await fetch(url, { method: 'PUT', headers: { authorization: AUTH }, body: CONTENT });
    const before = sockets();
    const socket = connect({ host: '127.0.0.1', port: other.address.port });
    socket.on('error', () => undefined);
    socket.write(ask());
    await new Promise((resolve) => socket.once('readable', resolve)); // and reads no further
    await other.close({ graceful_ms: 100 });
    socket.destroy();
    await eventually('all descriptors closed', () => sockets() < before);
    await rm(folder, { recursive: true, force: true });
  });
});
