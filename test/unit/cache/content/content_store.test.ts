import nodeFs, * as fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { dir as tmpDir } from 'tmp-promise';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContentFile } from '../../../../src/cache/content/content_file.js';
import { ContentStore, type StoredContent } from '../../../../src/cache/content/content_store.js';
import type { Ino } from '../../../../src/ids.js';
import { silentLog } from '../../../../src/log.js';

const ino = (value: number) => value as Ino;

let root: string;
let cleanup: () => Promise<void>;
let store: ContentStore;

beforeEach(async () => {
  const made = await tmpDir({ unsafeCleanup: true });
  root = join(made.path, 'content');
  cleanup = made.cleanup;
  store = new ContentStore({ dir: root, log: silentLog });
});

afterEach(async () => {
  await store.close();
  await cleanup();
});

async function listed(): Promise<StoredContent[]> {
  const all: StoredContent[] = [];
  for await (const stored of store.list()) all.push(stored);
  return all;
}

function blob(size: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(size);
  for (let i = 0; i < size; i++) bytes[i] = (i * 7 + seed * 13 + (i >> 8)) & 0xff;
  return bytes;
}

describe('ContentStore', () => {
  it('creates a sparse file of the full size that takes no space', () => {
    const file = store.open(ino(5), 1, { create: true, size_bytes: 1024 ** 4 });
    expect(file.stat()).toMatchObject({ size_bytes: 1024 ** 4, allocated_bytes: 0 });
    expect(store.usedBytes(ino(5), 1)).toBe(0);
    file.close();
  });

  it('keeps its files for their owner only', () => {
    store.open(ino(5), 1, { create: true, size_bytes: 1 }).close();
    expect(fs.statSync(join(root, '05', '5.1')).mode & 0o777).toBe(0o600);
    expect(fs.statSync(join(root, '05')).mode & 0o777).toBe(0o700);
  });

  it('shares one open file among its users and closes with the last', () => {
    const first = store.open(ino(5), 1, { create: true, size_bytes: 10 });
    const second = store.open(ino(5), 1, { create: false });
    expect(second).toBe(first);
    first.close();
    expect(store.isOpen(ino(5), 1)).toBe(true);
    second.write(0, blob(10));
    second.close();
    expect(store.isOpen(ino(5), 1)).toBe(false);
    expect(() => second.close()).toThrow(/more often/);
  });

  it('says `corrupt` when content that should be there is not', () => {
    expect(() => store.open(ino(5), 1)).toThrow(expect.objectContaining({ code: 'corrupt' }));
  });

  it('replaces a leftover when the record says that there is nothing', () => {
    const old = store.open(ino(5), 1, { create: true, size_bytes: 10 });
    old.write(0, blob(10));
    old.close();
    const fresh = store.open(ino(5), 1, { create: true, size_bytes: 4 });
    expect(fresh.stat().size_bytes).toBe(4);
    const bytes = Buffer.alloc(4);
    fresh.readSync(0, bytes);
    expect(bytes).toEqual(Buffer.alloc(4));
    fresh.close();
  });

  it('what a leftover is still used for does not get into what replaces it', () => {
    store.open(ino(5), 1, { create: true, size_bytes: 4 }).close();
    const fd = fs.openSync(join(root, '05', '5.1'), 'r+'); // as a program has that outlived its daemon
    const fresh = store.open(ino(5), 1, { create: true, size_bytes: 4 });
    fs.writeSync(fd, 'old!');
    expect(fs.fstatSync(fd).size).toBe(4);
    fs.closeSync(fd);
    const bytes = Buffer.alloc(4, 1);
    fresh.readSync(0, bytes);
    expect(bytes).toEqual(Buffer.alloc(4));
    fresh.close();
  });

  it('does not follow a symbolic link put in its place', () => {
    fs.mkdirSync(join(root, '05'), { recursive: true });
    const outside = join(root, '..', 'outside');
    fs.writeFileSync(outside, 'mine');
    fs.symlinkSync(outside, join(root, '05', '5.1'));
    expect(() => store.open(ino(5), 1, { create: true, size_bytes: 0 })).toThrow();
    expect(() => store.open(ino(5), 1)).toThrow();
    expect(fs.readFileSync(outside, 'utf8')).toBe('mine');
  });

  it('keeps generations apart, and an open old one readable after its removal', async () => {
    const old = store.open(ino(300), 1, { create: true, size_bytes: 3 });
    old.write(0, Buffer.from('old'));
    const next = store.open(ino(300), 2, { create: true, size_bytes: 3 });
    next.write(0, Buffer.from('new'));
    store.remove(ino(300), 1);
    expect(store.has(ino(300), 1)).toBe(false);
    expect(await old.readAsync(0, 3)).toEqual(Buffer.from('old'));
    expect(await next.readAsync(0, 3)).toEqual(Buffer.from('new'));
    old.close();
    next.close();
    await store.close();
    expect(await listed()).toEqual([
      { ino: 300, gen: 2, size_bytes: 3, allocated_bytes: store.usedBytes(ino(300), 2) },
    ]);
    expect(fs.readdirSync(join(root, '.trash'))).toEqual([]);
  });

  it('makes a new file after a removal, while the removed one is still in use', () => {
    const old = store.open(ino(1), 1, { create: true, size_bytes: 3 });
    old.write(0, Buffer.from('old'));
    store.remove(ino(1), 1);
    const fresh = store.open(ino(1), 1, { create: true, size_bytes: 3 });
    expect(fresh).not.toBe(old);
    fresh.write(0, Buffer.from('new'));
    old.close();
    expect(store.open(ino(1), 1)).toBe(fresh); // the old user's close does not touch it
    fresh.close();
    fresh.close();
  });

  it('takes the removal of nothing as done', () => {
    for (const size_bytes of [0, undefined]) store.remove(ino(77), 3, size_bytes);
    expect(store.has(ino(77), 3)).toBe(false);
  });

  it.each([3, 1 << 30])('a removed file of %i bytes is gone at once, and its users keep it', async (size_bytes) => {
    const file = store.open(ino(8), 1, { create: true, size_bytes });
    file.write(0, Buffer.from('abc'));
    store.remove(ino(8), 1, size_bytes);
    expect(store.has(ino(8), 1)).toBe(false);
    expect(await file.readAsync(0, 3)).toEqual(Buffer.from('abc'));
    file.close();
    await store.close();
    expect(fs.readdirSync(join(root, '.trash'))).toEqual([]);
  });

  it('empties at the start what a stopped run left in the trash', async () => {
    fs.writeFileSync(join(root, '.trash', '9.9.1'), 'x');
    const second = new ContentStore({ dir: root, log: silentLog });
    await second.close();
    expect(fs.readdirSync(join(root, '.trash'))).toEqual([]);
  });

  it('lists what is there and nothing else', async () => {
    for (const [i, gen] of [
      [1, 1],
      [257, 4],
      [2 ** 40, 12],
    ] as const) {
      const file = store.open(ino(i), gen, { create: true, size_bytes: 8192 });
      file.write(0, blob(4096));
      file.close();
    }
    fs.writeFileSync(join(root, '01', 'notes.txt'), 'not ours');
    fs.writeFileSync(join(root, 'README'), 'not ours');
    const all = (await listed()).sort((a, b) => a.ino - b.ino);
    expect(all.map((stored) => [stored.ino, stored.gen, stored.size_bytes])).toEqual([
      [1, 1, 8192],
      [257, 4, 8192],
      [2 ** 40, 12, 8192],
    ]);
    for (const stored of all) expect(stored.allocated_bytes).toBe(store.usedBytes(stored.ino, stored.gen));
  });
});

describe('ContentFile', () => {
  it('reads what was written, warm at once and cold by a promise', async () => {
    const bytes = blob(3 * 1024 * 1024);
    const file = store.open(ino(1), 1, { create: true, size_bytes: bytes.length });
    file.write(0, bytes);
    for (const [offset, size] of [
      [0, 1],
      [4095, 2],
      [1_000_000, 1024 * 1024],
      [0, bytes.length],
    ] as const) {
      const got = await file.read(offset, size);
      expect(Buffer.compare(got, bytes.subarray(offset, offset + size))).toBe(0);
      expect(Buffer.compare(await file.readAsync(offset, size), bytes.subarray(offset, offset + size))).toBe(0);
    }
    file.close();
  });

  it('serves a hole as zeros and never gives less than asked', async () => {
    const file = store.open(ino(1), 1, { create: true, size_bytes: 100 });
    expect(await file.read(0, 100)).toEqual(Buffer.alloc(100));
    await expect((async () => file.read(50, 51))()).rejects.toMatchObject({ code: 'corrupt' });
    await expect(file.readAsync(100, 1)).rejects.toMatchObject({ code: 'corrupt' });
    expect(() => file.readSync(99, Buffer.alloc(2))).toThrow(expect.objectContaining({ code: 'corrupt' }));
    file.close();
  });

  it('survives a close while a read from the disk is on its way', async () => {
    const bytes = blob(2 * 1024 * 1024);
    const file = store.open(ino(1), 1, { create: true, size_bytes: bytes.length });
    file.write(0, bytes);
    const reading = file.readAsync(0, bytes.length);
    file.close();
    expect(Buffer.compare(await reading, bytes)).toBe(0);
    expect(store.isOpen(ino(1), 1)).toBe(false);
  });

  it('punches holes that free space and keep the size', () => {
    const file = store.open(ino(1), 1, { create: true, size_bytes: 1024 * 1024 });
    file.write(0, blob(1024 * 1024));
    const before = file.stat().allocated_bytes;
    file.punchHole(256 * 1024, 512 * 1024);
    expect(file.stat()).toMatchObject({ size_bytes: 1024 * 1024, allocated_bytes: before - 256 * 1024 });
    expect(file.seekHole(0)).toBe(256 * 1024);
    expect(file.seekData(256 * 1024)).toBe(512 * 1024);
    expect(file.seekData(1024 * 1024)).toBeNull();
    expect(file.seekHole(1024 * 1024 + 1)).toBeNull();
    file.close();
  });

  it('says what is wrong with a size no disk can hold', () => {
    const file = store.open(ino(1), 1, { create: true, size_bytes: 0 });
    expect(() => file.truncate(2 ** 53 - 1)).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^(too_large|invalid)$/) }),
    );
    expect(() => file.fallocate(0x80, 0, 1)).toThrow(expect.objectContaining({ code: 'unsupported' }));
    file.close();
  });

  it('changes its fingerprint with every touch, and not without', () => {
    const file = store.open(ino(1), 1, { create: true, size_bytes: 8 });
    file.write(0, blob(8));
    const path = join(root, '01', '1.1');
    const clean = file.fingerprint();
    file.close();
    const again = store.open(ino(1), 1);
    expect(again.fingerprint()).toBe(clean);
    // The trap: other bytes, same size, and the old time put back.
    const { atime, mtime } = fs.statSync(path);
    fs.writeFileSync(path, blob(8, 2));
    fs.utimesSync(path, atime, mtime);
    expect(again.fingerprint()).not.toBe(clean);
    again.close();
  });

  it('shares syncs among those who come together, and starts another for those who come later', async () => {
    const file = store.open(ino(1), 1, { create: true, size_bytes: 8 });
    file.write(0, blob(8));
    const first = file.sync();
    const second = file.sync();
    const third = file.sync();
    expect(second).not.toBe(first); // it may not rely on a sync that began before its write
    expect(third).toBe(second);
    await Promise.all([first, second, third]);
    await file.sync();
    file.close();
  });

  it('keeps reporting a failed sync', async () => {
    // fdatasync(2) refuses a character device, as it fails on a broken disk.
    const fd = fs.openSync('/dev/null', 'r+');
    const file = new ContentFile(ino(1), 1, fd, false, {
      syncEntry: async () => {},
      closed: () => fs.closeSync(fd),
    });
    const first = file.sync();
    const second = file.sync();
    await expect(first).rejects.toMatchObject({ code: 'io' });
    await expect(second).rejects.toMatchObject({ code: 'io' });
    await expect(file.sync()).rejects.toMatchObject({ code: 'io' });
    file.close();
  });

  it('syncs what is written after it was emptied, whatever failed before', async () => {
    const { fdatasync } = nodeFs;
    const full = Object.assign(new Error('test: no space'), { code: 'ENOSPC' });
    const file = store.open(ino(1), 1, { create: true, size_bytes: 8 });
    let fail = (): void => undefined;
    nodeFs.fdatasync = ((_fd: number, done: (error: Error | null) => void) => {
      fail = () => done(full);
    }) as typeof fdatasync;
    syncBuiltinESMExports();
    try {
      const failing = file.sync();
      fail();
      await expect(failing).rejects.toMatchObject({ code: 'no_space' });
      await expect(file.sync()).rejects.toMatchObject({ code: 'no_space' });
      file.truncate(0);
      const late = file.sync();
      file.truncate(0);
      fail();
      await expect(late).rejects.toMatchObject({ code: 'no_space' });
    } finally {
      nodeFs.fdatasync = fdatasync;
      syncBuiltinESMExports();
    }
    file.write(0, blob(8));
    await file.sync();
    file.close();
  });

  it('makes the name of a new file durable with its first sync only', async () => {
    const fd = fs.openSync(join(root, 'plain'), 'w+');
    let entries = 0;
    const file = new ContentFile(ino(1), 1, fd, true, {
      syncEntry: async () => {
        entries += 1;
      },
      closed: () => fs.closeSync(fd),
    });
    await file.sync();
    await file.sync();
    expect(entries).toBe(1);
    file.close();
  });

  it('takes content from those who still write it, holes and all', async () => {
    const mine = store.open(ino(7), 0, { create: true, size_bytes: 10_000_000 });
    mine.write(0, blob(5000));
    mine.write(9_000_000, blob(5000, 2));
    await mine.sync();
    mine.close();
    await store.close();
    expect(store.takeFromOthers(ino(7), 0)).toBe(false);
    const path = join(root, '07', '7.0');
    const reader = fs.openSync(path, 'r');
    expect(store.takeFromOthers(ino(7), 0)).toBe(false);
    const writer = fs.openSync(path, 'r+');
    expect(store.takeFromOthers(ino(7), 0)).toBe(true);
    fs.writeSync(writer, 'from another time', 0);
    fs.closeSync(writer);
    fs.closeSync(reader);
    const kept = store.open(ino(7), 0);
    expect((await kept.read(0, 5000)).equals(blob(5000))).toBe(true);
    expect((await kept.read(9_000_000, 5000)).equals(blob(5000, 2))).toBe(true);
    expect(kept.stat().size_bytes).toBe(10_000_000);
    expect(kept.stat().allocated_bytes).toBeLessThan(100_000);
    kept.close();
    expect(fs.readdirSync(join(root, '.trash'))).toEqual([]);
  });

  it('lets a sync finish after the last close', async () => {
    const file = store.open(ino(1), 1, { create: true, size_bytes: 8 });
    const syncing = file.sync();
    file.close();
    await syncing;
    expect(store.isOpen(ino(1), 1)).toBe(false);
  });
});
