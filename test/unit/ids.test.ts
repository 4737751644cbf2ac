import { expect, it } from 'vitest';
import { isMember, isWithin, nameOf, type RemotePath, splitPath } from '../../src/ids.js';

const PATHS = ['', 'a', 'b', 'aa', 'b/a', 'a/b', 'a/bb', 'aa/b', 'a/b/c', 'a/b/c/d', 'b/a/b'] as RemotePath[];

it('a path has one collection above it, and is within all above that', () => {
  for (const path of PATHS) {
    if (path !== '') expect(nameOf(path)).toBe(splitPath(path).name);
    const members = PATHS.filter((other) => isMember(path, other));
    expect([path, members]).toEqual([path, path === '' ? [] : [splitPath(path).parent]]);
    for (const above of members) expect([isWithin(path, above), isWithin(above, path)]).toEqual([true, false]);
  }
});
