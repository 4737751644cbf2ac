// Long uploads go past the page cache where the file system can, and are the same everywhere.

import { type FileHandle, mkdtemp, open, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MAX_IDLE, takeBlock } from '../../../../src/server/storage/aligned_buffers.js';
import type { PullSource } from '../../../../src/server/storage/byte_source.js';
import { writeStream } from '../../../../src/server/storage/write_stream.js';
import { must } from '../../../support/processes.js';
import { Random } from '../../../support/random.js';

const MIB = 1 << 20;

class Source implements PullSource {
  closed = 0;
  readonly content: Buffer;
  readonly #random: Random;
  readonly #failsAt: number;
  #at = 0;

  constructor(content: Buffer, random: Random, failsAt = Number.POSITIVE_INFINITY) {
    this.content = content;
    this.#random = random;
    this.#failsAt = failsAt;
  }

  async fill(into: Buffer): Promise<number> {
    if (this.#at >= this.#failsAt) throw new Error('gone');
    const n = Math.min(into.length, this.content.length - this.#at, 1 + this.#random.below(400_000));
    this.content.copy(into, 0, this.#at, this.#at + n);
    this.#at += n;
    return n;
  }

  close(): void {
    this.closed += 1;
  }
}

describe.each(['a disk', 'a file system in memory that has no O_DIRECT'])('on %s', (where) => {
  let dir: string;
  let file: FileHandle;

  const isMounted = where !== 'a disk';
  beforeEach(async (context) => {
    context.skip(isMounted && process.getuid?.() !== 0, 'only root mounts');
    dir = await mkdtemp(join(tmpdir(), 'cloudmount-pulled-'));
    if (isMounted) await must('mount', ['-t', 'ramfs', 'ramfs', dir]);
    file = await open(join(dir, 'file'), 'wx');
  });
  afterEach(async () => {
    if (isMounted && process.getuid?.() !== 0) return;
    await file.close();
    if (isMounted) await must('umount', [dir]);
    await rm(dir, { recursive: true });
  });

  it.each([0, 1, 4096, MIB, MIB + 4096, 5 * MIB + 4095, 40 * MIB + 12_288])('%i bytes are all there', async (size) => {
    const random = new Random(size);
    const source = new Source(random.bytes(size), random);
    const seen: Buffer[] = [];
    let room = 0;
    const written = await writeStream(file, source, {
      tap: (chunk) => seen.push(Buffer.from(chunk)),
      room: async (bytes) => {
        room += bytes;
      },
    });
    expect([written, room, source.closed]).toEqual([size, size, 1]);
    expect((await readFile(join(dir, 'file'))).equals(source.content)).toBe(true);
    expect(Buffer.concat(seen).equals(source.content)).toBe(true);
  });

  it('many at a time do not get into each other', async () => {
    const random = new Random(7);
    const contents = Array.from({ length: 12 }, () => random.bytes(3 * MIB + random.below(MIB)));
    await Promise.all(
      contents.map(async (content, i) => {
        const each = await open(join(dir, `${i}`), 'wx');
        await writeStream(each, new Source(content, new Random(i)), {});
        await each.close();
        expect((await readFile(join(dir, `${i}`))).equals(content)).toBe(true);
      }),
    );
  });

  it('what breaks off, is refused or given up rejects, and its source is closed', async () => {
    const random = new Random(1);
    const content = random.bytes(4 * MIB);
    const broken = new Source(content, random, 2 * MIB);
    await expect(writeStream(file, broken, {})).rejects.toThrow('gone');
    const refused = new Source(content, random);
    const room = async () => {
      throw new Error('no room');
    };
    await expect(writeStream(file, refused, { room })).rejects.toThrow('no room');
    const given = new Source(content, random);
    await expect(writeStream(file, given, { signal: AbortSignal.abort(new Error('given up')) })).rejects.toThrow(
      'given up',
    );
    expect([broken, refused, given].map(({ closed }) => closed)).toEqual([1, 1, 1]);
  });

  it('that no memory is left for leaves no descriptor behind', async () => {
    const path = join(dir, 'file');
    const descriptors = async () => {
      const open = await readdir('/proc/self/fd');
      const names = await Promise.all(open.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
      return names.filter((name) => name === path).length;
    };
    for (let taken = 0; taken <= MAX_IDLE; taken++) takeBlock(null); // none is kept any more
    const refused = vi.spyOn(Buffer, 'allocUnsafeSlow').mockImplementation(() => {
      throw new RangeError('Array buffer allocation failed');
    });
    try {
      await expect(writeStream(file, new Source(Buffer.alloc(1), new Random(1)), {})).rejects.toThrow('allocation');
    } finally {
      refused.mockRestore();
    }
    expect(await descriptors()).toBe(1);
  });
});
