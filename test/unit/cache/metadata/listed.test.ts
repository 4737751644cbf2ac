// What a listing names is written and compared without objects: the short ways must agree with the long one.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Listed } from '../../../../src/cache/metadata/listed_row.js';
import { Dirty, NodeRecord } from '../../../../src/cache/metadata/node.js';
import type { Ino, Name, RemotePath } from '../../../../src/ids.js';
import { ALL_RIGHTS, type RemoteEntry } from '../../../../src/remote/remote.js';
import { Rows } from '../writeback/rows.js';

const TIME = { s: 1_700_000_000, ns: 5 };

let rows: Rows;
beforeEach(async () => {
  rows = await Rows.open();
});
afterEach(() => rows.close());

const LOCK = { owner: 'bob', sinceEpoch_s: null, expiresEpoch_s: null, token: null, mine: false };

/** What a listing says of `name` in the root. */
function listed(
  name: string,
  change: Partial<RemoteEntry> = {},
  more: Partial<Pick<Listed, 'mtime' | 'lock' | 'epoch'>> = {},
): Listed {
  const entry: RemoteEntry = {
    ...{ path: name as RemotePath, kind: 'file', fileid: `id-${name}`, etag: '"1"', size_bytes: 10, mtime: TIME },
    ...{ rights: ALL_RIGHTS, lock: null, shared: null, checksum: 'SHA256:00', symlinkTarget: null },
    ...{ posix: { mode: 0o640 }, xattrs: new Map() },
    ...change,
  };
  return { place: { parent: rows.root.ino, name: name as Name }, entry, mtime: TIME, lock: null, epoch: 3, ...more };
}

describe('a listed node', () => {
  it('is shown as it would be from its object', () => {
    const rights = { ...ALL_RIGHTS, write: false };
    expect(rows.store.insertListed(listed('f', { rights }, { lock: LOCK }))).toBe(true);
    const link = { kind: 'symlink', symlinkTarget: 'f', fileid: null } as const;
    expect(rows.store.insertListed(listed('l', link))).toBe(true);
    expect(rows.store.insertListed(listed('\udcff'))).toBe(true); // a name that is no UTF-8
    const views = rows.store.memberViews(rows.root.ino, 0, 10);
    for (const view of views) {
      const { ino, kind, parent, name, size_bytes, mtime, ctime, atime, mode, uid, gid } = rows.store.must(view.ino);
      const { rights, lock, symlinkTarget, nlink, dataVersion } = rows.store.must(view.ino);
      const all = { ino, kind, parent, name, size_bytes, mtime, ctime, atime, mode, uid, gid };
      expect({ ...view }).toEqual({ ...all, rights, lock, symlinkTarget, nlink, dataVersion });
    }
    expect(views.map(({ name, lock }) => [name, lock])).toEqual([
      ['f', 'other'],
      ['l', 'none'],
      ['\udcff', 'none'],
    ]);
    // What somebody works on is shown as that one has it.
    const node = rows.store.must(views[0]?.ino ?? (0 as Ino));
    node.size_bytes = 99;
    expect(rows.store.memberViews(rows.root.ino, 0, 1)[0]?.size_bytes).toBe(99);
  });

  it('has every value in the column in which it belongs', () => {
    const xattrs = new Map([['user.a', Buffer.from('b')]]);
    const lock = { owner: 'bob', sinceEpoch_s: 1, expiresEpoch_s: 2, token: 't', mine: true };
    const rights = { ...ALL_RIGHTS, write: false, createFile: false, createDir: false, share: false };
    const given = listed(
      'f',
      {
        ...{ kind: 'symlink', size_bytes: 12, posix: { mode: 0o601, uid: 7, gid: 8 }, rights, shared: 'link' },
        ...{ checksum: 'SHA256:0a', fileid: '10', xattrs, etag: '"13"', symlinkTarget: '\u00e4/b' },
      },
      { mtime: { s: 1, ns: 2 }, lock, epoch: 14 },
    );
    expect(rows.store.insertListed(given)).toBe(true);
    const [view] = rows.store.memberViews(rows.root.ino, 0, 1);
    const stored = rows.store.must(view?.ino ?? (0 as Ino));
    const time = { s: 1, ns: 2 };
    const made = Object.assign(new NodeRecord(stored.ino, 'symlink', rows.root.ino, 'f' as Name, time), {
      ...{ cover: rows.store.cover, base: given.place, baseEtag: '"13"', baseSize_bytes: 12, fileid: '10', seen: 14 },
      ...{ size_bytes: 4, symlinkTarget: '\u00e4/b', mode: 0o601, uid: 7, gid: 8, rights, shared: 'link' },
      ...{ checksum: 'SHA256:0a', lockInfo: lock, xattrs },
    });
    expect(stored).toEqual(made);
  });

  it('is not added while it is known at another place', () => {
    expect(rows.store.insertListed(listed('f', { fileid: '10' }))).toBe(true);
    expect(rows.store.insertListed(listed('g', { fileid: '10' }))).toBe(false);
    expect(rows.store.insertListed(listed('h', { fileid: null }))).toBe(true);
    expect(rows.store.insertListed(listed('i', { fileid: null }))).toBe(true);
  });

  it('takes no place that is taken, here or on the server', () => {
    rows.add('file', { in: rows.root, name: 'here' }, null);
    rows.add('file', { in: rows.root, name: 'elsewhere' }, { in: rows.root, name: 'there' });
    expect(rows.store.insertListed(listed('here'))).toBe(false);
    expect(rows.store.insertListed(listed('there'))).toBe(false);
    expect(rows.store.insertListed(listed('elsewhere'))).toBe(false);
    expect(rows.store.memberViews(rows.root.ino, 0, 10)).toHaveLength(2);
  });

  it('is known again only if nothing differs', () => {
    rows.store.insertListed(listed('f'));
    const same = rows.store.asListed(listed('f'));
    expect(same).toEqual({ ino: rows.store.child(rows.root.ino, 'f' as Name)?.ino, seen: 3 });
    expect(rows.store.asListed(listed('f', { posix: {} }, { epoch: 9 }))).toEqual(same); // the server stores no mode
    const differences: Partial<RemoteEntry>[] = [
      ...[{ etag: '"2"' }, { etag: null }, { fileid: 'other' }, { fileid: null }, { checksum: null }],
      ...[{ size_bytes: 11 }, { posix: { mode: 0o600 } }, { posix: { uid: 1 } }, { posix: { gid: 1 } }],
      ...[{ rights: { ...ALL_RIGHTS, remove: false } }, { shared: 'out' as const }, { kind: 'dir' as const }],
      ...[{ xattrs: new Map([['user.a', Buffer.from('b')]]) }, { kind: 'symlink' as const, symlinkTarget: 'x' }],
    ];
    for (const difference of differences) expect(rows.store.asListed(listed('f', difference))).toBeNull();
    const others = [{ mtime: { s: 1, ns: 5 } }, { mtime: { s: TIME.s, ns: 6 } }, { lock: LOCK }];
    for (const other of others) expect(rows.store.asListed(listed('f', {}, other))).toBeNull();
    expect(rows.store.asListed(listed('g'))).toBeNull();
  });

  it('is judged by the rules when it has anything of its own', () => {
    const own: ((node: NodeRecord) => void)[] = [
      (node) => (node.dirty = Dirty.content),
      (node) => (node.pending = 1),
      (node) => (node.name = 'moved' as Name),
      (node) => (node.parent = null),
      (node) => (node.limbo = 'follow'),
      (node) => (node.sending = [{ place: null, sha256: null, size_bytes: 0 }]),
      (node) => (node.conflict = { original: 'x', atEpoch_ms: 0, reason: '' }),
      (node) => (node.errorCode = 'io'),
      (node) => (node.size_bytes = 11),
    ];
    for (const [at, change] of own.entries()) {
      rows.store.insertListed(listed(`f${at}`));
      const node = rows.store.child(rows.root.ino, `f${at}` as Name);
      if (node === null) throw new Error('inserted, not found');
      change(node);
      rows.store.save(node);
      expect([at, rows.store.asListed(listed(`f${at}`))]).toEqual([at, null]);
    }
  });

  it('is noted as seen in memory, too', () => {
    rows.store.insertListed(listed('f'));
    const node = rows.store.child(rows.root.ino, 'f' as Name);
    if (node === null) throw new Error('inserted, not found');
    rows.store.markSeen(node.ino, 7);
    expect(node.seen).toBe(7);
    node.mode = 0o600;
    rows.store.save(node);
    expect(rows.store.unseen(7)).toEqual([]);
    expect(rows.store.unseen(8)).toEqual([node.ino]);
    expect(() =>
      rows.store.transaction(() => {
        rows.store.markSeen(node.ino, 8);
        throw new Error('rolled back');
      }),
    ).toThrow();
    expect(node.seen).toBe(7);
  });
});

it('behind the last member of a directory nothing is, until something is added there', () => {
  for (const name of ['a', 'b', 'c']) rows.store.insertListed(listed(name));
  const after = (ino: number, limit = 10) => rows.store.memberViews(rows.root.ino, ino, limit).map(({ name }) => name);
  const [, second, third] = rows.store.memberViews(rows.root.ino, 0, 10).map(({ ino }) => ino);
  if (second === undefined || third === undefined) throw new Error('three members expected');
  expect([after(third), after(third)]).toEqual([[], []]);
  expect(after(second)).toEqual(['c']);
  expect(after(0, 3)).toEqual(['a', 'b', 'c']); // as many as were asked for: there may be more
  rows.store.insertListed(listed('d'));
  expect(after(third)).toEqual(['d']);
  const other = rows.both('dir', rows.root, 'e');
  expect(rows.store.memberViews(other.ino, 0, 10)).toEqual([]);
  expect(rows.store.memberViews(other.ino, third, 10)).toEqual([]);
  expect(after(third)).toEqual(['d', 'e']);
  const node = rows.store.child(rows.root.ino, 'c' as Name);
  if (node === null) throw new Error('inserted, not found');
  rows.store.transaction(() => rows.store.remove(node));
  expect(after(second)).toEqual(['d', 'e']);
});

it('an object is one and the same as long as somebody has it, however many others were looked at', () => {
  const first = rows.both('file', rows.root, 'first');
  for (let i = 0; i < 9_000; i++) rows.store.insertListed(listed(`f${i}`));
  for (const view of rows.store.memberViews(rows.root.ino, first.ino, 9_000)) rows.store.get(view.ino);
  expect(rows.store.get(first.ino)).toBe(first);
});
