// What the kernel says is mounted: /proc/self/mountinfo (proc_pid_mountinfo(5)). Reading it never touches a file system
// that hangs, unlike stat.

import { readFileSync } from 'node:fs';

export interface MountEntry {
  readonly mountPoint: string;
  /** `fuse.cloudmount`, `ext4`, … */
  readonly fsType: string;
  readonly source: string;
  readonly readOnly: boolean;
}

/** Fields: id parent major:minor root MOUNTPOINT OPTIONS [tags…] - FSTYPE SOURCE superoptions. */
export function parseMountInfo(text: string): readonly MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const [left, right] = line.split(' - ', 2);
    const mountPoint = left?.split(' ')[4];
    const options = left?.split(' ')[5];
    const [fsType, source] = right?.split(' ') ?? [];
    if (mountPoint === undefined || fsType === undefined || source === undefined) continue;
    entries.push({
      mountPoint: unescapeOctal(mountPoint),
      fsType,
      source: unescapeOctal(source),
      readOnly: options?.split(',').includes('ro') ?? false,
    });
  }
  return entries;
}

/** Space, tab, newline and backslash are written as `\040` and so on; the bytes are UTF-8. */
function unescapeOctal(field: string): string {
  if (!field.includes('\\')) return field;
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

export function readMountTable(): readonly MountEntry[] {
  return parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8'));
}

export function isDrive(entry: MountEntry): boolean {
  return entry.fsType === 'fuse.cloudmount';
}

/** The drive that `path` (absolute, normalized) lies in, judged by names only; null if it is on no drive. The last of
 * several entries with the same mount point covers the others. */
export function driveOf(path: string, table: readonly MountEntry[]): MountEntry | null {
  let best: MountEntry | null = null;
  for (const entry of table) {
    const within = path === entry.mountPoint || entry.mountPoint === '/' || path.startsWith(`${entry.mountPoint}/`);
    if (within && entry.mountPoint.length >= (best?.mountPoint.length ?? 0)) best = entry;
  }
  return best !== null && isDrive(best) ? best : null;
}
