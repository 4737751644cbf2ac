import { isCloudError } from '../../errors.js';
import { type Ino, joinPath, type Name, type RemotePath } from '../../ids.js';
import type { CallOptions, PosixMeta, Remote, RemoteEntry } from '../../remote/remote.js';
import { Dirty, type NodeRecord } from '../metadata/node.js';
import type { NodeStore } from '../metadata/node_store.js';
import type { Mirror } from '../mirror.js';

/** Options of a request that changes `node`: with the token of our lock on it, if we hold one. */
export function asHolder({ lockInfo }: NodeRecord, signal: AbortSignal): CallOptions {
  return lockInfo?.mine === true && lockInfo.token !== null ? { signal, lockToken: lockInfo.token } : { signal };
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
