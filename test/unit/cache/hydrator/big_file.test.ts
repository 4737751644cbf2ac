// A file larger than the whole cache, read from end to end with read-ahead: hydrator, budget and read-ahead together.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Hydrator } from '../../../../src/cache/hydrator.js';
import { ReadAhead } from '../../../../src/cache/read_ahead.js';
import { farFrom, SpaceBudget } from '../../../../src/cache/space.js';
import { systemClock } from '../../../../src/clock.js';
import { silentLog } from '../../../../src/log.js';
import { isPromise } from '../../../../src/maybe_promise.js';
import type { Remote } from '../../../../src/remote/remote.js';
import { type Files, makeFiles, serverBytes } from './hand_remote.js';

const KiB = 1024;
const MiB = 1024 * KiB;

let files: Files;
beforeEach(async () => {
  files = await makeFiles();
});
afterEach(() => files.cleanup());

function world(limit_bytes: number, size: number) {
  const node = files.node(size);
  const position = { at: 0 };
  const remoteRead: Remote['read'] = async (_path, { start, end }, _etag, sink, options) => {
    for (let at = start; at < end; at += 64 * KiB) {
      await new Promise((resolve) => setImmediate(resolve));
      options?.signal?.throwIfAborted();
      await sink(serverBytes(at, Math.min(at + 64 * KiB, end)), at);
    }
  };
  const space: SpaceBudget = new SpaceBudget({
    limit_bytes,
    minFree_bytes: 0,
    used_bytes: 0,
    clock: systemClock,
    log: silentLog,
    freeBytes: () => 1e12,
    candidates: () => [],
    evict: () => 0,
    shrinkOpen: (bytes, sides) => {
      let freed = 0;
      const readers = { positions: [position.at], keep_bytes: MiB, wanted: hydrator.wanted(node) };
      for (const range of farFrom(node.extents, readers, bytes, sides)) {
        node.evict(range.start, range.end);
        freed += range.end - range.start;
      }
      return freed;
    },
  });
  const hydrator = new Hydrator({ remoteRead, clock: systemClock, log: silentLog, space });
  return { node, position, space, hydrator };
}

describe('a file larger than the cache', () => {
  it('reads from end to end, fetching hardly more than it has, within the limit', async () => {
    const limit = 12 * MiB;
    const size = 48 * MiB + 1234;
    const { node, position, space, hydrator } = world(limit, size);
    const ahead = new ReadAhead({ max_bytes: limit / 4 });
    const closing = new AbortController();
    let most = 0;
    for (let at = 0; at < size; at += 128 * KiB) {
      position.at = at;
      const window = ahead.onRead(at, 128 * KiB, size);
      const answer = hydrator.read(node, at, 128 * KiB);
      if (window !== null) hydrator.ahead(node, window.start, window.end, closing.signal);
      const bytes = isPromise(answer) ? await answer : answer;
      expect(Buffer.compare(bytes, serverBytes(at, Math.min(at + 128 * KiB, size)))).toBe(0);
      most = Math.max(most, space.used_bytes);
      expect(node.extents.presentBytes).toBeLessThanOrEqual(limit);
    }
    closing.abort();
    await hydrator.close();
    expect(most).toBeLessThanOrEqual(limit);
    expect(hydrator.stats().fetched_bytes).toBeLessThan(size * 1.1);
    expect(node.file.stat().allocated_bytes).toBeLessThanOrEqual(limit + MiB);
    expect(space.used_bytes).toBe(node.extents.presentBytes);
  });

  it('transfers little for a few bytes at the end of 4 GiB', async () => {
    const size = 4 * 1024 * MiB;
    const { node, hydrator } = world(12 * MiB, size);
    const bytes = await hydrator.read(node, size - 4096, 4096);
    expect(Buffer.compare(bytes, serverBytes(size - 4096, size))).toBe(0);
    await hydrator.close();
    expect(hydrator.stats().fetched_bytes).toBeLessThanOrEqual(256 * KiB);
  });
});
