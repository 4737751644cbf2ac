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
    expect(chunks()).toBe(2);
    expect(all.proxy.count('PUT', /\/00001$/)).toBe(0);
  });

  it('begins again when the server has forgotten the parts', async () => {
    const session = keptSession();
    session.state = JSON.stringify({
      id: 'cloudmount-gone',
      size_bytes: SIZE,
      version: '1.0',
      chunk_bytes: 32 * MIB,
      even: null,
    });
    await all.remote.put(path('c'), source, ABSENT, { mtime: { s: 1, ns: 0 } }, session);
    expect(await sha256Of(all.honest, 'c')).toBe(source.hex);
    expect(all.proxy.count('PROPFIND', /cloudmount-gone/)).toBe(1);
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

  it('a file of unknown room is refused for the quota, not for a broken line', async () => {
    await all.server.accounts.update(ACCOUNT.user, { quota_bytes: 50 * MIB });
    try {
      expect(await codeOf(all.honest.put(path('large'), source, ABSENT, {}, keptSession()))).toBe('quota');
    } finally {
      await all.server.accounts.update(ACCOUNT.user, { quota_bytes: null });
    }
  });

  it.each([
    ['501', { kind: 'status', status: 501 }, 4],
    ['no answer', { kind: 'silence' }, 1],
  ] as const)('what the way does not take is remembered: %s', async (_, fault, requests) => {
    all.proxy.add({ method: 'PUT', path: /\/00001$/, times: 1, fault });
    const session = keptSession();
    const first = await codeOf(all.remote.put(path('narrow'), source, { kind: 'none' }, {}, session));
    expect(chunks()).toBe(requests);
    if (first === 'no error') return;
    await all.remote.put(path('narrow'), source, { kind: 'none' }, {}, session);
    expect(chunks()).toBe(requests + 3);
  });
});

describe.each([
  ['our server', 'cloudmount'],
  ['a server that compares no checksum', 'owncloud'],
])('an upload that was broken off, to %s', (_, dialect) => {
  let all: Rig;
  const source = bigSource();

  beforeAll(async () => {
    all = await rig();
  });
  afterAll(async () => {
    await all.close();
  });

  const remote = () =>
    createRemoteOffline(JSON.stringify({ ...all.remote.describe(), dialect }), { url: all.proxy.url, auth: ACCOUNT });

  async function brokenOff(file: string, number: string, mtime_s: number): Promise<ReturnType<typeof keptSession>> {
    const session = keptSession();
    all.proxy.add({ method: 'PUT', path: /\/00001$/, times: 1, fault: { kind: 'cut_request', after_bytes: MIB } });
    all.proxy.add({ method: 'PUT', path: new RegExp(`/${number}$`), fault: { kind: 'status', status: 423 } });
    const client = remote();
    expect(await codeOf(client.put(path(file), source, ABSENT, { mtime: { s: mtime_s, ns: 0 } }, session))).not.toBe(
      'ok',
    );
    await client.close();
    all.proxy.clear();
    return session;
  }

  it.each([412, 404])('is begun anew where the server takes no more of its parts (%s)', async (status) => {
    // Nextcloud with an object store: what the parts are for is in a cache for a day (ChunkingV2Plugin.php, afterMkcol),
    // and without it each is refused with 412 "Missing metadata for chunked upload" (checkPrerequisites).
    const file = `forgotten ${status}`;
    const session = await brokenOff(file, '00002', 1);
    const { id } = JSON.parse(session.state ?? '') as { id: string };
    all.proxy.add({ method: 'PUT', path: new RegExp(id), fault: { kind: 'answer', status } });
    const client = remote();
    await client.put(path(file), source, ABSENT, { mtime: { s: 1, ns: 0 } }, session);
    await client.close();
    expect(await sha256Of(all.honest, file)).toBe(source.hex);
  });

  it('goes on with the bytes of the file as it is now, not with those of another version of the same size', async () => {
    const session = await brokenOff('changed', '00002', 1);
    const other = bigSource(9);
    const client = remote();
    await client.put(path('changed'), other, ABSENT, { mtime: { s: 2, ns: 0 } }, session);
    await client.close();
    expect(await sha256Of(all.honest, 'changed')).toBe(other.hex);
  });

  it('takes no part that is not as long as it was sent for one', async () => {
    const session = await brokenOff('short', '00003', 1);
    const { id } = JSON.parse(session.state ?? '{}') as { id: string };
    const uploads = all.remote.describe().uploads ?? '';
    const authorization = `Basic ${btoa(`${ACCOUNT.user}:${ACCOUNT.password}`)}`;
    const late = await fetch(`${all.server.url}${uploads}${id}/00001`, {
      method: 'PUT',
      headers: { authorization },
      body: Buffer.alloc(10 * MIB),
    });
    expect(late.status).toBe(204);
    const client = remote();
    await client.put(path('short'), source, ABSENT, { mtime: { s: 1, ns: 0 } }, session);
    await client.close();
    expect(await sha256Of(all.honest, 'short')).toBe(source.hex);
  });
});
