import { describe, expect, test } from 'vitest';
import { parseAuthorization } from '../../../../src/server/auth/credentials.js';

function basic(text: string, encoding: BufferEncoding = 'utf8'): string {
  return `Basic ${Buffer.from(text, encoding).toString('base64')}`;
}

describe('Authorization', () => {
  test('Basic splits at the first colon', () => {
    expect(parseAuthorization(basic('anna:a:b:'))).toEqual({ kind: 'basic', user: 'anna', secret: 'a:b:' });
    expect(parseAuthorization(basic('anna:'))).toEqual({ kind: 'basic', user: 'anna', secret: '' });
  });

  test('Basic is UTF-8, and Latin-1 where it cannot be', () => {
    expect(parseAuthorization(basic('jürgen:pässword'))).toMatchObject({ user: 'jürgen', secret: 'pässword' });
    expect(parseAuthorization(basic('jürgen:pässword', 'latin1'))).toMatchObject({
      user: 'jürgen',
      secret: 'pässword',
    });
  });

  test('schemes are without regard to case', () => {
    expect(parseAuthorization(basic('a:b').replace('Basic', 'BASIC'))).toMatchObject({ kind: 'basic' });
    expect(parseAuthorization('bearer abc-._~+/=')).toEqual({ kind: 'bearer', secret: 'abc-._~+/=' });
  });

  test.each([undefined, '', 'Basic', 'Basic !!!', `${basic('nocolon')}`, 'Digest username="a"', 'Negotiate abc'])(
    '%j is nothing we know',
    (header) => {
      expect(parseAuthorization(header)).toBeNull();
    },
  );
});
