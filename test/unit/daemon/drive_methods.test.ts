import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { CacheControl } from '../../../src/cache/cache_api.js';
import { type DriveControl, driveMethods } from '../../../src/daemon/drive_methods.js';

it('nothing unsent is given up unasked with a cache folder that is gone', async () => {
  let queue: unknown[] = [{ state: 'failed', size_bytes: 1, sent_bytes: 0 }];
  const cache = { status: () => ({ connection: 'offline', inPlace: false, queue }) } as unknown as CacheControl;
  const asked: unknown[] = [];
  const methods = driveMethods({ cache, unmount: (how: unknown) => asked.push(how) } as unknown as DriveControl);
  const context = { signal: new AbortController().signal, progress: () => undefined };
  const unmount = async (force: boolean) => methods['unmount']?.({ force, wait_ms: 0 }, context);
  await expect(unmount(false)).rejects.toThrow('a change is not on the server, and the cache folder was removed');
  expect(asked).toEqual([]);
  await unmount(true);
  queue = [];
  await unmount(false);
  expect(asked).toEqual([{ force: true }, { force: false }]);
});

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
