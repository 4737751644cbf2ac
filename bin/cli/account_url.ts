// The address a user types -> the address an account has.

import { CloudError } from '../../src/errors.js';
import { spelledAlike } from '../../src/names.js';
import { parseAddress } from '../../src/remote/detect.js';
import { isLoopback } from './server_options.js';

export interface TypedUrl {
  readonly url: string;
  /** `user@` in the address. */
  readonly user: string | null;
}

/** Adds `https://` where no scheme is given. Throws `invalid`; a password in the address is refused, because arguments
 * are readable by every process of the machine. */
export function parseAccountUrl(text: string): TypedUrl {
  let parsed: URL;
  try {
    parsed = new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `https://${text}`);
  } catch {
    throw new CloudError('invalid', `server address "${text}": expected something like https://cloud.example.org`);
  }
  if (parsed.protocol !== 'https:' && parsed.protocol !== 'http:') {
    throw new CloudError(
      'invalid',
      `server address "${text}": expected https:// or http://, found ${parsed.protocol}//`,
    );
  }
  if (parsed.password !== '') {
    throw new CloudError(
      'invalid',
      'server address: leave the password out of it (every process can read arguments, and it is in your history now); it is asked for, or use --password-file',
    );
  }
  if (parsed.search !== '' || parsed.hash !== '') {
    throw new CloudError('invalid', `server address "${text}": it must have no "?" and no "#"`);
  }
  const user = parsed.username === '' ? null : decodedUser(parsed.username);
  parsed.username = '';
  return { url: parsed.href, user };
}

function decodedUser(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch {
    throw new CloudError(
      'invalid',
      `server address: the user name in it has a "%" that begins no %XX of UTF-8 text, found ${JSON.stringify(encoded)} (a "%" itself is %25); or use --user`,
    );
  }
}

/** The same place, however each is spelled (a slash at the end, `%40` or `@`). */
export function isSameAddress(one: string, other: string): boolean {
  const [a, b] = [parseAddress(one), parseAddress(other)];
  return a.origin === b.origin && spelledAlike(a.path) === spelledAlike(b.path);
}

export function looksLikeUrl(text: string): boolean {
  return /^https?:\/\//i.test(text);
}

/** What to tell before a password crosses a network unencrypted; null = nothing. */
export function plainTextWarning(url: string): string | null {
  const { protocol, hostname } = new URL(url);
  if (protocol === 'https:' || isLoopback(hostname)) return null;
  return `Warning: ${url} is not encrypted: the password and all files can be read on the way. Use https:// unless the network is yours alone.`;
}
