// Who may write what while locks exist (RFC 4918 sections 6 and 7). A lock covers its root, and with depth infinity all
// below; on a collection, also of depth 0, it covers the list of members. Covered is writable only for who has shown
// the token of a covering lock and is the one it was given to.

import { escapeText } from '../../remote/wire/xml.js';
import type { LockRecord, MetadataRead, NodeId, NodeRecord, Resolved } from '../storage/metadata/metadata_store.js';
import type { DavLimits } from './context.js';
import { hrefOf } from './resource_path.js';
import { DavFailure } from './status.js';

/** Who writes, and what they have shown. */
export interface LockHolder {
  readonly userId: string;
  readonly tokens: readonly string[];
  /** The tree whose addresses are used in answers. */
  readonly basePath: string;
  readonly rootId: NodeId;
  readonly now_ms: number;
}

/** Locks that cover a node, given the collections above it (root first). */
export async function locksCovering(
  tx: MetadataRead,
  node: NodeRecord | null,
  ancestors: readonly NodeRecord[],
  now_ms: number,
): Promise<readonly LockRecord[]> {
  const ids: NodeId[] = ancestors.map((above) => above.id);
  if (node !== null) ids.push(node.id);
  const locks = await tx.locksOn(ids, now_ms);
  return locks.filter((lock) => lock.depth === 'infinity' || lock.nodeId === node?.id);
}

/** May content, properties or attributes of the node be changed? */
export async function mayChange(tx: MetadataRead, holder: LockHolder, at: Resolved): Promise<void> {
  const rootId = at.node?.rootId ?? at.ancestors[0]?.rootId;
  if (rootId === undefined || !(await tx.anyLock(rootId, holder.now_ms))) return;
  await demand(tx, holder, await locksCovering(tx, at.node, at.above, holder.now_ms));
}

/** May an entry be added to, or taken from, the collection `at.parent`? */
export async function mayChangeMembers(tx: MetadataRead, holder: LockHolder, at: Resolved): Promise<void> {
  const { parent } = at;
  if (parent === null || !(await tx.anyLock(parent.rootId, holder.now_ms))) return;
  await demand(tx, holder, await locksCovering(tx, parent, at.ancestors.slice(0, -1), holder.now_ms));
}

/** May the node, with everything below, be removed, moved away or replaced? */
export async function mayRemove(tx: MetadataRead, holder: LockHolder, at: Resolved): Promise<void> {
  const { node } = at;
  // The entry of a share goes without the node it stands for.
  if (node?.mount !== undefined) {
    await mayChangeMembers(tx, holder, at);
    return;
  }
  if (node === null || !(await tx.anyLock(node.rootId, holder.now_ms))) return;
  await mayChangeMembers(tx, holder, at);
  await demand(tx, holder, await locksCovering(tx, node, at.above, holder.now_ms));
  const below = await tx.locksBelow(node.id, holder.now_ms);
  const roots = new Map<NodeId, LockRecord[]>();
  for (const lock of below) {
    const same = roots.get(lock.nodeId);
    if (same === undefined) roots.set(lock.nodeId, [lock]);
    else same.push(lock);
  }
  for (const locks of roots.values()) await demand(tx, holder, locks);
}

/** Of the locks that cover one thing, one must have been shown by its holder (shared locks stand beside each other); a
 * lock of the user's own shows itself. */
async function demand(tx: MetadataRead, holder: LockHolder, locks: readonly LockRecord[]): Promise<void> {
  const [first] = locks;
  if (first === undefined) return;
  const isOurs = ({ userId, byUser, token }: LockRecord) =>
    userId === holder.userId && (byUser === true || holder.tokens.includes(token));
  if (locks.some(isOurs)) return;
  throw await lockedFailure(tx, holder, locks);
}

/** 423 with the roots of the locks in the way. */
export async function lockedFailure(
  tx: MetadataRead,
  tree: LockTree,
  locks: readonly LockRecord[],
  condition: 'lock-token-submitted' | 'no-conflicting-lock' = 'lock-token-submitted',
): Promise<DavFailure> {
  let hrefs = '';
  for (const lock of locks) hrefs += `<d:href>${escapeText(await lockRootHref(tx, tree, lock))}</d:href>`;
  const [first] = locks;
  const owner = first?.displayName ?? 'someone';
  return new DavFailure(423, 'locked', `writing: the lock token is required, the resource is locked by ${owner}`, {
    condition: `<d:${condition}>${hrefs}</d:${condition}>`,
    lockOwner: owner,
  });
}

/** The tree as the one who asks sees it. */
export interface LockTree {
  readonly basePath: string;
  readonly rootId: NodeId;
}

/** Where the lock's root is in this tree; a lock above what is shared is told as one of the tree itself. */
export async function lockRootHref(tx: MetadataRead, tree: LockTree, lock: LockRecord): Promise<string> {
  return (await hrefIn(tx, tree, lock.nodeId)) ?? tree.basePath;
}

/** Address of a node in this tree; null = it is not in it. */
export async function hrefIn(tx: MetadataRead, tree: LockTree, id: NodeId): Promise<string | null> {
  const names = await tx.pathIn(tree.rootId, id);
  return names === null ? null : hrefOf(tree.basePath, names, (await tx.node(id))?.kind === 'dir');
}

/** Locks that forbid a new one of this scope on the node (RFC 4918 section 6.1): anything beside an exclusive one, an
 * exclusive one beside anything. `deep` = the new one would cover what is below. */
export async function conflictingLocks(
  tx: MetadataRead,
  at: Resolved,
  scope: 'exclusive' | 'shared',
  deep: boolean,
  now_ms: number,
): Promise<readonly LockRecord[]> {
  const covering = await locksCovering(tx, at.node, at.above, now_ms);
  const below = deep && at.node?.kind === 'dir' ? await tx.locksBelow(at.node.id, now_ms) : [];
  return [...covering, ...below].filter((lock) => scope === 'exclusive' || lock.scope === 'exclusive');
}

/** May there be one more lock? Throws 507. */
export async function mayHoldOneMore(
  tx: MetadataRead,
  at: Resolved,
  userId: string,
  { locksOfOne, locksOnOne }: Pick<DavLimits, 'locksOfOne' | 'locksOnOne'>,
  now_ms: number,
): Promise<void> {
  const rootId = at.node?.rootId ?? at.parent?.rootId;
  if (rootId === undefined || !(await tx.anyLock(rootId, now_ms))) return;
  if ((await tx.countLocks(rootId, userId, now_ms)) >= locksOfOne) {
    throw new DavFailure(
      507,
      'quota',
      `locking: at most ${locksOfOne} locks are held by one person, unlock some first`,
    );
  }
  if (at.node !== null && (await tx.locksOn([at.node.id], now_ms)).length >= locksOnOne) {
    throw new DavFailure(507, 'quota', `locking: at most ${locksOnOne} locks are on one resource`);
  }
}
