import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { onStopSignals } from '../../../src/daemon/stop_signals.js';

let restore: () => void = () => undefined;
let said: string[] = [];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  said = [];
  restore = onStopSignals(
    { stop: (signal) => said.push(`stop ${signal}`), abandon: (reason) => said.push(reason) },
    4000,
  );
});
afterEach(() => {
  restore();
  vi.useRealTimers();
});

/** Called directly: a real signal would end the test runner, too. */
function raise(signal: 'SIGTERM' | 'SIGINT' | 'SIGHUP'): void {
  process.listeners(signal).at(-1)?.(signal);
}

it('the first asks for a stop, a later one for a quick end', () => {
  raise('SIGINT');
  expect(said).toEqual(['stop SIGINT']);
  vi.advanceTimersByTime(1000);
  raise('SIGTERM');
  expect(said).toEqual(['stop SIGINT', 'SIGTERM after SIGINT']);
});

it('one Ctrl-C that arrives twice is one', () => {
  raise('SIGINT');
  vi.advanceTimersByTime(50);
  raise('SIGINT');
  expect(said).toEqual(['stop SIGINT']);
});

it('a stop that takes too long is given up', () => {
  raise('SIGHUP');
  vi.advanceTimersByTime(3999);
  expect(said).toEqual(['stop SIGHUP']);
  vi.advanceTimersByTime(2);
  expect(said).toEqual(['stop SIGHUP', 'not stopped within 4000 ms of SIGHUP']);
});

it('takes its handlers and its clock away', () => {
  raise('SIGTERM');
  const listeners = process.listenerCount('SIGTERM');
  restore();
  expect(process.listenerCount('SIGTERM')).toBe(listeners - 1);
  vi.advanceTimersByTime(10_000);
  expect(said).toEqual(['stop SIGTERM']);
});
