// A name that was made here and on the server: ours is sent and meets theirs. If it never is, theirs must show all the same.

import { cp } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { dir as tmpDir } from 'tmp-promise';
import { afterEach, describe, expect, it } from 'vitest';
import type { OpenFile } from '../../../src/cache/cache_api.js';
import { CloudError } from '../../../src/errors.js';
import { FakeRemote } from '../../support/fake_remote.js';
import { CALLER, TestCache } from '../../support/test_cache.js';

const open: TestCache[] = [];

async function start(options: Parameters<typeof TestCache.open>[0] = {}): Promise<TestCache> {
  const drive = await TestCache.open({ quiet_ms: 60_000, ...options });
  open.push(drive);
  return drive;
}

afterEach(async () => {
  for (const drive of open.splice(0)) {
    expect(await drive.check()).toEqual([]);
    await drive.close();
  }
});

/** With `new.txt` here, which is still being written, and another one on the server, of which the feed has told. */
async function withBoth(): Promise<{ readonly drive: TestCache; readonly file: OpenFile }> {
  const drive = await start();
  const file = await drive.open('new.txt', 'w');
  await file.write(0, Buffer.from('mine'), CALLER);
  drive.server.write('new.txt', 'theirs');
  drive.server.write('beside.txt', 'x');
  await drive.until('the feed has told', async () => (await drive.node('beside.txt')) !== null);
  await sleep(100);
  expect(await drive.read('new.txt')).toBe('mine');
  return { drive, file };
}

async function close(file: OpenFile): Promise<void> {
  await file.flush(CALLER);
  file.release();
}

async function theirsShows(drive: TestCache): Promise<void> {
  await drive.until('theirs is here', async () => (await drive.node('new.txt')) !== null, 3_000);
  expect(await drive.read('new.txt')).toBe('theirs');
}

describe('of a new name that the server has, too, theirs shows', () => {
  it('when ours is removed', async () => {
    const { drive, file } = await withBoth();
    await drive.unlink('new.txt');
    await close(file);
    await theirsShows(drive);
    expect(drive.server.text('new.txt')).toBe('theirs');
  });

  it('when ours is renamed, which is sent under its new name', async () => {
    const { drive, file } = await withBoth();
    await drive.rename('new.txt', 'other.txt');
    await close(file);
    await theirsShows(drive);
    await drive.flush();
    expect(drive.server.text('new.txt')).toBe('theirs');
    expect(drive.server.text('other.txt')).toBe('mine');
  });

  it('when ours is removed after a kill', async () => {
    const { drive, file } = await withBoth();
    await file.fsync(CALLER);
    const { path: copy } = await tmpDir({ unsafeCleanup: true, prefix: 'cloudmount-test-' });
    await cp(drive.dir, copy, { recursive: true, filter: (path) => !path.endsWith('lock') });
    const again = await start({ remote: new FakeRemote(drive.server), dir: copy });
    await again.unlink('new.txt');
    await theirsShows(again);
    await close(file);
    await drive.flush();
  });

  it('when ours is removed while offline', async () => {
    const { drive, file } = await withBoth();
    drive.remote.goOffline();
    await drive.until('it is offline', () => drive.cache.status().connection === 'offline');
    await drive.unlink('new.txt');
    await close(file);
    drive.remote.goOnline();
    await drive.cache.reconnect();
    await theirsShows(drive);
  });

  it('when ours was sent without an answer, did not arrive, and is removed', async () => {
    const drive = await start({ quiet_ms: 20 });
    let removed = false;
    const done = drive.remote.before('put', async () => {
      done();
      await drive.unlink('new.txt');
      removed = true;
      drive.server.write('new.txt', 'theirs');
      throw new CloudError('network', 'the connection is gone');
    });
    await drive.write('new.txt', 'mine');
    await drive.until('ours is gone', () => removed);
    await theirsShows(drive);
  });
});

describe('of a name that stays on this machine, which the server has, too', () => {
  const LOCK = '.~lock.doc.odt#';

  async function withTheirs(): Promise<TestCache> {
    const drive = await start({ quiet_ms: 20 });
    await drive.write(LOCK, 'open here');
    drive.server.write(LOCK, 'open there');
    drive.server.write('beside.txt', 'x');
    await drive.until('the feed has told', async () => (await drive.node('beside.txt')) !== null);
    await sleep(100);
    return drive;
  }

  it('ours stays as it is, and is not sent', async () => {
    const drive = await withTheirs();
    expect(await drive.read(LOCK)).toBe('open here');
    await drive.flush();
    expect(drive.server.paths().sort()).toEqual([LOCK, 'beside.txt']);
    expect(drive.cache.conflicts()).toEqual([]);
    await drive.unlink(LOCK);
    await drive.flush();
    expect(drive.server.text(LOCK)).toBe('open there');
    await drive.until('theirs shows', async () => (await drive.node(LOCK)) !== null, 3_000);
    expect(await drive.read(LOCK)).toBe('open there');
  });

  it('theirs shows when ours is removed after a restart', async () => {
    const first = await withTheirs();
    await first.close();
    open.length = 0;
    const drive = await start({ remote: new FakeRemote(first.server), dir: first.dir });
    expect(await drive.read(LOCK)).toBe('open here');
    await drive.unlink(LOCK);
    await drive.until('theirs shows', async () => (await drive.node(LOCK)) !== null, 3_000);
    expect(await drive.read(LOCK)).toBe('open there');
  });
});

describe('a folder that was made here, and meanwhile by others', () => {
  /** What finds out: what the feed tells, or the answer to our own request. */
  for (const finds of ['feed', 'request'] as const) {
    for (const members of [['a.txt'], []] as const) {
      it(`is not put into one that they share (${members.length} in it, the ${finds} finds out)`, async () => {
        const remote = new FakeRemote();
        const { server } = remote;
        const drive = await start({ remote });
        await drive.mkdir('Photos');
        await drive.write('Photos/private.txt', 'mine');
        if (finds === 'request') remote.before('changes', () => new Promise(() => undefined));
        server.mkdir('Photos');
        server.setShared('Photos', 'in');
        for (const name of members) server.write(`Photos/${name}`, 'theirs');
        if (finds === 'feed') {
          server.write('beside.txt', 'x');
          await drive.until('the feed has told', async () => (await drive.node('beside.txt')) !== null);
        }
        await drive.flush();
        expect(server.paths().filter((path) => path.startsWith('Photos/'))).toEqual(
          members.map((name) => `Photos/${name}`),
        );
        const aside = drive.cache.conflicts()[0]?.path ?? '';
        expect(aside).toMatch(/^Photos \(conflict /);
        expect(server.text(`${aside}/private.txt`)).toBe('mine');
      });
    }
  }

  it('is one with theirs where both see it: in a share, or without any', async () => {
    const remote = new FakeRemote();
    const { server } = remote;
    server.mkdir('Shared');
    server.setShared('Shared', 'in');
    const drive = await start({ remote });
    for (const folder of ['Shared/new', 'own']) {
      await drive.mkdir(folder);
      await drive.write(`${folder}/mine.txt`, 'mine');
      server.mkdir(folder);
      if (folder !== 'own') server.setShared(folder, 'in');
      server.write(`${folder}/theirs.txt`, 'theirs');
    }
    await drive.flush();
    for (const folder of ['Shared/new', 'own']) {
      expect(server.text(`${folder}/mine.txt`)).toBe('mine');
      await drive.until('theirs is here', async () => (await drive.node(`${folder}/theirs.txt`)) !== null);
    }
    expect(drive.cache.conflicts()).toEqual([]);
  });
});
