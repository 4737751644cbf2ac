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
const LEASE = /^backup\b.*\.lease$/;

/** Takes a lease; the returned function gives it back. */
export async function takeBackupLease(dir: DataDir): Promise<() => void> {
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

/** Removes, by the way, what backups have left that were killed. */
export function backupRuns(dir: DataDir, now_ms: number): boolean {
  let runs = false;
  for (const name of readdirSync(dir.root)) {
    if (!LEASE.test(name)) continue;
    const file = join(dir.root, name);
    const modified_ms = statSync(file, { throwIfNoEntry: false })?.mtimeMs;
    if (modified_ms === undefined) continue; // given back just now
    if (now_ms - modified_ms < VOID_AFTER_MS) runs = true;
    else rmSync(file, { force: true });
  }
  return runs;
}
