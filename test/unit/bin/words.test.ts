import { describe, expect, it, vi } from 'vitest';
import { looksLikeUrl, parseAccountUrl, plainTextWarning } from '../../../bin/cli/account_url.js';
import { addressesElsewhere } from '../../../bin/cli/addresses.js';
import { CommandError, codeOf, EXIT, exitCodeOf } from '../../../bin/cli/exit_codes.js';
import { generatePassword } from '../../../bin/cli/local_account.js';
import { nearest } from '../../../bin/cli/nearest.js';
import { formatTable, note, printable, printJson, printLine } from '../../../bin/cli/output.js';
import { formatProgress, startProgress } from '../../../bin/cli/progress.js';
import { isLoopback, parseListen } from '../../../bin/cli/server_options.js';
import { formatAge, formatSize, parseDuration, parseSize } from '../../../bin/cli/sizes.js';
import { formatTime } from '../../../src/clock.js';
import { CloudError } from '../../../src/errors.js';

const invalid = expect.objectContaining({ code: 'invalid' });

describe('sizes', () => {
  it.each([
    ['0', 0],
    ['4096', 4096],
    ['500M', 500 * 1024 ** 2],
    ['10g', 10 * 1024 ** 3],
    ['1.5 GiB', 1.5 * 1024 ** 3],
    ['2TB', 2 * 1024 ** 4],
  ])('%s', (text, bytes) => {
    expect(parseSize(text, 'x')).toBe(bytes);
  });
  it.each(['', '-1', 'G', '1X', '1e3', '1,5G', '99999999P'])('refuses %j', (text) => {
    expect(() => parseSize(text, 'x')).toThrow(invalid);
  });
  it('are printed short', () => {
    expect([0, 1023, 1024, 1536, 1024 ** 2 - 10, 200 * 1024 ** 2, 5.25 * 1024 ** 4].map(formatSize)).toEqual([
      '0 B',
      '1023 B',
      '1.0 KiB',
      '1.5 KiB',
      '1.0 MiB',
      '200 MiB',
      '5.3 TiB',
    ]);
  });
});

describe('durations', () => {
  it.each([
    ['20', 20_000],
    ['0.5', 500],
    ['200ms', 200],
    ['5m', 300_000],
    ['1h', 3_600_000],
  ])('%s', (text, ms) => {
    expect(parseDuration(text, 'x')).toBe(ms);
  });
  it.each(['', '-1', '1d', 'soon', '600h', '99999999999'])('refuses %j', (text) => {
    expect(() => parseDuration(text, 'x')).toThrow(invalid);
  });
  it('ages', () => {
    expect([0, 59_000, 61_000, 7_300_000, 3 * 86_400_000].map((age) => formatAge(1e12 - age, 1e12))).toEqual([
      'just now',
      'just now',
      '1 min ago',
      '2 h ago',
      '3 days ago',
    ]);
  });
});

describe('where a server is reached', () => {
  const interfaces = {
    lo: [
      { address: '127.0.0.1', family: 'IPv4' as const, internal: true },
      { address: '::1', family: 'IPv6' as const, internal: true },
    ],
    eth0: [
      { address: 'fe80::1', family: 'IPv6' as const, internal: false },
      { address: '2001:db8::5', family: 'IPv6' as const, internal: false },
      { address: '192.168.1.5', family: 'IPv4' as const, internal: false },
    ],
  };
  it.each([
    ['http://localhost:8080', '::', ['http://192.168.1.5:8080', 'http://[2001:db8::5]:8080']],
    ['https://localhost', '0.0.0.0', ['https://192.168.1.5']],
    ['http://127.0.0.1:8080', '127.0.0.1', []],
  ])('%s, listening at %s', (url, host, elsewhere) => {
    expect(addressesElsewhere(url, host, interfaces)).toEqual(elsewhere);
  });
});

describe('where to listen', () => {
  it.each([
    ['127.0.0.1:8080', { host: '127.0.0.1', port: 8080 }],
    ['[::1]:80', { host: '::1', port: 80 }],
    [':443', { host: '::', port: 443 }],
    ['9000', { host: '127.0.0.1', port: 9000 }],
    ['cloud.local:0', { host: 'cloud.local', port: 0 }],
  ])('%s', (text, listen) => {
    expect(parseListen(text)).toEqual(listen);
  });
  it.each(['', 'host', 'host:', '::1:80', 'host:70000', 'a b:1', '[x]:1'])('refuses %j', (text) => {
    expect(() => parseListen(text)).toThrow(invalid);
  });
  it('knows what cannot be reached from elsewhere', () => {
    expect(['127.0.0.1', '127.9.9.9', '::1', '[::1]', 'localhost'].map(isLoopback)).not.toContain(false);
    expect(
      ['0.0.0.0', '::', '128.0.0.1', '127.0.0.1.example.org', 'localhost.example.org'].map(isLoopback),
    ).not.toContain(true);
  });
});

describe('address of a server', () => {
  it('gets a scheme, gives up its user', () => {
    expect(parseAccountUrl('cloud.example.org')).toEqual({ url: 'https://cloud.example.org/', user: null });
    expect(parseAccountUrl('http://an%20na@h:81/dav')).toEqual({ url: 'http://h:81/dav', user: 'an na' });
  });
  it.each([
    'https://a:secret@h',
    'https://50%@h',
    'https://%ff@h',
    'ftp://h',
    'https://',
    'https://h/?x',
    'https://h/#x',
  ])('refuses %s', (text) => {
    expect(() => parseAccountUrl(text)).toThrow(invalid);
  });
  it('never repeats a password', () => {
    expect(() => parseAccountUrl('https://a:s3cretword@h')).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('s3cretword') }),
    );
  });
  it('warns of plain text beyond this machine only', () => {
    expect(plainTextWarning('http://cloud.example.org/')).toContain('not encrypted');
    expect(plainTextWarning('http://127.0.0.1:8080/')).toBeNull();
    expect(plainTextWarning('http://[::1]:8080/')).toBeNull();
    expect(plainTextWarning('https://cloud.example.org/')).toBeNull();
  });
  it('is told from an account by its scheme', () => {
    expect(looksLikeUrl('https://x')).toBe(true);
    expect(looksLikeUrl('work')).toBe(false);
  });
});

describe('output', () => {
  it('names cannot command the terminal', () => {
    expect(printable('a\x1b[31m\nb\x07\u202Ec')).toBe('a\\x1b[31m\\x0ab\\x07\\u202ec');
    expect(printable('caf\udce9')).toBe('caf\\xe9');
    expect(printable('Ünïcödé 🎉')).toBe('Ünïcödé 🎉');
  });
  it('get nothing past the way out, whoever forgot them: a server may tell an escape as the number of a share', () => {
    const said = 'a\x1b]0;x\x07\x9b2J\u202eb';
    const told: string[] = [];
    const outputs = [process.stdout, process.stderr].map((stream) =>
      vi.spyOn(stream, 'write').mockImplementation((text) => told.push(String(text)) > 0),
    );
    printLine(`first\n${said}`);
    note(`first\n${said}`);
    printJson({ said });
    for (const output of outputs) output.mockRestore();
    const safe = 'a\\x1b]0;x\\x07\\x9b2J\\u202eb';
    expect(told.slice(0, 2)).toEqual([`first\n${safe}\n`, `first\n${safe}\n`]);
    expect(told[2]).toMatch(/^[\n\x20-\x7e]*$/);
    expect(JSON.parse(told[2] ?? '')).toEqual({ said });
  });
  it('tables align', () => {
    expect(
      formatTable(
        ['A', 'B'],
        [
          ['ää', 'x'],
          ['b', 'yy'],
        ],
      ),
    ).toBe('A   B\nää  x\nb   yy');
  });
  it('progress shows what is known', () => {
    expect(formatProgress('x', { done_bytes: 512, total_bytes: 1024, note: '3 files' })).toMatch(
      /^x {2}█{12}░{12} 50 % {2}512 B of 1.0 KiB {2}3 files$/,
    );
    expect(formatProgress('x', { done_bytes: 512, total_bytes: null })).toBe('x  512 B');
    expect(formatProgress('x', { done_bytes: 2048, total_bytes: 1024 })).toContain('100 %');
  });
  it('progress is silent unless on a terminal', () => {
    const written: string[] = [];
    const stream = {
      write: (text: string) => written.push(text),
      isTTY: false,
      columns: 20,
    } as unknown as NodeJS.WriteStream;
    const silent = startProgress('x', stream);
    silent.update({ done_bytes: 1, total_bytes: 2 });
    silent.end();
    expect(written).toEqual([]);
    const shown = startProgress('x', stream, true);
    shown.update({ done_bytes: 1, total_bytes: 2 });
    expect(written).toHaveLength(1);
    expect([...(written[0] ?? '')].length).toBeLessThan(20 + '\r\x1b[K'.length);
  });
});

describe('exit codes', () => {
  it.each([
    [new CommandError(EXIT.notRunning, ''), 3],
    [new CloudError('offline', ''), 4],
    [new CloudError('network', ''), 4],
    [new CloudError('busy_server', ''), 4],
    [new CloudError('unauthorized', ''), 5],
    [new CloudError('precondition', ''), 6],
    [new CloudError('busy', ''), 7],
    [new CloudError('locked', ''), 7],
    [new CloudError('invalid', ''), 2],
    [new CloudError('io', ''), 1],
    [new Error('x'), 1],
    ['x', 1],
    [new CloudError('not_empty', ''), 6],
  ])('of %s is %i', (error, code) => {
    expect(exitCodeOf(error)).toBe(code);
  });
});

describe('the name of an error in JSON', () => {
  it.each<[unknown, string]>([
    [new CommandError(EXIT.usage, ''), 'invalid'],
    [new CommandError(EXIT.notRunning, ''), 'not_found'],
    [new CommandError(EXIT.busy, ''), 'busy'],
    [new CloudError('quota', ''), 'quota'],
    [new TypeError('a defect'), 'io'],
  ])('%o is %s', (error, code) => {
    expect(codeOf(error)).toBe(code);
  });
});

describe('did you mean', () => {
  const words = ['mount', 'unmount', 'status', 'login', 'pin', 'unpin'];
  it.each([
    ['muont', 'mount'],
    ['umnount', 'unmount'],
    ['stats', 'status'],
    ['Login', 'login'],
    ['pni', 'pin'],
    ['bogus', null],
    ['x', null],
  ])('%s: %s', (word, expected) => {
    expect(nearest(word, words)).toBe(expected);
  });
});

describe('times', () => {
  it('are written the same everywhere, in the time zone of this machine', () => {
    const at = new Date(2026, 10, 21, 22, 10, 58);
    expect(formatTime(at.getTime())).toBe('2026-11-21 22:10:58');
  });
});

describe('generated password', () => {
  it('is long, random and free of look-alikes', () => {
    const many = Array.from({ length: 50 }, generatePassword);
    expect(new Set(many).size).toBe(50);
    for (const one of many) expect(one).toMatch(/^(?:[a-hj-km-np-z2-9]{5}-){3}[a-hj-km-np-z2-9]{5}$/);
  });
});
