import { defineConfig } from 'vitest/config';

// What runs anywhere, three files at a time, because much of it waits for timers; what mounts, spawns daemons or foreign
// clients and therefore runs three files at a time on the built `dist/`; the short form of the fault soak, which needs the
// machine for itself; and the soak (`npm run test:soak`, see test/README.md): what takes minutes, and the random walks with
// fresh seeds in every run (as a gate they always take the same ones).
const FAULTS = 'test/mount/fault_soak.test.ts';
const SLOW = ['test/mount/listing_scale.test.ts', 'test/crash/crash_points.test.ts', FAULTS];
const SOAK = [
  ...SLOW,
  'test/model/one_cache.test.ts',
  'test/model/two_mounts.test.ts',
  'test/mount/differential.test.ts',
  'test/crash/cache_crash.test.ts',
  'test/mount/sharing_random.test.ts',
];
const TEMP_FOLDER = 'test/support/temp_folder.ts';
const soak = process.env['CLOUDMOUNT_SOAK'] === '1';

export default defineConfig({
  test: {
    projects: soak
      ? [
          {
            test: {
              name: 'soak',
              include: SOAK,
              testTimeout: 300_000, // fault_soak has its own
              setupFiles: TEMP_FOLDER,
              hookTimeout: 60_000,
              fileParallelism: false,
            },
          },
        ]
      : [
          {
            test: {
              name: 'unit',
              // First, and alone: mounts are timed by people's patience, not by who else uses the processors.
              sequence: { groupOrder: 0 },
              include: ['test/unit/**/*.test.ts', 'test/contract/**/*.test.ts', 'test/model/**/*.test.ts'],
              exclude: SLOW,
              setupFiles: TEMP_FOLDER,
              testTimeout: 30_000,
              hookTimeout: 30_000,
              maxWorkers: 3,
            },
          },
          {
            test: {
              name: 'system',
              sequence: { groupOrder: 1 },
              include: [
                'test/mount/**/*.test.ts',
                'test/crash/**/*.test.ts',
                'test/conformance/**/*.test.ts',
                'test/e2e/**/*.test.ts',
              ],
              exclude: SLOW,
              testTimeout: 120_000,
              hookTimeout: 60_000,
              maxWorkers: 3, // each is a chain of processes that mostly wait for each other
            },
          },
          {
            test: {
              name: 'faults',
              sequence: { groupOrder: 2 },
              include: [FAULTS], // it has its own bounds
              hookTimeout: 60_000,
            },
          },
        ],
  },
});
