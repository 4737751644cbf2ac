// A response of a multistatus -> RemoteEntry, for every dialect. Locks too: what `lockdiscovery` (RFC 4918 section 15.8)
// and Nextcloud's `nc:lock*` say.

import { CloudError, isCloudError } from '../errors.js';
import type { RemotePath } from '../ids.js';
import { decodeSegment } from '../names.js';
import type { Dialect } from './dialects/dialect.js';
import type { LockRoots, ShownLock } from './lock_roots.js';
import { OwnLocks } from './own_locks.js';
import type { LockInfo, NodeKind, PosixMeta, RemoteEntry, Rights } from './remote.js';
import { stampOf } from './stamp.js';
import { type Brief, parseBrief } from './wire/brief.js';
import { parseMode, parseOwnerId, parseTimestamp, parseXattrs } from './wire/cloudmount_props.js';
import { normalizeEtag } from './wire/etag.js';
import { parseHttpDate } from './wire/http_date.js';
import { type MultistatusResponse, propertyOf, propertyText } from './wire/multistatus.js';
import { CM, DAV, NC, OC } from './wire/ns.js';
import { parseTimeout } from './wire/timeout.js';
import { childOf, childrenOf, textOf, type XmlElement } from './wire/xml.js';

/** Who we are, to tell our locks from others'. */
export interface Self {
  /** Our id on the server. */
  readonly user: string | null;
  /** What we write into `<owner>` when we lock. */
  readonly lockOwner: string;
}

const NO_XATTRS: ReadonlyMap<string, Buffer> = new Map();
const NO_RIGHTS = {
  read: false,
  write: false,
  createFile: false,
  createDir: false,
  remove: false,
  rename: false,
  move: false,
  share: false,
};

function protocol(path: string, problem: string, cause?: unknown): CloudError {
  return new CloudError('protocol', `reading the description of ${JSON.stringify(path)}: ${problem}`, {
    path,
    ...(cause === undefined ? {} : { cause }),
  });
}

/** What the answer says of the size; null = nothing. */
function lengthOf(response: MultistatusResponse): string | null {
  return propertyText(response, DAV, 'getcontentlength') || null;
}

/** Is it a file of which the answer does not say how large it is? Not a name that is only locked (mod_dav, after RFC 2518). */
export function lacksSize(response: MultistatusResponse, entry: RemoteEntry): boolean {
  if (entry.kind !== 'file' || entry.size_bytes > 0 || response.status !== null || lengthOf(response) !== null)
    return false;
  if (propertyOf(response, DAV, 'resourcetype') === null) return false;
  return entry.lock === null || entry.etag !== null || entry.mtime.s !== 0;
}

/** Something in a listing that is told or named in a way that cannot be: that it is there is all that is known. */
export function leftOut(path: RemotePath): RemoteEntry {
  return { ...unreadable(path, false), leftOut: true };
}

/** Throws `protocol` on values that cannot be. `length`: of the content, where it is known from elsewhere. */
export function entryOf(
  response: MultistatusResponse,
  path: RemotePath,
  slash: boolean,
  dialect: Dialect,
  self: Self,
  roots: LockRoots,
  length = lengthOf(response),
): RemoteEntry {
  try {
    return describe(response, path, slash, dialect, self, roots, length);
  } catch (error) {
    if (isCloudError(error, 'invalid')) throw protocol(path, error.message, error);
    throw error;
  }
}

function describe(
  response: MultistatusResponse,
  path: RemotePath,
  slash: boolean,
  dialect: Dialect,
  self: Self,
  roots: LockRoots,
  length: string | null,
): RemoteEntry {
  // It is there and we may know no more: named, so that nobody takes its folder for empty.
  if (response.status !== null) return unreadable(path, slash);
  const brief = response.brief ?? propertyText(response, CM, 'brief');
  if (brief !== null) return briefEntry(path, parseBrief(brief), dialect);
  const type = propertyOf(response, DAV, 'resourcetype');
  if (type === null) return unreadable(path, slash);
  const link = propertyText(response, CM, 'symlink');
  const kind: NodeKind = childOf(type, DAV, 'collection') !== null ? 'dir' : link !== null ? 'symlink' : 'file';
  const etag = normalizeEtag(propertyText(response, DAV, 'getetag'));
  const size_bytes = kind === 'file' && length !== null ? Number(length) : 0;
  if (!Number.isSafeInteger(size_bytes) || size_bytes < 0) throw protocol(path, `a size is required, found ${length}`);
  const posix = posixOf(response);
  const { rights: told, sharedIn } = dialect.rights(propertyText(response, OC, 'permissions'));
  const privileges = propertyOf(response, DAV, 'current-user-privilege-set');
  const rights = privileges === null ? told : rightsOfPrivileges(privileges, kind);
  const xattrs = propertyText(response, CM, 'xattrs');
  const changed_s = lastModified_s(response);
  const mtime = posix.mtime ?? { s: changed_s ?? 0, ns: 0 };
  return {
    path,
    kind,
    fileid: propertyText(response, OC, 'fileid') || null,
    etag: kind === 'dir' && !dialect.collectionEtags ? null : versionOf(etag, kind, changed_s, length, dialect),
    size_bytes,
    mtime,
    rights,
    ...lockOf(response, path, kind, self, roots),
    shared: sharedIn ? 'in' : sharedOut(response),
    checksum: checksumOf(response),
    symlinkTarget: kind === 'symlink' ? decodeSegment(link ?? '') : null,
    posix,
    xattrs: xattrs === null || xattrs === '' ? NO_XATTRS : parseXattrs(xattrs),
  };
}

function versionOf(
  etag: string | null,
  kind: NodeKind,
  changed_s: number | null,
  length: string | null,
  dialect: Dialect,
): string | null {
  if (etag !== null) return dialect.version(etag);
  const isKnown = kind === 'file' && dialect.name === 'generic' && length !== null;
  return isKnown ? stampOf(changed_s, Number(length)) : null;
}

function briefEntry(path: RemotePath, brief: Brief, dialect: Dialect): RemoteEntry {
  const { mode, uid, gid, mtime, sha256 } = brief;
  const { rights, sharedIn } = dialect.rights(brief.permissions);
  return {
    path,
    kind: brief.kind,
    fileid: brief.fileid,
    etag: brief.etag,
    size_bytes: brief.size_bytes,
    mtime,
    rights,
    lock: null,
    shared: sharedIn ? 'in' : null,
    checksum: sha256 === null ? null : `SHA256:${sha256}`,
    symlinkTarget: null,
    posix: {
      mtime,
      ...(mode === null ? null : { mode }),
      ...(uid === null ? null : { uid }),
      ...(gid === null ? null : { gid }),
    },
    xattrs: NO_XATTRS,
  };
}

function unreadable(path: RemotePath, slash: boolean): RemoteEntry {
  return {
    path,
    kind: slash ? 'dir' : 'file',
    fileid: null,
    etag: null,
    size_bytes: 0,
    mtime: { s: 0, ns: 0 },
    rights: NO_RIGHTS,
    lock: null,
    shared: null,
    checksum: null,
    symlinkTarget: null,
    posix: {},
    xattrs: NO_XATTRS,
  };
}

/** RFC 3744 sections 3 and 5.4. Removing a member is a right on its collection, of which nothing is said here: it is only
 * denied where nothing at all may be changed. */
function rightsOfPrivileges(set: XmlElement, kind: NodeKind): Rights {
  const names = ['all', 'write', 'write-content', 'bind', 'unbind', 'read'] as const;
  const held = new Set(
    childrenOf(set, DAV, 'privilege').flatMap((one) => names.filter((name) => childOf(one, DAV, name) !== null)),
  );
  const has = (name: (typeof names)[number]) => held.has(name) || held.has('all');
  const bind = kind === 'dir' && (has('bind') || has('write'));
  const changes = has('write') || has('write-content') || has('bind') || has('unbind');
  return {
    read: has('read'),
    write: kind !== 'dir' && (has('write-content') || has('write')),
    createFile: bind,
    createDir: bind,
    remove: changes,
    rename: changes,
    move: changes,
    share: false,
  };
}

function posixOf(response: MultistatusResponse): PosixMeta {
  const mode = propertyText(response, CM, 'mode');
  const uid = propertyText(response, CM, 'uid');
  const gid = propertyText(response, CM, 'gid');
  const mtime = propertyText(response, CM, 'mtime');
  return {
    ...(mode ? { mode: parseMode(mode) } : {}),
    ...(uid ? { uid: parseOwnerId(uid) } : {}),
    ...(gid ? { gid: parseOwnerId(gid) } : {}),
    ...(mtime ? { mtime: parseTimestamp(mtime) } : {}),
  };
}

function lastModified_s(response: MultistatusResponse): number | null {
  const text = propertyText(response, DAV, 'getlastmodified');
  return text === null ? null : parseHttpDate(text);
}

function sharedOut(response: MultistatusResponse): RemoteEntry['shared'] {
  const types = propertyOf(response, OC, 'share-types');
  if (types === null) return null;
  const values = childrenOf(types, OC, 'share-type').map((type) => textOf(type).trim());
  if (values.length === 0) return null;
  return values.every((value) => value === '3') ? 'link' : 'out';
}

function checksumOf(response: MultistatusResponse): string | null {
  const element = propertyOf(response, OC, 'checksums');
  if (element === null) return null;
  const sums = textOf(element)
    .split(/\s+/)
    .filter((sum) => /^[A-Za-z0-9-]+:[0-9A-Fa-f]+$/.test(sum))
    .map((sum) => {
      const colon = sum.indexOf(':');
      return sum.slice(0, colon).toUpperCase() + sum.slice(colon).toLowerCase();
    });
  return sums.find((sum) => sum.startsWith('SHA256:')) ?? sums[0] ?? null;
}

// --- locks

export interface ActiveLock extends ShownLock {
  readonly owner: string;
  readonly timeout_s: number | null;
}

/** `<lockdiscovery>` -> the locks in it. */
export function activeLocks(discovery: XmlElement): readonly ActiveLock[] {
  return childrenOf(discovery, DAV, 'activelock').map((lock) => {
    const token = childOf(lock, DAV, 'locktoken');
    const href = token === null ? null : childOf(token, DAV, 'href');
    const owner = childOf(lock, DAV, 'owner');
    const timeout = childOf(lock, DAV, 'timeout');
    const parsed = timeout === null ? null : parseTimeout(textOf(timeout));
    const depth = childOf(lock, DAV, 'depth');
    const root = childOf(lock, DAV, 'lockroot');
    const rootHref = root === null ? null : childOf(root, DAV, 'href');
    return {
      token: href === null ? null : textOf(href).trim(),
      owner: owner === null ? '' : textOf(owner).trim(),
      timeout_s: typeof parsed === 'number' ? parsed : null,
      deep: depth !== null && textOf(depth).trim().toLowerCase() === 'infinity',
      root: rootHref === null ? null : textOf(rootHref).trim(),
    };
  });
}

export function lockInfoOf(lock: ActiveLock, self: Self, now_s = Date.now() / 1000): LockInfo {
  const mine = OwnLocks.isMine(lock.owner, self.lockOwner);
  return {
    owner: lock.owner === '' ? 'unknown' : lock.owner,
    sinceEpoch_s: null,
    expiresEpoch_s: lock.timeout_s === null ? null : Math.floor(now_s + lock.timeout_s),
    token: mine ? lock.token : null,
    mine,
  };
}

/** Of several locks (shared ones) one of ours counts; what we hold, others do not keep us from. */
function lockOf(
  response: MultistatusResponse,
  path: RemotePath,
  kind: NodeKind,
  self: Self,
  roots: LockRoots,
): Pick<RemoteEntry, 'lock' | 'lockRoot'> {
  const discovery = propertyOf(response, DAV, 'lockdiscovery');
  const all = discovery === null ? [] : activeLocks(discovery);
  const active = all.find(({ owner }) => OwnLocks.isMine(owner, self.lockOwner)) ?? all[0];
  const lock = lockInfo(response, active, self);
  if (lock === null || active === undefined) return { lock };
  const lockRoot = roots.above(path, active);
  return {
    lock: active.deep && kind === 'dir' ? { ...lock, deep: true } : lock,
    ...(lockRoot === null ? {} : { lockRoot }),
  };
}

function lockInfo(response: MultistatusResponse, active: ActiveLock | undefined, self: Self): LockInfo | null {
  const user = propertyText(response, NC, 'lock-owner');
  const held = propertyText(response, NC, 'lock') === '1';
  const fromDav = active === undefined ? null : lockInfoOf(active, self);
  if (!held || user === null) return fromDav;
  const since = seconds(propertyText(response, NC, 'lock-time'));
  const timeout = seconds(propertyText(response, NC, 'lock-timeout'));
  const mine = user === self.user;
  return {
    owner: propertyText(response, NC, 'lock-owner-displayname') || user,
    sinceEpoch_s: since,
    expiresEpoch_s:
      fromDav?.expiresEpoch_s ?? (since !== null && timeout !== null && timeout > 0 ? since + timeout : null),
    token: mine ? (active?.token ?? null) : null,
    mine,
    ...(mine && fromDav?.mine === false ? { elsewhere: true } : {}),
  };
}

/** Null for what is no count of seconds, or so long that no date could be made of it. */
function seconds(text: string | null): number | null {
  return text !== null && /^\d{1,11}$/.test(text) ? Number(text) : null;
}
