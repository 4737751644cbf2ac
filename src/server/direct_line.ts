// From a file to a connection within the kernel (sendfile(2)): to copy the bytes in and out of this process is half of what
// a large answer costs. Only for connections without TLS, and only between two writes of node's own: nothing else may be
// on its way out meanwhile.

import { closeSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { duplicate, sendFile } from '../libc.js';

/** An answer that counts what leaves past node, which counts only what it sends itself. */
export interface SentDirectly {
  direct_bytes: number;
}

export class DirectLine {
  readonly #res: ServerResponse & Partial<SentDirectly>;
  /** Of our own: node may close its descriptor while a thread is sending, and the number then be another connection's. */
  readonly #fd: number;

  private constructor(res: ServerResponse, fd: number) {
    this.#res = res;
    this.#fd = fd;
  }

  /** Null where there is no such way, or the connection is gone. What node has written of the answer must have left. */
  static open(res: ServerResponse): DirectLine | null {
    const { socket } = res;
    // A TLS socket is another class.
    if (socket === null || socket.destroyed || Object.getPrototypeOf(socket) !== Socket.prototype) return null;
    const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } })._handle?.fd ?? -1;
    if (fd < 0) return null;
    try {
      return new DirectLine(res, duplicate(fd));
    } catch {
      return null; // no descriptor is free
    }
  }

  /** Of the bytes [at, at + length) of `file` as many as the connection takes without waiting: none if it is full. Whatever
   * else stands in the way gives 0, too: the next write or read by node will find it and say what it is. */
  async send(file: number, at: number, length: number): Promise<number> {
    const { destroyed, socket } = this.#res;
    if (destroyed || socket === null || socket.writableLength > 0) return 0;
    const sent = await sendFile(this.#fd, file, at, length);
    if (this.#res.direct_bytes !== undefined) this.#res.direct_bytes += sent;
    return sent;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
