import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatMode,
  formatPermissions,
  formatTimestamp,
  formatXattrs,
  localNameToXattr,
  parseMode,
  parseOwnerId,
  parsePermissions,
  parseTimestamp,
  parseXattrs,
  xattrToLocalName,
} from '../../../../src/remote/wire/cloudmount_props.js';
import { evaluateConditions, ifRangeHolds, parseConditions } from '../../../../src/remote/wire/conditional.js';
import { parseDepth, parseOverwrite } from '../../../../src/remote/wire/depth.js';
import {
  formatEtag,
  normalizeEtag,
  parseEtag,
  parseEtagList,
  strongMatch,
  weakMatch,
} from '../../../../src/remote/wire/etag.js';
import { formatCreationDate, formatHttpDate, parseHttpDate } from '../../../../src/remote/wire/http_date.js';
import {
  evaluateIf,
  formatIfHeader,
  type IfList,
  parseIfHeader,
  submittedTokens,
} from '../../../../src/remote/wire/if_header.js';
import {
  formatContentRange,
  formatRange,
  formatUnsatisfied,
  parseContentRange,
  parseRange,
} from '../../../../src/remote/wire/range.js';
import { formatTimeout, parseTimeout } from '../../../../src/remote/wire/timeout.js';
import { codeOf } from '../../../support/code_of.js';

describe('entity tags', () => {
  it('parses and compares (RFC 9110 section 8.8.3.2, the table)', () => {
    expect(parseEtag('W/"1"')).toEqual({ weak: true, opaque: '1' });
    expect(parseEtag('"a b"')).toEqual({ weak: false, opaque: 'a b' });
    expect(parseEtag('1')).toBeNull();
    expect(parseEtag('"a"b"')).toBeNull();
    const table: [string, string, boolean, boolean][] = [
      ['W/"1"', 'W/"1"', false, true],
      ['W/"1"', 'W/"2"', false, false],
      ['W/"1"', '"1"', false, true],
      ['"1"', '"1"', true, true],
    ];
    for (const [a, b, strong, weak] of table) expect([strongMatch(a, b), weakMatch(a, b)]).toEqual([strong, weak]);
  });

  it('parses lists', () => {
    expect(parseEtagList('*')).toBe('*');
    expect(parseEtagList('"a", W/"b,c" ,, d')).toEqual(['"a"', 'W/"b,c"', '"d"']);
    expect(codeOf(() => parseEtagList(''))).toBe('invalid');
    expect(codeOf(() => parseEtagList('"a" "b"'))).toBe('invalid');
    expect(codeOf(() => parseEtagList('"a'))).toBe('invalid');
  });

  it('gives every list back', () => {
    const etag = fc
      .tuple(fc.boolean(), fc.stringMatching(/^[\x21\x23-\x7e]{0,20}$/))
      .map(([weak, opaque]) => formatEtag(opaque, weak));
    fc.assert(
      fc.property(fc.array(etag, { minLength: 1, maxLength: 5 }), (etags) => {
        expect(parseEtagList(etags.join(', '))).toEqual(etags);
      }),
    );
  });

  it('normalises what servers send', () => {
    expect(normalizeEtag(' "a" ')).toBe('"a"');
    expect(normalizeEtag('w/"a"')).toBe('W/"a"');
    expect(normalizeEtag('abc')).toBe('"abc"');
    expect(normalizeEtag('')).toBeNull();
    expect(normalizeEtag(null)).toBeNull();
    expect(normalizeEtag('a"b c')).toBeNull();
  });
});

describe('If header', () => {
  it('parses the examples of RFC 4918 section 10.4', () => {
    expect(
      parseIfHeader('(<urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2> ["I am an ETag"]) (["I am another ETag"])'),
    ).toEqual([
      {
        resource: null,
        conditions: [
          { kind: 'token', not: false, token: 'urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2' },
          { kind: 'etag', not: false, etag: '"I am an ETag"' },
        ],
      },
      { resource: null, conditions: [{ kind: 'etag', not: false, etag: '"I am another ETag"' }] },
    ]);
    expect(parseIfHeader('(Not <urn:uuid:1> <urn:uuid:2>)')[0]?.conditions).toMatchObject([
      { not: true },
      { not: false },
    ]);
    expect(parseIfHeader('(<urn:uuid:1>) (Not <DAV:no-lock>)')).toHaveLength(2);
    expect(
      parseIfHeader(
        '</resource1> (<urn:uuid:1> [W/"A weak ETag"]) (["strong ETag"]) <http://www.example.com/r2> (["x"])',
      ).map((list) => list.resource),
    ).toEqual(['/resource1', '/resource1', 'http://www.example.com/r2']);
  });

  it.each([
    '',
    '()',
    '(',
    '(<a)',
    '(["a")',
    '</r>',
    '</r> x',
    '(<a>) </r> (<b>)',
    'Not (<a>)',
    '(Not)',
    '(Not Not <a>)',
    '(a)',
    '<> (<a>)',
  ])('refuses %j', (header) => {
    expect(codeOf(() => parseIfHeader(header))).toBe('invalid');
  });

  const condition = fc.oneof(
    fc.record({
      kind: fc.constant('token' as const),
      not: fc.boolean(),
      token: fc.stringMatching(/^urn:[a-z0-9-]{1,9}$/),
    }),
    fc.record({
      kind: fc.constant('etag' as const),
      not: fc.boolean(),
      etag: fc.constantFrom('"a"', 'W/"b"', '"c)]"'),
    }),
  );
  const conditions = fc.array(condition, { minLength: 1, maxLength: 3 });
  const untagged = fc.array(fc.record({ resource: fc.constant(null), conditions }), { minLength: 1, maxLength: 3 });
  const tagged = fc.array(fc.record({ resource: fc.constantFrom('/a', 'http://h/b%20c'), conditions }), {
    minLength: 1,
    maxLength: 3,
  });

  it('gives every header back', () => {
    fc.assert(
      fc.property(fc.oneof<fc.Arbitrary<IfList[]>[]>(untagged, tagged), (lists) => {
        expect(parseIfHeader(formatIfHeader(lists))).toEqual(lists);
      }),
    );
  });

  it('never hangs or throws anything but invalid', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('(', ')', '<', '>', '[', ']', '"', ' ', 'a', 'N', 'o', 't', '/') }),
        (text) => {
          expect(['no error', 'invalid']).toContain(codeOf(() => parseIfHeader(text)));
        },
      ),
    );
  });

  it('is true when one list is true for its resource', async () => {
    const states: Record<string, { etag: string | null; tokens: string[] }> = {
      self: { etag: '"1"', tokens: ['urn:t'] },
      '/none': { etag: null, tokens: [] },
    };
    const holds = (header: string) =>
      evaluateIf(parseIfHeader(header), (resource) => states[resource ?? 'self'] ?? { etag: null, tokens: [] });
    expect(await holds('(<urn:t>)')).toBe(true);
    expect(await holds('(<urn:t> ["1"])')).toBe(true);
    expect(await holds('(<urn:t> ["2"])')).toBe(false);
    expect(await holds('(<urn:t> ["2"]) (["1"])')).toBe(true);
    expect(await holds('([W/"1"])')).toBe(false);
    expect(await holds('(<urn:x>) (Not <DAV:no-lock>)')).toBe(true);
    expect(await holds('</none> (["1"])')).toBe(false);
    expect(await holds('</none> (Not ["1"])')).toBe(true);
    expect(submittedTokens(parseIfHeader('(<urn:x>) (Not <DAV:no-lock> <urn:x>)'))).toEqual(['urn:x', 'DAV:no-lock']);
  });
});

describe('conditional requests', () => {
  const here = { etag: '"1"', mtime_s: 1000 };
  const judge = (headers: Record<string, string>, selected: typeof here | null = here, method = 'PUT') =>
    evaluateConditions(parseConditions(headers), selected, method);

  it('follows RFC 9110 section 13.2.2', () => {
    expect(judge({})).toBe('proceed');
    expect(judge({ 'if-match': '"1"' })).toBe('proceed');
    expect(judge({ 'if-match': 'W/"1"' })).toBe('failed');
    expect(judge({ 'if-match': '"2", "1"' })).toBe('proceed');
    expect(judge({ 'if-match': '*' }, null)).toBe('failed');
    expect(judge({ 'if-match': '*' })).toBe('proceed');
    expect(judge({ 'if-none-match': '*' })).toBe('failed');
    expect(judge({ 'if-none-match': '*' }, null)).toBe('proceed');
    expect(judge({ 'if-none-match': 'W/"1"' }, here, 'GET')).toBe('not_modified');
    expect(judge({ 'if-none-match': '"2"' }, here, 'GET')).toBe('proceed');
    const old = formatHttpDate(900);
    const now = formatHttpDate(1000);
    expect(judge({ 'if-modified-since': now }, here, 'GET')).toBe('not_modified');
    expect(judge({ 'if-modified-since': old }, here, 'GET')).toBe('proceed');
    expect(judge({ 'if-modified-since': now, 'if-none-match': '"2"' }, here, 'GET')).toBe('proceed');
    expect(judge({ 'if-unmodified-since': old })).toBe('failed');
    expect(judge({ 'if-unmodified-since': now })).toBe('proceed');
    expect(judge({ 'if-unmodified-since': old, 'if-match': '"1"' })).toBe('proceed');
    expect(judge({ 'if-modified-since': 'nonsense' }, here, 'GET')).toBe('proceed');
  });

  it('knows If-Range', () => {
    expect(ifRangeHolds(undefined, '"1"')).toBe(true);
    expect(ifRangeHolds('"1"', '"1"')).toBe(true);
    expect(ifRangeHolds('W/"1"', 'W/"1"')).toBe(false);
    expect(ifRangeHolds(formatHttpDate(5), '"1"')).toBe(false);
    expect(ifRangeHolds('nonsense', '"1"')).toBe(false);
  });
});

describe('ranges', () => {
  it('reads what RFC 9110 section 14.1.2 shows, for 10,000 bytes', () => {
    const ranges = (header: string) => {
      const parsed = parseRange(header, 10_000);
      return parsed.kind === 'ranges' ? parsed.ranges.map((range) => [range.start, range.end]) : parsed.kind;
    };
    expect(ranges('bytes=0-499')).toEqual([[0, 500]]);
    expect(ranges('bytes=500-999')).toEqual([[500, 1000]]);
    expect(ranges('bytes=-500')).toEqual([[9500, 10_000]]);
    expect(ranges('bytes=9500-')).toEqual([[9500, 10_000]]);
    expect(ranges('bytes=0-0, -1')).toEqual([
      [0, 1],
      [9999, 10_000],
    ]);
    expect(ranges('bytes=0-99999')).toEqual([[0, 10_000]]);
    expect(ranges('bytes=-99999')).toEqual([[0, 10_000]]);
    expect(ranges('bytes=10000-')).toBe('unsatisfiable');
    expect(ranges('bytes=-0')).toBe('unsatisfiable');
    expect(ranges('bytes=5-4')).toBe('whole');
    expect(ranges('bytes=a-b')).toBe('whole');
    expect(ranges('items=0-1')).toBe('whole');
    expect(ranges(`bytes=${'0-0,'.repeat(17)}`)).toBe('whole');
    expect(parseRange('bytes=0-', 0).kind).toBe('unsatisfiable');
    expect(parseRange('bytes=-5', 0).kind).toBe('whole');
    expect(parseRange('bytes=-0', 0).kind).toBe('unsatisfiable');
    expect(parseRange(undefined, 5).kind).toBe('whole');
  });

  it('gives one range back', () => {
    fc.assert(
      fc.property(fc.nat(1e9), fc.integer({ min: 1, max: 1e9 }), fc.nat(1e9), (start, length, rest) => {
        const range = { start, end: start + length };
        const total = range.end + rest;
        expect(parseRange(formatRange(range), total)).toEqual({ kind: 'ranges', ranges: [range] });
        expect(parseContentRange(formatContentRange(range, total))).toEqual({ range, total_bytes: total });
      }),
    );
  });

  it('reads Content-Range strictly', () => {
    expect(parseContentRange(formatUnsatisfied(7))).toEqual({ range: null, total_bytes: 7 });
    expect(parseContentRange('bytes 0-4/*')).toEqual({ range: { start: 0, end: 5 }, total_bytes: null });
    for (const wrong of ['bytes */*', 'bytes 5-4/10', 'bytes 0-10/10', 'bytes 0-4', '0-4/5', 'bytes=0-4/5', '']) {
      expect(parseContentRange(wrong)).toBeNull();
    }
    expect(codeOf(() => formatRange({ start: 5, end: 5 }))).toBe('invalid');
  });
});

describe('small headers', () => {
  it('Depth, Overwrite, Timeout', () => {
    expect([
      parseDepth('0', 1),
      parseDepth('1', 0),
      parseDepth('Infinity', 0),
      parseDepth(undefined, 'infinity'),
    ]).toEqual([0, 1, 'infinity', 'infinity']);
    expect(codeOf(() => parseDepth('2', 0))).toBe('invalid');
    expect([parseOverwrite(undefined), parseOverwrite('t'), parseOverwrite('F')]).toEqual([true, true, false]);
    expect(codeOf(() => parseOverwrite('x'))).toBe('invalid');
    expect(parseTimeout('Infinite, Second-4100000000')).toBe('infinite');
    expect(parseTimeout('Extended-1, Second-180')).toBe(180);
    expect(parseTimeout('soon')).toBeNull();
    expect(parseTimeout(undefined)).toBeNull();
    expect([formatTimeout(180.5), formatTimeout('infinite')]).toEqual(['Second-180', 'Infinite']);
  });

  it('HTTP dates, the three forms of RFC 9110 section 5.6.7', () => {
    for (const text of [
      'Sun, 06 Nov 1994 08:49:37 GMT',
      'Sunday, 06-Nov-94 08:49:37 GMT',
      'Sun Nov  6 08:49:37 1994',
    ]) {
      expect(parseHttpDate(text)).toBe(784111777);
    }
    expect(formatHttpDate(784111777.9)).toBe('Sun, 06 Nov 1994 08:49:37 GMT');
    expect(formatHttpDate(999_999_999_999_999)).toBe('Fri, 31 Dec 9999 23:59:59 GMT');
    expect(formatHttpDate(-999_999_999_999_999)).toBe('Sat, 01 Jan 0000 00:00:00 GMT');
    expect(formatCreationDate(784111777)).toBe('1994-11-06T08:49:37Z');
    for (const wrong of [
      '',
      'yesterday',
      'Sun, 31 Feb 1994 08:49:37 GMT',
      '1994-11-06T08:49:37Z',
      'Sun, 06 Nov 1994 25:49:37 GMT',
    ]) {
      expect(parseHttpDate(wrong)).toBeNull();
    }
    fc.assert(
      fc.property(fc.integer({ min: -1e10, max: 2e11 }), (s) => {
        expect(parseHttpDate(formatHttpDate(s))).toBe(s);
      }),
      { examples: [[0], [-1], [253402300799]] },
    );
  });
});

describe('values of our properties', () => {
  it('times to the nanosecond', () => {
    fc.assert(
      fc.property(fc.integer({ min: -1e11, max: 1e12 }), fc.nat(999_999_999), (s, ns) => {
        expect(parseTimestamp(formatTimestamp({ s, ns }))).toEqual({ s, ns });
      }),
    );
    expect(parseTimestamp('12.5')).toEqual({ s: 12, ns: 500_000_000 });
    expect(parseTimestamp('12')).toEqual({ s: 12, ns: 0 });
    for (const wrong of ['', 'x', '1e5', '1.2.3', '.5']) expect(codeOf(() => parseTimestamp(wrong))).toBe('invalid');
  });

  it('modes and ids', () => {
    expect([formatMode(0o644), formatMode(0o104755), parseMode('4755'), parseMode('0644')]).toEqual([
      '0644',
      '4755',
      0o4755,
      0o644,
    ]);
    for (const wrong of ['', '8', '17777', '-1']) expect(codeOf(() => parseMode(wrong))).toBe('invalid');
    expect(parseOwnerId('4294967294')).toBe(4294967294);
    for (const wrong of ['', '-1', '4294967295', 'root']) expect(codeOf(() => parseOwnerId(wrong))).toBe('invalid');
  });

  it('xattr names become XML names and back, whatever their bytes', () => {
    expect(xattrToLocalName('user.color')).toBe('user.color');
    expect(xattrToLocalName('7_ä')).toBe('_x37__x5F__xC3__xA4_');
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }), (name) => {
        const local = xattrToLocalName(name.toWellFormed());
        expect(local).toMatch(/^[A-Za-z_][A-Za-z0-9._-]*$/);
        expect(localNameToXattr(local)).toBe(name.toWellFormed());
      }),
    );
    expect(codeOf(() => localNameToXattr('a b'))).toBe('invalid');
    expect(codeOf(() => localNameToXattr('_x5_'))).toBe('invalid');
  });

  it('xattr values', () => {
    const xattrs = new Map([
      ['user.a', Buffer.from([0, 255])],
      ['__proto__', Buffer.from('x')],
    ]);
    expect(parseXattrs(formatXattrs(xattrs))).toEqual(xattrs);
    for (const wrong of ['', '[]', 'null', '{"a":1}']) expect(codeOf(() => parseXattrs(wrong))).toBe('invalid');
  });

  it('permission letters', () => {
    expect(formatPermissions(parsePermissions('RGDNVWCK', true))).toBe('RGDNVWCK');
    expect(parsePermissions('SG', true)).toMatchObject({ read: true, write: false, sharedIn: true, remove: false });
    expect(parsePermissions('CK', true).read).toBe(false);
    expect(parsePermissions('CK', false).read).toBe(true);
  });
});
