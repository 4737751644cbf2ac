import { isCloudError } from '../../errors.js';
import { type Ino, joinPath, type Name, type RemotePath } from '../../ids.js';
import type { CallOptions, PosixMeta, Remote, RemoteEntry } from '../../remote/remote.js';
import { Dirty, type NodeRecord } from '../metadata/node.js';
import type { NodeStore } from '../metadata/node_store.js';
import type { Mirror } from '../mirror.js';

/** Options of a request that changes `node`: with the token of our lock on it, or on a folder above it. */
export function asHolder({ lockToken }: NodeRecord, signal: AbortSignal): CallOptions {
  return lockToken === null ? { signal } : { signal, lockToken };
}

/** The same for a move into the folder `to`, perhaps over something: it also changes both folders, and takes along what is
 * below. */
export function asMover(
  node: NodeRecord,
  to: NodeRecord | null,
  over: NodeRecord | null,
  store: NodeStore,
  signal: AbortSignal,
): CallOptions {
  const call = asHolder(node, signal);
  const from = node.base === null ? null : store.get(node.base.parent);
  const below = node.isDir ? store.locked().filter((locked) => isBelow(locked, node, store)) : [];
  const tokens = [from, to, over, ...below].map((one) => one?.lockToken ?? null);
  const also = new Set(tokens.filter((token) => token !== null));
  if (call.lockToken !== undefined) also.delete(call.lockToken);
  if (also.size === 0) return call;
  const overToken = over?.lockToken ?? null;
  return { ...call, alsoTokens: [...also], ...(overToken === null ? {} : { overToken }) };
}

/** What the user has locked of `node` and what is below it, with this drive. */
export function heldWith(node: NodeRecord, store: NodeStore): readonly NodeRecord[] {
  if (!node.isDir) return isHeld(node) ? [node] : [];
  return store.locked().filter((one) => isHeld(one) && isBelow(one, node, store));
}

/** Has the user locked it, with this drive? */
export function isHeld({ lockInfo }: NodeRecord): boolean {
  return lockInfo?.mine === true && lockInfo.elsewhere !== true;
}

/** On the server. */
function isBelow(node: NodeRecord, folder: NodeRecord, store: NodeStore): boolean {
  for (let at: NodeRecord | null = node; at?.base != null; at = store.get(at.base.parent)) {
    if (at.base.parent === folder.ino) return true;
  }
  return false;
}

/** What the server has at a path; null = nothing. */
export async function statOrNull(remote: Remote, path: RemotePath, signal: AbortSignal): Promise<RemoteEntry | null> {
  try {
    return await remote.stat(path, { signal });
  } catch (error) {
    if (isCloudError(error, 'not_found')) return null;
    throw error;
  }
}

/** Attributes that a new node is made with; the time only if somebody has set one. */
export function metaOf(node: NodeRecord): PosixMeta {
  return { ...((node.dirty & Dirty.mtime) !== 0 ? { mtime: node.mtime } : {}), ...posixOf(node) };
}

export function posixOf({ mode, uid, gid }: Pick<NodeRecord, 'mode' | 'uid' | 'gid'>): PosixMeta {
  return { ...(mode !== null ? { mode } : {}), ...(uid !== null ? { uid } : {}), ...(gid !== null ? { gid } : {}) };
}

/** What a place (or the place where a node is shown) is called on the server; null when its collection is not there, or it
 * is not known where. */
export function placePath(
  { parent, name }: { readonly parent: Ino | null; readonly name: Name },
  { store, mirror }: { readonly store: NodeStore; readonly mirror: Mirror },
): RemotePath | null {
  const dir = parent === null ? null : store.get(parent);
  const above = dir === null ? null : mirror.remotePath(dir);
  return above === null ? null : joinPath(above, name);
}
