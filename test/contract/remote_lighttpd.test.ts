import { GENERIC } from '../support/capabilities.js';
import { startLighttpd } from '../support/small_dav_servers.js';
import { openDav } from './dav_harness.js';
import { remoteContract } from './remote_contract.js';

const account = { user: 'alice', password: 'pass word' };

remoteContract({
  name: 'lighttpd',
  capabilities: GENERIC,
  anyBytesInNames: false,
  open: async () => {
    const server = await startLighttpd(account);
    return openDav({ ...account, url: server.url, root: server.url, tagTick: 20, stop: () => server.stop() });
  },
});
