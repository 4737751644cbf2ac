// Are we online? One state for the whole mount. A failed request only raises the question; a short probe answers it. While
// offline everything that needs the network fails at once, and the probe runs every few seconds until it succeeds.

import type { Clock } from '../clock.js';
import { CloudError, isCloudError, toCloudError } from '../errors.js';
import type { Log } from '../log.js';
import { raceAbort } from '../race_abort.js';
import type { ConnectionState, Remote } from '../remote/remote.js';

const PROBE_EVERY_MS = 3_000;
const PROBE_UNAUTHORIZED_MS = 30_000;
const PROBE_BOUND_MS = 8_000;
const LATELY_MS = 10_000;

export interface ConnectionOptions {
  readonly remote: Remote;
  readonly clock: Clock;
  readonly log: Log;
  /** `online` also after every reconnect. Called with the state already changed. */
  readonly onState: (state: ConnectionState) => void;
}

export class Connection {
  readonly #o: ConnectionOptions;
  readonly #stop = new AbortController();
  #state: ConnectionState = 'offline';
  #error: string | null = null;
  #changed_ms = Number.NEGATIVE_INFINITY;
  /** A request timed out and the probe has not answered yet. */
  #silent = false;
  #probing: Promise<void> | null = null;
  #wake: (() => void) | null = null;

  constructor(options: ConnectionOptions) {
    this.#o = options;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get online(): boolean {
    return this.#state === 'online';
  }

  /** Also where the server was a moment ago: it may only be starting anew. */
  get onlineLately(): boolean {
    return this.online || this.#o.clock.monotonic_ms() - this.#changed_ms < LATELY_MS;
  }

  get error(): string | null {
    return this.#error;
  }

  /** Throws `offline` (or `unauthorized`) when there is no point in asking the server. */
  require(doing: string): void {
    if (this.#state === 'online') return;
    throw new CloudError(
      this.#state === 'unauthorized' ? 'unauthorized' : 'offline',
      `${doing}: ${this.#state === 'unauthorized' ? 'the server does not accept the credentials' : 'no connection to the server'}${this.#error === null ? '' : ` (${this.#error})`}`,
    );
  }

  /** As `require`, once it is known whether a server that was silent is there; that may be one path's trouble alone. */
  async reach(doing: string, signal: AbortSignal | undefined): Promise<void> {
    if (this.#silent && this.#probing !== null) {
      await (signal === undefined ? this.#probing : raceAbort(this.#probing, signal));
    }
    this.require(doing);
  }

  /** First connection, unless there is one; resolves when it is known whether there is. */
  async start(connected: boolean): Promise<void> {
    if (connected) this.#set('online', null);
    else await this.#probe(true);
    this.#loop().catch((error: unknown) => this.#o.log.error({ err: error }, 'the connection loop ended'));
  }

  /** A request failed in a way that may mean that the server is out of reach. */
  suspect(error: unknown): void {
    if (isCloudError(error, 'unauthorized')) {
      this.#set('unauthorized', error.message);
      return;
    }
    if (!isCloudError(error, 'network', 'timeout', 'protocol', 'server', 'busy_server') || this.#state !== 'online')
      return;
    // Whoever comes while it is being found out whether a silent server is there must not wait as long again.
    if (isCloudError(error, 'timeout')) this.#silent = true;
    void this.#probe(false);
  }

  /** Something hints at a change, such as a push channel that was closed: asks whether the server still takes us. */
  doubt(): void {
    if (this.#state === 'online') void this.#probe(false);
  }

  /** Probe now instead of at the next interval. Resolves when it is known. */
  async reconnect(): Promise<void> {
    if (this.#state !== 'online' && !this.#stop.signal.aborted) await this.#probe(true);
  }

  close(): void {
    this.#stop.abort();
    this.#wake?.();
  }

  async #loop(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const wait_ms = this.#state === 'unauthorized' ? PROBE_UNAUTHORIZED_MS : PROBE_EVERY_MS;
      await this.#sleep(wait_ms);
      if (signal.aborted) return;
      if (this.#state !== 'online') await this.#probe(true);
    }
  }

  async #sleep(wait_ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, wait_ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = null;
  }

  /** `full`: find out anew what the server is (after having been away); else only whether it answers. */
  #probe(full: boolean): Promise<void> {
    this.#probing ??= this.#probeOnce(full).finally(() => {
      this.#probing = null;
      this.#silent = false;
    });
    return this.#probing;
  }

  async #probeOnce(full: boolean): Promise<void> {
    const bound = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(PROBE_BOUND_MS)]);
    try {
      if (full) await this.#o.remote.connect({ signal: bound });
      else await this.#o.remote.ping({ signal: bound });
      this.#set('online', null);
    } catch (caught) {
      if (this.#stop.signal.aborted) return;
      const error = toCloudError(caught, 'asking the server');
      if (error.code === 'unauthorized' || error.code === 'no_access') this.#set('unauthorized', error.message);
      else this.#set('offline', error.code === 'interrupted' ? 'no answer in time' : error.message);
    }
  }

  #set(state: ConnectionState, error: string | null): void {
    this.#error = error;
    if (state === this.#state) return;
    this.#state = state;
    this.#changed_ms = this.#o.clock.monotonic_ms();
    this.#o.log.info({ state, error }, 'connection');
    this.#o.onState(state);
  }
}
