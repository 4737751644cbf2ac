// What every MetadataStore must do, whatever is behind it. Run by `metadata_store.test.ts` on each implementation.

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Clock } from '../../src/clock.js';
import type { Name } from '../../src/ids.js';
import { decodeName } from '../../src/names.js';
import type {
  CommittedChange,
  FeedCursor,
  LockRecord,
  MetadataStore,
  NewContent,
  NodeId,
  NodeRecord,
} from '../../src/server/storage/metadata/metadata_store.js';

export interface OpenStore {
  readonly store: MetadataStore;
  close(): Promise<void>;
}

export type Opener = (clock: Clock, options: { tombstoneAge_ms: number }) => Promise<OpenStore>;

export class TestClock implements Clock {
  ms = 1_700_000_000_000;
  now_ms(): number {
    return this.ms;
  }
  timestamp() {
    return { s: Math.floor(this.ms / 1000), ns: 5 };
  }
  monotonic_ms(): number {
    return this.ms;
  }
  sleep(): Promise<void> {
    return Promise.resolve();
  }
}

const name = (text: string) => text as Name;
const path = (text: string) => (text === '' ? [] : text.split('/')) as Name[];

let digits = 0;
export function inline(text: string): NewContent {
  const data = Buffer.from(text);
  return { kind: 'inline', data, sha256: (++digits).toString(16).padStart(64, '0'), size_bytes: data.length };
}

function blob(sha256: string, size_bytes: number): NewContent {
  return { kind: 'blob', sha256: sha256.padStart(64, '0'), size_bytes };
}

function lockOn(node: NodeRecord, extra: Partial<LockRecord> = {}): LockRecord {
  return {
    token: `urn:uuid:${++digits}`,
    nodeId: node.id,
    scope: 'exclusive',
    depth: '0',
    ownerXml: '',
    userId: 'anna',
    displayName: 'Anna',
    created_ms: 0,
    timeout_s: 60,
    expires_ms: 2_000_000_000_000,
    ...extra,
  };
}

export function metadataStoreSuite(title: string, open: Opener): void {
  describe(title, () => {
    let opened: OpenStore;
    let store: MetadataStore;
    let clock: TestClock;
    let root: NodeRecord;

    beforeEach(async () => {
      clock = new TestClock();
      opened = await open(clock, { tombstoneAge_ms: 1000 });
      store = opened.store;
      root = await store.write((tx) => tx.ensureRoot('anna'));
    });
    afterEach(() => opened.close());

    const at = (where: string) => store.read((tx) => tx.resolve(root.id, path(where)));
    const nodeAt = async (where: string): Promise<NodeRecord> => {
      const { node } = await at(where);
      if (node === null) throw new Error(`nothing at ${where}`);
      return node;
    };
    /** Creates what is missing of `a/b/c`; names ending in `/` are collections. */
    const make = (where: string, text = 'x'): Promise<NodeRecord> =>
      store.write(async (tx) => {
        const isDir = where.endsWith('/');
        const names = path(isDir ? where.slice(0, -1) : where);
        let parent = root;
        for (const [i, part] of names.entries()) {
          const found = (await tx.resolve(root.id, names.slice(0, i + 1))).node;
          const spec =
            i < names.length - 1 || isDir ? { kind: 'dir' as const } : { kind: 'file' as const, content: inline(text) };
          parent = found ?? (await tx.create(parent, part, spec));
        }
        return parent;
      });
    const removeAt = (where: string) =>
      store.write(async (tx) => {
        const { node } = await tx.resolve(root.id, path(where));
        if (node !== null) await tx.remove(node);
      });
    const moveTo = (from: string, to: string) =>
      store.write(async (tx) => {
        const source = (await tx.resolve(root.id, path(from))).node;
        const target = await tx.resolve(root.id, path(to));
        if (source === null || target.parent === null) throw new Error('bad move');
        return tx.move(source, target.parent, path(to).at(-1) ?? name(''));
      });
    const pageFrom = (cursor: FeedCursor | null, limit = 1000, id: NodeId = root.id) =>
      store.read((tx) => tx.changes(id, cursor, limit));
    const follow = async (cursor: FeedCursor | null, limit = 1000) => {
      const lines: string[] = [];
      let at = cursor;
      for (;;) {
        const page = await pageFrom(at, limit);
        if (page === null) throw new Error('the cursor is void');
        for (const change of page.changes) lines.push(`${change.kind} ${change.path.join('/')}`);
        at = page.next;
        if (!page.more) return { lines, next: at };
      }
    };

    describe('nodes', () => {
      test('a root is made once per user and has no parent', async () => {
        const again = await store.write((tx) => tx.ensureRoot('anna'));
        const other = await store.write((tx) => tx.ensureRoot('bert'));
        expect(again.id).toBe(root.id);
        expect(other.id).not.toBe(root.id);
        expect(root).toMatchObject({ parentId: null, kind: 'dir', size_bytes: 0 });
        expect(await store.read((tx) => tx.root('bert'))).toMatchObject({ id: other.id });
        expect(await store.read((tx) => tx.root('nobody'))).toBeNull();
      });

      test('a path resolves to node, parent and ancestors', async () => {
        await make('a/b/c.txt', 'hello');
        const found = await at('a/b/c.txt');
        expect(found.node).toMatchObject({ kind: 'file', size_bytes: 5 });
        expect(found.parent?.name).toBe('b');
        expect(found.ancestors.map((node) => node.name)).toEqual(['', 'a', 'b']);
        expect(await at('a/b/none')).toMatchObject({ node: null, parent: { name: 'b' } });
        expect(await at('a/none/c')).toMatchObject({ node: null, parent: null });
        expect(await at('a/b/c.txt/d')).toMatchObject({ node: null, parent: null });
      });

      test('names are bytes: case, normal form and invalid UTF-8 are kept apart', async () => {
        const names = ['A', 'a', 'é', 'e\u0301', 'a b', '%41', '😀'].map(name);
        names.push(decodeName(Buffer.from([0x66, 0xff, 0xc3])), decodeName(Buffer.from([0x66, 0xfe, 0xc3])));
        await store.write(async (tx) => {
          for (const one of names) await tx.create(root, one, { kind: 'dir' });
        });
        const found = await store.read((tx) => tx.children(root, null, 100));
        expect(new Set(found.map((node) => node.name))).toEqual(new Set(names));
        for (const one of names) {
          expect((await store.read((tx) => tx.resolve(root.id, [one]))).node?.name).toBe(one);
        }
      });

      test('a taken name is refused and nothing changes', async () => {
        await make('a', 'one');
        const before = await nodeAt('a');
        await expect(
          store.write((tx) => tx.create(root, name('a'), { kind: 'file', content: inline('two') })),
        ).rejects.toMatchObject({ code: 'exists' });
        expect(await nodeAt('a')).toEqual(before);
      });

      test('attributes are kept to the nanosecond and the bit', async () => {
        const mtime = { s: -5, ns: 123_456_789 };
        const node = await store.write((tx) =>
          tx.create(root, name('f'), {
            kind: 'file',
            content: inline(''),
            mtime,
            mode: 0o4755,
            uid: 0,
            gid: 4_000_000_000,
          }),
        );
        expect(node).toMatchObject({ mtime, mode: 0o4755, uid: 0, gid: 4_000_000_000, created_ms: clock.ms });
        const changed = await store.write((tx) => tx.setAttributes(node, { mode: 0o600 }));
        expect(changed).toMatchObject({ mtime, mode: 0o600, uid: 0, etag: node.etag });
      });

      test('a symlink keeps its target bytes', async () => {
        const target = decodeName(Buffer.from('../ünï/\xff', 'latin1'));
        const node = await store.write((tx) => tx.create(root, name('l'), { kind: 'symlink', target }));
        expect(node).toMatchObject({ kind: 'symlink', target });
        const file = await store.write((tx) => tx.replace(node, { kind: 'file', content: inline('now a file') }));
        expect(file).toMatchObject({ id: node.id, kind: 'file', target: null, size_bytes: 10 });
      });

      test('children come in pages without gaps or doubles', async () => {
        await store.write(async (tx) => {
          for (let i = 0; i < 25; i++) await tx.create(root, name(`f${i}`), { kind: 'dir' });
        });
        const seen: string[] = [];
        let after: Name | null = null;
        for (;;) {
          const last: Name | null = after;
          const page: readonly NodeRecord[] = await store.read((tx) => tx.children(root, last, 7));
          seen.push(...page.map((node) => node.name));
          if (page.length < 7) break;
          after = page.at(-1)?.name ?? null;
        }
        expect(seen).toHaveLength(25);
        expect(new Set(seen).size).toBe(25);
      });

      test('brief members say the same, less what is left out', async () => {
        await make('d/f', 'hello');
        await store.write((tx) => tx.create(root, name('l'), { kind: 'symlink', target: 't', mode: 0o777 }));
        for (const detail of ['full', 'brief'] as const) {
          const nodes = await store.read((tx) => tx.children(root, null, 10, detail));
          for (const node of nodes) {
            const { id, parentId, rootId, kind, etag, size_bytes, created_ms, hasProperties } = await nodeAt(node.name);
            expect(node).toMatchObject({ id, parentId, rootId, kind, etag, size_bytes, created_ms, hasProperties });
          }
          expect(nodes[1]?.mode).toBe(detail === 'full' ? 0o777 : null);
        }
      });

      test('a transaction that throws changes nothing, its neighbours are kept', async () => {
        const results = await Promise.allSettled([
          store.write((tx) => tx.create(root, name('one'), { kind: 'dir' })),
          store.write(async (tx) => {
            await tx.create(root, name('two'), { kind: 'dir' });
            throw new Error('no');
          }),
          store.write((tx) => tx.create(root, name('three'), { kind: 'dir' })),
        ]);
        expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
        expect((await store.read((tx) => tx.children(root, null, 10))).map((node) => node.name)).toEqual([
          'one',
          'three',
        ]);
      });
    });

    describe('ETags and sizes', () => {
      test('new content has a new strong ETag; attributes, properties and moving do not touch it', async () => {
        const one = await make('f', 'one');
        expect(one.etag).toMatch(/^"[^"]+"$/);
        const two = await store.write((tx) => tx.replace(one, { kind: 'file', content: inline('two') }));
        expect(two.etag).not.toBe(one.etag);
        const three = await store.write((tx) => tx.replace(two, { kind: 'file', content: inline('two') }));
        expect(three.etag).not.toBe(two.etag);
        await store.write((tx) => tx.setAttributes(three, { mtime: { s: 1, ns: 0 } }));
        await store.write((tx) => tx.setProperties(three, [{ kind: 'set', ns: 'x:', name: 'p', xml: '<p/>' }]));
        expect((await moveTo('f', 'g')).etag).toBe(three.etag);
      });

      test.each([
        ['content', () => make('a/b/new', 'more')],
        ['removal', () => removeAt('a/b/f')],
        ['rename', () => moveTo('a/b/f', 'a/b/g')],
        [
          'attributes',
          async () => {
            const node = await nodeAt('a/b/f');
            await store.write((tx) => tx.setAttributes(node, { mode: 1 }));
          },
        ],
        [
          'a lock',
          async () => {
            const node = await nodeAt('a/b/f');
            await store.write((tx) => tx.addLock(lockOn(node)));
          },
        ],
      ])('%s below moves the ETag of every collection above and of no other', async (_, change) => {
        await make('a/b/f', 'x');
        await make('other/f', 'x');
        const before = await Promise.all(['', 'a', 'a/b', 'other'].map(nodeAt));
        await change();
        const after = await Promise.all(['', 'a', 'a/b', 'other'].map(nodeAt));
        expect(after.map((node, i) => node.etag !== before[i]?.etag)).toEqual([true, true, true, false]);
      });

      test('a collection is as big as what is below, through every operation', async () => {
        await make('a/b/f', '12345');
        await make('a/g', '123');
        const sizes = async () => (await Promise.all(['', 'a', 'a/b'].map(nodeAt))).map((node) => node.size_bytes);
        expect(await sizes()).toEqual([8, 8, 5]);
        const f = await nodeAt('a/b/f');
        await store.write((tx) => tx.replace(f, { kind: 'file', content: inline('1') }));
        expect(await sizes()).toEqual([4, 4, 1]);
        await moveTo('a/g', 'a/b/g');
        expect(await sizes()).toEqual([4, 4, 4]);
        await moveTo('a/b', 'c');
        expect(await nodeAt('a')).toMatchObject({ size_bytes: 0 });
        await store.write(async (tx) => {
          const { node } = await tx.resolve(root.id, path('c'));
          if (node !== null) await tx.copy(node, root, name('d'), true);
        });
        expect(await nodeAt('')).toMatchObject({ size_bytes: 8 });
        await removeAt('c');
        expect(await nodeAt('')).toMatchObject({ size_bytes: 4 });
      });

      test('a collection shows when its entries changed, unless a client has set its time', async () => {
        await make('a/');
        await store.write((tx) => tx.create(root, name('set'), { kind: 'dir', mtime: { s: 7, ns: 7 } }));
        clock.ms += 60_000;
        await make('a/f');
        await make('set/f');
        expect((await nodeAt('a')).mtime.s).toBe(clock.ms / 1000);
        expect((await nodeAt('set')).mtime).toEqual({ s: 7, ns: 7 });
      });
    });

    describe('quota', () => {
      test('refuses what does not fit and leaves everything as it was', async () => {
        await store.write((tx) => tx.setQuota(root.id, 10));
        const f = await make('f', '123456');
        await expect(make('g', '12345')).rejects.toMatchObject({ code: 'quota' });
        expect((await at('g')).node).toBeNull();
        await expect(
          store.write((tx) => tx.replace(f, { kind: 'file', content: inline('12345678901') })),
        ).rejects.toMatchObject({ code: 'quota' });
        await expect(store.write((tx) => tx.copy(f, root, name('h'), true))).rejects.toMatchObject({ code: 'quota' });
        expect(await nodeAt('f')).toEqual(f);
        // Growing within the quota, and shrinking while above it, are fine.
        const big = await store.write((tx) => tx.replace(f, { kind: 'file', content: inline('1234567890') }));
        await store.write((tx) => tx.setQuota(root.id, 3));
        await store.write((tx) => tx.replace(big, { kind: 'file', content: inline('12345') }));
        expect(await store.read((tx) => tx.usage(root.id))).toEqual({ used_bytes: 5, quota_bytes: 3 });
      });
    });

    describe('contents', () => {
      test('inline bytes come back, and go with their last node', async () => {
        const f = await make('f', 'hello');
        const copy = await store.write((tx) => tx.copy(f, root, name('g'), true));
        expect(copy.contentId).toBe(f.contentId);
        await removeAt('f');
        const id = copy.contentId;
        if (id === null) throw new Error('no content');
        expect((await store.read((tx) => tx.content(id)))?.data?.toString()).toBe('hello');
        await removeAt('g');
        expect(await store.read((tx) => tx.content(id))).toBeNull();
      });

      test('a blob is unused only when nobody refers to it any more', async () => {
        const content = blob('b', 1000);
        await store.write(async (tx) => {
          const dir = await tx.create(root, name('d'), { kind: 'dir' });
          await tx.create(dir, name('f'), { kind: 'file', content });
          await tx.create(dir, name('g'), { kind: 'file', content });
          await tx.copy(dir, root, name('e'), true);
        });
        expect(await store.knownContents([content.sha256, 'c'.padStart(64, '0')])).toEqual(new Set([content.sha256]));
        await removeAt('d');
        expect(await store.unusedContents(clock.ms + 1, 10)).toEqual([]);
        expect(await store.forgetContents([content.sha256])).toEqual([]);
        await removeAt('e/f');
        await removeAt('e');
        expect(await store.unusedContents(clock.ms, 10)).toEqual([]);
        expect(await store.unusedContents(clock.ms + 1, 10)).toEqual([{ sha256: content.sha256, size_bytes: 1000 }]);
        // Used again before the collector came: kept.
        await store.write((tx) => tx.create(root, name('again'), { kind: 'file', content }));
        expect(await store.forgetContents([content.sha256])).toEqual([]);
        await removeAt('again');
        expect(await store.forgetContents([content.sha256])).toEqual([content.sha256]);
        expect(await store.knownContents([content.sha256])).toEqual(new Set());
      });
    });

    describe('dead properties', () => {
      test('are set, replaced, removed, copied, and told for many nodes at once', async () => {
        const f = await make('f');
        const g = await make('g');
        const set = (node: NodeRecord, property: string, xml: string) =>
          store.write((tx) => tx.setProperties(node, [{ kind: 'set', ns: 'urn:x', name: property, xml }]));
        await set(f, 'p', '<p>1</p>');
        await set(f, 'p', '<p>2</p>');
        await set(f, 'q', '<q/>');
        const copy = await store.write((tx) => tx.copy(f, root, name('copy'), true));
        await store.write((tx) => tx.setProperties(f, [{ kind: 'remove', ns: 'urn:x', name: 'q' }]));
        const all = await store.read((tx) => tx.properties([f.id, g.id, copy.id]));
        expect(all.get(f.id)).toEqual([{ ns: 'urn:x', name: 'p', xml: '<p>2</p>' }]);
        expect(all.has(g.id)).toBe(false);
        expect(all.get(copy.id)?.map((property) => property.name)).toEqual(['p', 'q']);
        expect(await nodeAt('f')).toMatchObject({ hasProperties: true });
        await store.write((tx) => tx.setProperties(f, [{ kind: 'remove', ns: 'urn:x', name: 'p' }]));
        expect(await nodeAt('f')).toMatchObject({ hasProperties: false });
      });
    });

    describe('locks', () => {
      test('live until they expire and go with their node', async () => {
        const f = await make('d/f');
        const lock = lockOn(f, {
          expires_ms: clock.ms + 1000,
          ownerXml: '<d:owner/>',
          scope: 'shared',
          depth: 'infinity',
        });
        await store.write((tx) => tx.addLock(lock));
        expect(await store.read((tx) => tx.locksOn([f.id], clock.ms))).toEqual([lock]);
        expect(await store.read((tx) => tx.lock(lock.token, clock.ms))).toEqual(lock);
        expect(await store.read((tx) => tx.anyLock(root.id, clock.ms))).toBe(true);
        expect(await store.read((tx) => tx.locksOn([f.id], clock.ms + 1000))).toEqual([]);
        expect(await store.read((tx) => tx.anyLock(root.id, clock.ms + 1000))).toBe(false);
        await store.write((tx) => tx.refreshLock(lock.token, 9, clock.ms + 9000));
        expect(await store.read((tx) => tx.lock(lock.token, clock.ms + 5000))).toMatchObject({ timeout_s: 9 });
        await removeAt('d');
        expect(await store.read((tx) => tx.lock(lock.token, clock.ms))).toBeNull();
      });

      test('are found below a collection at any depth, and nowhere else', async () => {
        const deep = await make('a/b/c/f');
        const beside = await make('ab/f');
        const a = await nodeAt('a');
        const locks = [lockOn(deep), lockOn(beside), lockOn(a)];
        await store.write(async (tx) => {
          for (const lock of locks) await tx.addLock(lock);
        });
        expect((await store.read((tx) => tx.locksBelow(a.id, clock.ms))).map((lock) => lock.token)).toEqual([
          locks[0]?.token,
        ]);
        expect(await store.read((tx) => tx.locksBelow(root.id, clock.ms))).toHaveLength(3);
      });

      test('do not travel: moving and copying leave them behind', async () => {
        const f = await make('d/f');
        await store.write((tx) => tx.addLock(lockOn(f)));
        await store.write(async (tx) => {
          const { node } = await tx.resolve(root.id, path('d'));
          if (node !== null) await tx.copy(node, root, name('copy'), true);
        });
        expect(await store.read((tx) => tx.locksBelow(root.id, clock.ms))).toHaveLength(1);
        await moveTo('d', 'e');
        expect(await store.read((tx) => tx.locksBelow(root.id, clock.ms))).toEqual([]);
      });

      test('expired ones are swept', async () => {
        const f = await make('f');
        await store.write((tx) => tx.addLock(lockOn(f, { expires_ms: clock.ms + 10 })));
        await store.write((tx) => tx.addLock(lockOn(f, { expires_ms: clock.ms + 1000, scope: 'shared' })));
        expect(await store.sweep(clock.ms + 10)).toMatchObject({ expiredLocks: 1 });
        expect(await store.read((tx) => tx.locksOn([f.id], 0))).toHaveLength(1);
      });

      test('that run out are a change of what they were on', async () => {
        const f = await make('f');
        expect(await store.read((tx) => tx.nextLockExpiry())).toBeNull();
        await store.write((tx) => tx.addLock(lockOn(f, { expires_ms: clock.ms + 10 })));
        await store.write((tx) => tx.addLock(lockOn(f, { expires_ms: clock.ms + 1000, scope: 'shared' })));
        expect(await store.read((tx) => tx.nextLockExpiry())).toBe(clock.ms + 10);
        const { seq } = await store.read((tx) => tx.head());
        expect(await store.write((tx) => tx.expireLocks(clock.ms + 10))).toBe(1);
        const page = await store.read((tx) => tx.changes(root.id, { seq, listedFrom: null }, 10));
        expect(page?.changes.map((change) => change.kind === 'present' && change.node.id)).toEqual([f.id]);
        expect(await store.read((tx) => tx.nextLockExpiry())).toBe(clock.ms + 1000);
      });
    });

    describe('the change feed', () => {
      test('a first listing names everything, collections before their members, in any page size', async () => {
        await make('a/b/f');
        await make('a/g');
        await make('h');
        const a = await nodeAt('a');
        // The collection is now newer than what is in it.
        await store.write((tx) => tx.setAttributes(a, { mode: 0o700 }));
        for (const limit of [1, 2, 3, 100]) {
          const { lines } = await follow(null, limit);
          const first = (line: string) => lines.indexOf(`present ${line}`);
          expect(new Set(lines)).toEqual(new Set(['a', 'a/b', 'a/b/f', 'a/g', 'h'].map((one) => `present ${one}`)));
          expect(first('a')).toBeLessThan(first('a/b'));
          expect(first('a/b')).toBeLessThan(first('a/b/f'));
        }
      });

      test('afterwards only what changed, with the collections whose ETag moved', async () => {
        await make('a/b/f');
        await make('c/g');
        const { next } = await follow(null);
        expect((await follow(next)).lines).toEqual([]);
        await make('a/b/new');
        const after = await follow(next);
        expect(after.lines).toEqual(['present a', 'present a/b', 'present a/b/new']);
        await removeAt('a/b/f');
        expect((await follow(after.next)).lines).toEqual(['present a', 'present a/b', 'gone a/b/f']);
      });

      test('a moved collection is told with everything below, before its old place is gone', async () => {
        await make('a/b/f');
        const { next } = await follow(null);
        await moveTo('a', 'z');
        const { lines } = await follow(next);
        expect(lines).toEqual(['present z', 'present z/b', 'present z/b/f', 'gone a']);
      });

      test('a name that is taken again is not told as gone', async () => {
        await make('f', 'old');
        const { next } = await follow(null);
        await removeAt('f');
        await make('f', 'new');
        expect((await follow(next)).lines).toEqual(['present f']);
      });

      test('works for a collection below the root, until that is moved', async () => {
        await make('a/b/f');
        await make('c/g');
        const b = await nodeAt('a/b');
        const first = await pageFrom(null, 100, b.id);
        expect(first?.changes.map((change) => change.path.join('/'))).toEqual(['a/b/f']);
        await make('c/h');
        await make('a/b/new');
        const second = await pageFrom(first?.next ?? null, 100, b.id);
        expect(second?.changes.map((change) => change.path.join('/'))).toEqual(['a/b/new']);
        await moveTo('a', 'z');
        expect(await pageFrom(second?.next ?? null, 100, b.id)).toBeNull();
      });

      test('what happened to others is not told', async () => {
        const { next } = await follow(null);
        await store.write(async (tx) => {
          const bert = await tx.ensureRoot('bert');
          await tx.create(bert, name('secret'), { kind: 'dir' });
        });
        expect((await follow(next)).lines).toEqual([]);
      });

      test('a cursor older than the retention, or from the future, is void', async () => {
        await make('f');
        const { next } = await follow(null);
        await removeAt('f');
        const later = await follow(next);
        clock.ms += 5000;
        expect(await store.sweep(clock.ms)).toMatchObject({ prunedTombstones: 1 });
        expect(await pageFrom(next)).toBeNull();
        expect(await pageFrom(later.next)).not.toBeNull();
        expect(await pageFrom({ seq: 1_000_000, listedFrom: null })).toBeNull();
        expect(await pageFrom(null)).not.toBeNull();
      });

      test('changes during a first listing arrive with it', async () => {
        for (let i = 0; i < 6; i++) await make(`f${i}`);
        const first = await pageFrom(null, 3);
        await removeAt('f0');
        await removeAt('f5');
        await make('late');
        const rest = await follow(first?.next ?? null, 2);
        const lines = [
          ...(first?.changes ?? []).map((change) => `${change.kind} ${change.path.join('/')}`),
          ...rest.lines,
        ];
        expect(lines).toContain('gone f0');
        expect(lines).toContain('present late');
        expect(lines).toContain('present f4');
        expect(lines).not.toContain('present f5');
      });

      test('a new epoch voids ETags of collections', async () => {
        await make('d/');
        const before = { etag: (await nodeAt('d')).etag, epoch: (await store.read((tx) => tx.head())).epoch };
        await store.newEpoch();
        expect((await store.read((tx) => tx.head())).epoch).not.toBe(before.epoch);
        expect((await nodeAt('d')).etag).not.toBe(before.etag);
      });
    });

    describe('telling', () => {
      test('listeners hear of committed changes only, per user', async () => {
        const heard: CommittedChange[] = [];
        const stop = store.onCommit((changes) => heard.push(...changes));
        const f = await make('f');
        await store
          .write(async (tx) => {
            await tx.create(root, name('never'), { kind: 'dir' });
            throw new Error('no');
          })
          .catch(() => undefined);
        expect(heard).toEqual([{ userId: 'anna', seq: expect.any(Number), fileIds: [f.id, root.id] }]);
        stop();
        await make('g');
        expect(heard).toHaveLength(1);
      });

      test('what may lapse is answered when everybody sees it, and told when it is durable, in its place', async () => {
        const order: string[] = [];
        const stop = store.onCommit((changes) => order.push(...changes.map(({ fileIds }) => `told ${fileIds[0]}`)));
        const ids: number[] = [];
        const create = (called: string, mayLapse: boolean) =>
          store.write(
            async (tx) => {
              const { id } = await tx.create(root, name(called), { kind: 'dir' });
              ids.push(id);
              return called;
            },
            () => mayLapse,
          );
        await Promise.all(
          [create('kept', false), create('lapses', true)].map(async (writing) => {
            const called = await writing;
            order.push(`${called} is ${(await at(called)).node === null ? 'un' : ''}seen`);
          }),
        );
        await store.durable();
        expect(order.filter((one) => one.startsWith('told'))).toEqual(ids.map((id) => `told ${id}`));
        expect(order.indexOf('lapses is seen')).toBeLessThan(order.indexOf(`told ${ids[0]}`));
        expect(order.indexOf('kept is seen')).toBeGreaterThan(order.indexOf(`told ${ids[0]}`));
        const failing = store.write(
          async () => Promise.reject(new Error('no')),
          () => true,
        );
        await expect(failing).rejects.toThrow('no');
        stop();
      });
    });

    describe('snapshots', () => {
      test('stay as they were while others write', async () => {
        await make('f');
        const names = await store.snapshot(async (tx) => {
          const before = await tx.children(root, null, 10);
          await make('g');
          const during = await tx.children(root, null, 10);
          return [before, during].map((nodes) => nodes.map((node) => node.name));
        });
        expect(names).toEqual([['f'], ['f']]);
        expect(await store.read((tx) => tx.children(root, null, 10))).toHaveLength(2);
      });

      test('more than there are places for wait for each other', async () => {
        let running = 0;
        const results = await Promise.all(
          Array.from({ length: 40 }, (_, i) =>
            store.snapshot(async (tx) => {
              running += 1;
              await new Promise((resolve) => setImmediate(resolve));
              const { seq } = await tx.head();
              running -= 1;
              return seq >= 0 ? i : -1;
            }),
          ),
        );
        expect(results).toEqual(Array.from({ length: 40 }, (_, i) => i));
        expect(running).toBe(0);
      });

      test('whoever holds on to theirs keeps nobody else waiting', async () => {
        let letGo = () => {};
        const held = new Promise<void>((resolve) => {
          letGo = resolve;
        });
        const slow = Array.from({ length: 40 }, (_, i) => store.snapshot(() => held.then(() => i), 'bert'));
        await store.snapshot((tx) => tx.head(), 'anna');
        letGo();
        expect(await Promise.all(slow)).toEqual(Array.from({ length: 40 }, (_, i) => i));
      });
    });

    test('removing a root takes everything of that user and nothing else', async () => {
      await make('f');
      await store.write(async (tx) => {
        const bert = await tx.ensureRoot('bert');
        await tx.create(bert, name('g'), { kind: 'file', content: blob('d', 5) });
      });
      await store.write((tx) => tx.removeRoot('bert'));
      expect(await store.read((tx) => tx.root('bert'))).toBeNull();
      expect(await store.unusedContents(clock.ms + 1, 10)).toHaveLength(1);
      expect((await at('f')).node).not.toBeNull();
    });
  });
}
