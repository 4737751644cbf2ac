// The one way new content becomes visible: a transaction that judges preconditions and locks against the state of that
// moment and puts the content in place. PUT ends here, and so does the assembly of a chunked upload.

import type { Name } from '../../ids.js';
import { submittedTokens } from '../../remote/wire/if_header.js';
import { CHALLENGE } from '../auth/credentials.js';
import { Access, type Viewer } from '../sharing/access.js';
import { has, NO_RIGHTS, READ } from '../sharing/rights.js';
import type { Attributes, MetadataRead, NewContent, NodeRecord, Resolved } from '../storage/metadata/metadata_store.js';
import { numbered } from '../storage/metadata/share_records.js';
import { checkPreconditions, type Preconditions } from './conditional.js';
import { type DavContext, type DavServices, viewerOf } from './context.js';
import { type LockHolder, mayChange, mayChangeMembers } from './lock_rules.js';
import { newName, type ResourcePath } from './resource_path.js';
import { DavFailure } from './status.js';

export type UploadBody =
  | { readonly kind: 'file'; readonly content: NewContent }
  | { readonly kind: 'symlink'; readonly target: string };

export interface UploadCommit {
  readonly ctx: Pick<DavContext, 'rootId' | 'basePath' | 'aliases' | 'principal' | 'link' | 'client'>;
  readonly path: ResourcePath;
  readonly body: UploadBody;
  readonly preconditions: Preconditions;
  /** Lock tokens shown otherwise than in `preconditions.ifLists`. */
  readonly lockTokens?: readonly string[];
  readonly attributes: Attributes;
}

export interface UploadResult {
  readonly node: NodeRecord;
  readonly created: boolean;
}

/** Rejects with 412, 423, 409 (no parent), 405 (a collection is there), 507 (quota), 400 (name); then nothing changed. */
export async function commitUpload(services: DavServices, upload: UploadCommit): Promise<UploadResult> {
  const { ctx, path, body, attributes } = upload;
  const name = targetName(upload);
  const now_ms = services.clock.now_ms();
  const result = await services.metadata.write(async (tx): Promise<UploadResult> => {
    const at = await tx.resolve(ctx.rootId, path.names);
    await mayUpload(services, upload, tx, at, now_ms);
    if (at.parent !== null && at.node !== null && isBlind(ctx)) {
      const free = await freeName(tx, at.parent, at.node);
      return { node: await tx.create(at.parent, free, { ...attributes, ...body }), created: true };
    }
    if (at.node !== null) return { node: await tx.replace(at.node, { ...attributes, ...body }), created: false };
    if (at.parent === null || name === null) throw noParent();
    return { node: await tx.create(at.parent, name, { ...attributes, ...body }), created: true };
  });
  const { node, created } = result;
  services.onDone?.({ kind: created ? 'created' : 'changed', ctx, ...aboutNode(node), path: path.names });
  return result;
}

/** What the content will be called; null for the file itself that a public link leads to. Throws as `newName`. */
export function targetName({ ctx, path }: Pick<UploadCommit, 'ctx' | 'path'>): Name | null {
  return ctx.link !== undefined && path.names.length === 0 ? null : newName(path);
}

/** May put things in, but not see what is there: nothing that is there can be replaced, and no name is refused, or who
 * tries names would learn which there are. For the same reason files only, and only at the top. */
export function isBlind({ link }: Pick<DavContext, 'link'>): boolean {
  return link !== undefined && !has(link.rights, READ);
}

/** Numbers are given out in order, so few have to be looked at however many there are: one that is free behind one that is
 * taken. */
async function freeName(tx: MetadataRead, parent: NodeRecord, taken: NodeRecord): Promise<Name> {
  const nameOf = (n: number) => numbered(taken.name, n, false);
  const isFree = async (n: number) => (await tx.resolve(parent.id, [nameOf(n)])).node === null;
  let [last, free] = [1, 2];
  while (!(await isFree(free))) [last, free] = [free, free * 2];
  while (free - last > 1) {
    const between = Math.floor((last + free) / 2);
    if (await isFree(between)) free = between;
    else last = between;
  }
  return nameOf(free);
}

export function aboutNode(node: NodeRecord) {
  return { fileId: node.id, ownerRootId: node.rootId, isDir: node.kind === 'dir' };
}

type Target = Pick<UploadCommit, 'ctx' | 'path' | 'preconditions' | 'lockTokens'>;

/** The judgement alone: before a body is asked for, and again when it is committed. */
export async function mayUpload(
  services: Pick<DavServices, 'standing'>,
  upload: Target,
  tx: MetadataRead,
  at: Resolved,
  now_ms: number,
): Promise<void> {
  const { ctx, path, preconditions } = upload;
  const viewer = await viewerNow(services, tx, ctx, now_ms);
  const access = new Access(tx, viewer, now_ms);
  if (isBlind(ctx)) {
    if (at.parent === null || path.names.length > 1) throw noParent();
    await access.demand('add', at);
    await mayChangeMembers(tx, { ...ctx, userId: viewer.userId, tokens: [], now_ms }, at);
    return;
  }
  await access.demand(at.node === null ? 'add' : 'write', at);
  const bases = [ctx.basePath, ...(ctx.aliases ?? [])];
  await checkPreconditions(tx, preconditions, { rootId: ctx.rootId, bases, now_ms, viewer }, path, at, 'PUT');
  if (at.node?.kind === 'dir' || path.slash) {
    throw new DavFailure(405, 'is_dir', 'storing content: the address of a file is required, found a collection');
  }
  if (at.node === null && at.parent === null) throw noParent();
  const holder: LockHolder = {
    userId: ctx.principal.userId,
    tokens: [...submittedTokens(preconditions.ifLists), ...(upload.lockTokens ?? [])],
    basePath: ctx.basePath,
    rootId: ctx.rootId,
    now_ms,
  };
  if (at.node === null) await mayChangeMembers(tx, holder, at);
  else await mayChange(tx, holder, at);
}

/** A body may come for hours: what an account may, or a link grants, by now counts too, not only what it did when they
 * began. */
async function viewerNow(
  { standing }: Pick<DavServices, 'standing'>,
  tx: MetadataRead,
  ctx: UploadCommit['ctx'],
  now_ms: number,
): Promise<Viewer> {
  const viewer = viewerOf(ctx);
  if (ctx.link === undefined) {
    const now = standing?.(viewer.userId, ctx.principal.login) ?? 'active';
    if (now === 'ended') {
      throw new DavFailure(401, 'unauthorized', 'storing content: the password or token was revoked meanwhile', {
        headers: { 'WWW-Authenticate': CHALLENGE },
      });
    }
    if (now !== 'active') {
      throw new DavFailure(403, 'no_access', 'storing content: the account has been disabled or removed meanwhile');
    }
    return viewer;
  }
  const share = await tx.share(ctx.link.id);
  const isOver =
    share === null ||
    (share.link?.passwordHash ?? null) !== ctx.link.passwordHash ||
    (share.expires_ms !== null && share.expires_ms <= now_ms) ||
    [share.ownerId, share.sharerId].some((userId) => standing?.(userId) === 'disabled');
  return { ...viewer, linkRights: isOver ? NO_RIGHTS : ctx.link.rights & share.granted };
}

export function noParent(): DavFailure {
  return new DavFailure(409, 'not_found', 'creating a resource: the collection it belongs in does not exist');
}
