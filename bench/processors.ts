// What the processors of this machine did: how much of them others than this process used, and how much nobody. On a
// machine that does nothing else "others" are the server and the kernel's work for it.

import { readFileSync } from 'node:fs';

/** USER_HZ: what /proc/stat counts in, on every architecture Node runs on. */
const TICKS_PER_S = 100;

interface Reading {
  readonly busy_s: number;
  readonly idle_s: number;
  readonly own_s: number;
}

export interface ProcessorUse {
  readonly others_s: number;
  /** 0 = none of them ever slept. */
  readonly idle: number;
}

/** proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal. */
function read(): Reading {
  const [first = ''] = readFileSync('/proc/stat', 'utf8').split('\n');
  const ticks = first.split(/\s+/).slice(1, 9).map(Number);
  const at = (i: number) => (ticks[i] ?? 0) / TICKS_PER_S;
  const { user, system } = process.cpuUsage();
  return {
    busy_s: at(0) + at(1) + at(2) + at(5) + at(6) + at(7),
    idle_s: at(3) + at(4),
    own_s: (user + system) / 1e6,
  };
}

/** Call at the beginning; what it returns, at the end. */
export function watchProcessors(): () => ProcessorUse {
  const before = read();
  return () => {
    const after = read();
    const busy_s = after.busy_s - before.busy_s;
    const idle_s = after.idle_s - before.idle_s;
    return { others_s: busy_s - (after.own_s - before.own_s), idle: idle_s / Math.max(busy_s + idle_s, 0.01) };
  };
}
