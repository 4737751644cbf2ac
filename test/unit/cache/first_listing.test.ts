import { expect, it } from 'vitest';
import { FirstListing } from '../../../src/cache/first_listing.js';
import { ManualClock, settled as turnsPass } from './hydrator/manual_clock.js';

/** Has it settled by the time that everything that can run has run? */
async function isSettled(work: Promise<void> | null): Promise<boolean> {
  let done = false;
  void work?.finally(() => {
    done = true;
  });
  await turnsPass();
  return done;
}

function start(): { clock: ManualClock; first: FirstListing } {
  const clock = new ManualClock();
  return { clock, first: new FirstListing(clock, new AbortController().signal) };
}

it('outside of a first listing nobody waits', async () => {
  const { first } = start();
  for (let i = 0; i < 10; i++) expect(first.tree()).toBeNull();
  expect(first.nextEntries()).toBeUndefined();
  await first.hold(new Map([[1, new Promise<void>(() => undefined)]]));
});

it('a few directories are listed by themselves, a walk waits for the tree', async () => {
  const { first } = start();
  first.begin();
  const asked = Array.from({ length: 5 }, () => first.tree());
  expect(asked.map((wait) => wait === null)).toEqual([true, true, true, false, false]);
  first.end();
  await Promise.all(asked);
  expect(first.tree()).toBeNull();
});

it('who looks at one directory after the other walks not: none waits for the tree of a large account', async () => {
  const { clock, first } = start();
  first.begin();
  for (let i = 0; i < 10; i++) {
    expect(first.tree()).toBeNull();
    await clock.advance(500); // a slow line
    first.listed();
    await clock.advance(201);
  }
  for (let i = 0; i < 3; i++) {
    expect(first.tree()).toBeNull();
    await clock.advance(500);
    first.listed();
  }
  expect(first.tree()).not.toBeNull();
  first.end();
});

it('a walk waits for a tree only so long in all', async () => {
  const { clock, first } = start();
  first.begin();
  for (let i = 0; i < 3; i++) expect(first.tree()).toBeNull();
  expect(first.comesSoon).toBe(true);
  const wait = first.tree();
  await clock.advance(2_999);
  expect(await isSettled(wait)).toBe(false);
  await clock.advance(1);
  await wait;
  expect(first.tree()).toBeNull();
  expect(first.comesSoon).toBe(false);
});

it('the tree comes in growing pieces and waits for the listings of programs, but not for ever', async () => {
  const { clock, first } = start();
  first.begin();
  expect(Array.from({ length: 4 }, () => first.nextEntries())).toEqual([1_000, 2_000, 4_000, 4_000]);
  let end = (): void => undefined;
  const listing = new Promise<void>((resolve) => {
    end = resolve;
  });
  const held = first.hold(new Map([[1, listing]]));
  expect(await isSettled(held)).toBe(false);
  await clock.advance(300);
  end();
  expect(await isSettled(held)).toBe(false); // who waited for the listing reads it now
  await clock.advance(100);
  await held;
  const stuck = first.hold(new Map([[1, new Promise<void>(() => undefined)]]));
  await clock.advance(2_100);
  await stuck;
});

it('the tree waits while programs work on what is here, but not for ever, and not while a walk waits for it', async () => {
  const { clock, first } = start();
  first.begin();
  first.served();
  const held = first.hold(new Map());
  for (let i = 0; i < 100; i++) {
    await clock.advance(10);
    expect(await isSettled(held)).toBe(false);
    first.served();
  }
  await clock.advance(100);
  await held;

  first.served();
  for (let i = 0; i < 3; i++) expect(first.tree()).toBeNull();
  const walk = first.tree();
  await first.hold(new Map());
  first.end();
  await walk;

  first.begin();
  let given_ms = 0;
  first.served();
  const last = first.hold(new Map());
  for (; !(await isSettled(last)); given_ms += 10) {
    await clock.advance(10);
    first.served();
  }
  expect(given_ms).toBeGreaterThan(1_000);
  expect(given_ms).toBeLessThan(3_000);
});

it('the tree that waits for programs goes on when one of them begins to wait for it', async () => {
  const { first } = start();
  first.begin();
  first.served();
  const held = first.hold(new Map());
  for (let i = 0; i < 3; i++) expect(first.tree()).toBeNull();
  expect(await isSettled(held)).toBe(false);
  const walk = first.tree();
  await held; // no time has passed
  expect(await isSettled(walk)).toBe(false);
  first.end();
  await walk;
});
