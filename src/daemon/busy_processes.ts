// Who keeps a drive from being unmounted: processes with a file of it open, or that stand in it. Read from /proc by
// names (readlink of fd and cwd asks the file system nothing, so this works on a drive that does not answer).

import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

export interface BusyProcess {
  readonly pid: number;
  readonly command: string;
  /** What it holds, relative to nothing: an absolute path. */
  readonly path: string;
}

/** At most one entry per process, at most `limit` processes. Processes of other users are only seen by root. */
export async function busyProcesses(mountPoint: string, limit = 10, proc = '/proc'): Promise<readonly BusyProcess[]> {
  const found: BusyProcess[] = [];
  const pids = (await readdir(proc)).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  for (const pid of pids) {
    if (found.length >= limit) break;
    const path = await heldPath(join(proc, pid), mountPoint);
    if (path === null) continue;
    const command = (await readFile(join(proc, pid, 'comm'), 'utf8').catch(() => '?')).trim();
    found.push({ pid: Number(pid), command, path });
  }
  return found;
}

async function heldPath(processDir: string, mountPoint: string): Promise<string | null> {
  const links = [join(processDir, 'cwd'), join(processDir, 'root')];
  const fds = await readdir(join(processDir, 'fd')).catch(() => []);
  for (const link of [...links, ...fds.map((fd) => join(processDir, 'fd', fd))]) {
    const target = await readlink(link).catch(() => null);
    if (target === mountPoint || target?.startsWith(`${mountPoint}/`)) return target;
  }
  return null;
}
