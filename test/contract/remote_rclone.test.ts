import { GENERIC } from '../support/capabilities.js';
import { startRclone } from '../support/rclone.js';
import { openDav } from './dav_harness.js';
import { remoteContract } from './remote_contract.js';

const account = { user: 'alice', password: 'secret' };

remoteContract({
  name: 'rclone serve webdav, which ignores If-Match',
  capabilities: { ...GENERIC, conditionalPut: false },
  anyBytesInNames: false,
  open: async () => {
    const rclone = await startRclone(account);
    return openDav({ ...account, url: rclone.url, root: rclone.url, stop: () => rclone.stop() });
  },
});
