import { createHash, randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type DavServer, startDavServer } from './dav_server.js';

let server: DavServer;
let n = 0;
let dir: string;
beforeAll(async () => {
  server = await startDavServer();
});
afterAll(() => server.close());
beforeEach(async () => {
  dir = `d${++n}`;
  await server.ask('MKCOL', dir);
});

const put = (path: string, body: string | Buffer | Readable, headers: Record<string, string> = {}) =>
  server.ask('PUT', `${dir}/${path}`, { body, headers });
const get = (path: string, headers: Record<string, string> = {}) => server.ask('GET', `${dir}/${path}`, { headers });
const hex = (algorithm: string, bytes: string | Buffer) => createHash(algorithm).update(bytes).digest('hex');

describe('PUT', () => {
  test('201 with ETag and id, then 204 with another ETag and the same id', async () => {
    const first = await put('f', 'one');
    expect(first.status).toBe(201);
    expect(first.headers.etag).toMatch(/^"[^"]+"$/);
    expect(first.headers['oc-etag']).toBe(first.headers.etag);
    const second = await put('f', 'two');
    expect(second.status).toBe(204);
    expect(second.headers.etag).not.toBe(first.headers.etag);
    expect(second.headers['oc-fileid']).toBe(first.headers['oc-fileid']);
    expect((await get('f')).text).toBe('two');
  });

  test.each([0, 1, 65_536, 65_537, 3_000_000])('%i bytes with a length, and chunked without', async (size) => {
    const bytes = randomBytes(size);
    expect((await put('length', bytes)).status).toBe(201);
    expect((await get('length')).bytes.equals(bytes)).toBe(true);
    const pieces: Buffer[] = [];
    for (let at = 0; at < size; at += 50_000) pieces.push(bytes.subarray(at, at + 50_000));
    expect((await put('chunked', Readable.from(pieces))).status).toBe(201);
    const back = await get('chunked');
    expect(back.bytes.equals(bytes)).toBe(true);
    expect(back.headers['oc-checksum']).toBe(`SHA256:${hex('sha256', bytes)}`);
  });

  test('without its collection 409, onto a collection 405, onto the root 403, with Content-Range 400', async () => {
    expect((await put('none/f', 'x')).status).toBe(409);
    expect((await server.ask('PUT', dir, { body: 'x' })).status).toBe(405);
    expect((await server.ask('PUT', `${dir}/`, { body: 'x' })).status).toBe(405);
    expect((await put('slash/', 'x')).status).toBe(405);
    expect((await server.ask('PUT', '', { body: 'x' })).status).toBe(403);
    expect((await put('f', 'x', { 'Content-Range': 'bytes 0-0/5' })).status).toBe(400);
    expect((await get('f')).status).toBe(404);
  });

  test.each(['SHA1', 'MD5', 'SHA256', 'ADLER32'])('a wrong %s is refused and nothing changes', async (algorithm) => {
    const sums: Record<string, string> = {
      SHA1: hex('sha1', 'Wikipedia'),
      MD5: hex('md5', 'Wikipedia'),
      SHA256: hex('sha256', 'Wikipedia'),
      ADLER32: '11e60398',
    };
    const right = `${algorithm}:${sums[algorithm]}`;
    expect((await put('f', 'Wikipedia', { 'OC-Checksum': right })).status).toBe(201);
    const wrong = await put('f', 'Vandalism', { 'OC-Checksum': right });
    expect(wrong.status).toBe(400);
    expect(wrong.text).toContain('checksum');
    expect((await put('big', Buffer.alloc(200_000), { 'OC-Checksum': right })).status).toBe(400);
    expect((await get('f')).text).toBe('Wikipedia');
    expect((await get('big')).status).toBe(404);
  });

  test('ADLER32 is right over many megabytes', async () => {
    let [a, b] = [1, 0];
    const bytes = Buffer.alloc(1_000_000, 255);
    for (const byte of bytes) {
      a = (a + byte) % 65521;
      b = (b + a) % 65521;
    }
    const sum = (b * 65536 + a).toString(16);
    expect((await put('f', bytes, { 'OC-Checksum': `Adler32:${sum}` })).status).toBe(201);
  });

  test('a total length that is not what arrived is refused', async () => {
    expect((await put('f', 'abc', { 'OC-Total-Length': '4' })).status).toBe(400);
    expect((await put('f', 'abc', { 'OC-Total-Length': '3' })).status).toBe(201);
  });

  test.each([1000, 5_000_000])('a body of %i bytes that is cut changes nothing and leaves nothing', async (size) => {
    await put('f', 'the old version');
    const blobs = await readdir(join(server.dir, 'blobs/objects'), { recursive: true });
    await new Promise<void>((resolve) => {
      const socket = connect(server.port, '127.0.0.1', () => {
        socket.write(`PUT /dav/files/anna/${dir}/f HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n`);
        socket.write(Buffer.alloc(size / 2), () => setTimeout(() => socket.destroy(), 20));
      });
      socket.on('close', () => resolve());
    });
    await expect.poll(() => readdir(join(server.dir, 'blobs/tmp'))).toEqual([]);
    expect((await get('f')).text).toBe('the old version');
    expect(await readdir(join(server.dir, 'blobs/objects'), { recursive: true })).toEqual(blobs);
  });

  test('keeps time and attributes given with it', async () => {
    const done = await put('f', 'x', { 'X-OC-Mtime': '1234567890.123456789', 'X-Cloudmount-Mode': '0750' });
    expect(done.headers['x-oc-mtime']).toBe('accepted');
    const body =
      '<d:propfind xmlns:d="DAV:" xmlns:cm="urn:cloudmount"><d:prop><d:getlastmodified/><cm:mtime/><cm:mode/></d:prop></d:propfind>';
    const { text } = await server.ask('PROPFIND', `${dir}/f`, { headers: { Depth: '0' }, body });
    expect(text).toContain('<cm:mtime>1234567890.123456789</cm:mtime>');
    expect(text).toContain('<cm:mode>0750</cm:mode>');
    expect(text).toContain('<d:getlastmodified>Fri, 13 Feb 2009 23:31:30 GMT</d:getlastmodified>');
    expect((await put('g', 'x', { 'X-OC-Mtime': 'yesterday' })).status).toBe(400);
    expect((await put('g', 'x', { 'X-Cloudmount-Mode': '9' })).status).toBe(400);
  });

  test('stores a symlink, which reads as its target', async () => {
    const type = { 'Content-Type': 'inode/symlink' };
    expect((await put('l', '../other file', type)).status).toBe(201);
    const back = await get('l');
    expect([back.text, back.headers['content-type']]).toEqual(['../other file', 'inode/symlink']);
    expect((await put('l', '', type)).status).toBe(400);
    expect((await put('l', 'a\0b', type)).status).toBe(400);
    expect((await put('l', 'x'.repeat(4096), type)).status).toBe(413);
    expect((await put('l', 'x'.repeat(4095), type)).status).toBe(204);
    expect((await put('l', 'a file now')).status).toBe(204);
    expect((await get('l')).headers['content-type']).toBe('application/octet-stream');
  });

  test('beyond the quota 507, before the body is sent and after; what is there stays', async () => {
    const root = await server.rootOf('anna');
    const { used_bytes } = await server.metadata.read((tx) => tx.usage(root));
    await put('f', 'old');
    await server.metadata.write((tx) => tx.setQuota(root, used_bytes + 100));
    try {
      const early = await put('f', Buffer.alloc(1000));
      expect(early.status).toBe(507);
      expect(early.text).toContain('quota-not-exceeded');
      expect((await put('f', Readable.from([Buffer.alloc(1000)]))).status).toBe(507);
      expect((await get('f')).text).toBe('old');
      expect((await put('f', Buffer.alloc(90))).status).toBe(204);
    } finally {
      await server.metadata.write((tx) => tx.setQuota(root, null));
    }
  });

  test('a body without end is taken no further than it could be kept', async () => {
    const root = await server.rootOf('anna');
    const { used_bytes } = await server.metadata.read((tx) => tx.usage(root));
    await put('f', 'old');
    await server.metadata.write((tx) => tx.setQuota(root, used_bytes + 1_000_000));
    let ended = false;
    async function* pieces(): AsyncGenerator<Buffer> {
      while (!ended) yield Buffer.alloc(65_536);
    }
    try {
      expect((await put('f', Readable.from(pieces()))).status).toBe(507);
      expect((await put('f', Readable.from(pieces()), { 'X-Expected-Entity-Length': '10' })).status).toBe(400);
      expect((await get('f')).text).toBe('old');
    } finally {
      ended = true;
      await server.metadata.write((tx) => tx.setQuota(root, null));
    }
  });

  test('a full disk is 507 and nothing changes', async () => {
    await put('f', 'old');
    const { writer } = server.database;
    writer.pragma(`max_page_count = ${writer.pragma('page_count', { simple: true })}`);
    try {
      const full = await put('f', Buffer.alloc(60_000));
      expect(full.status).toBe(507);
      expect(full.text).toContain('sufficient-disk-space');
    } finally {
      writer.pragma('max_page_count = 1000000');
    }
    expect((await get('f')).text).toBe('old');
    expect((await put('f', 'new')).status).toBe(204);
  });
});

describe('names', () => {
  test('any bytes but "/" and NUL', async () => {
    const names = [
      '%25',
      '%23',
      '%3F',
      'a%20b',
      '%22q%22',
      '%0A',
      '%FF%FE',
      'e%CC%81',
      '%C3%A9',
      '%F0%9F%98%80',
      '%3Cx%3E&amp;',
    ];
    names.push(`${'%C3%A9'.repeat(127)}x`);
    for (const [i, name] of names.entries()) expect((await put(name, String(i))).status).toBe(201);
    for (const [i, name] of names.entries()) expect((await get(name)).text).toBe(String(i));
    const body = '<d:propfind xmlns:d="DAV:"><d:prop><d:resourcetype/></d:prop></d:propfind>';
    const { text } = await server.ask('PROPFIND', dir, { headers: { Depth: '1' }, body });
    const hrefs = [...text.matchAll(/<d:href>([^<]*)<\/d:href>/g)].map(([, href]) => href);
    expect(hrefs).toHaveLength(names.length + 1);
    expect(hrefs).toContain(`/dav/files/anna/${dir}/%FF%FE`);
    expect(hrefs).toContain(`/dav/files/anna/${dir}/%0A`);
  });

  test.each([
    ['x'.repeat(256), 400],
    ['%2E%2E', 400],
    ['..', 400],
    ['a/../b', 400],
    ['%2e', 400],
    ['a%2Fb', 400],
    ['a//b', 400],
    ['%00', 400],
    ['%zz', 400],
    ['x#frag', 400],
  ])('%s is refused', async (name, status) => {
    const answer = await put(name, 'x');
    expect(answer.status).toBe(status);
    expect(answer.text).toMatch(/<s:message>.+<\/s:message>/);
  });
});

describe('GET', () => {
  test('HEAD says what GET would, without the bytes', async () => {
    await put('f.txt', 'hello', { 'X-OC-Mtime': '1000000000' });
    const head = await server.ask('HEAD', `${dir}/f.txt`);
    const body = await get('f.txt');
    expect(head.bytes).toHaveLength(0);
    for (const name of ['content-length', 'etag', 'last-modified', 'content-type', 'accept-ranges', 'oc-checksum'])
      expect(head.headers[name]).toBe(body.headers[name]);
    expect(head.headers).toMatchObject({
      'content-length': '5',
      'last-modified': 'Sun, 09 Sep 2001 01:46:40 GMT',
      'content-type': expect.stringContaining('text/plain'),
    });
  });

  test('what users store cannot act as a page of this server', async () => {
    await put('evil.html', '<script>alert(1)</script>');
    const { headers } = await get('evil.html');
    expect(headers['content-security-policy']).toContain('sandbox');
    expect(headers['x-content-type-options']).toBe('nosniff');
  });

  describe.each([
    ['inline', 1000],
    ['in the blob store', 200_000],
  ])('of content %s', (_, size) => {
    const bytes = randomBytes(size);
    beforeEach(async () => {
      await put('f', bytes);
    });

    test.each([
      ['bytes=0-0', 0, 1],
      ['bytes=10-99', 10, 100],
      ['bytes=990-', 990, size],
      ['bytes=-7', size - 7, size],
      [`bytes=500-${size * 2}`, 500, size],
    ])('%s', async (range, start, end) => {
      const answer = await get('f', { Range: range });
      expect(answer.status).toBe(206);
      expect(answer.headers['content-range']).toBe(`bytes ${start}-${end - 1}/${size}`);
      expect(answer.bytes.equals(bytes.subarray(start, end))).toBe(true);
    });

    test('several ranges come as multipart/byteranges', async () => {
      const answer = await get('f', { Range: 'bytes=0-1,5-9' });
      expect(answer.status).toBe(206);
      const boundary = /boundary=(\w+)/.exec(answer.headers['content-type'] ?? '')?.[1] ?? '';
      const part = (start: number, end: number) =>
        `Content-Type: application/octet-stream\r\nContent-Range: bytes ${start}-${end - 1}/${size}\r\n\r\n${bytes.toString('latin1', start, end)}\r\n`;
      expect(answer.bytes.toString('latin1')).toBe(
        `--${boundary}\r\n${part(0, 2)}--${boundary}\r\n${part(5, 10)}--${boundary}--\r\n`,
      );
      expect(Number(answer.headers['content-length'])).toBe(answer.bytes.length);
    });

    test('one request does not fetch the same bytes over and over', async () => {
      const all = await get('f', { Range: `bytes=${Array.from({ length: 16 }, () => '0-').join(',')}` });
      expect([all.status, all.bytes.length]).toEqual([200, size]);
      const some = await get('f', { Range: 'bytes=0-9,0-9' });
      expect([some.status, some.bytes.length < size]).toEqual([206, true]);
    });

    test('a range behind the end is 416, nonsense is the whole', async () => {
      const behind = await get('f', { Range: `bytes=${size}-` });
      expect(behind.status).toBe(416);
      expect(behind.headers['content-range']).toBe(`bytes */${size}`);
      expect((await get('f', { Range: 'bytes=9-2' })).status).toBe(200);
      expect((await get('f', { Range: 'lines=1-2' })).status).toBe(200);
      expect((await server.ask('HEAD', `${dir}/f`, { headers: { Range: 'bytes=0-1' } })).status).toBe(200);
    });

    test('If-Range: the range for the same version, the whole for another', async () => {
      const etag = (await get('f')).headers.etag ?? '';
      const same = await get('f', { Range: 'bytes=0-1', 'If-Range': etag });
      expect(same.status).toBe(206);
      const other = await get('f', { Range: 'bytes=0-1', 'If-Range': '"another"' });
      expect(other.status).toBe(200);
      expect(other.bytes.equals(bytes)).toBe(true);
    });

    test('If-Range with a date never mixes versions: clients choose the times of files', async () => {
      const time = { 'X-OC-Mtime': '1700000000' };
      await server.ask('PUT', `${dir}/timed`, { headers: time, body: 'first version' });
      const date = (await get('timed')).headers['last-modified'] ?? '';
      await server.ask('PUT', `${dir}/timed`, { headers: time, body: 'other content' });
      const rest = await get('timed', { Range: 'bytes=6-', 'If-Range': date });
      expect([rest.status, rest.bytes.toString()]).toEqual([200, 'other content']);
    });

    test('If-Match with a range never mixes versions', async () => {
      const etag = (await get('f')).headers.etag ?? '';
      await put('f', Buffer.alloc(size));
      expect((await get('f', { Range: 'bytes=0-1', 'If-Match': etag })).status).toBe(412);
    });
  });

  test('content that is missing in the store is an error, never a short answer', async () => {
    await put('f', randomBytes(100_000));
    const sum = (await get('f')).headers['oc-checksum']?.toString().slice(7) ?? '';
    await server.blobs.delete(sum);
    // Not 404: a client would take that for a deletion.
    expect((await get('f')).status).toBe(500);
  });

  test('a collection shows a page of its members', async () => {
    await put('a%3Cb', 'x');
    await server.ask('MKCOL', `${dir}/sub`);
    // With the slash at its end or without, as a browser sends it: the links lead to the members.
    for (const address of [`${dir}/`, dir]) {
      const page = await server.ask('GET', address);
      expect(page.status).toBe(200);
      expect(page.headers['content-type']).toContain('text/html');
      const links = [...page.text.matchAll(/<a href="([^"]*)">([^<]*(?:&lt;[^<]*)?)<\/a>/g)].map(
        ([, href = '', text]) => [new URL(href, `http://x/dav/files/anna/${address}`).pathname, text],
      );
      expect(links).toEqual([
        ['/dav/files/anna/', '..'],
        [`/dav/files/anna/${dir}/a%3Cb`, 'a&lt;b'],
        [`/dav/files/anna/${dir}/sub/`, 'sub/'],
      ]);
      const head = await server.ask('HEAD', address);
      expect(head.status).toBe(200);
      expect(head.headers['content-length']).toBe(page.headers['content-length']);
    }
    expect((await server.ask('HEAD', '')).status).toBe(200);
  });
});

describe('MKCOL and DELETE', () => {
  test('MKCOL: 201, 405 when it exists, 409 without a parent, 415 with a body', async () => {
    const made = await server.ask('MKCOL', `${dir}/c/`, { headers: { 'X-OC-Mtime': '5' } });
    expect(made.status).toBe(201);
    expect(made.headers['oc-fileid']).toMatch(/^\d+cloudmount$/);
    expect((await server.ask('MKCOL', `${dir}/c`)).status).toBe(405);
    expect((await server.ask('MKCOL', '')).status).toBe(405);
    await put('f', 'x');
    expect((await server.ask('MKCOL', `${dir}/f`)).status).toBe(405);
    expect((await server.ask('MKCOL', `${dir}/f/c`)).status).toBe(409);
    expect((await server.ask('MKCOL', `${dir}/x/y`)).status).toBe(409);
    expect((await server.ask('MKCOL', `${dir}/z`, { body: '<x/>' })).status).toBe(415);
  });

  test('DELETE: 204 with all below, then 404; the root never', async () => {
    await server.ask('MKCOL', `${dir}/c`);
    await put('c/f', 'x');
    expect((await server.ask('DELETE', `${dir}/c`)).status).toBe(204);
    expect((await get('c/f')).status).toBe(404);
    expect((await server.ask('DELETE', `${dir}/c`)).status).toBe(404);
    await put('f', 'x');
    expect((await server.ask('DELETE', `${dir}/f/`)).status).toBe(404);
    expect((await server.ask('DELETE', `${dir}/f`)).status).toBe(204);
    expect((await server.ask('DELETE', '')).status).toBe(403);
  });

  test('OPTIONS says what is true for the address', async () => {
    const root = await server.ask('OPTIONS', '');
    expect(root.headers).toMatchObject({ dav: '1, 2, 3', 'ms-author-via': 'DAV', 'x-cloudmount': '1' });
    expect(root.headers.allow).toContain('REPORT');
    expect((await server.ask('OPTIONS', `${dir}/none`)).headers.allow).toContain('MKCOL');
    const unknown = await server.ask('PATCH', dir);
    expect(unknown.status).toBe(405);
    expect(unknown.headers.allow).toContain('PROPFIND');
  });
});
