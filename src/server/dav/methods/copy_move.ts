// COPY and MOVE (RFC 4918 sections 9.8 and 9.9), each one transaction: at no moment are both names, or neither, there.
// A file that replaces a file by COPY keeps the identity of what it replaces; by MOVE its own. Locks on a replaced target
// stay with the address, as whoever holds the token expects (Apache does the same).

import { CloudError } from '../../../errors.js';
import { parseDepth, parseOverwrite } from '../../../remote/wire/depth.js';
import type { Access } from '../../sharing/access.js';
import type {
  ContentRecord,
  DeadProperty,
  LockRecord,
  MetadataWrite,
  NewNode,
  NodeRecord,
  Resolved,
} from '../../storage/metadata/metadata_store.js';
import { aboutNode, noParent } from '../commit_upload.js';
import type { DavRequest } from '../context.js';
import { mayChange, mayChangeMembers, mayRemove } from '../lock_rules.js';
import { ocId } from '../properties.js';
import { sendEmpty } from '../reply.js';
import { isAtOrBelow, newName, parseResourcePath, type ResourcePath } from '../resource_path.js';
import { DavFailure } from '../status.js';
import { existing, holderOf, resolveChecked } from '../write_access.js';

interface Outcome {
  readonly node: NodeRecord;
  readonly created: boolean;
}

export async function copy(request: DavRequest): Promise<void> {
  const depth = parseDepth(request.header('depth'), 'infinity');
  if (depth === 1) throw new CloudError('invalid', 'copying: Depth must be 0 or infinity, found 1');
  await transfer(request, 'copied', async (tx, { source, target, destination }) => {
    const { node } = target;
    if (node !== null && node.kind !== 'dir' && source.kind !== 'dir')
      return put(tx, await contentsOf(tx, source), node);
    if (depth === 'infinity') await mayCopy(tx, source, request.services.limits.copyEntries);
    if (node !== null) await tx.remove(node);
    const parent = await freshParent(tx, request, destination);
    return tx.copy(source, parent, newName(destination), depth === 'infinity');
  });
}

export async function move(request: DavRequest): Promise<void> {
  if (parseDepth(request.header('depth'), 'infinity') !== 'infinity') {
    throw new CloudError('invalid', 'moving: Depth must be infinity or absent');
  }
  await transfer(request, 'moved', async (tx, { source, target, destination, at, access }) => {
    await access.demand(await leaving(access, at, target), at);
    await mayRemove(tx, holderOf(request), at);
    const { node } = target;
    if (source.mount !== undefined) {
      if (node !== null) await tx.remove(node);
      await tx.move(
        { ...source, id: source.mount.id },
        await freshParent(tx, request, destination),
        newName(destination),
      );
      return source;
    }
    // A file that is shared, or is somebody else's, stays what it is: it gets the content.
    if (node !== null && node.kind !== 'dir' && source.kind !== 'dir' && (await mustKeep(tx, node, source))) {
      const given = await contentsOf(tx, source);
      await tx.remove(source); // first: its room is what the content takes
      return put(tx, given, node);
    }
    const kept: readonly LockRecord[] = node === null ? [] : await tx.locksOn([node.id], request.now_ms);
    if (node !== null) await tx.remove(node);
    const parent = await freshParent(tx, request, destination);
    const moved = await tx.move(source, parent, newName(destination));
    for (const lock of kept) await tx.addLock({ ...lock, nodeId: moved.id });
    return kept.length === 0 ? moved : ((await tx.node(moved.id)) ?? moved);
  });
}

/** Copies of copies double with each request; they cost no quota where the files are empty. */
async function mayCopy(tx: MetadataWrite, source: NodeRecord, limit: number): Promise<void> {
  if (source.kind !== 'dir' || (await tx.countBelow(source.id, limit + 1)) <= limit) return;
  throw new DavFailure(403, 'too_large', `copying: at most ${limit} entries are copied at once, there are more`);
}

/** What taking the source's entry away is. Over another entry of its collection it is gone, as after a DELETE; only who may
 * add there may do that with a new name's right: programs save by moving a new file over the old one. */
async function leaving(access: Access, at: Resolved, target: Resolved): Promise<'rename' | 'remove'> {
  if (at.parent?.id !== target.parent?.id) return 'remove';
  return target.node === null || (await access.allows('add', target)) ? 'rename' : 'remove';
}

async function mustKeep(tx: MetadataWrite, target: NodeRecord, source: NodeRecord): Promise<boolean> {
  if (target.mount !== undefined || target.rootId !== source.rootId) return true;
  return (await tx.anyShare(target.rootId)) && (await tx.shares({ kind: 'node', nodeIds: [target.id] })).length > 0;
}

interface Transfer {
  readonly source: NodeRecord;
  readonly at: Resolved;
  readonly target: Resolved;
  readonly destination: ResourcePath;
  readonly access: Access;
}

type Act = (tx: MetadataWrite, transfer: Transfer) => Promise<NodeRecord>;

async function transfer(request: DavRequest, kind: 'copied' | 'moved', act: Act): Promise<void> {
  const { services, ctx, path, res } = request;
  const destination = destinationOf(request);
  const mayOverwrite = parseOverwrite(request.header('overwrite'));
  if (path.names.length === 0) {
    throw new DavFailure(403, 'no_access', 'copying or moving: the root of the tree stays where it is');
  }
  await services.blobs.demandRoom(0, kind === 'copied' ? 'new' : 'change');
  const outcome = await services.metadata.write(async (tx): Promise<Outcome> => {
    const access = request.access(tx);
    const at = await resolveChecked(request, tx, 'read', access);
    const source = existing(at, path.slash);
    if (kind === 'moved') checkIdentity(request, source);
    checkPlaces(path, destination);
    const target = await tx.resolve(ctx.rootId, destination.names);
    if (target.node === null && target.parent === null) throw noParent();
    checkNodes(source, at, target);
    const isRename = kind === 'moved' && at.parent?.id === target.parent?.id;
    await mayReplace(access, source, target, isRename);
    if (target.node !== null && !mayOverwrite) {
      throw new DavFailure(412, 'precondition', 'copying or moving: the destination exists and Overwrite is F');
    }
    const holder = holderOf(request);
    if (target.node === null) await mayChangeMembers(tx, holder, target);
    else if (target.node.mount === undefined) await mayRemove(tx, holder, target);
    else await mayChange(tx, holder, target);
    const node = await act(tx, { source, target, destination, at, access });
    return { node, created: target.node === null };
  });
  services.onDone?.({ kind, ctx, ...aboutNode(outcome.node), path: destination.names, from: path.names });
  sendEmpty(res, outcome.created ? 201 : 204, {
    'OC-ETag': outcome.node.etag,
    'OC-FileId': ocId(outcome.node.id),
  });
}

/** A drive names what it means: by the time it asks somebody else may have put another thing in its place. */
function checkIdentity(request: DavRequest, { id }: NodeRecord): void {
  const required = request.header('x-cloudmount-source');
  if (required === undefined || required === String(id)) return;
  throw new DavFailure(412, 'precondition', `moving: what has the id ${required} is required, found ${id}`);
}

/** May the destination become something else? A new name for an entry where it is adds nothing. */
async function mayReplace(access: Access, source: NodeRecord, target: Resolved, isRename: boolean): Promise<void> {
  const { node } = target;
  if (node === null) {
    if (!isRename) await access.demand('add', target);
    return;
  }
  await access.demand('read', target);
  if (node.kind !== 'dir' && source.kind !== 'dir' && source.mount === undefined) {
    await access.demand('write', target);
    return;
  }
  if (node.mount !== undefined) {
    throw new DavFailure(403, 'not_permitted', 'copying or moving: the entry of a share cannot be replaced, remove it');
  }
  await access.demand('remove', target);
  await access.demand('add', target);
}

/** The same as `checkPlaces` for what the paths lead to: one folder can be seen at several places. */
function checkNodes(source: NodeRecord, at: Resolved, target: Resolved): void {
  if (target.node?.id === source.id) {
    throw new DavFailure(403, 'not_permitted', 'copying or moving: source and destination are the same');
  }
  const sourceInTarget = at.above.some(({ id }) => id === target.node?.id);
  if (sourceInTarget || target.ancestors.some(({ id }) => id === source.id)) {
    throw new DavFailure(409, 'not_permitted', 'copying or moving: source and destination are inside one another');
  }
}

function destinationOf(request: DavRequest): ResourcePath {
  const { ctx } = request;
  const header = request.header('destination');
  if (header === undefined) throw new CloudError('invalid', 'copying or moving: a Destination header is required');
  const destination = parseResourcePath([ctx.basePath, ...(ctx.aliases ?? [])], header);
  if (destination === null) {
    throw new DavFailure(502, 'not_permitted', 'copying or moving: the destination is outside of this tree');
  }
  if (destination.names.length === 0) {
    throw new DavFailure(403, 'no_access', 'copying or moving: the root of the tree cannot be replaced');
  }
  newName(destination);
  return destination;
}

/** Neither into itself nor over what it is in. */
function checkPlaces(source: ResourcePath, destination: ResourcePath): void {
  const same = source.names.length === destination.names.length;
  if (isAtOrBelow(destination, source)) {
    throw same
      ? new DavFailure(403, 'not_permitted', 'copying or moving: source and destination are the same')
      : new DavFailure(409, 'not_permitted', 'copying or moving: the destination is inside the source');
  }
  if (isAtOrBelow(source, destination)) {
    throw new DavFailure(409, 'not_permitted', 'copying or moving: the source is inside the destination');
  }
}

/** The destination's collection as it is after the target was taken away. */
async function freshParent(tx: MetadataWrite, request: DavRequest, destination: ResourcePath): Promise<NodeRecord> {
  const { parent } = await tx.resolve(request.ctx.rootId, destination.names);
  if (parent === null) throw noParent();
  return parent;
}

/** What a file is, but for its name and identity. */
interface Contents {
  readonly spec: Exclude<NewNode, { kind: 'dir' }>;
  readonly properties: readonly DeadProperty[];
}

async function contentsOf(tx: MetadataWrite, source: NodeRecord): Promise<Contents> {
  const { mtime, mode, uid, gid } = source;
  const attributes = { mtime, mode: mode ?? undefined, uid: uid ?? undefined, gid: gid ?? undefined };
  const properties = (await tx.properties([source.id])).get(source.id) ?? [];
  return { spec: { ...attributes, ...(await contentOf(tx, source)) }, properties };
}

/** A file over a file: new content for the same resource, with the source's dead properties in place of its own. */
async function put(tx: MetadataWrite, { spec, properties }: Contents, target: NodeRecord): Promise<NodeRecord> {
  const replaced = await tx.replace(target, spec);
  const own = (await tx.properties([target.id])).get(target.id) ?? [];
  const removed = own.map(({ ns, name }) => ({ kind: 'remove' as const, ns, name }));
  const set = properties.map((property) => ({ kind: 'set' as const, ...property }));
  return removed.length + set.length === 0 ? replaced : tx.setProperties(replaced, [...removed, ...set]);
}

async function contentOf(tx: MetadataWrite, source: NodeRecord): Promise<Exclude<NewNode, { kind: 'dir' }>> {
  if (source.kind === 'symlink') return { kind: 'symlink', target: source.target ?? '' };
  const content: ContentRecord | null = source.contentId === null ? null : await tx.content(source.contentId);
  if (content === null) throw new CloudError('corrupt', 'copying: the content of the source is not recorded');
  const { data, sha256, size_bytes } = content;
  return data === null
    ? { kind: 'file', content: { kind: 'blob', sha256, size_bytes } }
    : { kind: 'file', content: { kind: 'inline', data, sha256, size_bytes } };
}
