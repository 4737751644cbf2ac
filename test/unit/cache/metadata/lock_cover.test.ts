import { expect, it } from 'vitest';
import { LockCover } from '../../../../src/cache/metadata/lock_cover.js';
import type { Ino } from '../../../../src/ids.js';
import type { LockInfo } from '../../../../src/remote/remote.js';

const ino = (n: number) => n as Ino;
// 1 > 2 > 3 > 4
const parentOf = (of: Ino) => (of > 1 ? ino(of - 1) : null);
const lock = (mine: boolean, deep = true): LockInfo => ({
  owner: mine ? 'me' : 'bert',
  sinceEpoch_s: null,
  expiresEpoch_s: null,
  token: null,
  mine,
  deep,
});
const dir = (n: number, lockInfo: LockInfo | null) => ({ ino: ino(n), kind: 'dir' as const, lockInfo });

function cover() {
  const changed: number[] = [];
  const made = new LockCover(parentOf);
  made.onChange = (folder) => changed.push(folder);
  return { made, changed };
}

it('the lock of a folder covers what is below it, at any depth, and ends', () => {
  const { made, changed } = cover();
  expect([made.isEmpty, made.at(ino(4))]).toEqual([true, null]);
  made.note(dir(2, lock(false)));
  expect(made.at(ino(4))).toMatchObject({ folder: 2, lock: { owner: 'bert' } });
  expect(made.at(ino(2))?.folder).toBe(2);
  expect(made.at(ino(1))).toBeNull();
  made.note(dir(2, null));
  expect([made.isEmpty, made.at(ino(4))]).toEqual([true, null]);
  expect(changed).toEqual([2, 2]);
});

it('one of ours counts before others, and is no change of what others may', () => {
  const { made, changed } = cover();
  made.note(dir(1, lock(true)));
  expect(changed).toEqual([]);
  made.note(dir(3, lock(false)));
  expect(made.at(ino(4))).toMatchObject({ folder: 1, lock: { mine: true } });
  made.note(dir(1, null));
  expect(made.at(ino(4))?.folder).toBe(3);
  made.note(dir(3, { ...lock(false), owner: 'carl' }));
  expect(changed).toEqual([3]);
  made.forget(ino(3));
  expect(made.isEmpty).toBe(true);
});

it('locks of files and of a folder alone cover nothing', () => {
  const { made, changed } = cover();
  made.note({ ino: ino(2), kind: 'file', lockInfo: lock(false) });
  made.note(dir(2, lock(false, false)));
  expect([made.isEmpty, changed]).toEqual([true, []]);
});
