import { describe, expect, it } from 'vitest';
import { encodeNotification } from '../../../../src/fs/wire/notification.js';
import type { Ino, Name } from '../../../../src/ids.js';

const hex = (notification: Parameters<typeof encodeNotification>[0]) =>
  encodeNotification(notification).toString('hex');

describe('notifications: unique 0, the code in place of the error', () => {
  it('INVAL_INODE with and without data', () => {
    expect(hex({ kind: 'inval_inode', ino: 5 as Ino, data: true })).toBe(
      `28000000020000000000000000000000${'0500000000000000'}${'00'.repeat(16)}`,
    );
    expect(hex({ kind: 'inval_inode', ino: 5 as Ino, data: false })).toBe(
      `28000000020000000000000000000000${'0500000000000000'}${'ff'.repeat(8)}${'00'.repeat(8)}`,
    );
  });

  it('INVAL_ENTRY: the name and its NUL', () => {
    expect(hex({ kind: 'inval_entry', parent: 1 as Ino, name: 'é' as Name })).toBe(
      '2300000003000000000000000000000001000000000000000200000001000000c3a900',
    );
  });

  it('DELETE', () => {
    expect(hex({ kind: 'delete', parent: 1 as Ino, child: 9 as Ino, name: '\udcff' as Name })).toBe(
      '2a000000060000000000000000000000010000000000000009000000000000000100000000000000ff00',
    );
  });

  it('INC_EPOCH', () => {
    expect(hex({ kind: 'inc_epoch' })).toBe('10000000080000000000000000000000');
  });
});
