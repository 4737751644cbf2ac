// The cache end to end, without a kernel: local changes reach the server, the server's reach the drive, and nothing is
// lost where they meet.

import { afterEach, describe, expect, it } from 'vitest';
import { type Clock, systemClock } from '../../../src/clock.js';
import { GENERIC } from '../../support/capabilities.js';
import { FakeRemote, FakeServer } from '../../support/fake_remote.js';
import { CALLER, TestCache } from '../../support/test_cache.js';

const open: TestCache[] = [];

async function start(options: Parameters<typeof TestCache.open>[0] = {}): Promise<TestCache> {
  const cache = await TestCache.open(options);
  open.push(cache);
  return cache;
}

afterEach(async () => {
  for (const cache of open.splice(0)) {
    const problems = await cache.check().catch((error: unknown) => [`check failed: ${String(error)}`]);
    await cache.close();
    expect(problems).toEqual([]);
  }
});

for (const dialect of ['cloudmount', 'generic'] as const) {
  const capabilities = dialect === 'generic' ? GENERIC : {};
  const remoteFor = (server = new FakeServer()) => new FakeRemote(server, { capabilities });
  describe(`the cache on a ${dialect} server`, () => {
    it('shows what the server has and reads it', async () => {
      const remote = remoteFor();
      remote.server.mkdir('docs');
      remote.server.write('docs/a.txt', 'hello');
      const drive = await start({ remote });
      await drive.until('the tree is here', async () => (await drive.node('docs/a.txt')) !== null);
      expect(await drive.list('docs')).toEqual(['a.txt']);
      expect(await drive.read('docs/a.txt')).toBe('hello');
    });

    it('sends what waits for its quiet time when it is told to, and waits for nothing', async () => {
      const drive = await start({ remote: remoteFor(), quiet_ms: 60_000 });
      await drive.mkdir('a');
      await drive.write('a/x.txt', 'one');
      await drive.write('b.txt', 'two');
      drive.cache.sendNow('a');
      await drive.until('it is there', async () => drive.server.paths().includes('a/x.txt'));
      expect(drive.server.paths()).not.toContain('b.txt');
    });

    it('sends what is written, made, renamed and removed', async () => {
      const drive = await start({ remote: remoteFor() });
      await drive.mkdir('a');
      await drive.mkdir('a/b');
      await drive.write('a/b/x.txt', 'one');
      await drive.flush();
      expect(drive.server.text('a/b/x.txt')).toBe('one');
      await drive.write('a/b/x.txt', 'two');
      await drive.rename('a/b/x.txt', 'a/y.txt');
      await drive.rmdir('a/b');
      await drive.flush();
      expect(drive.server.paths().sort()).toEqual(['a', 'a/y.txt']);
      expect(drive.server.text('a/y.txt')).toBe('two');
      await drive.unlink('a/y.txt');
      await drive.rmdir('a');
      await drive.flush();
      expect(drive.server.paths()).toEqual([]);
    });

    it('sends nothing for what was made and removed again', async () => {
      const drive = await start({ remote: remoteFor(), quiet_ms: 300 });
      await drive.write('tmp.txt', 'x');
      await drive.unlink('tmp.txt');
      await drive.flush();
      expect(drive.remote.count('put')).toBe(0);
      expect(drive.remote.count('remove')).toBe(0);
    });

    it('an atomic save becomes new content of the target', async () => {
      const remote = remoteFor();
      const before = remote.server.write('doc.txt', 'old');
      const drive = await start({ remote, quiet_ms: 200 });
      await drive.until('doc.txt is here', async () => (await drive.node('doc.txt')) !== null);
      await drive.write('.doc.txt.tmp', 'new');
      await drive.rename('.doc.txt.tmp', 'doc.txt');
      await drive.flush();
      expect(drive.server.text('doc.txt')).toBe('new');
      expect(drive.server.entry('doc.txt')?.fileid).toBe(before.fileid);
      expect(drive.remote.count('move')).toBe(0);
      expect(drive.server.paths()).toEqual(['doc.txt']);
    });

    it("vim's way of saving keeps the identity too", async () => {
      const remote = remoteFor();
      const before = remote.server.write('doc.txt', 'old');
      const drive = await start({ remote, quiet_ms: 200 });
      await drive.until('doc.txt is here', async () => (await drive.node('doc.txt')) !== null);
      await drive.rename('doc.txt', 'doc.txt~');
      await drive.write('doc.txt', 'new');
      await drive.unlink('doc.txt~');
      await drive.flush();
      expect(drive.server.text('doc.txt')).toBe('new');
      expect(drive.server.entry('doc.txt')?.fileid).toBe(before.fileid);
      expect(drive.server.paths()).toEqual(['doc.txt']);
    });

    it('a pinned file stays pinned when an editor saves it, either way', async () => {
      const drive = await start({ remote: remoteFor(), quiet_ms: 200 });
      await drive.write('doc.txt', 'old');
      await drive.flush();
      drive.cache.pin('doc.txt');
      await drive.write('.doc.txt.tmp', 'new');
      await drive.rename('.doc.txt.tmp', 'doc.txt');
      expect(drive.cache.pins().map(({ path }) => path)).toEqual(['doc.txt']);
      await drive.rename('doc.txt', 'doc.txt~');
      await drive.write('doc.txt', 'newer');
      await drive.unlink('doc.txt~');
      await drive.flush();
      expect(drive.cache.pins().map(({ path }) => path)).toEqual(['doc.txt']);
      expect(drive.cache.free('doc.txt')).toMatchObject({ freed_bytes: 0, kept: [{ reason: 'it is pinned' }] });
    });

    it('never overwrites: both versions are kept when both sides changed', async () => {
      const remote = remoteFor();
      remote.server.write('doc.txt', 'base');
      const drive = await start({ remote, quiet_ms: 300 });
      await drive.until('doc.txt is here', async () => (await drive.node('doc.txt')) !== null);
      await drive.write('doc.txt', 'mine');
      drive.server.write('doc.txt', 'theirs');
      await drive.flush();
      const names = await drive.list();
      const copy = names.find((name) => name.includes('(conflict anna@desk '));
      expect(drive.server.text('doc.txt')).toBe('theirs');
      expect(copy).toBeDefined();
      expect(drive.server.text(copy ?? '')).toBe('mine');
      expect(await drive.read('doc.txt')).toBe('theirs');
      expect(drive.cache.conflicts()).toHaveLength(1);
      await drive.cache.resolve('doc.txt', 'mine');
      await drive.flush();
      expect(drive.server.paths()).toEqual(['doc.txt']);
      expect(drive.server.text('doc.txt')).toBe('mine');
    });

    it('the same content on both sides is no conflict', async () => {
      const remote = remoteFor();
      const drive = await start({ remote, quiet_ms: 300 });
      await drive.write('new.txt', 'same');
      drive.server.write('new.txt', 'same');
      await drive.flush();
      expect(drive.cache.conflicts()).toEqual([]);
      expect(drive.server.paths()).toEqual(['new.txt']);
    });

    it('edit against delete: the edit wins', async () => {
      const remote = remoteFor();
      remote.server.write('doc.txt', 'base');
      const drive = await start({ remote, quiet_ms: 300 });
      await drive.until('doc.txt is here', async () => (await drive.node('doc.txt')) !== null);
      await drive.write('doc.txt', 'mine');
      drive.server.remove('doc.txt');
      await drive.flush();
      expect(drive.server.text('doc.txt')).toBe('mine');
    });

    it('what a dropped deletion shows again can be read at once', async () => {
      const remote = new FakeRemote(new FakeServer(), { capabilities: { changeFeed: false, push: false } });
      const drive = await TestCache.open({ remote });
      try {
        drive.server.write('f', 'base');
        expect(await drive.read('f')).toBe('base');
        remote.goOffline();
        await drive.unlink('f');
        drive.server.write('f', 'theirs');
        remote.goOnline();
        remote.latency_ms = 50;
        await drive.flush();
        expect(await drive.read('f')).toBe('theirs');
      } finally {
        await drive.close();
      }
    });

    it('delete against edit: the deletion is dropped', async () => {
      const remote = remoteFor();
      remote.server.write('doc.txt', 'base');
      const drive = await start({ remote, quiet_ms: 300 });
      await drive.until('doc.txt is here', async () => (await drive.node('doc.txt')) !== null);
      await drive.unlink('doc.txt');
      drive.server.write('doc.txt', 'theirs');
      await drive.until('nothing is pending', () => drive.cache.status().queue.length === 0);
      expect(drive.server.text('doc.txt')).toBe('theirs');
      await drive.until('it is back', async () => (await drive.node('doc.txt')) !== null);
      expect(await drive.read('doc.txt')).toBe('theirs');
    });

    it('a directory removed there comes back for the edits inside', async () => {
      const remote = remoteFor();
      remote.server.mkdir('d');
      remote.server.write('d/a.txt', 'base');
      remote.server.write('d/b.txt', 'clean');
      const drive = await start({ remote, quiet_ms: 300 });
      await drive.until('d/b.txt is here', async () => (await drive.node('d/b.txt')) !== null);
      await drive.write('d/a.txt', 'mine');
      drive.server.remove('d');
      await drive.flush();
      expect(drive.server.text('d/a.txt')).toBe('mine');
    });

    it('a change of a part of a file whose version is gone is kept, and never sent with zeros', async () => {
      const remote = remoteFor();
      remote.server.write('big.txt', Buffer.alloc(3_000_000, 'x'));
      const drive = await start({ remote });
      await drive.until('big.txt is here', async () => (await drive.node('big.txt')) !== null);
      remote.goOffline();
      await drive.until('it is offline', async () => {
        await drive.read('big.txt').catch(() => undefined);
        return drive.cache.status().connection === 'offline';
      });
      const file = await drive.open('big.txt', 'r+');
      await file.write(3_000_000, Buffer.from('the end'), CALLER);
      await file.flush(CALLER);
      file.release();
      remote.server.remove('big.txt');
      remote.goOnline();
      await drive.cache.reconnect();
      await drive.until('the reason is shown', () =>
        drive.cache.status().queue.some((item) => item.error?.includes('only a part') === true),
      );
      expect(drive.server.paths()).toEqual([]);
      const again = await drive.open('big.txt');
      expect(Buffer.from(await again.read(3_000_000, 100, CALLER)).toString()).toBe('the end');
      await expect((async () => again.read(0, 100, CALLER))()).rejects.toMatchObject({ code: 'stale' });
      again.release();
      await drive.cache.discard('big.txt');
      expect(await drive.list()).toEqual([]);
    });

    it('a handle keeps reading the version it opened', async () => {
      const remote = remoteFor();
      remote.server.write('doc.txt', 'first version');
      const drive = await start({ remote });
      await drive.until('doc.txt is here', async () => (await drive.node('doc.txt')) !== null);
      const file = await drive.open('doc.txt');
      expect(Buffer.from(await file.read(0, 100, CALLER)).toString()).toBe('first version');
      drive.server.write('doc.txt', 'second version, longer');
      await drive.until('the new version shows', async () => (await drive.must('doc.txt')).size_bytes === 22);
      expect(Buffer.from(await file.read(0, 100, CALLER)).toString()).toBe('first version');
      expect(await drive.read('doc.txt')).toBe('second version, longer');
      file.release();
    });

    it('what is written through a handle whose file has changed on the server is kept beside it', async () => {
      const remote = remoteFor();
      remote.server.write('doc.txt', 'one\n');
      const drive = await start({ remote });
      await drive.until('doc.txt is here', async () => (await drive.node('doc.txt')) !== null);
      const file = await drive.open('doc.txt', 'r+');
      expect(Buffer.from(await file.read(0, 100, CALLER)).toString()).toBe('one\n');
      drive.server.write('doc.txt', 'one\nmore\n');
      await drive.until('the new version shows', async () => (await drive.must('doc.txt')).size_bytes === 9);
      await file.write(4, Buffer.from('mine\n'), CALLER);
      await file.fsync(CALLER);
      await file.write(9, Buffer.from('and this\n'), CALLER);
      await file.flush(CALLER);
      file.release();
      await drive.flush();
      const texts = drive.server.paths().map((path) => drive.server.text(path));
      expect(texts.sort()).toEqual(['one\nmine\nand this\n', 'one\nmore\n']);
      expect(drive.server.text('doc.txt')).toBe('one\nmore\n');
      expect(drive.cache.conflicts()).toHaveLength(1);
    });

    it('what is written through a handle whose file was removed on the server comes back', async () => {
      const remote = remoteFor();
      remote.server.mkdir('dir');
      remote.server.write('dir/doc.txt', 'one\n');
      const drive = await start({ remote });
      await drive.until('doc.txt is here', async () => (await drive.node('dir/doc.txt')) !== null);
      const file = await drive.open('dir/doc.txt', 'r+');
      await file.read(0, 100, CALLER);
      drive.server.remove('dir/doc.txt');
      await drive.until('it is gone', async () => (await drive.node('dir/doc.txt')) === null);
      await file.write(4, Buffer.from('mine\n'), CALLER);
      await file.flush(CALLER);
      file.release();
      await drive.flush();
      expect(drive.server.text('dir/doc.txt')).toBe('one\nmine\n');
    });

    it('a write that would need bytes of a version that is gone fails, and nothing is made up', async () => {
      const remote = remoteFor();
      remote.server.write('doc.txt', 'one\n');
      const drive = await start({ remote });
      await drive.until('doc.txt is here', async () => (await drive.node('doc.txt')) !== null);
      const file = await drive.open('doc.txt', 'r+');
      drive.server.write('doc.txt', 'one\nmore\n');
      await drive.until('the new version shows', async () => (await drive.must('doc.txt')).size_bytes === 9);
      await expect((async () => file.write(4, Buffer.from('mine\n'), CALLER))()).rejects.toMatchObject({
        code: 'stale',
      });
      file.release();
      await drive.flush();
      expect(drive.server.paths()).toEqual(['doc.txt']);
    });

    it('swapped names arrive', async () => {
      const remote = remoteFor();
      remote.server.write('a', 'A');
      remote.server.write('b', 'B');
      const drive = await start({ remote, quiet_ms: 200 });
      await drive.until('b is here', async () => (await drive.node('b')) !== null);
      await drive.rename('a', 'b', 'exchange');
      await drive.flush();
      expect(drive.server.paths().sort()).toEqual(['a', 'b']);
      expect(drive.server.text('a')).toBe('B');
      expect(drive.server.text('b')).toBe('A');
    });

    it('swapped names arrive while another device is in the middle of swapping its own', async () => {
      const remote = remoteFor();
      const { server } = remote;
      server.write('a', 'A');
      server.write('b', 'B');
      const drive = await start({ remote, quiet_ms: 200 });
      await drive.until('b is here', async () => (await drive.node('b')) !== null);
      // What it has set aside on the server, whatever number it calls it by.
      for (let i = 2; i < 9; i += 1) server.write(`.cloudmount-swap-${i}`, 'theirs');
      await drive.rename('a', 'b', 'exchange');
      await drive.flush('', 4_000);
      expect([server.text('a'), server.text('b')]).toEqual(['B', 'A']);
    });

    it('what is removed here in the middle of a swap and changed elsewhere comes back under a name that means something', async () => {
      const remote = remoteFor();
      const { server } = remote;
      server.write('a', 'A');
      server.write('b', 'B');
      const drive = await start({ remote, quiet_ms: 200 });
      await drive.until('b is here', async () => (await drive.node('b')) !== null);
      const unhook = remote.after('move', async () => {
        unhook();
        const [aside = ''] = server.paths().filter((path) => path.startsWith('.cloudmount-swap-'));
        const wasA = server.text(aside) === 'A';
        await drive.unlink(wasA ? 'b' : 'a');
        server.write(aside, 'changed elsewhere');
      });
      await drive.rename('a', 'b', 'exchange');
      await drive.flush();
      const names = server.paths();
      expect(names.filter((path) => path.startsWith('.'))).toEqual([]);
      expect(names.map((path) => server.text(path))).toContain('changed elsewhere');
      for (const name of names) expect(await drive.read(name)).toBe(server.text(name));
    });

    it('a rename whose answer is lost is known, although somebody has made a new file of the old name since', async () => {
      const remote = remoteFor();
      const { server } = remote;
      const drive = await start({ remote });
      await drive.write('a', 'one');
      await drive.flush();
      remote.failNext('move', 'network', { when: 'after' });
      const unhook = remote.after('move', () => {
        unhook();
        server.write('a', 'theirs');
      });
      await drive.rename('a', 'b');
      await drive.flush();
      expect(server.paths().map((path) => [path, server.text(path)])).toEqual([
        ['a', 'theirs'],
        ['b', 'one'],
      ]);
      await drive.until('theirs shows', async () => (await drive.node('a')) !== null);
      expect([await drive.read('a'), await drive.read('b')]).toEqual(['theirs', 'one']);
    });

    it('what a program exchanges with its temporary file is sent', async () => {
      const drive = await start({ remote: remoteFor() });
      await drive.write('doc.txt', 'old');
      await drive.flush();
      await drive.write('.goutputstream-ABCDEF', 'new');
      await drive.rename('.goutputstream-ABCDEF', 'doc.txt', 'exchange');
      await drive.unlink('.goutputstream-ABCDEF');
      await drive.flush();
      expect(drive.server.paths()).toEqual(['doc.txt']);
      expect(drive.server.text('doc.txt')).toBe('new');
    });

    it('what gets a name that is not sent while it is being sent is removed there, too', async () => {
      const drive = await start({ remote: remoteFor() });
      const done = drive.remote.after('put', async () => {
        done();
        await drive.rename('doc.txt', '.fuse_hidden0001');
      });
      await drive.write('doc.txt', 'one');
      await drive.until('it is renamed', async () => (await drive.node('.fuse_hidden0001')) !== null);
      await drive.unlink('.fuse_hidden0001');
      await drive.flush();
      expect(drive.server.paths()).toEqual([]);
    });

    it('attributes of the user stay, whether the server can hold them or not', async () => {
      const drive = await start({ remote: remoteFor() });
      await drive.write('doc.txt', 'text');
      await drive.flush();
      const { ino } = await drive.must('doc.txt');
      await drive.cache.setXattr(ino, 'user.tag', Buffer.from('red'), 'set', CALLER);
      await drive.flush();
      drive.server.write('beside.txt', 'makes another listing');
      await drive.until('it is listed', async () => (await drive.node('beside.txt')) !== null);
      expect(drive.cache.getXattr(ino, 'user.tag', CALLER).toString()).toBe('red');
    });

    it('works offline and catches up', async () => {
      const remote = remoteFor();
      remote.server.write('here.txt', 'cached');
      remote.server.write('cloud.txt', 'not cached');
      const drive = await start({ remote });
      await drive.until('the tree is here', async () => (await drive.node('here.txt')) !== null);
      expect(await drive.read('here.txt')).toBe('cached');
      await drive.list();
      remote.goOffline();
      await drive.until('it is offline', async () => {
        await drive.read('cloud.txt').catch(() => undefined);
        return drive.cache.status().connection === 'offline';
      });
      await expect(drive.read('cloud.txt')).rejects.toMatchObject({ code: 'offline' });
      expect(await drive.read('here.txt')).toBe('cached');
      await drive.mkdir('new');
      await drive.write('new/x.txt', 'made offline');
      await drive.rename('here.txt', 'new/here.txt');
      remote.server.write('meanwhile.txt', 'by somebody else');
      remote.goOnline();
      await drive.cache.reconnect();
      await drive.until('it is online', () => drive.cache.status().connection === 'online');
      await drive.flush();
      expect(drive.server.text('new/x.txt')).toBe('made offline');
      expect(drive.server.text('new/here.txt')).toBe('cached');
      await drive.until('the other change shows', async () => (await drive.node('meanwhile.txt')) !== null);
    });

    it('starts offline from what it knew, with the queue intact', async () => {
      const remote = remoteFor();
      remote.server.write('here.txt', 'cached');
      const first = await TestCache.open({ remote, quiet_ms: 60_000 });
      await first.until('the tree is here', async () => (await first.node('here.txt')) !== null);
      expect(await first.read('here.txt')).toBe('cached');
      await first.write('queued.txt', 'not yet sent');
      const ino = (await first.must('here.txt')).ino;
      await first.close();
      remote.goOffline();
      const again = await start({ remote, dir: first.dir });
      expect(await again.list()).toEqual(['here.txt', 'queued.txt']);
      expect((await again.must('here.txt')).ino).toBe(ino);
      expect(await again.read('here.txt')).toBe('cached');
      expect(await again.read('queued.txt')).toBe('not yet sent');
      remote.goOnline();
      await again.cache.reconnect();
      await again.until('it is online', () => again.cache.status().connection === 'online');
      await again.flush();
      expect(again.server.text('queued.txt')).toBe('not yet sent');
    });
  });
}

describe('a flush that takes long to look through the queue', () => {
  it('pauses, two seconds at most, while everything is sent, and then looks again', async () => {
    const pauses: { readonly delay_ms: number; readonly end: () => void }[] = [];
    let look_ms = 0; // what passes between two looks at the clock
    let passed_ms = 0;
    const clock: Clock = {
      now_ms: () => systemClock.now_ms(),
      timestamp: () => systemClock.timestamp(),
      monotonic_ms: () => {
        passed_ms += look_ms;
        return systemClock.monotonic_ms() + passed_ms;
      },
      sleep: (delay_ms, signal) =>
        delay_ms < 1_000
          ? systemClock.sleep(delay_ms, signal)
          : new Promise((end) => {
              pauses.push({ delay_ms, end });
            }),
    };
    const drive = await start({ quiet_ms: 60_000, clock });
    for (let i = 0; i < 50; i += 1) await drive.write(`f${i}`, `${i}`);
    pauses.length = 0; // opening had one, too
    let flushed = false;
    look_ms = 1_000;
    const flush = drive.flush().then(() => {
      flushed = true;
    });
    look_ms = 0; // the first look is over
    await drive.until('it pauses', () => pauses.length > 0);
    await drive.until('all is sent', () => drive.cache.status().queue.length === 0);
    expect(drive.server.paths()).toHaveLength(50);
    expect(flushed).toBe(false);
    expect(pauses.map(({ delay_ms }) => delay_ms)).toEqual([2_000]);
    pauses[0]?.end();
    await flush;
  });
});

it('a time of 1970 or before that a server stores is shown, also of what is new here', async () => {
  const remote = new FakeRemote(new FakeServer());
  remote.server.write('epoch', 'x', { mtime: { s: 0, ns: 0 } });
  remote.server.write('before', 'x', { mtime: { s: -100, ns: 5 } });
  remote.server.write('since', 'x');
  const drive = await start({ remote });
  await drive.until('the tree is here', async () => (await drive.node('since')) !== null);
  expect((await drive.must('epoch')).mtime).toEqual({ s: 0, ns: 0 });
  expect((await drive.must('before')).mtime).toEqual({ s: -100, ns: 5 });
  remote.server.setMeta('since', { mtime: { s: 0, ns: 0 } });
  await drive.until('it is told', async () => (await drive.must('since')).mtime.s === 0);
});

describe('a new version of a file that is open', () => {
  it('keeps what was changed here besides its bytes', async () => {
    const drive = await start({ quiet_ms: 400 });
    await drive.write('run.sh', 'one');
    await drive.flush();
    const { ino } = await drive.must('run.sh');
    const reader = await drive.open('run.sh');
    await drive.cache.setattr(ino, { mode: 0o755, mtime: { s: 1_000_000_000, ns: 5 } }, CALLER);
    await drive.cache.setXattr(ino, 'user.tag', Buffer.from('red'), 'set', CALLER);
    drive.server.write('run.sh', 'another');
    await drive.until('it is here', async () => (await drive.must('run.sh')).ino !== ino);
    await drive.flush();
    reader.release();
    expect(await drive.read('run.sh')).toBe('another');
    expect(await drive.must('run.sh')).toMatchObject({ mode: 0o755, mtime: { s: 1_000_000_000, ns: 5 } });
    const there = drive.server.entry('run.sh');
    expect(there).toMatchObject({ posix: { mode: 0o755 }, mtime: { s: 1_000_000_000, ns: 5 } });
    expect(there?.xattrs.get('user.tag')?.toString()).toBe('red');
  });

  it('stays listed among the conflicts', async () => {
    const drive = await start({ quiet_ms: 200 });
    await drive.write('doc.txt', 'base');
    await drive.flush();
    await drive.write('doc.txt', 'mine');
    drive.server.write('doc.txt', 'theirs');
    await drive.flush();
    const path = drive.cache.conflicts()[0]?.path ?? '';
    const { ino } = await drive.must(path);
    const reader = await drive.open(path);
    drive.server.write(path, 'edited elsewhere');
    await drive.until('it is here', async () => (await drive.must(path)).ino !== ino);
    expect(drive.cache.conflicts()).toMatchObject([{ path, original: 'doc.txt' }]);
    reader.release();
    expect(drive.cache.conflicts()).toMatchObject([{ path, original: 'doc.txt' }]);
  });
});

describe("the server's echo of our own uploads", () => {
  /** Every answer to an upload comes only after the feed has told of it. */
  async function startSlowAnswers(): Promise<TestCache> {
    const remote = new FakeRemote(new FakeServer());
    const drive = await start({ remote });
    await drive.until('the feed is followed', () => remote.count('changes') > 0);
    remote.after('put', async () => {
      const asked = remote.count('changes');
      await drive.until('the feed was asked', () => remote.count('changes') > asked);
      await new Promise((resolve) => setTimeout(resolve, 20));
    });
    return drive;
  }

  it('is not asked about', async () => {
    const drive = await startSlowAnswers();
    const names = Array.from({ length: 20 }, (_, i) => `f${i}.txt`);
    for (const name of names) await drive.write(name, name);
    await drive.flush();
    expect(drive.server.paths().sort()).toEqual(names.sort());
    expect(drive.remote.count('stat')).toBe(0);
  });

  it('does not hide what somebody else wrote meanwhile', async () => {
    const drive = await startSlowAnswers();
    drive.remote.after('put', () => {
      if (drive.server.text('doc.txt') === 'mine') drive.server.write('doc.txt', 'theirs');
    });
    await drive.write('doc.txt', 'mine');
    await drive.flush();
    await drive.until('their version is here', async () => (await drive.read('doc.txt')) === 'theirs');
    expect(drive.server.text('doc.txt')).toBe('theirs');
  });
});
