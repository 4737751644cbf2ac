import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RemotePath } from '../../../../src/ids.js';
import { decodeName } from '../../../../src/names.js';
import { headerText, hrefResolver, hrefToPath, pathToHref } from '../../../../src/remote/wire/href.js';
import { codeOf } from '../../../support/code_of.js';

const BASE = '/dav/files/a%40b/';

const name = fc
  .uint8Array({ minLength: 1, maxLength: 20 })
  .map((bytes) => decodeName(bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x25 : byte))))
  .filter((text) => text !== '.' && text !== '..');

describe('hrefs', () => {
  it('gives every path back, whatever the bytes of its names', () => {
    const resolve = hrefResolver(BASE);
    fc.assert(
      fc.property(fc.array(name, { maxLength: 4 }), fc.boolean(), (names, collection) => {
        const path = names.join('/') as RemotePath;
        const href = pathToHref(BASE, path, collection);
        expect(href).toMatch(/^[A-Za-z0-9\-._~%/]+$/);
        const expected = { path, slash: collection || path === '' };
        expect(hrefToPath(BASE, href)).toEqual(expected);
        expect(resolve(href)).toEqual(expected);
        expect(resolve(`https://elsewhere:8443${href}`)).toEqual(expected);
      }),
    );
  });

  it('compares the base decoded', () => {
    expect(hrefToPath(BASE, '/dav/files/a@b/x')).toEqual({ path: 'x', slash: false });
    expect(hrefResolver(BASE)('/dav/files/a@b/x/')).toEqual({ path: 'x', slash: true });
    expect(hrefToPath(BASE, '/dav/files/a@b')).toEqual({ path: '', slash: false });
    expect(hrefToPath('/', '/x/y')).toEqual({ path: 'x/y', slash: false });
    expect(hrefToPath('/', 'http://host')).toEqual({ path: '', slash: true });
  });

  it('reads members of one collection after another, and refuses what it would refuse alone', () => {
    const resolve = hrefResolver(BASE);
    const all = [
      '',
      'd/',
      'd/x',
      'd/y',
      'd/z/',
      'd/z/1',
      'd/2',
      'e/x',
      'dd/x',
      'd%2e/x',
      'x',
      'y/',
      'd/%41/b',
      'd/A/c',
    ];
    for (const one of [...all, ...all.toReversed()]) {
      expect([one, resolve(BASE + one)]).toEqual([one, hrefToPath(BASE, BASE + one)]);
    }
    for (const bad of ['d//', 'd//x', '/', '/x', '../x', 'd/../x', 'd/%2e/x', 'd/%2f/x', 'd/.', 'd/%']) {
      resolve(`${BASE}d/x`);
      expect([bad, codeOf(() => resolve(BASE + bad))]).toEqual([bad, 'invalid']);
    }
  });

  it('tells what is outside', () => {
    for (const href of ['/dav/files/other/x', '/dav/files/', '/', '/dav/files/a%40bc']) {
      expect(hrefToPath(BASE, href)).toBeNull();
      expect(hrefResolver(BASE)(href)).toBeNull();
    }
  });

  it.each([
    `${BASE}../x`,
    `${BASE}%2e%2e/x`,
    `${BASE}./x`,
    `${BASE}a//b`,
    `${BASE}a%2Fb`,
    `${BASE}a%00`,
    `${BASE}a%`,
    `${BASE}a?b`,
    `${BASE}a#b`,
    '//host/x',
    'relative',
    'ftp://h/x',
    '',
  ])('refuses %j', (href) => {
    expect(codeOf(() => (href === '' ? hrefToPath(BASE, 'x') : hrefToPath(BASE, href)))).toBe('invalid');
    if (href !== '') expect(codeOf(() => hrefResolver(BASE)(href))).toBe('invalid');
  });

  it('reads raw UTF-8 in header values', () => {
    expect(headerText(Buffer.from('/ä', 'utf8').toString('latin1'))).toBe('/ä');
    expect(headerText(Buffer.from('/ä', 'latin1').toString('latin1'))).toBe('/ä');
    expect(headerText('/a')).toBe('/a');
  });
});
