// Any WebDAV server. Weak ETags are taken as the names of versions they are (mod_dav calls the tag of a file younger than
// two seconds weak and the same tag strong afterwards: it must not look like a change). Collections have no version.

import { CloudError } from '../../errors.js';
import { ALL_RIGHTS, type MetaPatch } from '../remote.js';
import { isWeak } from '../wire/etag.js';
import { BASIC_PROPERTIES, type Dialect, mtimeHeader, type PropertyPatch } from './dialect.js';

export function refuseWhatIsSet(patch: MetaPatch, may: { readonly mtime: boolean }): void {
  const wanted = [
    patch.mode === undefined ? null : 'mode',
    patch.uid === undefined ? null : 'uid',
    patch.gid === undefined ? null : 'gid',
    patch.mtime === undefined || may.mtime ? null : 'mtime',
    patch.xattrs === undefined || patch.xattrs.size === 0 ? null : 'xattrs',
  ].filter((name) => name !== null);
  if (wanted.length > 0) {
    throw new CloudError('unsupported', `setting attributes: this server cannot hold ${wanted.join(', ')}`);
  }
}

export const generic: Dialect = {
  name: 'generic',
  properties: BASIC_PROPERTIES,
  collectionEtags: false,
  version: (etag) => (isWeak(etag) ? etag.slice(2) : etag),
  rights: () => ({ rights: ALL_RIGHTS, sharedIn: false }),
  metaHeaders: (meta) => mtimeHeader(meta, false),
  checksumHeaders: () => ({}),
  patch: (patch): PropertyPatch => {
    refuseWhatIsSet(patch, { mtime: false });
    return { set: [], remove: [] };
  },
};
