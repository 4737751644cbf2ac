// nginx and lighttpd where something goes wrong, or takes long.

import { mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createRemote, type WebdavRemote } from '../../../src/remote/connect.js';
import {
  bytesSource,
  codeOf,
  listAll,
  movesOverLocked,
  path,
  put,
  readAll,
  session,
} from '../../contract/remote_contract.js';
import { FaultProxy } from '../../support/fault_proxy.js';
import { eventually } from '../../support/processes.js';
import { type SmallServer, startLighttpd, startNginx } from '../../support/small_dav_servers.js';

const ACCOUNT = { user: 'alice', password: 'pass word' };

describe.each(['nginx', 'lighttpd'] as const)('%s', (kind) => {
  let server: SmallServer;
  let proxy: FaultProxy;
  let remote: WebdavRemote;
  let other: WebdavRemote;
  let counter = 0;
  const fresh = () => `f${++counter}`;

  beforeAll(async () => {
    server = await (kind === 'nginx' ? startNginx : startLighttpd)({ ...ACCOUNT, lock_s: 2 });
    proxy = await FaultProxy.open({ targetPort: server.port });
    remote = createRemote({ url: proxy.url, auth: ACCOUNT, lockOwner: 'the first', timeout_ms: 4000 });
    other = createRemote({ url: server.url, auth: ACCOUNT, lockOwner: 'the second' });
    await remote.connect();
    await other.connect();
  });
  afterAll(async () => {
    await remote.close();
    await other.close();
    await proxy.close();
    await server.stop();
  });
  afterEach(() => {
    proxy.clear();
    proxy.requests.length = 0;
  });

  it('moves over a file although the first try is not answered', async () => {
    const [from, to] = [fresh(), fresh()];
    await put(remote, from, 'ours');
    await put(remote, to, 'replaced');
    const etag = (await remote.stat(path(to))).etag ?? '';
    proxy.add({ method: 'MOVE', times: 1, fault: { kind: 'answer', status: 503 } });
    await remote.move(path(from), path(to), { overwrite: { etag }, sourceEtag: null });
    expect((await readAll(other, to)).toString()).toBe('ours');
  });

  it.each(['what is moved', 'what is replaced', 'both'] as const)(
    'moves a file over another, locked by us: %s',
    (which) => movesOverLocked({ remote, other }, fresh(), fresh(), which),
  );

  it('lets nobody be overwritten by what takes long to send', async () => {
    const file = fresh();
    const { etag } = await put(remote, file, 'base');
    const size_bytes = 300_000;
    const source = {
      size_bytes,
      async *open() {
        yield Buffer.alloc(size_bytes - 1, 'o');
        await sleep(4000);
        yield Buffer.from('!');
      },
    };
    const sending = remote.put(path(file), source, { kind: 'if_match', etag: etag ?? '' }, {}, session());
    await sleep(3000);
    const theirs = await codeOf(put(other, file, 'theirs', { kind: 'if_match', etag: etag ?? '' }));
    // One of two: lighttpd takes no lock but checks when all has arrived.
    expect([theirs, await codeOf(sending)]).toEqual(
      kind === 'nginx' ? ['locked', 'no error'] : ['no error', 'precondition'],
    );
    expect((await other.stat(path(file))).size_bytes).toBe(kind === 'nginx' ? size_bytes : 'theirs'.length);
  });

  it('leaves nothing behind that keeps others from a file it was changing when it was cut off', async () => {
    const file = fresh();
    const { etag } = await put(remote, file, 'base');
    proxy.add({ method: 'UNLOCK', times: 9, fault: { kind: 'reset' } }); // as if killed after the change
    await put(remote, file, 'ours', { kind: 'if_match', etag: etag ?? '' });
    const now = (await other.stat(path(file))).etag ?? '';
    // nginx has a lock until it runs out.
    const theirs = () => codeOf(put(other, file, 'theirs', { kind: 'if_match', etag: now }));
    await eventually('the file to be free', theirs, (code) => code !== 'locked', kind === 'nginx' ? 10_000 : 0);
    expect((await readAll(other, file)).toString()).toBe('theirs');
  });
});

describe('nginx, which takes a new lock where one that is refreshed is gone', () => {
  it('says the token of that', async () => {
    const server = await startNginx(ACCOUNT);
    const remote = createRemote({ url: server.url, auth: ACCOUNT, lockOwner: 'the first' });
    await remote.connect();
    const { etag } = await put(remote, 'file', 'base');
    const { token } = await remote.lock(path('file'));
    await remote.unlock(path('file'), token ?? '');
    const again = await remote.refreshLock(path('file'), token ?? '');
    expect(again.token).not.toBe(token);
    await remote.put(path('file'), bytesSource('ours'), { kind: 'if_match', etag: etag ?? '' }, {}, session(), {
      lockToken: again.token ?? '',
    });
    await remote.unlock(path('file'), again.token ?? '');
    expect((await remote.stat(path('file'))).lock).toBe(null);
    await remote.close();
    await server.stop();
  });
});

describe('nginx, which does not list names that begin with a dot', () => {
  let server: SmallServer;
  let remote: WebdavRemote;

  beforeAll(async () => {
    server = await startNginx(ACCOUNT);
    remote = createRemote({ url: server.url, auth: ACCOUNT, lockOwner: 'the first' });
    await remote.connect();
  });
  afterAll(async () => {
    await remote.close();
    await server.stop();
  });

  it('loses none of them with the folder that looks empty', async () => {
    const long = 'ü'.repeat(127);
    for (const name of ['project', 'project', long]) {
      await mkdir(join(server.root, name));
      await writeFile(join(server.root, name, '.env'), `of ${name}`);
      await remote.remove(path(name), null);
      expect(await codeOf(remote.stat(path(name)))).toBe('not_found');
    }
    const kept = join(server.root, '.cloudmount-removed');
    const contents = await Promise.all((await readdir(kept)).map((name) => readFile(join(kept, name, '.env'), 'utf8')));
    expect(contents.sort()).toEqual(['of project', 'of project', `of ${long}`]);
    const listed = [];
    for await (const batch of remote.list(path(''))) listed.push(...batch.map((entry) => entry.path));
    expect(listed).toEqual(['']);
  });
});

it.each(['nginx', 'lighttpd'] as const)(
  '%s: a file of the first second of 1970 is one, also an empty one',
  async (kind) => {
    const server = await (kind === 'nginx' ? startNginx : startLighttpd)(ACCOUNT);
    const remote = createRemote({ url: server.url, auth: ACCOUNT });
    try {
      await mkdir(join(server.root, 'old'));
      for (const [name, content] of [
        ['empty', ''],
        ['full', 'base'],
      ] as const) {
        await writeFile(join(server.root, 'old', name), content);
        await utimes(join(server.root, 'old', name), 0, 0);
      }
      await remote.connect();
      expect((await listAll(remote, 'old')).map((entry) => entry.path).sort()).toEqual([
        'old',
        'old/empty',
        'old/full',
      ]);
      expect(await codeOf(put(remote, 'old/empty', 'ours'))).toBe('precondition');
      const { etag } = await remote.stat(path('old/full'));
      expect((await readAll(remote, 'old/full')).toString()).toBe('base');
      await put(remote, 'old/full', 'changed', { kind: 'if_match', etag: etag ?? 'none' });
      await remote.remove(path('old/full'), (await remote.stat(path('old/full'))).etag);
      expect(await codeOf(remote.remove(path('old'), null))).toBe('not_empty');
    } finally {
      await remote.close();
      await server.stop();
    }
  },
);

describe('lighttpd that makes no ETags in one folder', () => {
  let server: SmallServer;
  let remote: WebdavRemote;

  beforeAll(async () => {
    server = await startLighttpd({ ...ACCOUNT, untagged: 'plain' });
    await mkdir(join(server.root, 'plain'));
    remote = createRemote({ url: server.url, auth: ACCOUNT, lockOwner: 'the first' });
    await remote.connect();
  });
  afterAll(async () => {
    await remote.close();
    await server.stop();
  });

  it('overwrites nothing there that somebody else has made', async () => {
    await writeFile(join(server.root, 'plain', 'new.txt'), 'theirs');
    expect(await codeOf(put(remote, 'plain/new.txt', 'ours', { kind: 'if_absent' }))).toBe('precondition');
    expect((await readAll(remote, 'plain/new.txt')).toString()).toBe('theirs');
  });

  it('replaces there the version that is known, and no other', async () => {
    const { etag } = await put(remote, 'plain/known.txt', 'base', { kind: 'if_absent' });
    const next = await put(remote, 'plain/known.txt', 'longer', { kind: 'if_match', etag: etag ?? '' });
    await writeFile(join(server.root, 'plain', 'known.txt'), 'theirs, longer');
    for (const old of [etag, next.etag, '"a tag of before"'])
      expect(await codeOf(put(remote, 'plain/known.txt', 'ours', { kind: 'if_match', etag: old ?? '' }))).toBe(
        'precondition',
      );
    expect((await readAll(remote, 'plain/known.txt')).toString()).toBe('theirs, longer');
  });

  it('of two who make the same file there at once one is told', async () => {
    const other = createRemote({ url: server.url, auth: ACCOUNT, lockOwner: 'the second' });
    await other.connect();
    for (let i = 0; i < 20; i += 1) {
      const both = [remote, other].map((one, at) => codeOf(put(one, `plain/${i}`, `by ${at}`, { kind: 'if_absent' })));
      expect((await Promise.all(both)).filter((code) => code === 'no error')).toHaveLength(1);
    }
    await other.close();
  });
});
