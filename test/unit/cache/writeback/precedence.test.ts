import { beforeEach, expect, it } from 'vitest';
import { Precedence } from '../../../../src/cache/writeback/precedence.js';
import { ManualClock } from '../hydrator/manual_clock.js';

let clock: ManualClock;
let precedence: Precedence;
let turns: number;

beforeEach(() => {
  clock = new ManualClock();
  turns = 0;
  precedence = new Precedence(clock, () => {
    turns += 1;
  });
});

/** The kernel asks every millisecond for so long; how many of them changes could be sent in. */
async function busyFor(ms: number): Promise<number> {
  let free = 0;
  for (let i = 0; i < ms; i++) {
    precedence.served();
    await clock.advance(1);
    if (precedence.mayStart()) free += 1;
  }
  return free;
}

it('lets changes be sent while nobody asks for anything', () => {
  expect(precedence.mayStart()).toBe(true);
  expect(turns).toBe(0);
});

it('holds them back while the kernel asks, and says when to ask again', async () => {
  precedence.served();
  expect(precedence.mayStart()).toBe(false);
  expect(precedence.mayStart()).toBe(false);
  await clock.advance(10);
  expect(turns).toBe(1);
  expect(precedence.mayStart()).toBe(true);
});

it('gives changes every other turn of a drive that is never idle', async () => {
  const free = await busyFor(30_000);
  expect(free).toBeGreaterThan(14_900);
  expect(free).toBeLessThan(15_100);
});

it('begins anew with the programs after a rest', async () => {
  await busyFor(1_900);
  await clock.advance(1_000);
  expect(await busyFor(1_900)).toBe(0);
});

it('lets changes go for which somebody waits', async () => {
  await busyFor(100);
  precedence.hurry();
  expect(await busyFor(1_900)).toBe(1_900);
});
