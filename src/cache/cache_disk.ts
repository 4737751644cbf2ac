// The disk the cache is on, which others fill without asking. What is kept free for them is given back by evicting; where
// they have taken that too, the room that was kept for it lets the drive come up, and remove.

import type { Clock } from '../clock.js';
import type { Log } from '../log.js';
import { keepSpareRoom, lackingSpareRoom_bytes, type SpareRoom, TIGHT_BYTES, useSpareRoom } from '../spare_room.js';
import { diskFree } from './space.js';

/** How long free room is believed. */
const LOOK_MS = 250;
const TEND_MS = 10_000;

export interface Tended {
  /** Gives back what the cache has beyond its limits. */
  trim(): Promise<void>;
  /** What is evicted now can be had again. */
  online(): boolean;
}

export class CacheDisk {
  readonly #room: SpareRoom;
  readonly #clock: Clock;
  readonly #log: Log;
  #timer: NodeJS.Timeout | undefined;
  #tending: Promise<void> | null = null;
  #lookedAt_ms = Number.NEGATIVE_INFINITY;
  #tight = false;

  constructor(dir: string, clock: Clock, log: Log) {
    this.#room = { root: dir, spare: `${dir}/spare` };
    this.#clock = clock;
    this.#log = log;
  }

  /** Is there hardly room for something small that must not fail? Then what was kept for it is given up. */
  isTight(): boolean {
    const now_ms = this.#clock.monotonic_ms();
    if (now_ms - this.#lookedAt_ms < LOOK_MS) return this.#tight;
    this.#lookedAt_ms = now_ms;
    try {
      this.#tight = this.free_bytes() < TIGHT_BYTES;
    } catch {
      this.#tight = false; // a file system that does not tell says so when it is written to
    }
    if (this.#tight) this.isFull();
    return this.#tight;
  }

  /** There was none. */
  isFull(): void {
    if (useSpareRoom(this.#room)) this.#tell();
  }

  #tell(): void {
    this.#log.warn({ dir: this.#room.root }, 'the disk of the cache is full: the room that was kept for it is used');
  }

  /** What contents may fill. */
  free_bytes(): number {
    return diskFree(this.#room.root) - lackingSpareRoom_bytes(this.#room);
  }

  /** Until `close`. */
  tend(cache: Tended): void {
    const round = () => {
      this.#tending ??= this.#tendOnce(cache).finally(() => {
        this.#tending = null;
      });
    };
    this.#timer = setInterval(round, TEND_MS);
    round();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#tending;
  }

  /** For the next start: what the database needs no more when it is closed is room. */
  async keepRoom(): Promise<void> {
    await this.#seeTo(() => keepSpareRoom(this.#room, diskFree(this.#room.root)));
  }

  async #tendOnce({ trim, online }: Tended): Promise<void> {
    await this.#seeTo(async () => {
      if (online()) await trim();
    });
    await this.keepRoom();
  }

  async #seeTo(room: () => Promise<void>): Promise<void> {
    try {
      await room();
    } catch (error) {
      this.#log.warn({ err: error }, 'the room of the cache could not be seen to');
    }
  }
}
