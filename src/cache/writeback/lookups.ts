// Asks the server again about what it spoke of while a request of ours was on its way, or what proved to be otherwise than
// we knew. What cannot be answered now stays to be asked: no listing will tell it a second time.

import type { RemotePath } from '../../ids.js';
import type { Log } from '../../log.js';
import type { Remote } from '../../remote/remote.js';
import type { Connection } from '../connection.js';
import type { NodeStore } from '../metadata/node_store.js';
import type { Mirror } from '../mirror.js';
import type { RecentOperations } from '../recent_operations.js';
import { statOrNull } from './request.js';

const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 60_000;

export interface LookupServices {
  readonly remote: Remote;
  readonly store: NodeStore;
  readonly mirror: Mirror;
  readonly connection: Connection;
  readonly recent: RecentOperations;
  readonly log: Log;
}

export class Lookups {
  readonly #o: LookupServices;
  readonly #stop: AbortSignal;
  #running: Promise<void> = Promise.resolve();
  #retry: NodeJS.Timeout | null = null;
  #wait_ms = RETRY_FIRST_MS;

  constructor(services: LookupServices, stop: AbortSignal) {
    this.#o = services;
    this.#stop = stop;
  }

  /** Asks about all that was put off and may be asked by now; offline, that is for later. */
  kick(): void {
    if (this.#stop.aborted || !this.#o.connection.online) return;
    const paths = this.#o.mirror.takeDeferred();
    if (paths.length === 0) return;
    this.#running = this.#running.then(async () => {
      for (const path of paths) await this.#ask(path);
      this.#endWithoutFeed();
    });
  }

  /** Resolves when what is being asked now is answered, or has failed. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** After the signal was aborted. */
  async close(): Promise<void> {
    if (this.#retry !== null) clearTimeout(this.#retry);
    await this.#running;
  }

  async #ask(path: RemotePath): Promise<void> {
    if (this.#stop.aborted) return;
    const { remote, store, mirror, recent, connection, log } = this.#o;
    const asked_ms = recent.now_ms();
    try {
      const entry = await statOrNull(remote, path, this.#stop);
      mirror.deferred.answered(path);
      store.transaction(() => {
        if (entry === null) mirror.gonePath(path, asked_ms);
        else mirror.present(entry, asked_ms, 0);
      });
      this.#wait_ms = RETRY_FIRST_MS;
    } catch (error) {
      mirror.deferred.add(path);
      mirror.deferred.answered(path);
      if (this.#stop.aborted) return;
      connection.suspect(error);
      log.debug({ err: error, path }, 'looking up a path again failed; it is tried again');
      this.#later();
    }
  }

  /** What an answer pushed out of its place would wait for the end of a feed, or of the next listing, and nobody may list. */
  #endWithoutFeed(): void {
    const { remote, store, mirror } = this.#o;
    if (this.#stop.aborted || remote.capabilities.changeFeed) return;
    store.transaction(() => mirror.endOfFeed());
  }

  #later(): void {
    if (this.#retry !== null) return;
    this.#retry = setTimeout(() => {
      this.#retry = null;
      this.kick();
    }, this.#wait_ms);
    this.#wait_ms = Math.min(2 * this.#wait_ms, RETRY_MAX_MS);
  }
}
