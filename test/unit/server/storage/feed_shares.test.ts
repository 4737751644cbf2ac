import { expect, test, vi } from 'vitest';
import type { Name } from '../../../../src/ids.js';
import type { FeedCursor, FeedPage, NodeId } from '../../../../src/server/storage/metadata/metadata_store.js';
import { startDavServer } from '../dav/dav_server.js';

test('what an owner changed is looked through once, however many shares of theirs somebody has', async () => {
  const server = await startDavServer();
  try {
    const [anna, bert] = [await server.rootOf('anna'), await server.rootOf('bert')];
    const shared = (count: number) =>
      server.metadata.write(async (tx) => {
        const root = await tx.node(anna);
        if (root === null) throw new Error('no root');
        for (let i = 0; i < count; i++) {
          const { id } = await tx.create(root, `s${count}-${i}` as Name, { kind: 'dir' });
          const whom = { kind: 'user', sharerId: 'anna', recipient: 'bert', people: ['bert'] } as const;
          await tx.addShare({ ...whom, nodeId: id, permissions: 1 });
        }
      });
    const scans = async (id: NodeId) => {
      const prototype = Object.getPrototypeOf(server.database.reader.prepare('SELECT 1')) as {
        all(...args: unknown[]): unknown;
        iterate(...args: unknown[]): unknown;
      };
      const spies = [vi.spyOn(prototype, 'all'), vi.spyOn(prototype, 'iterate')];
      const page = await server.metadata.read((tx) => tx.changes(id, null, 1000));
      const sources = spies.flatMap((spy) =>
        spy.mock.contexts.map((context) => (context as { source: string }).source),
      );
      for (const spy of spies) spy.mockRestore();
      return {
        told: page?.changes.length,
        scans: sources.filter((sql) => /changed_seq >|FROM tombstones/.test(sql)).length,
      };
    };
    await shared(1);
    const one = await scans(bert);
    await shared(20);
    const many = await scans(bert);
    expect([one.told, many.told]).toEqual([2, 42]); // each by its entry and by itself
    expect(one.scans).toBeGreaterThan(0);
    expect(many.scans).toBe(one.scans);
  } finally {
    await server.close();
  }
});

test('what an owner removed is not looked through with each page of what the recipient has changed', async () => {
  const server = await startDavServer();
  try {
    const [anna, bert] = [await server.rootOf('anna'), await server.rootOf('bert')];
    const since = await server.metadata.write(async (tx) => {
      const root = (await tx.node(anna)) ?? fail();
      const { id } = await tx.create(root, 'shared' as Name, { kind: 'dir' });
      const whom = { kind: 'user', sharerId: 'anna', recipient: 'bert', people: ['bert'] } as const;
      await tx.addShare({ ...whom, nodeId: id, permissions: 1 });
      const gone = await tx.create((await tx.node(id)) ?? fail(), 'gone' as Name, { kind: 'dir' });
      const own = (await tx.node(bert)) ?? fail();
      for (let i = 0; i < 95; i++) await tx.create(own, `b${i}` as Name, { kind: 'dir' });
      const { seq } = await tx.head();
      for (let i = 0; i < 300; i++) {
        await tx.remove(await tx.create((await tx.node(anna)) ?? fail(), 'x' as Name, { kind: 'dir' }));
      }
      await tx.remove(gone);
      return seq;
    });
    expect(since).toBeGreaterThan(0);
    const prototype = Object.getPrototypeOf(server.database.reader.prepare('SELECT 1')) as {
      iterate(...args: unknown[]): Iterable<unknown>;
    };
    const { iterate } = prototype;
    let rows = 0;
    const spy = vi.spyOn(prototype, 'iterate').mockImplementation(function* (this: unknown, ...args: unknown[]) {
      for (const row of iterate.apply(this, args)) {
        rows += 1;
        yield row;
      }
    });
    const paths: string[] = [];
    let pages = 0;
    for (let cursor: FeedCursor | null = { seq: 3, listedFrom: null }; cursor !== null; pages += 1) {
      const page: FeedPage | null = await server.metadata.read((tx) => tx.changes(bert, cursor, 10));
      paths.push(...(page?.changes ?? []).map(({ kind, path }) => `${kind} ${path.join('/')}`));
      cursor = page?.more === true ? page.next : null;
    }
    spy.mockRestore();
    expect(pages).toBeGreaterThanOrEqual(10);
    for (let i = 0; i < 95; i++) expect(paths).toContain(`present b${i}`);
    expect(paths).toContain('gone shared/gone');
    expect(rows).toBeLessThan(1000);
  } finally {
    await server.close();
  }
});

function fail(): never {
  throw new Error('it is not there');
}
