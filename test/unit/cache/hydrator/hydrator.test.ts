import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BlockSums, SUM_BLOCK_BYTES } from '../../../../src/cache/content/block_sums.js';
import { fillSums } from '../../../../src/cache/content/verify.js';
import { Hydrator, type HydratorOptions } from '../../../../src/cache/hydrator.js';
import type { FetchPriority } from '../../../../src/cache/range_fetch.js';
import { CloudError, type ErrorCode } from '../../../../src/errors.js';
import { silentLog } from '../../../../src/log.js';
import { type Files, HandRemote, makeFiles, serverBytes, type TestNode } from './hand_remote.js';
import { ManualClock, settled } from './manual_clock.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const BLOCK = 128 * KiB;

let files: Files;
let remote: HandRemote;
let clock: ManualClock;
let hydrator: Hydrator;

beforeEach(async () => {
  files = await makeFiles();
  remote = new HandRemote();
  clock = new ManualClock();
  hydrator = make();
});

afterEach(async () => {
  await hydrator.close();
  await files.cleanup();
});

function make(options: Partial<HydratorOptions> = {}): Hydrator {
  return new Hydrator({ remoteRead: remote.read, clock, log: silentLog, ...options });
}

/** How a wait ended, without awaiting it. */
interface Outcome {
  done: 'pending' | 'ok' | ErrorCode;
}

function need(
  node: TestNode,
  start: number,
  end: number,
  priority: FetchPriority = 'read',
  signal?: AbortSignal,
): Outcome {
  const outcome: Outcome = { done: 'pending' };
  Promise.resolve()
    .then(() => hydrator.need(node, start, end, { priority, signal }))
    .then(
      () => {
        outcome.done = 'ok';
      },
      (error: unknown) => {
        outcome.done = error instanceof CloudError ? error.code : 'io';
      },
    );
  return outcome;
}

function network(message = 'reset'): CloudError {
  return new CloudError('network', message);
}

describe('what is asked for', () => {
  it('asks for nothing that is here, and answers at once', () => {
    const node = files.node(10 * MiB);
    node.extents.insert(0, MiB);
    expect(hydrator.need(node, 0, MiB, { priority: 'read' })).toBeUndefined();
    expect(hydrator.need(node, 10 * MiB, 11 * MiB, { priority: 'read' })).toBeUndefined();
    expect(remote.requests).toEqual([]);
    expect(hydrator.isBusy(node)).toBe(false);
  });

  it('fetches a small file whole with its first read', async () => {
    const node = files.node(700 * KiB);
    const first = need(node, 300 * KiB, 301 * KiB);
    await settled();
    expect(remote.request(0).range).toEqual([0, 700 * KiB]);
    await remote.request(0).finish();
    await settled();
    expect(first.done).toBe('ok');
    expect(node.extents.isComplete(700 * KiB)).toBe(true);
    expect(Buffer.compare(node.content(), serverBytes(0, 700 * KiB))).toBe(0);
  });

  it('rounds to blocks, cut at the end of the file', async () => {
    const size = 4 * 1024 * MiB - 1000;
    const node = files.node(size);
    need(node, size - 4096, size);
    need(node, BLOCK + 5, BLOCK + 6);
    await settled();
    expect(remote.requests.map((request) => request.range)).toEqual([
      [size - (size % BLOCK), size],
      [BLOCK, 2 * BLOCK],
    ]);
  });

  it('asks for the missing parts only', async () => {
    const node = files.node(10 * MiB);
    node.extents.insert(BLOCK, 2 * BLOCK);
    node.extents.insertDirty(3 * BLOCK - 10, 3 * BLOCK);
    need(node, 0, 3 * BLOCK);
    await settled();
    expect(remote.requests.map((request) => request.range)).toEqual([
      [0, BLOCK],
      [2 * BLOCK, 3 * BLOCK - 10],
    ]);
  });

  it('carries path and version', async () => {
    const node = files.node(10 * MiB);
    node.path = 'a/b';
    node.etag = '"x"';
    need(node, 0, 1);
    await settled();
    expect(remote.request(0)).toMatchObject({ path: 'a/b', etag: '"x"' });
  });

  it('never asks beyond what the server has, and says `corrupt` if such bytes are missing', () => {
    const node = files.node(10 * MiB);
    node.remoteSize_bytes = 5 * MiB;
    expect(() => hydrator.need(node, 6 * MiB, 7 * MiB, { priority: 'read' })).toThrow(
      expect.objectContaining({ code: 'corrupt' }),
    );
    expect(remote.requests).toEqual([]);
  });
});

describe('who waits', () => {
  it('lets two readers of one range share one request', async () => {
    const node = files.node(10 * MiB);
    const first = need(node, 0, 4096);
    const second = need(node, 4096, 8192);
    await settled();
    expect(remote.requests).toHaveLength(1);
    await remote.request(0).finish();
    await settled();
    expect([first.done, second.done]).toEqual(['ok', 'ok']);
  });

  it('releases a reader as soon as its own bytes are here', async () => {
    const node = files.node(10 * MiB);
    const near = need(node, 0, 4096);
    const far = need(node, BLOCK - 10, BLOCK);
    await settled();
    await remote.request(0).send(4095);
    await settled();
    expect(near.done).toBe('pending');
    await remote.request(0).send(1);
    await settled();
    expect([near.done, far.done]).toEqual(['ok', 'pending']);
    await remote.request(0).finish();
    await settled();
    expect(far.done).toBe('ok');
  });

  it('goes on for the others when one gives up, and stops when all have', async () => {
    const node = files.node(10 * MiB);
    const [a, b] = [new AbortController(), new AbortController()];
    const first = need(node, 0, 4096, 'read', a.signal);
    const second = need(node, 0, 4096, 'read', b.signal);
    await settled();
    a.abort();
    await settled();
    expect([first.done, second.done]).toEqual(['interrupted', 'pending']);
    expect(remote.request(0).over).toBe('no');
    b.abort();
    await settled();
    expect(second.done).toBe('interrupted');
    expect(remote.request(0).over).toBe('aborted');
    expect(hydrator.isBusy(node)).toBe(false);
    expect(node.file.users).toBe(1);
  });

  it('finishes a request that has served somebody, although nobody waits any more', async () => {
    const node = files.node(10 * MiB);
    const leaver = new AbortController();
    const quick = need(node, 0, 10);
    const slow = need(node, BLOCK - 10, BLOCK, 'read', leaver.signal);
    await settled();
    await remote.request(0).send(10);
    leaver.abort();
    await settled();
    expect([quick.done, slow.done]).toEqual(['ok', 'interrupted']);
    expect(remote.request(0).over).toBe('no');
    await remote.request(0).finish();
    await settled();
    expect(node.extents.covers(0, BLOCK)).toBe(true);
  });

  it('refuses at once who comes with an aborted signal', () => {
    const node = files.node(10 * MiB);
    expect(() => hydrator.need(node, 0, 1, { priority: 'read', signal: AbortSignal.abort() })).toThrow(
      expect.objectContaining({ code: 'interrupted' }),
    );
    expect(remote.requests).toEqual([]);
  });

  it('keeps what an aborted request has brought', async () => {
    const node = files.node(10 * MiB);
    const gone = new AbortController();
    need(node, 0, BLOCK, 'read', gone.signal);
    await settled();
    await remote.request(0).send(1000);
    gone.abort();
    await settled();
    expect(node.extents.presentRanges()).toEqual([{ start: 0, end: 1000 }]);
    need(node, 0, BLOCK);
    await settled();
    expect(remote.request(1).range).toEqual([1000, BLOCK]);
  });

  it('keeps new waiters apart from a request that is only just ending', async () => {
    const node = files.node(10 * MiB);
    const gone = new AbortController();
    const first = Promise.resolve(hydrator.need(node, 0, 1, { priority: 'read', signal: gone.signal }));
    gone.abort();
    const second = Promise.resolve(hydrator.need(node, 0, 1, { priority: 'read' }));
    await expect(first).rejects.toMatchObject({ code: 'interrupted' });
    await settled();
    expect(hydrator.isBusy(node)).toBe(true);
    need(node, 1, 2);
    await settled();
    expect(remote.open).toHaveLength(1);
    await remote.request(remote.requests.length - 1).finish();
    await second;
  });

  it('does not take bytes of an aborted request that arrive late', async () => {
    const node = files.node(10 * MiB);
    const gone = new AbortController();
    const sinks: ((chunk: Buffer, offset: number) => unknown)[] = [];
    // A remote that does not notice the signal at once.
    hydrator = make({ remoteRead: (_path, _range, _etag, sink) => new Promise(() => sinks.push(sink)) });
    need(node, 0, BLOCK, 'read', gone.signal);
    await settled();
    gone.abort();
    expect(() => sinks[0]?.(serverBytes(0, 10), 0)).toThrow(expect.objectContaining({ code: 'interrupted' }));
    expect(node.extents.isEmpty).toBe(true);
    hydrator = make();
  });
});

describe('many requests', () => {
  it('fetches ahead in parallel, within the bounds per file and in all', async () => {
    const nodes = [files.node(64 * MiB), files.node(64 * MiB), files.node(64 * MiB), files.node(64 * MiB)];
    const { signal } = new AbortController();
    for (const node of nodes) hydrator.ahead(node, 0, 64 * MiB, signal);
    await settled();
    expect(remote.open).toHaveLength(18);
    for (const node of nodes) {
      expect(remote.open.filter((request) => request.path === node.path).length).toBeLessThanOrEqual(7);
    }
    expect(hydrator.stats()).toMatchObject({ running: 18, waiting: 4 });
  });

  it('splits a young window, so that it comes over several connections', async () => {
    const node = files.node(64 * MiB);
    hydrator.ahead(node, MiB, 3 * MiB, new AbortController().signal);
    await settled();
    expect(remote.open.map((request) => request.range)).toEqual([
      [MiB, 1.5 * MiB],
      [1.5 * MiB, 2 * MiB],
      [2 * MiB, 2.5 * MiB],
      [2.5 * MiB, 3 * MiB],
    ]);
  });

  it('has room for a program that waits while read-ahead and pins fill the rest', async () => {
    const busy = [files.node(64 * MiB), files.node(64 * MiB), files.node(64 * MiB), files.node(64 * MiB)];
    for (const node of busy) need(node, 0, 64 * MiB, 'pin');
    await settled();
    const before = remote.requests.length;
    const other = files.node(10 * MiB);
    need(other, 0, 1);
    need(busy[0] ?? other, 63 * MiB, 63 * MiB + 1);
    await settled();
    expect(remote.requests.slice(before).map((request) => request.path)).toEqual([other.path, busy[0]?.path]);
  });

  it('serves programs before read-ahead before pins', async () => {
    hydrator = make({ limits: { total: 2, reserved: 1 } });
    const [blocker, pinned, ahead, read] = [1, 2, 3, 4].map(() => files.node(BLOCK));
    if (!blocker || !pinned || !ahead || !read) throw new Error('no nodes');
    need(blocker, 0, 1, 'pin');
    await settled();
    need(pinned, 0, 1, 'pin');
    hydrator.ahead(ahead, 0, 1, new AbortController().signal);
    need(read, 0, 1);
    await settled();
    expect(remote.requests.map((request) => request.path)).toEqual([blocker.path, read.path]);
    await remote.request(1).finish();
    await remote.request(0).finish();
    await settled();
    expect(remote.request(2).path).toBe(ahead.path);
    await remote.request(2).finish();
    await settled();
    expect(remote.request(3).path).toBe(pinned.path);
  });

  it('ends read-ahead with its signal, but not what a program waits for', async () => {
    const node = files.node(64 * MiB);
    const handle = new AbortController();
    hydrator.ahead(node, 0, 16 * MiB, handle.signal);
    await settled();
    const reader = need(node, 0, 10);
    await settled();
    handle.abort();
    await settled();
    expect(remote.open.map((request) => request.range)).toEqual([[0, 4 * MiB]]);
    await remote.request(0).send(10);
    await settled();
    expect(reader.done).toBe('ok');
  });

  it('does not let a program wait for the far end of a long request', async () => {
    const node = files.node(64 * MiB);
    need(node, 0, 4 * MiB, 'pin');
    await settled();
    expect(remote.request(0).range).toEqual([0, 4 * MiB]);
    const reader = need(node, 3 * MiB + 5, 3 * MiB + 10);
    await settled();
    expect(remote.request(1).range).toEqual([3 * MiB, 3 * MiB + BLOCK]);
    expect(remote.request(0).over).toBe('no');
    await remote.request(1).finish();
    await settled();
    expect(reader.done).toBe('ok');
    // The long one stops where the other began; the pin fetches what is left behind it.
    await remote.request(0).send(3 * MiB + 1000);
    await settled();
    expect(remote.request(0).over).toBe('aborted');
    expect(remote.open.map((request) => request.range)).toEqual([[3 * MiB + BLOCK, 4 * MiB]]);
    expect(node.extents.presentRanges()).toEqual([{ start: 0, end: 3 * MiB + BLOCK }]);
    expect(Buffer.compare(node.content(0, 3 * MiB + BLOCK), serverBytes(0, 3 * MiB + BLOCK))).toBe(0);
  });
});

describe('what goes wrong', () => {
  it('goes on where a cut answer ended', async () => {
    const node = files.node(10 * MiB);
    const reader = need(node, 0, BLOCK);
    await settled();
    await remote.request(0).send(1000);
    remote.request(0).fail(network());
    await settled();
    expect(remote.request(1).range).toEqual([1000, BLOCK]);
    await remote.request(1).finish();
    await settled();
    expect(reader.done).toBe('ok');
    expect(Buffer.compare(node.content(0, BLOCK), serverBytes(0, BLOCK))).toBe(0);
  });

  it('never takes an answer that ends early for the whole', async () => {
    const node = files.node(10 * MiB);
    const reader = need(node, 0, BLOCK);
    await settled();
    await remote.request(0).send(1000);
    remote.request(0).resolve();
    await settled();
    expect(reader.done).toBe('protocol');
    expect(node.extents.covers(0, BLOCK)).toBe(false);
  });

  it('refuses bytes at another place than asked', async () => {
    const node = files.node(10 * MiB);
    const reader = need(node, BLOCK, 2 * BLOCK);
    await settled();
    await remote.request(0).send(1000, 0);
    await settled();
    expect(reader.done).toBe('protocol');
    expect(node.extents.isEmpty).toBe(true);
    expect(node.content(0, 2 * BLOCK).every((byte) => byte === 0)).toBe(true);
  });

  it('fails the reader, and nothing else, when the file is nowhere on the server by the next try', async () => {
    const node = files.node(10 * MiB);
    const reader = need(node, 0, 1);
    await settled();
    node.path = null;
    remote.request(0).fail(network());
    await clock.advance(500);
    expect(reader.done).toBe('stale');
    expect(hydrator.isBusy(node)).toBe(false);
    expect(remote.requests).toHaveLength(1);
  });

  it('tries again a few times, with pauses, then gives the error', async () => {
    const node = files.node(10 * MiB);
    const reader = need(node, 0, 1);
    await settled();
    remote.request(0).fail(network());
    await settled();
    expect(remote.requests).toHaveLength(1);
    await clock.advance(200);
    remote.request(1).fail(network());
    await clock.advance(200);
    expect(remote.requests).toHaveLength(2);
    await clock.advance(200);
    expect(reader.done).toBe('pending');
    remote.request(2).fail(network());
    await settled();
    expect(reader.done).toBe('network');
    expect(hydrator.isBusy(node)).toBe(false);
  });

  it('pauses before it tries again also where several requests end at once', async () => {
    const nodes = [files.node(10 * MiB), files.node(10 * MiB), files.node(10 * MiB)];
    const readers = nodes.map((node) => need(node, 0, 1));
    await settled();
    for (const request of remote.open) request.fail(network());
    await settled();
    expect(remote.requests).toHaveLength(3);
    await clock.advance(200);
    expect(remote.requests).toHaveLength(6);
    for (const request of remote.open) await request.finish();
    await settled();
    expect(readers.map(({ done }) => done)).toEqual(['ok', 'ok', 'ok']);
  });

  it('waits as long as a busy server asks', async () => {
    const node = files.node(10 * MiB);
    need(node, 0, 1);
    await settled();
    remote.request(0).fail(new CloudError('busy_server', 'later', { retryAfter_s: 3 }));
    await clock.advance(2900);
    expect(remote.requests).toHaveLength(1);
    await clock.advance(200);
    expect(remote.requests).toHaveLength(2);
  });

  it('keeps no program waiting for an hour because a busy server asks for it', async () => {
    const node = files.node(10 * MiB);
    const reader = need(node, 0, 1);
    await settled();
    remote.request(0).fail(new CloudError('busy_server', 'later', { retryAfter_s: 3600 }));
    await settled();
    expect(reader.done).toBe('busy_server');
  });

  it.each<ErrorCode>(['offline', 'unauthorized', 'no_access', 'protocol', 'not_found'])(
    'says `%s` at once',
    async (code) => {
      const node = files.node(10 * MiB);
      const reader = need(node, 0, 1);
      await settled();
      remote.request(0).fail(new CloudError(code, 'no'));
      await settled();
      expect(reader.done).toBe(code);
      expect(remote.requests).toHaveLength(1);
    },
  );

  it('asks again under the new name of a file that was moved meanwhile', async () => {
    const node = files.node(10 * MiB);
    const reader = need(node, 0, 1);
    await settled();
    node.path = 'moved';
    remote.request(0).fail(new CloudError('not_found', 'no'));
    await clock.advance(300);
    expect(remote.request(1).path).toBe('moved');
    await remote.request(1).finish();
    await settled();
    expect(reader.done).toBe('ok');
  });

  it('tells everybody when the version is gone, and takes no byte more', async () => {
    const node = files.node(64 * MiB);
    const first = need(node, 0, 1);
    const second = need(node, 32 * MiB, 32 * MiB + 1);
    await settled();
    await remote.request(1).send(5000);
    remote.request(0).fail(new CloudError('stale', 'changed'));
    await settled();
    expect([first.done, second.done]).toEqual(['stale', 'ok']);
    expect(remote.open).toEqual([]);
    const third = need(node, 0, 1);
    const fourth = need(node, 16 * MiB, 16 * MiB + 1);
    await settled();
    remote.request(2).fail(new CloudError('stale', 'changed'));
    await settled();
    expect([third.done, fourth.done]).toEqual(['stale', 'stale']);
    expect(node.file.users).toBe(1);
  });

  it('does not mix generations', async () => {
    const node = files.node(10 * MiB);
    const reader = need(node, 0, BLOCK);
    await settled();
    node.gen = 2;
    await remote.request(0).send(1000);
    await settled();
    expect(reader.done).toBe('stale');
    expect(node.extents.isEmpty).toBe(true);
  });

  it('asks again under a new ETag of the same bytes', async () => {
    const node = files.node(10 * MiB);
    const reader = need(node, 0, BLOCK);
    await settled();
    await remote.request(0).send(1000);
    node.etag = '"v2"';
    await remote.request(0).send(1000);
    await settled();
    expect(remote.request(1)).toMatchObject({ start: 1000, end: BLOCK, etag: '"v2"' });
    await remote.request(1).finish();
    await settled();
    expect(reader.done).toBe('ok');
  });

  it('ends a fetch that gets nothing for too long', async () => {
    const node = files.node(10 * MiB);
    const reader = need(node, 0, BLOCK);
    const pin = need(node, 0, BLOCK, 'pin');
    await settled();
    await clock.advance(19_000);
    await remote.request(0).send(10);
    await clock.advance(19_000);
    expect(reader.done).toBe('pending');
    await clock.advance(3000);
    expect([reader.done, pin.done]).toEqual(['timeout', 'timeout']);
    expect(remote.request(0).over).toBe('aborted');
    expect(hydrator.stats()).toMatchObject({ running: 0, waiting: 0 });
  });

  it('ends the wait of a program whose turn never comes', async () => {
    hydrator = make({ limits: { total: 1, reserved: 0 } });
    const blocker = files.node(BLOCK);
    const node = files.node(BLOCK);
    need(blocker, 0, BLOCK, 'pin');
    await settled();
    const reader = need(node, 0, 1);
    for (let i = 0; i < 23; i++) {
      await remote.request(0).send(10);
      await clock.advance(1000);
    }
    expect(reader.done).toBe('timeout');
    expect(remote.requests).toHaveLength(1);
  });

  it('keeps what a program needs apart from what was only rounding', async () => {
    const node = files.node(10 * MiB);
    node.extents.insert(1000, 2000);
    const reader = need(node, 0, 1000); // rounded to [0, 1000) and [2000, BLOCK)
    await settled();
    expect(remote.requests.map((request) => request.range)).toEqual([
      [0, 1000],
      [2000, BLOCK],
    ]);
    remote.request(1).fail(new CloudError('protocol', 'broken there'));
    await settled();
    expect(reader.done).toBe('pending');
    await remote.request(0).finish();
    await settled();
    expect(reader.done).toBe('ok');
    expect(remote.requests).toHaveLength(2);
  });

  it('gives the disk error of a full disk to the reader', async () => {
    const node = files.node(10 * MiB);
    const reader = need(node, 0, BLOCK);
    await settled();
    node.file.write = () => {
      throw new CloudError('no_space', 'full');
    };
    await remote.request(0).send(1000);
    await settled();
    expect(reader.done).toBe('no_space');
    expect(node.extents.isEmpty).toBe(true);
  });
});

describe('what is written here meanwhile', () => {
  it('is never overwritten by what arrives', async () => {
    const node = files.node(10 * MiB);
    const reader = need(node, 0, BLOCK);
    await settled();
    await remote.request(0).send(1000);
    node.write(500, Buffer.alloc(1000, 'W')); // over arrived and over missing bytes
    await remote.request(0).finish();
    await settled();
    expect(reader.done).toBe('ok');
    const expected = serverBytes(0, BLOCK).fill('W', 500, 1500);
    expect(Buffer.compare(node.content(0, BLOCK), expected)).toBe(0);
    expect(node.extents.dirtyRanges()).toEqual([{ start: 500, end: 1500 }]);
  });

  it('releases a reader whose bytes are all written here', async () => {
    const node = files.node(10 * MiB);
    hydrator = make({ limits: { total: 1, reserved: 0 } });
    need(files.node(BLOCK), 0, 1, 'pin');
    await settled();
    const reader = need(node, 0, BLOCK);
    node.write(0, Buffer.alloc(BLOCK, 'W'));
    await remote.request(0).finish();
    await settled();
    expect(reader.done).toBe('ok');
    expect(remote.requests).toHaveLength(1);
  });

  it('hides for good what a truncate cut off', async () => {
    const node = files.node(10 * MiB);
    const reader = need(node, 0, BLOCK);
    await settled();
    await remote.request(0).send(1000);
    node.truncate(5000);
    await remote.request(0).send(10_000);
    await settled();
    expect(reader.done).toBe('ok');
    expect(remote.request(0).over).toBe('aborted');
    expect(node.extents.presentRanges()).toEqual([{ start: 0, end: 5000 }]);
    node.truncate(20_000);
    expect(Buffer.compare(node.content(), Buffer.concat([serverBytes(0, 5000), Buffer.alloc(15_000)]))).toBe(0);
    expect(hydrator.isBusy(node)).toBe(false);
  });

  it('keeps the zeros of a file that was cut and grown again', async () => {
    const node = files.node(10 * MiB);
    need(node, 0, BLOCK);
    await settled();
    node.truncate(100);
    node.truncate(10_000);
    await remote.request(0).finish();
    await settled();
    expect(Buffer.compare(node.content(), Buffer.concat([serverBytes(0, 100), Buffer.alloc(9900)]))).toBe(0);
    expect(node.extents.dirtyRanges()).toEqual([{ start: 100, end: 10_000 }]);
  });
});

describe('a server without ETags', () => {
  it('counts a range only when it has come whole', async () => {
    const node = files.node(10 * MiB);
    node.etag = null;
    const reader = need(node, 0, 10);
    await settled();
    await remote.request(0).send(5000);
    await settled();
    expect(reader.done).toBe('pending');
    expect(node.extents.isEmpty).toBe(true);
    remote.request(0).fail(network());
    await clock.advance(300);
    expect(remote.request(1).range).toEqual([0, BLOCK]);
    await remote.request(1).send(5000);
    node.write(6000, Buffer.alloc(10, 'W'));
    await remote.request(1).finish();
    await settled();
    expect(reader.done).toBe('ok');
    expect(node.extents.covers(0, BLOCK)).toBe(true);
    expect(Buffer.compare(node.content(0, BLOCK), serverBytes(0, BLOCK).fill('W', 6000, 6010))).toBe(0);
  });
});

describe('space', () => {
  it('is reserved before a request and given back for what did not come', async () => {
    const log: [string, number][] = [];
    hydrator = make({
      space: {
        reserve: (bytes) => {
          log.push(['reserve', bytes]);
        },
        refund: (bytes) => log.push(['refund', bytes]),
      },
    });
    const node = files.node(10 * MiB);
    const gone = new AbortController();
    need(node, 0, BLOCK, 'read', gone.signal);
    await settled();
    node.write(0, Buffer.alloc(100));
    await remote.request(0).send(1000);
    gone.abort();
    await settled();
    expect(log).toEqual([
      ['reserve', BLOCK],
      ['refund', BLOCK - 900],
    ]);
  });

  it('that does not come is the reader’s error; read-ahead does not wait for any', async () => {
    const waits: boolean[] = [];
    hydrator = make({
      space: {
        reserve: async (_bytes, { wait }) => {
          waits.push(wait);
          throw new CloudError('no_space', 'full');
        },
        refund: (bytes) => expect(bytes).toBe(0),
      },
    });
    const node = files.node(10 * MiB);
    const reader = need(node, 0, 1);
    await settled();
    expect(reader.done).toBe('no_space');
    hydrator.ahead(node, 0, BLOCK, new AbortController().signal);
    await settled();
    expect(waits).toEqual([true, false]);
    expect(remote.requests).toEqual([]);
    expect(hydrator.isBusy(node)).toBe(false);
  });

  it('that read-ahead does not get is no error of the program that counted on it', async () => {
    let give = () => {};
    hydrator = make({
      space: {
        reserve: (_bytes, { wait }) =>
          new Promise<void>((resolve, reject) => {
            give = wait ? resolve : () => reject(new CloudError('no_space', 'full'));
          }),
        refund: () => {},
      },
    });
    const node = files.node(10 * MiB);
    hydrator.ahead(node, 0, BLOCK, new AbortController().signal);
    const reader = need(node, 0, 1);
    await settled();
    give(); // read-ahead is refused
    await settled();
    expect(reader.done).toBe('pending');
    give(); // the program's own request is not
    await settled();
    await remote.request(0).finish();
    await settled();
    expect(reader.done).toBe('ok');
  });

  it('may take longer than the network may be silent', async () => {
    let give = () => {};
    hydrator = make({
      space: {
        reserve: () =>
          new Promise<void>((resolve) => {
            give = resolve;
          }),
        refund: () => {},
      },
    });
    const node = files.node(10 * MiB);
    const reader = need(node, 0, 1);
    await clock.advance(25_000);
    expect(reader.done).toBe('pending');
    give();
    await settled();
    await remote.request(0).finish();
    await settled();
    expect(reader.done).toBe('ok');
  });
});

describe('read', () => {
  it('gives bytes that are here at once', () => {
    const node = files.node(10 * MiB);
    node.write(0, Buffer.from('hello'));
    expect(hydrator.read(node, 1, 3)).toEqual(Buffer.from('ell'));
    expect(hydrator.read(node, 10 * MiB, 5)).toHaveLength(0);
  });

  it('fetches the rest, cut at the end of the file', async () => {
    const node = files.node(10 * MiB + 100);
    const reading = hydrator.read(node, 10 * MiB, 4096);
    await settled();
    await remote.request(0).finish();
    expect(Buffer.compare(await reading, serverBytes(10 * MiB, 10 * MiB + 100))).toBe(0);
  });

  it('gives each waiting reader bytes of its own', async () => {
    const node = files.node(10 * MiB);
    const reads = [0, 1, 2, 3].map((i) => Promise.resolve(hydrator.read(node, i * 1000, 1000)));
    await settled();
    await remote.request(0).finish();
    const got = await Promise.all(reads);
    expect(Buffer.compare(Buffer.concat(got), serverBytes(0, 4000))).toBe(0);
  });

  it('looks again when bytes were evicted before it could read them', async () => {
    const node = files.node(10 * MiB);
    let evictions = 0;
    hydrator = make({
      onProgress: () => {
        if (evictions++ === 0) queueMicrotask(() => node.evict(0, BLOCK));
      },
    });
    const reading = hydrator.read(node, 0, 1000);
    await settled();
    await remote.request(0).finish();
    await settled();
    expect(remote.request(1).range).toEqual([0, BLOCK]);
    await remote.request(1).finish();
    expect(Buffer.compare(await reading, serverBytes(0, 1000))).toBe(0);
  });
});

describe('a read from the disk', () => {
  it('that a truncate overtakes ends where the file ends now', async () => {
    const node = files.node(10 * MiB);
    node.write(0, serverBytes(0, 3 * MiB));
    const reading = hydrator.read(node, MiB, 2 * MiB); // too long for the page cache's short way
    node.truncate(MiB + 100);
    expect(Buffer.compare(await reading, serverBytes(MiB, MiB + 100))).toBe(0);
  });

  it('that an eviction overtakes is made again', async () => {
    const node = files.node(10 * MiB);
    node.write(0, serverBytes(0, 2 * MiB));
    node.extents.markClean();
    const reading = hydrator.read(node, 0, 2 * MiB);
    node.evict(0, 2 * MiB);
    while (remote.requests.length === 0) await settled();
    await remote.request(0).finish();
    expect(Buffer.compare(await reading, serverBytes(0, 2 * MiB))).toBe(0);
  });

  it('of a file that lost bytes is `corrupt`', async () => {
    const node = files.node(10 * MiB);
    node.write(0, serverBytes(0, MiB));
    node.file.truncate(1000); // behind the cache's back
    await expect((async () => hydrator.read(node, 0, MiB))()).rejects.toMatchObject({ code: 'corrupt' });
  });
});

describe('block sums', () => {
  it('are those of the bytes that came', async () => {
    const size = 3 * SUM_BLOCK_BYTES + 777;
    const node = files.node(size);
    hydrator = make({ limits: { wholeFile_bytes: size } });
    need(node, 0, 1);
    await settled();
    while (remote.request(0).at < size) await remote.request(0).send(50_000);
    await remote.request(0).finish();
    await settled();
    const expected = new BlockSums();
    await fillSums(node.file, node.extents, size, expected, () => false);
    expect(node.sums.blocks()).toEqual([0, 1, 2, 3]);
    expect(node.sums.serialise()).toEqual(expected.serialise());
  });

  it('cover blocks that came in pieces', async () => {
    const node = files.node(10 * MiB);
    need(node, BLOCK, 2 * BLOCK);
    await settled();
    await remote.request(0).finish();
    need(node, 0, BLOCK);
    need(node, 10 * MiB - BLOCK, 10 * MiB);
    await settled();
    await remote.request(1).finish();
    await remote.request(2).finish();
    await settled();
    expect(node.sums.blocks()).toEqual([0]);
    const expected = new BlockSums();
    expected.record(0, serverBytes(0, SUM_BLOCK_BYTES));
    expect(node.sums.get(0)).toEqual(expected.get(0));
  });

  it('are not kept of a block that was written to while it came', async () => {
    const node = files.node(2 * SUM_BLOCK_BYTES);
    need(node, 0, 1);
    await settled();
    await remote.request(0).send(1000);
    node.write(10, Buffer.from('W')); // in a part that has arrived already
    await remote.request(0).finish();
    await settled();
    expect(node.sums.blocks()).toEqual([1]);
  });
});

describe('the end', () => {
  it('of one file: who waits gets the reason, its requests stop, others go on', async () => {
    const node = files.node(10 * MiB);
    const other = files.node(10 * MiB);
    const reader = need(node, 0, 1);
    need(other, 0, 1);
    await settled();
    hydrator.cancel(node, new CloudError('not_found', 'deleted'));
    await settled();
    expect(reader.done).toBe('not_found');
    expect(remote.open.map((request) => request.path)).toEqual([other.path]);
    expect(hydrator.isBusy(node)).toBe(false);
    expect(node.file.users).toBe(1);
  });

  it('of all: everything is aborted and nothing starts any more', async () => {
    const node = files.node(64 * MiB);
    const reader = need(node, 0, 1);
    hydrator.ahead(node, 0, 64 * MiB, new AbortController().signal);
    await settled();
    await hydrator.close();
    await settled();
    expect(reader.done).toBe('interrupted');
    expect(remote.open).toEqual([]);
    expect(() => hydrator.need(node, 0, 1, { priority: 'read' })).toThrow(
      expect.objectContaining({ code: 'interrupted' }),
    );
  });
});
