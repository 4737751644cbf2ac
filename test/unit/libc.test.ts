import { closeSync, constants, fstatSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fadvise,
  fallocate,
  ioctl,
  isHeldElsewhere,
  isWrittenElsewhere,
  pollReadable,
  rawRead,
  rawWrite,
  receiveFd,
  seekDataHole,
  setNonBlocking,
  socketpair,
  startShortWriteback,
  startWriteback,
  umount,
} from '../../src/libc.js';

let dir: string;
let fd: number;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'libc-'));
  fd = openSync(join(dir, 'file'), 'w+');
});
afterAll(() => {
  closeSync(fd);
  rmSync(dir, { recursive: true });
});

describe('files', () => {
  it('any number of writebacks may be started at once', async () => {
    writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, 0);
    const all = await Promise.all(Array.from({ length: 1000 }, () => startWriteback(fd)));
    expect(all).toHaveLength(1000);
  });

  it('a short writeback may be started without waiting for it', () => {
    writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, 0);
    expect(() => startShortWriteback(fd)).not.toThrow();
  });

  it('fallocate extends, keeps the size on request, and punches holes', () => {
    fallocate(fd, 0, 0, 65536);
    expect(fstatSync(fd).size).toBe(65536);
    fallocate(fd, FALLOC_FL_KEEP_SIZE, 65536, 65536);
    expect(fstatSync(fd).size).toBe(65536);
    writeSync(fd, Buffer.alloc(65536, 7), 0, 65536, 0);
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096);
    const back = Buffer.alloc(8192);
    readSync(fd, back, 0, 8192, 0);
    expect(back[0]).toBe(7);
    expect(back[4096]).toBe(0);
  });

  it('seekDataHole finds data and holes, null past the end', () => {
    const sparse = openSync(join(dir, 'sparse'), 'w+');
    writeSync(sparse, Buffer.alloc(4096, 1), 0, 4096, 1 << 20);
    expect(seekDataHole(sparse, 0, 'data')).toBe(1 << 20);
    expect(seekDataHole(sparse, 1 << 20, 'hole')).toBe((1 << 20) + 4096);
    expect(seekDataHole(sparse, 1 << 21, 'data')).toBeNull();
    closeSync(sparse);
  });

  it('isHeldElsewhere tells whether anybody else has the file open', () => {
    const own = openSync(join(dir, 'held'), 'w+');
    expect(isHeldElsewhere(own)).toBe(false);
    for (const flags of ['r', 'r+']) {
      const other = openSync(join(dir, 'held'), flags);
      expect(isHeldElsewhere(own)).toBe(true);
      closeSync(other);
      expect(isHeldElsewhere(own)).toBe(false);
    }
    closeSync(own);
  });

  it('who opens a file that is looked at so does not end the process by a signal', async () => {
    const told: string[] = [];
    const note = (signal: string) => told.push(signal);
    process.on('SIGIO', note);
    try {
      closeSync(openSync(join(dir, 'looked at'), 'w'));
      const own = openSync(join(dir, 'looked at'), 'r');
      expect(isWrittenElsewhere(own)).toBe(false); // holds its lease
      expect(() => openSync(join(dir, 'looked at'), constants.O_WRONLY | constants.O_NONBLOCK)).toThrow('EAGAIN');
      closeSync(own);
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(told).toEqual([]);
    } finally {
      process.off('SIGIO', note);
    }
  });

  it('errors carry code, errno and syscall', () => {
    expect(() => fallocate(-1, 0, 0, 1)).toThrow(
      expect.objectContaining({ code: 'EBADF', errno: -9, syscall: 'fallocate' }),
    );
    expect(() => seekDataHole(-1, 0, 'data')).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(() => ioctl(fd, 0x4010e501, Buffer.alloc(16))).toThrow(expect.objectContaining({ code: 'ENOTTY' }));
    expect(() => fadvise(-1, 0, 0, 'sequential')).toThrow(expect.objectContaining({ code: 'EBADF' }));
    fadvise(fd, 0, 0, 'dontneed');
  });

  it('umount rejects with the errno of the call', async () => {
    await expect(umount(join(dir, 'nothing here'), 0)).rejects.toMatchObject({ syscall: 'umount2' });
  });
});

describe('sockets', () => {
  it('raw reads and writes return -errno instead of throwing', () => {
    const [a, b] = socketpair();
    setNonBlocking(a);
    const buffer = Buffer.alloc(16);
    expect(rawRead(a, buffer, 16)).toBe(-11);
    expect(rawWrite(b, Buffer.from('hello'), 5)).toBe(5);
    expect(rawRead(a, buffer, 16)).toBe(5);
    expect(buffer.toString('latin1', 0, 5)).toBe('hello');
    closeSync(a);
    closeSync(b);
    expect(rawRead(-1, buffer, 16)).toBe(-9);
  });

  it('pollReadable calls back on data', async () => {
    const [a, b] = socketpair();
    const ready = new Promise<void>((resolve) => pollReadable(a, 10_000, resolve));
    rawWrite(b, Buffer.from('x'), 1);
    await ready;
    closeSync(a);
    closeSync(b);
  });

  it('receiveFd is null when the other side sends no descriptor or hangs up', async () => {
    const [a, b] = socketpair();
    rawWrite(b, Buffer.from('x'), 1);
    expect(await receiveFd(a)).toBeNull();
    closeSync(b);
    expect(await receiveFd(a)).toBeNull();
    closeSync(a);
  });
});
