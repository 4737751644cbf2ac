// Changes of one turn of the loop share a transaction, and its fate.

import { afterEach, beforeEach, expect, it } from 'vitest';
import { Rows } from '../writeback/rows.js';

let rows: Rows;
beforeEach(async () => {
  rows = await Rows.open();
});
afterEach(() => rows.close());

it('makes them together, at the end of the turn, and durable', async () => {
  const order: string[] = [];
  const first = rows.store.recordSoon(() => {
    order.push('first');
    rows.store.setSetting('a', '1');
  });
  const second = rows.store.recordSoon(() => order.push('second'));
  expect(order).toEqual([]);
  await Promise.all([first, second]);
  expect(order).toEqual(['first', 'second']);
  expect(rows.store.setting('a')).toBe('1');
});

it('one that fails takes the others of its turn back, and everybody is told', async () => {
  const { root } = rows;
  const { mode } = root;
  const fine = rows.store.recordSoon(() => {
    root.mode = 0o700;
    rows.store.save(root);
  });
  const bad = rows.store.recordSoon(() => {
    throw new Error('no room');
  });
  const told = await Promise.allSettled([fine, bad]);
  expect(told.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  expect(root.mode).toBe(mode);
});

it('what comes while others are being made durable is made with the next turn', async () => {
  let later: Promise<void> | null = null;
  await rows.store.recordSoon(() => {
    later = rows.store.recordSoon(() => rows.store.setSetting('b', '2'));
  });
  await later;
  expect(rows.store.setting('b')).toBe('2');
});
