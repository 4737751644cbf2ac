import { describe, expect, it } from 'vitest';
import { BusyPoll } from '../../../src/fs/busy_poll.js';

/** Of `turns` occasions, how often it looked, when looking finds something as `comes` says. */
function looks(poll: BusyPoll, turns: number, comes: (turn: number) => boolean): number {
  let looked = 0;
  for (let turn = 0; turn < turns; turn += 1) {
    if (!poll.isWorthwhile()) continue;
    looked += 1;
    if (comes(turn)) poll.found();
    else poll.foundNothing();
  }
  return looked;
}

describe('BusyPoll', () => {
  it('looks every time while there is something to find', () => {
    expect(looks(new BusyPoll(2), 1000, () => true)).toBe(1000);
  });

  it('looks ever more rarely in vain, but never gives up', () => {
    const poll = new BusyPoll(2);
    expect(looks(poll, 1000, () => false)).toBeLessThan(25);
    expect(looks(poll, 1000, () => false)).toBeGreaterThan(10);
  });

  it('is back at once when something comes', () => {
    const poll = new BusyPoll(2);
    looks(poll, 1000, () => false);
    expect(looks(poll, 1000, () => true)).toBeGreaterThan(930);
  });

  it('never looks where there is one processor only', () => {
    expect(looks(new BusyPoll(1), 100, () => true)).toBe(0);
  });
});
