// The server says that we may not do what was done here, because a right was taken away after it was done. What is new
// or changed here goes, as a conflict copy, to the nearest folder where the user may write; the server's version keeps the
// name. A deletion is dropped, and a move: what was changed in what moves back is judged there. Whoever has the file open
// is told at the next write or flush: what they write belongs to the copy, and they believe to write the original.

import { joinPath, type Name, type RemotePath } from '../../ids.js';
import type { Log } from '../../log.js';
import type { RemoteEntry } from '../../remote/remote.js';
import type { Conflicts } from '../conflicts.js';
import type { Contents } from '../contents.js';
import { isAnother } from '../entry_rules.js';
import type { NodeRecord } from '../metadata/node.js';
import type { NodeStore } from '../metadata/node_store.js';
import type { Mirror } from '../mirror.js';
import type { Step } from './plan.js';

export interface RefusedServices {
  readonly store: NodeStore;
  readonly mirror: Mirror;
  readonly conflicts: Conflicts;
  readonly contents: Contents;
  readonly log: Log;
  /** What the server has at a path now, null = nothing. */
  readonly stat: (path: RemoteEntry['path']) => Promise<RemoteEntry | null>;
}

/** False when nothing was done: the server grants the right by now, or there is no place; the change stays queued. */
export async function settleRefused(node: NodeRecord, step: Step['do'], services: RefusedServices): Promise<boolean> {
  switch (step) {
    case 'upload':
      return node.base === null ? moveNew(node, services) : forkChanged(node, services);
    case 'make_dir':
    case 'make_link':
      return moveNew(node, services);
    case 'delete':
    case 'delete_tree':
      return dropDeletion(node, services);
    case 'move':
      return dropMove(node, services);
    default:
      return false;
  }
}

async function forkChanged(node: NodeRecord, services: RefusedServices): Promise<boolean> {
  const { store, mirror, conflicts, contents } = services;
  const path = mirror.remotePath(node);
  if (path === null || !contents.isComplete(node)) return false;
  const entry = await services.stat(path);
  if (entry === null || entry.rights.write) return false;
  const parent = node.parent === null ? null : store.get(node.parent);
  const place = placeFor(node, parent, store);
  if (place === null) return false;
  store.transaction(() => {
    const original = node.name;
    const reason = `the server does not allow "${path}" to be changed`;
    if (place.ino !== node.parent) conflicts.moveAside(node, place, reason);
    conflicts.conflictWith(node, entry, reason);
    revoke(node, contents);
    store.save(node);
    services.log.info({ ino: node.ino, original, path, copy: node.name }, 'a change is kept as a copy');
  });
  return true;
}

async function moveNew(node: NodeRecord, services: RefusedServices): Promise<boolean> {
  const { store, mirror, conflicts, contents } = services;
  const parent = node.parent === null ? null : store.get(node.parent);
  const above = parent === null ? null : mirror.remotePath(parent);
  if (parent === null || above === null || parent.parent === null) return false;
  const entry = await services.stat(above);
  if (entry === null || mayHold(node, entry.rights)) return false;
  const place = placeFor(node, store.get(parent.parent), store);
  if (place === null) return false;
  store.transaction(() => {
    const wanted = joinPath(above, node.name as Name);
    conflicts.moveAside(node, place, `the server does not allow "${wanted}" to be made`);
    revoke(node, contents);
    store.save(node);
  });
  return true;
}

async function dropDeletion(
  node: NodeRecord,
  { store, mirror, conflicts, log, stat }: RefusedServices,
): Promise<boolean> {
  const path = mirror.remotePath(node);
  const entry = path === null ? null : await stat(path);
  if (path === null || entry === null || entry.rights.remove) return false;
  log.info({ ino: node.ino, path }, 'the server does not allow this deletion: it is dropped');
  store.transaction(() => conflicts.resurrect(node));
  mirror.deferred.add(path);
  return true;
}

async function dropMove(node: NodeRecord, services: RefusedServices): Promise<boolean> {
  const { store, mirror, conflicts, log } = services;
  const { base, parent, name } = node;
  const into = parent === null ? null : store.get(parent);
  const from = mirror.remotePath(node);
  const above = into === null ? null : mirror.remotePath(into);
  if (base === null || into === null || from === null || above === null) return false;
  const to = joinPath(above, name);
  const over = store.atBase(into.ino, name);
  const isRefused = await refusesMove(
    node,
    { from, above, over: over === null || over === node ? null : to },
    services,
  );
  // Meanwhile it may have been moved on, or back.
  if (!isRefused || node.parent !== parent || node.name !== name || node.inPlace) return false;
  if (!conflicts.mayMoveBack(node)) return false;
  log.info({ ino: node.ino, from, to }, 'the server does not allow this move: it is dropped');
  store.transaction(() => {
    conflicts.moveBack(node);
    forgive(node);
    store.save(node);
  });
  mirror.deferred.add(from);
  return true;
}

/** `over` is the path of what is to be replaced, null = nothing. */
async function refusesMove(
  node: NodeRecord,
  { from, above, over }: { from: RemotePath; above: RemotePath; over: RemotePath | null },
  { stat }: RefusedServices,
): Promise<boolean> {
  const source = await stat(from);
  if (source === null || isAnother(node, source, false)) return false;
  const isRename = node.parent === node.base?.parent;
  if (isRename ? !source.rights.rename : !source.rights.move) return true;
  const replaced = over === null ? null : await stat(over);
  if (replaced !== null) return !replaced.rights.write || !replaced.rights.remove;
  const target = isRename ? null : await stat(above);
  return target !== null && !mayHold(node, target.rights);
}

/** The first folder from `from` upwards that may hold the node, as far as is known here. */
function placeFor(node: NodeRecord, from: NodeRecord | null, store: NodeStore): NodeRecord | null {
  for (let at = from; at !== null; at = at.parent === null ? null : store.get(at.parent)) {
    if (mayHold(node, at.rights)) return at;
  }
  return null;
}

function mayHold(node: NodeRecord, rights: RemoteEntry['rights']): boolean {
  return node.isDir ? rights.createDir : rights.createFile;
}

function revoke(node: NodeRecord, contents: Contents): void {
  forgive(node);
  const content = contents.peek(node.ino);
  if (content !== null) content.revoked += 1;
}

function forgive(node: NodeRecord): void {
  node.error = null;
  node.errorCode = null;
  node.attempts = 0;
}
