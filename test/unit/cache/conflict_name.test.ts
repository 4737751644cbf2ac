import { expect, it } from 'vitest';
import { conflictName } from '../../../src/cache/conflict_name.js';
import type { Name } from '../../../src/ids.js';
import { NAME_MAX_BYTES, nameBytes } from '../../../src/names.js';

const AT = new Date(2026, 10, 23, 9, 30, 0);

it('a conflict name of a long name by somebody with a long name has no more bytes than a name may have', () => {
  const name = `${'名'.repeat(60)}.${'名'.repeat(15)}` as Name;
  const made = conflictName(
    name,
    { user: '名'.repeat(40), host: '名'.repeat(40) },
    AT,
    (taken) => !taken.includes(' 12)'),
  );
  expect(nameBytes(made)).toBeLessThanOrEqual(NAME_MAX_BYTES);
  expect(made.startsWith('名')).toBe(true);
});

it('a conflict name holds no half of a character of the name of the user', () => {
  const made = conflictName('a.txt' as Name, { user: `${'x'.repeat(59)}🙂`, host: 'desk' }, AT, () => false);
  expect(made.isWellFormed()).toBe(true);
});
