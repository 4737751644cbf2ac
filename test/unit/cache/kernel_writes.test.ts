// Where a file is read through the kernel's passthrough, whoever opens it for writing writes past the daemon, too: that must
// be noticed whatever else goes on with the file at that moment.

import { closeSync, openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { OpenFile } from '../../../src/cache/cache_api.js';
import { CALLER, TestCache } from '../../support/test_cache.js';

const open: TestCache[] = [];

afterEach(async () => {
  for (const drive of open.splice(0)) {
    expect(await drive.check()).toEqual([]);
    await drive.close();
  }
});

/** A file that is on the server, whole, and open for reading through the kernel. */
async function readThroughKernel(options: Parameters<typeof TestCache.open>[0] = {}) {
  const drive = await TestCache.open(options);
  open.push(drive);
  await drive.write('doc.txt', 'one\n');
  await drive.flush();
  const reader = await drive.open('doc.txt');
  return { drive, reader, fd: reader.passthroughFd() };
}

/** As the kernel does. */
function write(fd: number | null, at: number, text: string): void {
  if (fd === null) throw new Error('the file is not passed through');
  writeSync(fd, text, at);
}

async function close(file: OpenFile): Promise<void> {
  await file.flush(CALLER);
  file.release();
}

describe('what the kernel writes into a passed-through file', () => {
  it('reaches the server', async () => {
    const { drive, reader, fd } = await readThroughKernel();
    const writer = await drive.open('doc.txt', 'r+');
    write(fd, 4, 'two\n');
    await close(writer);
    await drive.flush();
    expect(drive.server.text('doc.txt')).toBe('one\ntwo\n');
    reader.release();
  });

  it('is found by who looks for data right behind', async () => {
    const { drive, reader, fd } = await readThroughKernel();
    const writer = await drive.open('doc.txt', 'r+');
    write(fd, 4, 'two\n');
    expect(await reader.seek(5, 'data', CALLER)).toBe(5);
    expect(await reader.seek(5, 'hole', CALLER)).toBe(8);
    await close(writer);
    reader.release();
  });

  it('is noticed when size and clock tick are those of the write before', async () => {
    const { drive, reader, fd } = await readThroughKernel();
    for (const text of ['two\n', 'six\n', 'ten\n']) {
      const writer = await drive.open('doc.txt', 'r+');
      write(fd, 0, text);
      await close(writer);
      await drive.flush();
      expect(drive.server.text('doc.txt')).toBe(text);
    }
    reader.release();
  });

  it.each(['before', 'after'] as const)(
    'is not lost when it comes right %s the version before is sent',
    async (when) => {
      const { drive, reader, fd } = await readThroughKernel();
      const first = await drive.open('doc.txt', 'r+');
      write(fd, 4, 'two\n');
      let second: OpenFile | null = null;
      const done = drive.remote[when]('put', async () => {
        done();
        second = await drive.open('doc.txt', 'r+');
        write(fd, 8, 'three\n');
      });
      await close(first);
      await drive.until('it is opened again', () => second !== null);
      await sleep(100);
      if (second !== null) await close(second);
      await drive.flush();
      expect(drive.server.text('doc.txt')).toBe('one\ntwo\nthree\n');
      reader.release();
    },
  );

  it('is not sent while it is being written', async () => {
    const { drive, reader, fd } = await readThroughKernel();
    const writer = await drive.open('doc.txt', 'r+');
    write(fd, 4, 'half a l');
    await writer.fsync(CALLER);
    await sleep(300);
    expect(drive.server.text('doc.txt')).toBe('one\n');
    write(fd, 12, 'ine\n');
    await close(writer);
    await drive.flush();
    expect(drive.server.text('doc.txt')).toBe('one\nhalf a line\n');
    reader.release();
  });

  it('nothing is sent for a file that was opened for writing and not written', async () => {
    const { drive, reader } = await readThroughKernel();
    const { mtime } = await drive.must('doc.txt');
    const sent = drive.remote.count('put');
    await close(await drive.open('doc.txt', 'r+'));
    await drive.flush();
    expect(drive.remote.count('put')).toBe(sent);
    expect((await drive.must('doc.txt')).mtime).toEqual(mtime);
    reader.release();
  });

  it('what the server has of such a file by then is shown', async () => {
    const { drive, reader } = await readThroughKernel();
    const writer = await drive.open('doc.txt', 'r+');
    const { ino } = await drive.must('doc.txt');
    const asked = drive.remote.count('changes');
    drive.server.write('doc.txt', 'theirs\n');
    await drive.until('the feed has told', () => drive.remote.count('changes') > asked);
    await sleep(100);
    await close(writer);
    await drive.until('it is another version', async () => (await drive.must('doc.txt')).ino !== ino);
    expect(await drive.read('doc.txt')).toBe('theirs\n');
    reader.release();
    await drive.flush();
    expect(drive.server.text('doc.txt')).toBe('theirs\n');
    expect(drive.cache.conflicts()).toEqual([]);
  });

  it('a time that was set meanwhile is', async () => {
    const { drive, reader } = await readThroughKernel();
    const writer = await drive.open('doc.txt', 'r+');
    const { ino } = await drive.must('doc.txt');
    await drive.cache.setattr(ino, { mtime: { s: 1_000_000_000, ns: 5 } }, CALLER);
    await close(writer);
    await drive.flush();
    expect(drive.server.entry('doc.txt')?.mtime).toEqual({ s: 1_000_000_000, ns: 5 });
    reader.release();
  });

  it.each(['a reader has it still open', 'nobody has it open'] as const)(
    'arrives when it is stored through a mapping after the writer has closed, and %s',
    async (who) => {
      const { drive, reader, fd } = await readThroughKernel();
      const writer = await drive.open('doc.txt', 'r+');
      const mapping = openSync(`/proc/self/fd/${fd}`, 'r+'); // as the kernel has it for a mapping
      await close(writer);
      if (who === 'nobody has it open') reader.release();
      const { ino } = await drive.must('doc.txt');
      for (const text of ['two\n', 'six\n']) {
        write(mapping, 0, text);
        await drive.until('the server has it', () => drive.server.text('doc.txt') === text);
        expect(drive.invalidations).toContainEqual({ kind: 'inode', ino, data: false });
        expect(await drive.read('doc.txt')).toBe(text);
      }
      write(mapping, 0, 'end\n');
      closeSync(mapping);
      if (who !== 'nobody has it open') reader.release();
      await drive.until('the server has the last', () => drive.server.text('doc.txt') === 'end\n');
    },
  );

  it('is not lost when the drive is closed while a mapping is there', async () => {
    const { drive, reader, fd } = await readThroughKernel();
    await close(await drive.open('doc.txt', 'r+'));
    write(fd, 0, 'end\n');
    reader.release();
    await drive.close();
    const next = await TestCache.open({ dir: drive.dir, remote: drive.remote });
    open.splice(0, 1, next);
    await next.flush();
    expect(next.server.text('doc.txt')).toBe('end\n');
  });

  it('there is none where close waits for the server', async () => {
    const { fd, reader } = await readThroughKernel({ writeThrough: true });
    expect(fd).toBeNull();
    reader.release();
  });
});
