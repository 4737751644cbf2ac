// Sends what is pending: decides by `plan`, several steps at a time, retries what can help, keeps and reports the rest.
//
// Nothing is sent without a precondition, so any step may be repeated after a crash or a lost answer. What is to be sent is
// the set of rows with `pending`; `plan` says what next for one of them, `queue` when, `steps` asks the server, `reconcile`
// looks what to do when it says no.

import { type Clock, LONGEST_TIMER_MS } from '../../clock.js';
import { type CloudError, type ErrorCode, toCloudError } from '../../errors.js';
import type { Ino, Name } from '../../ids.js';
import type { Log } from '../../log.js';
import type { Remote } from '../../remote/remote.js';
import { asideName, isAsideName } from '../aside_name.js';
import type { Conflicts } from '../conflicts.js';
import type { Connection } from '../connection.js';
import type { Contents } from '../contents.js';
import type { Hydrator } from '../hydrator.js';
import type { BasePlace, NodeRecord } from '../metadata/node.js';
import type { NodeStore } from '../metadata/node_store.js';
import type { Mirror } from '../mirror.js';
import type { RecentOperations } from '../recent_operations.js';
import type { SpaceBudget } from '../space.js';
import type { Tree } from '../tree.js';
import { Lookups } from './lookups.js';
import { Outcomes } from './outcomes.js';
import { type PlanContext, plan, type Step, uncertainFrom } from './plan.js';
import { Precedence } from './precedence.js';
import { WorkQueue } from './queue.js';
import { Reconciler } from './reconcile.js';
import { settleRefused } from './refused.js';
import { placePath, statOrNull } from './request.js';
import { Steps } from './steps.js';
import { type Running, UnderWay } from './under_way.js';
import type { UploadServices } from './upload.js';
import { WholeTrees } from './whole_trees.js';

const PARALLEL = 16;
/** A file that stays open for writing is sent when it has been left alone for this long. */
const OPEN_IDLE_MS = 8_000;
const SIBLINGS_ASKED = 64;
const BLOCKED_RETRY_MS = 500;
const RECONCILE_ATTEMPTS = 20;
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 60_000;
/** Who asks us to come again in an hour may be back in minutes, and one request more does no harm. */
const ASKED_MAX_MS = 5 * 60_000;

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

export interface WritebackOptions extends UploadServices {
  readonly tree: Tree;
  readonly mirror: Mirror;
  readonly conflicts: Conflicts;
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
  /** The server has something else than we knew: nobody told us, so there may be more of it. */
  readonly onSurprise: () => void;
  /** A part of what the feed has to tell is known, and the rest is not. */
  readonly isCatchingUp: () => boolean;
  /** See `StepServices`. */
  readonly lockAgain: (node: NodeRecord, stayed: string | null) => Promise<void>;
}

export class Writeback {
  /** How often in a row something else than we thought was found on the server. */
  readonly #reconciled = new WeakMap<NodeRecord, number>();
  readonly #o: WritebackOptions;
  readonly #underWay: UnderWay;
  readonly #wholeTrees: WholeTrees;
  readonly #queue: WorkQueue;
  readonly #outcomes: Outcomes;
  readonly #steps: Steps;
  readonly #reconciler: Reconciler;
  readonly #context: PlanContext;
  readonly #stop = new AbortController();
  readonly #lookups: Lookups;
  readonly #precedence: Precedence;

  constructor(options: WritebackOptions) {
    this.#o = options;
    const { store, clock, connection } = options;
    const underWay = new UnderWay(store);
    this.#underWay = underWay;
    const wholeTrees = new WholeTrees(options);
    this.#wholeTrees = wholeTrees;
    this.#precedence = new Precedence(clock, () => this.#queue.kick());
    this.#queue = new WorkQueue({
      store,
      clock,
      parallel: PARALLEL,
      running: underWay.running,
      mayStart: () => connection.online && this.#precedence.mayStart(),
      hasWork: ({ ino, pending }) => pending !== null || underWay.unconfirmed.has(ino),
      consider: (node) => this.#consider(node),
      stuck: () => this.#untangle(),
    });
    this.#lookups = new Lookups(options, this.#stop.signal);
    this.#outcomes = new Outcomes(options, wholeTrees);
    this.#steps = new Steps(options, underWay, wholeTrees, this.#outcomes, (ino) => this.#queue.wake(ino));
    this.#reconciler = new Reconciler({ ...options, keep: (node, error) => this.#keep(node, error) }, this.#outcomes);
    this.#context = {
      store,
      isBusy: (node) => underWay.isBusy(node),
      isUncertain: (node) => underWay.isUncertain(node),
      uncertainIn: (dir) => underWay.uncertainIn(dir),
      busyBelow: (node) => underWay.busyBelow(node),
      makerAt: (parent, name) => underWay.makerAt(parent, name),
      wholeTree: (node) => this.#wholeTrees.judge(node),
    };
  }

  /** What an earlier run left. */
  start(): void {
    const { store } = this.#o;
    for (const ino of store.pendingInos()) this.#queue.add(ino);
    for (const node of store.sending()) {
      const place = node.base === null ? null : (node.sending.findLast((sent) => sent.place !== null)?.place ?? null);
      if (place === null || placePath(place, this.#o) === null) continue;
      this.#underWay.unconfirmed.set(node.ino, place);
      this.#queue.add(node.ino);
    }
    this.#queue.kick();
  }

  isBusy(node: NodeRecord): boolean {
    return this.#underWay.isBusy(node);
  }

  isUnsettled(node: NodeRecord): boolean {
    return this.#underWay.isUnsettled(node);
  }

  makerAt(parent: Ino, name: Name): Ino | null {
    return this.#underWay.makerAt(parent, name);
  }

  running(ino: Ino): Running | null {
    return this.#underWay.running.get(ino) ?? null;
  }

  /** Resolves when it is known where the server has the node; false = it was. Rejects with `interrupted`. */
  async settleWay(node: NodeRecord, signal: AbortSignal = this.#stop.signal): Promise<boolean> {
    let waited = false;
    for (;;) {
      const mover = this.#underWay.moverOnWayTo(node);
      if (mover === null) return waited;
      waited = true;
      if (!this.#underWay.isBusy(mover)) this.sendNow(mover);
      await this.changed(AbortSignal.any([signal, this.#stop.signal]));
    }
  }

  /** The node's pending work changed. */
  enqueue(node: NodeRecord): void {
    this.#queue.enqueue(node);
  }

  /** Somebody waits for it. */
  sendNow(node: NodeRecord): void {
    node.notBefore_ms = 0;
    this.#precedence.hurry();
    this.enqueue(node);
  }

  /** What is to be sent before `node` can be, over others perhaps; itself if nothing else is in its way. */
  inTheWayOf(node: NodeRecord): NodeRecord {
    const seen = new Set<NodeRecord>();
    for (let at = node; ; ) {
      seen.add(at);
      const step = plan(at, this.#context);
      const on = step.do === 'wait' && step.on !== null ? this.#o.store.get(step.on) : null;
      if (on === null || on.pending === null || seen.has(on)) return at;
      at = on;
    }
  }

  /** Is a file being sent, or about to be, that may be evicted afterwards? Not one that is still being written. */
  makesRoom(): boolean {
    const { connection, contents, store } = this.#o;
    return connection.onlineLately && store.toBeSent().some((ino) => (contents.peek(ino)?.writers ?? 0) === 0);
  }

  /** The kernel asks for something: what is sent gives way. */
  served(): void {
    this.#precedence.served();
  }

  /** Tries everything now, also what failed (`cloudmount flush`, back online). Damaged content only when a user asks: he
   * may have put it right. */
  retryAll(within: (node: NodeRecord) => boolean, damagedToo = false): void {
    this.#precedence.hurry();
    for (const ino of this.#o.store.pendingInos()) {
      const node = this.#o.store.get(ino);
      if (node === null || !within(node)) continue;
      node.notBefore_ms = 0;
      if (node.errorCode !== 'corrupt' || damagedToo) this.enqueue(node);
    }
  }

  /** Resolves at the next change of the queue. Rejects with `interrupted`. */
  changed(signal: AbortSignal): Promise<void> {
    return this.#queue.changed(signal);
  }

  /** The same, or after so long: for what changes without a word, such as what waits for what. */
  async changedWithin(longest_ms: number, signal: AbortSignal): Promise<void> {
    try {
      await this.changed(AbortSignal.any([signal, AbortSignal.timeout(longest_ms)]));
    } catch (error) {
      if (signal.aborted) throw error;
    }
  }

  /** The connection came back. */
  resume(): void {
    this.retryAll(() => true);
    this.#lookups.kick();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#queue.close();
    const { running } = this.#underWay;
    for (const { abort } of running.values()) abort.abort();
    while (running.size > 0) await this.#queue.changed();
    await this.#lookups.close();
  }

  // ---- what next ------------------------------------------------------------------------------------------------------

  #consider(node: NodeRecord): void {
    if (this.#wholeTrees.isGivenUp(node)) this.#queue.wake(node.ino); // what is in it waited to go with it
    const mover = this.#mayHaveReplaced(node);
    const to = this.#underWay.unconfirmed.get(node.ino);
    const step: Step =
      to !== undefined
        ? this.#planConfirm(node, to)
        : mover !== null
          ? { do: 'wait', on: mover }
          : plan(node, this.#context);
    if (step.do === 'wait') {
      const on = step.on === null ? null : this.#o.store.get(step.on);
      // Waiting for something that has nothing to do would be for ever.
      const pointless = on !== null && on.pending === null && !this.isBusy(on);
      this.#queue.wait(node.ino, pointless ? null : step.on);
      return;
    }
    if (step.do === 'nothing') {
      this.#queue.remove(node.ino);
      this.#o.store.transaction(() => this.#o.tree.changed(node));
      return;
    }
    if (step.do === 'upload') {
      const content = this.#o.contents.peek(node.ino);
      if (content !== null && content.writers > 0 && !content.sendNow) {
        const idle = this.#o.clock.monotonic_ms() - content.lastWrite_ms;
        const whole = content.kernelWrites !== null || this.#mayOnlyAdd(node);
        if (whole || idle < OPEN_IDLE_MS) {
          this.#queue.sleep(node.ino, whole ? OPEN_IDLE_MS : OPEN_IDLE_MS - idle);
          return;
        }
      }
    }
    if (step.do === 'delete' && this.#stillRead(node)) return;
    this.#queue.remove(node.ino);
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
  #planConfirm(node: NodeRecord, to: BasePlace): Step {
    for (const parent of [node.base?.parent ?? null, to.parent]) {
      const unsure = parent === null ? null : uncertainFrom(this.#o.store.get(parent), this.#context);
      if (unsure !== null && unsure !== node) return { do: 'wait', on: unsure.ino };
    }
    return { do: 'confirm' };
  }

  /** A node whose move to the very place of this one has no answer yet: what is there may be either. */
  #mayHaveReplaced({ ino, base }: NodeRecord): Ino | null {
    const mover = base === null ? null : this.#underWay.movedTo(base.parent, base.name);
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
    this.#queue.sleep(node.ino, 2 * BLOCKED_RETRY_MS);
    return true;
  }

  /** Everything waits for something else: names that change places in a circle, a directory that moves into a new one of
   * its own name, a file that takes the name of the directory it was in. One of them steps aside on the server. */
  #untangle(): void {
    const waiting = this.#queue.waiters();
    for (const ino of waiting) {
      const node = this.#o.store.get(ino);
      if (node === null || node.parent === null || node.inPlace) continue;
      const occupant = this.#o.store.atBase(node.parent, node.name);
      if (occupant === null || occupant.base === null || occupant.inPlace) continue;
      if (!waiting.has(occupant.ino)) continue; // it will go by itself
      const leaves = occupant.parent === null && this.#underWay.isInside(node.base?.parent ?? null, occupant);
      if (occupant.parent === null && !leaves) continue;
      const goes = leaves ? node : occupant;
      if (this.#underWay.unconfirmed.has(goes.ino) || (goes.base !== null && isAsideName(goes.base.name))) continue; // has stepped aside
      this.#queue.stopWaiting(goes.ino);
      const into = leaves ? node.parent : occupant.base.parent;
      this.#start(goes, { do: 'move', over: null }, { parent: into, name: asideName() });
      return;
    }
    this.#queue.doubtAll(); // no circle
  }

  // ---- running --------------------------------------------------------------------------------------------------------

  #start(node: NodeRecord, step: Step, aside: BasePlace | null = null): void {
    const running: Running = { step: step.do, sent_bytes: 0, abort: new AbortController() };
    this.#underWay.running.set(node.ino, running);
    this.#steps
      .run(node, step, aside, running, running.abort.signal) // `close` aborts those that run
      .then(() => {
        node.attempts = 0;
        this.#reconciled.delete(node);
      })
      .catch((error: unknown) => this.#failed(node, step, toCloudError(error, `sending "${node.name}"`)))
      .catch((error: unknown) => {
        this.#o.log.error({ err: error, ino: node.ino }, 'handling a failed step failed');
        node.notBefore_ms = this.#o.clock.monotonic_ms() + BACKOFF_MAX_MS;
      })
      .finally(() => {
        this.#underWay.running.delete(node.ino);
        this.#underWay.targets.delete(node.ino);
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
    this.#queue.wake(node.ino);
    this.enqueue(node);
    this.#queue.announce();
    this.#queue.kick();
    this.lookUpDeferred();
  }

  /** Resolves when the server has answered what it is being asked about again, or could not. */
  lookedUp(): Promise<void> {
    return this.#lookups.settled();
  }

  /** Asks the server again about paths that it spoke of while a request of ours was on its way. */
  lookUpDeferred(): void {
    this.#lookups.kick();
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
        if (
          await settleRefused(node, step.do, {
            ...this.#o,
            stat: (path) => statOrNull(this.#o.remote, path, this.#stop.signal),
          })
        )
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
    const asked_ms = Math.min((error.details.retryAfter_s ?? 0) * 1000, ASKED_MAX_MS);
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
    node.notBefore_ms = this.#o.clock.monotonic_ms() + Math.min(wait_ms, LONGEST_TIMER_MS);
    this.#o.store.save(node);
    this.#o.log.warn(
      { ino: node.ino, name: node.name, code: error.code, reason: error.message },
      'not sent; the change is kept',
    );
  }

  async #reconcile(node: NodeRecord, step: Step, error: CloudError): Promise<void> {
    this.#o.onSurprise();
    const tries = (this.#reconciled.get(node) ?? 0) + 1;
    if (tries > RECONCILE_ATTEMPTS) {
      // It goes round in circles: told, and begun anew when it is tried the next time.
      this.#reconciled.delete(node);
      this.#keep(node, error);
      return;
    }
    this.#reconciled.set(node, tries);
    node.attempts += 1;
    node.notBefore_ms = this.#o.clock.monotonic_ms() + Math.min(BACKOFF_MAX_MS, 50 * 2 ** tries);
    await this.#reconciler.reconcile(node, step, this.#underWay.targets.get(node.ino), this.#stop.signal);
  }
}
