// What is at the address the user gave? Our own server (a plain origin is enough), Nextcloud or ownCloud (status.php and
// the OCS capabilities tell), or else the address itself is the root of a WebDAV tree. Nothing is changed on the server
// to find out.

import { CloudError, isCloudError } from '../errors.js';
import type { RemotePath } from '../ids.js';
import { encodeSegment } from '../names.js';
import { ChangeTurns } from './change_turns.js';
import { Dav, type Log } from './dav.js';
import { dialectOf } from './dialects/index.js';
import type { Self } from './entry.js';
import type { HttpClient, HttpResponse } from './http.js';
import { captivePortal, codeOfStatus, isWebPage, readFailure } from './http_failure.js';
import { stat } from './listing.js';
import type { OwnLocks } from './own_locks.js';
import type { CallOptions, RemoteCapabilities, RemoteEntry } from './remote.js';
import { retry } from './retry.js';
import type { ConditionalWrites, IfHeader, ServerInfo } from './server_info.js';

/** The user's address, taken apart. */
export interface Address {
  readonly origin: string;
  /** Path where the server's application lives, no slash at the end (`''`, `/nextcloud`). */
  readonly prefix: string;
  /** Whose files the path leads to, where it names somebody: `…/dav/files/USER/`. */
  readonly owner: string | null;
  /** Encoded path below the account's root, no slashes around it; `''` = all of it. */
  readonly below: string;
  /** The whole path, slash at the end. */
  readonly path: string;
}

const FILES = /^(?<prefix>.*?)\/(?:remote\.php\/dav|dav)\/files\/(?<owner>[^/]+)(?:\/(?<below>.*))?$/;
const OLD_ROOT = /^(?<prefix>.*?)\/remote\.php\/(?:webdav|dav)(?:\/(?<below>.*))?$/;

/** Throws `invalid`. */
export function parseAddress(url: string): Address {
  if (!URL.canParse(url))
    throw new CloudError('invalid', `reading the server's address: a URL is required, found ${JSON.stringify(url)}`);
  const { protocol, origin, username, password, pathname, search, hash } = new URL(url);
  if (protocol !== 'http:' && protocol !== 'https:') {
    throw new CloudError('invalid', `reading the server's address: http or https is required, found ${protocol}`);
  }
  if (username !== '' || password !== '') {
    throw new CloudError('invalid', "reading the server's address: credentials do not belong into a URL");
  }
  if (search !== '' || hash !== '') {
    throw new CloudError('invalid', "reading the server's address: a query or fragment is not allowed");
  }
  const bare = pathname.replace(/\/+$/, '');
  const parts = (FILES.exec(bare) ?? OLD_ROOT.exec(bare))?.groups;
  return {
    origin,
    prefix: parts?.['prefix'] ?? bare,
    owner: parts?.['owner'] === undefined ? null : decoded(parts['owner']),
    below: (parts?.['below'] ?? '').replace(/\/+$/, ''),
    path: `${bare}/`,
  };
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** Asks the server. Rejects with `no_access` for somebody else's files, `unauthorized`, `network`, `timeout`, `busy_server`, or `protocol` when no WebDAV is there. */
export async function detect(
  http: HttpClient,
  address: Address,
  self: Omit<Self, 'user'>,
  ownLocks: OwnLocks,
  log: Log,
  options: CallOptions,
): Promise<ServerInfo> {
  return await retry(
    async () => {
      const status = await serverStatus(http, address, options);
      const info =
        status === null ? await genericServer(http, address, options) : await ocsServer(http, address, status, options);
      const root = await requireCollection(http, info, self, ownLocks, log, options);
      return info.ifHeader === 'lighttpd' && root.etag === null ? unconditional(info) : info;
    },
    { signal: options.signal, deadline_ms: http.timeout_ms },
  );
}

// --- the ownCloud family, ours included

interface Status {
  readonly version: string;
  readonly productname: string;
  /** What the product is, whatever it is called here; `''` where that is not told. */
  readonly product: string;
  readonly maintenance: boolean;
}

async function get(http: HttpClient, path: string, options: CallOptions): Promise<HttpResponse> {
  return await http.request({
    method: 'GET',
    path,
    headers: { accept: 'application/json', 'ocs-apirequest': 'true' },
    signal: options.signal,
  });
}

/** `status.php`, null where there is none. */
async function serverStatus(http: HttpClient, address: Address, options: CallOptions): Promise<Status | null> {
  let response: HttpResponse;
  try {
    response = await get(http, `${address.prefix}/status.php`, options);
  } catch (error) {
    // A redirect elsewhere: the WebDAV root itself may still be here.
    if (isCloudError(error, 'protocol')) return null;
    throw error;
  }
  if (response.status === 200) {
    const value = await json(response);
    if (value === null && /json/i.test(response.headers['content-type'] ?? '')) {
      throw new CloudError('protocol', `GET ${address.prefix}/status.php: JSON is required, found something else`);
    }
    if (typeof value?.['installed'] !== 'boolean') return null;
    return {
      version: String(value['version'] ?? ''),
      productname: String(value['productname'] ?? ''),
      product: String(value['product'] ?? ''),
      maintenance: value['maintenance'] === true,
    };
  }
  // Only an answer that is about this path says that there is no such thing.
  if (['unauthorized', 'busy_server', 'server', 'network', 'quota'].includes(codeOfStatus(response.status))) {
    throw (await readFailure(response, `signing in at ${http.origin}${address.prefix}/`)).error;
  }
  await response.discard();
  return null;
}

async function json(response: HttpResponse): Promise<Record<string, unknown> | null> {
  try {
    const value: unknown = JSON.parse(await response.text());
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch (error) {
    if (isCloudError(error, 'network', 'timeout', 'interrupted')) throw error;
    return null;
  }
}

/** A value deep inside parsed JSON. */
function at(value: unknown, ...keys: readonly string[]): unknown {
  let found = value;
  for (const key of keys)
    found = typeof found === 'object' && found !== null ? (found as Record<string, unknown>)[key] : undefined;
  return found;
}

async function ocs(http: HttpClient, address: Address, what: string, options: CallOptions): Promise<unknown> {
  const path = `${address.prefix}/ocs/v2.php/cloud/${what}?format=json`;
  const response = await get(http, path, options);
  if (response.status !== 200)
    throw (await readFailure(response, `signing in at ${http.origin}${address.prefix}/`)).error;
  const data = at(await json(response), 'ocs', 'data');
  if (data === undefined)
    throw new CloudError('protocol', `GET ${path}: an OCS answer is required, found something else`);
  return data;
}

async function ocsServer(
  http: HttpClient,
  address: Address,
  status: Status,
  options: CallOptions,
): Promise<ServerInfo> {
  if (status.maintenance) {
    throw new CloudError('busy_server', `signing in at ${http.origin}${address.prefix}/: the server is in maintenance`);
  }
  const capabilities = at(await ocs(http, address, 'capabilities', options), 'capabilities');
  const user = at(await ocs(http, address, 'user', options), 'id');
  if (typeof user !== 'string' || user === '') {
    throw new CloudError(
      'protocol',
      `signing in at ${http.origin}${address.prefix}/: a user id is required, found none`,
    );
  }
  // These servers give everybody their own files there, and to those of others a share is the way.
  if (address.owner !== null && address.owner.toLowerCase() !== user.toLowerCase()) {
    throw new CloudError(
      'no_access',
      `signing in at ${http.origin}${address.path}: these are the files of ${address.owner}, the login is of ${user}, ` +
        `who can have their own only: ${http.origin}${address.prefix}/ (what ${address.owner} shares with them shows in it)`,
    );
  }
  const dialect = at(capabilities, 'cloudmount') !== undefined ? 'cloudmount' : family(status);
  const isScale = dialect === 'owncloud' && isInfiniteScale(status);
  const files = dialect === 'cloudmount' ? '/dav/files/' : '/remote.php/dav/files/';
  const below = address.below === '' ? '' : `${address.below}/`;
  const push = pushOf(http, address, capabilities);
  const chunked = dialect === 'cloudmount' || at(capabilities, 'dav', 'chunking') === '1.0';
  return {
    version: 1,
    dialect,
    origin: http.origin,
    base: `${address.prefix}${files}${encodeSegment(user)}/${below}`,
    user,
    uploads: chunked ? `${address.prefix}/remote.php/dav/uploads/${encodeSegment(user)}/` : null,
    push,
    conditional: isScale ? 'put_if_match' : 'if_match',
    product: `${status.productname} ${status.version}`.trim(),
    capabilities: ocsCapabilities(dialect, capabilities, {
      changeFeed: dialect === 'cloudmount' && below === '',
      push: push !== null,
      chunkedUpload: chunked,
      conditionalPut: !isScale,
    }),
  };
}

/** ownCloud's later server, and OpenCloud: no sabre/dav. Of the conditions they know If-Match of a PUT only. */
function isInfiniteScale({ productname, product }: Status): boolean {
  return /infinite scale|ocis|opencloud/i.test(`${productname} ${product}`);
}

function family(status: Status): 'nextcloud' | 'owncloud' {
  if (/owncloud/i.test(status.productname) || isInfiniteScale(status)) return 'owncloud';
  return /^10\./.test(status.version) && !/nextcloud/i.test(status.productname) ? 'owncloud' : 'nextcloud';
}

function ocsCapabilities(
  dialect: 'cloudmount' | 'nextcloud' | 'owncloud',
  said: unknown,
  found: Pick<RemoteCapabilities, 'changeFeed' | 'push' | 'chunkedUpload' | 'conditionalPut'>,
): RemoteCapabilities {
  const own = dialect === 'cloudmount';
  return {
    dialect,
    ...found,
    collectionEtags: true,
    fileIds: true,
    symlinks: own,
    xattrs: own,
    posix: own,
    setMtime: true,
    // Nextcloud's WebDAV has no locks of class 2; the app files_lock brings the user's.
    locks: own || (dialect === 'nextcloud' && at(said, 'files', 'locking') !== undefined),
  };
}

/** Only the paths are taken: behind a proxy the server may not know its own name, and our password goes to no other. What
 * some schemes call a path (`x:@elsewhere.org/`) would, behind our origin, make that another host. */
function pushOf(http: HttpClient, address: Address, capabilities: unknown): ServerInfo['push'] {
  const endpoints = at(capabilities, 'notify_push', 'endpoints');
  const socket = at(endpoints, 'websocket');
  if (typeof socket !== 'string') return null;
  const base = `${http.origin}${address.prefix}/`;
  const pathOf = (url: string) => {
    const path = URL.canParse(url, base) ? new URL(url, base).pathname : '';
    return path.startsWith('/') ? path : null;
  };
  const path = pathOf(socket);
  const preAuth = at(endpoints, 'pre_auth');
  return path === null ? null : { socket: path, preAuth: typeof preAuth === 'string' ? pathOf(preAuth) : null };
}

// --- everything else

async function genericServer(http: HttpClient, address: Address, options: CallOptions): Promise<ServerInfo> {
  const doing = `signing in at ${http.origin}${address.path}`;
  const response = await http.request({ method: 'OPTIONS', path: address.path, signal: options.signal });
  await response.discard();
  const code = codeOfStatus(response.status);
  if (response.status >= 400 && ['unauthorized', 'busy_server', 'server', 'network'].includes(code)) {
    throw (await readFailure(response, doing)).error;
  }
  if (response.headers['dav'] === undefined && isWebPage(response)) throw captivePortal(doing, response);
  const classes = (response.headers['dav'] ?? '').split(',').map((one) => one.trim());
  const product = response.headers['server'] ?? 'WebDAV';
  const conditional = conditionalWritesOf(response);
  const ifHeader = ifHeaderOf(response, conditional);
  return {
    version: 1,
    dialect: 'generic',
    origin: http.origin,
    base: response.path.endsWith('/') ? response.path : `${response.path}/`,
    user: null,
    uploads: null,
    push: null,
    conditional,
    ...(ifHeader === undefined ? {} : { ifHeader }),
    ...(classes.includes('access-control') ? { privileges: true } : {}),
    product,
    capabilities: {
      dialect: 'generic',
      changeFeed: false,
      push: false,
      collectionEtags: false,
      fileIds: false,
      symlinks: false,
      xattrs: false,
      posix: false,
      setMtime: false,
      locks: classes.includes('2'),
      chunkedUpload: false,
      conditionalPut: conditional !== 'none',
      ...(ifHeader === 'nginx' ? { hidesDotNames: true } : {}),
    },
  };
}

/** Told not to make ETags, lighttpd holds no condition either. */
function unconditional(info: ServerInfo): ServerInfo {
  return { ...info, conditional: 'none', capabilities: { ...info.capabilities, conditionalPut: false } };
}

/** There is no way to ask, and trying would write into the user's folder: only servers known to check are believed. Go's
 * (rclone, Caddy) ignores conditions on PUT, though it honours them on GET. */
export function conditionalWritesOf(response: Pick<HttpResponse, 'headers'>): ConditionalWrites {
  const server = response.headers['server'] ?? '';
  if (response.headers['x-sabre-version'] !== undefined || /sabre/i.test(server)) return 'if_match';
  if (isLighttpd(response)) return 'if_match';
  return isModDav(response) && /^apache\b/i.test(server) ? 'if_header' : 'none';
}

/** Whatever stands in front: nginx with dav-ext says class 2 alone, other servers behind it 1 and 2. */
export function ifHeaderOf(
  response: Pick<HttpResponse, 'headers'>,
  conditional: ConditionalWrites,
): IfHeader | undefined {
  if (isLighttpd(response)) return 'lighttpd';
  if (conditional !== 'none' || isModDav(response)) return undefined;
  const { server = '', dav = '' } = response.headers;
  return /^nginx/i.test(server) && dav.trim() === '2' ? 'nginx' : 'absolute';
}

/** By itself: it puts its name on answers of servers behind it, too, and mod_webdav alone writes its classes like this. */
function isLighttpd({ headers }: Pick<HttpResponse, 'headers'>): boolean {
  return /^lighttpd/i.test(headers['server'] ?? '') && /^1,(2,)?3$/.test(headers['dav'] ?? '');
}

/** Also behind another server. */
function isModDav({ headers }: Pick<HttpResponse, 'headers'>): boolean {
  return /apache\.org\/dav/i.test(headers['dav'] ?? '');
}

/** The root, which must be a collection that answers PROPFIND; that also proves the credentials. */
async function requireCollection(
  http: HttpClient,
  info: ServerInfo,
  self: Omit<Self, 'user'>,
  ownLocks: OwnLocks,
  log: Log,
  options: CallOptions,
): Promise<RemoteEntry> {
  const dav = new Dav({
    http,
    info,
    // Its tag says nothing of what is below, but that there are tags.
    dialect: { ...dialectOf(info.dialect), collectionEtags: true },
    self: { ...self, user: info.user },
    ownLocks,
    turns: new ChangeTurns(),
    log,
  });
  const doing = `signing in at ${info.origin}${info.base}`;
  try {
    const root = await stat(dav, '' as RemotePath, options);
    if (root.kind !== 'dir') throw new CloudError('protocol', `${doing}: a folder is required, found a file`);
    return root;
  } catch (error) {
    if (isCloudError(error, 'not_permitted', 'unsupported')) {
      const nginx = /nginx/i.test(info.product)
        ? ' (the dav module of nginx alone has none: it needs nginx-dav-ext)'
        : '';
      throw new CloudError(
        'protocol',
        `${doing}: a WebDAV server that can list (PROPFIND) is required, found none${nginx}`,
        {
          cause: error,
        },
      );
    }
    throw error;
  }
}
