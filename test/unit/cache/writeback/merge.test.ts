// A file of which only parts are here is changed while the rest of it comes from a newer version of the server's.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { CALLER, TestCache } from '../../../support/test_cache.js';

let drive: TestCache;

afterEach(async () => {
  expect(await drive.check()).toEqual([]);
  await drive.close();
});

it('what comes behind the end it is cut to meanwhile does not show when it grows again', async () => {
  drive = await TestCache.open({ quiet_ms: 60_000 });
  const { remote, server } = drive;
  server.write('large.bin', Buffer.alloc(3_000_000, 1));
  await drive.until('it is here', async () => (await drive.node('large.bin')) !== null);
  const file = await drive.open('large.bin', 'r+');
  await file.write(2_990_000, Buffer.from('changed here'), CALLER);
  await file.flush(CALLER);
  server.write('large.bin', Buffer.alloc(3_000_000, 2));
  remote.chunk_bytes = 50_000;
  remote.chunkLatency_ms = 10;
  file.release();
  const sent = drive.flush().catch((error: unknown) => error);
  await drive.until('the rest is coming', () => remote.bytesRead > 300_000);
  const again = await drive.cache.open(file.ino, { read: true, write: true, truncate: false }, CALLER);
  await drive.cache.setattr(file.ino, { size_bytes: 100 }, CALLER);
  await sleep(300);
  await again.write(2_500_000, Buffer.from('at the end'), CALLER);
  const between = Buffer.from(await again.read(100, 2_499_900, CALLER));
  expect(between.equals(Buffer.alloc(2_499_900))).toBe(true);
  await again.flush(CALLER);
  again.release();
  await sent;
});

for (const last_bytes of [3_000_000, 1_000_000]) {
  it(`is of one version besides what was changed here, when another of ${last_bytes} bytes comes in the middle`, async () => {
    drive = await TestCache.open({ quiet_ms: 60_000 });
    const { remote, server } = drive;
    server.write('large.bin', Buffer.alloc(3_000_000, 1));
    await drive.until('it is here', async () => (await drive.node('large.bin')) !== null);
    const file = await drive.open('large.bin', 'r+');
    await file.write(2_500_000, Buffer.from('changed here'), CALLER);
    await file.flush(CALLER);
    server.write('large.bin', Buffer.alloc(3_000_000, 2));
    remote.chunk_bytes = 50_000;
    remote.chunkLatency_ms = 5;
    // The first part comes, the last does not any more.
    const stop = remote.before('read', () => {
      if (remote.bytesRead < 2_000_000) return;
      stop();
      server.write('large.bin', Buffer.alloc(last_bytes, 3));
    });
    file.release();
    await drive.flush();
    const copy = server.paths().find((path) => path.includes('conflict')) ?? '';
    const expected = Buffer.alloc(3_000_000).fill(3, 0, last_bytes);
    expected.write('changed here', 2_500_000);
    expect(server.read(copy).equals(expected)).toBe(true);
  });
}

it('is of one version besides what was changed here, also where the old one had been read', async () => {
  drive = await TestCache.open({ quiet_ms: 60_000 });
  const { server } = drive;
  server.write('large.bin', Buffer.alloc(6_000_000, 1));
  await drive.until('it is here', async () => (await drive.node('large.bin')) !== null);
  const file = await drive.open('large.bin', 'r+');
  await file.read(0, 4096, CALLER);
  await file.write(5_000_000, Buffer.from('changed here'), CALLER);
  await file.flush(CALLER);
  server.write('large.bin', Buffer.alloc(6_000_000, 2));
  expect(Buffer.from(await file.read(0, 4096, CALLER)).equals(Buffer.alloc(4096, 1))).toBe(true);
  file.release();
  await drive.flush();
  const copy = server.paths().find((path) => path.includes('conflict')) ?? '';
  const expected = Buffer.alloc(6_000_000, 2);
  expected.write('changed here', 5_000_000);
  expect(server.read(copy).indexOf(1)).toBe(-1);
  expect(server.read(copy).equals(expected)).toBe(true);
});

/** A cache of 4 MiB in which a file of this size was changed at its beginning, and on the server. */
async function changedOnBothSides(size_bytes: number): Promise<void> {
  drive = await TestCache.open({ quiet_ms: 60_000, sizeLimit_bytes: 4 * MiB, spaceWait_ms: 300 });
  const { server } = drive;
  server.write('large.bin', Buffer.alloc(size_bytes, 1));
  server.write('other.bin', Buffer.alloc(2 * MiB, 9));
  await drive.until('it is here', async () => (await drive.node('large.bin')) !== null);
  await drive.until('so is the other', async () => (await drive.node('other.bin')) !== null);
  await drive.read('other.bin');
  const file = await drive.open('large.bin', 'r+');
  await file.write(0, Buffer.from('changed here'), CALLER);
  await file.flush(CALLER);
  server.write('large.bin', Buffer.alloc(size_bytes, 2));
  file.release();
}

const MiB = 1024 * 1024;

it('fetches nothing where there is no room for the rest, and says so', async () => {
  await changedOnBothSides(3 * MiB);
  const held = await drive.open('held.bin', 'w');
  let written: unknown = null;
  const stop = drive.remote.before('read', () => {
    stop();
    // Takes the room that was meant for the old version's bytes.
    written = held.write(0, Buffer.alloc(3 * MiB, 'h'), CALLER);
  });
  const before = drive.remote.bytesRead;
  await expect(drive.flush('large.bin')).rejects.toThrow('required room');
  await written;
  expect(drive.remote.bytesRead).toBe(before);
  expect(drive.cache.status().cacheUsed_bytes).toBeLessThanOrEqual(4 * MiB);
  await held.flush(CALLER);
  held.release();
  await drive.flush('held.bin');
  await drive.flush('large.bin');
  expect(drive.server.paths().filter((path) => path.includes('conflict'))).toHaveLength(1);
});
