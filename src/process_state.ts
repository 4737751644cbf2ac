// Which process has a number, and whether it still runs. A process that was killed keeps its number until its parent has
// asked for it, which some never do (a container whose first program is no init): it counts as gone.

import { readFileSync } from 'node:fs';

/** Field 22 of /proc/PID/stat: with the boot it tells a process from a later one of the same number. Null when there is no
 * such process, or only its zombie. */
export function startTime(pid: number): string | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in the second field may hold anything, also `)`.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

/** Whoever's it is. */
export function isAlive(pid: number): boolean {
  return startTime(pid) !== null;
}
