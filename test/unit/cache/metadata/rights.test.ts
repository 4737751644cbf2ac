import { expect, it } from 'vitest';
import { NodeRecord, rightsBitsOf } from '../../../../src/cache/metadata/node.js';
import { systemClock } from '../../../../src/clock.js';
import type { Ino, Name } from '../../../../src/ids.js';
import { rightsOf } from '../../../../src/remote/dialects/nextcloud.js';
import { ALL_RIGHTS } from '../../../../src/remote/remote.js';

it.each([
  ['file', 'RGDNVW'],
  ['symlink', 'RGDNVW'],
  ['dir', 'RGDNVCK'],
] as const)('a %s made here and granted all that there is for one has the same rights as before', (kind, letters) => {
  const node = new NodeRecord(2 as Ino, kind, 1 as Ino, 'n' as Name, systemClock.timestamp());
  const { rights } = rightsOf(letters, true);
  expect(rightsBitsOf(kind, rights)).toBe(node.rightsBits);
  node.rights = ALL_RIGHTS; // as servers without rights are taken
  expect(rightsBitsOf(kind, rights)).toBe(node.rightsBits);
  // Each of them counts.
  for (const letter of letters) {
    expect(rightsBitsOf(kind, rightsOf(letters.replace(letter, ''), true).rights)).not.toBe(node.rightsBits);
  }
});
