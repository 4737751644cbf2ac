// litmus, the WebDAV conformance suite of Debian: 104 of 104, no warnings. Once per address a tree has.

import { afterEach, beforeEach, expect, test } from 'vitest';
import { run } from '../support/processes.js';
import { requireProgram, type ServerForClients, serverForClients } from './with_server.js';

let at: ServerForClients;
beforeEach(async () => {
  at = await serverForClients();
});
afterEach(() => at?.close());

test.each(['/dav/files/alice/', '/remote.php/dav/files/alice/', '/remote.php/webdav/'])(
  '104 of 104 at %s',
  async (path) => {
    const litmus = await requireProgram('litmus', 'litmus');
    // It writes its traces where it stands.
    const done = await run(litmus, ['-k', at.url + path, at.user, at.password], {
      cwd: at.dir,
      env: { TESTS: 'basic copymove props locks http' },
      timeout_ms: 100_000,
    });
    const summaries = [...done.stdout.matchAll(/of (\d+) tests run: (\d+) passed, (\d+) failed/g)];
    expect(done.stdout).not.toMatch(/FAIL|WARNING/);
    expect(summaries).toHaveLength(5);
    const sum = (column: number) => summaries.reduce((total, match) => total + Number(match[column]), 0);
    expect([sum(1), sum(2), sum(3)]).toEqual([104, 104, 0]);
    expect(done.code).toBe(0);
  },
);
