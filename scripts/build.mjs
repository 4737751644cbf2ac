// From the sources to `dist/`: a few files instead of hundreds, which a mount would look for and open one by one
// (docs/performance.md). Types are the business of `npm run check`.

import { chmodSync, rmSync } from 'node:fs';
import { build } from 'rolldown';

rmSync('dist', { recursive: true, force: true }); // no file of an older build is left

await build({
  input: { cloudmount: 'bin/cloudmount.ts', notify_worker: 'src/fs/notify_worker.ts' },
  platform: 'node',
  // They look for files beside themselves: native parts, translations.
  external: ['better-sqlite3', 'koffi', '@node-rs/argon2', 'yargs'],
  output: {
    // All in one folder: a worker is started by its path beside the chunk that starts it.
    dir: 'dist/bin',
    entryFileNames: '[name].js',
    chunkFileNames: '[name]-[hash].js',
    sourcemap: true,
  },
  onLog: (level, log) => {
    if (level === 'warn') throw new Error(log.message);
  },
});

// `npm install -g .` links to it and makes it executable once; the next build writes it anew.
chmodSync('dist/bin/cloudmount.js', 0o755);
