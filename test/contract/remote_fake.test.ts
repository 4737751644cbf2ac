import { FULL, GENERIC } from '../support/capabilities.js';
import { FakeRemote, FakeServer } from '../support/fake_remote.js';
import { remoteContract } from './remote_contract.js';

for (const [name, capabilities, page_entries] of [
  ['a fake of our server', FULL, 1000],
  ['a fake of our server with tiny pages', FULL, 2],
  ['a fake of a plain server', GENERIC, 1000],
] as const) {
  remoteContract({
    name,
    capabilities,
    anyBytesInNames: true,
    open: async () => {
      const server = new FakeServer();
      const remote = new FakeRemote(server, { capabilities });
      remote.page_entries = page_entries;
      return {
        remote,
        second: new FakeRemote(server, { capabilities, user: 'somebody else' }),
        write: async (path, content) => void server.write(path, content),
        content: async (path) => (server.entry(path) === null ? null : server.text(path)),
        remove: async (path) => server.remove(path),
        close: async () => undefined,
      };
    },
  });
}
