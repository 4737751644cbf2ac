import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startWriteback } from '../../src/libc.js';

it('any number of files may be handed to the disk at once', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'cloudmount-libc-'));
  const fds = Array.from({ length: 600 }, (_, i) => openSync(join(dir, String(i)), 'w'));
  try {
    for (const fd of fds) writeSync(fd, 'some bytes');
    const results = await Promise.allSettled(fds.map((fd) => startWriteback(fd)));
    expect(results.filter((result) => result.status === 'rejected')).toEqual([]);
  } finally {
    for (const fd of fds) closeSync(fd);
    rmSync(dir, { recursive: true });
  }
});
