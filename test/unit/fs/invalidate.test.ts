import { beforeEach, describe, expect, it } from 'vitest';
import { Invalidator } from '../../../src/fs/invalidate.js';
import { INC_EPOCH_MINOR_VERSION } from '../../../src/fs/wire/abi.js';
import { encodeNotification, type Notification } from '../../../src/fs/wire/notification.js';
import type { Ino, Name } from '../../../src/ids.js';

const dir = 3 as Ino;
const file = 4 as Ino;

describe('Invalidator', () => {
  let posted: string[];
  let known: Set<number>;
  let named: Set<number>;
  let invalidator: Invalidator;

  beforeEach(() => {
    posted = [];
    known = new Set([1, dir, file]);
    named = new Set([1, dir]);
    const sink = {
      post: (batch: Uint8Array) => void posted.push(Buffer.from(batch).toString('hex')),
      close: async () => {},
    };
    const inodes = { has: (ino: Ino) => known.has(ino), knowsNamesIn: (ino: Ino) => named.has(ino) };
    invalidator = new Invalidator(inodes, sink);
    invalidator.kernelSpeaks(45);
  });

  const hex = (...notifications: Notification[]) =>
    notifications.map((notification) => encodeNotification(notification).toString('hex')).join('');

  it('sends nothing from inside the call, and one batch after it', async () => {
    invalidator.onInvalidation({ kind: 'inode', ino: file, data: false });
    invalidator.onInvalidation({ kind: 'inode', ino: file, data: true });
    invalidator.onInvalidation({ kind: 'inode', ino: file, data: false });
    expect(posted).toEqual([]);
    await new Promise((done) => setImmediate(done));
    expect(posted).toEqual([hex({ kind: 'inval_inode', ino: file, data: true })]);
    expect(invalidator.sent).toBe(1);
  });

  it('says nothing about what the kernel does not know', () => {
    invalidator.onInvalidation({ kind: 'inode', ino: 77 as Ino, data: true });
    invalidator.onInvalidation({ kind: 'entry', parent: 77 as Ino, name: 'x' as Name });
    invalidator.flush();
    expect(posted).toEqual([]);
  });

  it('a changed name takes the listing of its directory along', () => {
    invalidator.onInvalidation({ kind: 'entry', parent: dir, name: 'x' as Name });
    invalidator.flush();
    expect(posted).toEqual([
      hex({ kind: 'inval_inode', ino: dir, data: true }, { kind: 'inval_entry', parent: dir, name: 'x' as Name }),
    ]);
  });

  it('of a directory of which no name was told nothing is dropped: there is neither a dentry nor a listing', () => {
    named.delete(dir);
    invalidator.onInvalidation({ kind: 'entry', parent: dir, name: 'x' as Name });
    invalidator.onInvalidation({ kind: 'delete', parent: dir, child: file, name: 'y' as Name });
    invalidator.flush();
    expect(posted).toEqual([]);
  });

  it('of several events about one name the last is true', () => {
    invalidator.onInvalidation({ kind: 'delete', parent: dir, child: file, name: 'x' as Name });
    invalidator.onInvalidation({ kind: 'entry', parent: dir, name: 'x' as Name });
    invalidator.flush();
    expect(posted).toEqual([
      hex({ kind: 'inval_inode', ino: dir, data: true }, { kind: 'inval_entry', parent: dir, name: 'x' as Name }),
    ]);
  });

  it('a flood of names becomes one new epoch; inodes are still named', () => {
    for (let i = 0; i < 5_000; i++) invalidator.onInvalidation({ kind: 'entry', parent: dir, name: `n${i}` as Name });
    invalidator.onInvalidation({ kind: 'inode', ino: file, data: true });
    invalidator.flush();
    expect(posted).toEqual([
      hex(
        { kind: 'inc_epoch' },
        { kind: 'inval_inode', ino: dir, data: true },
        { kind: 'inval_inode', ino: file, data: true },
      ),
    ]);
  });

  it('an older kernel gets every name', () => {
    invalidator.kernelSpeaks(INC_EPOCH_MINOR_VERSION - 1);
    for (let i = 0; i < 5_000; i++) invalidator.onInvalidation({ kind: 'entry', parent: dir, name: `n${i}` as Name });
    invalidator.flush();
    expect(invalidator.sent).toBe(5_001);
  });

  it('is silent after its end', async () => {
    invalidator.onInvalidation({ kind: 'inode', ino: file, data: true });
    await invalidator.close();
    invalidator.onInvalidation({ kind: 'inode', ino: file, data: true });
    invalidator.flush();
    expect(posted).toEqual([]);
  });
});
