import { expect, it } from 'vitest';
import { type Brief, formatBrief, parseBrief } from '../../../../src/remote/wire/brief.js';

const FILE: Brief = {
  kind: 'file',
  fileid: '123',
  size_bytes: 2 ** 40,
  mtime: { s: -1, ns: 5 },
  permissions: 'SRMGDNVW',
  etag: '"a/b-1"',
  mode: 0o4755,
  uid: 1000,
  gid: 0,
  sha256: 'a0'.repeat(32),
};
const PLAIN: Brief = {
  ...FILE,
  kind: 'dir',
  size_bytes: 0,
  permissions: '',
  mode: null,
  uid: null,
  gid: null,
  sha256: null,
};

it('what is written is read again', () => {
  expect(formatBrief(FILE)).toBe(`f 123 1099511627776 -1.000000005 SRMGDNVW "a/b-1" 4755 1000 0 ${'a0'.repeat(32)}`);
  expect(formatBrief(PLAIN)).toBe('d 123 0 -1.000000005 - "a/b-1" - - - -');
  for (const brief of [FILE, PLAIN]) expect(parseBrief(formatBrief(brief))).toEqual(brief);
});

it('anything else is an error that says so', () => {
  const good = formatBrief(FILE);
  const bad = [
    ...['', 'f', `${good} `, ` ${good}`, `${good} more`, good.replace('f 123', 'l 123'), good.replace('123', 'x')],
    ...[good.replace('1099511627776', '-1'), good.replace('1099511627776', '9007199254740993')],
    ...[good.replace('-1.000000005', '1'), good.replace('"a/b-1"', 'a/b-1'), good.replace('"a/b-1"', '"a b"')],
    ...[good.replace('4755', '9755'), good.replace(' 1000 ', ' 4294967295 '), good.replace(/a0$/, 'A0')],
    good.replaceAll(' ', '\t'),
  ];
  for (const text of bad) {
    expect(() => parseBrief(text), text).toThrow(
      expect.objectContaining({ code: 'invalid', message: expect.stringMatching(/required, found/) }),
    );
  }
});
