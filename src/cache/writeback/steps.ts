// The requests. Each decides at once, before anything else can happen to the node, what it asks for; and makes nothing true
// on the server that a power cut could still make undone here.

import { CloudError, type ErrorCode, isCloudError } from '../../errors.js';
import type { Ino, Name, RemotePath } from '../../ids.js';
import type { Log } from '../../log.js';
import type { MetaPatch, PutResult, RemoteEntry } from '../../remote/remote.js';
import { isCertain } from '../../remote/remote.js';
import type { Conflicts } from '../conflicts.js';
import { crashPoint } from '../crash_points.js';
import { isAnother } from '../entry_rules.js';
import { type BasePlace, DIRTY_META, Dirty, type NodeRecord } from '../metadata/node.js';
import type { RecentOperations } from '../recent_operations.js';
import type { OutcomeServices, Outcomes } from './outcomes.js';
import type { Step } from './plan.js';
import { asHolder, asMover, heldWith, isHeld, metaOf, placePath, statOrNull } from './request.js';
import { isOurs, noteSending } from './sent.js';
import type { Running, UnderWay } from './under_way.js';
import { type UploadServices, upload } from './upload.js';
import type { WholeTrees } from './whole_trees.js';

/** Failures that leave open whether the server did what was asked. */
const NO_ANSWER: ErrorCode[] = ['network', 'timeout', 'server', 'busy_server', 'protocol', 'interrupted', 'offline'];

export interface StepServices extends UploadServices, OutcomeServices {
  readonly recent: RecentOperations;
  readonly conflicts: Conflicts;
  readonly log: Log;
  /** A lock of ours that the server has dropped with a move (RFC 4918 section 7.6) is wanted all the same; `stayed`: one
   * that may be on the name it has now. Never rejects. */
  readonly lockAgain: (node: NodeRecord, stayed: string | null) => Promise<void>;
}

/** A place and what it is called on the server now. */
interface Target {
  readonly place: BasePlace;
  readonly path: RemotePath;
}

export class Steps {
  readonly #o: StepServices;
  readonly #underWay: UnderWay;
  readonly #wholeTrees: WholeTrees;
  readonly #outcomes: Outcomes;
  /** The node's move freed a name, or took one. */
  readonly #wake: (ino: Ino) => void;

  constructor(
    services: StepServices,
    underWay: UnderWay,
    wholeTrees: WholeTrees,
    outcomes: Outcomes,
    wake: (ino: Ino) => void,
  ) {
    this.#o = services;
    this.#underWay = underWay;
    this.#wholeTrees = wholeTrees;
    this.#outcomes = outcomes;
    this.#wake = wake;
  }

  /** `aside`: where a move goes instead of to where the node is shown. */
  async run(
    node: NodeRecord,
    step: Step,
    aside: BasePlace | null,
    running: Running,
    signal: AbortSignal,
  ): Promise<void> {
    const { remote } = this.#o;
    switch (step.do) {
      case 'make_dir':
        return this.#create(
          node,
          (path) => remote.mkdir(path, metaOf(node), asHolder(node, signal)),
          DIRTY_META & ~Dirty.xattrs,
        );
      case 'make_link':
        return this.#create(
          node,
          (path) => remote.symlink(path, node.symlinkTarget ?? '', { kind: 'if_absent' }, asHolder(node, signal)),
          Dirty.content,
        );
      case 'upload':
        return this.#upload(node, running, signal);
      case 'move':
        return this.#move(node, step.over, aside, signal);
      case 'delete':
        return this.#delete(node, signal);
      case 'delete_tree':
        return this.#deleteTree(node, signal);
      case 'attributes':
        return this.#attributes(node, signal);
      case 'confirm':
        return this.#confirmMove(node, signal);
      case 'look':
        return this.#look(node, signal);
      default:
    }
  }

  /** The path of a node that the server has. */
  #pathOf(node: NodeRecord, doing: string): RemotePath {
    const path = this.#o.mirror.remotePath(node);
    if (path === null) throw new CloudError('again', `${doing} "${node.name}": its folder moves`);
    return path;
  }

  /** Where a node is to be, or `place`. */
  #target(node: NodeRecord, place: { readonly parent: Ino | null; readonly name: Name } = node): Target {
    const { parent, name } = place;
    const path = placePath(place, this.#o);
    if (parent === null || path === null)
      throw new CloudError('again', `sending "${node.name}": its folder is not there yet`);
    return { place: { parent, name }, path };
  }

  async #create(node: NodeRecord, make: (path: RemotePath) => Promise<PutResult>, sentBits: number): Promise<void> {
    const target = this.#target(node);
    this.#underWay.targets.set(node.ino, target.place);
    await noteSending(node, { place: target.place, sha256: null, size_bytes: 0 }, this.#o.store);
    const result = await make(target.path);
    crashPoint('writeback.after_mkdir');
    this.#o.recent.note(target.path);
    this.#o.store.transaction(() => {
      node.sending = [];
      node.base = target.place;
      node.baseEtag = result.etag;
      node.fileid = result.fileid;
      // A collection that we have just made has no members but those that we put there.
      if (node.isDir) node.listed_ms = this.#o.clock.now_ms();
      node.dirty &= ~(this.#o.remote.capabilities.posix ? sentBits : sentBits & Dirty.content);
      this.#outcomes.dropWhatCannotBeSent(node);
      this.#outcomes.done(node, 0);
    });
  }

  async #upload(node: NodeRecord, running: Running, signal: AbortSignal): Promise<void> {
    const target = node.base === null ? this.#target(node) : null;
    const path = target === null ? this.#pathOf(node, 'sending') : target.path;
    if (target !== null) this.#underWay.targets.set(node.ino, target.place);
    const done = await upload(node, path, target === null ? null : target.place, this.#o, signal, (sent) => {
      running.sent_bytes = sent;
    });
    this.#o.recent.note(path);
    this.#o.store.transaction(() => {
      if (target !== null) node.base = target.place;
      node.baseEtag = done.result.etag;
      if (done.result.fileid !== null) node.fileid = done.result.fileid;
      node.baseSize_bytes = done.size_bytes;
      node.checksum = `SHA256:${done.sha256}`;
      node.dirty &= ~done.sent;
      node.sending = [];
      if (done.unchanged) this.#o.contents.markClean(node);
      else node.cut_bytes = 0; // changed while it was sent: all bytes that count are here
      node.uploadState = null;
      this.#outcomes.dropWhatCannotBeSent(node);
      this.#outcomes.done(node);
    });
    this.#o.contents.scheduleSave();
    this.#o.log.debug({ ino: node.ino, size_bytes: done.size_bytes }, 'uploaded');
  }

  async #move(node: NodeRecord, over: NodeRecord | null, aside: BasePlace | null, signal: AbortSignal): Promise<void> {
    const { remote, store } = this.#o;
    const from = this.#pathOf(node, 'moving');
    const { place, path } = this.#target(node, aside ?? node);
    const overwrite = over !== null && isCertain(over.baseEtag) ? { etag: over.baseEtag } : null;
    const call = asMover(node, store.get(place.parent), over, store, signal);
    const replaced = over !== null && isHeld(over) ? over.lockInfo : null;
    this.#underWay.targets.set(node.ino, place);
    this.#underWay.unconfirmed.set(node.ino, place);
    try {
      await noteSending(node, { place, sha256: null, size_bytes: 0 }, store);
      if (over !== null && overwrite === null) {
        // No way to say which version may be replaced: remove it under its own rules first.
        await remote.remove(path, over.baseEtag, asHolder(over, signal)).catch((error: unknown) => {
          if (!isCloudError(error, 'not_found')) throw error;
        });
      }
      const source = { sourceEtag: null, sourceKind: node.kind, sourceId: node.fileid };
      await remote.move(from, path, { overwrite, ...source }, call);
      this.#underWay.unconfirmed.delete(node.ino);
    } catch (error) {
      // An answer that says no is an answer; anything else leaves open whether it was done.
      if (!isCloudError(error, ...NO_ANSWER)) this.#notMoved(node);
      throw error;
    }
    crashPoint('writeback.after_move');
    // A lock that the user has taken of a name is for whatever takes its place.
    if (!node.isDir) node.lockInfo ??= replaced;
    const locked = heldWith(node, store);
    this.#moved(node, from, { place, path }, over);
    // Still under way: until it is locked again, nothing that the server says of it counts.
    await Promise.all(locked.map((one) => this.#o.lockAgain(one, replaced?.token ?? null)));
  }

  #moved(node: NodeRecord, from: RemotePath, { place, path }: Target, over: NodeRecord | null): void {
    this.#o.recent.note(from);
    this.#o.recent.note(path);
    this.#o.store.transaction(() => {
      if (over !== null) this.#outcomes.forget(over);
      node.base = place;
      node.sending = node.sending.filter((sent) => sent.place === null);
      this.#outcomes.done(node, 0);
    });
    if (over !== null) this.#wake(over.ino);
  }

  #notMoved(node: NodeRecord): void {
    this.#underWay.unconfirmed.delete(node.ino);
    node.sending = node.sending.filter(({ place }) => place === null);
    this.#o.store.save(node);
  }

  /** The answer to a move was lost: if the server no longer has the node where it was but has something where it was to
   * go, the move was done. Somebody else may have put something new where it was since: that is told by its identity. */
  async #confirmMove(node: NodeRecord, signal: AbortSignal): Promise<void> {
    const place = this.#underWay.unconfirmed.get(node.ino);
    if (place === undefined) return;
    const from = this.#o.mirror.remotePath(node);
    const path = placePath(place, this.#o); // the directory it was to go into may have moved since
    const source = from === null ? null : await this.#stat(from, signal);
    const left = source === null || isAnother(node, source);
    const target = left && path !== null ? await this.#stat(path, signal) : null;
    this.#notMoved(node);
    if (target === null || from === null || path === null || target.kind !== node.kind) return;
    if (isAnother(node, target, source !== null)) return;
    const occupant = this.#o.store.atBase(place.parent, place.name);
    this.#moved(node, from, { place, path }, occupant === node ? null : occupant);
    if (source !== null) this.#o.mirror.deferred.add(from);
  }

  #stat(path: RemotePath, signal: AbortSignal): Promise<RemoteEntry | null> {
    return statOrNull(this.#o.remote, path, signal);
  }

  async #delete(node: NodeRecord, signal: AbortSignal): Promise<void> {
    const path = this.#pathOf(node, 'removing');
    let etag = node.baseEtag;
    await this.#o.store.durable();
    if (node.isDir) {
      const members: RemoteEntry[] = [];
      const asked_ms = this.#o.recent.now_ms();
      try {
        for await (const batch of this.#o.remote.list(path, { signal })) members.push(...batch);
      } catch (error) {
        if (!isCloudError(error, 'not_found')) throw error;
      }
      const unknown = members.filter((entry) => entry.path !== path);
      if (unknown.length > 0) {
        // Somebody put something into it meanwhile: the deletion is dropped, the directory comes back.
        this.#o.store.transaction(() => {
          this.#o.conflicts.resurrect(node);
          for (const entry of unknown) if (entry.leftOut !== true) this.#o.mirror.present(entry, asked_ms, 0);
        });
        return;
      }
      etag = this.#o.remote.capabilities.collectionEtags ? (members[0]?.etag ?? null) : null;
    }
    await this.#remove(node, path, etag, signal);
  }

  async #deleteTree(node: NodeRecord, signal: AbortSignal): Promise<void> {
    const path = this.#pathOf(node, 'removing');
    await this.#o.store.durable();
    const again = (cause?: unknown) =>
      new CloudError('again', `removing "${node.name}": not as a whole`, cause === undefined ? {} : { cause });
    if (!this.#o.remote.capabilities.changeFeed && !this.#isListed(node)) {
      this.#wholeTrees.never(node);
      throw again();
    }
    try {
      await this.#remove(node, path, node.baseEtag, signal);
    } catch (error) {
      // Something below is not as we know it, or not ours to remove.
      if (isCloudError(error, 'precondition')) this.#wholeTrees.refused(node);
      else if (isCloudError(error, 'locked', 'no_access')) this.#wholeTrees.never(node);
      else throw error;
      throw again(error);
    }
  }

  /** Was the collection, and each one below it, listed itself as of the ETag that we have of it? It may be newer than that. */
  #isListed({ ino, baseEtag, listedEtag }: NodeRecord): boolean {
    if (listedEtag === null || listedEtag !== baseEtag) return false;
    for (const member of this.#o.store.baseMembers(ino, 'dirs')) if (!this.#isListed(member)) return false;
    return true;
  }

  async #remove(node: NodeRecord, path: RemotePath, etag: string | null, signal: AbortSignal): Promise<void> {
    try {
      await this.#o.remote.remove(path, etag, asHolder(node, signal));
    } catch (error) {
      if (!isCloudError(error, 'not_found')) throw error;
    }
    crashPoint('writeback.after_delete');
    this.#o.recent.note(path);
    await this.#outcomes.forgetTree(node);
  }

  /** Was it made under one of the names it was sent by? Then that is where it is; else nowhere. */
  async #look(node: NodeRecord, signal: AbortSignal): Promise<void> {
    const places = node.sending.flatMap(({ place }) => (place === null ? [] : [place]));
    for (const place of places) {
      const path = placePath(place, this.#o);
      const entry = path === null ? null : await this.#stat(path, signal);
      if (entry === null || !(await isOurs(node, entry, this.#o.remote, signal))) continue;
      const settled = this.#o.store.transaction(() => this.#settleAt(node, place, entry));
      if (settled) return;
    }
    this.#o.tree.wasNotMade(node);
  }

  /** The server has `node` at `place`, as of our own request. */
  #settleAt(node: NodeRecord, place: BasePlace, entry: RemoteEntry): boolean {
    const { store, mirror } = this.#o;
    const shown = store.atBase(place.parent, place.name);
    if (shown !== null && shown !== node) {
      // The feed was faster and showed it as somebody else's.
      if (shown.differs || this.#underWay.isBusy(shown) || this.#o.contents.isOpen(shown)) return false;
      mirror.gone(shown);
      if (store.atBase(place.parent, place.name) !== null) return false;
    }
    node.base = place;
    node.sending = [];
    this.#outcomes.adoptOwn(node, entry);
    return true;
  }

  async #attributes(node: NodeRecord, signal: AbortSignal): Promise<void> {
    const path = this.#pathOf(node, 'changing');
    await this.#o.store.durable();
    this.#outcomes.dropWhatCannotBeSent(node);
    const bits = node.dirty & DIRTY_META;
    const names = [...(node.xattrDirty ?? [])];
    if (bits !== 0) {
      const xattrs = new Map(names.map((name) => [name, node.xattrs?.get(name) ?? null]));
      const { mtime, mode, uid, gid } = node;
      const patch: MetaPatch = {
        ...((bits & Dirty.mtime) !== 0 ? { mtime } : {}),
        ...((bits & Dirty.mode) !== 0 && mode !== null ? { mode } : {}),
        ...((bits & Dirty.owner) !== 0 && uid !== null ? { uid } : {}),
        ...((bits & Dirty.owner) !== 0 && gid !== null ? { gid } : {}),
        ...((bits & Dirty.xattrs) !== 0 ? { xattrs } : {}),
      };
      try {
        await this.#o.remote.setMeta(path, patch, asHolder(node, signal));
      } catch (error) {
        if (!isCloudError(error, 'unsupported')) throw error;
        this.#o.log.debug({ ino: node.ino }, 'the server cannot hold these attributes; they stay on this machine');
      }
      this.#o.recent.note(path);
      if (node.mtime === mtime) node.dirty &= ~Dirty.mtime;
      if (node.mode === mode) node.dirty &= ~Dirty.mode;
      if (node.uid === uid && node.gid === gid) node.dirty &= ~Dirty.owner;
      for (const name of names)
        if ((node.xattrs?.get(name) ?? null) === xattrs.get(name)) node.xattrDirty?.delete(name);
      if (node.xattrDirty === null || node.xattrDirty.size === 0) {
        node.xattrDirty = null;
        node.dirty &= ~Dirty.xattrs;
      }
    }
    this.#o.store.transaction(() => {
      this.#outcomes.done(node);
    });
  }
}
