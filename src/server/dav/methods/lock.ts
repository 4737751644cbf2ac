// LOCK (RFC 4918 section 9.10). A body asks for a new lock, none refreshes the one the `If` header names. On an address
// where nothing is stored, an empty file is created and locked (never a lock-null resource). Conflicts are judged in the
// transaction that inserts the lock, so of any number of clients at once exactly one gets an exclusive lock.

import { createHash, randomUUID } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { CloudError } from '../../../errors.js';
import { parseDepth } from '../../../remote/wire/depth.js';
import { DAV, ROOT_XMLNS } from '../../../remote/wire/ns.js';
import { type LockTimeout, parseTimeout } from '../../../remote/wire/timeout.js';
import { childOf, writeElement, XML_DECLARATION, type XmlElement } from '../../../remote/wire/xml.js';
import type { LockRecord, MetadataRead, NodeRecord } from '../../storage/metadata/metadata_store.js';
import { readBody, xmlOf } from '../body.js';
import { aboutNode, noParent } from '../commit_upload.js';
import type { DavRequest } from '../context.js';
import {
  conflictingLocks,
  lockedFailure,
  lockRootHref,
  locksCovering,
  mayChangeMembers,
  mayHoldOneMore,
} from '../lock_rules.js';
import { activeLock } from '../lock_view.js';
import { sendBody } from '../reply.js';
import { newName } from '../resource_path.js';
import { DavFailure } from '../status.js';
import { holderOf, resolveChecked } from '../write_access.js';
import { isUserLock, userLock } from './user_lock.js';

interface Granted {
  readonly lock: LockRecord;
  readonly rootHref: string;
  readonly created: boolean;
  readonly node: NodeRecord;
}

export async function lock(request: DavRequest): Promise<void> {
  const { services, req, res, now_ms, ctx, path } = request;
  if (isUserLock(request)) return userLock(request);
  const body = wishFor(request, await readBody(req, services.limits.xml.maxBytes));
  const timeout_s = lifeOf(request);
  const granted = body === null ? await refresh(request, timeout_s) : await acquire(request, body, timeout_s);
  const active = activeLock(granted.lock, granted.rootHref, request.ctx.principal.userId, now_ms);
  if (body !== null) {
    services.onDone?.({ kind: 'locked', ctx, ...aboutNode(granted.node), path: path.names });
  }
  sendBody(
    res,
    granted.created ? 201 : 200,
    'application/xml; charset=utf-8',
    `${XML_DECLARATION}<d:prop${ROOT_XMLNS}><d:lockdiscovery>${active}</d:lockdiscovery></d:prop>`,
    body === null ? {} : { 'Lock-Token': `<${granted.lock.token}>` },
  );
}

function lifeOf(request: DavRequest): number {
  const { minLock_s, maxLock_s, defaultLock_s } = request.services.limits;
  const asked: LockTimeout | null = parseTimeout(request.header('timeout'));
  if (asked === null) return defaultLock_s;
  return Math.min(Math.max(asked === 'infinite' ? maxLock_s : asked, minLock_s), maxLock_s);
}

async function acquire(request: DavRequest, { scope, ownerXml }: LockWish, timeout_s: number): Promise<Granted> {
  const { services, ctx, path, now_ms } = request;
  const depth = parseDepth(request.header('depth'), 'infinity');
  if (depth === 1) throw new CloudError('invalid', 'locking: Depth must be 0 or infinity, found 1');
  await services.blobs.demandRoom(0);
  return services.metadata.write(async (tx): Promise<Granted> => {
    const at = await resolveChecked(request, tx, ({ node }) => (node === null ? 'add' : 'lock'));
    let { node } = at;
    if (node === null && at.parent === null) throw noParent();
    const conflicts = await conflictingLocks(tx, at, scope, depth === 'infinity', now_ms);
    if (conflicts.length > 0) throw await lockedFailure(tx, ctx, conflicts, 'no-conflicting-lock');
    await mayHoldOneMore(tx, at, ctx.principal.userId, services.limits, now_ms);
    const created = node === null;
    if (node === null) {
      if (at.parent === null) throw noParent();
      await mayChangeMembers(tx, holderOf(request), at);
      node = await tx.create(at.parent, newName(path), { kind: 'file', content: EMPTY });
    }
    const lock: LockRecord = {
      token: `urn:uuid:${randomUUID()}`,
      nodeId: node.id,
      scope,
      depth: depth === 0 ? '0' : 'infinity',
      ownerXml,
      userId: ctx.principal.userId,
      displayName: ctx.principal.displayName,
      created_ms: now_ms,
      timeout_s,
      expires_ms: now_ms + timeout_s * 1000,
    };
    await tx.addLock(lock);
    return { lock, rootHref: await lockRootHref(tx, ctx, lock), created, node };
  }, isLease);
}

/** A lock that a power cut takes back at once costs its holder a 412: what it writes depends on the token. */
function isLease({ created }: Granted): boolean {
  return !created;
}

const EMPTY = {
  kind: 'inline' as const,
  data: Buffer.alloc(0),
  sha256: createHash('sha256').digest('hex'),
  size_bytes: 0,
};

async function refresh(request: DavRequest, timeout_s: number): Promise<Granted> {
  const { services, ctx, now_ms } = request;
  if (request.lockTokens.length === 0) {
    throw new CloudError(
      'invalid',
      'refreshing a lock: an If header with its token is required (RFC 4918 section 9.10.2)',
    );
  }
  return services.metadata.write(async (tx): Promise<Granted> => {
    const at = await resolveChecked(request, tx, 'lock');
    if (at.node === null)
      throw new DavFailure(404, 'not_found', 'refreshing a lock: nothing is stored at this address');
    const covering = await locksCovering(tx, at.node, at.above, now_ms);
    const found = covering.find((lock) => request.lockTokens.includes(lock.token));
    if (found === undefined) {
      throw new DavFailure(
        412,
        'precondition',
        'refreshing a lock: no lock on this resource has the token that was shown',
        {
          condition: '<d:lock-token-matches-request-uri/>',
        },
      );
    }
    if (found.userId !== ctx.principal.userId) {
      throw new DavFailure(403, 'no_access', 'refreshing a lock: it was given to somebody else');
    }
    const expires_ms = now_ms + timeout_s * 1000;
    await tx.refreshLock(found.token, timeout_s, expires_ms);
    return {
      lock: { ...found, timeout_s, expires_ms },
      rootHref: await hrefOfLock(tx, request, found),
      created: false,
      node: at.node,
    };
  });
}

function hrefOfLock(tx: MetadataRead, request: DavRequest, lock: LockRecord): Promise<string> {
  return lockRootHref(tx, request.ctx, lock);
}

interface LockWish {
  readonly scope: 'exclusive' | 'shared';
  readonly ownerXml: string;
}

// A client sends the same body with every lock.
const wishes = new LRUCache<string, LockWish>({ max: 500 });
const MAX_REMEMBERED_BYTES = 1024;
/** No quota counts them; everybody who lists what is locked is told them. */
const MAX_OWNER_CHARS = 4096;

/** null = no body: a refresh. */
function wishFor(request: DavRequest, body: Buffer): LockWish | null {
  const key = body.toString('latin1');
  let wish = wishes.get(key);
  if (wish !== undefined) return wish;
  const xml = xmlOf(body, request.services.limits.xml);
  if (xml === null) return null;
  wish = wanted(xml);
  if (body.length <= MAX_REMEMBERED_BYTES) wishes.set(key, wish);
  return wish;
}

function wanted(body: XmlElement): LockWish {
  if (body.ns !== DAV || body.local !== 'lockinfo') {
    throw new CloudError('invalid', `reading LOCK: {DAV:}lockinfo is required, found {${body.ns}}${body.local}`);
  }
  const type = childOf(body, DAV, 'locktype');
  const scope = childOf(body, DAV, 'lockscope');
  if (type === null || childOf(type, DAV, 'write') === null) {
    throw new CloudError('invalid', 'reading LOCK: the locktype must be write');
  }
  const isShared = scope !== null && childOf(scope, DAV, 'shared') !== null;
  if (!isShared && (scope === null || childOf(scope, DAV, 'exclusive') === null)) {
    throw new CloudError('invalid', 'reading LOCK: the lockscope must be exclusive or shared');
  }
  const owner = childOf(body, DAV, 'owner');
  const ownerXml = owner === null ? '' : writeElement(owner);
  if (ownerXml.length > MAX_OWNER_CHARS) {
    throw new CloudError(
      'too_large',
      `reading LOCK: the owner may have ${MAX_OWNER_CHARS} characters, found ${ownerXml.length}`,
    );
  }
  return { scope: isShared ? 'shared' : 'exclusive', ownerXml };
}
