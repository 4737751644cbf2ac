// What is sent to the ownCloud family must hold on what those servers really check: see `family_server.ts` for the sources.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRemote, type WebdavRemote } from '../../../src/remote/connect.js';
import { bytesSource, codeOf, listAll, path, put, readAll, session } from '../../contract/remote_contract.js';
import { type FamilyServer, startFamilyServer } from '../../support/family_server.js';
import { FaultProxy } from '../../support/fault_proxy.js';

describe.each(['sabre', 'ocis'] as const)('preconditions on %s', (kind) => {
  let server: FamilyServer;
  let remote: WebdavRemote;

  beforeEach(async () => {
    server = await startFamilyServer(kind);
    remote = createRemote({ url: server.url, auth: { user: 'anna', password: 'secret' }, timeout_ms: 2000 });
    await remote.connect();
  });
  afterEach(async () => {
    await remote.close();
    await server.close();
  });

  it('removes a folder as its members have left it', async () => {
    server.write('dir', null);
    server.write('dir/a', 'a');
    const { etag } = await remote.stat(path('dir'));
    await remote.remove(path('dir'), etag);
    expect(server.nodes.has('dir')).toBe(false);
  });

  it('keeps a folder that somebody put something into', async () => {
    server.write('dir', null);
    const { etag } = await remote.stat(path('dir'));
    server.write('dir/new', 'theirs');
    expect(await codeOf(remote.remove(path('dir'), etag))).toBe('precondition');
    expect(server.text('dir/new')).toBe('theirs');
  });

  it('makes no file of a name that somebody has taken', async () => {
    server.write('a', 'theirs');
    expect(await codeOf(put(remote, 'a', 'ours', { kind: 'if_absent' }))).toBe('precondition');
    expect(server.text('a')).toBe('theirs');
  });

  it('replaces the version that is known, no other', async () => {
    server.write('a', 'first');
    const { etag } = await remote.stat(path('a'));
    await put(remote, 'a', 'second', { kind: 'if_match', etag: etag ?? '' });
    expect(server.text('a')).toBe('second');
    expect(await codeOf(put(remote, 'a', 'third', { kind: 'if_match', etag: etag ?? '' }))).toBe('precondition');
    expect(server.text('a')).toBe('second');
  });

  it('reads an answer that ignores Range and does not say how long it is, unless it ends too early', async () => {
    server.write('a', 'content');
    const { etag } = await remote.stat(path('a'));
    const parts: Buffer[] = [];
    await remote.read(path('a'), { start: 2, end: 5 }, etag, (chunk) => void parts.push(Buffer.from(chunk)));
    expect(Buffer.concat(parts).toString()).toBe('nte');
    expect(await codeOf(remote.read(path('a'), { start: 2, end: 8 }, etag, () => undefined))).toBe('network');
  });

  it('knows a version although a proxy changes its ETag header', async () => {
    const proxy = await FaultProxy.open({ targetPort: Number(new URL(server.url).port) });
    const behind = createRemote({ url: proxy.url, auth: { user: 'anna', password: 'secret' }, timeout_ms: 2000 });
    try {
      // mod_deflate's way; others make them weak.
      proxy.add({ fault: { kind: 'headers', set: { etag: '"changed-gzip"' } } });
      await behind.connect();
      const { etag } = await put(behind, 'a', 'first');
      expect(etag).toBe((await behind.stat(path('a'))).etag);
      await put(behind, 'a', 'second', { kind: 'if_match', etag: etag ?? '' });
      expect((await readAll(behind, 'a')).toString()).toBe('second');
    } finally {
      await behind.close();
      await proxy.close();
    }
  });

  it('removes the version that is known, no other', async () => {
    server.write('a', 'first');
    const { etag } = await remote.stat(path('a'));
    server.write('a', 'theirs');
    expect(await codeOf(remote.remove(path('a'), etag))).toBe('precondition');
    expect(server.text('a')).toBe('theirs');
    await remote.remove(path('a'), (await remote.stat(path('a'))).etag);
    expect(server.text('a')).toBe(null);
  });

  it('moves over the version that is known, no other', async () => {
    server.write('a', 'ours');
    server.write('b', 'first');
    const etag = (await remote.stat(path('b'))).etag ?? '';
    server.write('b', 'theirs');
    const over = (tag: string) => remote.move(path('a'), path('b'), { overwrite: { etag: tag }, sourceEtag: null });
    expect(await codeOf(over(etag))).toBe('precondition');
    expect(server.text('b')).toBe('theirs');
    await over((await remote.stat(path('b'))).etag ?? '');
    expect([server.text('a'), server.text('b')]).toEqual([null, 'ours']);
  });

  it('moves the version that is known, no other, and a folder as it was', async () => {
    server.write('a', 'first');
    server.write('dir', null);
    const { etag } = await remote.stat(path('a'));
    server.write('a', 'theirs');
    const moved = (from: string, to: string, sourceEtag: string | null) =>
      remote.move(path(from), path(to), { overwrite: null, sourceEtag });
    expect(await codeOf(moved('a', 'b', etag))).toBe('precondition');
    expect(server.text('a')).toBe('theirs');
    await moved('dir', 'other', (await remote.stat(path('dir'))).etag);
    expect(server.nodes.has('other')).toBe(true);
  });

  it('tells a file by the same id after it was sent as in a listing', async () => {
    const sent = await put(remote, 'a', 'content');
    const [, listed] = await listAll(remote, '');
    expect(sent.fileid).toBe(listed?.fileid);
  });

  it('sends no time that is refused with the failure of a broken server', async () => {
    if (kind !== 'sabre') return;
    const epoch = { mtime: { s: 1, ns: 0 } };
    server.requests.length = 0;
    await remote.put(path('old'), bytesSource('content'), { kind: 'if_absent' }, epoch, session());
    // Else it would be read back, to find out whether it is there.
    expect(server.requests.map(({ method }) => method)).toEqual(['PUT']);
    expect(await codeOf(remote.setMeta(path('old'), epoch))).toBe('unsupported');
    expect(await codeOf(remote.setMeta(path('old'), { mtime: { s: 86_401, ns: 0 } }))).toBe('no error');
  });

  it('knows what a file is that the server still looks through', async () => {
    server.write('a', 'content');
    const kept = server.nodes.get('a');
    if (kept !== undefined) kept.processing = true;
    const [, listed] = await listAll(remote, '');
    expect(listed).toMatchObject({ kind: 'file', size_bytes: 7, rights: { read: true, write: true } });
  });
});
