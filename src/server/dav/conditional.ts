// All preconditions of a request in one place: RFC 9110 section 13 (If-Match and its siblings, judged against the
// request's own resource) and the `If` header of RFC 4918 section 10.4 (tagged lists judged against what they name).

import { type Conditions, evaluateConditions, parseConditions, type Selected } from '../../remote/wire/conditional.js';
import { evaluateIf, type IfList, type ResourceState } from '../../remote/wire/if_header.js';
import type { Viewer } from '../sharing/access.js';
import { has, READ } from '../sharing/rights.js';
import type { MetadataRead, NodeId, NodeRecord, Resolved } from '../storage/metadata/metadata_store.js';
import { type DavRequest, viewerOf } from './context.js';
import { locksCovering } from './lock_rules.js';
import { parseResourcePath, type ResourcePath } from './resource_path.js';
import { DavFailure } from './status.js';

/** What has to hold for a write, in a form that outlives the request's headers (uploads are committed later). */
export interface Preconditions {
  readonly conditions: Conditions;
  readonly ifLists: readonly IfList[];
}

/** Throws `invalid` on headers that cannot be read. */
export function preconditionsOf(request: DavRequest): Preconditions {
  return { conditions: parseConditions(request.req.headers), ifLists: request.ifLists };
}

export function selectedOf(node: NodeRecord | null): Selected {
  return node === null ? null : { etag: node.etag, mtime_s: node.mtime.s };
}

/** The tree the addresses in an `If` header are about. */
export interface IfScope {
  readonly rootId: NodeId;
  readonly bases: readonly string[];
  readonly now_ms: number;
  /** Who may not read learns nothing from conditions. Default: the tree is the asker's own. */
  readonly viewer?: Viewer;
}

export function ifScopeOf(request: DavRequest): IfScope {
  const { ctx } = request;
  const bases = [ctx.basePath, ...(ctx.aliases ?? [])];
  return { rootId: ctx.rootId, bases, now_ms: request.now_ms, viewer: viewerOf(ctx) };
}

/** Judges a request that may change something. Throws 412. `at` is where `path` leads. */
export async function checkPreconditions(
  tx: MetadataRead,
  preconditions: Preconditions,
  scope: IfScope,
  path: ResourcePath,
  at: Resolved,
  method: string,
): Promise<void> {
  const { conditions, ifLists } = preconditions;
  if (evaluateConditions(conditions, selectedOf(at.node), method) === 'failed') {
    throw new DavFailure(
      412,
      'precondition',
      at.node === null
        ? 'judging the preconditions: nothing is stored at this address'
        : `judging the preconditions: the current version is ${at.node.etag}`,
      at.node === null ? {} : { headers: { ETag: at.node.etag } },
    );
  }
  await checkIf(tx, ifLists, scope, path, at);
}

/** Judges the `If` header. Throws 412. */
export async function checkIf(
  tx: MetadataRead,
  lists: readonly IfList[],
  scope: IfScope,
  path: ResourcePath,
  at: Resolved,
): Promise<void> {
  if (lists.length === 0) return;
  const states = new Map<string | null, ResourceState>();
  const holds = await evaluateIf(lists, async (resource) => {
    let state = states.get(resource);
    if (state === undefined) {
      state = await stateOf(tx, scope, resource === null ? path : parseResourcePath(scope.bases, resource), path, at);
      states.set(resource, state);
    }
    return state;
  });
  if (!holds) {
    throw new DavFailure(412, 'precondition', 'judging the If header: no list in it is true for the current state');
  }
}

async function stateOf(
  tx: MetadataRead,
  scope: IfScope,
  named: ResourcePath | null,
  path: ResourcePath,
  at: Resolved,
): Promise<ResourceState> {
  // Outside of this tree nothing is known and no token applies.
  if (named === null || !has(scope.viewer?.linkRights ?? READ, READ)) return { etag: null, tokens: [] };
  const found = named === path ? at : await tx.resolve(scope.rootId, named.names);
  const locks = await locksCovering(tx, found.node, found.above, scope.now_ms);
  return { etag: found.node?.etag ?? null, tokens: locks.map((lock) => lock.token) };
}
