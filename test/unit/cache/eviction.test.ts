import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it, vi } from 'vitest';
import { NodeStore } from '../../../src/cache/metadata/node_store.js';
import { FakeRemote } from '../../support/fake_remote.js';
import { TestCache } from '../../support/test_cache.js';

let drive: TestCache;

afterEach(async () => {
  vi.restoreAllMocks();
  await drive.close();
});

const PINNED = 600;
const OTHERS = 40;
/** Whole blocks: that is what counts once they are recorded. */
const SIZE = 8192;

it('pinned files that nobody uses are not all looked at for each file that must make room, and go once they may', async () => {
  const remote = new FakeRemote();
  for (const folder of ['kept', 'others', 'more']) remote.server.mkdir(folder);
  for (let i = 0; i < PINNED; i += 1) remote.server.write(`kept/${i}`, 'k'.repeat(SIZE));
  for (let i = 0; i < OTHERS; i += 1) {
    remote.server.write(`others/${i}`, 'o'.repeat(SIZE));
    remote.server.write(`more/${i}`, 'm'.repeat(SIZE));
  }
  drive = await TestCache.open({ remote, sizeLimit_bytes: (PINNED + OTHERS) * SIZE });
  await drive.until('all is known', async () => (await drive.list('more')).length === OTHERS);
  drive.cache.pin('kept');
  await drive.cache.waitPinned('kept', new AbortController().signal);
  for (let i = 0; i < OTHERS; i += 1) await drive.read(`others/${i}`);
  const isThere = async (path: string) => (await drive.cache.pathStatus(path)).cached_bytes > 0;
  await drive.until('it is full', () => drive.cache.status().cacheUsed_bytes === (PINNED + OTHERS) * SIZE);
  expect(await isThere('others/0')).toBe(true);

  await sleep(1_000); // until they are recorded
  const looked = vi.spyOn(NodeStore.prototype, 'leastRecentlyUsed');
  for (let i = 0; i < OTHERS; i += 1) await drive.read(`more/${i}`);
  const rows = looked.mock.results.reduce((sum, { value }) => sum + (value as unknown[]).length, 0);
  expect(await isThere('others/0')).toBe(false);
  expect(looked.mock.calls.length).toBeGreaterThan(10);
  expect(rows).toBeLessThan(5_000); // all of them each time would be twenty-five thousand

  drive.cache.unpin('kept');
  remote.server.write('large', 'l'.repeat(300 * SIZE));
  await drive.until('it is known', async () => (await drive.list()).includes('large'));
  expect((await drive.read('large')).length).toBe(300 * SIZE);
  expect(await isThere('kept/0')).toBe(false);
});
