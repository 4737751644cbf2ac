// The set of nodes with work to do. Each is in exactly one place: ready, sleeping (quiet time, backoff), waiting for
// another node, or running (which the owner keeps).

import type { Clock } from '../../clock.js';
import { CloudError } from '../../errors.js';
import type { Ino } from '../../ids.js';
import type { NodeRecord } from '../metadata/node.js';
import type { NodeStore } from '../metadata/node_store.js';

const BLOCKED_RETRY_MS = 500;
/** So long at a time: the kernel's requests come in between. */
const PUMP_MS = 4;

export interface QueueOptions {
  readonly store: NodeStore;
  readonly clock: Clock;
  readonly parallel: number;
  /** Nothing starts while this says no; `kick` when it says yes again. */
  readonly mayStart: () => boolean;
  readonly running: { readonly size: number; has(ino: Ino): boolean };
  readonly hasWork: (node: NodeRecord) => boolean;
  /** Starts the node, or puts it to sleep or to wait. */
  readonly consider: (node: NodeRecord) => void;
  /** Everything waits for something else. */
  readonly stuck: () => void;
}

export class WorkQueue {
  readonly #o: QueueOptions;
  readonly #ready = new Set<Ino>();
  readonly #sleeping = new Map<Ino, NodeJS.Timeout>();
  /** Who sleeps because it waited when nothing went on. Until all of them were looked at it is not known who waits. */
  readonly #doubted = new Set<Ino>();
  /** Who waits, by whom for. */
  readonly #waiting = new Map<Ino, Set<Ino>>();
  readonly #listeners = new Set<() => void>();
  #pumping = false;
  /** Where in `#ready` the look at it goes on. */
  #next: IterableIterator<Ino> | null = null;
  #closed = false;

  constructor(options: QueueOptions) {
    this.#o = options;
  }

  add(ino: Ino): void {
    this.#ready.add(ino);
  }

  /** It is being worked on, or has nothing to do. */
  remove(ino: Ino): void {
    this.#ready.delete(ino);
  }

  /** The node's pending work changed. */
  enqueue(node: NodeRecord): void {
    const { ino } = node;
    this.#endSleep(ino);
    if (!this.#o.hasWork(node)) {
      this.#ready.delete(ino);
      this.wake(ino);
      this.announce();
      return;
    }
    if (this.#o.running.has(ino)) return;
    const delay = node.notBefore_ms - this.#o.clock.monotonic_ms();
    if (delay > 0) this.sleep(ino, delay);
    else {
      this.#ready.add(ino);
      this.kick();
    }
  }

  sleep(ino: Ino, delay_ms = BLOCKED_RETRY_MS): void {
    this.#ready.delete(ino);
    this.#endSleep(ino);
    const timer = setTimeout(() => {
      this.#sleeping.delete(ino);
      this.#doubted.delete(ino);
      const node = this.#o.store.get(ino);
      if (node !== null) this.enqueue(node);
      this.kick();
    }, delay_ms);
    this.#sleeping.set(ino, timer);
  }

  #endSleep(ino: Ino): void {
    const timer = this.#sleeping.get(ino);
    if (timer !== undefined) clearTimeout(timer);
    this.#sleeping.delete(ino);
    this.#doubted.delete(ino);
  }

  /** Until `on` has done its work; null = until something may have changed. */
  wait(ino: Ino, on: Ino | null): void {
    this.#ready.delete(ino);
    if (on === null || on === ino) {
      this.sleep(ino);
      return;
    }
    let waiters = this.#waiting.get(on);
    if (waiters === undefined) {
      waiters = new Set();
      this.#waiting.set(on, waiters);
    }
    waiters.add(ino);
  }

  /** Those who wait for `on` are looked at again. */
  wake(on: Ino): void {
    const waiters = this.#waiting.get(on);
    if (waiters === undefined) return;
    this.#waiting.delete(on);
    for (const ino of waiters) this.#ready.add(ino);
    this.kick();
  }

  waiters(): Set<Ino> {
    return new Set([...this.#waiting.values()].flatMap((waiters) => [...waiters]));
  }

  stopWaiting(ino: Ino): void {
    for (const waiters of this.#waiting.values()) waiters.delete(ino);
  }

  /** All who wait are looked at again in a moment: something may have changed without a wake. */
  doubtAll(): void {
    for (const ino of this.waiters()) {
      this.sleep(ino);
      this.#doubted.add(ino);
    }
    this.#waiting.clear();
  }

  announce(): void {
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener();
  }

  /** Resolves at the next change of the queue. Rejects with `interrupted`. */
  changed(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const aborted = () => {
        this.#listeners.delete(done);
        reject(new CloudError('interrupted', 'waiting for uploads: interrupted'));
      };
      const done = () => {
        signal?.removeEventListener('abort', aborted);
        resolve();
      };
      if (signal?.aborted === true) {
        aborted();
        return;
      }
      this.#listeners.add(done);
      signal?.addEventListener('abort', aborted, { once: true });
    });
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#sleeping.values()) clearTimeout(timer);
    this.#sleeping.clear();
  }

  kick(): void {
    if (this.#pumping || this.#closed) return;
    this.#pumping = true;
    setImmediate(() => {
      this.#pumping = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#closed || !this.#o.mayStart()) return;
    const { store, clock, running, parallel } = this.#o;
    const until_ms = clock.monotonic_ms() + PUMP_MS;
    this.#next ??= this.#ready.values();
    for (;;) {
      if (running.size >= parallel) {
        this.#next = null; // from the oldest on, when one of them is done
        return;
      }
      if (clock.monotonic_ms() >= until_ms) {
        this.kick();
        return;
      }
      const { value: ino, done } = this.#next.next();
      if (done === true) break;
      const node = store.get(ino);
      if (node === null || !this.#o.hasWork(node) || running.has(ino)) {
        this.#ready.delete(ino);
        this.wake(ino);
        continue;
      }
      const delay = node.notBefore_ms - clock.monotonic_ms();
      if (delay > 0) this.sleep(ino, delay);
      else this.#o.consider(node);
    }
    this.#next = null;
    if (this.#ready.size > 0 || running.size > 0 || this.#doubted.size > 0) return;
    if (this.#waiting.size > 0) this.#o.stuck();
  }
}
