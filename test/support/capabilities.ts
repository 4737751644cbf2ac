import type { RemoteCapabilities } from '../../src/remote/remote.js';

/** What our own server can do. */
export const FULL: RemoteCapabilities = {
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
};

/** What Apache, nginx and `rclone serve` can do. */
export const GENERIC: RemoteCapabilities = {
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
};
