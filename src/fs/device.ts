// The kernel channel: a non-blocking /dev/fuse descriptor, read on the event loop that owns the drive's state.
//
// Waiting is libuv's own poll of the descriptor (uv_poll, bound by koffi: the fastest that was measured) where the
// process exports it, else poll(2) on a thread of the pool. The native callback does nothing but schedule the reading
// with setImmediate, which runs in the same turn of the loop: so it cannot throw into native code, and promises and
// timers get their turn after every batch. A batch ends with EAGAIN, or when it has taken long enough.

import { closeSync, writevSync } from 'node:fs';
import { constants } from 'node:os';
import { rawRead, rawWrite, setNonBlocking } from '../libc.js';
import type { Log } from '../log.js';
import { BusyPoll } from './busy_poll.js';
import { type ReadableWatch, watchReadable } from './readable_watch.js';
import { type RequestBuffer, RequestBufferPool } from './request_buffer.js';
import type { Delivery, Handled, ReplyChannel } from './session.js';

const { EAGAIN, EINTR, ENOENT, ENODEV, ENOTCONN, ECONNABORTED, EBADF } = constants.errno;

/** A turn of the loop belongs to the kernel for at most so long; then timers and the network are served. */
const BATCH_MS = 8;
const BATCH_REQUESTS = 256;
/** For so long the next request is looked for before the loop sleeps. */
const LOOK_MS = 0.1;

export interface RequestHandler {
  /** A promise settles (never rejects) when the buffer is free again. */
  handle(buffer: RequestBuffer, length: number): Handled;
}

type WhenToLook = Pick<BusyPoll, 'isWorthwhile' | 'found' | 'foundNothing'>;

export interface DeviceEnd {
  /** The file system was unmounted, or the connection was aborted (umount -f, or the descriptor failed). */
  readonly reason: 'unmounted' | 'aborted';
  readonly error: Error | null;
}

export class FuseDevice implements ReplyChannel {
  readonly fd: number;
  readonly closed: Promise<DeviceEnd>;
  readonly #handler: RequestHandler;
  readonly #log: Log;
  readonly #pool = new RequestBufferPool();
  readonly #busyPoll: WhenToLook;
  readonly #watch: ReadableWatch;
  readonly #resolveClosed: (end: DeviceEnd) => void;
  #buffer = this.#pool.take();
  #open = true;
  #disposed = false;

  /** Takes over `fd`. Reading starts at once. */
  constructor(fd: number, handler: RequestHandler, log: Log, busyPoll: WhenToLook = new BusyPoll()) {
    this.fd = fd;
    this.#handler = handler;
    this.#log = log;
    this.#busyPoll = busyPoll;
    let resolveClosed: (end: DeviceEnd) => void = () => undefined;
    this.closed = new Promise((resolve) => {
      resolveClosed = resolve;
    });
    this.#resolveClosed = resolveClosed;
    setNonBlocking(fd);
    this.#watch = watchReadable(fd, () => this.#drain());
  }

  /** Reads and handles what is waiting. Returns whether the descriptor is exhausted (and not merely the turn). */
  #drain(): boolean {
    const until_ms = performance.now() + BATCH_MS;
    let answered = false;
    for (let i = 0; i < BATCH_REQUESTS && this.#open; i++) {
      let n = this.#read();
      // Who waits for the network does not ask for anything else, and is helped by the loop going on.
      if (-n === EAGAIN && answered && this.#busyPoll.isWorthwhile()) n = this.#lookLonger();
      if (n > 0) answered = this.#handle(n);
      else if (-n === EAGAIN) return true;
      // ENOENT: the request was interrupted before it could be read.
      else if (-n !== EINTR && -n !== ENOENT) {
        this.#end(-n);
        return true;
      }
      if (performance.now() > until_ms) return false;
    }
    return false;
  }

  #read(): number {
    return rawRead(this.fd, this.#buffer.bytes, this.#buffer.bytes.length);
  }

  #lookLonger(): number {
    const until_ms = performance.now() + LOOK_MS;
    let n = this.#read();
    while (-n === EAGAIN && performance.now() < until_ms) n = this.#read();
    if (-n === EAGAIN) this.#busyPoll.foundNothing();
    else this.#busyPoll.found();
    return n;
  }

  /** Whether it is answered. */
  #handle(length: number): boolean {
    const buffer = this.#buffer;
    try {
      const handled = this.#handler.handle(buffer, length);
      if (handled instanceof Promise) {
        this.#buffer = this.#pool.take();
        void handled.finally(() => this.#pool.giveBack(buffer));
      }
      return handled === 'answered';
    } catch (error) {
      // The handler answers its own errors; what gets here is a defect of the handler, and the next request can go on.
      this.#log.error({ err: error }, 'handling a request failed');
      return false;
    }
  }

  send(bytes: Buffer, length: number, data: Uint8Array | null): Delivery {
    if (!this.#open) return 'closed';
    const errno = data === null ? this.#write(bytes, length) : this.#writeWith(bytes, length, data);
    switch (errno) {
      case 0:
        return 'delivered';
      case ENOENT: // the request was interrupted, or its caller is gone
        return 'not_wanted';
      case ENODEV:
      case ENOTCONN:
      case ECONNABORTED:
      case EBADF:
        return 'closed';
      default:
        this.#log.error({ errno, length, data: data?.length ?? 0 }, 'the kernel did not take a reply');
        return 'not_wanted';
    }
  }

  #write(bytes: Buffer, length: number): number {
    for (;;) {
      const n = rawWrite(this.fd, bytes, length);
      if (n >= 0) return 0;
      if (-n !== EINTR) return -n;
    }
  }

  /** One gathering write: large data goes to the kernel without being copied first. */
  #writeWith(bytes: Buffer, length: number, data: Uint8Array): number {
    try {
      writevSync(this.fd, [bytes.subarray(0, length), data]);
      return 0;
    } catch (error) {
      return -((error as NodeJS.ErrnoException).errno ?? -EBADF);
    }
  }

  #end(errno: number): void {
    if (!this.#open) return;
    if (errno === ENODEV) this.#finish({ reason: 'unmounted', error: null });
    else if (errno === ECONNABORTED || errno === 0) this.#finish({ reason: 'aborted', error: null });
    else this.#finish({ reason: 'aborted', error: new Error(`reading /dev/fuse failed with errno ${errno}`) });
  }

  /** Stops reading. Resolves `closed`; the descriptor stays open until `dispose`, because others may still use it. */
  stop(): void {
    if (this.#open) this.#finish({ reason: 'aborted', error: null });
  }

  #finish(end: DeviceEnd): void {
    this.#open = false;
    this.#watch.stop();
    this.#resolveClosed(end);
  }

  /**
   * Closes the descriptor; once, and last: its number may be another file's from then on. If the file system is still
   * mounted, the kernel fails everything that is pending and all that follows with ENOTCONN.
   */
  dispose(): void {
    this.stop();
    if (this.#disposed) return;
    this.#disposed = true;
    closeSync(this.fd);
  }
}
