import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { CloudError } from '../../../src/errors.js';
import { createRemote } from '../../../src/remote/connect.js';
import type { Precondition } from '../../../src/remote/remote.js';
import {
  ABSENT,
  bytesSource,
  codeOf,
  listAll,
  path,
  put,
  readAll,
  readPart,
  session,
} from '../../contract/remote_contract.js';
import { eventually } from '../../support/processes.js';
import { ACCOUNT, type Rig, rig, TIMEOUT_ms } from './with_server.js';

const CONTENT = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 253));

describe('a client on a bad network', () => {
  let all: Rig;
  let counter = 0;

  beforeAll(async () => {
    all = await rig();
  });
  afterAll(async () => {
    await all.close();
  });
  afterEach(async () => {
    all.proxy.clear();
    await all.proxy.accept();
  });

  const fresh = () => `f${++counter}`;

  /** Reads [start, end) and gives back what the sink got, whatever became of the call. */
  async function tryRead(file: string, start: number, end: number, etag: string | null) {
    const got: { offset: number; bytes: Buffer }[] = [];
    const code = await codeOf(
      all.remote.read(path(file), { start, end }, etag, (chunk, offset) => {
        got.push({ offset, bytes: Buffer.from(chunk) });
      }),
    );
    let at = start;
    for (const { offset, bytes } of got) {
      expect(offset).toBe(at);
      expect(bytes.equals(CONTENT.subarray(offset, offset + bytes.length))).toBe(true);
      at += bytes.length;
    }
    return { code, reached: at, calls: got.length };
  }

  async function stored(): Promise<{ file: string; etag: string | null }> {
    const file = fresh();
    const { etag } = await put(all.honest, file, CONTENT);
    return { file, etag };
  }

  describe('reading', () => {
    it.each(['truncate', 'cut'] as const)('goes on after a body that ends early (%s)', async (kind) => {
      const { file, etag } = await stored();
      all.proxy.add({ method: 'GET', times: 2, fault: { kind, after_bytes: 100_000 } });
      expect(await tryRead(file, 10, 290_000, etag)).toMatchObject({ code: 'no error', reached: 290_000 });
      expect(all.proxy.count('GET', new RegExp(`/${file}$`))).toBe(3);
    });

    it('does not go on where no version says that the rest is of the same file', async () => {
      const { file } = await stored();
      all.proxy.add({ method: 'GET', times: 1, fault: { kind: 'truncate', after_bytes: 100_000 } });
      expect(await tryRead(file, 0, 300_000, null)).toMatchObject({ code: 'network', reached: 100_000 });
      expect(all.proxy.count('GET', new RegExp(`/${file}$`))).toBe(1);
    });

    it('never takes a part for the whole', async () => {
      const { file, etag } = await stored();
      all.proxy.add({ method: 'GET', fault: { kind: 'truncate', after_bytes: 1000 } });
      const { code, reached } = await tryRead(file, 0, 300_000, etag);
      expect(code).toBe('network');
      expect(reached).toBeLessThan(300_000);
    });

    it('finds its bytes in the answer of a server that ignores Range', async () => {
      const { file, etag } = await stored();
      all.proxy.add({ method: 'GET', fault: { kind: 'request_headers', set: { range: null } } });
      expect(await tryRead(file, 123_456, 234_567, etag)).toMatchObject({ code: 'no error', reached: 234_567 });
    });

    it.each([
      ['another ETag', { etag: '"other"', 'oc-etag': '"other"' }, 'stale'],
      ['another Content-Range', { 'content-range': 'bytes 0-99/300000' }, 'protocol'],
      ['no Content-Range', { 'content-range': null }, 'protocol'],
      ['a content coding', { 'content-encoding': 'gzip' }, 'protocol'],
    ] as const)('lets nothing through with %s', async (_, set, expected) => {
      const { file, etag } = await stored();
      all.proxy.add({ method: 'GET', fault: { kind: 'headers', set } });
      expect(await tryRead(file, 100, 200, etag)).toEqual({ code: expected, reached: 100, calls: 0 });
    });

    it('takes an answer without an ETag when the file still has that version, a long one in pieces', async () => {
      const { file, etag } = await stored();
      all.proxy.add({ method: 'GET', fault: { kind: 'headers', set: { etag: null, 'oc-etag': null } } });
      expect(await tryRead(file, 100, 200, etag)).toMatchObject({ code: 'no error', reached: 200 });
      expect(await tryRead(file, 100, 200, '"another"')).toEqual({ code: 'stale', reached: 100, calls: 0 });
      const content = Buffer.alloc(2_500_000, 'abc');
      const { etag: version } = await put(all.remote, 'large', content);
      expect((await readPart(all.remote, 'large', 0, content.length, version)).equals(content)).toBe(true);
    });

    it('lets nothing through of a 200 that is another version or too short', async () => {
      const { file, etag } = await stored();
      all.proxy.add({ method: 'GET', fault: { kind: 'request_headers', set: { range: null } } });
      all.proxy.add({ method: 'GET', fault: { kind: 'headers', set: { etag: '"other"', 'oc-etag': '"other"' } } });
      expect(await tryRead(file, 100, 200, etag)).toMatchObject({ code: 'stale', calls: 0 });
      all.proxy.clear();
      all.proxy.add({ method: 'GET', fault: { kind: 'request_headers', set: { range: null } } });
      all.proxy.add({ method: 'GET', fault: { kind: 'shorten', after_bytes: 150 } });
      expect(await tryRead(file, 100, 200, etag)).toMatchObject({ code: 'protocol', calls: 0 });
    });

    it('refuses more bytes than it asked for', async () => {
      const { file, etag } = await stored();
      const change = (body: Buffer) => Buffer.concat([body, body]);
      all.proxy.add({ method: 'GET', fault: { kind: 'headers', set: { 'content-length': null } } });
      all.proxy.add({ method: 'GET', fault: { kind: 'body', change } });
      expect((await tryRead(file, 0, 1000, etag)).code).toBe('protocol');
    });

    it.each([
      ['silence', { kind: 'silence' }],
      ['a body that stops', { kind: 'stall', after_bytes: 5000 }],
      ['a body that drips', { kind: 'drip', bytes: 1, every_ms: 20 }],
    ] as const)('does not wait for ever: %s', async (_, fault) => {
      const { file, etag } = await stored();
      all.proxy.add({ method: 'GET', fault });
      expect((await tryRead(file, 0, 300_000, etag)).code).toBe('timeout');
    });

    it('waits for a slow line that moves', async () => {
      const { file, etag } = await stored();
      all.proxy.add({ method: 'GET', fault: { kind: 'bandwidth', bytesPerSecond: 100_000 } });
      expect(await tryRead(file, 0, 150_000, etag)).toMatchObject({ code: 'no error', reached: 150_000 });
    });

    it('gives its connection back however it ends', async () => {
      const { file, etag } = await stored();
      all.proxy.add({ method: 'GET', fault: { kind: 'headers', set: { etag: '"other"', 'oc-etag': '"other"' } } });
      for (let i = 0; i < 40; i++) expect((await tryRead(file, 0, 300_000, etag)).code).toBe('stale');
      all.proxy.clear();
      const abort = new AbortController();
      const reads = Array.from({ length: 40 }, () =>
        codeOf(
          all.remote.read(path(file), { start: 0, end: 300_000 }, etag, () => abort.abort(), { signal: abort.signal }),
        ),
      );
      expect(new Set(await Promise.all(reads))).toEqual(new Set(['interrupted']));
      expect((await tryRead(file, 0, 300_000, etag)).code).toBe('no error');
    });
  });

  describe('a captive portal', () => {
    it('is nothing: no listing, no file, no success', async () => {
      const { file, etag } = await stored();
      all.proxy.add({ fault: { kind: 'captive_portal' } });
      const { remote } = all;
      const calls = {
        connect: () => remote.connect(),
        ping: () => remote.ping(),
        stat: () => remote.stat(path(file)),
        list: () => listAll(remote, ''),
        changes: () => remote.changes(null),
        put: () => put(remote, fresh(), 'x'),
        mkdir: () => remote.mkdir(path(fresh()), {}),
        move: () => remote.move(path(file), path(fresh()), { overwrite: null, sourceEtag: null }),
        remove: () => remote.remove(path(file), etag),
        setMeta: () => remote.setMeta(path(file), { mode: 0o600 }),
        lock: () => remote.lock(path(file)),
        quota: () => remote.quota(),
      };
      for (const [what, call] of Object.entries(calls))
        expect([what, await codeOf(call())]).toEqual([what, 'protocol']);
      expect(await tryRead(file, 0, 100, etag)).toEqual({ code: 'protocol', reached: 0, calls: 0 });
      expect((await readAll(all.honest, file)).equals(CONTENT)).toBe(true);
    });
  });

  describe('listing', () => {
    it.each([
      ['cut', { kind: 'cut', after_bytes: 400 }],
      ['ended', { kind: 'truncate', after_bytes: 400 }],
      ['shorter with an honest length', { kind: 'shorten', after_bytes: 400 }],
    ] as const)('is whole or an error: %s', async (_, fault) => {
      const dir = fresh();
      await all.honest.mkdir(path(dir), {});
      for (const name of ['a', 'b', 'c']) await put(all.honest, `${dir}/${name}`, name);
      all.proxy.add({ method: 'PROPFIND', fault });
      expect(['network', 'protocol']).toContain(await codeOf(listAll(all.remote, dir)));
      all.proxy.clear();
      all.proxy.add({ method: 'PROPFIND', times: 1, fault: { kind: 'reset' } });
      expect(await listAll(all.remote, dir)).toHaveLength(4);
    });

    it('does not wait for ever', async () => {
      all.proxy.add({ method: 'PROPFIND', fault: { kind: 'stall', after_bytes: 300 } });
      expect(await codeOf(listAll(all.remote, ''))).toBe('timeout');
      all.proxy.clear();
      all.proxy.add({ fault: { kind: 'silence' } });
      expect(await codeOf(listAll(all.remote, ''))).toBe('timeout');
      expect(await codeOf(all.remote.ping())).toBe('timeout');
    });

    it('takes nothing for a member that is not below the folder, nor for all there is what it leaves out', async () => {
      const dir = fresh();
      await all.honest.mkdir(path(dir), {});
      await put(all.honest, `${dir}/a`, 'x');
      for (const href of [
        '/dav/files/bob/a',
        `/dav/files/alice/${dir}/../a`,
        `/dav/files/alice/${dir}/x%2Fa`,
        '/dav/files/alice/elsewhere/a',
      ]) {
        const change = (body: Buffer) => Buffer.from(body.toString().replace(`/dav/files/alice/${dir}/a<`, `${href}<`));
        all.proxy.add({ method: 'PROPFIND', times: 1, fault: { kind: 'body', change } });
        const [self, ...members] = await listAll(all.remote, dir);
        expect([href, self?.path, members.map((one) => one.leftOut)]).toEqual([href, dir, [true]]);
      }
    });
  });

  describe('uploading', () => {
    const puts = (file: string) => all.proxy.count('PUT', new RegExp(`/${file}$`));

    it.each(['reset', 'silence'] as const)('finds out that it was stored when the answer is lost (%s)', async (how) => {
      const file = fresh();
      all.proxy.add({ method: 'PUT', times: 1, fault: { kind: 'lost_answer', how } });
      const first = await put(all.remote, file, 'first');
      expect(first).toMatchObject({ etag: (await all.honest.stat(path(file))).etag, created: true });
      all.proxy.add({ method: 'PUT', times: 1, fault: { kind: 'lost_answer', how } });
      const second = await put(all.remote, file, 'other', { kind: 'if_match', etag: first.etag ?? '' });
      expect(second.etag).toBe((await all.honest.stat(path(file))).etag);
      expect((await readAll(all.honest, file)).toString()).toBe('other');
      expect(puts(file)).toBe(2);
    });

    it('sends again what did not arrive', async () => {
      const file = fresh();
      all.proxy.add({ method: 'PUT', times: 1, fault: { kind: 'cut_request', after_bytes: 100_000 } });
      all.proxy.add({ method: 'PUT', times: 1, fault: { kind: 'reset' } });
      const result = await put(all.remote, file, CONTENT);
      expect(result.etag).toBe((await all.honest.stat(path(file))).etag);
      expect((await readAll(all.honest, file)).equals(CONTENT)).toBe(true);
    });

    it('says precondition when somebody else was there in between', async () => {
      const file = fresh();
      const { etag } = await put(all.honest, file, 'base');
      const match: Precondition = { kind: 'if_match', etag: etag ?? '' };
      all.proxy.add({ method: 'PUT', times: 1, fault: { kind: 'reset' } });
      all.proxy.add({ method: 'PROPFIND', times: 1, fault: { kind: 'latency', delay_ms: 300 } });
      const call = codeOf(put(all.remote, file, 'ours', match));
      await eventually('the first try', () => puts(file) === 1);
      await put(all.honest, file, 'them', match);
      expect(await call).toBe('precondition');
      expect((await readAll(all.honest, file)).toString()).toBe('them');
    });

    it('hears a refusal in the middle of a long body', async () => {
      const file = fresh();
      await put(all.honest, file, 'theirs');
      const big = bytesSource(Buffer.alloc(20_000_000, 'x'));
      expect(await codeOf(all.remote.put(path(file), big, ABSENT, {}, session()))).toBe('precondition');
      expect((await readAll(all.honest, file)).toString()).toBe('theirs');
    });

    it.each([
      [507, 'quota'],
      [423, 'locked'],
      [403, 'no_access'],
      [413, 'too_large'],
      [401, 'unauthorized'],
    ] as const)('passes on why the server refuses: %i', async (status, code) => {
      const body = `<?xml version="1.0"?><d:error xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns"><s:message>because ${status}</s:message></d:error>`;
      all.proxy.add({
        method: 'PUT',
        fault: { kind: 'answer', status, headers: { 'content-type': 'application/xml' }, body },
      });
      const error = await put(all.remote, fresh(), 'x').catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(CloudError);
      expect(error).toMatchObject({ code, details: { status }, message: expect.stringContaining(`because ${status}`) });
    });

    it('comes back when the server asks for it, and says when it asks for too much', async () => {
      const file = fresh();
      all.proxy.add({
        method: 'PUT',
        times: 2,
        fault: { kind: 'answer', status: 503, headers: { 'retry-after': '0' } },
      });
      await put(all.remote, file, 'x');
      expect(puts(file)).toBe(3);
      all.proxy.add({ method: 'PUT', fault: { kind: 'answer', status: 503, headers: { 'retry-after': '3600' } } });
      const error = await put(all.remote, fresh(), 'x').catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code: 'busy_server', details: { retryAfter_s: 3600 } });
    });
  });

  describe('changing the tree', () => {
    it('finds out what became of it when the answer is lost', async () => {
      const [dir, moved, file] = [fresh(), fresh(), fresh()];
      for (const method of ['MKCOL', 'MOVE', 'DELETE', 'PROPPATCH']) {
        all.proxy.add({ method, times: 1, fault: { kind: 'lost_answer' } });
      }
      const made = await all.remote.mkdir(path(dir), {});
      expect(made).toMatchObject({ etag: (await all.honest.stat(path(dir))).etag });
      await all.remote.move(path(dir), path(moved), { overwrite: null, sourceEtag: null });
      expect((await all.honest.stat(path(moved))).fileid).toBe(made.fileid);
      const { etag } = await put(all.honest, file, 'x');
      await all.remote.setMeta(path(file), { mode: 0o600 });
      expect((await all.honest.stat(path(file))).posix.mode).toBe(0o600);
      expect(['no error', 'not_found']).toContain(await codeOf(all.remote.remove(path(file), etag)));
      expect(await codeOf(all.honest.stat(path(file)))).toBe('not_found');
    });

    it('says network when nobody is there, at once for each call', async () => {
      await all.proxy.refuse();
      expect(await codeOf(all.remote.stat(path('x')))).toBe('network');
      expect(await codeOf(put(all.remote, fresh(), 'x'))).toBe('network');
      expect(await codeOf(all.remote.changes(null))).toBe('network');
      expect(await codeOf(all.remote.connect())).toBe('network');
    });
  });

  describe('signing in', () => {
    it('is refused with a wrong password', async () => {
      const remote = createRemote({ url: all.proxy.url, auth: { user: ACCOUNT.user, password: 'wrong' } });
      expect(await codeOf(remote.connect())).toBe('unauthorized');
      await remote.close();
    });

    it('shows the password to nobody else', async () => {
      const seen: (string | undefined)[] = [];
      const elsewhere = createServer((request, response) => {
        seen.push(request.headers.authorization);
        response.end('{}');
      });
      await new Promise<void>((resolve) => elsewhere.listen(0, '127.0.0.1', resolve));
      const location = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/`;
      for (const status of [301, 302, 307, 308]) {
        all.proxy.add({ fault: { kind: 'answer', status, headers: { location } } });
        expect(await codeOf(all.remote.stat(path('')))).toBe('protocol');
        expect(await codeOf(all.remote.connect())).toBe('protocol');
        expect(await codeOf(put(all.remote, fresh(), 'x'))).toBe('protocol');
      }
      expect(seen).toEqual([]);
      await new Promise((resolve) => elsewhere.close(resolve));
    });

    it('follows a redirect on the same server for reading only', async () => {
      const file = fresh();
      await put(all.honest, file, 'content');
      const location = `/dav/files/alice/${file}`;
      all.proxy.add({ path: /\/old$/, fault: { kind: 'answer', status: 301, headers: { location } } });
      const { etag } = await all.honest.stat(path(file));
      const chunks: Buffer[] = [];
      await all.remote.read(path('old'), { start: 0, end: 7 }, etag, (chunk) => void chunks.push(Buffer.from(chunk)));
      expect(Buffer.concat(chunks).toString()).toBe('content');
      expect(await codeOf(put(all.remote, 'old', 'x'))).toBe('protocol');
      expect(await codeOf(all.remote.remove(path('old'), '"x"'))).toBe('protocol');
      all.proxy.clear();
      all.proxy.add({ fault: { kind: 'answer', status: 302, headers: { location: '/loop' } } });
      expect(await codeOf(all.remote.stat(path('x')))).toBe('protocol');
    });
  });

  it('ends every call with its signal, also one that waits for a connection', async () => {
    all.proxy.add({ fault: { kind: 'silence' } });
    const abort = new AbortController();
    const calls = Array.from({ length: 30 }, () => codeOf(all.remote.stat(path('x'), { signal: abort.signal })));
    setTimeout(() => abort.abort(), TIMEOUT_ms / 4);
    expect(new Set(await Promise.all(calls))).toEqual(new Set(['interrupted']));
    all.proxy.clear();
    await all.remote.ping();
  });
});
