// What is mounted, read from /proc/self/mountinfo: asking the kernel's table never touches a file system.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface MountEntry {
  readonly dir: string;
  readonly type: string;
  readonly source: string;
  readonly options: string;
}

/** The mounts of this namespace (proc_pid_mountinfo(5)). */
export function mounts(): MountEntry[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [left = '', right = ''] = line.split(' - ');
      const [, , , , dir = '', options = ''] = left.split(' ');
      const [type = '', source = '', superOptions = ''] = right.split(' ');
      return { dir: unescapeOctal(dir), type, source: unescapeOctal(source), options: `${options},${superOptions}` };
    });
}

export function mountAt(dir: string): MountEntry | undefined {
  return mounts().findLast((entry) => entry.dir === dir);
}

export function mountsBelow(dir: string): MountEntry[] {
  return mounts().filter((entry) => entry.dir === dir || entry.dir.startsWith(`${dir}/`));
}

/** Detaches everything below `dir`, last mounted first. Synchronous, for use while the process ends. */
export function detachAllBelow(dir: string): void {
  for (const entry of mountsBelow(dir).reverse()) {
    const done = spawnSync('umount', ['-l', entry.dir], { timeout: 5000 });
    if (done.status !== 0) spawnSync('fusermount3', ['-uz', entry.dir], { timeout: 5000 });
  }
}

function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
