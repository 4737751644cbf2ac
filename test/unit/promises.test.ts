// docs/promises.md names a test for every promise: each of them must exist.

import { existsSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const page = readFileSync(new URL('../../docs/promises.md', import.meta.url), 'utf8');
const rows = page
  .split('\n')
  .filter((line) => line.startsWith('| ') && !line.startsWith('| promise') && !line.startsWith('| ---'));

it('every promise names tests that exist', () => {
  expect(rows.length).toBeGreaterThan(50);
  const missing: string[] = [];
  for (const row of rows) {
    const tests = row.split(' | ').at(-1) ?? '';
    const files = tests.split(/; (?=`)/);
    for (const part of files) {
      const file = /`([^`]+\.test\.ts)`/.exec(part)?.[1];
      const titles = [...part.matchAll(/"([^"]+)"/g)].map(([, title = '']) => title);
      if (file === undefined || titles.length === 0) {
        missing.push(`no test named: ${row}`);
        continue;
      }
      const url = new URL(`../${file}`, import.meta.url);
      const text = existsSync(url) ? readFileSync(url, 'utf8').replaceAll("\\'", "'") : '';
      for (const title of titles) if (!text.includes(title)) missing.push(`${file}: "${title}"`);
    }
  }
  expect(missing).toEqual([]);
});
