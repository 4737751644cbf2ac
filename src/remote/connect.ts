// The door to this room: an address and credentials in, a `Remote` out.

import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { CloudError } from '../errors.js';
import type { Credentials } from './auth.js';
import { userOf } from './auth.js';
import { type Log, SILENT } from './dav.js';
import { parseAddress } from './detect.js';
import { parseServerInfo, type ServerInfo } from './server_info.js';
import type { TlsOptions } from './tls.js';
import { WebdavRemote } from './webdav_remote.js';

export type { Credentials } from './auth.js';
export type { Log } from './dav.js';
export type { ServerInfo } from './server_info.js';
export type { TlsOptions } from './tls.js';
export { WebdavRemote } from './webdav_remote.js';

export interface RemoteOptions {
  /** `https://host` of our server, an address of a Nextcloud or ownCloud, or the root of any WebDAV tree. */
  readonly url: string;
  /** Without a kind: Basic. */
  readonly auth: Credentials | { readonly user: string; readonly password: string };
  /** Bound of every wait for the network; default 20 s. */
  readonly timeout_ms?: number;
  readonly tls?: TlsOptions;
  readonly userAgent?: string;
  /** Name in the locks we take; default `USER@HOST`. */
  readonly lockOwner?: string;
  /** The same at every start, and no other process's: by it locks that a killed one left are known; default random. */
  readonly instance?: string;
  readonly log?: Log;
}

export const DEFAULT_TIMEOUT_ms = 20_000;

/** A remote that knows nothing yet: `connect()` it before anything else. Throws `invalid`. */
export function createRemote(options: RemoteOptions): WebdavRemote {
  return build(options, null);
}

/** A remote that knows its server from an earlier `describe()` (the value or its JSON text) and has not asked it again: usable
 * for everything as soon as there is a network, `connect()` brings its knowledge up to date. Throws `invalid`. */
export function createRemoteOffline(saved: unknown, options: RemoteOptions): WebdavRemote {
  const info = parseServerInfo(saved);
  const { origin } = parseAddress(options.url);
  if (info.origin !== origin) {
    throw new CloudError(
      'invalid',
      `opening the account: what is known belongs to ${info.origin}, the address is ${origin}`,
    );
  }
  return build(options, info);
}

function build(options: RemoteOptions, info: ServerInfo | null): WebdavRemote {
  const credentials: Credentials = 'kind' in options.auth ? options.auth : { kind: 'basic', ...options.auth };
  const timeout_ms = options.timeout_ms ?? DEFAULT_TIMEOUT_ms;
  if (!(timeout_ms >= 100))
    throw new CloudError('invalid', `a timeout of at least 100 ms is required, found ${timeout_ms}`);
  return new WebdavRemote({
    address: parseAddress(options.url),
    credentials,
    timeout_ms,
    userAgent: options.userAgent ?? 'cloudmount',
    tls: options.tls ?? {},
    lockOwner: options.lockOwner ?? `${userOf(credentials) ?? 'cloudmount'}@${hostname()}`,
    instance: options.instance ?? randomBytes(6).toString('hex'),
    log: options.log ?? SILENT,
    info,
  });
}
