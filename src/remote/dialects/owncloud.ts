// ownCloud 10: as Nextcloud, without a letter for "may read" (what is listed is readable). It checks SHA1 only, so no
// checksum is sent.

import { BASIC_PROPERTIES, type Dialect, mtimeHeader, OC_PROPERTIES } from './dialect.js';
import { patchMtime, rightsOf } from './nextcloud.js';

export const owncloud: Dialect = {
  name: 'owncloud',
  properties: [...BASIC_PROPERTIES, ...OC_PROPERTIES],
  collectionEtags: true,
  version: (etag) => etag,
  rights: (letters) => rightsOf(letters, false),
  metaHeaders: (meta) => mtimeHeader(meta, false),
  checksumHeaders: () => ({}),
  patch: patchMtime,
};
