// What happens to shares and locks without a request: they expire. Looked at every second (two small queries), so that
// an entry is gone and a file is free within a second of its date, and so that changes by another process on the same
// data folder (the CLI) are told to connected clients too.

import type { Clock } from '../../clock.js';
import type { Log } from '../../log.js';
import type { ChangeBus } from '../changes/change_bus.js';
import type { CommittedChange, MetadataStore } from '../storage/metadata/metadata_store.js';

const TICK_MS = 1000;

export class ShareTicker {
  readonly #metadata: MetadataStore;
  readonly #clock: Clock;
  readonly #changes: Pick<ChangeBus, 'publishToAll'>;
  readonly #log: Log;
  readonly #timer: NodeJS.Timeout;
  readonly #detach: () => void;
  #knownSeq: number | null = null;
  #running: Promise<void> = Promise.resolve();
  #isBusy = false;

  constructor(options: {
    readonly metadata: MetadataStore;
    readonly clock: Clock;
    readonly changes: Pick<ChangeBus, 'publishToAll'>;
    readonly log: Log;
  }) {
    this.#metadata = options.metadata;
    this.#clock = options.clock;
    this.#changes = options.changes;
    this.#log = options.log;
    this.#detach = this.#metadata.onCommit((changes) => this.#committed(changes));
    this.#timer = setInterval(() => {
      if (this.#isBusy) return;
      this.#isBusy = true;
      this.#running = this.tick()
        .catch((error: unknown) => this.#log.warn({ err: error }, 'looking for expired shares and locks failed'))
        .finally(() => {
          this.#isBusy = false;
        });
    }, TICK_MS);
    this.#timer.unref();
  }

  /** One look, now. */
  async tick(): Promise<void> {
    const now_ms = this.#clock.now_ms();
    const { seq, share_ms, lock_ms } = await this.#metadata.read(async (tx) => ({
      seq: (await tx.head()).seq,
      share_ms: await tx.nextExpiry(now_ms),
      lock_ms: await tx.nextLockExpiry(),
    }));
    if (share_ms !== null && share_ms <= now_ms) await this.#metadata.write((tx) => tx.expireShares(now_ms));
    if (lock_ms !== null && lock_ms <= now_ms) await this.#metadata.write((tx) => tx.expireLocks(now_ms));
    // Numbers nobody here has told of were taken by another process.
    if (this.#knownSeq !== null && seq > this.#knownSeq) this.#changes.publishToAll(seq);
    this.#knownSeq = Math.max(this.#knownSeq ?? 0, seq);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#detach();
    await this.#running;
  }

  #committed(changes: readonly CommittedChange[]): void {
    for (const { seq } of changes) this.#knownSeq = Math.max(this.#knownSeq ?? 0, seq);
  }
}
