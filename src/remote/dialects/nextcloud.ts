// Nextcloud: rights, file ids, checksums and locks as properties, collection ETags; of the attributes only the mtime.

import { CloudError } from '../../errors.js';
import { type MetaPatch, type PosixMeta, packRights, unpackRights } from '../remote.js';
import { parsePermissions } from '../wire/cloudmount_props.js';
import { textProperty } from '../wire/multistatus.js';
import { DAV } from '../wire/ns.js';
import { BASIC_PROPERTIES, type Dialect, mtimeHeader, OC_PROPERTIES, type PropertyPatch } from './dialect.js';
import { refuseWhatIsSet } from './generic.js';

export function patchMtime(patch: MetaPatch): PropertyPatch {
  refuseWhatIsSet(patch, { mtime: true });
  const { mtime } = patch;
  return {
    set: mtime === undefined ? [] : [textProperty({ ns: DAV, local: 'lastmodified' }, String(mtime.s))],
    remove: [],
  };
}

type Told = ReturnType<Dialect['rights']>;

/** A tree has a few sets of rights, on thousands of nodes. */
const known = new Map<string, Told>();
const MAX_KNOWN = 256;

export function rightsOf(letters: string | null, readLetter: boolean): Told {
  if (letters === null) return { rights: unpackRights(0xff), sharedIn: false };
  const key = `${readLetter} ${letters}`;
  let told = known.get(key);
  if (told === undefined) {
    const { sharedIn, ...rights } = parsePermissions(letters, readLetter);
    told = { rights: unpackRights(packRights(rights)), sharedIn };
    if (known.size < MAX_KNOWN) known.set(key, told);
  }
  return told;
}

/** Times up to this one it answers with 500, after it has stored the content that comes with them. */
const REFUSED_UNTIL_s = 86_400;

function takesTime({ mtime }: PosixMeta): boolean {
  return mtime === undefined || mtime.s > REFUSED_UNTIL_s;
}

function patchTime(patch: MetaPatch): PropertyPatch {
  if (takesTime(patch)) return patchMtime(patch);
  throw new CloudError('unsupported', 'setting attributes: this server takes no time before the second day of 1970');
}

export const nextcloud: Dialect = {
  name: 'nextcloud',
  properties: [...BASIC_PROPERTIES, ...OC_PROPERTIES],
  collectionEtags: true,
  version: (etag) => etag,
  rights: (letters) => rightsOf(letters, true),
  metaHeaders: (meta) => (takesTime(meta) ? mtimeHeader(meta, false) : {}),
  checksumHeaders: (sha256) => (sha256 === undefined ? {} : { 'oc-checksum': `SHA256:${sha256}` }),
  patch: patchTime,
};
