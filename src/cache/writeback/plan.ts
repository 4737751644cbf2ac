// What to send next for one node, derived from how its row differs from the server. Pure: reads rows, decides, changes
// nothing.
//
// Order is not a log to replay but a set of dependencies: a parent exists before its members, a name is free before it is
// taken, members leave a directory before it goes. Whatever is ready may run, in parallel.

import type { Ino, Name } from '../../ids.js';
import { DIRTY_META, type NodeRecord } from '../metadata/node.js';
import type { NodeStore } from '../metadata/node_store.js';
import { firstOnWay } from './way.js';
import type { Whole } from './whole_trees.js';

export type Step =
  | { readonly do: 'nothing' }
  /** Not before that node's own work is done (or, with `on: null`, not before something changed). */
  | { readonly do: 'wait'; readonly on: Ino | null }
  | { readonly do: 'make_dir' }
  | { readonly do: 'make_link' }
  | { readonly do: 'upload' }
  /** `over`: a file deleted here whose name is taken. */
  | { readonly do: 'move'; readonly over: NodeRecord | null }
  /** A file, or a directory that should be empty now. */
  | { readonly do: 'delete' }
  /** A directory and everything below it in one request, all of it deleted here. */
  | { readonly do: 'delete_tree' }
  | { readonly do: 'attributes' }
  /** A move whose answer was lost: where is it? */
  | { readonly do: 'confirm' }
  /** A new node that was told to the server under another name (or is gone since), without an answer: is it there? */
  | { readonly do: 'look' };

export interface PlanContext {
  readonly store: NodeStore;
  readonly isBusy: (node: NodeRecord) => boolean;
  /** The same, or a move of it has had no answer: it may be elsewhere. */
  readonly isUncertain: (node: NodeRecord) => boolean;
  /** A member of this collection (as the server has it, or had) that is. */
  readonly uncertainIn: (dir: NodeRecord) => NodeRecord | null;
  /** Is a request for anything below this collection (as the server has it) on its way? */
  readonly busyBelow: (node: NodeRecord) => boolean;
  /** A node that a request puts at this place which is on its way, or whose outcome is unknown. */
  readonly makerAt: (parent: Ino, name: Name) => Ino | null;
  /** May a whole collection be deleted under its ETag? */
  readonly wholeTree: (node: NodeRecord) => Whole;
}

const NOTHING: Step = { do: 'nothing' };

export function plan(node: NodeRecord, context: PlanContext): Step {
  if (node.staysHere || node.ino === 1 || node.limbo !== 'none') {
    return node.ino === 1 && (node.dirty & DIRTY_META) !== 0 ? { do: 'attributes' } : NOTHING;
  }
  const ancestor = busyAncestor(node, context);
  if (ancestor !== null) return { do: 'wait', on: ancestor.ino };
  if (node.base === null && mayBeElsewhere(node)) {
    const unsettled = unsettledParent(node, context);
    return unsettled === null ? { do: 'look' } : { do: 'wait', on: unsettled.ino };
  }
  if (node.parent === null) return node.base === null ? NOTHING : planDelete(node, context);
  const parent = context.store.get(node.parent);
  if (parent === null) return NOTHING;
  if (parent.base === null && parent.ino !== 1) return { do: 'wait', on: parent.ino };
  if (node.inPlace) return planInPlace(node, context);
  const unsure = uncertainFrom(parent, context);
  if (unsure !== null) return { do: 'wait', on: unsure.ino };
  const occupant = context.store.atBase(parent.ino, node.name);
  const maker = context.makerAt(parent.ino, node.name);
  if (maker !== null && maker !== node.ino) return { do: 'wait', on: maker };
  if (node.base === null) {
    if (occupant !== null) return { do: 'wait', on: occupant.ino };
    return node.kind === 'dir' ? { do: 'make_dir' } : node.kind === 'symlink' ? { do: 'make_link' } : { do: 'upload' };
  }
  return planMove(node, parent, occupant, context);
}

function mayBeElsewhere(node: NodeRecord): boolean {
  return node.sending.some(({ place }) => place?.parent !== node.parent || place?.name !== node.name);
}

function isOrMayBeElsewhere(node: NodeRecord): boolean {
  return node.base === null ? mayBeElsewhere(node) : !node.inPlace;
}

/** A collection it was sent into of which it is itself to be found out whether, or where, the server has it. */
function unsettledParent(node: NodeRecord, context: PlanContext): NodeRecord | null {
  for (const { place } of node.sending) {
    const parent = place === null ? null : context.store.get(place.parent);
    if (parent === null || parent.ino === 1) continue;
    if (parent.base === null && mayBeElsewhere(parent)) return parent;
    const unsure = uncertainFrom(parent, context);
    if (unsure !== null) return unsure;
  }
  return null;
}

function planInPlace(node: NodeRecord, context: PlanContext): Step {
  if (node.contentDirty && node.kind === 'file') return { do: 'upload' };
  if ((node.dirty & DIRTY_META) === 0) return NOTHING;
  if (node.isDir) {
    // Members that are still to be sent would move the directory's time again.
    for (const member of context.store.members(node.ino, 0, MEMBERS_LOOKED_AT)) {
      if (member.pending !== null && !member.localOnly) return { do: 'wait', on: member.ino };
    }
  }
  return { do: 'attributes' };
}

function planMove(node: NodeRecord, parent: NodeRecord, occupant: NodeRecord | null, context: PlanContext): Step {
  let over: NodeRecord | null = null;
  if (occupant !== null) {
    const replaceable = occupant.parent === null && occupant.kind !== 'dir' && node.kind !== 'dir';
    if (!replaceable || context.isBusy(occupant)) return { do: 'wait', on: occupant.ino };
    over = occupant;
  }
  if (firstOnWay(parent, context.store, (at) => at === node) !== null) {
    // The server still has the new parent below this very node: that one moves first.
    const first = firstOnWay(parent, context.store, (at) => at !== node && !at.inPlace);
    return { do: 'wait', on: first?.ino ?? null };
  }
  if (node.isDir && context.busyBelow(node)) return { do: 'wait', on: null };
  return { do: 'move', over };
}

function planDelete(node: NodeRecord, context: PlanContext): Step {
  const above = node.base === null ? null : context.store.get(node.base.parent);
  const aboveGoes = above !== null && above.parent === null && above.ino !== 1 && above.base !== null;
  if (aboveGoes && context.wholeTree(above) !== 'no') {
    // The collection above goes as a whole and takes this with it.
    return { do: 'wait', on: above.ino };
  }
  if (!node.isDir) {
    const successor = node.base === null ? null : context.store.child(node.base.parent, node.base.name);
    // What takes its name replaces it in one request, so that the name is never free in between.
    if (successor !== null && !successor.isDir && isOrMayBeElsewhere(successor)) {
      return { do: 'wait', on: successor.ino };
    }
    return { do: 'delete' };
  }
  if (context.busyBelow(node)) return { do: 'wait', on: null };
  const whole = context.wholeTree(node);
  if (whole === 'not yet') return { do: 'wait', on: null };
  if (whole === 'yes') {
    const blocker = notDeleted(node, context);
    return blocker === null ? { do: 'delete_tree' } : { do: 'wait', on: blocker.ino };
  }
  const member = context.store.aBaseMember(node.ino);
  return member === null ? { do: 'delete' } : { do: 'wait', on: member.ino };
}

/** Something that the server has below `dir` and that is not deleted here (it moved out and must move first). */
function notDeleted(dir: NodeRecord, context: PlanContext): NodeRecord | null {
  const member = context.store.aShownBaseMember(dir.ino) ?? context.uncertainIn(dir);
  if (member !== null) return member;
  for (const folder of context.store.baseMembers(dir.ino, 'dirs')) {
    const below = notDeleted(folder, context);
    if (below !== null) return below;
  }
  return null;
}

/** A collection above (here or there) that is being moved, made or deleted right now, or of which it is not known where it
 * is: a path through it may lead elsewhere. */
function busyAncestor(node: NodeRecord, context: PlanContext): NodeRecord | null {
  const start = node.base?.parent ?? node.parent;
  return start === null ? null : uncertainFrom(context.store.get(start), context);
}

/** The first of `node` and the collections above it that is uncertain. */
export function uncertainFrom(
  node: NodeRecord | null,
  context: Pick<PlanContext, 'isUncertain' | 'store'>,
): NodeRecord | null {
  return firstOnWay(node, context.store, context.isUncertain);
}

const MEMBERS_LOOKED_AT = 10_000;
