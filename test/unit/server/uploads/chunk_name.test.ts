import { describe, expect, test } from 'vitest';
import { compareChunks, contiguousCount, parseChunkName } from '../../../../src/server/uploads/chunk_name.js';

describe('chunk names', () => {
  test('are numbers, offsets or ranges', () => {
    expect(parseChunkName('0000000000000012')).toEqual({ name: '0000000000000012', start: 12, last: null });
    expect(parseChunkName('000000000000100-000000000000199')).toMatchObject({ start: 100, last: 199 });
  });

  test.each(['', '.file', 'a', '1a', '-1', '1-', '2-1', '../1', '1.5', '9'.repeat(20), '1'.repeat(21)])(
    '%j is none',
    (name) => {
      expect(() => parseChunkName(name)).toThrow(expect.objectContaining({ code: 'invalid' }));
    },
  );

  test('order by number, not by text', () => {
    const sorted = ['10', '9', '00011', '1', '000000000000002'].map(parseChunkName).sort(compareChunks);
    expect(sorted.map(({ start }) => start)).toEqual([1, 2, 9, 10, 11]);
  });
});

describe('what certainly follows from the start', () => {
  const chunks = (list: readonly (readonly [string, number])[]) =>
    list.map(([name, size_bytes]) => ({ ...parseChunkName(name), size_bytes }));

  test.each([
    [
      'counted from 0',
      [
        ['0', 5],
        ['1', 5],
        ['2', 5],
      ],
      3,
    ],
    [
      'counted from 1',
      [
        ['1', 5],
        ['2', 5],
      ],
      2,
    ],
    [
      'a gap in the count',
      [
        ['0', 5],
        ['1', 5],
        ['3', 5],
      ],
      2,
    ],
    [
      'offsets',
      [
        ['0', 10],
        ['10', 10],
        ['20', 3],
      ],
      3,
    ],
    [
      'a gap in the offsets',
      [
        ['0', 10],
        ['20', 10],
      ],
      1,
    ],
    [
      'ranges',
      [
        ['000-009', 10],
        ['010-019', 10],
      ],
      2,
    ],
    [
      'a gap in the ranges',
      [
        ['000-009', 10],
        ['020-029', 10],
      ],
      1,
    ],
    [
      'no start',
      [
        ['7', 5],
        ['8', 5],
      ],
      0,
    ],
    ['nothing', [], 0],
  ] as const)('%s', (_what, list, count) => {
    expect(contiguousCount(chunks(list))).toBe(count);
  });
});
