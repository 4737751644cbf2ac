// What all SQL has to keep to.

import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const src = new URL('../../src/', import.meta.url);

it('no statement has a bare parameter as its LIMIT: SQLite would prepare it anew whenever one is bound', () => {
  const sources = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  const limits = sources.flatMap((file) => {
    const text = readFileSync(new URL(file, src), 'utf8');
    return [...text.matchAll(/\bLIMIT +([+?:@$][^\s)`']*)/g)].map(([, limit = '']) => ({ file, limit }));
  });
  expect(limits.length).toBeGreaterThan(5);
  expect(limits.filter(({ limit }) => !limit.startsWith('+'))).toEqual([]);
});
