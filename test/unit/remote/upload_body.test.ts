import { expect, it } from 'vitest';
import { Slice } from '../../../src/remote/upload_body.js';
import { bytesSource } from '../../contract/remote_contract.js';
import { ManualClock } from '../cache/hydrator/manual_clock.js';

async function lengths(slice: Slice, clock: ManualClock, each_ms: number): Promise<number[]> {
  const found: number[] = [];
  for await (const chunk of slice.body(() => undefined)) {
    found.push(chunk.length);
    await clock.advance(each_ms);
  }
  return found;
}

it('a slice is what goes in its time, and not less than the least', async () => {
  const source = bytesSource('x'.repeat(100), 10);
  const clock = new ManualClock();
  const cut = new Slice(source, 20, 5, 30, clock);
  expect(await lengths(cut, clock, 10)).toEqual([10, 10, 10]);
  expect(cut.end).toBe(50);
  const least = new Slice(source, 20, 65, 30, clock);
  expect(await lengths(least, clock, 10)).toHaveLength(7);
  const all = new Slice(source, 20, 5, 1000, clock);
  expect(await lengths(all, clock, 10)).toHaveLength(8);
  expect(all.end).toBe(100);
});
