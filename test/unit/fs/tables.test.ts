import { beforeEach, describe, expect, it } from 'vitest';
import type { OpenFile } from '../../../src/cache/cache_api.js';
import { type FileOpening, HandleTable } from '../../../src/fs/handle_table.js';
import { InodeTable } from '../../../src/fs/inode_table.js';
import { Timeouts } from '../../../src/fs/timeouts.js';
import { Fopen } from '../../../src/fs/wire/flags.js';
import { type HandleId, type Ino, ROOT_INO } from '../../../src/ids.js';

describe('InodeTable', () => {
  it('counts lookups until the kernel has forgotten them all', () => {
    const table = new InodeTable();
    const ino = 5 as Ino;
    table.remember(ino);
    table.remember(ino);
    table.remember(ino);
    expect(table.lookups(ino)).toBe(3);
    expect(table.forget(ino, 2)).toBe(false);
    expect(table.has(ino)).toBe(true);
    expect(table.forget(ino, 1)).toBe(true);
    expect(table.has(ino)).toBe(false);
    expect(table.size).toBe(0);
  });

  it('a FORGET of more than was counted does not go below nothing', () => {
    const table = new InodeTable();
    table.remember(5 as Ino);
    table.forget(5 as Ino, 9);
    table.remember(5 as Ino);
    expect(table.lookups(5 as Ino)).toBe(1);
  });

  it('knows of which directories the kernel was told names, until it forgets them', () => {
    const table = new InodeTable();
    const dir = 5 as Ino;
    table.remember(dir);
    table.remember(dir);
    expect(table.knowsNamesIn(dir)).toBe(false);
    table.named(dir);
    table.forget(dir, 1);
    expect(table.knowsNamesIn(dir)).toBe(true);
    table.forget(dir, 1);
    expect(table.knowsNamesIn(dir)).toBe(false);
  });

  it('the root is always known', () => {
    const table = new InodeTable();
    expect(table.forget(ROOT_INO, 1)).toBe(false);
    expect(table.has(ROOT_INO)).toBe(true);
  });
});

/** What is said of the kernel's pages. */
const PAGES = ~Fopen.NOFLUSH;

describe('HandleTable', () => {
  let closed: number[];
  let offered: number[];
  let released: number;
  let refuse: boolean;
  let table: HandleTable;
  const ino = 5 as Ino;

  beforeEach(() => {
    closed = [];
    offered = [];
    released = 0;
    refuse = false;
    table = new HandleTable({
      open: (fd) => {
        offered.push(fd);
        return refuse ? null : 100 + fd;
      },
      close: (id) => closed.push(id),
    });
  });

  const opening = (fd: number | null, dataVersion = 1, more: Partial<FileOpening> = {}): FileOpening => ({
    file: { ino, passthroughFd: () => fd, release: () => void released++ } as unknown as OpenFile,
    writable: false,
    dataVersion,
    mayPassThrough: true,
    ...more,
  });

  it('passes through: all opens share one backing file, closed with the last', () => {
    const first = table.openFile(opening(7));
    const second = table.openFile(opening(8));
    expect(first).toMatchObject({ flags: Fopen.PASSTHROUGH | Fopen.NOFLUSH, backingId: 107 });
    expect(second).toMatchObject({ flags: Fopen.PASSTHROUGH | Fopen.NOFLUSH, backingId: 107 });
    expect(first.handle).not.toBe(second.handle);
    expect(offered).toEqual([7]);
    table.release(first.handle);
    expect(closed).toEqual([]);
    table.release(second.handle);
    expect(closed).toEqual([107]);
    expect(released).toBe(2);
    expect(table.size).toBe(0);
  });

  it('stays cached while a cached open lasts, even if the file could pass through by now', () => {
    const first = table.openFile(opening(null));
    const second = table.openFile(opening(8));
    expect(second.flags & Fopen.PASSTHROUGH).toBe(0);
    table.release(first.handle);
    table.release(second.handle);
    expect(table.openFile(opening(8)).flags & PAGES).toBe(Fopen.PASSTHROUGH);
  });

  it('stays passed through while a passed-through open lasts, even if a later one could not begin it', () => {
    table.openFile(opening(7));
    expect(table.openFile(opening(null, 1, { mayPassThrough: false }))).toMatchObject({ backingId: 107 });
  });

  it('goes on without where the kernel refuses', () => {
    refuse = true;
    expect(table.openFile(opening(7))).toMatchObject({ flags: Fopen.NOFLUSH, backingId: 0 });
  });

  it('is written by the kernel as long as a passed-through open can write', () => {
    const reader = table.openFile(opening(7));
    expect(table.isWrittenByKernel(ino)).toBe(false);
    const writer = table.openFile(opening(7, 1, { writable: true }));
    expect(table.isWrittenByKernel(ino)).toBe(true);
    table.release(writer.handle);
    expect(table.isWrittenByKernel(ino)).toBe(false);
    table.release(reader.handle);
  });

  it('keeps pages across opens of the same version only', () => {
    const first = table.openFile(opening(null, 1));
    expect(first.flags & PAGES).toBe(0);
    table.release(first.handle);
    const same = table.openFile(opening(null, 1));
    expect(same.flags & PAGES).toBe(Fopen.KEEP_CACHE);
    table.release(same.handle);
    expect(table.openFile(opening(null, 2)).flags & PAGES).toBe(0);
  });

  it('reads around the pages of another version that is still open', () => {
    const old = table.openFile(opening(null, 1));
    const fresh = table.openFile(opening(null, 2));
    expect(fresh.flags & PAGES).toBe(Fopen.DIRECT_IO);
    expect(table.counts()).toEqual({ passthrough: 0, cached: 1, direct: 1 });
    table.release(old.handle);
    expect(table.openFile(opening(null, 2)).flags & PAGES).toBe(0); // the old pages are dropped now
    table.release(fresh.handle);
  });

  it('pages follow what is written through the kernel, and only that', () => {
    const writer = table.openFile(opening(null, 1));
    table.pagesFollow(ino, 1, 2);
    expect(table.openFile(opening(null, 2)).flags & PAGES).toBe(Fopen.KEEP_CACHE);
    table.pagesFollow(ino, 7, 8); // somebody else's version came in between
    expect(table.openFile(opening(null, 8)).flags & PAGES).toBe(Fopen.DIRECT_IO);
    table.release(writer.handle);
  });

  it('pages from before a passed-through open are not trusted after it', () => {
    table.release(table.openFile(opening(null, 1)).handle);
    table.release(table.openFile(opening(7, 1)).handle);
    expect(table.openFile(opening(null, 1)).flags & PAGES).toBe(0);
  });

  it('close(2) is asked about only where something can have been written', () => {
    for (const fd of [null, 7]) {
      for (const writable of [false, true]) {
        const { handle, flags } = table.openFile(opening(fd, 1, { writable }));
        expect([fd, writable, flags & Fopen.NOFLUSH]).toEqual([fd, writable, writable ? 0 : Fopen.NOFLUSH]);
        table.release(handle);
      }
    }
  });

  it('forgets pages with the inode', () => {
    table.release(table.openFile(opening(null, 1)).handle);
    table.forget(ino);
    expect(table.openFile(opening(null, 1)).flags & PAGES).toBe(0);
  });

  it('refuses handles it did not give', () => {
    expect(() => table.file(99 as HandleId)).toThrow(expect.objectContaining({ code: 'stale' }));
    table.release(99 as HandleId);
  });

  it('releases everything at the end, each once', () => {
    table.openFile(opening(7));
    const one = table.openFile(opening(7));
    table.release(one.handle);
    table.release(one.handle);
    table.releaseAll();
    expect(released).toBe(2);
    expect(closed).toEqual([107]);
    expect(table.size).toBe(0);
  });
});

describe('Timeouts', () => {
  it('are long where changes are announced and short elsewhere', () => {
    const cache = { announcesChanges: true };
    const timeouts = new Timeouts(cache);
    const long = timeouts.known_ms;
    expect(timeouts.keepListings).toBe(true);
    cache.announcesChanges = false;
    expect(timeouts.known_ms).toBeLessThan(long / 1000);
    expect(timeouts.negative_ms).toBeLessThan(long / 1000);
    expect(timeouts.keepListings).toBe(false);
  });
});
