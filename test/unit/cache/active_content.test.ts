import { expect, it } from 'vitest';
import { ActiveContent } from '../../../src/cache/active_content.js';
import { BlockSums } from '../../../src/cache/content/block_sums.js';
import type { ContentFile } from '../../../src/cache/content/content_file.js';
import { ExtentSet } from '../../../src/cache/content/extents.js';
import type { NodeRecord } from '../../../src/cache/metadata/node.js';

it('a write that waits for its record is a change already: to what goes on, and to what has begun before', async () => {
  const node = { size_bytes: 10, gen: 0, cached_bytes: 0 } as NodeRecord;
  const content = new ActiveContent(node, {} as ContentFile, new ExtentSet(), new BlockSums(), () => {
    throw new Error('not asked');
  });
  const before = content.snapshot();
  expect(before()).toBe(true);
  let recorded = () => {};
  const announced = content.announce(
    new Promise((resolve) => {
      recorded = resolve;
    }),
  );
  expect(content.changing).toBe(true);
  expect(before()).toBe(false);
  recorded();
  await announced;
  expect(content.changing).toBe(false);
  expect(before()).toBe(false);
  expect(content.snapshot()()).toBe(true);
  await expect(content.announce(Promise.reject(new Error('the disk is full')))).rejects.toThrow('the disk is full');
  expect(content.changing).toBe(false);
});
