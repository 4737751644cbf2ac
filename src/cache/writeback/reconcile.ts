// The server has something else than we thought: look, then keep both, join, or send again.

import { type CloudError, isCloudError } from '../../errors.js';
import type { RemotePath } from '../../ids.js';
import type { Log } from '../../log.js';
import type { RemoteEntry } from '../../remote/remote.js';
import type { Conflicts } from '../conflicts.js';
import { crashPoint } from '../crash_points.js';
import { isAnother } from '../entry_rules.js';
import type { BasePlace, NodeRecord } from '../metadata/node.js';
import type { RecentOperations } from '../recent_operations.js';
import { completeFrom, lostParts, sameContent } from './merge.js';
import type { OutcomeServices, Outcomes } from './outcomes.js';
import type { Step } from './plan.js';
import { placePath, statOrNull } from './request.js';
import { isOurs, wasSentByUs } from './sent.js';
import type { UploadServices } from './upload.js';

export interface ReconcileServices extends UploadServices, OutcomeServices {
  readonly recent: RecentOperations;
  readonly conflicts: Conflicts;
  readonly log: Log;
  /** Gives up for now: the change is kept, the reason shown. */
  readonly keep: (node: NodeRecord, error: CloudError) => void;
}

export class Reconciler {
  readonly #o: ReconcileServices;
  readonly #outcomes: Outcomes;

  constructor(services: ReconcileServices, outcomes: Outcomes) {
    this.#o = services;
    this.#outcomes = outcomes;
  }

  /** `place`: where the step was to put the node. */
  async reconcile(node: NodeRecord, step: Step, place: BasePlace | undefined, signal: AbortSignal): Promise<void> {
    const { store, mirror, conflicts, recent, remote } = this.#o;
    const current = node.base === null ? null : mirror.remotePath(node);
    const wanted = placePath(node, this.#o);
    const path = step.do === 'move' ? wanted : (current ?? wanted);
    if (path === null) return;
    if (place !== undefined && (place.parent !== node.parent || place.name !== node.name)) {
      // It is to be elsewhere by now: what the server has where it was to be is looked at when that matters.
      if (current !== null) mirror.deferred.add(current);
      return;
    }
    const asked_ms = recent.now_ms();
    const entry = await statOrNull(remote, path, signal);
    // Another request of ours has changed that place meanwhile: the step is simply tried again.
    if (recent.touchedSince(path, asked_ms)) return;
    switch (step.do) {
      case 'upload':
        return this.#upload(node, entry, signal);
      case 'make_dir': {
        if (entry === null) return this.#checkParent(node, signal);
        // Made by us, its answer lost; or by somebody else, and as empty as ours: all that is in it is here.
        const ours = !this.#isShare(node, entry) && (await isOurs(node, entry, remote, signal));
        store.transaction(() => (ours ? this.#outcomes.take(node, entry) : this.#joinOrSetAside(node, entry)));
        return;
      }
      case 'make_link':
        if (entry === null) return this.#checkParent(node, signal);
        store.transaction(() => {
          if (entry.kind === 'symlink' && entry.symlinkTarget === node.symlinkTarget) this.#outcomes.take(node, entry);
          else conflicts.conflictWith(node, entry, 'the server has something else under this name');
        });
        return;
      case 'move':
        return this.#move(node, current, entry, asked_ms, signal);
      case 'delete':
      case 'delete_tree':
        return this.#delete(node, entry, path, signal);
      default:
        // This node is busy until its step has ended: what the mirror must hear of it waits until then.
        if (entry !== null || current !== null) mirror.deferred.add(path);
    }
  }

  async #move(
    node: NodeRecord,
    from: RemotePath | null,
    entry: RemoteEntry | null,
    asked_ms: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { store, mirror, conflicts, tree, remote } = this.#o;
    const occupant = () => (node.parent === null ? null : store.atBase(node.parent, node.name));
    const source = from === null ? null : await statOrNull(remote, from, signal);
    if (source === null) {
      // Moved already (a lost answer)? The identity says so. Else it is gone, or its collection is.
      if (entry !== null && entry.fileid !== null && entry.fileid === node.fileid) {
        store.transaction(() => {
          const other = occupant();
          if (other !== null && other !== node) this.#outcomes.forget(other);
          node.base = node.parent === null ? null : { parent: node.parent, name: node.name };
          tree.changed(node, 0);
        });
      } else if (from !== null) mirror.deferred.add(from);
      return;
    }
    if (isAnother(node, source, false)) {
      // Not what is moved here: somebody put it in its place.
      mirror.deferred.add(source.path);
      return;
    }
    const replaced = occupant();
    if (entry === null) {
      if (replaced === null || replaced.parent !== null) return this.#checkParent(node, signal);
      // What it was to replace is gone already: the answer to its removal was lost, or somebody else removed it.
      store.transaction(() => {
        this.#outcomes.forget(replaced);
        tree.changed(node, 0);
      });
      return;
    }
    if (replaced !== null && replaced.parent === null && (await wasSentByUs(replaced, entry, remote, signal))) {
      store.transaction(() => this.#outcomes.adoptOwn(replaced, entry));
      return;
    }
    // Something unknown has the name: it becomes known, and ours steps aside.
    mirror.deferred.add(entry.path);
    store.transaction(() => {
      const other = occupant();
      if (other !== null && other.parent === null) mirror.present(entry, asked_ms, 0);
      else if (other === null && node.parent !== null)
        conflicts.setAside(node, 'the server has something else under this name');
    });
  }

  async #delete(node: NodeRecord, entry: RemoteEntry | null, path: RemotePath, signal: AbortSignal): Promise<void> {
    const { store, mirror, conflicts, tree, remote, log } = this.#o;
    if (entry === null) {
      await this.#outcomes.forgetTree(node);
      return;
    }
    const ours = await wasSentByUs(node, entry, remote, signal);
    store.transaction(() => {
      if (ours) this.#outcomes.adoptOwn(node, entry);
      else if (node.kind === 'file' && entry.etag === node.baseEtag) tree.changed(node);
      else {
        log.info({ ino: node.ino, name: node.name }, 'changed on the server: the deletion is dropped');
        conflicts.resurrect(node);
        // It shows by now, and the version that was known of it cannot be had any more.
        if (isAnother(node, entry, false)) mirror.deferred.add(path);
        else mirror.found(node, entry);
      }
    });
  }

  async #upload(node: NodeRecord, entry: RemoteEntry | null, signal: AbortSignal): Promise<void> {
    if (node.parent === null) {
      // Removed here while it was being sent: what is left to do is its deletion.
      this.#o.store.transaction(() => {
        if (entry === null) this.#outcomes.forget(node);
        else this.#o.tree.changed(node, 0);
      });
      return;
    }
    if (node.base === null && !this.#o.contents.isComplete(node)) {
      this.#o.keep(node, lostParts(node));
      return;
    }
    if (entry === null) {
      if (node.base === null) return this.#checkParent(node, signal);
      if (!this.#o.contents.isComplete(node)) {
        this.#o.keep(node, lostParts(node));
        return;
      }
      // Edited here, removed there: the edit wins.
      this.#o.store.transaction(() => {
        this.#o.conflicts.forgetBase(node);
        this.#o.tree.changed(node, 0);
      });
      return;
    }
    const sameVersion = node.baseEtag !== null && entry.etag === node.baseEtag;
    if (sameVersion && node.base !== null) return; // it was something passing; try again
    if (entry.kind === 'file' && (await sameContent(node, entry, this.#o, signal))) {
      this.#o.store.transaction(() => {
        this.#outcomes.take(node, entry);
        this.#o.contents.markClean(node);
        this.#o.tree.changed(node, 0);
      });
      return;
    }
    const { dialect } = this.#o.remote.capabilities;
    if (node.base === null && entry.kind === 'file' && entry.size_bytes === 0 && dialect === 'generic') {
      // A lock on a free name makes an empty file of it, and whoever took it (we, most likely) did not get to the rest.
      // Going on from there overwrites nothing: it has no bytes, and has them still when it is replaced.
      this.#o.store.transaction(() => this.#outcomes.take(node, entry));
      return;
    }
    if (await wasSentByUs(node, entry, this.#o.remote, signal)) {
      // Our own upload, its answer lost, and changed here since: the change goes on top of it.
      this.#o.store.transaction(() => {
        node.sending = [];
        this.#outcomes.take(node, entry);
      });
      return;
    }
    let reason = 'changed on the server and here';
    if (entry.kind === 'file' && !this.#o.contents.isComplete(node)) {
      try {
        await completeFrom(node, entry, this.#o, signal);
      } catch (error) {
        if (!isCloudError(error, 'no_space')) throw error;
        this.#o.keep(node, error);
        return;
      }
      this.#o.conflicts.otherBytes(node);
      reason =
        'changed on the server while only a part was here: what was not changed here is from the server’s version';
    }
    this.#o.store.transaction(() => {
      this.#o.conflicts.conflictWith(node, entry, reason);
      crashPoint('conflict.before_commit');
    });
    crashPoint('conflict.after_commit');
    node.attempts = 0;
    node.notBefore_ms = 0;
  }

  #joinOrSetAside(node: NodeRecord, entry: RemoteEntry): void {
    if (entry.kind === 'dir' && !this.#isShare(node, entry)) {
      this.#outcomes.take(node, entry);
      node.listed_ms = 0;
      this.#o.store.save(node);
      return;
    }
    const theirs = entry.kind === 'dir' ? 'a folder that somebody else shares' : 'a file';
    this.#o.conflicts.conflictWith(node, entry, `the server has ${theirs} under this name`);
  }

  #isShare(node: NodeRecord, entry: RemoteEntry): boolean {
    const parent = node.parent === null ? null : this.#o.store.get(node.parent);
    return parent !== null && this.#o.mirror.isShare(parent, entry);
  }

  /** A 404 or 409 for a new member: is its collection still there? */
  async #checkParent(node: NodeRecord, signal: AbortSignal): Promise<void> {
    const parent = node.parent === null ? null : this.#o.store.get(node.parent);
    if (parent === null || parent.ino === 1) return;
    const path = this.#o.mirror.remotePath(parent);
    if (path === null) return;
    const asked_ms = this.#o.recent.now_ms();
    const entry = await statOrNull(this.#o.remote, path, signal);
    if (entry === null) this.#o.store.transaction(() => this.#o.mirror.gonePath(path, asked_ms));
  }
}
