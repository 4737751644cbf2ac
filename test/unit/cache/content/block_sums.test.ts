import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockSums, RunningSum, SUM_BLOCK_BYTES } from '../../../../src/cache/content/block_sums.js';

const B = SUM_BLOCK_BYTES;

describe('BlockSums', () => {
  it('round-trips', () => {
    const sums = new BlockSums();
    sums.set(7, 0xffffffff, B);
    sums.set(0, 0, 1);
    sums.set(2 ** 30, 123, 4096);
    const copy = BlockSums.parse(sums.serialise());
    expect(copy.blocks()).toEqual([0, 7, 2 ** 30]);
    for (const block of copy.blocks()) expect(copy.get(block)).toEqual(sums.get(block));
    expect(BlockSums.parse(new BlockSums().serialise()).size).toBe(0);
  });

  it('forgets every block a change touches, and no other', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 12 * B }), fc.integer({ min: 0, max: 12 * B }), (a, b) => {
        const [start, end] = a < b ? [a, b] : [b, a];
        const sums = new BlockSums();
        for (let block = 0; block < 10; block++) sums.set(block, 1, B);
        sums.forget(start, end);
        for (let block = 0; block < 10; block++) {
          const touched = start < end && start < (block + 1) * B && end > block * B;
          expect(sums.get(block) === undefined).toBe(touched);
        }
      }),
    );
  });

  it('forgets the cut block and all after it on a truncate', () => {
    const sums = new BlockSums();
    for (const block of [0, 1, 2, 2 ** 25]) sums.set(block, 1, B);
    sums.clip(B + 1);
    expect(sums.blocks()).toEqual([0]);
  });

  it.each([
    ['an unknown format', Buffer.from([9])],
    ['a cut record', Buffer.from([1, 0, 0])],
    ['a length of zero', Buffer.concat([Buffer.from([1]), Buffer.alloc(14)])],
  ])('refuses %s', (_what, bytes) => {
    expect(() => BlockSums.parse(bytes)).toThrow(expect.objectContaining({ code: 'corrupt' }));
  });

  it('refuses blocks out of order', () => {
    const sums = new BlockSums();
    sums.set(1, 1, 1);
    const one = sums.serialise() ?? Buffer.alloc(0);
    expect(() => BlockSums.parse(Buffer.concat([one, one.subarray(1)]))).toThrow(
      expect.objectContaining({ code: 'corrupt' }),
    );
  });
});

describe('RunningSum', () => {
  it('sums every whole block however the bytes are cut', () => {
    const size = 3 * B + 1000;
    const content = Buffer.alloc(size);
    for (let i = 0; i < size; i++) content[i] = (i * 31 + (i >> 8)) & 0xff;
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 * B }),
        fc.array(fc.integer({ min: 1, max: B + 500 }), { minLength: 1, maxLength: 40 }),
        (start, pieces) => {
          const sum = new RunningSum();
          const got = new Map<number, { crc: number; length: number }>();
          let at = start;
          for (const length of pieces) {
            const end = Math.min(at + length, size);
            sum.feed(at, content.subarray(at, end), size, (block, crc, bytes) =>
              got.set(block, { crc, length: bytes }),
            );
            at = end;
          }
          const expected: number[] = [];
          for (let block = Math.ceil(start / B); block * B < at; block++) {
            const end = Math.min((block + 1) * B, size);
            if (end <= at) expected.push(block);
          }
          expect([...got.keys()]).toEqual(expected);
          for (const [block, { crc, length }] of got) {
            expect(length).toBe(Math.min(B, size - block * B));
            expect(crc).toBe(crc32(content.subarray(block * B, block * B + length)));
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it('does not sum over a gap', () => {
    const sum = new RunningSum();
    const blocks: number[] = [];
    const note = (block: number) => blocks.push(block);
    sum.feed(0, Buffer.alloc(B / 2), 10 * B, note);
    sum.feed(B / 2 + 1, Buffer.alloc(B / 2 - 1), 10 * B, note);
    sum.feed(B, Buffer.alloc(B), 10 * B, note);
    expect(blocks).toEqual([1]);
  });
});
