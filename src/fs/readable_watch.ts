// Tells when a descriptor has something to read, without a thread where that is possible.
//
// uv_poll is what Node itself watches sockets with; it is reached through the process's own symbols. It is level
// triggered: what is left in the descriptor calls again in the next turn. Only the main thread's loop can be reached
// that way, so other threads, and builds of Node that hide libuv, wait with poll(2) on a thread of the pool.

import { isMainThread } from 'node:worker_threads';
import koffi from 'koffi';
import { pollReadable } from '../libc.js';

export interface ReadableWatch {
  stop(): void;
}

/** Reads what is there; true if nothing is left, false if it only gave up its turn. */
export type Drain = () => boolean;

export function watchReadable(fd: number, drain: Drain): ReadableWatch {
  const uv = isMainThread ? loadUv() : null;
  return uv === null ? new PollThreadWatch(fd, drain) : new UvPollWatch(uv, fd, drain);
}

const UV_POLL = 8;
const UV_READABLE = 1;

type Pointer = unknown;

interface Uv {
  readonly loop: Pointer;
  readonly callbackType: ReturnType<typeof koffi.pointer>;
  readonly handleBytes: number;
  readonly init: (loop: Pointer, handle: Pointer, fd: number) => number;
  readonly start: (handle: Pointer, events: number, callback: bigint) => number;
  readonly stop: (handle: Pointer) => number;
  readonly close: (handle: Pointer, callback: null) => void;
}

let uvOnce: Uv | null | undefined;

function loadUv(): Uv | null {
  if (uvOnce === undefined) {
    try {
      uvOnce = bindUv();
    } catch {
      uvOnce = null; // the symbols are not exported
    }
  }
  return uvOnce;
}

function bindUv(): Uv {
  const self = koffi.load(null);
  const handleSize = self.func('size_t uv_handle_size(int)') as unknown as (type: number) => number | bigint;
  return {
    loop: (self.func('void *uv_default_loop()') as unknown as () => Pointer)(),
    callbackType: koffi.pointer(koffi.proto('void cloudmount_uv_poll_cb(void *, int, int)')),
    handleBytes: Number(handleSize(UV_POLL)),
    init: self.func('int uv_poll_init(void *, void *, int)') as unknown as Uv['init'],
    start: self.func('int uv_poll_start(void *, int, void *)') as unknown as Uv['start'],
    stop: self.func('int uv_poll_stop(void *)') as unknown as Uv['stop'],
    close: self.func('void uv_close(void *, void *)') as unknown as Uv['close'],
  };
}

class UvPollWatch implements ReadableWatch {
  readonly #uv: Uv;
  readonly #handle: Pointer;
  readonly #callback: bigint;
  #scheduled = false;
  #stopped = false;

  constructor(uv: Uv, fd: number, drain: Drain) {
    this.#uv = uv;
    this.#handle = koffi.alloc('uint8_t', uv.handleBytes);
    this.#callback = koffi.register(() => this.#schedule(drain), uv.callbackType);
    const rc = uv.init(uv.loop, this.#handle, fd) || uv.start(this.#handle, UV_READABLE, this.#callback);
    if (rc !== 0) throw new Error(`watching descriptor ${fd}: libuv refuses with ${rc}`);
  }

  #schedule(drain: Drain): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.#stopped) drain();
    });
  }

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#uv.stop(this.#handle);
    this.#uv.close(this.#handle, null);
    // libuv lets go of a closing handle at the end of the turn; only then may its memory go.
    setImmediate(() =>
      setImmediate(() => {
        koffi.unregister(this.#callback);
        koffi.free(this.#handle);
      }),
    );
  }
}

/** Long enough to cost nothing, short enough that a stopped watch gives its thread back. */
const POLL_MS = 1_000;

class PollThreadWatch implements ReadableWatch {
  #stopped = false;

  constructor(fd: number, drain: Drain) {
    const wait = (): void => {
      if (!this.#stopped) pollReadable(fd, POLL_MS, turn);
    };
    const turn = (): void => {
      if (this.#stopped) return;
      if (drain()) wait();
      else setImmediate(turn);
    };
    wait();
  }

  stop(): void {
    this.#stopped = true;
  }
}
