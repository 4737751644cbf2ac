import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Dirty, type NodeRecord } from '../../../../src/cache/metadata/node.js';
import { type PlanContext, plan } from '../../../../src/cache/writeback/plan.js';
import type { Whole } from '../../../../src/cache/writeback/whole_trees.js';
import type { Ino, Name } from '../../../../src/ids.js';
import { Rows } from './rows.js';

let rows: Rows;
let busy: Set<Ino>;
let uncertain: Set<Ino>;
let wholeTree: Whole;
let context: PlanContext;

beforeEach(async () => {
  rows = await Rows.open();
  busy = new Set();
  uncertain = new Set();
  wholeTree = 'no';
  context = {
    store: rows.store,
    isBusy: ({ ino }) => busy.has(ino),
    isUncertain: ({ ino }) => busy.has(ino) || uncertain.has(ino),
    uncertainIn: (dir) =>
      [...rows.store.baseMembers(dir.ino)].find(({ ino }) => busy.has(ino) || uncertain.has(ino)) ?? null,
    busyBelow: (dir) => [...rows.store.baseMembers(dir.ino)].some(({ ino }) => busy.has(ino)),
    makerAt: (parent, name) => rows.store.sentTo(parent, name),
    wholeTree: () => wholeTree,
  };
});
afterEach(() => rows.close());

const next = (node: NodeRecord) => plan(node, context);
const waitsFor = (node: NodeRecord) => ({ do: 'wait', on: node.ino });

describe('what is new', () => {
  it('is made once its folder is there', () => {
    const dir = rows.add('dir', { in: rows.root, name: 'dir' }, null);
    const file = rows.add('file', { in: dir, name: 'file' }, null);
    expect(next(dir)).toEqual({ do: 'make_dir' });
    expect(next(file)).toEqual(waitsFor(dir));
  });

  it('waits until its name is free on the server', () => {
    const old = rows.add('file', { in: rows.root, name: 'elsewhere' }, { in: rows.root, name: 'name' });
    const file = rows.add('file', { in: rows.root, name: 'name' }, null);
    expect(next(file)).toEqual(waitsFor(old));
    expect(next(old)).toEqual({ do: 'move', over: null });
  });

  it('is looked for when it was sent by another name and no answer came', () => {
    const file = rows.add('file', { in: rows.root, name: 'now' }, null);
    const other = rows.add('file', { in: rows.root, name: 'before' }, null);
    file.sending = [{ place: { parent: rows.root.ino, name: 'before' as Name }, sha256: 'x', size_bytes: 1 }];
    rows.store.save(file);
    expect(next(file)).toEqual({ do: 'look' });
    expect(next(other)).toEqual(waitsFor(file));
  });

  it('may be elsewhere, and so what it replaces waits until that is known', () => {
    const old = rows.add('file', null, { in: rows.root, name: 'name' });
    const file = rows.add('file', { in: rows.root, name: 'name' }, null);
    file.sending = [{ place: { parent: rows.root.ino, name: 'temporary' as Name }, sha256: 'x', size_bytes: 1 }];
    rows.store.save(file);
    expect(next(file)).toEqual({ do: 'look' });
    expect(next(old)).toEqual(waitsFor(file));
  });

  it('of this machine alone is never sent', () => {
    const file = rows.add('file', { in: rows.root, name: '.~lock.x#' }, null);
    file.localOnly = true;
    expect(next(file)).toEqual({ do: 'nothing' });
  });
});

describe('a move', () => {
  it('replaces a file that was removed here, in one request', () => {
    const target = rows.add('file', null, { in: rows.root, name: 'target' });
    const file = rows.add('file', { in: rows.root, name: 'target' }, { in: rows.root, name: 'temporary' });
    expect(next(file)).toEqual({ do: 'move', over: target });
    expect(next(target)).toEqual(waitsFor(file));
  });

  it('waits while something below the folder is on its way', () => {
    const dir = rows.add('dir', { in: rows.root, name: 'new' }, { in: rows.root, name: 'old' });
    const file = rows.add('file', { in: dir, name: 'file' }, { in: dir, name: 'file' }, Dirty.content);
    expect(next(file)).toEqual({ do: 'upload' });
    busy.add(file.ino);
    expect(next(dir)).toEqual({ do: 'wait', on: null });
  });

  it('of a folder below itself lets the one inside go first', () => {
    const outer = rows.both('dir', rows.root, 'outer');
    const inner = rows.add('dir', { in: rows.root, name: 'inner' }, { in: outer, name: 'inner' });
    outer.parent = inner.ino;
    rows.store.save(outer);
    expect(next(outer)).toEqual(waitsFor(inner));
    expect(next(inner)).toEqual({ do: 'move', over: null });
  });

  it('that may or may not have happened holds up everything below', () => {
    const dir = rows.add('dir', { in: rows.root, name: 'new' }, { in: rows.root, name: 'old' });
    const file = rows.add('file', { in: dir, name: 'file' }, { in: dir, name: 'file' }, Dirty.content);
    uncertain.add(dir.ino);
    expect(next(file)).toEqual(waitsFor(dir));
  });
});

describe('a removal', () => {
  it('of a folder goes as a whole where the server can say whether it changed', () => {
    const dir = rows.add('dir', null, { in: rows.root, name: 'dir' });
    const file = rows.add('file', null, { in: dir, name: 'file' });
    expect(next(dir)).toEqual(waitsFor(file));
    expect(next(file)).toEqual({ do: 'delete' });
    wholeTree = 'yes';
    expect(next(dir)).toEqual({ do: 'delete_tree' });
    expect(next(file)).toEqual(waitsFor(dir));
  });

  it('of a folder waits until its ETag is known to stand for what is known, and what is in it waits with it', () => {
    const dir = rows.add('dir', null, { in: rows.root, name: 'dir' });
    const file = rows.add('file', null, { in: dir, name: 'file' });
    wholeTree = 'not yet';
    expect(next(dir)).toEqual({ do: 'wait', on: null });
    expect(next(file)).toEqual(waitsFor(dir));
  });

  it('of a folder never takes along what moved out of it', () => {
    wholeTree = 'yes';
    const dir = rows.add('dir', null, { in: rows.root, name: 'dir' });
    const moved = rows.add('file', { in: rows.root, name: 'rescued' }, { in: dir, name: 'file' });
    expect(next(dir)).toEqual(waitsFor(moved));
    expect(next(moved)).toEqual({ do: 'move', over: null });
  });

  it('of what the server never had is nothing to send', () => {
    expect(next(rows.add('file', null, null))).toEqual({ do: 'nothing' });
  });
});

describe('in its place', () => {
  it('content goes before attributes, and a folder’s time after its members', () => {
    const both = Dirty.content | Dirty.mtime;
    const dir = rows.add('dir', { in: rows.root, name: 'd' }, { in: rows.root, name: 'd' }, Dirty.mtime);
    const file = rows.add('file', { in: dir, name: 'f' }, { in: dir, name: 'f' }, both);
    expect(next(file)).toEqual({ do: 'upload' });
    expect(next(dir)).toEqual(waitsFor(file));
    file.dirty = 0;
    file.pending = null;
    rows.store.save(file);
    expect(next(dir)).toEqual({ do: 'attributes' });
    expect(next(file)).toEqual({ do: 'nothing' });
  });
});
