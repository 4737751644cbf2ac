import { FakeRemote, FakeServer } from '../support/fake_remote.js';
import { remoteContract } from './remote_contract.js';

const ALL = {
  dialect: 'cloudmount',
  changeFeed: true,
  push: true,
  collectionEtags: true,
  fileIds: true,
  symlinks: true,
  xattrs: true,
  posix: true,
  setMtime: true,
  locks: true,
  chunkedUpload: true,
  conditionalPut: true,
} as const;

const PLAIN = {
  dialect: 'generic',
  changeFeed: false,
  push: false,
  collectionEtags: false,
  fileIds: false,
  symlinks: false,
  xattrs: false,
  posix: false,
  setMtime: false,
  locks: true,
  chunkedUpload: false,
  conditionalPut: true,
} as const;

for (const [name, capabilities, page_entries] of [
  ['a fake of our server', ALL, 1000],
  ['a fake of our server with tiny pages', ALL, 2],
  ['a fake of a plain server', PLAIN, 1000],
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
