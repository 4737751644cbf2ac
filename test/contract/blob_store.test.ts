import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LocalBlobStore } from '../../src/server/storage/blobs/local_blob_store.js';
import { blobStoreSuite } from './blob_store_suite.js';

blobStoreSuite('BlobStore in a local folder', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'cloudmount-blobs-'));
  const stores = [await LocalBlobStore.open(dir)];
  return {
    store: stores[0] as LocalBlobStore,
    async reopen() {
      await stores.at(-1)?.close();
      const store = await LocalBlobStore.open(dir);
      stores.push(store);
      return store;
    },
    leftovers: () => readdir(join(dir, 'tmp')),
    async close() {
      await stores.at(-1)?.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
});
