// Bounds a wait by progress instead of by length: a transfer may take hours, but in every window of `window_ms` in which
// we wait for the network at least `minimum_bytes` must come through. Ends silence and one byte a minute alike. Time
// in which our own side is busy (the consumer holds a chunk) does not count.

/** Less than this in a window is no transfer. */
export const MINIMUM_PROGRESS_bytes = 1024;

const TICKS = 4;

export class Watchdog {
  readonly #timer: NodeJS.Timeout;
  readonly #marks: number[] = [];
  #bytes = 0;
  #waiting = true;

  /** `expired` is called at most once, between `window_ms` and a quarter more after progress ended. */
  constructor(window_ms: number, expired: () => void, minimum_bytes = MINIMUM_PROGRESS_bytes) {
    this.#timer = setInterval(() => {
      if (!this.#waiting) {
        this.#marks.length = 0;
        return;
      }
      this.#marks.push(this.#bytes);
      const before = this.#marks.at(-1 - TICKS);
      if (before === undefined) return;
      this.#marks.shift();
      if (this.#bytes - before >= minimum_bytes) return;
      this.stop();
      expired();
    }, window_ms / TICKS);
  }

  progress(bytes: number): void {
    this.#bytes += bytes;
  }

  /** Are we waiting for the network now? */
  waiting(yes: boolean): void {
    this.#waiting = yes;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
