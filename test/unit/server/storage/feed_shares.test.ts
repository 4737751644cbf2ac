import { expect, test, vi } from 'vitest';
import type { Name } from '../../../../src/ids.js';
import type { NodeId } from '../../../../src/server/storage/metadata/metadata_store.js';
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
