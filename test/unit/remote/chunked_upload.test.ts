import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createRemoteOffline } from '../../../src/remote/connect.js';
import type { Precondition, Remote, UploadSource } from '../../../src/remote/remote.js';
import { ABSENT, codeOf, path, put } from '../../contract/remote_contract.js';
import { ACCOUNT, keptSession, type Rig, rig } from './with_server.js';

const MIB = 1024 * 1024;
const SIZE = 70 * MIB + 12_345;
const BLOCK = Buffer.alloc(MIB, 'cloudmount chunk ');

function blockAt(start: number, end: number): Buffer {
  const block = Buffer.from(BLOCK.subarray(0, end - start));
  block.writeUInt32BE(start, 0);
  return block;
}

function bigSource(salt = 0): UploadSource & { readonly hex: string } {
  const hash = createHash('sha256');
  const blocks = function* (start: number, end: number) {
    for (let at = start; at < end; at += MIB) {
      const block = blockAt(at, Math.min(at + MIB, end));
      if (salt !== 0) block.writeUInt32BE(salt, 4);
      yield block;
    }
  };
  for (const block of blocks(0, SIZE)) hash.update(block);
  const hex = hash.digest('hex');
  return {
    size_bytes: SIZE,
    hex,
    sha256: async () => hex,
    async *open(start, end) {
      yield* blocks(start, end);
    },
  };
}

async function sha256Of(remote: Remote, file: string): Promise<string> {
  const { etag, size_bytes } = await remote.stat(path(file));
  const hash = createHash('sha256');
  await remote.read(path(file), { start: 0, end: size_bytes }, etag, (chunk) => void hash.update(chunk));
  return hash.digest('hex');
}

describe('chunked upload to our server', () => {
  let all: Rig;
  const source = bigSource();
  const other = bigSource(7);
  const chunks = () => all.proxy.count('PUT', /\/uploads\//);

  beforeAll(async () => {
    all = await rig();
  });
  afterAll(async () => {
    await all.close();
  });
  afterEach(() => {
    all.proxy.clear();
    all.proxy.requests.length = 0;
  });

  it('stores the whole, with its time and mode, in one part where the line is fast', async () => {
    const session = keptSession();
    const meta = { mtime: { s: 1_111_111_111, ns: 222_222_222 }, mode: 0o600 };
    const result = await all.remote.put(path('a'), source, ABSENT, meta, session);
    expect(await all.honest.stat(path('a'))).toMatchObject({
      etag: result.etag,
      fileid: result.fileid,
      mtime: meta.mtime,
      posix: meta,
      size_bytes: SIZE,
    });
    expect(await sha256Of(all.honest, 'a')).toBe(source.hex);
    expect(chunks()).toBe(1);
    expect(session.state).toBeNull();
    expect(session.progressed.at(-1)).toBe(SIZE);
  });

  it.each([
    ['the line is cut', { kind: 'cut_request', after_bytes: 5 * MIB }],
    ['a proxy takes no large bodies', { kind: 'status', status: 413 }],
    ['a proxy wants to know the length', { kind: 'status', status: 411 }],
  ] as const)('goes on in parts of one size when %s', async (_, fault) => {
    all.proxy.add({ method: 'PUT', path: /\/00001$/, times: 1, fault });
    await all.remote.put(path(fault.kind), source, { kind: 'none' }, {}, keptSession());
    expect(await sha256Of(all.honest, fault.kind)).toBe(source.hex);
    expect(chunks()).toBe(1 + 3);
  });

  it('goes on where it was after a restart', async () => {
    const session = keptSession();
    all.proxy.add({ method: 'PUT', path: /\/00001$/, times: 1, fault: { kind: 'cut_request', after_bytes: 5 * MIB } });
    all.proxy.add({ method: 'PUT', path: /\/00002$/, fault: { kind: 'cut_request', after_bytes: 5 * MIB } });
    expect(await codeOf(all.remote.put(path('b'), source, ABSENT, {}, session))).toBe('network');
    expect(session.state).not.toBeNull();
    expect(await codeOf(all.honest.stat(path('b')))).toBe('not_found');
    all.proxy.clear();
    all.proxy.requests.length = 0;
    // Another process: knows what was saved, has not asked the server.
    const later = createRemoteOffline(JSON.stringify(all.remote.describe()), { url: all.proxy.url, auth: ACCOUNT });
    await later.put(path('b'), source, ABSENT, {}, session);
    await later.close();
    expect(await sha256Of(all.honest, 'b')).toBe(source.hex);
    expect(chunks()).toBe(1);
    expect(all.proxy.count('PUT', /\/00001$/)).toBe(0);
  });

  it('begins again when the server has forgotten the parts', async () => {
    const session = keptSession();
    session.state = JSON.stringify({ id: 'cloudmount-gone', size_bytes: SIZE, chunk_bytes: 32 * MIB });
    await all.remote.put(path('c'), source, ABSENT, {}, session);
    expect(await sha256Of(all.honest, 'c')).toBe(source.hex);
  });

  it('replaces only the version it is based on', async () => {
    const base = await put(all.honest, 'd', 'base');
    const match: Precondition = { kind: 'if_match', etag: base.etag ?? '' };
    const first = await all.remote.put(path('d'), source, match, {}, keptSession());
    expect(first.fileid).toBe(base.fileid);
    const session = keptSession();
    expect(await codeOf(all.remote.put(path('d'), other, match, {}, session))).toBe('precondition');
    expect(session.state).toBeNull();
    expect(await codeOf(all.remote.put(path('d'), other, ABSENT, {}, keptSession()))).toBe('precondition');
    expect(await sha256Of(all.honest, 'd')).toBe(source.hex);
  });

  it('finds out that it is whole when the last answer is lost', async () => {
    all.proxy.add({ method: 'MOVE', times: 1, fault: { kind: 'lost_answer' } });
    const result = await all.remote.put(path('e'), source, ABSENT, {}, keptSession());
    expect(result.etag).toBe((await all.honest.stat(path('e'))).etag);
    expect(await sha256Of(all.honest, 'e')).toBe(source.hex);
  });
});
