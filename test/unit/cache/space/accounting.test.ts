// "The cache is full of dirty or pinned data → writers are slowed (back-pressure), then ENOSPC; never a lost byte." What
// the budget counts is what the contents hold and what they take on the disk, whatever happens.

import { closeSync, openSync, readSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { isCloudError } from '../../../../src/errors.js';
import { FakeRemote, FakeServer } from '../../../support/fake_remote.js';
import { gateSeeds, Random } from '../../../support/random.js';
import { CALLER, TestCache } from '../../../support/test_cache.js';

const KiB = 1024;
const open: TestCache[] = [];
afterEach(async () => {
  for (const cache of open.splice(0)) await cache.close();
});

async function start(options: Parameters<typeof TestCache.open>[0]): Promise<TestCache> {
  const cache = await TestCache.open(options);
  open.push(cache);
  return cache;
}

async function onDisk(dir: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(join(dir, 'content'), { recursive: true, withFileTypes: true })) {
    // What has been closed may be on its way out.
    const found = entry.isFile() ? await stat(join(entry.parentPath, entry.name)).catch(() => null) : null;
    total += (found?.blocks ?? 0) * 512;
  }
  return total;
}

describe.each(gateSeeds(3).map((seed) => [seed]))('SEED=%d', (seed) => {
  it('the budget counts what the contents hold and what they take on the disk', async () => {
    const random = new Random(seed);
    const remote = new FakeRemote(new FakeServer());
    for (let i = 0; i < 6; i += 1) remote.server.write(`s${i}`, random.bytes(20 * KiB + random.below(200 * KiB)));
    const limit = 700 * KiB;
    const drive = await start({ remote, sizeLimit_bytes: limit, spaceWait_ms: 100, quiet_ms: 5 });
    await drive.until('the tree is here', async () => (await drive.node('s5')) !== null);
    const names = ['s0', 's1', 's2', 's3', 's4', 's5', 'n0', 'n1', 'n2'];
    for (let step = 0; step < 150; step += 1) {
      const name = random.pick(names) ?? 'n0';
      const work = random.weighted<() => Promise<unknown>>([
        [6, () => drive.read(name)],
        [5, () => drive.write(name, random.bytes(random.below(150 * KiB)))],
        [5, () => overwrite(drive, name, random)],
        [
          3,
          async () => drive.cache.setattr((await drive.must(name)).ino, { size_bytes: random.below(90_000) }, CALLER),
        ],
        [2, () => drive.unlink(name)],
        [2, () => drive.rename(name, random.pick(names) ?? 'n1')],
        [2, async () => drive.cache.free('')],
        [2, async () => void drive.server.write(name, random.bytes(random.below(100 * KiB)))],
        [1, () => sleep(20)],
        [1, () => drive.flush()],
      ]);
      await work().catch((error: unknown) => {
        if (!isCloudError(error, 'not_found', 'no_space', 'stale', 'exists', 'io')) throw error;
      });
      expect(drive.cache.status().cacheUsed_bytes).toBeLessThanOrEqual(limit + 256 * KiB);
    }
    await drive.flush();
    await drive.until('nothing is on its way', async () => (await drive.check()).length === 0);
    await drive.until('what is counted is on the disk', async () => {
      return drive.cache.status().cacheUsed_bytes === (await onDisk(drive.dir));
    });
  });
});

async function overwrite(drive: TestCache, name: string, random: Random): Promise<void> {
  const file = await drive.open(name, 'r+');
  try {
    await file.write(random.below(120 * KiB), random.bytes(1 + random.below(60 * KiB)), CALLER);
    if (random.chance(0.3)) await file.fallocate(0, random.below(100 * KiB), 1 + random.below(50 * KiB), CALLER);
    if (random.chance(0.3)) await file.fallocate(3, random.below(100 * KiB), 1 + random.below(50 * KiB), CALLER);
    if (random.chance(0.3)) await file.fsync(CALLER);
    await file.flush(CALLER);
  } finally {
    file.release();
  }
}

describe('back-pressure', () => {
  it('a writer faster than the network is slowed down and stays within the limit', async () => {
    const remote = new FakeRemote(new FakeServer());
    remote.before('put', () => sleep(30));
    const limit = 1024 * KiB;
    const drive = await start({ remote, sizeLimit_bytes: limit, quiet_ms: 0 });
    let most = 0;
    for (let i = 0; i < 40; i += 1) {
      await drive.write(`f${i}`, Buffer.alloc(128 * KiB, `${i} `));
      most = Math.max(most, drive.cache.status().cacheUsed_bytes);
    }
    await drive.flush();
    expect(most).toBeLessThanOrEqual(limit);
    for (let i = 0; i < 40; i += 1) {
      expect(drive.server.read(`f${i}`).equals(Buffer.alloc(128 * KiB, `${i} `))).toBe(true);
    }
    expect(await drive.check()).toEqual([]);
  });

  it('a file that cannot fit gets no_space after the wait; every byte before it is kept and sent', async () => {
    const remote = new FakeRemote(new FakeServer());
    const drive = await start({ remote, sizeLimit_bytes: 1024 * KiB, spaceWait_ms: 300, quiet_ms: 0 });
    await drive.write('before', Buffer.alloc(200 * KiB, 'b'));
    const file = await drive.open('large', 'w');
    let written = 0;
    const failure = await (async () => {
      for (; written < 4096 * KiB; written += 64 * KiB) await file.write(written, Buffer.alloc(64 * KiB, 'x'), CALLER);
      return null;
    })().catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'no_space' });
    expect(written).toBeGreaterThan(512 * KiB);
    expect((await drive.must('large')).size_bytes).toBe(written);
    await file.flush(CALLER);
    file.release();
    await drive.flush();
    expect(drive.server.read('large').equals(Buffer.alloc(written, 'x'))).toBe(true);
    expect(drive.server.read('before').length).toBe(200 * KiB);
    // Sent, so it may go: there is room again.
    await drive.write('after', Buffer.alloc(500 * KiB, 'a'));
    await drive.flush();
    expect(await drive.check()).toEqual([]);
  });

  it('what is written into the holes of a file takes room like all else', async () => {
    const limit = 1024 * KiB;
    const drive = await start({ sizeLimit_bytes: limit, spaceWait_ms: 100 });
    await drive.write('sparse', '');
    await drive.cache.setattr((await drive.must('sparse')).ino, { size_bytes: 4 * limit }, CALLER);
    const file = await drive.open('sparse', 'r+');
    const part = Buffer.alloc(64 * KiB, 'x');
    const failure = await (async () => {
      for (let at = 0; at < 4 * limit; at += part.length) await file.write(at, part, CALLER);
    })().catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'no_space' });
    expect(await onDisk(drive.dir)).toBeLessThanOrEqual(limit + 64 * KiB);
    expect(drive.cache.status().cacheUsed_bytes).toBeGreaterThan(limit / 2);
    await file.write(0, part, CALLER); // What is stored there is replaced.
    file.release();
    expect(await drive.check()).toEqual([]);
  });

  it('a file larger than the whole cache is read from end to end', async () => {
    const remote = new FakeRemote(new FakeServer());
    const size = 6 * 1024 * KiB;
    const bytes = new Random(1).bytes(size);
    remote.server.write('large', bytes);
    const limit = 1024 * KiB;
    const drive = await start({ remote, sizeLimit_bytes: limit });
    await drive.until('it is here', async () => (await drive.node('large')) !== null);
    const file = await drive.open('large');
    let most = 0;
    for (let at = 0; at < size; at += 100_000) {
      const read = file.read(at, 100_000, CALLER);
      // What is answered at once lies in a buffer that the next read uses.
      const part = read instanceof Promise ? await read : Buffer.from(read);
      expect(part.equals(bytes.subarray(at, at + 100_000))).toBe(true);
      most = Math.max(most, drive.cache.status().cacheUsed_bytes);
    }
    file.release();
    expect(most).toBeLessThanOrEqual(limit + 256 * KiB);
    expect(await drive.check()).toEqual([]);
  });

  it('a read that cannot have all its bytes at a time gets no_space, instead of fetching them in turns for ever', async () => {
    const remote = new FakeRemote(new FakeServer());
    const bytes = new Random(1).bytes(1200 * KiB);
    remote.server.write('large', bytes);
    const drive = await start({ remote, sizeLimit_bytes: 1700 * KiB, spaceWait_ms: 100 });
    await drive.until('it is here', async () => (await drive.node('large')) !== null);
    const held = await drive.open('held', 'w');
    await held.write(0, bytes.subarray(0, 1000 * KiB), CALLER); // may not go
    const file = await drive.open('large');
    await file.read(600 * KiB, 100 * KiB, CALLER); // two gaps are left, each of which has room
    let requests = 0;
    remote.before('read', async () => {
      requests += 1;
      if (requests > 50) await sleep(10); // instead of a loop that lets nothing else run
    });
    const failure = await Promise.resolve(file.read(0, 1200 * KiB, CALLER)).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'no_space' });
    expect(requests).toBeLessThan(5);
    expect(Buffer.compare(await file.read(0, 300 * KiB, CALLER), bytes.subarray(0, 300 * KiB))).toBe(0);
    file.release();
    held.release();
  });

  it('a small change of a file larger than the whole cache takes no room of others, and says why it is not sent', async () => {
    const remote = new FakeRemote(new FakeServer());
    remote.server.write('large', Buffer.alloc(40 * 1024 * KiB, 1));
    const drive = await start({ remote, sizeLimit_bytes: 20 * 1024 * KiB, spaceWait_ms: 300, quiet_ms: 0 });
    await drive.until('it is here', async () => (await drive.node('large')) !== null);
    const file = await drive.open('large', 'r+');
    await file.write(3_000_000, Buffer.from('changed here'), CALLER);
    await file.flush(CALLER);
    file.release();
    await drive.until('it could not be sent', () => drive.cache.status().queue.some(({ state }) => state === 'failed'));
    await drive.write('other', Buffer.alloc(8192 * KiB, 'o'));
    await drive.flush('other');
    expect(drive.server.read('other').length).toBe(8192 * KiB);
    expect(remote.bytesRead).toBe(0);
    const [large] = drive.cache.status().queue;
    expect(large?.error).toContain('not fit into the cache');
    expect(await drive.check()).toEqual([]);
  });
});

describe('what a program has mapped through the kernel, and closed', () => {
  /** As the kernel has it for a mapping. */
  async function mapped(drive: TestCache, name: string): Promise<{ bytes(size: number): Buffer; unmap(): void }> {
    await drive.read(name); // all of it is here: only then the kernel reads by itself
    const reader = await drive.open(name);
    const fd = openSync(`/proc/self/fd/${reader.passthroughFd()}`, 'r');
    reader.release();
    return {
      bytes: (size) => {
        const buffer = Buffer.alloc(size);
        readSync(fd, buffer, 0, size, 0);
        return buffer;
      },
      unmap: () => closeSync(fd),
    };
  }

  it('stays as it is when others need room, while the file is open for writing too', async () => {
    const remote = new FakeRemote(new FakeServer());
    const library = new Random(1).bytes(600 * KiB);
    remote.server.write('library', library);
    remote.server.write('other', new Random(2).bytes(600 * KiB));
    const drive = await start({ remote, sizeLimit_bytes: 1000 * KiB, spaceWait_ms: 100 });
    await drive.until('the tree is here', async () => (await drive.node('other')) !== null);
    const mapping = await mapped(drive, 'library');
    const writer = await drive.open('library', 'r+');
    const failure = await drive.read('other').then(
      () => null,
      (error: unknown) => error,
    );
    expect(mapping.bytes(library.length).equals(library)).toBe(true);
    expect(failure).toMatchObject({ code: 'no_space' });

    mapping.unmap();
    await drive.read('other');
    writer.release();
    expect(await drive.check()).toEqual([]);
  });
});

describe('a changed file larger than the whole cache', () => {
  const size = 6 * 1024 * KiB;
  const bytes = new Random(1).bytes(size);
  const changed = Buffer.from(bytes);
  changed.write('changed here', 3_000_000);

  async function withChange(): Promise<TestCache> {
    const remote = new FakeRemote(new FakeServer());
    remote.server.write('large', bytes);
    remote.server.write('other', Buffer.alloc(300 * KiB, 'o'));
    const drive = await start({ remote, sizeLimit_bytes: 1024 * KiB, spaceWait_ms: 300, quiet_ms: 0 });
    await drive.until('it is here', async () => (await drive.node('large')) !== null);
    const file = await drive.open('large', 'r+');
    await file.write(3_000_000, Buffer.from('changed here'), CALLER);
    await file.flush(CALLER);
    file.release();
    return drive;
  }

  const readThrough = (drive: TestCache) => readAs(drive, changed);

  async function readAs(drive: TestCache, expected: Buffer): Promise<void> {
    const file = await drive.open('large');
    for (let at = 0; at < size; at += 100_000) {
      const read = file.read(at, 100_000, CALLER);
      const part = read instanceof Promise ? await read : Buffer.from(read);
      expect(part.equals(expected.subarray(at, at + 100_000)), `the bytes at ${at}`).toBe(true);
    }
    file.release();
  }

  it('is read from end to end, twice, and others while it is open and when it is closed', async () => {
    const drive = await withChange();
    const file = await drive.open('large');
    await readThrough(drive);
    expect((await drive.read('other')).length).toBe(300 * KiB);
    file.release();
    await readThrough(drive);
    await drive.cache.free('other');
    expect((await drive.read('other')).length).toBe(300 * KiB);
    expect(drive.cache.status().cacheUsed_bytes).toBeLessThanOrEqual((1024 + 256) * KiB);
    expect(await drive.check()).toEqual([]);
    expect(drive.cache.status().queue.map(({ state }) => state)).toEqual(['failed']);
    await drive.cache.close();
    const larger = await start({ dir: drive.dir, remote: drive.remote, sizeLimit_bytes: 20 * 1024 * KiB, quiet_ms: 0 });
    await larger.flush();
    expect(larger.server.read('large').equals(changed)).toBe(true);
  });

  it('keeps what is changed here when the server has another version, and says so of what is gone', async () => {
    const drive = await withChange();
    await readThrough(drive);
    const file = await drive.open('large');
    drive.server.write('large', Buffer.alloc(size, 'n'));
    const failure = await Promise.resolve(file.read(100_000, 100_000, CALLER)).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'stale' });
    expect((await file.read(3_000_000, 12, CALLER)).toString()).toBe('changed here');
    file.release();
    expect(drive.server.read('large').equals(Buffer.alloc(size, 'n'))).toBe(true);
    expect(await drive.check()).toEqual([]);
  });

  it('keeps all of it where all of it is here, however small the cache is by now', async () => {
    const remote = new FakeRemote(new FakeServer());
    remote.server.write('large', bytes);
    remote.server.write('other', Buffer.alloc(300 * KiB, 'o'));
    const before = await start({ remote, sizeLimit_bytes: 20 * 1024 * KiB, quiet_ms: 60_000 });
    await before.until('it is here', async () => (await before.node('large')) !== null);
    await readAs(before, bytes);
    const file = await before.open('large', 'r+');
    await file.write(3_000_000, Buffer.from('changed here'), CALLER);
    await file.flush(CALLER);
    file.release();
    await before.cache.close();
    let goOn = () => {};
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    remote.before('put', () => held);
    const read_bytes = remote.bytesRead;
    const small = { dir: before.dir, remote, sizeLimit_bytes: 1024 * KiB, spaceWait_ms: 300, quiet_ms: 0 };
    const drive = await start(small);
    await expect(drive.read('other')).rejects.toMatchObject({ code: 'no_space' });
    goOn();
    await drive.flush();
    expect(remote.bytesRead).toBe(read_bytes);
    expect(drive.server.read('large').equals(changed)).toBe(true);
    expect((await drive.read('other')).length).toBe(300 * KiB);
  });
});
