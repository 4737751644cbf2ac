// What a listing names is written and compared without objects: the short ways must agree with the long one.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Dirty, NodeRecord } from '../../../../src/cache/metadata/node.js';
import type { Ino, Name } from '../../../../src/ids.js';
import { Rows } from '../writeback/rows.js';

const TIME = { s: 1_700_000_000, ns: 5 };

let rows: Rows;
beforeEach(async () => {
  rows = await Rows.open();
});
afterEach(() => rows.close());

function draft(name: string, change: Partial<NodeRecord> = {}): NodeRecord {
  const node = new NodeRecord(0 as Ino, change.kind ?? 'file', rows.root.ino, name as Name, TIME);
  return Object.assign(node, {
    base: { parent: rows.root.ino, name },
    baseEtag: '"1"',
    baseSize_bytes: 10,
    size_bytes: 10,
    fileid: `id-${name}`,
    checksum: 'SHA256:00',
    mode: 0o640,
    seen: 3,
    ...change,
  });
}

describe('a listed node', () => {
  it('is shown as it would be from its object', () => {
    const lock = { owner: 'bob', sinceEpoch_s: null, expiresEpoch_s: null, token: null, mine: false };
    expect(rows.store.insertListed(draft('f', { lockInfo: lock, rightsBits: 5 }))).toBe(true);
    expect(rows.store.insertListed(draft('l', { kind: 'symlink', symlinkTarget: 'f', fileid: null }))).toBe(true);
    expect(rows.store.insertListed(draft('\udcff'))).toBe(true); // a name that is no UTF-8
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
    const given = draft('f', {
      ...{ size_bytes: 11, baseSize_bytes: 12, mtime: { s: 1, ns: 2 }, ctime: { s: 3, ns: 4 }, atime: { s: 5, ns: 6 } },
      ...{ mode: 0o601, uid: 7, gid: 8, rightsBits: 9, shared: 'link' as const, checksum: 'SHA256:0a', fileid: '10' },
      ...{ lockInfo: { owner: 'bob', sinceEpoch_s: 1, expiresEpoch_s: 2, token: 't', mine: true } },
      ...{ xattrs: new Map([['user.a', Buffer.from('b')]]), baseEtag: '"13"', seen: 14, symlinkTarget: 'x' },
    });
    expect(rows.store.insertListed(given)).toBe(true);
    const [view] = rows.store.memberViews(rows.root.ino, 0, 1);
    const { ino, cover, ...stored } = rows.store.must(view?.ino ?? (0 as Ino));
    const { ino: _, cover: __, ...expected } = given;
    expect(stored).toEqual(expected);
    expect([ino > 0, cover]).toEqual([true, rows.store.cover]);
  });

  it('is not added while it is known at another place', () => {
    expect(rows.store.insertListed(draft('f', { fileid: '10' }))).toBe(true);
    expect(rows.store.insertListed(draft('g', { fileid: '10' }))).toBe(false);
    expect(rows.store.insertListed(draft('h', { fileid: null }))).toBe(true);
    expect(rows.store.insertListed(draft('i', { fileid: null }))).toBe(true);
  });

  it('takes no place that is taken, here or on the server', () => {
    rows.add('file', { in: rows.root, name: 'here' }, null);
    rows.add('file', { in: rows.root, name: 'elsewhere' }, { in: rows.root, name: 'there' });
    expect(rows.store.insertListed(draft('here'))).toBe(false);
    expect(rows.store.insertListed(draft('there'))).toBe(false);
    expect(rows.store.insertListed(draft('elsewhere'))).toBe(false);
    expect(rows.store.memberViews(rows.root.ino, 0, 10)).toHaveLength(2);
  });

  it('is known again only if nothing differs', () => {
    rows.store.insertListed(draft('f'));
    const same = rows.store.asListed(draft('f'));
    expect(same).toEqual({ ino: rows.store.child(rows.root.ino, 'f' as Name)?.ino, seen: 3 });
    expect(rows.store.asListed(draft('f', { mode: null, seen: 9 }))).toEqual(same); // the server stores no mode
    const lock = { owner: 'bob', sinceEpoch_s: null, expiresEpoch_s: null, token: null, mine: false };
    const differences: Partial<NodeRecord>[] = [
      ...[{ baseEtag: '"2"' }, { baseEtag: null }, { fileid: 'other' }, { fileid: null }, { checksum: null }],
      ...[{ baseSize_bytes: 11 }, { mtime: { s: 1, ns: 5 } }, { mtime: { s: TIME.s, ns: 6 } }, { mode: 0o600 }],
      ...[{ uid: 1 }, { gid: 1 }, { rightsBits: 1 }, { shared: 'out' as const }, { lockInfo: lock }],
      ...[{ kind: 'dir' as const }, { xattrs: new Map([['user.a', Buffer.from('b')]]) }, { symlinkTarget: 'x' }],
    ];
    for (const difference of differences) expect(rows.store.asListed(draft('f', difference))).toBeNull();
    expect(rows.store.asListed(draft('g'))).toBeNull();
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
      rows.store.insertListed(draft(`f${at}`));
      const node = rows.store.child(rows.root.ino, `f${at}` as Name);
      if (node === null) throw new Error('inserted, not found');
      change(node);
      rows.store.save(node);
      expect([at, rows.store.asListed(draft(`f${at}`))]).toEqual([at, null]);
    }
  });

  it('is noted as seen in memory, too', () => {
    rows.store.insertListed(draft('f'));
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

it('an object is one and the same as long as somebody has it, however many others were looked at', () => {
  const first = rows.both('file', rows.root, 'first');
  for (let i = 0; i < 9_000; i++) rows.store.insertListed(draft(`f${i}`));
  for (const view of rows.store.memberViews(rows.root.ino, first.ino, 9_000)) rows.store.get(view.ino);
  expect(rows.store.get(first.ino)).toBe(first);
});
