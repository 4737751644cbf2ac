// XML namespaces and names spoken on the wire. A name is always the pair {ns, local}; prefixes are only a way to write it.

export interface XmlName {
  readonly ns: string;
  readonly local: string;
}

/** RFC 4918. */
export const DAV = 'DAV:';
/** ownCloud's and Nextcloud's shared vocabulary (file ids, permissions, checksums). */
export const OC = 'http://owncloud.org/ns';
/** Nextcloud's own (lock state). */
export const NC = 'http://nextcloud.org/ns';
/** sabre/dav's error detail: `<s:exception>`, `<s:message>`. */
export const SABRE = 'http://sabredav.org/ns';
/** cloudmount's live properties: mode, uid, gid, mtime, symlink, xattrs. */
export const CM = 'urn:cloudmount';
/** One dead property per extended attribute, see `cloudmount_props.ts`. */
export const CM_XATTR = 'urn:cloudmount:xattr';

export const XML_NS = 'http://www.w3.org/XML/1998/namespace';
export const XMLNS_NS = 'http://www.w3.org/2000/xmlns/';

/** The prefixes every document we write declares at its root. `xml` is bound by definition. */
export const ROOT_PREFIXES: ReadonlyMap<string, string> = new Map([
  [DAV, 'd'],
  [OC, 'oc'],
  [NC, 'nc'],
  [SABRE, 's'],
  [CM, 'cm'],
]);

/** ` xmlns:d="DAV:" …` for a root element. */
export const ROOT_XMLNS = [...ROOT_PREFIXES].map(([ns, prefix]) => ` xmlns:${prefix}="${ns}"`).join('');

/** Clark notation, `{ns}local`: a key for maps and a readable form for messages. */
export function clark(name: XmlName): string {
  return `{${name.ns}}${name.local}`;
}
