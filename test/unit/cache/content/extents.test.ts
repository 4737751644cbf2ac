import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ByteRange, ExtentSet } from '../../../../src/cache/content/extents.js';

const SPAN = 200;

type Step =
  | { readonly op: 'insert' | 'insertDirty' | 'remove'; readonly a: number; readonly b: number }
  | { readonly op: 'clip'; readonly a: number }
  | { readonly op: 'markClean' }
  | { readonly op: 'roundTrip' };

const offset = fc.integer({ min: 0, max: SPAN });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ op: fc.constantFrom('insert', 'insertDirty', 'remove'), a: offset, b: offset }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('clip' as const), a: offset }) },
  { weight: 1, arbitrary: fc.constant({ op: 'markClean' as const }) },
  { weight: 1, arbitrary: fc.constant({ op: 'roundTrip' as const }) },
) as fc.Arbitrary<Step>;

/** One flag per byte and layer: slow and obviously right. */
class Bitmap {
  readonly present = new Array<boolean>(SPAN).fill(false);
  readonly dirty = new Array<boolean>(SPAN).fill(false);

  apply(change: Step): void {
    if (change.op === 'markClean') this.dirty.fill(false);
    if (change.op === 'clip') {
      this.present.fill(false, change.a);
      this.dirty.fill(false, change.a);
    }
    if (change.op !== 'insert' && change.op !== 'insertDirty' && change.op !== 'remove') return;
    const [start, end] = ordered(change.a, change.b);
    this.present.fill(change.op !== 'remove', start, end);
    if (change.op !== 'insert') this.dirty.fill(change.op === 'insertDirty', start, end);
  }

  static ranges(bits: readonly boolean[], wanted: boolean, start = 0, end = SPAN): ByteRange[] {
    const found: { start: number; end: number }[] = [];
    for (let at = start; at < end; at++) {
      if (bits[at] !== wanted) continue;
      const last = found.at(-1);
      if (last?.end === at) last.end += 1;
      else found.push({ start: at, end: at + 1 });
    }
    return found;
  }
}

function ordered(a: number, b: number): [number, number] {
  return a < b ? [a, b] : [b, a];
}

function run(set: ExtentSet, change: Step): ExtentSet {
  switch (change.op) {
    case 'clip':
      set.clip(change.a);
      return set;
    case 'markClean':
      set.markClean();
      return set;
    case 'roundTrip':
      return ExtentSet.parse(set.serialise());
    default:
      set[change.op](...ordered(change.a, change.b));
      return set;
  }
}

describe('ExtentSet', () => {
  it('answers everything as one flag per byte does, after any changes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), offset, offset, (steps, a, b) => {
        let set = new ExtentSet();
        const bits = new Bitmap();
        for (const change of steps) {
          set = run(set, change);
          bits.apply(change);
        }
        const [start, end] = ordered(a, b);
        expect(set.presentRanges()).toEqual(Bitmap.ranges(bits.present, true));
        expect(set.dirtyRanges()).toEqual(Bitmap.ranges(bits.dirty, true));
        expect(set.missing(start, end)).toEqual(Bitmap.ranges(bits.present, false, start, end));
        expect(set.firstMissing(start, end)).toEqual(Bitmap.ranges(bits.present, false, start, end)[0] ?? null);
        expect(set.presentWithin(start, end)).toEqual(Bitmap.ranges(bits.present, true, start, end));
        expect(set.dirtyWithin(start, end)).toEqual(Bitmap.ranges(bits.dirty, true, start, end));
        expect(set.covers(start, end)).toBe(bits.present.slice(start, end).every(Boolean));
        expect(set.isComplete(end)).toBe(bits.present.slice(0, end).every(Boolean));
        expect(set.presentBytes).toBe(bits.present.filter(Boolean).length);
        expect(set.dirtyBytes).toBe(bits.dirty.filter(Boolean).length);
        expect(set.end).toBe(bits.present.lastIndexOf(true) + 1);
        expect(set.isEmpty).toBe(!bits.present.includes(true));
        expect(set.isDirty).toBe(bits.dirty.includes(true));
      }),
      { numRuns: 2000 },
    );
  });

  it('round-trips offsets up to 2^53', () => {
    const set = new ExtentSet();
    set.insert(0, 1);
    set.insertDirty(2 ** 40, 2 ** 40 + 7);
    set.insert(2 ** 52, Number.MAX_SAFE_INTEGER);
    const copy = ExtentSet.parse(set.serialise());
    expect(copy.presentRanges()).toEqual(set.presentRanges());
    expect(copy.dirtyRanges()).toEqual([{ start: 2 ** 40, end: 2 ** 40 + 7 }]);
    expect(copy.presentBytes).toBe(set.presentBytes);
  });

  it('stores a whole file in a dozen bytes', () => {
    const set = new ExtentSet();
    set.insert(0, 4 * 1024 ** 3);
    expect(set.serialise().length).toBeLessThanOrEqual(12);
  });

  it('moves `removals` only when bytes leave', () => {
    const set = new ExtentSet();
    set.insert(0, 10);
    set.remove(20, 30);
    set.clip(10);
    expect(set.removals).toBe(0);
    set.remove(9, 30);
    expect(set.removals).toBe(1);
    set.clip(5);
    expect(set.removals).toBe(2);
  });

  it('keeps a clone apart', () => {
    const set = new ExtentSet();
    set.insertDirty(0, 10);
    const copy = set.clone();
    copy.remove(0, 5);
    copy.markClean();
    expect(set.dirtyRanges()).toEqual([{ start: 0, end: 10 }]);
    expect(copy.presentRanges()).toEqual([{ start: 5, end: 10 }]);
  });

  it('refuses offsets that are none', () => {
    const set = new ExtentSet();
    expect(() => set.insert(-1, 5)).toThrow(RangeError);
    expect(() => set.insert(5, 4)).toThrow(RangeError);
    expect(() => set.insertDirty(0.5, 4)).toThrow(RangeError);
    expect(() => set.remove(0, Number.NaN)).toThrow(RangeError);
  });

  it.each([
    ['no bytes', []],
    ['an unknown format', [2, 0, 0]],
    ['a missing layer', [1, 0]],
    ['bytes after the end', [1, 0, 0, 0]],
    ['a count without ranges', [1, 5, 0]],
    ['a huge count', [1, 0xff, 0xff, 0xff, 0xff, 0x7f]],
    ['an empty range', [1, 1, 3, 0, 0]],
    ['ranges that touch', [1, 2, 0, 5, 0, 5, 0]],
    ['dirty bytes that are not present', [1, 1, 0, 5, 1, 3, 5]],
    ['a number above 2^53', [1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 0]],
  ])('refuses %s', (_what, bytes) => {
    expect(() => ExtentSet.parse(Uint8Array.from(bytes))).toThrow(expect.objectContaining({ code: 'corrupt' }));
  });

  it('never takes random bytes for something inconsistent', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 30 }), (bytes) => {
        let set: ExtentSet;
        try {
          set = ExtentSet.parse(Uint8Array.from([1, ...bytes]));
        } catch (error) {
          expect(error).toMatchObject({ code: 'corrupt' });
          return;
        }
        expect(ExtentSet.parse(set.serialise()).presentRanges()).toEqual(set.presentRanges());
        for (const range of set.dirtyRanges()) expect(set.covers(range.start, range.end)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});
