import { GENERIC } from '../support/capabilities.js';
import { startNginx } from '../support/small_dav_servers.js';
import { openDav } from './dav_harness.js';
import { remoteContract } from './remote_contract.js';

const account = { user: 'alice', password: 'pass word' };

remoteContract({
  name: 'nginx',
  capabilities: { ...GENERIC, conditionalPut: false, hidesDotNames: true },
  anyBytesInNames: false,
  open: async () => {
    const server = await startNginx(account);
    return openDav({ ...account, url: server.url, root: server.url, tagTick: 1100, stop: () => server.stop() });
  },
});
