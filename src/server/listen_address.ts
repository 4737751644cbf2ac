// The address a server listens on, as people and URLs write it.

import { isIPv6 } from 'node:net';

/** What node takes for "all addresses of this machine"; none of them is one to connect to. */
const ALL = new Set(['', '::', '0.0.0.0']);

export function listensOnAll(host: string): boolean {
  return ALL.has(host);
}

/** As it stands in a URL (RFC 3986 section 3.2.2). */
export function hostInUrl(host: string): string {
  return isIPv6(host) ? `[${host}]` : host;
}
