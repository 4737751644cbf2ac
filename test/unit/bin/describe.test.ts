import { expect, it } from 'vitest';
import { describePath } from '../../../bin/cli/describe.js';
import type { PathStatus } from '../../../src/cache/cache_api.js';

const folder = (cached_bytes: number) =>
  describePath('/drive', {
    path: 'folder',
    kind: 'dir',
    status: 'cached',
    size_bytes: 2048,
    cached_bytes,
    files: 2,
    pin: 'none',
    lock: null,
    error: null,
  } as unknown as PathStatus);

it('a folder is said to be here when all that is in it is', () => {
  expect(folder(2048)).toContain('status  here and on the server');
  expect(folder(2047)).toContain('status  on the server');
});
