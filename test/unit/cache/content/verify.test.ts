import { join } from 'node:path';
import { dir as tmpDir } from 'tmp-promise';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BlockSums, SUM_BLOCK_BYTES } from '../../../../src/cache/content/block_sums.js';
import type { ContentFile } from '../../../../src/cache/content/content_file.js';
import { ContentStore } from '../../../../src/cache/content/content_store.js';
import { ExtentSet } from '../../../../src/cache/content/extents.js';
import { fillSums, isSummed, verifyContent } from '../../../../src/cache/content/verify.js';
import type { Ino } from '../../../../src/ids.js';
import { silentLog } from '../../../../src/log.js';

const B = SUM_BLOCK_BYTES;
const SIZE = 3 * B + 100;

let cleanup: () => Promise<void>;
let store: ContentStore;
let file: ContentFile;
let extents: ExtentSet;
let sums: BlockSums;

beforeEach(async () => {
  const made = await tmpDir({ unsafeCleanup: true });
  cleanup = made.cleanup;
  store = new ContentStore({ dir: join(made.path, 'content'), log: silentLog });
  file = store.open(1 as Ino, 1, { create: true, size_bytes: SIZE });
  file.write(0, Buffer.alloc(SIZE, 'content '));
  extents = new ExtentSet();
  extents.insert(0, SIZE);
  sums = new BlockSums();
  await fillSums(file, extents, SIZE, sums, () => false);
});

afterEach(async () => {
  file.close();
  await store.close();
  await cleanup();
});

describe('fillSums', () => {
  it('covers every block, the short last one too', () => {
    expect(sums.blocks()).toEqual([0, 1, 2, 3]);
    expect(sums.get(3)?.length).toBe(100);
  });

  it('leaves out blocks that are not whole', async () => {
    extents.remove(B + 5, B + 6);
    const partial = new BlockSums();
    await fillSums(file, extents, SIZE, partial, () => false);
    expect(partial.blocks()).toEqual([0, 2, 3]);
  });

  it('records nothing once the bytes change', async () => {
    const none = new BlockSums();
    await fillSums(file, extents, SIZE, none, () => true);
    expect(none.size).toBe(0);
  });
});

describe('isSummed', () => {
  it('says whether every whole block has the sum of all its bytes', () => {
    expect(isSummed(extents, SIZE, sums)).toBe(true);
    expect(isSummed(extents, SIZE + 1, sums)).toBe(true); // the byte that came is not present yet
    extents.insert(SIZE, SIZE + 1);
    expect(isSummed(extents, SIZE + 1, sums)).toBe(false);
  });

  it('does not ask for sums of blocks that are not whole', () => {
    sums.forget(B, B + 1);
    expect(isSummed(extents, SIZE, sums)).toBe(false);
    extents.remove(B + 5, B + 6);
    expect(isSummed(extents, SIZE, sums)).toBe(true);
  });
});

describe('verifyContent', () => {
  it('proves untouched content', async () => {
    expect(await verifyContent(file, extents, sums)).toEqual({
      proven: [{ start: 0, end: SIZE }],
      damaged: [],
      damagedDirty: [],
      unproven: [],
    });
  });

  it('finds one flipped bit', async () => {
    file.write(B + 77, Buffer.from('X'));
    const found = await verifyContent(file, extents, sums);
    expect(found.damaged).toEqual([{ start: B, end: 2 * B }]);
    expect(found.proven).toEqual([
      { start: 0, end: B },
      { start: 2 * B, end: SIZE },
    ]);
  });

  it('finds a file cut short', async () => {
    file.truncate(2 * B + 10);
    const found = await verifyContent(file, extents, sums);
    expect(found.damaged).toEqual([{ start: 2 * B + 10, end: SIZE }]);
    expect(found.proven).toEqual([{ start: 0, end: 2 * B }]);
    expect(found.unproven).toEqual([{ start: 2 * B, end: 2 * B + 10 }]);
  });

  it('tells damage of bytes that exist only here from the other', async () => {
    extents.insertDirty(B + 10, B + 20);
    file.write(B + 77, Buffer.from('X'));
    const found = await verifyContent(file, extents, sums);
    expect(found.damagedDirty).toEqual([{ start: B + 10, end: B + 20 }]);
    expect(found.damaged).toEqual([
      { start: B, end: B + 10 },
      { start: B + 20, end: 2 * B },
    ]);
  });

  it('says of bytes without a sum that it knows nothing', async () => {
    sums.forget(0, 1);
    const found = await verifyContent(file, extents, sums);
    expect(found.unproven).toEqual([{ start: 0, end: B }]);
    expect(found.damaged).toEqual([]);
  });

  it('ends when aborted', async () => {
    await expect(verifyContent(file, extents, sums, AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
  });
});
