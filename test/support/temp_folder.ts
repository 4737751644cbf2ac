// Each test file has a temporary folder of its own, which is gone when the file has ended, whatever its tests made in it and
// however they ended. Named in vitest.config.ts: its hooks are the outermost, so what the file's own close is closed by then.

import { chmodSync, mkdtempSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

const outer = tmpdir();
const dir = mkdtempSync(join(outer, 'cm-test-'));
chmodSync(dir, 0o755); // foreign servers become users of their own
process.env['TMPDIR'] = dir;

afterAll(async () => {
  process.env['TMPDIR'] = outer; // a process that runs several files goes on with the next one
  if (readFileSync('/proc/self/mountinfo', 'utf8').includes(dir))
    throw new Error(`something is still mounted in ${dir}`);
  await rm(dir, { recursive: true, maxRetries: 5 }); // a cache that a failed test left open may still write into it
});
