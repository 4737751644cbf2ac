// From a file to a connection within the kernel (sendfile(2)): to copy the bytes in and out of this process is half of what
// a large answer costs. Only for connections without TLS, and only between two writes of node's own: nothing else may be
// on its way out meanwhile.

import { closeSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { Socket } from 'node:net';

type Libc = typeof import('../libc.js');

/** Loaded when it is first wanted: where it cannot be, a server answers all the same. */
let libc: Promise<Libc | null> | null = null;

/** An answer that counts what leaves past node, which counts only what it sends itself. */
export interface SentDirectly {
  direct_bytes: number;
}

export class DirectLine {
  readonly #res: ServerResponse & Partial<SentDirectly>;
  /** Of our own: node may close its descriptor while a thread is sending, and the number then be another connection's. */
  readonly #fd: number;
  readonly #libc: Libc;

  private constructor(res: ServerResponse, fd: number, native: Libc) {
    this.#res = res;
    this.#fd = fd;
    this.#libc = native;
  }

  /** Null where there is no such way, or the connection is gone. What node has written of the answer must have left. */
  static async open(res: ServerResponse): Promise<DirectLine | null> {
    libc ??= import('../libc.js').catch(() => null);
    const native = await libc;
    const { socket } = res;
    // A TLS socket is another class.
    if (native === null || socket === null || socket.destroyed || Object.getPrototypeOf(socket) !== Socket.prototype)
      return null;
    const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } })._handle?.fd ?? -1;
    if (fd < 0) return null;
    try {
      return new DirectLine(res, native.duplicate(fd), native);
    } catch {
      return null; // no descriptor is free
    }
  }

  /** Of the bytes [at, at + length) of `file` as many as the connection takes without waiting: 0 if it is full. Null if there
   * is no way on: the next read or write by node will find out why, if it has none either. */
  async send(file: number, at: number, length: number): Promise<number | null> {
    const { destroyed, socket } = this.#res;
    // Of a connection that has just been given up node says that all was written, although what waited is lost.
    if (destroyed || socket === null || socket.destroyed || socket.writableLength > 0) return null;
    const sent = await this.#libc.sendFile(this.#fd, file, at, length);
    if (this.#res.direct_bytes !== undefined) this.#res.direct_bytes += sent ?? 0;
    return sent;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
