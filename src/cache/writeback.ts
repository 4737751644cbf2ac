// Sends what is pending: decides by `plan`, several steps at a time, retries what can help, keeps and reports the rest.
//
// Nothing is sent without a precondition, so any step may be repeated after a crash or a lost answer. The queue is the
// set of rows with `pending`; in memory each of them is in exactly one place: ready, sleeping (quiet time, backoff),
// waiting for another node, or running.

import type { Clock } from '../clock.js';
import { CloudError, type ErrorCode, isCloudError, toCloudError } from '../errors.js';
import { type Ino, joinPath, type Name, type RemotePath } from '../ids.js';
import type { Log } from '../log.js';
import type { MetaPatch, PosixMeta, PutResult, Remote, RemoteEntry } from '../remote/remote.js';
import { isStrongEtag } from '../remote/remote.js';
import type { Connection } from './connection.js';
import type { Contents } from './contents.js';
import { crashPoint } from './crash_points.js';
import type { Hydrator } from './hydrator.js';
import { type BasePlace, DIRTY_META, Dirty, type NodeRecord } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';
import type { Mirror } from './mirror.js';
import { type PlanContext, plan, type Step, uncertainFrom } from './plan.js';
import type { RecentOperations } from './recent_operations.js';
import { settleRefused } from './refused.js';
import type { SpaceBudget } from './space.js';
import type { Tree } from './tree.js';
import {
  completeFrom,
  lostParts,
  noteSending,
  sameContent,
  type UploadServices,
  upload,
  wasSentByUs,
} from './upload.js';

/** Name on the server of what steps aside while names change places. */
const ASIDE_PREFIX = '.cloudmount-swap-';
const PARALLEL = 8;
/** A file that stays open for writing is sent when it has been left alone for this long. */
const OPEN_IDLE_MS = 8_000;
const SIBLINGS_ASKED = 64;
const BLOCKED_RETRY_MS = 500;
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 60_000;

/** How long until a failure that is not the network's is tried again. Null = only when the user asks. */
const RETRY_MS: Partial<Record<ErrorCode, number | null>> = {
  locked: 15_000,
  quota: 60_000,
  no_space: 60_000,
  no_access: 300_000,
  not_permitted: 300_000,
  too_large: 600_000,
  invalid: 600_000,
  name_too_long: 600_000,
  unsupported: 600_000,
  corrupt: null,
};

/** Failures that leave open whether the server did what was asked. */
const NO_ANSWER: ErrorCode[] = ['network', 'timeout', 'server', 'busy_server', 'protocol', 'interrupted', 'offline'];

export interface WritebackOptions extends UploadServices {
  readonly tree: Tree;
  readonly mirror: Mirror;
  readonly connection: Connection;
  readonly space: SpaceBudget;
  readonly recent: RecentOperations;
  readonly log: Log;
  readonly clock: Clock;
  readonly remote: Remote;
  readonly store: NodeStore;
  readonly contents: Contents;
  readonly hydrator: Hydrator;
  /** The node's state as others see it changed (uploaded, failed, …). */
  readonly onSettled: (node: NodeRecord) => void;
}

interface Slot {
  readonly path: RemotePath;
  readonly parent: Ino;
  readonly name: Name;
}

interface Running {
  readonly step: Step['do'];
  sent_bytes: number;
  readonly abort: AbortController;
}

export class Writeback {
  readonly #o: WritebackOptions;
  readonly #ready = new Set<Ino>();
  readonly #sleeping = new Map<Ino, NodeJS.Timeout>();
  readonly #waiting = new Map<Ino, Set<Ino>>();
  readonly #running = new Map<Ino, Running>();
  readonly #settled = new Set<() => void>();
  /** Directories whose deletion as a whole met something unknown. */
  readonly #noTree = new Set<Ino>();
  /** Moves whose answer was lost: the server may have the node at either place. */
  readonly #unconfirmed = new Map<Ino, Slot>();
  /** Where requests that are on their way put nodes. */
  readonly #targets = new Map<Ino, BasePlace>();
  readonly #context: PlanContext;
  readonly #stop = new AbortController();
  #pumping = false;
  #lookups: Promise<void> = Promise.resolve();

  constructor(options: WritebackOptions) {
    this.#o = options;
    this.#context = {
      store: options.store,
      isBusy: (node) => this.isBusy(node),
      isUncertain: (node) => this.isBusy(node) || this.#unconfirmed.has(node.ino),
      busyBelow: (node) => this.#busyBelow(node),
      makerAt: (parent, name) => this.makerAt(parent, name),
      deletesTrees: (node) =>
        options.remote.capabilities.collectionEtags && isStrongEtag(node.baseEtag) && !this.#noTree.has(node.ino),
    };
  }

  /** What an earlier run left. */
  start(): void {
    for (const ino of this.#o.store.pendingInos()) this.#ready.add(ino);
    for (const node of this.#o.store.sending()) {
      const place = node.base === null ? null : (node.sending.findLast((sent) => sent.place !== null)?.place ?? null);
      const parent = place === null ? null : this.#o.store.get(place.parent);
      const above = parent === null ? null : this.#o.mirror.remotePath(parent);
      if (place === null || above === null) continue;
      this.#unconfirmed.set(node.ino, { ...place, path: joinPath(above, place.name) });
      this.#ready.add(node.ino);
    }
    this.#kick();
  }

  isBusy(node: NodeRecord): boolean {
    return this.#running.has(node.ino);
  }

  /** Is anything about this node, or about where it is, on its way or unconfirmed? What the server says of it meanwhile
   * may be of before or after. */
  isUnsettled(node: NodeRecord): boolean {
    if (this.#running.has(node.ino) || this.#unconfirmed.has(node.ino)) return true;
    if (this.#unconfirmed.size === 0 && this.#running.size === 0) return false;
    return this.#uncertainOnTheWayTo(node) !== null;
  }

  /** Resolves when it is known where the server has the node; false = it was. Rejects with `interrupted`. */
  async settleWay(node: NodeRecord, signal: AbortSignal = this.#stop.signal): Promise<boolean> {
    let waited = false;
    for (;;) {
      const uncertain = this.#uncertainOnTheWayTo(node);
      if (uncertain === null) return waited;
      waited = true;
      if (!this.#running.has(uncertain.ino)) {
        uncertain.notBefore_ms = 0;
        this.enqueue(uncertain);
      }
      await this.changed(AbortSignal.any([signal, this.#stop.signal]));
    }
  }

  #uncertainOnTheWayTo(node: NodeRecord): NodeRecord | null {
    for (let at: NodeRecord | null = node; at !== null && at.ino !== 1; ) {
      if (this.#unconfirmed.has(at.ino) || this.#running.get(at.ino)?.step === 'move') return at;
      at = at.base === null ? null : this.#o.store.get(at.base.parent);
    }
    return null;
  }

  /** A node that a request puts at this place which is on its way, or whose outcome is unknown. */
  makerAt(parent: Ino, name: Name): Ino | null {
    for (const [ino, place] of this.#targets) if (place.parent === parent && place.name === name) return ino;
    return this.#unconfirmedAt(parent, name) ?? this.#o.store.sentTo(parent, name);
  }

  #unconfirmedAt(parent: Ino, name: Name): Ino | null {
    for (const [ino, slot] of this.#unconfirmed) {
      if (slot.parent !== parent || slot.name !== name) continue;
      if (this.#o.store.get(ino) !== null) return ino;
      this.#unconfirmed.delete(ino); // removed here and there since
    }
    return null;
  }

  running(ino: Ino): Running | null {
    return this.#running.get(ino) ?? null;
  }

  /** The node's pending work changed. */
  enqueue(node: NodeRecord): void {
    const { ino } = node;
    const timer = this.#sleeping.get(ino);
    if (timer !== undefined) clearTimeout(timer);
    this.#sleeping.delete(ino);
    if (node.pending === null && !this.#unconfirmed.has(ino)) {
      this.#ready.delete(ino);
      this.#wake(ino);
      this.#announce();
      return;
    }
    if (this.#running.has(ino)) return;
    const delay = node.notBefore_ms - this.#o.clock.monotonic_ms();
    if (delay > 0) this.#sleep(ino, delay);
    else {
      this.#ready.add(ino);
      this.#kick();
    }
  }

  /** Tries everything now, also what failed (`cloudmount flush`, back online). Damaged content only when a user asks: he
   * may have put it right. */
  retryAll(within: (node: NodeRecord) => boolean, damagedToo = false): void {
    for (const ino of this.#o.store.pendingInos()) {
      const node = this.#o.store.get(ino);
      if (node === null || !within(node)) continue;
      node.notBefore_ms = 0;
      if (node.errorCode !== 'corrupt' || damagedToo) this.enqueue(node);
    }
  }

  /** Resolves at the next change of the queue. */
  changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = () => {
        this.#settled.delete(done);
        signal.removeEventListener('abort', aborted);
        resolve();
      };
      const aborted = () => {
        this.#settled.delete(done);
        reject(new CloudError('interrupted', 'waiting for uploads: interrupted'));
      };
      if (signal.aborted) {
        aborted();
        return;
      }
      this.#settled.add(done);
      signal.addEventListener('abort', aborted, { once: true });
    });
  }

  /** The connection came back. */
  resume(): void {
    this.retryAll(() => true);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    for (const timer of this.#sleeping.values()) clearTimeout(timer);
    this.#sleeping.clear();
    for (const running of this.#running.values()) running.abort.abort();
    while (this.#running.size > 0) {
      await new Promise<void>((resolve) => {
        this.#settled.add(resolve);
      });
    }
    await this.#lookups;
  }

  // ---- scheduling -----------------------------------------------------------------------------------------------------

  #sleep(ino: Ino, delay_ms: number): void {
    this.#ready.delete(ino);
    const old = this.#sleeping.get(ino);
    if (old !== undefined) clearTimeout(old);
    const timer = setTimeout(() => {
      this.#sleeping.delete(ino);
      const node = this.#o.store.get(ino);
      if (node !== null) this.enqueue(node);
    }, delay_ms);
    this.#sleeping.set(ino, timer);
  }

  #wait(ino: Ino, on: Ino | null): void {
    this.#ready.delete(ino);
    if (on === null || on === ino) {
      this.#sleep(ino, BLOCKED_RETRY_MS);
      return;
    }
    let waiters = this.#waiting.get(on);
    if (waiters === undefined) {
      waiters = new Set();
      this.#waiting.set(on, waiters);
    }
    waiters.add(ino);
  }

  #wake(on: Ino): void {
    const waiters = this.#waiting.get(on);
    if (waiters === undefined) return;
    this.#waiting.delete(on);
    for (const ino of waiters) this.#ready.add(ino);
    this.#kick();
  }

  #announce(): void {
    const listeners = [...this.#settled];
    this.#settled.clear();
    for (const listener of listeners) listener();
  }

  #kick(): void {
    if (this.#pumping || this.#stop.signal.aborted) return;
    this.#pumping = true;
    setImmediate(() => {
      this.#pumping = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#stop.signal.aborted || !this.#o.connection.online) return;
    for (const ino of this.#ready) {
      if (this.#running.size >= PARALLEL) return;
      const node = this.#o.store.get(ino);
      const idle = node !== null && node.pending === null && !this.#unconfirmed.has(ino);
      if (node === null || idle || this.#running.has(ino)) {
        this.#ready.delete(ino);
        this.#wake(ino);
        continue;
      }
      const delay = node.notBefore_ms - this.#o.clock.monotonic_ms();
      if (delay > 0) {
        this.#sleep(ino, delay);
        continue;
      }
      this.#consider(node);
    }
    if (this.#ready.size === 0 && this.#running.size === 0 && this.#waiting.size > 0) this.#untangle();
  }

  #consider(node: NodeRecord): void {
    const mover = this.#mayHaveReplaced(node);
    const slot = this.#unconfirmed.get(node.ino);
    const step: Step =
      slot !== undefined
        ? this.#planConfirm(node, slot)
        : mover !== null
          ? { do: 'wait', on: mover }
          : plan(node, this.#context);
    if (step.do === 'wait') {
      const on = step.on === null ? null : this.#o.store.get(step.on);
      // Waiting for something that has nothing to do would be for ever.
      const pointless = on !== null && on.pending === null && !this.isBusy(on);
      this.#wait(node.ino, pointless ? null : step.on);
      return;
    }
    if (step.do === 'nothing') {
      this.#ready.delete(node.ino);
      this.#o.store.transaction(() => this.#o.tree.changed(node));
      return;
    }
    if (step.do === 'upload') {
      const content = this.#o.contents.peek(node.ino);
      if (content !== null && content.writers > 0 && !content.sendNow) {
        const idle = this.#o.clock.monotonic_ms() - content.lastWrite_ms;
        const whole = content.passthroughStart !== null || this.#mayOnlyAdd(node);
        if (whole || idle < OPEN_IDLE_MS) {
          this.#sleep(node.ino, whole ? OPEN_IDLE_MS : OPEN_IDLE_MS - idle);
          return;
        }
      }
    }
    if (step.do === 'delete' && this.#stillRead(node)) return;
    this.#ready.delete(node.ino);
    this.#start(node, step);
  }

  /** In a folder where one may add but not overwrite a file can be sent once: when it is closed. No letter says so of the
   * folder; that none of its files may be written does. */
  #mayOnlyAdd(node: NodeRecord): boolean {
    const parent = node.base !== null || node.parent === null ? null : this.#o.store.get(node.parent);
    if (parent?.shared !== 'in') return false;
    const beside = this.#o.store.members(parent.ino, 0, SIBLINGS_ASKED);
    return !beside.some(({ kind, base, rights }) => kind === 'file' && base !== null && rights.write);
  }

  /** Both places are looked at, so both must be known. */
  #planConfirm(node: NodeRecord, slot: Slot): Step {
    for (const parent of [node.base?.parent ?? null, slot.parent]) {
      const unsure = parent === null ? null : uncertainFrom(this.#o.store.get(parent), this.#context);
      if (unsure !== null && unsure !== node) return { do: 'wait', on: unsure.ino };
    }
    return { do: 'confirm' };
  }

  /** A node whose move to the very place of this one has no answer yet: what is there may be either. */
  #mayHaveReplaced({ ino, base }: NodeRecord): Ino | null {
    const mover = base === null ? null : this.#unconfirmedAt(base.parent, base.name);
    return mover === ino ? null : mover;
  }

  /** Deleted here but still open: the server's copy goes when every byte that may still be read is here. */
  #stillRead(node: NodeRecord): boolean {
    const content = this.#o.contents.peek(node.ino);
    if (content === null || content.handles === 0 || content.complete) return false;
    content.users += 1;
    const fetched = this.#o.hydrator.need(content, 0, node.size_bytes, { priority: 'pin', signal: this.#stop.signal });
    Promise.resolve(fetched)
      .catch((error: unknown) =>
        this.#o.log.debug({ err: error, ino: node.ino }, 'fetching a deleted file that is open'),
      )
      .finally(() => this.#o.contents.release(content));
    this.#sleep(node.ino, 2 * BLOCKED_RETRY_MS);
    return true;
  }

  /** Everything waits for something else: names that change places in a circle, a directory that moves into a new one of
   * its own name, a file that takes the name of the directory it was in. One of them steps aside on the server. */
  #untangle(): void {
    const waiting = new Set([...this.#waiting.values()].flatMap((waiters) => [...waiters]));
    for (const ino of waiting) {
      const node = this.#o.store.get(ino);
      if (node === null || node.parent === null || node.inPlace) continue;
      const occupant = this.#o.store.atBase(node.parent, node.name);
      if (occupant === null || occupant.base === null || occupant.inPlace) continue;
      if (!waiting.has(occupant.ino)) continue; // it will go by itself
      const leaves = occupant.parent === null && this.#isInside(node.base?.parent ?? null, occupant);
      if (occupant.parent === null && !leaves) continue;
      const goes = leaves ? node : occupant;
      if (this.#unconfirmed.has(goes.ino) || goes.base?.name.startsWith(ASIDE_PREFIX)) continue; // has stepped aside
      for (const waiters of this.#waiting.values()) waiters.delete(goes.ino);
      const into = leaves ? node.parent : occupant.base.parent;
      this.#start(goes, { do: 'move', over: null }, { parent: into, name: `${ASIDE_PREFIX}${goes.ino}` as Name });
      return;
    }
    // No circle: look again, something may have changed without a wake.
    for (const waiters of this.#waiting.values()) for (const ino of waiters) this.#sleep(ino, BLOCKED_RETRY_MS);
    this.#waiting.clear();
  }

  #busyBelow(dir: NodeRecord): boolean {
    for (const ino of this.#running.keys()) {
      if (ino === dir.ino) continue;
      const node = this.#o.store.get(ino);
      const target = this.#targets.get(ino)?.parent ?? null;
      if (node !== null && this.#isInside(node.base?.parent ?? node.parent, dir)) return true;
      if (this.#isInside(target, dir)) return true;
    }
    return false;
  }

  /** Is `ino` `dir` or, as the server has the tree, below it? */
  #isInside(ino: Ino | null, dir: NodeRecord): boolean {
    for (let at = ino; at !== null && at !== 1; ) {
      if (at === dir.ino) return true;
      const node = this.#o.store.get(at);
      at = node?.base?.parent ?? node?.parent ?? null;
    }
    return false;
  }

  // ---- running --------------------------------------------------------------------------------------------------------

  #start(node: NodeRecord, step: Step, aside: BasePlace | null = null): void {
    const running: Running = { step: step.do, sent_bytes: 0, abort: new AbortController() };
    this.#running.set(node.ino, running);
    const signal = AbortSignal.any([running.abort.signal, this.#stop.signal]);
    this.#run(node, step, aside, running, signal)
      .then(() => {
        node.attempts = 0;
      })
      .catch((error: unknown) => this.#failed(node, step, toCloudError(error, `sending "${node.name}"`)))
      .catch((error: unknown) => {
        this.#o.log.error({ err: error, ino: node.ino }, 'handling a failed step failed');
        node.notBefore_ms = this.#o.clock.monotonic_ms() + BACKOFF_MAX_MS;
      })
      .finally(() => {
        this.#running.delete(node.ino);
        this.#targets.delete(node.ino);
        this.#afterStep(node);
      });
  }

  #afterStep(node: NodeRecord): void {
    try {
      this.#o.store.transaction(() => {
        if (this.#o.store.get(node.ino) !== node) return;
        // Removed here while it was being sent: whether the server has it now is still to be found out.
        if (node.differs && node.pending === null) this.#o.tree.changed(node);
        this.#o.tree.purgeIfGone(node);
      });
    } catch (error) {
      this.#o.log.error({ err: error }, 'cleaning up after a step failed');
    }
    this.#o.onSettled(node);
    this.#o.space.changed();
    this.#wake(node.ino);
    this.enqueue(node);
    this.#announce();
    this.#kick();
    this.lookUpDeferred();
  }

  /** Asks the server again about paths that it spoke of while a request of ours was on its way. */
  lookUpDeferred(): void {
    const paths = this.#o.mirror.takeDeferred();
    if (paths.length === 0) return;
    this.#lookups = this.#lookups.then(async () => {
      for (const path of paths) await this.#lookUp(path);
    });
  }

  async #lookUp(path: RemotePath): Promise<void> {
    if (this.#stop.signal.aborted) return;
    const asked_ms = this.#o.recent.now_ms();
    try {
      const entry = await this.#stat(path, this.#stop.signal);
      this.#o.store.transaction(() => {
        if (entry === null) this.#o.mirror.gonePath(path, asked_ms);
        else this.#o.mirror.present(entry, asked_ms, 0);
      });
    } catch (error) {
      this.#o.connection.suspect(error);
      this.#o.log.debug({ err: error }, 'looking up a path again failed; the next listing will tell');
    }
  }

  async #stat(path: RemotePath, signal: AbortSignal): Promise<RemoteEntry | null> {
    try {
      return await this.#o.remote.stat(path, { signal });
    } catch (error) {
      if (isCloudError(error, 'not_found')) return null;
      throw error;
    }
  }

  async #run(
    node: NodeRecord,
    step: Step,
    aside: BasePlace | null,
    running: Running,
    signal: AbortSignal,
  ): Promise<void> {
    // Each of these decides at once, before anything else can happen to the node, what it asks for; and tells the server
    // nothing that a power cut could still make undone here.
    switch (step.do) {
      case 'make_dir':
        return this.#create(
          node,
          (path) => this.#o.remote.mkdir(path, metaOf(node), { signal }),
          DIRTY_META & ~Dirty.xattrs,
        );
      case 'make_link':
        return this.#create(
          node,
          (path) => this.#o.remote.symlink(path, node.symlinkTarget ?? '', { kind: 'if_absent' }, { signal }),
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

  /** Where a node without a place on the server will be. */
  #newPath(node: NodeRecord): Slot {
    return this.#slotAt(node, { parent: node.parent, name: node.name });
  }

  #slotAt(node: NodeRecord, place: { readonly parent: Ino | null; readonly name: Name }): Slot {
    const parent = place.parent === null ? null : this.#o.store.get(place.parent);
    const above = parent === null ? null : this.#o.mirror.remotePath(parent);
    if (parent === null || above === null)
      throw new CloudError('again', `sending "${node.name}": its folder is not there yet`);
    return { path: joinPath(above, place.name), parent: parent.ino, name: place.name };
  }

  async #create(node: NodeRecord, make: (path: RemotePath) => Promise<PutResult>, sentBits: number): Promise<void> {
    const target = this.#newPath(node);
    this.#targets.set(node.ino, placeOf(target));
    noteSending(node, { place: placeOf(target), sha256: null, size_bytes: 0 }, this.#o.store);
    await this.#o.store.durable();
    const result = await make(target.path);
    crashPoint('writeback.after_mkdir');
    this.#o.recent.note(target.path);
    this.#o.store.transaction(() => {
      node.sending = [];
      node.base = { parent: target.parent, name: target.name };
      node.baseEtag = result.etag;
      node.fileid = result.fileid;
      // A collection that we have just made has no members but those that we put there.
      if (node.isDir) node.listed_ms = this.#o.clock.now_ms();
      node.dirty &= ~(this.#o.remote.capabilities.posix ? sentBits : sentBits & Dirty.content);
      this.#dropWhatCannotBeSent(node);
      this.#clearError(node);
      this.#o.tree.changed(node, 0);
    });
  }

  async #upload(node: NodeRecord, running: Running, signal: AbortSignal): Promise<void> {
    const existing = node.base === null ? null : this.#o.mirror.remotePath(node);
    if (node.base !== null && existing === null)
      throw new CloudError('again', `sending "${node.name}": its folder moves`);
    const target = existing === null ? this.#newPath(node) : null;
    const path = target?.path ?? existing ?? ('' as RemotePath);
    if (target !== null) this.#targets.set(node.ino, placeOf(target));
    const done = await upload(node, path, target === null ? null : placeOf(target), this.#o, signal, (sent) => {
      running.sent_bytes = sent;
    });
    this.#o.recent.note(path);
    this.#o.store.transaction(() => {
      if (target !== null) node.base = { parent: target.parent, name: target.name };
      node.baseEtag = done.result.etag;
      if (done.result.fileid !== null) node.fileid = done.result.fileid;
      node.baseSize_bytes = done.size_bytes;
      node.checksum = `SHA256:${done.sha256}`;
      node.dirty &= ~done.sent;
      node.sending = [];
      if (done.unchanged) this.#o.contents.markClean(node);
      else node.cut_bytes = 0; // changed while it was sent: all bytes that count are here
      node.uploadState = null;
      this.#dropWhatCannotBeSent(node);
      this.#clearError(node);
      this.#o.tree.changed(node);
    });
    this.#o.contents.scheduleSave();
    this.#o.log.debug({ ino: node.ino, size_bytes: done.size_bytes }, 'uploaded');
  }

  async #move(node: NodeRecord, over: NodeRecord | null, aside: BasePlace | null, signal: AbortSignal): Promise<void> {
    const from = this.#o.mirror.remotePath(node);
    if (from === null || node.base === null) throw new CloudError('again', `moving "${node.name}": its folder moves`);
    const slot = this.#slotAt(node, aside ?? { parent: node.parent, name: node.name });
    const overwrite = over !== null && isStrongEtag(over.baseEtag) ? { etag: over.baseEtag } : null;
    const token = node.lockInfo?.mine === true ? node.lockInfo.token : null;
    this.#targets.set(node.ino, placeOf(slot));
    this.#unconfirmed.set(node.ino, slot);
    noteSending(node, { place: placeOf(slot), sha256: null, size_bytes: 0 }, this.#o.store);
    try {
      await this.#o.store.durable();
      if (over !== null && overwrite === null) {
        // No way to say which version may be replaced: remove it under its own rules first.
        await this.#o.remote.remove(slot.path, over.baseEtag, { signal }).catch((error: unknown) => {
          if (!isCloudError(error, 'not_found')) throw error;
        });
      }
      await this.#o.remote.move(
        from,
        slot.path,
        { overwrite, sourceEtag: null },
        { signal, ...(token === null ? {} : { lockToken: token }) },
      );
      this.#unconfirmed.delete(node.ino);
    } catch (error) {
      // An answer that says no is an answer; anything else leaves open whether it was done.
      if (!isCloudError(error, ...NO_ANSWER)) this.#notMoved(node);
      throw error;
    }
    crashPoint('writeback.after_move');
    this.#moved(node, from, slot, over);
  }

  #moved(node: NodeRecord, from: RemotePath, slot: Slot, over: NodeRecord | null): void {
    this.#o.recent.note(from);
    this.#o.recent.note(slot.path);
    this.#o.store.transaction(() => {
      if (over !== null) this.#forget(over);
      node.base = { parent: slot.parent, name: slot.name };
      node.sending = node.sending.filter(({ place }) => place === null);
      this.#clearError(node);
      this.#o.tree.changed(node, 0);
    });
    if (over !== null) this.#wake(over.ino);
  }

  #notMoved(node: NodeRecord): void {
    this.#unconfirmed.delete(node.ino);
    node.sending = node.sending.filter(({ place }) => place === null);
    this.#o.store.save(node);
  }

  /** The answer to a move was lost: if the server no longer has the node where it was but has something where it was to
   * go, the move was done. */
  async #confirmMove(node: NodeRecord, signal: AbortSignal): Promise<void> {
    const slot = this.#unconfirmed.get(node.ino);
    const from = this.#o.mirror.remotePath(node);
    if (slot === undefined) return;
    // The directory it was to go into may have moved since.
    const into = this.#o.store.get(slot.parent);
    const above = into === null ? null : this.#o.mirror.remotePath(into);
    const source = from === null ? null : await this.#stat(from, signal);
    const target = source === null && above !== null ? await this.#stat(joinPath(above, slot.name), signal) : null;
    this.#notMoved(node);
    if (target === null || from === null || target.kind !== node.kind) return;
    if (target.fileid !== null && node.fileid !== null && target.fileid !== node.fileid) return;
    const occupant = this.#o.store.atBase(slot.parent, slot.name);
    this.#moved(node, from, slot, occupant === node ? null : occupant);
  }

  async #delete(node: NodeRecord, signal: AbortSignal): Promise<void> {
    const path = this.#o.mirror.remotePath(node);
    if (path === null) throw new CloudError('again', `removing "${node.name}": its folder moves`);
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
          this.#o.mirror.resurrect(node);
          for (const entry of unknown) this.#o.mirror.present(entry, asked_ms, 0);
        });
        return;
      }
      etag = this.#o.remote.capabilities.collectionEtags ? (members[0]?.etag ?? null) : null;
    }
    await this.#remove(node, path, etag, signal);
  }

  async #deleteTree(node: NodeRecord, signal: AbortSignal): Promise<void> {
    const path = this.#o.mirror.remotePath(node);
    if (path === null) throw new CloudError('again', `removing "${node.name}": its folder moves`);
    await this.#o.store.durable();
    try {
      await this.#remove(node, path, node.baseEtag, signal);
    } catch (error) {
      if (!isCloudError(error, 'precondition', 'locked', 'no_access')) throw error;
      // Something below is not as we know it: one by one, each under its own ETag.
      this.#noTree.add(node.ino);
      throw new CloudError('again', `removing "${node.name}": not as a whole`, { cause: error });
    }
  }

  async #remove(node: NodeRecord, path: RemotePath, etag: string | null, signal: AbortSignal): Promise<void> {
    const token = node.lockInfo?.mine === true ? node.lockInfo.token : null;
    try {
      await this.#o.remote.remove(path, etag, { signal, ...(token === null ? {} : { lockToken: token }) });
    } catch (error) {
      if (!isCloudError(error, 'not_found')) throw error;
    }
    crashPoint('writeback.after_delete');
    this.#o.recent.note(path);
    this.#o.store.transaction(() => this.#forgetTree(node));
  }

  /** Was it made under one of the names it was sent by? Then that is where it is; else nowhere. */
  async #look(node: NodeRecord, signal: AbortSignal): Promise<void> {
    const places = node.sending.flatMap(({ place }) => (place === null ? [] : [place]));
    for (const place of places) {
      const parent = this.#o.store.get(place.parent);
      const above = parent === null ? null : this.#o.mirror.remotePath(parent);
      if (above === null) continue;
      const entry = await this.#stat(joinPath(above, place.name), signal);
      if (entry === null || !(await this.#isOurs(node, entry, signal))) continue;
      const settled = this.#o.store.transaction(() => this.#settleAt(node, place, entry));
      if (settled) return;
    }
    this.#o.store.transaction(() => {
      node.sending = [];
      this.#o.tree.changed(node, 0);
    });
  }

  async #isOurs(node: NodeRecord, entry: RemoteEntry, signal: AbortSignal): Promise<boolean> {
    if (entry.kind !== node.kind) return false;
    if (node.kind === 'dir') {
      // Nothing was put into it before it was known to be there: with members it is somebody else's.
      for await (const batch of this.#o.remote.list(entry.path, { signal })) {
        if (batch.some((member) => member.path !== entry.path)) return false;
      }
      return true;
    }
    if (node.kind === 'symlink') return entry.symlinkTarget === node.symlinkTarget;
    return wasSentByUs(node, entry, this.#o.remote, signal);
  }

  /** The server has `node` at `place`, as of our own request. */
  #settleAt(node: NodeRecord, place: BasePlace, entry: RemoteEntry): boolean {
    const { store, mirror } = this.#o;
    const shown = store.atBase(place.parent, place.name);
    if (shown !== null && shown !== node) {
      // The feed was faster and showed it as somebody else's.
      if (shown.differs || this.isBusy(shown) || this.#o.contents.isOpen(shown)) return false;
      mirror.gone(shown);
      if (store.atBase(place.parent, place.name) !== null) return false;
    }
    node.base = place;
    node.sending = [];
    mirror.adoptVersion(node, entry);
    this.#o.tree.changed(node, 0);
    return true;
  }

  async #attributes(node: NodeRecord, signal: AbortSignal): Promise<void> {
    const path = this.#o.mirror.remotePath(node);
    if (path === null) throw new CloudError('again', `changing "${node.name}": its folder moves`);
    await this.#o.store.durable();
    this.#dropWhatCannotBeSent(node);
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
      const token = node.lockInfo?.mine === true ? node.lockInfo.token : null;
      try {
        await this.#o.remote.setMeta(path, patch, { signal, ...(token === null ? {} : { lockToken: token }) });
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
      this.#clearError(node);
      this.#o.tree.changed(node);
    });
  }

  // ---- results --------------------------------------------------------------------------------------------------------

  /** Attributes that this server has no place for are ours alone and never pending. */
  #dropWhatCannotBeSent(node: NodeRecord): void {
    const { capabilities } = this.#o.remote;
    if (!capabilities.posix) node.dirty &= ~(Dirty.mode | Dirty.owner);
    if (!capabilities.setMtime) node.dirty &= ~Dirty.mtime;
    if (!capabilities.xattrs) {
      node.dirty &= ~Dirty.xattrs;
      node.xattrDirty = null;
    }
  }

  #clearError(node: NodeRecord): void {
    node.error = null;
    node.errorCode = null;
  }

  /** The server no longer has this node. */
  #forget(node: NodeRecord): void {
    node.base = null;
    node.baseEtag = null;
    node.fileid = null;
    this.#noTree.delete(node.ino);
    if (node.isDir) this.#o.tree.nothingWasSentInto(node);
    this.#o.tree.changed(node);
    this.#o.tree.purgeIfGone(node);
  }

  #forgetTree(node: NodeRecord): void {
    for (const member of this.#o.store.baseMembers(node.ino)) this.#forgetTree(member);
    this.#forget(node);
  }

  async #failed(node: NodeRecord, step: Step, error: CloudError): Promise<void> {
    if (this.#stop.signal.aborted || error.code === 'interrupted') return;
    this.#o.log.debug({ ino: node.ino, step: step.do, code: error.code, reason: error.message }, 'a step failed');
    switch (error.code) {
      case 'again':
        node.notBefore_ms = this.#o.clock.monotonic_ms() + BLOCKED_RETRY_MS;
        return;
      case 'precondition':
      case 'exists':
      case 'not_found':
      case 'not_dir':
      case 'is_dir':
      case 'stale':
        await this.#reconcile(node, step, error);
        return;
      case 'offline':
      case 'network':
      case 'timeout':
      case 'server':
      case 'busy_server':
      case 'protocol':
      case 'unauthorized':
        this.#o.connection.suspect(error);
        this.#backOff(node, error);
        return;
      case 'no_access':
        if (await settleRefused(node, step.do, { ...this.#o, stat: (path) => this.#stat(path, this.#stop.signal) }))
          return;
        this.#keep(node, error);
        return;
      default:
        this.#keep(node, error);
    }
  }

  #backOff(node: NodeRecord, error: CloudError): void {
    node.attempts += 1;
    const wait_ms = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(node.attempts - 1, 10));
    const asked_ms = (error.details.retryAfter_s ?? 0) * 1000;
    node.notBefore_ms = this.#o.clock.monotonic_ms() + Math.max(asked_ms, wait_ms * (0.5 + Math.random() / 2));
    if (error.code !== 'offline') node.error = error.message;
    this.#o.store.save(node);
  }

  /** Trying again soon will not help: the data stays, the reason is shown. */
  #keep(node: NodeRecord, error: CloudError): void {
    node.attempts += 1;
    node.error = error.message;
    node.errorCode = error.code;
    const retry = RETRY_MS[error.code];
    const wait_ms = retry === undefined ? BACKOFF_MAX_MS : (retry ?? Number.MAX_SAFE_INTEGER);
    node.notBefore_ms = this.#o.clock.monotonic_ms() + Math.min(wait_ms, 2 ** 31 - 1);
    this.#o.store.save(node);
    this.#o.log.warn(
      { ino: node.ino, name: node.name, code: error.code, reason: error.message },
      'not sent; the change is kept',
    );
  }

  /** The server has something else than we thought: look, then keep both, join, or send again. */
  async #reconcile(node: NodeRecord, step: Step, error: CloudError): Promise<void> {
    const { signal } = this.#stop;
    node.attempts += 1;
    if (node.attempts > 20) {
      this.#keep(node, error);
      return;
    }
    node.notBefore_ms = this.#o.clock.monotonic_ms() + Math.min(BACKOFF_MAX_MS, 50 * 2 ** node.attempts);
    const current = node.base === null ? null : this.#o.mirror.remotePath(node);
    const wanted = node.parent === null ? null : this.#wantedPath(node);
    const path = step.do === 'move' ? wanted : (current ?? wanted);
    if (path === null) return;
    const target = this.#targets.get(node.ino);
    if (target !== undefined && (target.parent !== node.parent || target.name !== node.name)) {
      // It is to be elsewhere by now: what the server has where it was to be is looked at when that matters.
      if (current !== null) this.#o.mirror.defer(current);
      return;
    }
    const asked_ms = this.#o.recent.now_ms();
    const entry = await this.#stat(path, signal);
    // Another request of ours has changed that place meanwhile: the step is simply tried again.
    if (this.#o.recent.touchedSince(path, asked_ms)) return;
    switch (step.do) {
      case 'upload':
        return this.#reconcileUpload(node, entry, signal);
      case 'make_dir':
        if (entry === null) return this.#checkParent(node, signal);
        if (await this.#isOurs(node, entry, signal)) {
          // Made by us, its answer lost; or by somebody else, and as empty as ours: all that is in it is here.
          this.#o.store.transaction(() => this.#take(node, entry));
        } else this.#o.store.transaction(() => this.#joinOrSetAside(node, entry));
        return;
      case 'make_link':
        if (entry === null) return this.#checkParent(node, signal);
        this.#o.store.transaction(() => {
          if (entry.kind === 'symlink' && entry.symlinkTarget === node.symlinkTarget) this.#take(node, entry);
          else this.#o.mirror.conflictWith(node, entry, 'the server has something else under this name');
        });
        return;
      case 'move': {
        const source = current === null ? null : await this.#stat(current, signal);
        if (source === null) {
          // Moved already (a lost answer)? The identity says so. Else it is gone, or its collection is.
          if (entry !== null && entry.fileid !== null && entry.fileid === node.fileid) {
            this.#o.store.transaction(() => {
              const occupant = node.parent === null ? null : this.#o.store.atBase(node.parent, node.name);
              if (occupant !== null && occupant !== node) this.#forget(occupant);
              node.base = node.parent === null ? null : { parent: node.parent, name: node.name };
              this.#o.tree.changed(node, 0);
            });
            return;
          }
          if (current !== null) this.#goneAfterStep(current, asked_ms);
          return;
        }
        if (entry === null) return this.#checkParent(node, signal);
        const replaced = node.parent === null ? null : this.#o.store.atBase(node.parent, node.name);
        if (
          replaced !== null &&
          replaced.parent === null &&
          (await wasSentByUs(replaced, entry, this.#o.remote, signal))
        ) {
          // Our own last upload, its answer lost: that is the version that was to be replaced.
          this.#o.store.transaction(() => {
            this.#o.mirror.adoptVersion(replaced, entry);
            this.#o.tree.changed(replaced, 0);
          });
          return;
        }
        // Something unknown has the name: it becomes known, and ours steps aside.
        this.#o.mirror.defer(path);
        this.#o.store.transaction(() => {
          const occupant = node.parent === null ? null : this.#o.store.atBase(node.parent, node.name);
          if (occupant !== null && occupant.parent === null) this.#o.mirror.present(entry, asked_ms, 0);
          else if (occupant === null && node.parent !== null)
            this.#o.mirror.setAside(node, 'the server has something else under this name');
        });
        return;
      }
      case 'delete':
      case 'delete_tree':
        if (entry !== null && (await wasSentByUs(node, entry, this.#o.remote, signal))) {
          // Our own last upload, its answer lost: that is the version that was deleted.
          this.#o.store.transaction(() => {
            this.#o.mirror.adoptVersion(node, entry);
            this.#o.tree.changed(node, 0);
          });
          return;
        }
        this.#o.store.transaction(() => {
          if (entry === null) this.#forgetTree(node);
          else if (node.kind === 'file' && entry.etag === node.baseEtag) this.#o.tree.changed(node);
          else {
            this.#o.log.info({ ino: node.ino, name: node.name }, 'changed on the server: the deletion is dropped');
            this.#o.mirror.resurrect(node);
            this.#o.mirror.defer(path);
          }
        });
        return;
      default:
        if (entry === null && current !== null) this.#goneAfterStep(current, asked_ms);
        else if (entry !== null) this.#o.mirror.defer(path);
    }
  }

  async #reconcileUpload(node: NodeRecord, entry: RemoteEntry | null, signal: AbortSignal): Promise<void> {
    if (node.parent === null) {
      // Removed here while it was being sent: what is left to do is its deletion.
      this.#o.store.transaction(() => {
        if (entry === null) this.#forget(node);
        else this.#o.tree.changed(node, 0);
      });
      return;
    }
    if (node.base === null && !this.#o.contents.isComplete(node)) {
      this.#keep(node, lostParts(node));
      return;
    }
    if (entry === null) {
      if (node.base === null) return this.#checkParent(node, signal);
      if (!this.#o.contents.isComplete(node)) {
        this.#keep(node, lostParts(node));
        return;
      }
      // Edited here, removed there: the edit wins.
      this.#o.store.transaction(() => {
        node.base = null;
        node.baseEtag = null;
        node.baseSize_bytes = null;
        node.fileid = null;
        node.lockInfo = null;
        node.uploadState = null;
        this.#o.tree.changed(node, 0);
      });
      return;
    }
    const sameVersion = node.baseEtag !== null && entry.etag === node.baseEtag;
    if (sameVersion && node.base !== null) return; // it was something passing; try again
    if (entry.kind === 'file' && (await sameContent(node, entry, this.#o, signal))) {
      this.#o.store.transaction(() => {
        this.#take(node, entry);
        this.#o.contents.markClean(node);
        this.#o.tree.changed(node, 0);
      });
      return;
    }
    if (await wasSentByUs(node, entry, this.#o.remote, signal)) {
      // Our own upload, its answer lost, and changed here since: the change goes on top of it.
      this.#o.store.transaction(() => {
        node.sending = [];
        this.#take(node, entry);
      });
      return;
    }
    let reason = 'changed on the server and here';
    if (entry.kind === 'file' && !this.#o.contents.isComplete(node)) {
      await completeFrom(node, entry, this.#o, signal);
      reason =
        'changed on the server while only a part was here: what was not changed here is from the server’s version';
    }
    this.#o.store.transaction(() => {
      this.#o.mirror.conflictWith(node, entry, reason);
      crashPoint('conflict.before_commit');
    });
    crashPoint('conflict.after_commit');
    node.attempts = 0;
    node.notBefore_ms = 0;
  }

  /** The server already has this very thing under the wanted name. */
  #take(node: NodeRecord, entry: RemoteEntry): void {
    if (node.parent !== null && node.base === null) {
      const occupant = this.#o.store.atBase(node.parent, node.name);
      if (occupant !== null && occupant !== node) {
        if (occupant.parent !== null) return; // that is what is there
        this.#forget(occupant);
      }
      node.base = { parent: node.parent, name: node.name };
    }
    this.#o.mirror.adoptVersion(node, entry);
    this.#clearError(node);
    this.#o.tree.changed(node, 0);
  }

  #joinOrSetAside(node: NodeRecord, entry: RemoteEntry): void {
    if (entry.kind === 'dir') {
      this.#take(node, entry);
      node.listed_ms = 0;
      this.#o.store.save(node);
    } else this.#o.mirror.conflictWith(node, entry, 'the server has a file under this name');
  }

  /** A 404 or 409 for a new member: is its collection still there? */
  async #checkParent(node: NodeRecord, signal: AbortSignal): Promise<void> {
    const parent = node.parent === null ? null : this.#o.store.get(node.parent);
    if (parent === null || parent.ino === 1) return;
    const path = this.#o.mirror.remotePath(parent);
    if (path === null) return;
    const asked_ms = this.#o.recent.now_ms();
    const entry = await this.#stat(path, signal);
    if (entry === null) this.#o.store.transaction(() => this.#o.mirror.gonePath(path, asked_ms));
  }

  /** This node is busy until its step has ended: what the mirror must hear of it waits until then. */
  #goneAfterStep(path: RemotePath, _asked_ms: number): void {
    this.#o.mirror.defer(path);
  }

  #wantedPath(node: NodeRecord): RemotePath | null {
    const parent = node.parent === null ? null : this.#o.store.get(node.parent);
    const above = parent === null ? null : this.#o.mirror.remotePath(parent);
    return above === null ? null : joinPath(above, node.name);
  }
}

function metaOf(node: NodeRecord): PosixMeta {
  return {
    ...((node.dirty & Dirty.mtime) !== 0 ? { mtime: node.mtime } : {}),
    ...(node.mode !== null ? { mode: node.mode } : {}),
    ...(node.uid !== null ? { uid: node.uid } : {}),
    ...(node.gid !== null ? { gid: node.gid } : {}),
  };
}

function placeOf(target: { readonly parent: Ino; readonly name: Name }): BasePlace {
  return { parent: target.parent, name: target.name };
}
