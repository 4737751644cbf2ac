// Our own server in this process with a fault proxy in front, for tests of what the client makes of a bad network.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../../../src/log.js';
import { createRemote, type WebdavRemote } from '../../../src/remote/connect.js';
import type { UploadSession } from '../../../src/remote/remote.js';
import { type RunningServer, startServer } from '../../../src/server/server.js';
import { FaultProxy } from '../../support/fault_proxy.js';

export const ACCOUNT = { user: 'alice', password: 'correct horse battery' };

export interface Rig {
  readonly server: RunningServer;
  readonly proxy: FaultProxy;
  /** Through the proxy, with a short timeout. */
  readonly remote: WebdavRemote;
  /** Beside the proxy: another client. */
  readonly honest: WebdavRemote;
  close(): Promise<void>;
}

export const TIMEOUT_ms = 600;

export async function rig(): Promise<Rig> {
  const dataDir = await mkdtemp(join(tmpdir(), 'cloudmount-faults-'));
  const server = await startServer({ dataDir, listen: { host: '127.0.0.1', port: 0 }, log: silentLog });
  await server.accounts.create({ name: ACCOUNT.user, password: ACCOUNT.password });
  const proxy = await FaultProxy.open({ targetPort: server.address.port });
  const remote = createRemote({ url: proxy.url, auth: ACCOUNT, timeout_ms: TIMEOUT_ms });
  const honest = createRemote({ url: server.url, auth: ACCOUNT });
  await honest.connect();
  await remote.connect();
  return {
    server,
    proxy,
    remote,
    honest,
    async close() {
      await remote.close();
      await honest.close();
      await proxy.close();
      await server.close({ graceful_ms: 100 });
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

export function keptSession(): UploadSession & { state: string | null; progressed: number[] } {
  return {
    state: null,
    progressed: [],
    save(value) {
      this.state = value;
    },
    progress(sent_bytes) {
      this.progressed.push(sent_bytes);
    },
    committing: async () => undefined,
  };
}
