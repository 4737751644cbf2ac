import { tmpdir } from 'node:os';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ExtentSet } from '../../../../src/cache/content/extents.js';
import { diskFree, farFrom, SpaceBudget, type SpaceOptions, type Victim } from '../../../../src/cache/space.js';
import { CloudError, type ErrorCode, isCloudError } from '../../../../src/errors.js';
import type { Ino } from '../../../../src/ids.js';
import { silentLog } from '../../../../src/log.js';
import { isPromise } from '../../../../src/maybe_promise.js';
import { ManualClock, settled } from '../hydrator/manual_clock.js';

/** Cached files as the cache sees them. */
interface Cached {
  readonly ino: Ino;
  bytes: number;
  lastUsed_ms: number;
  held: 'no' | 'dirty' | 'pinned' | 'open';
}

class Shelf {
  readonly files: Cached[] = [];
  readonly evicted: Cached[] = [];
  slow = false;

  add(bytes: number, held: Cached['held'] = 'no', lastUsed_ms = this.files.length): Cached {
    const file: Cached = { ino: (this.files.length + this.evicted.length + 2) as Ino, bytes, lastUsed_ms, held };
    this.files.push(file);
    return file;
  }

  get bytes(): number {
    return this.files.reduce((sum, file) => sum + file.bytes, 0);
  }

  candidates(limit: number): Victim[] {
    return this.files
      .filter((file) => file.held === 'no' && file.bytes > 0)
      .sort((a, b) => a.lastUsed_ms - b.lastUsed_ms)
      .slice(0, limit)
      .map((file) => ({ ino: file.ino, gen: 1, bytes: file.bytes, lastUsed_ms: file.lastUsed_ms }));
  }

  evict(victim: Victim): number | Promise<number> {
    const take = () => {
      const at = this.files.findIndex((file) => file.ino === victim.ino);
      const file = this.files[at];
      if (file === undefined || file.held !== 'no') return 0;
      this.files.splice(at, 1);
      this.evicted.push(file);
      return file.bytes;
    };
    return this.slow ? Promise.resolve().then(take) : take();
  }
}

function budget(shelf: Shelf, options: Partial<SpaceOptions> = {}) {
  const clock = new ManualClock();
  const space = new SpaceBudget({
    limit_bytes: 1000,
    minFree_bytes: 0,
    used_bytes: shelf.bytes,
    clock,
    log: silentLog,
    wait_ms: 5000,
    freeBytes: () => 1e12,
    candidates: (limit) => shelf.candidates(limit),
    evict: (victim) => shelf.evict(victim),
    ...options,
  });
  return { space, clock };
}

function outcome(work: () => void | Promise<void>): { done: 'pending' | 'ok' | ErrorCode } {
  const result: { done: 'pending' | 'ok' | ErrorCode } = { done: 'pending' };
  const fail = (error: unknown) => {
    result.done = error instanceof CloudError ? error.code : 'io';
  };
  try {
    const answer = work();
    if (!isPromise(answer)) result.done = 'ok';
    else
      answer.then(() => {
        result.done = 'ok';
      }, fail);
  } catch (error) {
    fail(error);
  }
  return result;
}

describe('SpaceBudget', () => {
  it('lets in at once while there is room', () => {
    const { space } = budget(new Shelf());
    expect(space.reserve(1000)).toBeUndefined();
    expect(space.used_bytes).toBe(1000);
    space.refund(400);
    expect(space.reserve(400)).toBeUndefined();
    expect(space.reserve(0)).toBeUndefined();
  });

  it('evicts the least recently used, and no more than needed', () => {
    const shelf = new Shelf();
    const young = shelf.add(300, 'no', 30);
    const old = shelf.add(300, 'no', 10);
    const middle = shelf.add(300, 'no', 20);
    const { space } = budget(shelf);
    expect(outcome(() => space.reserve(150)).done).toBe('ok');
    expect(shelf.evicted).toEqual([old]);
    expect(outcome(() => space.reserve(600)).done).toBe('ok');
    expect(shelf.evicted).toEqual([old, middle, young]);
    expect(space.used_bytes).toBe(750);
  });

  it('waits for an eviction that takes time, and keeps the order of those who come meanwhile', async () => {
    const shelf = new Shelf();
    shelf.slow = true;
    shelf.add(500);
    shelf.add(500);
    const { space } = budget(shelf);
    const order: string[] = [];
    const big = Promise.resolve(space.reserve(900)).then(() => order.push('big'));
    const small = Promise.resolve(space.reserve(10)).then(() => order.push('small'));
    await Promise.all([big, small]);
    expect(order).toEqual(['big', 'small']);
    expect(space.used_bytes).toBe(910);
  });

  it('tries another when one may not go any more', () => {
    const shelf = new Shelf();
    shelf.add(500);
    const other = shelf.add(500);
    let refusals = 0;
    const { space } = budget(shelf, {
      evict: (victim) => {
        if (victim.ino === other.ino) return shelf.evict(victim);
        refusals += 1;
        return 0;
      },
    });
    expect(outcome(() => space.reserve(100)).done).toBe('ok');
    expect(refusals).toBe(1);
    expect(shelf.evicted).toEqual([other]);
  });

  it('slows a writer down until an upload makes something evictable', async () => {
    const shelf = new Shelf();
    const dirty = shelf.add(1000, 'dirty');
    const { space, clock } = budget(shelf);
    const writer = outcome(() => space.reserve(100));
    await clock.advance(3000);
    expect(writer.done).toBe('pending');
    dirty.held = 'no';
    space.changed();
    await settled();
    expect(writer.done).toBe('ok');
    expect(space.used_bytes).toBe(100);
  });

  it('says `no_space` after the bound, and lets those behind try theirs', async () => {
    const shelf = new Shelf();
    shelf.add(950, 'dirty');
    const { space, clock } = budget(shelf);
    const big = outcome(() => space.reserve(100));
    const small = outcome(() => space.reserve(50));
    await clock.advance(4000);
    expect([big.done, small.done]).toEqual(['pending', 'pending']);
    await clock.advance(2000);
    expect([big.done, small.done]).toEqual(['no_space', 'ok']);
    expect(shelf.bytes).toBe(950);
  });

  it('does not let those wait who will not', async () => {
    const shelf = new Shelf();
    shelf.add(1000, 'dirty');
    const { space } = budget(shelf);
    expect(outcome(() => space.reserve(1, { wait: false })).done).toBe('no_space');
    const writer = outcome(() => space.reserve(10));
    const ahead = outcome(() => space.reserve(1, { wait: false }));
    await settled();
    expect([writer.done, ahead.done]).toEqual(['pending', 'no_space']);
    space.close();
    await settled();
    expect(writer.done).toBe('interrupted');
    expect(outcome(() => space.reserve(10)).done).toBe('interrupted');
  });

  it('ends the wait of who gives up, and goes on with the next', async () => {
    const shelf = new Shelf();
    shelf.add(950, 'dirty');
    const { space } = budget(shelf);
    const gone = new AbortController();
    const big = outcome(() => space.reserve(100, { signal: gone.signal }));
    const small = outcome(() => space.reserve(50));
    gone.abort();
    await settled();
    expect([big.done, small.done]).toEqual(['interrupted', 'ok']);
    expect(space.used_bytes).toBe(1000);
    expect(outcome(() => space.reserve(100, { signal: gone.signal })).done).toBe('interrupted');
  });

  it('counts nothing for who gave up while room was being made', async () => {
    const shelf = new Shelf();
    shelf.slow = true;
    shelf.add(1000);
    const { space } = budget(shelf);
    const gone = new AbortController();
    const writer = outcome(() => space.reserve(100, { signal: gone.signal }));
    gone.abort();
    await settled();
    expect(writer.done).toBe('interrupted');
    expect(space.used_bytes).toBe(0);
  });

  it('keeps the floor of free disk space, also against other programs', async () => {
    const shelf = new Shelf();
    shelf.add(300);
    let free = 500;
    const { space, clock } = budget(shelf, { minFree_bytes: 400, freeBytes: () => free });
    expect(outcome(() => space.reserve(100)).done).toBe('ok');
    free -= 100; // what was just stored is on the disk now
    await clock.advance(2000);
    // The disk does not get freer by this eviction: somebody else took what it gave.
    const waiter = outcome(() => space.reserve(50));
    await settled();
    expect(shelf.evicted).toHaveLength(1);
    expect(waiter.done).toBe('pending');
    free = 1000;
    await clock.advance(600);
    expect(waiter.done).toBe('ok');
  });

  it('tells how much it may hold beside what else is on the disk', async () => {
    const shelf = new Shelf();
    shelf.add(300);
    let free = 1e12;
    const { space, clock } = budget(shelf, { minFree_bytes: 400, freeBytes: () => free });
    expect(space.holdable_bytes).toBe(1000);
    free = 500;
    await clock.advance(2000);
    expect(space.holdable_bytes).toBe(400);
  });

  it('asks the clean open files when no closed one is left', () => {
    const shelf = new Shelf();
    shelf.add(1000, 'open');
    const asked: [number, string][] = [];
    const { space } = budget(shelf, {
      shrinkOpen: (bytes, sides) => {
        asked.push([bytes, sides]);
        return bytes;
      },
    });
    expect(outcome(() => space.reserve(100)).done).toBe('ok');
    expect(outcome(() => space.reserve(50, { wait: false })).done).toBe('ok');
    expect(asked).toEqual([
      [100, 'any'],
      [50, 'behind'],
    ]);
    expect(space.used_bytes).toBe(1000);
  });

  it('lets one request larger than the whole limit through an empty cache only', async () => {
    const shelf = new Shelf();
    shelf.add(10);
    const { space } = budget(shelf);
    expect(outcome(() => space.reserve(5000)).done).toBe('ok');
    expect(space.used_bytes).toBe(5000);
    const second = outcome(() => space.reserve(5000, { wait: false }));
    expect(second.done).toBe('no_space');
  });

  it('refuses at once what can never fit', () => {
    const { space } = budget(new Shelf());
    expect(outcome(() => space.reserve(32 * 1024 * 1024)).done).toBe('no_space');
  });

  it('does not let a huge request hold up the small ones behind it', async () => {
    const MiB = 1024 * 1024;
    const shelf = new Shelf();
    shelf.add(90 * MiB, 'dirty');
    const { space, clock } = budget(shelf, { limit_bytes: 100 * MiB });
    const huge = outcome(() => space.reserve(50 * MiB));
    const small = outcome(() => space.reserve(MiB));
    await settled();
    expect([huge.done, small.done]).toEqual(['pending', 'ok']);
    await clock.advance(6000);
    expect(huge.done).toBe('no_space');
    expect(space.used_bytes).toBe(91 * MiB);
  });

  it('counts what is there already, and trims to the limit', async () => {
    const shelf = new Shelf();
    for (let i = 0; i < 20; i++) shelf.add(100);
    const { space } = budget(shelf);
    space.charge(50);
    await space.trim();
    expect(space.used_bytes).toBe(950);
    expect(shelf.files).toHaveLength(9);
  });

  it('gives an error of an eviction to the one it was for, and lives on', async () => {
    const shelf = new Shelf();
    shelf.add(1000);
    let broken = true;
    const { space } = budget(shelf, {
      evict: (victim) => {
        if (broken) throw new CloudError('io', 'disk broken');
        return shelf.evict(victim);
      },
    });
    expect(outcome(() => space.reserve(10)).done).toBe('io');
    broken = false;
    expect(outcome(() => space.reserve(10)).done).toBe('ok');
  });

  it('never goes over the limit and never evicts what is held, whatever happens', async () => {
    const command = fc.oneof(
      fc.record({
        op: fc.constant('store' as const),
        bytes: fc.integer({ min: 1, max: 300 }),
        held: fc.constantFrom('no' as const, 'dirty' as const, 'pinned' as const, 'open' as const),
        wait: fc.boolean(),
        abort: fc.boolean(),
      }),
      fc.record({ op: fc.constant('release' as const), pick: fc.nat() }),
      fc.record({ op: fc.constant('hold' as const), pick: fc.nat() }),
      fc.record({ op: fc.constant('delete' as const), pick: fc.nat() }),
      fc.record({ op: fc.constant('time' as const), ms: fc.integer({ min: 0, max: 3000 }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 60 }), fc.boolean(), async (commands, slow) => {
        const shelf = new Shelf();
        shelf.slow = slow;
        let now = 0;
        const { space, clock } = budget(shelf);
        const controllers: AbortController[] = [];
        const work: Promise<void>[] = [];
        const check = () => {
          expect(space.used_bytes).toBeLessThanOrEqual(1000);
          expect(shelf.bytes).toBeLessThanOrEqual(1000);
          expect(shelf.evicted.every((file) => file.held === 'no')).toBe(true);
        };
        for (const step of commands) {
          now += 1;
          const file = 'pick' in step ? shelf.files[step.pick % Math.max(1, shelf.files.length)] : undefined;
          if (step.op === 'store') {
            const controller = new AbortController();
            if (step.abort) controllers.push(controller);
            work.push(
              (async () => {
                try {
                  await space.reserve(step.bytes, { signal: controller.signal, wait: step.wait });
                  shelf.add(step.bytes, step.held, now);
                } catch (error) {
                  if (!isCloudError(error, 'no_space', 'interrupted')) throw error;
                }
              })(),
            );
          } else if (step.op === 'time') {
            await clock.advance(step.ms);
            for (const controller of controllers.splice(0)) controller.abort();
          } else if (file !== undefined) {
            if (step.op === 'release') {
              file.held = 'no';
              space.changed();
            } else if (step.op === 'hold') file.held = 'dirty';
            else {
              shelf.files.splice(shelf.files.indexOf(file), 1);
              space.refund(file.bytes);
            }
          }
          check();
        }
        await clock.advance(600_000); // every wait has an end
        await Promise.all(work);
        check();
        expect(space.used_bytes).toBe(shelf.bytes);
        expect(space.waiting).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});

describe('farFrom', () => {
  const set = (...ranges: [number, number][]) => {
    const extents = new ExtentSet();
    for (const [start, end] of ranges) extents.insert(start, end);
    return extents;
  };
  const readers = (positions: number[], keep_bytes: number) => ({ positions, keep_bytes, wanted: [] });

  it('takes what is farthest behind the reader first', () => {
    expect(farFrom(set([0, 1000]), readers([600], 200), 100)).toEqual([{ start: 0, end: 100 }]);
    expect(farFrom(set([0, 1000]), readers([600], 200), 400)).toEqual([{ start: 0, end: 400 }]);
  });

  it('then what is farthest ahead, unless that must stay', () => {
    expect(farFrom(set([0, 1000]), readers([600], 200), 450)).toEqual([
      { start: 0, end: 400 },
      { start: 950, end: 1000 },
    ]);
    expect(farFrom(set([0, 1000]), readers([600], 200), 450, 'behind')).toEqual([{ start: 0, end: 400 }]);
  });

  it('touches nothing near any reader', () => {
    expect(farFrom(set([0, 1000]), readers([100, 500, 900], 100), 10_000)).toEqual([
      { start: 200, end: 400 },
      { start: 600, end: 800 },
    ]);
    expect(farFrom(set([0, 1000]), readers([500], 1000), 10_000)).toEqual([]);
  });

  it('touches nothing that a program waits for', () => {
    const wanted = [{ start: 300, end: 700 }];
    expect(farFrom(set([0, 1000]), { positions: [500], keep_bytes: 100, wanted }, 10_000)).toEqual([
      { start: 0, end: 300 },
      { start: 700, end: 1000 },
    ]);
  });

  it('gives everything of a file that nobody has read from', () => {
    expect(farFrom(set([0, 10], [20, 30]), readers([], 100), 1000)).toEqual([
      { start: 0, end: 10 },
      { start: 20, end: 30 },
    ]);
  });

  it('chooses present bytes outside the kept surroundings, at most what was asked', () => {
    const number = fc.integer({ min: 0, max: 500 });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(number, number), { maxLength: 8 }),
        fc.array(number, { maxLength: 4 }),
        number,
        fc.integer({ min: 0, max: 100 }),
        (pairs, positions, bytes, keep) => {
          const extents = set(...pairs.map(([a, b]): [number, number] => (a < b ? [a, b] : [b, a])));
          const chosen = farFrom(extents, readers(positions, keep), bytes);
          let total = 0;
          let previous = -1;
          for (const range of chosen) {
            expect(range.start).toBeGreaterThanOrEqual(previous);
            expect(range.end).toBeGreaterThan(range.start);
            expect(extents.covers(range.start, range.end)).toBe(true);
            for (const at of positions) expect(range.end <= at - keep || range.start >= at + keep).toBe(true);
            total += range.end - range.start;
            previous = range.end;
          }
          const free = extents.clone();
          for (const at of positions) free.remove(Math.max(0, at - keep), at + keep);
          expect(total).toBe(Math.min(bytes, free.presentBytes));
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe('diskFree', () => {
  it('asks the file system', () => {
    expect(diskFree(tmpdir())).toBeGreaterThan(0);
    expect(() => diskFree('/nonexistent-folder')).toThrow();
  });
});
