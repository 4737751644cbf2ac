// The beginning every changing method shares: resolve, judge the preconditions, know who writes.

import type { Access, Action } from '../sharing/access.js';
import type { MetadataRead, NodeRecord, Resolved } from '../storage/metadata/metadata_store.js';
import { checkPreconditions, ifScopeOf, preconditionsOf } from './conditional.js';
import type { DavRequest } from './context.js';
import type { LockHolder } from './lock_rules.js';
import { DavFailure } from './status.js';

export function holderOf(request: DavRequest): LockHolder {
  return {
    userId: request.ctx.principal.userId,
    tokens: request.lockTokens,
    basePath: request.ctx.basePath,
    rootId: request.ctx.rootId,
    now_ms: request.now_ms,
  };
}

/** Where the request leads, with rights and then its preconditions judged: who may not know does not learn from them. */
export async function resolveChecked(
  request: DavRequest,
  tx: MetadataRead,
  actionFor: Action | ((at: Resolved) => Action),
  access: Access = request.access(tx),
): Promise<Resolved> {
  const at = await tx.resolve(request.ctx.rootId, request.path.names);
  await access.demand(typeof actionFor === 'string' ? actionFor : actionFor(at), at);
  const method = request.req.method ?? '';
  await checkPreconditions(tx, preconditionsOf(request), ifScopeOf(request), request.path, at, method);
  return at;
}

/** The node a method is about. Throws 404. */
export function existing(at: Resolved, slash: boolean): NodeRecord {
  if (at.node === null || (slash && at.node.kind !== 'dir')) {
    throw new DavFailure(404, 'not_found', 'using a resource: nothing is stored at this address');
  }
  return at.node;
}
