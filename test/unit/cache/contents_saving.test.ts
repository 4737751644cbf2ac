import { expect, it } from 'vitest';
import { startSyncs } from '../../../src/cache/contents_saving.js';

/** A disk that makes whoever hands something over wait for `here_ms`. */
class Disk {
  here = 0;
  elsewhere = 0;

  file(here_ms: number) {
    return {
      startSyncHere: () => {
        this.here += 1;
        for (const end = performance.now() + here_ms; performance.now() < end; );
      },
      startSync: () => {
        this.elsewhere += 1;
        return Promise.resolve();
      },
    };
  }
}

it('small files are handed to the disk at once, large ones on another thread', async () => {
  const disk = new Disk();
  await startSyncs([1, 60_000, 70_000, 10].map((size_bytes) => ({ file: disk.file(0), size_bytes })));
  expect([disk.here, disk.elsewhere]).toEqual([3, 1]);
});

it('where the disk makes one wait, another thread waits', async () => {
  const disk = new Disk();
  await startSyncs(Array.from({ length: 200 }, () => ({ file: disk.file(4), size_bytes: 100 })));
  expect(disk.here).toBeLessThanOrEqual(3);
  expect(disk.here + disk.elsewhere).toBe(200);
});
