import { startApache } from '../support/apache.js';
import { GENERIC } from '../support/capabilities.js';
import { openDav } from './dav_harness.js';
import { remoteContract } from './remote_contract.js';

const account = { user: 'alice', password: 'pass word:ä' };

remoteContract({
  name: 'Apache mod_dav',
  capabilities: GENERIC,
  anyBytesInNames: true,
  open: async () => {
    const apache = await startApache(account);
    return openDav({ ...account, url: apache.url, root: apache.url, tagTick: 20, stop: () => apache.stop() });
  },
});
