// While a backup copies contents, the server must not collect those that lose their last reference meanwhile: the
// snapshot still refers to them. The backup says so in DIR/backup.lease and keeps the file's time fresh; the server
// looks at it before it collects. A lease that nobody refreshes any more is void.

import { rmSync, statSync } from 'node:fs';
import { utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DataDir } from '../data_dir.js';

const REFRESH_MS = 30_000;
const VOID_AFTER_MS = 10 * 60_000;

function leaseFile(dir: DataDir): string {
  return join(dir.root, 'backup.lease');
}

/** Takes the lease; the returned function gives it back. */
export async function takeBackupLease(dir: DataDir): Promise<() => void> {
  const file = leaseFile(dir);
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
  try {
    return now_ms - statSync(leaseFile(dir)).mtimeMs < VOID_AFTER_MS;
  } catch {
    return false;
  }
}
