// Random reads, writes, truncates, evictions, aborts and network failures, all at once on one file, against a model
// that knows which values each byte may have had while a read was waiting.

import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BlockSums } from '../../../../src/cache/content/block_sums.js';
import { Hydrator } from '../../../../src/cache/hydrator.js';
import { systemClock } from '../../../../src/clock.js';
import { CloudError, isCloudError } from '../../../../src/errors.js';
import { silentLog } from '../../../../src/log.js';
import { isPromise } from '../../../../src/maybe_promise.js';
import type { Remote } from '../../../../src/remote/remote.js';
import { type Files, makeFiles, serverBytes, type TestNode } from './hand_remote.js';

const SIZE = 1000;
const CAP = 1400;

type Step =
  | { readonly op: 'read' | 'ahead' | 'pin' | 'evict'; readonly at: number; readonly length: number }
  | { readonly op: 'readAndAbort'; readonly at: number; readonly length: number; readonly after: number }
  | { readonly op: 'write'; readonly at: number; readonly length: number; readonly value: number }
  | { readonly op: 'truncate'; readonly size: number }
  | { readonly op: 'etag' }
  | { readonly op: 'turns'; readonly count: number };

const at = fc.integer({ min: 0, max: SIZE });
const length = fc.integer({ min: 1, max: 200 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ op: fc.constantFrom('read' as const, 'ahead' as const, 'pin' as const), at, length }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('evict' as const), at, length }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('readAndAbort' as const),
      at,
      length,
      after: fc.integer({ max: 6, min: 0 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constant('write' as const), at, length, value: fc.integer({ min: 0, max: 255 }) }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('truncate' as const), size: fc.integer({ min: 0, max: CAP }) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('etag' as const) }) },
  { weight: 6, arbitrary: fc.record({ op: fc.constant('turns' as const), count: fc.integer({ min: 1, max: 8 }) }) },
);

/** How the network behaves, one number per decision, used in turn. */
const fate = fc.array(fc.integer({ min: 0, max: 99 }), { minLength: 20, maxLength: 20 });

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

function moodyRemote(fates: readonly number[], tight: boolean): Remote['read'] {
  let next = 0;
  const draw = () => fates[next++ % fates.length] ?? 0;
  // Each place fails a few times at most, so that every run comes to an end.
  const failures = new Map<number, number>();
  return async (_path, { start, end }, _etag, sink, options) => {
    const stop = () => {
      if (options?.signal?.aborted) throw new CloudError('interrupted', 'aborted');
    };
    let offset = start;
    for (;;) {
      for (let wait = draw() % 3; wait >= 0; wait--) await turn();
      stop();
      if (offset === end) return;
      const mood = draw();
      const failed = failures.get(start) ?? 0;
      if (mood < 7 && failed < 3) {
        failures.set(start, failed + 1);
        throw new CloudError(mood < 6 ? 'network' : 'busy_server', 'cut');
      }
      const bytes = Math.min(1 + (draw() % (tight ? 7 : 60)), end - offset);
      await sink(serverBytes(offset, offset + bytes), offset);
      offset += bytes;
    }
  };
}

/** What every byte may read as. */
class Model {
  bytes = serverBytes(0, SIZE);
  readonly reads = new Set<{ readonly at: number; readonly allowed: Set<number>[]; sizes: Set<number> }>();

  begin(offset: number, size: number) {
    const allowed = Array.from({ length: size }, (_, i) => new Set([this.bytes[offset + i] ?? -1]));
    const read = { at: offset, allowed, sizes: new Set([this.bytes.length]) };
    this.reads.add(read);
    return read;
  }

  set(bytes: Buffer): void {
    this.bytes = bytes;
    for (const read of this.reads) {
      read.sizes.add(bytes.length);
      read.allowed.forEach((values, i) => void values.add(bytes[read.at + i] ?? -1));
    }
  }

  write(offset: number, data: Buffer): void {
    const next = Buffer.alloc(Math.max(this.bytes.length, offset + data.length));
    this.bytes.copy(next);
    data.copy(next, offset);
    this.set(next);
  }

  truncate(size: number): void {
    const next = Buffer.alloc(size);
    this.bytes.copy(next);
    this.set(next);
  }
}

let files: Files;
beforeAll(async () => {
  files = await makeFiles();
});
afterAll(() => files.cleanup());

async function play(steps: readonly Step[], fates: readonly number[], etag: string | null): Promise<void> {
  const node: TestNode = files.node(SIZE);
  node.etag = etag;
  let reserved = 0;
  const hydrator = new Hydrator({
    remoteRead: moodyRemote(fates, steps.length % 2 === 0),
    clock: systemClock,
    log: silentLog,
    limits: {
      block_bytes: 16,
      wholeFile_bytes: 0,
      request_bytes: 64,
      perFile: 3,
      total: 4,
      reserved: 1,
      attempts: 50,
      backoff_ms: 0,
    },
    space: {
      reserve: (bytes) => {
        reserved += bytes;
      },
      refund: (bytes) => {
        reserved -= bytes;
      },
    },
    onProgress: (_node, start, end) => {
      present += end - start;
    },
  });
  let present = 0;
  const model = new Model();
  const pending: Promise<void>[] = [];
  const push = (work: Promise<void>) => {
    work.catch(() => {}); // looked at when all have ended
    pending.push(work);
  };

  const read = async (offset: number, size: number, signal?: AbortSignal) => {
    const record = model.begin(offset, size);
    try {
      const answer = hydrator.read(node, offset, size, signal);
      const data = isPromise(answer) ? await answer : Buffer.from(answer); // a buffer given at once is shared
      expect([...record.sizes].some((total) => data.length === Math.max(0, Math.min(size, total - offset)))).toBe(true);
      for (const [i, byte] of data.entries()) {
        expect([...(record.allowed[i] ?? [])], `byte ${offset + i}`).toContain(byte);
      }
    } catch (error) {
      if (!isCloudError(error, 'interrupted')) throw error;
    } finally {
      model.reads.delete(record);
    }
  };

  for (const change of steps) {
    switch (change.op) {
      case 'read':
        push(read(change.at, change.length));
        break;
      case 'readAndAbort': {
        const controller = new AbortController();
        push(read(change.at, change.length, controller.signal));
        push(
          (async () => {
            for (let i = 0; i < change.after; i++) await turn();
            controller.abort();
          })(),
        );
        break;
      }
      case 'ahead':
        hydrator.ahead(node, change.at, change.at + change.length, new AbortController().signal);
        break;
      case 'pin':
        push(Promise.resolve(hydrator.need(node, change.at, change.at + change.length, { priority: 'pin' })));
        break;
      case 'write': {
        const data = Buffer.alloc(change.length, change.value);
        node.write(change.at, data);
        model.write(change.at, data);
        break;
      }
      case 'truncate':
        node.truncate(change.size);
        model.truncate(change.size);
        break;
      case 'evict':
        // What exists only here never goes.
        if (node.extents.dirtyWithin(change.at, change.at + change.length).length === 0) {
          node.evict(change.at, change.at + change.length);
        }
        break;
      case 'etag':
        if (node.etag !== null) node.etag = `"v${node.etag.length}${change.op}${pending.length}"`;
        break;
      case 'turns':
        for (let i = 0; i < change.count; i++) await turn();
        break;
    }
  }
  const failed = (await Promise.allSettled(pending)).find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  const all = await hydrator.read(node, 0, CAP);
  expect(Buffer.compare(all, model.bytes)).toBe(0);
  await hydrator.close();
  expect(Buffer.compare(node.content(), model.bytes)).toBe(0);
  expect(node.file.users).toBe(1);
  expect(hydrator.stats()).toMatchObject({ running: 0, waiting: 0 });
  // Reserved and not given back is exactly what fetches have stored.
  expect(reserved).toBe(present);
  // Sums that are kept are those of the bytes on the disk.
  for (const block of node.sums.blocks()) {
    const sum = node.sums.get(block);
    const probe = new BlockSums();
    probe.record(block, node.content(0, sum?.length ?? 0));
    expect(probe.get(block)).toEqual(sum);
  }
}

describe('the hydrator under random load', () => {
  it('gives every reader bytes the file had, and ends with exactly the right content', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), fate, (steps, fates) =>
        play(steps, fates, '"v1"'),
      ),
      { numRuns: 80 },
    );
  });

  it('does so for a server without ETags', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), fate, (steps, fates) =>
        play(
          steps,
          fates.map((value) => (value < 7 ? value * 3 : value)),
          null,
        ),
      ),
      { numRuns: 40 },
    );
  });
});
