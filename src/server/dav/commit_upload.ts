// The one way new content becomes visible: a transaction that judges preconditions and locks against the state of that
// moment and puts the content in place. PUT ends here, and so does the assembly of a chunked upload.

import { submittedTokens } from '../../remote/wire/if_header.js';
import type { Attributes, MetadataRead, NewContent, NodeRecord, Resolved } from '../storage/metadata/metadata_store.js';
import { checkPreconditions, type Preconditions } from './conditional.js';
import type { DavContext, DavServices } from './context.js';
import { type LockHolder, mayChange, mayChangeMembers } from './lock_rules.js';
import { newName, type ResourcePath } from './resource_path.js';
import { DavFailure } from './status.js';

export type UploadBody =
  | { readonly kind: 'file'; readonly content: NewContent }
  | { readonly kind: 'symlink'; readonly target: string };

export interface UploadCommit {
  readonly ctx: Pick<DavContext, 'rootId' | 'basePath' | 'aliases' | 'principal'>;
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
export function commitUpload(services: DavServices, upload: UploadCommit): Promise<UploadResult> {
  const { ctx, path, body, attributes } = upload;
  const name = newName(path);
  const now_ms = services.clock.now_ms();
  return services.metadata.write(async (tx) => {
    const at = await tx.resolve(ctx.rootId, path.names);
    await mayUpload(upload, tx, at, now_ms);
    if (at.node !== null) return { node: await tx.replace(at.node, { ...attributes, ...body }), created: false };
    if (at.parent === null) throw noParent();
    return { node: await tx.create(at.parent, name, { ...attributes, ...body }), created: true };
  });
}

type Target = Pick<UploadCommit, 'ctx' | 'path' | 'preconditions' | 'lockTokens'>;

/** The judgement alone: before a body is asked for, and again when it is committed. */
export async function mayUpload(upload: Target, tx: MetadataRead, at: Resolved, now_ms: number): Promise<void> {
  const { ctx, path, preconditions } = upload;
  const bases = [ctx.basePath, ...(ctx.aliases ?? [])];
  await checkPreconditions(tx, preconditions, { rootId: ctx.rootId, bases, now_ms }, path, at, 'PUT');
  if (at.node?.kind === 'dir' || path.slash) {
    throw new DavFailure(405, 'is_dir', 'storing content: the address of a file is required, found a collection');
  }
  if (at.node === null && at.parent === null) throw noParent();
  const holder: LockHolder = {
    userId: ctx.principal.userId,
    tokens: [...submittedTokens(preconditions.ifLists), ...(upload.lockTokens ?? [])],
    basePath: ctx.basePath,
    now_ms,
  };
  if (at.node === null) await mayChangeMembers(tx, holder, at);
  else await mayChange(tx, holder, at);
}

export function noParent(): DavFailure {
  return new DavFailure(409, 'not_found', 'creating a resource: the collection it belongs in does not exist');
}
