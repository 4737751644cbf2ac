import { expect, it } from 'vitest';
import { endsByStatus, isAskedToEnd } from '../../../src/fs/pending_signals.js';

const [INT, KILL, USR1, ALRM, TERM, CHLD, TSTP, URG, WINCH] = [2, 9, 10, 14, 15, 17, 20, 23, 28];

interface Signals {
  readonly thread?: readonly number[];
  readonly process?: readonly number[];
  readonly blocked?: readonly number[];
  readonly ignored?: readonly number[];
  readonly caught?: readonly number[];
}

/** As the kernel writes it (proc(5)). */
function status({ thread = [], process = [], blocked = [], ignored = [], caught = [] }: Signals): string {
  const line = (field: string, signals: readonly number[]) => {
    const set = signals.reduce((sum, signal) => sum | (1n << BigInt(signal - 1)), 0n);
    return `${field}:\t${set.toString(16).padStart(16, '0')}\n`;
  };
  const [pending, shared] = [line('SigPnd', thread), line('ShdPnd', process)];
  const rest = [line('SigBlk', blocked), line('SigIgn', ignored), line('SigCgt', caught)];
  return `Name:\tgit\nPid:\t77\nSigQ:\t1/31407\n${pending}${shared}${rest.join('')}CapInh:\t0000000000000000\n`;
}

const CASES: readonly (readonly [string, Signals, boolean])[] = [
  ['nothing: another thread has taken it', {}, false],
  ['a timer that is caught', { process: [ALRM], caught: [ALRM] }, false],
  ['a timer that ends it', { process: [ALRM] }, true],
  ['a preemption of a Go program', { thread: [URG], caught: [URG] }, false],
  ['a child, a window, a stop, by default', { process: [CHLD, WINCH, TSTP] }, false],
  ['Ctrl-C', { process: [INT] }, true],
  ['Ctrl-C that is caught', { process: [INT], caught: [INT] }, true],
  ['Ctrl-C that is ignored', { process: [INT], ignored: [INT] }, false],
  ['an end that is blocked', { thread: [TERM], blocked: [TERM] }, false],
  ['the end of all threads', { thread: [KILL], caught: [ALRM, USR1] }, true],
  ['a timer and an end', { process: [ALRM, TERM], caught: [ALRM, TERM] }, true],
  ['the 64th signal, by default', { process: [64] }, true],
];

it.each(CASES)('%s', (_name, signals, ends) => {
  expect(endsByStatus(status(signals))).toBe(ends);
});

it('is looked up of a thread that is there; of one that is not, it is', () => {
  expect(isAskedToEnd(process.pid)).toBe(false);
  expect(isAskedToEnd(0)).toBe(true);
  expect(isAskedToEnd(2 ** 30)).toBe(true);
});
