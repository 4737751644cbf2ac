// What properties take counts in the quota of the tree they are in, however they came there and go.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../../../src/clock.js';
import type { Name } from '../../../../src/ids.js';
import { SqliteDatabase } from '../../../../src/server/storage/metadata/sqlite/database.js';
import { METADATA_SCHEMA } from '../../../../src/server/storage/metadata/sqlite/schema.js';
import { SqliteMetadataStore } from '../../../../src/server/storage/metadata/sqlite/sqlite_metadata_store.js';
import { type DavServer, startDavServer } from '../dav/dav_server.js';

let server: DavServer;
beforeEach(async () => {
  server = await startDavServer();
});
afterEach(() => server.close());

const properties = (action: 'set' | 'remove', name: string, length = 0) =>
  `<d:propertyupdate xmlns:d="DAV:"><d:${action}><d:prop><x:${name} xmlns:x="u:">${'ü'.repeat(length / 2)}</x:${name}></d:prop></d:${action}></d:propertyupdate>`;
const set = async (path: string, name: string, length: number) =>
  (await server.ask('PROPPATCH', path, { body: properties('set', name, length) })).status;
const unset = async (path: string, name: string) =>
  (await server.ask('PROPPATCH', path, { body: properties('remove', name) })).status;
const usage = async (user = 'anna') => {
  const root = await server.rootOf(user);
  return (await server.metadata.read((tx) => tx.usage(root))).used_bytes;
};
const limit = async (bytes: number | null) => {
  const root = await server.rootOf('anna');
  await server.metadata.write((tx) => tx.setQuota(root, bytes));
};
const to = (path: string) => ({ headers: { Destination: `/dav/files/anna/${path}` } });
/** As counted, and as it is. */
const counted = () => {
  const { reader } = server.database;
  const rows = reader
    .prepare<[], { held: number; real: number }>(
      `SELECT property_bytes AS held, (SELECT coalesce(sum(octet_length(xml)), 0) FROM properties p
        JOIN nodes n ON n.id = p.node_id WHERE n.root_id = roots.node_id) AS real FROM roots`,
    )
    .all();
  for (const { held, real } of rows) expect(held).toBe(real);
};

test('set, set again, copied, moved, overwritten, removed and deleted they are counted as they are', async () => {
  await server.ask('MKCOL', 'd');
  await server.ask('PUT', 'd/f', { body: '' });
  expect([await set('d/f', 'a', 10_000), await set('d', 'a', 100), await set('d/f', 'a', 20_000)]).toEqual([
    207, 207, 207,
  ]);
  expect(await usage()).toBeGreaterThan(20_100);
  expect(await usage()).toBeLessThan(20_400);
  counted();
  await server.ask('COPY', 'd', to('e'));
  expect(await usage()).toBeGreaterThan(40_200);
  await server.ask('MOVE', 'e/f', to('g'));
  await server.ask('COPY', 'd/f', to('g'));
  counted();
  await unset('g', 'a');
  const [bert, anna] = [await server.rootOf('bert'), await server.rootOf('anna')];
  await server.metadata.write(async (tx) => {
    const { node } = await tx.resolve(anna, ['d' as Name]);
    await tx.move(node ?? expect.fail(), (await tx.node(bert)) ?? expect.fail(), 'from anna' as Name);
  });
  counted();
  expect(await usage('bert')).toBeGreaterThan(20_100);
  for (const path of ['e', 'g']) await server.ask('DELETE', path);
  expect(await usage()).toBe(0);
  await server.metadata.write((tx) => tx.handOver('bert', 'anna', 'of bert' as Name));
  expect(await usage()).toBeGreaterThan(20_100);
  await server.metadata.write((tx) => tx.removeRoot('anna'));
  expect(server.database.reader.prepare('SELECT 1 FROM properties').all()).toEqual([]);
});

test('beyond the quota none is set and none copied; they can be removed there, and files be made smaller', async () => {
  await server.ask('PUT', 'f', { body: 'x'.repeat(50_000) });
  await limit(100_000);
  expect([await set('f', 'a', 40_000), await set('f', 'b', 40_000)]).toEqual([207, 507]);
  expect((await server.ask('PROPFIND', 'f', { headers: { Depth: '0' }, body: '' })).text).not.toContain('x:b');
  await server.ask('PUT', 'empty', { body: '' });
  expect([await set('empty', 'a', 9000), await set('empty', 'b', 9000)]).toEqual([207, 507]);
  expect((await server.ask('COPY', 'empty', to('copy'))).status).toBe(507);
  expect((await server.ask('PUT', 'g', { body: 'x'.repeat(9000) })).status).toBe(507);
  await limit(1000);
  expect(await set('f', 'a', 30_000)).toBe(207);
  expect([await unset('f', 'a'), (await server.ask('PUT', 'f', { body: 'small' })).status]).toEqual([207, 204]);
  expect((await server.ask('DELETE', 'empty')).status).toBe(204);
  expect(await set('f', 'c', 100)).toBe(207);
  counted();
});

test('the owner of a lock is no place to store things', async () => {
  const lock = (length: number) =>
    `<d:lockinfo xmlns:d="DAV:"><d:lockscope><d:shared/></d:lockscope><d:locktype><d:write/></d:locktype><d:owner>${'o'.repeat(length)}</d:owner></d:lockinfo>`;
  expect((await server.ask('LOCK', 'f', { body: lock(4000) })).status).toBe(201);
  expect((await server.ask('LOCK', 'g', { body: lock(5000) })).status).toBe(413);
  expect((await server.ask('HEAD', 'g')).status).toBe(404);
});

test('those of an older program are counted when the database is opened', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'cloudmount-older-'));
  const older = { ...METADATA_SCHEMA, migrations: METADATA_SCHEMA.migrations.slice(0, 4) };
  const before = SqliteDatabase.open(join(dir, 'db'), [older]);
  before.writer.exec(`INSERT INTO roots (user_id, node_id) VALUES ('anna', 1), ('bert', 2);
    INSERT INTO nodes (id, root_id, name, kind, size, tree_seq, changed_seq, path_seq, mtime_s, mtime_ns, mtime_set, created_ms,
      has_properties) VALUES (1, 1, '', 1, 7, 1, 1, 1, 0, 0, 0, 0, 1), (2, 2, '', 1, 9, 2, 2, 2, 0, 0, 0, 0, 0);
    INSERT INTO properties VALUES (1, 'u:', 'a', 'üü'), (1, 'u:', 'b', 'xxx')`);
  await before.close();
  const database = SqliteDatabase.open(join(dir, 'db'), [METADATA_SCHEMA]);
  const metadata = new SqliteMetadataStore(database, { clock: systemClock });
  const used = ['anna', 'bert'].map((user) =>
    metadata.read(async (tx) => (await tx.usage((await tx.root(user))?.id ?? expect.fail())).used_bytes),
  );
  expect(await Promise.all(used)).toEqual([14, 9]);
  await metadata.close();
  await database.close();
  await rm(dir, { recursive: true });
});
