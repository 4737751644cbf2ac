import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../../src/log.js';
import { startServer } from '../../src/server/server.js';
import { FULL } from '../support/capabilities.js';
import { openDav } from './dav_harness.js';
import { remoteContract } from './remote_contract.js';

remoteContract({
  name: 'our own server',
  capabilities: FULL,
  anyBytesInNames: true,
  open: async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'cloudmount-contract-'));
    const server = await startServer({ dataDir, listen: { host: '127.0.0.1', port: 0 }, log: silentLog });
    const account = { user: 'alice', password: 'correct horse battery' };
    await server.accounts.create({ name: account.user, password: account.password });
    return openDav({
      ...account,
      url: server.url,
      root: `${server.url}/dav/files/alice/`,
      async stop() {
        await server.close({ graceful_ms: 100 });
        await rm(dataDir, { recursive: true, force: true });
      },
    });
  },
});
