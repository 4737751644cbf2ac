// Our own server: POSIX attributes, symlinks and xattrs as properties, checksums verified, strong ETags on everything.

import type { MetaPatch, PosixMeta } from '../remote.js';
import { formatMode, formatTimestamp, xattrToLocalName } from '../wire/cloudmount_props.js';
import { emptyProperty, textProperty } from '../wire/multistatus.js';
import { CM, CM_XATTR } from '../wire/ns.js';
import { BASIC_PROPERTIES, type Dialect, mtimeHeader, OC_PROPERTIES, type PropertyPatch } from './dialect.js';
import { rightsOf } from './nextcloud.js';

const OWN = ['brief', 'mode', 'uid', 'gid', 'mtime', 'symlink', 'xattrs'].map((local) => ({ ns: CM, local }));

function patch(wanted: MetaPatch): PropertyPatch {
  const set: string[] = [];
  const remove: string[] = [];
  const { mode, uid, gid, mtime, xattrs } = wanted;
  if (mode !== undefined) set.push(textProperty({ ns: CM, local: 'mode' }, formatMode(mode)));
  if (uid !== undefined) set.push(textProperty({ ns: CM, local: 'uid' }, String(uid)));
  if (gid !== undefined) set.push(textProperty({ ns: CM, local: 'gid' }, String(gid)));
  if (mtime !== undefined) set.push(textProperty({ ns: CM, local: 'mtime' }, formatTimestamp(mtime)));
  for (const [name, value] of xattrs ?? []) {
    const property = { ns: CM_XATTR, local: xattrToLocalName(name) };
    if (value === null) remove.push(emptyProperty(property));
    else set.push(textProperty(property, value.toString('base64')));
  }
  return { set, remove };
}

function metaHeaders(meta: PosixMeta): Record<string, string> {
  return {
    ...mtimeHeader(meta, true),
    ...(meta.mode === undefined ? {} : { 'x-cloudmount-mode': formatMode(meta.mode) }),
    ...(meta.uid === undefined ? {} : { 'x-cloudmount-uid': String(meta.uid) }),
    ...(meta.gid === undefined ? {} : { 'x-cloudmount-gid': String(meta.gid) }),
  };
}

export const cloudmount: Dialect = {
  name: 'cloudmount',
  properties: [...BASIC_PROPERTIES, ...OC_PROPERTIES, ...OWN],
  collectionEtags: true,
  version: (etag) => etag,
  rights: (letters) => rightsOf(letters, true),
  metaHeaders,
  checksumHeaders: (sha256) => (sha256 === undefined ? {} : { 'oc-checksum': `SHA256:${sha256}` }),
  patch,
};
