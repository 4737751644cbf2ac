// A client that only follows the feed, in pages of any size, while random changes go on, must end up with exactly the
// server's tree: paths, identities, ETags of files and of collections.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { systemClock } from '../../../../src/clock.js';
import type { Name } from '../../../../src/ids.js';
import type { FeedCursor, NodeRecord } from '../../../../src/server/storage/metadata/metadata_store.js';
import { SqliteDatabase } from '../../../../src/server/storage/metadata/sqlite/database.js';
import { METADATA_SCHEMA } from '../../../../src/server/storage/metadata/sqlite/schema.js';
import { SqliteMetadataStore } from '../../../../src/server/storage/metadata/sqlite/sqlite_metadata_store.js';

interface Known {
  readonly id: number;
  readonly etag: string;
  readonly size: number;
}

/** What a mirror does with the feed: in its order, or of each page first what is there, then what is gone. */
class Mirror {
  readonly #presentFirst: boolean;

  constructor(presentFirst: boolean) {
    this.#presentFirst = presentFirst;
  }

  tree = new Map<string, Known>();
  cursor: FeedCursor | null = null;

  async page(store: SqliteMetadataStore, root: NodeRecord, limit: number): Promise<boolean> {
    const page = await store.read((tx) => tx.changes(root.id, this.cursor, limit));
    if (page === null) throw new Error('the cursor is void');
    const isPresent = ({ kind }: { kind: string }) => kind === 'present';
    const changes = this.#presentFirst
      ? [...page.changes.filter(isPresent), ...page.changes.filter((change) => !isPresent(change))]
      : page.changes;
    for (const change of changes) {
      const path = change.path.join('/');
      if (change.kind === 'gone') this.#drop(path);
      else this.#put(path, change.node);
    }
    this.cursor = page.next;
    return page.more;
  }

  #drop(path: string): void {
    for (const known of [...this.tree.keys()]) {
      if (known === path || known.startsWith(`${path}/`)) this.tree.delete(known);
    }
  }

  #put(path: string, node: NodeRecord): void {
    const parent = path.slice(0, Math.max(path.lastIndexOf('/'), 0));
    if (parent !== '' && !this.tree.has(parent)) throw new Error(`${path} was told before its collection`);
    const before = this.tree.get(path);
    if (before !== undefined && before.id !== node.id) this.#drop(path);
    for (const [old, known] of [...this.tree]) {
      if (known.id !== node.id || old === path) continue;
      // Known under another path: it moved, with everything below.
      for (const [below, entry] of [...this.tree]) {
        if (below !== old && !below.startsWith(`${old}/`)) continue;
        this.tree.delete(below);
        this.tree.set(path + below.slice(old.length), entry);
      }
    }
    this.tree.set(path, { id: node.id, etag: node.etag, size: node.size_bytes });
  }
}

async function walk(store: SqliteMetadataStore, root: NodeRecord): Promise<Map<string, Known>> {
  const out = new Map<string, Known>();
  await store.snapshot(async (tx) => {
    const visit = async (dir: NodeRecord, prefix: string): Promise<void> => {
      for (const node of await tx.children(dir, null, 1000)) {
        out.set(prefix + node.name, { id: node.id, etag: node.etag, size: node.size_bytes });
        if (node.kind === 'dir') await visit(node, `${prefix}${node.name}/`);
      }
    };
    await visit(root, '');
  });
  return out;
}

const NAMES = ['a', 'b', 'c'] as const;
const somePath = fc.array(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 3 }).map((names) => names as Name[]);
const operation = fc.oneof(
  fc.record({ kind: fc.constant('file' as const), path: somePath, text: fc.string({ maxLength: 5 }) }),
  fc.record({ kind: fc.constant('dir' as const), path: somePath }),
  fc.record({ kind: fc.constant('remove' as const), path: somePath }),
  fc.record({ kind: fc.constant('move' as const), path: somePath, to: somePath }),
  fc.record({ kind: fc.constant('copy' as const), path: somePath, to: somePath }),
  fc.record({ kind: fc.constant('touch' as const), path: somePath }),
  fc.record({
    kind: fc.constant('follow' as const),
    who: fc.integer({ min: 0, max: 1 }),
    limit: fc.integer({ min: 1, max: 4 }),
  }),
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

let serial = 0;

async function apply(
  store: SqliteMetadataStore,
  root: NodeRecord,
  op: Exclude<Operation, { kind: 'follow' }>,
): Promise<void> {
  await store.write(async (tx) => {
    const at = await tx.resolve(root.id, op.path);
    const name = op.path.at(-1) as Name;
    if (op.kind === 'file') {
      const data = Buffer.from(op.text);
      const sha256 = (++serial).toString(16).padStart(64, '0');
      const spec = {
        kind: 'file' as const,
        content: { kind: 'inline' as const, data, sha256, size_bytes: data.length },
      };
      if (at.node?.kind === 'file') await tx.replace(at.node, spec);
      else if (at.node === null && at.parent !== null) await tx.create(at.parent, name, spec);
    } else if (op.kind === 'dir') {
      if (at.node === null && at.parent !== null) await tx.create(at.parent, name, { kind: 'dir' });
    } else if (op.kind === 'remove') {
      if (at.node !== null) await tx.remove(at.node);
    } else if (op.kind === 'touch') {
      if (at.node !== null) await tx.setAttributes(at.node, { mode: 0o644 });
    } else {
      const [from, to] = [op.path.join('/'), op.to.join('/')];
      if (at.node === null || `${to}/`.startsWith(`${from}/`) || `${from}/`.startsWith(`${to}/`)) return;
      const target = await tx.resolve(root.id, op.to);
      if (target.parent === null) return;
      if (target.node !== null) await tx.remove(target.node);
      const last = op.to.at(-1) as Name;
      if (op.kind === 'move') await tx.move(at.node, target.parent, last);
      else await tx.copy(at.node, target.parent, last, true);
    }
  });
}

test('whoever follows the feed ends up with the tree', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'cloudmount-feed-'));
  const database = SqliteDatabase.open(join(dir, 'db.sqlite'), [METADATA_SCHEMA]);
  const store = new SqliteMetadataStore(database, { clock: systemClock });
  let run = 0;
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 10, maxLength: 60 }), async (operations) => {
        const root = await store.write((tx) => tx.ensureRoot(`user ${++run}`));
        const mirrors = [new Mirror(false), new Mirror(true)] as const;
        for (const op of operations) {
          if (op.kind === 'follow') await mirrors[op.who as 0 | 1].page(store, root, op.limit);
          else await apply(store, root, op);
        }
        const truth = await walk(store, root);
        for (const mirror of mirrors) {
          while (await mirror.page(store, root, 3));
          expect(mirror.tree).toEqual(truth);
        }
        const sum = [...truth].reduce((total, [path, { size }]) => total + (path.includes('/') ? 0 : size), 0);
        expect((await store.read((tx) => tx.node(root.id)))?.size_bytes).toBe(sum);
      }),
      { numRuns: 80 },
    );
  } finally {
    await store.close();
    await database.close();
    await rm(dir, { recursive: true, force: true });
  }
});
