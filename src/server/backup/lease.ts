// While a backup copies contents, the server must not collect those that lose their last reference meanwhile: the
// snapshot still refers to them. Each backup says so in a file of its own, DIR/backup-….lease (several may run at once,
// into different folders), and keeps the file's time fresh; the server looks at them before it collects. A lease that
// nobody refreshes any more is void.

import { randomBytes } from 'node:crypto';
import { readdirSync, rmSync, statSync } from 'node:fs';
import { utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DataDir } from '../data_dir.js';

const REFRESH_MS = 30_000;
const VOID_AFTER_MS = 10 * 60_000;
const FORGOTTEN_AFTER_MS = 7 * 86_400_000;
const LEASE = /^backup\b.*\.lease$/;

/** Takes a lease; the returned function gives it back. */
export async function takeBackupLease(dir: DataDir): Promise<() => void> {
  // What killed backups have left. Not sooner: who runs on a machine that slept comes back to its own.
  for (const [left, modified_ms] of leases(dir)) {
    if (Math.abs(Date.now() - modified_ms) > FORGOTTEN_AFTER_MS) rmSync(left, { force: true });
  }
  const file = join(dir.root, `backup-${process.pid}-${randomBytes(4).toString('hex')}.lease`);
  await writeFile(file, `${process.pid}\n`, { mode: 0o600 });
  const timer = setInterval(() => {
    const now = new Date();
    utimes(file, now, now).catch(() => undefined);
  }, REFRESH_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
    rmSync(file, { force: true });
  };
}

export function backupRuns(dir: DataDir, now_ms: number): boolean {
  // Also one from the future is void: the clock was ahead, and nobody has refreshed it since.
  return leases(dir).some(([, modified_ms]) => Math.abs(now_ms - modified_ms) < VOID_AFTER_MS);
}

function leases(dir: DataDir): readonly (readonly [file: string, modified_ms: number])[] {
  return readdirSync(dir.root)
    .filter((name) => LEASE.test(name))
    .flatMap((name) => {
      const file = join(dir.root, name);
      const found = statSync(file, { throwIfNoEntry: false });
      return found === undefined ? [] : [[file, found.mtimeMs] as const];
    });
}
