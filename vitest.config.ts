import { defineConfig } from 'vitest/config';

// Two projects: what runs anywhere in parallel, and what mounts, spawns daemons or foreign clients and
// therefore runs one file at a time on the built `dist/` (see test/README.md).
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          // First, and alone: mounts are timed by people's patience, not by who else uses the processors.
          sequence: { groupOrder: 0 },
          include: ['test/unit/**/*.test.ts', 'test/contract/**/*.test.ts', 'test/model/**/*.test.ts'],
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
          testTimeout: 120_000,
          hookTimeout: 60_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
