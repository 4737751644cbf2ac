import { createHash, randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { mkdir, readdir, readFile, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../../../src/log.js';
import { BLOCK_BYTES } from '../../../../src/server/storage/aligned_buffers.js';
import type { BlobPin } from '../../../../src/server/storage/blobs/blob_store.js';
import { LocalBlobStore } from '../../../../src/server/storage/blobs/local_blob_store.js';
import type { NodeId } from '../../../../src/server/storage/metadata/metadata_store.js';
import { ChunkedUploads } from '../../../../src/server/uploads/chunked_uploads.js';
import { UploadFolder } from '../../../../src/server/uploads/upload_folder.js';
import { type Answer, basic, TestServer } from '../api/test_server.js';

let server: TestServer;

beforeEach(async () => {
  server = await TestServer.start();
});

afterEach(async () => {
  await server.end();
});

const UPLOADS = '/remote.php/dav/uploads/alice';
const FILES = '/remote.php/dav/files/alice';

async function start(id: string): Promise<void> {
  expect((await server.call('MKCOL', `${UPLOADS}/${id}`)).status).toBe(201);
}

async function send(id: string, name: string, body: string | Buffer): Promise<Answer> {
  const answer = await server.call('PUT', `${UPLOADS}/${id}/${name}`, { body });
  expect([201, 204]).toContain(answer.status);
  return answer;
}

function finish(id: string, to: string, headers: Record<string, string> = {}): Promise<Answer> {
  return server.call('MOVE', `${UPLOADS}/${id}/.file`, { headers: { destination: to, ...headers } });
}

function read(path: string): Promise<Answer> {
  return server.call('GET', `${FILES}/${path}`);
}

const sha1 = (data: Buffer | string) => createHash('sha1').update(data).digest('hex');

describe('putting together', () => {
  test('in the order of the numbers, whatever the order of arrival', async () => {
    const parts = Array.from({ length: 12 }, (_, i) => randomBytes(20_000 + i));
    await start('1');
    for (const i of [11, 3, 0, 7, 1, 2, 10, 5, 4, 6, 9, 8]) await send('1', String(i), parts[i] ?? '');
    const whole = Buffer.concat(parts);
    const headers = {
      'oc-total-length': String(whole.length),
      'oc-checksum': `SHA1:${sha1(whole)}`,
      'x-oc-mtime': '1500000000',
    };
    const done = await finish('1', `${FILES}/f.bin`, headers);
    expect(done.status).toBe(201);
    expect(done.headers['x-oc-mtime']).toBe('accepted');
    expect(done.headers['oc-fileid']).toMatch(/^\d{8}/);
    const there = await read('f.bin');
    expect(there.body.equals(whole)).toBe(true);
    expect(there.headers.etag).toBe(done.headers.etag);
    expect(there.headers['last-modified']).toBe(new Date(1_500_000_000_000).toUTCString());
  });

  test('the activity says with which program', async () => {
    await start('a');
    await send('a', '0', 'content');
    expect((await finish('a', `${FILES}/f`, { 'user-agent': 'cloudmount/1.2' })).status).toBe(201);
    const { text } = await server.call('GET', '/ocs/v2.php/apps/activity/api/v2/activity?format=json', {
      headers: { 'ocs-apirequest': 'true' },
    });
    expect(text).toContain('cloudmount/1.2');
  });

  test.each([
    ['counted from 1', ['00001', '00002', '00010']],
    ['offsets', ['0', '5', '10']],
    [
      'ranges',
      ['000000000000000-000000000000004', '000000000000005-000000000000009', '000000000000010-000000000000014'],
    ],
  ])('names that are %s', async (_what, names) => {
    await start('n');
    for (const [i, name] of [...names.entries()].reverse()) await send('n', name, `part${i}`);
    expect((await finish('n', `${FILES}/f`)).status).toBe(201);
    expect((await read('f')).text).toBe('part0part1part2');
  });

  test('a chunk that was sent again counts as it was last', async () => {
    await start('1');
    for (const [name, body] of [
      ['0', 'aaa'],
      ['1', 'bbb'],
      ['2', 'ccc'],
    ] as const)
      await send('1', name, body);
    expect((await send('1', '1', 'BBBB')).status).toBe(204);
    await send('1', '0', '');
    expect((await finish('1', `${FILES}/f`, { 'oc-total-length': '7' })).status).toBe(201);
    expect((await read('f')).text).toBe('BBBBccc');
  });

  test('one chunk that is all of the file: kept when the file is refused, and replaced without changing what it became', async () => {
    await start('1');
    await send('1', '1', 'first');
    const refused = await finish('1', `${FILES}/f`, { 'if-match': '"another"' });
    expect(refused.status).toBe(412);
    const listing = await server.call('PROPFIND', `${UPLOADS}/1`, { headers: { depth: '1' } });
    expect(listing.text).toContain('<d:getcontentlength>5<');
    expect((await finish('1', `${FILES}/f`, { 'oc-checksum': `SHA1:${sha1('first')}` })).status).toBe(201);
    await start('1');
    await send('1', '1', 'first');
    expect((await finish('1', `${FILES}/locked/g`)).status).toBe(409);
    await send('1', '1', 'again');
    expect((await finish('1', `${FILES}/g`, { 'oc-checksum': `SHA1:${sha1('again')}` })).status).toBe(201);
    expect((await read('f')).text).toBe('first');
    expect((await read('g')).text).toBe('again');
  });

  test('no chunk at all is an empty file', async () => {
    await start('1');
    expect((await finish('1', `${FILES}/f`, { 'oc-total-length': '0' })).status).toBe(201);
    expect((await read('f')).body.length).toBe(0);
  });

  test('goes on after a restart of the server', async () => {
    await start('1');
    await send('1', '0', 'before ');
    await server.stop();
    await server.run();
    const listing = await server.call('PROPFIND', `${UPLOADS}/1`, { headers: { depth: '1' } });
    expect(listing.text).toContain(`${UPLOADS}/1/0<`);
    await send('1', '1', 'after');
    expect((await finish('1', `${FILES}/f`)).status).toBe(201);
    expect((await read('f')).text).toBe('before after');
  });

  test.each(['MD5', 'SHA1', 'SHA256'])('a right %s is accepted, a wrong one changes nothing', async (type) => {
    const hex = createHash(type.toLowerCase()).update('onetwo').digest('hex');
    await server.call('PUT', `${FILES}/f`, { body: 'old' });
    await start('1');
    await send('1', '0', 'one');
    await send('1', '1', 'two');
    const wrong = await finish('1', `${FILES}/f`, {
      'oc-checksum': `${type}:${hex.replace(/^./, hex[0] === '0' ? '1' : '0')}`,
    });
    expect(wrong.status).toBe(400);
    expect(wrong.text).toMatch(/checksum/);
    expect((await read('f')).text).toBe('old');
    expect((await finish('1', `${FILES}/f`, { 'oc-checksum': `${type}:${hex}` })).status).toBe(204);
    expect((await read('f')).text).toBe('onetwo');
  });

  test('an ADLER32 is verified too', async () => {
    await start('1');
    await send('1', '0', 'Wikipedia');
    expect((await finish('1', `${FILES}/f`, { 'oc-checksum': 'ADLER32:11e60399' })).status).toBe(400);
    expect((await finish('1', `${FILES}/f`, { 'oc-checksum': 'ADLER32:11e60398' })).status).toBe(201);
  });

  test('a missing chunk shows in the total', async () => {
    await start('1');
    await send('1', '0', 'one');
    const short = await finish('1', `${FILES}/f`, { 'oc-total-length': '6' });
    expect(short.status).toBe(400);
    expect(short.text).toMatch(/6 bytes are announced, the 1 chunks here have 3/);
    expect((await read('f')).status).toBe(404);
    await send('1', '1', 'two');
    expect((await finish('1', `${FILES}/f`, { 'oc-total-length': '6' })).status).toBe(201);
  });

  test.each([
    ['missing', '6-8'],
    ['there twice', '1-3'],
  ])('a range that is %s shows in the names, also where no total is announced', async (_what, second) => {
    await server.call('PUT', `${FILES}/f`, { body: 'old' });
    await start('g');
    await send('g', '0-2', 'abc');
    await send('g', second, 'def');
    const done = await finish('g', `${FILES}/f`);
    expect(done.status).toBe(400);
    expect(done.text).toContain(`chunk ${second} belongs at byte`);
    expect((await read('f')).text).toBe('old');
    await server.call('DELETE', `${UPLOADS}/g/${second}`);
    await send('g', '3-5', 'def');
    expect((await finish('g', `${FILES}/f`)).status).toBe(204);
    expect((await read('f')).text).toBe('abcdef');
  });
});

describe('the destination', () => {
  beforeEach(async () => {
    await server.call('PUT', `${FILES}/f`, { body: 'old' });
    await start('1');
    await send('1', '0', 'new');
  });

  test.each([
    ['a bare path', () => `${FILES}/g`],
    ['a URL', () => `${server.url}${FILES}/g`],
    ['a URL of another host, as a proxy leaves it', () => `https://cloud.example${FILES}/g`],
    ['another address of the tree', () => '/webdav/g'],
  ])('may be %s', async (_what, to) => {
    expect((await finish('1', to())).status).toBe(201);
    expect((await read('g')).text).toBe('new');
  });

  test('outside of the own files is refused', async () => {
    for (const to of ['/dav/files/bert/g', '/dav/uploads/alice/1/5', '/elsewhere']) {
      expect((await finish('1', to)).status, to).toBe(403);
    }
    for (const to of [`${FILES}/../bert/g`, `${FILES}/a%2Fb`, 'g'])
      expect((await finish('1', to)).status, to).toBe(400);
    expect((await server.call('MOVE', `${UPLOADS}/1/.file`)).status).toBe(400);
    expect((await finish('1', `${FILES}/no/such/folder`)).status).toBe(409);
    await server.call('MKCOL', `${FILES}/d`);
    expect((await finish('1', `${FILES}/d`)).status).toBe(405);
    expect((await finish('1', `${FILES}/f`)).status).toBe(204);
  });

  test.each([
    ['If-Match of another version', { 'if-match': '"other"' }],
    ['If-None-Match: *', { 'if-none-match': '*' }],
    ['Overwrite: F', { overwrite: 'F' }],
    ['an If header for another version', { if: `<${FILES}/f> (["other"])` }],
  ])('is kept over %s, and the chunks with it', async (_what, headers) => {
    expect((await finish('1', `${FILES}/f`, headers)).status).toBe(412);
    expect((await read('f')).text).toBe('old');
    const etag = String((await read('f')).headers.etag);
    expect((await finish('1', `${FILES}/f`, { if: `<${FILES}/f> ([${etag}])`, 'if-match': etag })).status).toBe(204);
    expect((await read('f')).text).toBe('new');
  });

  test('that is locked needs the token', async () => {
    const body = '<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>';
    const lock = await server.call('LOCK', `${FILES}/f`, { body });
    const token = String(lock.headers['lock-token']);
    expect((await finish('1', `${FILES}/f`)).status).toBe(423);
    expect((await finish('1', `${FILES}/f`, { if: `<${FILES}/f> (${token})` })).status).toBe(204);
  });

  test('keeps its identity', async () => {
    const before = await server.call('PROPFIND', `${FILES}/f`, { headers: { depth: '0' } });
    const done = await finish('1', `${FILES}/f`);
    const id = Number.parseInt(String(done.headers['oc-fileid']), 10);
    const created = /<d:creationdate>([^<]*)</.exec(before.text)?.[1];
    const after = await server.call('PROPFIND', `${FILES}/f`, { headers: { depth: '0' } });
    expect(after.text).toContain(`<d:creationdate>${created}<`);
    const put = await server.call('PUT', `${FILES}/f`, { body: 'again' });
    expect(Number.parseInt(String(put.headers['oc-fileid']), 10)).toBe(id);
  });
});

describe('asking again', () => {
  test('a repeated MOVE has the same answer and is done once', async () => {
    await start('1');
    await send('1', '0', 'one');
    const first = await finish('1', `${FILES}/f`, { 'if-none-match': '*' });
    const second = await finish('1', `${FILES}/f`, { 'if-none-match': '*' });
    expect([first.status, second.status]).toEqual([201, 201]);
    expect(second.headers.etag).toBe(first.headers.etag);
    expect(second.headers['oc-fileid']).toBe(first.headers['oc-fileid']);
    expect((await read('f')).headers.etag).toBe(first.headers.etag);
  });

  test('also after a restart, and after the file has changed', async () => {
    await start('1');
    await send('1', '0', 'one');
    const first = await finish('1', `${FILES}/f`);
    await server.call('PUT', `${FILES}/f`, { body: 'newer' });
    await server.stop();
    await server.run();
    expect((await finish('1', `${FILES}/f`)).headers.etag).toBe(first.headers.etag);
    expect((await read('f')).text).toBe('newer');
    expect((await finish('1', `${FILES}/elsewhere`)).status).toBe(404);
  });

  test('many MOVEs at once are one', async () => {
    await start('1');
    for (let i = 0; i < 5; i++) await send('1', String(i), randomBytes(300_000));
    const answers = await Promise.all(Array.from({ length: 8 }, () => finish('1', `${FILES}/f`)));
    expect(new Set(answers.map(({ status, headers }) => `${status} ${headers.etag}`)).size).toBe(1);
  });

  test('a client that goes away does not stop it', async () => {
    await start('1');
    for (let i = 0; i < 4; i++) await send('1', String(i), Buffer.alloc(500_000, i));
    const raw = server.raw();
    raw.send(
      `MOVE ${UPLOADS}/1/.file HTTP/1.1\r\nHost: x\r\nAuthorization: ${basic('alice')}\r\nDestination: ${FILES}/f\r\n\r\n`,
    );
    await new Promise((resolve) => raw.socket.once('connect', () => setImmediate(resolve)));
    raw.socket.end();
    const done = await finish('1', `${FILES}/f`);
    expect(done.status).toBe(201);
    expect((await read('f')).body.length).toBe(2_000_000);
  });

  test('a commit whose answer was lost is recognised by its content', async () => {
    await server.call('PUT', `${FILES}/f`, { body: 'the very same' });
    await start('1');
    await send('1', '0', 'the very ');
    await send('1', '1', 'same');
    const done = await finish('1', `${FILES}/f`, { 'if-none-match': '*' });
    expect(done.status).toBe(204);
    expect(done.headers.etag).toBe((await read('f')).headers.etag);
  });
});

describe('an upload', () => {
  test('lists its chunks for who resumes', async () => {
    await start('77');
    await send('77', '00000', 'abc');
    await send('77', '00002', 'defgh');
    const deep = await server.call('PROPFIND', `${UPLOADS}/77/`, { headers: { depth: '1' } });
    expect(deep.status).toBe(207);
    const found = [...deep.text.matchAll(/<d:href>([^<]*)<.*?<\/d:response>/g)].map(([response, href]) => [
      href,
      /<d:getcontentlength>(\d+)</.exec(response)?.[1],
    ]);
    expect(found).toEqual([
      [`${UPLOADS}/77/`, undefined],
      [`${UPLOADS}/77/00000`, '3'],
      [`${UPLOADS}/77/00002`, '5'],
    ]);
    expect((await server.call('PROPFIND', `${UPLOADS}/77/`, { headers: { depth: '0' } })).text).not.toContain(
      '/00000<',
    );
    expect((await server.call('PROPFIND', `${UPLOADS}/77/00002`)).text).toContain('>5<');
    expect((await server.call('PROPFIND', `${UPLOADS}/`, { headers: { depth: '1' } })).text).toContain(
      `${UPLOADS}/77/<`,
    );
  });

  test('that was not started takes nothing', async () => {
    expect((await server.call('PUT', `${UPLOADS}/none/0`, { body: 'x' })).status).toBe(404);
    expect((await server.call('PROPFIND', `${UPLOADS}/none`)).status).toBe(404);
    expect((await server.call('DELETE', `${UPLOADS}/none`)).status).toBe(404);
    expect((await finish('none', `${FILES}/f`)).status).toBe(404);
  });

  test('is started once, given up, and started afresh', async () => {
    await start('1');
    await send('1', '0', 'old');
    expect((await server.call('MKCOL', `${UPLOADS}/1`)).status).toBe(405);
    expect((await server.call('DELETE', `${UPLOADS}/1`)).status).toBe(204);
    await start('1');
    await send('1', '0', 'new');
    expect((await finish('1', `${FILES}/f`)).status).toBe(201);
    expect((await read('f')).text).toBe('new');
    await start('1');
    await send('1', '0', 'third');
    expect((await finish('1', `${FILES}/f`)).status).toBe(204);
    expect((await read('f')).text).toBe('third');
  });

  test('loses a chunk that is deleted', async () => {
    await start('1');
    await send('1', '0', 'aa');
    await send('1', '1', 'bb');
    expect((await server.call('DELETE', `${UPLOADS}/1/1`)).status).toBe(204);
    expect((await server.call('DELETE', `${UPLOADS}/1/1`)).status).toBe(404);
    expect((await finish('1', `${FILES}/f`)).status).toBe(201);
    expect((await read('f')).text).toBe('aa');
  });

  test.each(['.hidden', '..', 'a%2Fb', 'a%00b', 'x'.repeat(200), 'a%20b'])('%s is no name for one', async (name) => {
    expect([400, 404]).toContain((await server.call('MKCOL', `${UPLOADS}/${name}`)).status);
  });

  test.each(['abc', '.file', '1.5', '-1'])('%s is no name for a chunk', async (name) => {
    await start('1');
    expect((await server.call('PUT', `${UPLOADS}/1/${name}`, { body: 'x' })).status).toBe(400);
  });

  test('keeps no chunk that was cut short', async () => {
    await start('1');
    await send('1', '0', 'first try');
    const raw = server.raw();
    raw.send(
      `PUT ${UPLOADS}/1/0 HTTP/1.1\r\nHost: x\r\nAuthorization: ${basic('alice')}\r\nContent-Length: 100000\r\n\r\n${'x'.repeat(50_000)}`,
    );
    raw.socket.end();
    await raw.untilClosed();
    expect((await finish('1', `${FILES}/f`)).status).toBe(201);
    expect((await read('f')).text).toBe('first try');
  });

  test('that can never fit is refused at once', async () => {
    await server.running.accounts.update('alice', { quota_bytes: 1000 });
    const headers = { 'oc-total-length': '2000', destination: `${FILES}/f` };
    expect((await server.call('MKCOL', `${UPLOADS}/1`, { headers })).status).toBe(507);
    await start('1');
    expect((await server.call('PUT', `${UPLOADS}/1/0`, { body: Buffer.alloc(1001) })).status).toBe(507);
    await send('1', '0', Buffer.alloc(600));
    expect((await server.call('PUT', `${UPLOADS}/1/1`, { body: Buffer.alloc(600) })).status).toBe(507);
    await send('1', '1', Buffer.alloc(300));
    await server.call('PUT', `${FILES}/other`, { body: Buffer.alloc(500) });
    expect((await finish('1', `${FILES}/f`)).status).toBe(507);
    expect((await read('f')).status).toBe(404);
    await server.call('DELETE', `${FILES}/other`);
    expect((await finish('1', `${FILES}/f`)).status).toBe(201);
  });

  test('frees its space when it is done', async () => {
    await start('1');
    await send('1', '0', Buffer.alloc(100_000));
    await finish('1', `${FILES}/f`);
    expect(await readdir(join(server.dataDir, 'uploads', 'alice', '1'))).toEqual(['committed.json']);
    expect(await readdir(join(server.dataDir, 'blobs', 'tmp'))).toEqual([]);
  });
});

describe('sweeping', () => {
  test('takes what nobody touched, leaves the rest', async () => {
    await start('old');
    await send('old', '0', 'x');
    await start('fresh');
    await send('fresh', '0', 'x');
    await server.stop();
    const root = join(server.dataDir, 'uploads');
    await utimes(join(root, 'alice', 'old'), 1000, 1000);
    const blobs = await LocalBlobStore.open(join(server.dataDir, 'blobs'));
    const uploads = new ChunkedUploads(root, blobs, silentLog);
    expect(await uploads.sweep(2_000_000)).toBe(1);
    expect(await readdir(join(root, 'alice'))).toEqual(['fresh']);
    await uploads.close();
    await blobs.close();
    await server.run();
  });
});

describe('one chunk that is all of the file', () => {
  test('that is sent again while it becomes the file changes no content under its name', async () => {
    const blobs = await LocalBlobStore.open(join(server.dataDir, 'other-blobs'));
    const root = join(server.dataDir, 'other-uploads');
    await mkdir(root);
    const uploads = new ChunkedUploads(root, blobs, silentLog);
    const key = { userId: 'alice', upload: '1' };
    const limits = { expected_bytes: null, max_bytes: 1e9, all_bytes: null, signal: new AbortController().signal };
    const good = randomBytes(32 << 20);
    const sha256 = createHash('sha256').update(good).digest('hex');
    (await blobs.put(pieces(good))).release(); // somebody's file
    await uploads.create(key);
    await uploads.receive(key, '1', pieces(good), good.length, limits);
    let go: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      go = resolve;
    });
    const late = uploads.receive(key, '1', pieces(Buffer.from('other'), held), good.length, limits).catch(() => null);
    await sleep(50); // it has begun
    const wanted = {
      judge: async () => void setTimeout(go, 5),
      total_bytes: good.length,
      checksums: [{ algorithm: 'SHA1', hex: sha1(good) }],
      destination: 'f',
    };
    const commit = async (blob: BlobPin) => ({
      destination: 'f',
      etag: blob.sha256,
      fileId: 1 as NodeId,
      created: true,
    });
    await uploads.finish(key, wanted, commit).catch(() => undefined);
    await late;
    const stored = await blobs.open(sha256);
    expect(stored.size_bytes).toBe(good.length);
    await stored.close();
    await uploads.close();
  });

  test('the sum that is noted is that of the file that has the name', async () => {
    const folder = new UploadFolder(join(server.dataDir, 'racing'));
    await folder.create();
    const options = { expected_bytes: null, max_bytes: 1e9, sum: true };
    for (let round = 0; round < 200; round += 1) {
      const [a, b] = await Promise.all(
        ['aaaa', 'bbbb'].map((text) => folder.receive('1', pieces(Buffer.from(text)), options)),
      );
      const [there] = await folder.chunks();
      const noted = [a, b].find((one) => one?.chunk.version === there?.version);
      const bytes = await readFile(join(folder.path, '1'));
      expect(noted?.chunk.sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
    }
  });

  test('counts once against the quota when it is sent again', async () => {
    await server.running.accounts.update('alice', { quota_bytes: 10_000 });
    await start('1');
    await send('1', '1', Buffer.alloc(8000));
    await send('1', '1', Buffer.alloc(4000));
  });

  test('fills with all that were never finished no more than twice the quota', async () => {
    await server.running.accounts.update('alice', { quota_bytes: 100_000 });
    const put = async (id: string, chunk = '1') =>
      (await server.call('PUT', `${UPLOADS}/${id}/${chunk}`, { body: Buffer.alloc(80_000) })).status;
    for (const id of ['1', '2', '3']) await start(id);
    expect(await Promise.all([put('1'), put('2')])).toEqual([201, 201]);
    expect(await put('3')).toBe(507);
    expect(await put('2')).toBe(204);
    expect((await server.call('DELETE', `${UPLOADS}/1`)).status).toBe(204);
    expect(await put('3')).toBe(201);
    await start('4');
    expect(await put('4')).toBe(507);
  });

  test('long ones that are refused take no room from others from then on', async () => {
    const blobs = await LocalBlobStore.open(join(server.dataDir, 'other-blobs'));
    const root = join(server.dataDir, 'other-uploads');
    await mkdir(root);
    const uploads = new ChunkedUploads(root, blobs, silentLog);
    const limits = { expected_bytes: null, max_bytes: 1e9, all_bytes: BLOCK_BYTES + 1000 };
    const meanwhile = new EventEmitter();
    const [begun, over] = [once(meanwhile, 'begun'), once(meanwhile, 'over')];
    const receive = async (upload: string, steps: readonly (() => Promise<number>)[]) => {
      const next = steps.values();
      const source = { fill: () => next.next().value?.() ?? Promise.resolve(0), close: () => undefined };
      await uploads.create({ userId: 'alice', upload });
      return await uploads.receive({ userId: 'alice', upload }, '1', source, null, limits);
    };
    const refused = receive('1', [
      async () => BLOCK_BYTES, // is being written when the next byte is refused
      async () => {
        await begun;
        meanwhile.emit('over');
        return 1;
      },
    ]);
    const other = receive('2', [
      async () => 1000,
      async () => {
        meanwhile.emit('begun');
        await over;
        for (let i = 0; i < 100; i += 1) await null; // no time in which a disk could do anything
        return 1000;
      },
    ]);
    await expect(refused).rejects.toMatchObject({ code: 'quota' });
    expect(await other).toMatchObject({ replaced: false });
    await uploads.close();
    await blobs.close();
  });

  test('of unknown length and over the quota is refused with an answer', async () => {
    await server.running.accounts.update('alice', { quota_bytes: 100_000 });
    await start('1');
    const { status } = await fetch(`${server.url}${UPLOADS}/1/1`, {
      method: 'PUT',
      headers: { authorization: basic('alice') },
      body: ReadableStream.from(pieces(Buffer.alloc(3_000_000))),
      duplex: 'half',
    } as RequestInit);
    expect(status).toBe(507);
  });
});

async function* pieces(bytes: Buffer, when: Promise<void> = Promise.resolve()): AsyncGenerator<Buffer> {
  await when;
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

test('an upload that became a file is told as done, also when that cannot be noted', async () => {
  const blobs = await LocalBlobStore.open(join(server.dataDir, 'other-blobs'));
  const root = join(server.dataDir, 'other-uploads');
  await mkdir(root);
  const uploads = new ChunkedUploads(root, blobs, silentLog);
  const key = { userId: 'alice', upload: '1' };
  await uploads.create(key);
  const limits = { expected_bytes: null, max_bytes: 1e9, all_bytes: null };
  await uploads.receive(key, '1', pieces(Buffer.from('content')), 7, limits);
  const wanted = { judge: async () => undefined, total_bytes: 7, checksums: [], destination: 'f' };
  const done = { destination: 'f', etag: '"1"', fileId: 1 as NodeId, created: true };
  const commit = async () => {
    await rm(join(root, 'alice'), { recursive: true }); // as good as a disk that takes nothing more
    return done;
  };
  expect(await uploads.finish(key, wanted, commit)).toEqual(done);
  await uploads.close();
  await blobs.close();
});
