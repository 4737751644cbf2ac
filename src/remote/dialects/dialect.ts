// In what servers differ, as data and small functions: what to ask for in listings, what to send with uploads, how
// attributes are set. Everything else is the same WebDAV.

import type { MetaPatch, PosixMeta, RemoteCapabilities, Rights } from '../remote.js';
import { DAV, NC, OC, type XmlName } from '../wire/ns.js';

/** Properties to set and to remove by PROPPATCH; elements are already written. */
export interface PropertyPatch {
  readonly set: readonly string[];
  readonly remove: readonly string[];
}

export interface Dialect {
  readonly name: RemoteCapabilities['dialect'];
  /** What PROPFIND and REPORT ask for. */
  readonly properties: readonly XmlName[];
  /** A collection's ETag says something about all below it. */
  readonly collectionEtags: boolean;
  /** Version of a node from the ETag the server sent, already normalised. */
  version(etag: string): string;
  rights(letters: string | null): { readonly rights: Rights; readonly sharedIn: boolean };
  /** Headers with PUT and MKCOL. */
  metaHeaders(meta: PosixMeta): Readonly<Record<string, string>>;
  checksumHeaders(sha256: string | undefined): Readonly<Record<string, string>>;
  /** Throws `unsupported` for what the server cannot hold. */
  patch(patch: MetaPatch): PropertyPatch;
}

const dav = (local: string): XmlName => ({ ns: DAV, local });
const oc = (local: string): XmlName => ({ ns: OC, local });
const nc = (local: string): XmlName => ({ ns: NC, local });

export const BASIC_PROPERTIES: readonly XmlName[] = [
  dav('resourcetype'),
  dav('getcontentlength'),
  dav('getlastmodified'),
  dav('getetag'),
  dav('lockdiscovery'),
];

/** What the ownCloud family adds. */
export const OC_PROPERTIES: readonly XmlName[] = [
  oc('fileid'),
  oc('permissions'),
  oc('checksums'),
  oc('share-types'),
  oc('size'),
  nc('lock'),
  nc('lock-owner'),
  nc('lock-owner-displayname'),
  nc('lock-time'),
  nc('lock-timeout'),
];

/** Seconds with a fraction where there is one: servers that know only seconds cut it off. */
export function mtimeHeader(meta: PosixMeta, fraction: boolean): Readonly<Record<string, string>> {
  const { mtime } = meta;
  if (mtime === undefined) return {};
  const exact = fraction && mtime.ns !== 0;
  return { 'x-oc-mtime': exact ? `${mtime.s}.${String(mtime.ns).padStart(9, '0')}` : String(mtime.s) };
}
