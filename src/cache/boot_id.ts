// Which boot of the machine this is: what a process of an earlier one had only in memory is gone.

import { readFileSync } from 'node:fs';

let known: string | null = null;

export function bootId(): string {
  known ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return known;
}
