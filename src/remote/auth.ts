// What we show the server to be let in. Sent with the first request already (no 401 round trip), only ever to the origin
// the user named, and never part of a URL, a message or a log line.

import { CloudError } from '../errors.js';

export type Credentials =
  /** `password` may be an app token: servers take both here. */
  | { readonly kind: 'basic'; readonly user: string; readonly password: string }
  | { readonly kind: 'bearer'; readonly token: string; readonly user?: string }
  | { readonly kind: 'none' };

/** Value of the Authorization header, null for none (RFC 7617 with UTF-8, RFC 6750). */
export function authorization(credentials: Credentials): string | null {
  switch (credentials.kind) {
    case 'none':
      return null;
    case 'bearer':
      if (!/^[A-Za-z0-9\-._~+/]+=*$/.test(credentials.token)) {
        throw new CloudError('invalid', 'signing in: a bearer token has letters, digits and -._~+/= only');
      }
      return `Bearer ${credentials.token}`;
    case 'basic':
      if (credentials.user.includes(':')) {
        throw new CloudError('invalid', 'signing in: a user name cannot contain ":" with Basic authentication');
      }
      return `Basic ${Buffer.from(`${credentials.user}:${credentials.password}`, 'utf8').toString('base64')}`;
  }
}

export function userOf(credentials: Credentials): string | null {
  return credentials.kind === 'none' ? null : (credentials.user ?? null);
}
