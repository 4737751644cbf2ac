import { readdir } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createRemote, type WebdavRemote } from '../../../src/remote/connect.js';
import type { Precondition } from '../../../src/remote/remote.js';
import { bytesSource, codeOf, movesOverLocked, path, put, readAll, session } from '../../contract/remote_contract.js';
import { type Apache, startApache } from '../../support/apache.js';
import { FaultProxy } from '../../support/fault_proxy.js';
import { eventually } from '../../support/processes.js';
import { type Rclone, startRclone } from '../../support/rclone.js';

// Without checksums and file ids a lost answer can only be understood by comparing contents.
describe.each(['apache', 'rclone'] as const)('a bad network before %s', (kind) => {
  let server: Apache | Rclone;
  let proxy: FaultProxy;
  let remote: WebdavRemote;
  let honest: WebdavRemote;
  let counter = 0;
  const fresh = () => `g${++counter}`;

  beforeAll(async () => {
    server = kind === 'apache' ? await startApache() : await startRclone();
    proxy = await FaultProxy.open({ targetPort: server.port });
    const root = new URL(server.url).pathname;
    remote = createRemote({ url: proxy.url + root, auth: { kind: 'none' }, timeout_ms: 1000 });
    honest = createRemote({ url: server.url, auth: { kind: 'none' } });
    await remote.connect();
    await honest.connect();
  });
  afterAll(async () => {
    await remote.close();
    await honest.close();
    await proxy.close();
    await server.stop();
  });
  afterEach(() => {
    proxy.clear();
    proxy.requests.length = 0;
  });

  it('changes locks one at a time: mod_dav damages its database of them where two do at once', async () => {
    const folders = [1, 2, 3, 4].map(fresh);
    for (const folder of folders) await honest.mkdir(path(folder), {});
    const changes = (method: string) => /^(UN)?LOCK$|^DELETE$|^MOVE$/.test(method);
    const others: number[] = [];
    for (const method of ['LOCK', 'UNLOCK', 'DELETE', 'MOVE']) {
      const look = (body: Buffer) => {
        others.push(proxy.requests.filter((one) => changes(one.method) && one.status === null).length);
        return body;
      };
      proxy.add({ method, fault: { kind: 'body', change: look } });
      proxy.add({ method, fault: { kind: 'latency', delay_ms: 20 } });
    }
    await Promise.all(
      folders.map(async (folder) => {
        const file = `${folder}/a`;
        const { etag } = await put(remote, file, 'content');
        await remote.move(path(file), path(`${folder}/b`), { overwrite: null, sourceEtag: etag });
        const moved = await honest.stat(path(`${folder}/b`));
        await remote.remove(path(`${folder}/b`), moved.etag);
      }),
    );
    expect(others.length).toBeGreaterThanOrEqual(12);
    expect(others.every((count) => count === 0)).toBe(true);
  });

  it.each(['what is moved', 'what is replaced', 'both'] as const)(
    'moves a file over another, locked by us: %s',
    (which) => movesOverLocked({ remote, other: honest }, fresh(), fresh(), which),
  );

  it('finds out that an upload was stored when the answer is lost', async () => {
    const file = fresh();
    proxy.add({ method: 'PUT', times: 1, fault: { kind: 'lost_answer' } });
    const first = await put(remote, file, 'first');
    proxy.add({ method: 'PUT', times: 1, fault: { kind: 'lost_answer' } });
    const second = await put(remote, file, 'other', { kind: 'if_match', etag: first.etag ?? '' });
    expect(second.etag).toBe((await honest.stat(path(file))).etag);
    expect((await readAll(honest, file)).toString()).toBe('other');
    expect(proxy.count('PUT')).toBe(2);
  });

  it('goes on from the half of an upload that was cut off, now or later, whatever the server made of it', async () => {
    const [big, bigger] = [Buffer.alloc(3_000_000, 'ours'), Buffer.alloc(3_000_001, 'ours')];
    const [file, added] = [fresh(), fresh()];
    await put(honest, file, Buffer.alloc(3_000_000, 'base'));
    const etag = (await honest.stat(path(file))).etag ?? '';
    const cut = { kind: 'cut_request', after_bytes: 1_000_000 } as const;
    proxy.add({ method: 'PUT', times: 1, fault: cut });
    await put(remote, file, big, { kind: 'if_match', etag });
    expect((await readAll(honest, file)).equals(big)).toBe(true);
    proxy.add({ method: 'PUT', times: 1, fault: cut });
    await put(remote, added, big, { kind: 'if_absent' });
    expect((await readAll(honest, added)).equals(big)).toBe(true);

    // The network stays away: the next try is another call.
    let state: string | null = null;
    const call = async () => {
      const base = { kind: 'if_match', etag: known } as const;
      const kept = { state, save: (saved: string | null) => void (state = saved), progress: () => undefined };
      return await remote.put(
        path(file),
        bytesSource(bigger),
        base,
        {},
        { ...kept, committing: async () => undefined },
      );
    };
    const known = (await honest.stat(path(file))).etag ?? '';
    proxy.add({ method: 'PUT', fault: cut });
    expect(await codeOf(call())).toBe('network');
    proxy.clear();
    await call();
    expect((await readAll(honest, file)).equals(bigger)).toBe(true);
  });

  it('goes on from the half of an upload in the middle of which it was killed', async () => {
    const [file, big] = [fresh(), Buffer.alloc(3_000_000, 'ours')];
    const killed = session();
    const stop = new AbortController();
    const endless = {
      size_bytes: big.length,
      async *open() {
        yield big.subarray(0, 1_000_000);
        await new Promise((_, reject) => stop.signal.addEventListener('abort', reject));
      },
    };
    const sending = codeOf(remote.put(path(file), endless, { kind: 'if_absent' }, {}, killed, { signal: stop.signal }));
    const isOnWay = () => proxy.requests.some((one) => one.method === 'PUT' && one.requestBytes >= 1_000_000);
    await eventually(
      'half of it to be sent',
      async () => isOnWay(),
      (isIt) => isIt,
      5000,
    );
    const state = killed.saved.at(-1) ?? null; // what is noted is all that a killed one leaves
    stop.abort();
    expect([await sending, killed.saved.at(-1) ?? null]).toEqual(['interrupted', state]);
    await remote.put(path(file), bytesSource(big), { kind: 'if_absent' }, {}, session(state));
    expect((await readAll(honest, file)).equals(big)).toBe(true);
  });

  it('forgets that it was on its way when it was refused', async () => {
    const file = fresh();
    const refused = session();
    proxy.add({ method: 'PUT', fault: { kind: 'answer', status: 403 } });
    const sending = remote.put(path(file), bytesSource(Buffer.alloc(300_000)), { kind: 'if_absent' }, {}, refused);
    expect(await codeOf(sending)).toBe('no_access');
    expect(refused.saved.at(-1) ?? null).toBeNull();
  });

  it('takes what somebody else has put there for no half of its own', async () => {
    const file = fresh();
    const { etag } = await put(honest, file, 'base');
    const match: Precondition = { kind: 'if_match', etag: etag ?? '' };
    await put(honest, file, 'ours', match);
    // Nothing of ours was cut off: the beginning of ours is theirs.
    expect(await codeOf(put(remote, file, 'ours and more', match))).toBe('precondition');
    expect((await readAll(honest, file)).toString()).toBe('ours');
    const cut = session(JSON.stringify({ cut: true }));
    expect(await codeOf(remote.put(path(file), bytesSource('other bytes'), match, {}, cut))).toBe('precondition');
    expect((await readAll(honest, file)).toString()).toBe('ours');
  });

  it('does not take content of the same size for its own', async () => {
    const file = fresh();
    const { etag } = await put(honest, file, 'base');
    const match: Precondition = { kind: 'if_match', etag: etag ?? '' };
    proxy.add({ method: 'PUT', fault: { kind: 'reset' } });
    proxy.add({ method: 'UNLOCK', times: 1, fault: { kind: 'latency', delay_ms: 300 } });
    proxy.add({ method: 'UNLOCK', times: 1, fault: { kind: 'lost_answer' } });
    const call = codeOf(put(remote, file, 'ours', match));
    await eventually('the end of the first try', () => proxy.count('UNLOCK') > 0);
    await eventually(
      'the moment between two tries',
      async () => (await codeOf(put(honest, file, 'them', match))) === 'no error',
    );
    expect(await call).not.toBe('no error');
    proxy.clear();
    expect(await codeOf(put(remote, file, 'ours', match))).toBe('precondition');
    expect((await readAll(honest, file)).toString()).toBe('them');
  });

  it('leaves no empty file and no lock behind when an upload does not arrive', async () => {
    const file = fresh();
    proxy.add({ method: 'PUT', fault: { kind: 'reset' } });
    expect(await codeOf(put(remote, file, 'never'))).toBe('network');
    proxy.clear();
    expect(await codeOf(honest.stat(path(file)))).toBe('not_found');
    expect(await readdir(server.root)).not.toContain(file);
    await put(honest, file, 'free');
    expect((await readAll(remote, file)).toString()).toBe('free');
  });

  // rclone shows nobody which locks there are: there such a lock runs out, after two minutes.
  const asApache = kind === 'apache' ? it : it.fails;
  asApache('is not kept out by its own locks, when their answers were lost or their owner was killed', async () => {
    const dir = fresh();
    await honest.mkdir(path(dir), {});
    const file = `${dir}/file`;
    const { etag } = await put(honest, file, 'one');
    const match: Precondition = { kind: 'if_match', etag: etag ?? '' };
    // The same cache in a process that dies before it can give its lock back.
    const root = new URL(server.url).pathname;
    const options = { url: proxy.url + root, auth: { kind: 'none' } as const, timeout_ms: 1000, instance: 'one cache' };
    const killed = createRemote(options);
    await killed.connect();
    proxy.add({ method: 'PUT', fault: { kind: 'silence' } });
    proxy.add({ method: 'UNLOCK', fault: { kind: 'silence' } });
    expect(await codeOf(put(killed, file, 'two', match))).not.toBe('no error');
    await killed.close();
    proxy.clear();
    expect(await codeOf(put(honest, file, 'no', match))).toBe('locked');
    const again = createRemote(options);
    await again.connect();
    await again.move(path(dir), path(`${dir}-moved`), { overwrite: null, sourceEtag: null });
    proxy.add({ method: 'LOCK', times: 1, fault: { kind: 'lost_answer' } });
    const moved = `${dir}-moved/file`;
    await put(again, moved, 'two', match).catch(() => undefined);
    if ((await readAll(honest, moved)).toString() === 'one') await put(again, moved, 'two', match);
    expect((await readAll(honest, moved)).toString()).toBe('two');
    await again.close();
  });

  it('finds out what became of a move and a removal', async () => {
    const [file, moved] = [fresh(), fresh()];
    const { etag } = await put(honest, file, 'content');
    proxy.add({ method: 'MOVE', times: 1, fault: { kind: 'lost_answer' } });
    await remote.move(path(file), path(moved), { overwrite: null, sourceEtag: etag });
    expect(await codeOf(honest.stat(path(file)))).toBe('not_found');
    const there = await honest.stat(path(moved));
    proxy.add({ method: 'DELETE', times: 1, fault: { kind: 'lost_answer' } });
    expect(['no error', 'not_found']).toContain(await codeOf(remote.remove(path(moved), there.etag)));
    expect(await codeOf(honest.stat(path(moved)))).toBe('not_found');
  });
});
