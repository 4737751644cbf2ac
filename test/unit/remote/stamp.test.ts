import { expect, it } from 'vitest';
import { isCertain, isStrongEtag } from '../../../src/remote/remote.js';
import { isStamp, stampOf } from '../../../src/remote/stamp.js';

it('tells versions apart by second and length, and is no entity tag', () => {
  const stamp = stampOf(1_795_420_511, 3);
  expect(stamp).toBe('T1795420511-3');
  expect(stampOf(1_795_420_511, 4)).not.toBe(stamp);
  expect(stampOf(1_795_420_512, 3)).not.toBe(stamp);
  expect([isStamp(stamp), isCertain(stamp), isStrongEtag(stamp)]).toEqual([true, true, false]);
  expect([isStamp('"T1-2"'), isCertain('"T1-2"'), isStamp(null), isCertain('W/"1"')]).toEqual([
    false,
    true,
    false,
    false,
  ]);
});

it('is none where the server says no time or no length', () => {
  expect(stampOf(null, 3)).toBeNull();
  expect(stampOf(1_795_420_511, null)).toBeNull();
  expect(stampOf(0, 3)).toBe('T0-3');
});
