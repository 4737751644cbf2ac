import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { CacheControl } from '../../../src/cache/cache_api.js';
import { type DriveControl, driveMethods } from '../../../src/daemon/drive_methods.js';

it('progress that takes long to find out does not keep the drive from everything else', async () => {
  let walks = 0;
  const cache = {
    pin: () => undefined,
    pins: () => {
      walks += 1;
      for (const end = performance.now() + 150; performance.now() < end; );
      return [];
    },
    reconnect: () => Promise.resolve(),
    waitPinned: () => sleep(2_600),
  } as unknown as CacheControl;
  const methods = driveMethods({ cache } as DriveControl);
  let told = 0;
  const context = { signal: new AbortController().signal, progress: () => (told += 1) };
  await methods['pin']?.({ path: 'photos', wait: true }, context);
  expect(told).toBeGreaterThanOrEqual(5); // signs of life
  expect(walks).toBeLessThanOrEqual(2); // at the beginning, and for the answer
});
