// "After kill -9 or a power cut at any moment: everything that was fsynced, and everything closed and then synced by the
// journal (≤ 1 s later), is still there after remount and reaches the server."
//
// Random workloads; a failure says how to run that one again: SEED=… CRASH_AT=POINT:PASS[,power].

import { expect, it } from 'vitest';
import { CRASH_POINTS } from '../../src/cache/crash_points.js';
import { GENERIC } from '../support/capabilities.js';
import { gateSeeds, Random } from '../support/random.js';
import { type CrashOptions, crash } from './crash_run.js';

const LANES = 3;
/** More with CRASH_RUNS=…, for a long search. */
const RUNS = Number(process.env['CRASH_RUNS'] ?? 1);
const LONG_MS = 120_000 * RUNS;

async function all(runs: readonly CrashOptions[]): Promise<{ reached: number; operations: number }> {
  const total = { reached: 0, operations: 0 };
  const left = [...runs];
  const lane = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const { reached, operations } = await crash(next);
      total.reached += reached ? 1 : 0;
      total.operations += operations;
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return total;
}

/** Some passes of a point are early, some late. */
function atPoints(powerCut: boolean, seed: number): CrashOptions[] {
  const random = new Random(seed);
  return CRASH_POINTS.flatMap((point) =>
    Array.from({ length: RUNS }, (_, run): CrashOptions => {
      const many = /^journal|^write\.|before_extents/.test(point);
      const pass = 1 + random.below(run % 2 === 0 ? (many ? 12 : 3) : many ? 300 : 12);
      return { seed: seed + run * 7919, at: { point, pass }, powerCut };
    }),
  );
}

const [seed = 0] = gateSeeds(1);

const again = /^(?<point>[^:]*):(?<pass>\d+)(?<power>,power)?$/.exec(process.env['CRASH_AT'] ?? '')?.groups;
if (again !== undefined) {
  const point = CRASH_POINTS.find((name) => name === again['point']);
  const at = point === undefined ? null : { point, pass: Number(again['pass']) };
  it(
    `again: SEED=${seed} CRASH_AT=${process.env['CRASH_AT']}`,
    async () => {
      for (let i = 0; i < RUNS; i += 1) await crash({ seed, at, powerCut: again['power'] !== undefined });
    },
    LONG_MS,
  );
}

for (const powerCut of [false, true]) {
  const what = powerCut ? 'a power cut' : 'kill -9';
  it(
    `after ${what} at every named point nothing that was fsynced or settled is lost, and no conflicts arise`,
    async () => {
      const { reached } = await all(atPoints(powerCut, seed));
      expect(reached, 'the workload must pass most of the points').toBeGreaterThan(CRASH_POINTS.length / 2);
    },
    LONG_MS,
  );

  it(
    `after ${what} at any moment nothing that was fsynced or settled is lost, and no conflicts arise`,
    async () => {
      const runs = Array.from({ length: 6 * RUNS }, (_, run) => ({ seed: seed + run * 104_729, at: null, powerCut }));
      const { operations } = await all(runs);
      expect(operations).toBeGreaterThan(runs.length * 5);
    },
    LONG_MS,
  );

  it(
    `the same after ${what} on a plain WebDAV server`,
    async () => {
      const runs = Array.from({ length: 4 * RUNS }, (_, run) => ({
        seed: seed + run * 1_299_709,
        at: null,
        powerCut,
        capabilities: GENERIC,
      }));
      const { operations } = await all(runs);
      expect(operations).toBeGreaterThan(runs.length * 5);
    },
    LONG_MS,
  );
}
