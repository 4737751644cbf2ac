import { describe, expect, it } from 'vitest';
import { CloudError, type ErrorCode } from '../../../src/errors.js';
import { errnoOf } from '../../../src/fs/errno.js';

// From the table of asm-generic/errno.h, so that a wrong name in the program's table shows.
const table: [ErrorCode, number][] = [
  ['not_found', 2],
  ['exists', 17],
  ['not_dir', 20],
  ['is_dir', 21],
  ['not_empty', 39],
  ['invalid', 22],
  ['name_too_long', 36],
  ['symlink_loop', 40],
  ['no_access', 13],
  ['not_permitted', 1],
  ['read_only', 30],
  ['locked', 16],
  ['no_space', 28],
  ['quota', 122],
  ['too_large', 27],
  ['stale', 116],
  ['offline', 101],
  ['timeout', 110],
  ['network', 5],
  ['interrupted', 4],
  ['busy', 16],
  ['again', 11],
  ['unsupported', 95],
  ['no_attribute', 61],
  ['range', 34],
  ['past_end', 6],
  ['too_big', 7],
  ['io', 5],
];

describe('errors as the kernel numbers them', () => {
  for (const [code, errno] of table) {
    it(`${code} is ${errno}`, () => expect(errnoOf(new CloudError(code, 'x'))).toBe(errno));
  }
  it('a defect is EIO', () => {
    expect(errnoOf(new TypeError('x'))).toBe(5);
    expect(errnoOf(undefined)).toBe(5);
  });
});
