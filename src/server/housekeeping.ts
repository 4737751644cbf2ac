// What a running server does for itself: expired locks and old tombstones, abandoned uploads, contents nobody refers to.
// Never two rounds at once; a round that fails is told and tried again at the next.

import type { Clock } from '../clock.js';
import type { Log } from '../log.js';
import { keepSpareRoom } from '../spare_room.js';
import { backupRuns } from './backup/lease.js';
import type { DataDir } from './data_dir.js';
import type { BlobStore } from './storage/blobs/blob_store.js';
import { type CollectResult, collectGarbage } from './storage/blobs/collector.js';
import type { MetadataStore, SweepResult } from './storage/metadata/metadata_store.js';
import type { ChunkedUploads } from './uploads/chunked_uploads.js';

export interface HousekeepingServices {
  readonly dir: DataDir;
  readonly metadata: MetadataStore;
  readonly blobs: BlobStore;
  readonly uploads: ChunkedUploads;
  readonly clock: Clock;
  readonly log: Log;
  readonly uploadAge_ms: number;
}

export interface HousekeepingResult extends SweepResult {
  readonly removedUploads: number;
  /** null = a backup runs, nothing was collected. */
  readonly collected: CollectResult | null;
}

const ROUND_MS = 10 * 60_000;
/** Looking for orphans walks all contents: at the first round (a crash made them, if any) and then once a day. */
const ORPHANS_EVERY = 144;

export class Housekeeping {
  readonly #services: HousekeepingServices;
  readonly #abort = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #round = 0;
  /** Room is kept from the start on: the disk may be full before the first round. */
  readonly #begun: Promise<void>;
  #running: Promise<void>;
  #busy = false;

  constructor(services: HousekeepingServices) {
    this.#services = services;
    this.#timer = setInterval(() => this.#start(), ROUND_MS);
    this.#timer.unref();
    this.#begun = this.#keepRoom().catch((error: unknown) => {
      services.log.warn({ err: error }, 'no room is kept for a full disk');
    });
    this.#running = this.#begun;
  }

  /** Ends a running round and waits for it. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#abort.abort();
    await this.#running;
  }

  #start(): void {
    if (this.#busy) return;
    this.#busy = true;
    this.#running = this.round()
      .then((done) => this.#services.log.debug(done, 'housekeeping done'))
      .catch((error: unknown) => {
        if (!this.#abort.signal.aborted) this.#services.log.warn({ err: error }, 'housekeeping failed');
      })
      .finally(() => {
        this.#busy = false;
      });
  }

  /** One round, now. */
  async round(): Promise<HousekeepingResult> {
    const { dir, metadata, blobs, uploads, clock, uploadAge_ms } = this.#services;
    await this.#begun;
    const now_ms = clock.now_ms();
    const swept = await metadata.sweep(now_ms);
    const removedUploads = await uploads.sweep(now_ms - uploadAge_ms);
    const orphans = this.#round % ORPHANS_EVERY === 0;
    this.#round += 1;
    const collected = backupRuns(dir, now_ms)
      ? null
      : await collectGarbage(metadata, blobs, { now_ms, orphans, signal: this.#abort.signal });
    await this.#keepRoom();
    return { ...swept, removedUploads, collected };
  }

  async #keepRoom(): Promise<void> {
    const { dir, blobs } = this.#services;
    await keepSpareRoom(dir, await blobs.free());
  }
}
