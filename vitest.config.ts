import { defineConfig } from 'vitest/config';

// What runs anywhere in parallel; what mounts, spawns daemons or foreign clients and therefore runs one file at a time on
// the built `dist/`; and the random walks, whose seeds differ in every run and which still find rare defects: they run by
// `npm run test:soak` (see test/README.md), not as a gate.
const SOAK = [
  'test/model/one_cache.test.ts',
  'test/model/two_mounts.test.ts',
  'test/mount/differential.test.ts',
  'test/mount/listing_scale.test.ts',
  'test/crash/cache_crash.test.ts',
  'test/crash/crash_points.test.ts',
];
const soak = process.env['CLOUDMOUNT_SOAK'] === '1';

export default defineConfig({
  test: {
    projects: soak
      ? [
          {
            test: {
              name: 'soak',
              include: SOAK,
              testTimeout: 300_000,
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
              exclude: SOAK,
              testTimeout: 30_000,
              hookTimeout: 30_000,
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
              exclude: SOAK,
              testTimeout: 120_000,
              hookTimeout: 60_000,
              fileParallelism: false,
            },
          },
        ],
  },
});
