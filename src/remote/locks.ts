// LOCK and UNLOCK (RFC 4918 sections 9.10, 9.11): exclusive write locks of depth 0. Nextcloud's user locks
// (`X-User-Lock`) have no token of their own: the user is the token.

import { CloudError } from '../errors.js';
import { type RemotePath, ROOT_PATH, splitPath } from '../ids.js';
import { type Dav, propertyRequest, show } from './dav.js';
import { type ActiveLock, activeLocks, lockInfoOf } from './entry.js';
import type { HttpRequest, HttpResponse } from './http.js';
import { ANY_LOCK, type CallOptions, type LockInfo } from './remote.js';
import { propertyOf } from './wire/multistatus.js';
import { DAV, ROOT_XMLNS } from './wire/ns.js';
import { formatTimeout } from './wire/timeout.js';
import { childOf, escapeText, parseXml, XML_DECLARATION } from './wire/xml.js';

const ANSWER_LIMIT_bytes = 256 * 1024;

export interface Taken {
  readonly token: string;
  /** The name was free: the server has made an empty file of it. */
  readonly created: boolean;
  readonly info: LockInfo;
}

/** Options without a token that is none: the server knows the user. */
export function withRealToken(options: CallOptions): CallOptions {
  if (options.lockToken !== ANY_LOCK) return options;
  return options.signal === undefined ? {} : { signal: options.signal };
}

function byUser(dav: Dav): boolean {
  return dav.info.dialect === 'nextcloud';
}

async function ask(dav: Dav, request: HttpRequest, doing: string): Promise<{ response: HttpResponse; text: string }> {
  return await dav.inTurn(request, async (asked) => {
    const response = await dav.http.request(asked);
    if (response.status !== 200 && response.status !== 201) throw await dav.failureOf(response, doing);
    return { response, text: await response.text(ANSWER_LIMIT_bytes) };
  });
}

/** Takes a lock; `locked` when somebody else has it. */
export async function takeLock(
  dav: Dav,
  path: RemotePath,
  timeout_s: number | null,
  options: CallOptions,
  owner = dav.self.lockOwner,
): Promise<Taken> {
  const doing = `locking ${show(path)}`;
  const { response, text } = await ask(
    dav,
    {
      method: 'LOCK',
      path: dav.href(path),
      headers: {
        depth: '0',
        timeout: formatTimeout(timeout_s ?? 'infinite'),
        'content-type': 'application/xml; charset=utf-8',
        ...(byUser(dav) ? { 'x-user-lock': '1' } : {}),
      },
      body: `${XML_DECLARATION}<d:lockinfo${ROOT_XMLNS}><d:lockscope><d:exclusive/></d:lockscope><d:locktype><d:write/></d:locktype><d:owner>${escapeText(owner)}</d:owner></d:lockinfo>`,
      signal: options.signal,
    },
    doing,
  );
  const created = response.status === 201;
  if (byUser(dav)) return { token: ANY_LOCK, created, info: userLock(dav, timeout_s) };
  const info = readLock(dav, text, tokenOf(response), doing);
  if (info.token === null) throw new CloudError('protocol', `${doing}: a lock token is required, found none`);
  return { token: info.token, created, info };
}

export async function refreshLock(
  dav: Dav,
  path: RemotePath,
  token: string,
  timeout_s: number | null,
  options: CallOptions,
): Promise<LockInfo> {
  if (token === ANY_LOCK) return (await takeLock(dav, path, timeout_s, options)).info;
  const doing = `refreshing the lock of ${show(path)}`;
  const { response, text } = await ask(
    dav,
    {
      method: 'LOCK',
      path: dav.href(path),
      headers: { if: dav.listFor(path, `<${token}>`), timeout: formatTimeout(timeout_s ?? 'infinite') },
      signal: options.signal,
    },
    doing,
  );
  // nginx takes a new one where there is none any more.
  return readLock(dav, text, tokenOf(response) ?? token, doing);
}

function tokenOf({ headers }: HttpResponse): string | null {
  return /<([^>]+)>/.exec(headers['lock-token'] ?? '')?.[1] ?? null;
}

/** What the lock that is there can be given back by, for one who does not hold it. Rejects with `not_found` where none is. */
export async function whateverToken(dav: Dav, path: RemotePath, options: CallOptions): Promise<string> {
  // Those know the user's right to it.
  if (dav.info.dialect === 'nextcloud' || dav.info.dialect === 'cloudmount') return ANY_LOCK;
  const doing = `unlocking ${show(path)}`;
  const [lock] = await locksOf(dav, dav.href(path), doing, options);
  if (lock === undefined) throw new CloudError('not_found', `${doing}: no lock is on it`, { path });
  const { token, owner } = lock;
  if (token === null) throw new CloudError('not_permitted', `${doing}: the server does not tell its token`, { path });
  // It would free all that is in the folder.
  const folder = lock.deep ? await lockedFolder(dav, path, { ...lock, token }, doing, options) : path;
  if (folder !== path) {
    const found = `${owner || 'somebody'} has locked the folder ${show(folder)} with all that is in it`;
    throw new CloudError('not_permitted', `${doing}: ${found}: unlock that`, { path });
  }
  return token;
}

async function locksOf(dav: Dav, href: string, doing: string, options: CallOptions): Promise<ActiveLock[]> {
  const locks: ActiveLock[] = [];
  const request = propertyRequest(href, 0, ['lockdiscovery'], options);
  for await (const { responses } of dav.multistatus(request, doing)) {
    for (const response of responses) {
      const discovery = propertyOf(response, DAV, 'lockdiscovery');
      if (discovery !== null) locks.push(...activeLocks(discovery));
    }
  }
  return locks;
}

/** What the lock that `path` shows was taken on. Who does not tell shows it on the folders in between, too. */
async function lockedFolder(
  dav: Dav,
  path: RemotePath,
  lock: ActiveLock & { readonly token: string },
  doing: string,
  options: CallOptions,
): Promise<RemotePath> {
  if (lock.root !== null) return dav.lockRoots().above(path, lock) ?? path;
  let folder = path;
  while (folder !== ROOT_PATH) {
    const above = splitPath(folder).parent;
    const shown = await locksOf(dav, dav.href(above, true), doing, options);
    if (!shown.some(({ token }) => token === lock.token)) break;
    folder = above;
  }
  return folder;
}

export async function freeLock(dav: Dav, path: RemotePath, token: string, options: CallOptions): Promise<void> {
  const headers: Record<string, string> = token === ANY_LOCK ? { 'x-user-lock': '1' } : { 'lock-token': `<${token}>` };
  await dav.send(
    { method: 'UNLOCK', path: dav.href(path), headers, signal: options.signal },
    [200, 204],
    `unlocking ${show(path)}`,
  );
}

/** Answer of LOCK: `<prop><lockdiscovery>` with every lock of the resource; ours is the one with our token. */
function readLock(dav: Dav, text: string, token: string | null, doing: string): LockInfo {
  let root: ReturnType<typeof parseXml>;
  try {
    root = parseXml(text);
  } catch (error) {
    throw new CloudError('protocol', `${doing}: a description of the lock is required, found no XML`, { cause: error });
  }
  const discovery = childOf(root, DAV, 'lockdiscovery');
  const locks = discovery === null ? [] : activeLocks(discovery);
  const ours = locks.find((lock) => lock.token === token) ?? locks[0];
  if (ours === undefined)
    throw new CloudError('protocol', `${doing}: a description of the lock is required, found none`);
  const owner = dav.self.lockOwner;
  return { ...lockInfoOf(ours, dav.self), owner, token: token ?? ours.token, mine: true };
}

function userLock(dav: Dav, timeout_s: number | null): LockInfo {
  const now_s = Math.floor(Date.now() / 1000);
  return {
    owner: dav.self.user ?? dav.self.lockOwner,
    sinceEpoch_s: now_s,
    expiresEpoch_s: timeout_s === null ? null : now_s + timeout_s,
    token: ANY_LOCK,
    mine: true,
  };
}
