// Why a request was interrupted. The kernel says that its caller has a signal, not which, and says it once. A local disk is
// interrupted by none: what a timer, a child or a window's new size would do to a program that does not expect `EINTR` of
// open(2) or unlink(2) (git's progress shown every second) is no end of its wait. What asks it to end is, caught or not.

import { readFileSync } from 'node:fs';
import { constants } from 'node:os';

const { SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGTERM } = constants.signals;
const { SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU } = constants.signals;

/** As in /proc/PID/status: bit n - 1 is signal n. */
type SignalSet = bigint;

const ASK_TO_END = setOf(SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGTERM);
/** Those that end no process that does not catch them (signal(7)). */
const HARMLESS = setOf(SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU);

function setOf(...signals: readonly number[]): SignalSet {
  return signals.reduce((set, signal) => set | (1n << BigInt(signal - 1)), 0n);
}

/** Has the thread a signal that ends it, or asks it to end? So also where that cannot be found out. */
export function isAskedToEnd(tid: number): boolean {
  try {
    return endsByStatus(readFileSync(`/proc/${tid}/status`, 'latin1'));
  } catch {
    return true;
  }
}

/** `status`: the text of /proc/PID/status (proc(5)). */
export function endsByStatus(status: string): boolean {
  const set = (field: string): SignalSet =>
    BigInt(`0x${new RegExp(`^${field}:\t([0-9a-f]+)$`, 'm').exec(status)?.[1]}`);
  const pending = (set('SigPnd') | set('ShdPnd')) & ~set('SigBlk') & ~set('SigIgn');
  return (pending & (ASK_TO_END | ~(set('SigCgt') | HARMLESS))) !== 0n;
}
