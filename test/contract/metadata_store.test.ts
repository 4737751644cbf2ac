import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SqliteDatabase } from '../../src/server/storage/metadata/sqlite/database.js';
import { METADATA_SCHEMA } from '../../src/server/storage/metadata/sqlite/schema.js';
import { SqliteMetadataStore } from '../../src/server/storage/metadata/sqlite/sqlite_metadata_store.js';
import { metadataStoreSuite } from './metadata_store_suite.js';

metadataStoreSuite('MetadataStore on SQLite', async (clock, options) => {
  const dir = await mkdtemp(join(tmpdir(), 'cloudmount-metadata-'));
  const database = SqliteDatabase.open(join(dir, 'db.sqlite'), [METADATA_SCHEMA]);
  const store = new SqliteMetadataStore(database, { clock, ...options });
  return {
    store,
    async close() {
      await store.close();
      await database.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
});
