// From a file to a connection within the kernel (sendfile(2)): to copy the bytes in and out of this process is half of what
// a large answer costs. Only for connections without TLS, and only between two writes of node's own: nothing else may be
// on its way out meanwhile.

import { closeSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { type NativeCalls, nativeCalls } from './native_calls.js';

/** An answer that counts what leaves past node, which counts only what it sends itself. */
export interface SentDirectly {
  direct_bytes: number;
}

export class DirectLine {
  readonly #res: ServerResponse & Partial<SentDirectly>;
  /** Of our own: node may close its descriptor while a thread is sending, and the number then be another connection's. */
  readonly #fd: number;
  readonly #native: NativeCalls;

  private constructor(res: ServerResponse, fd: number, native: NativeCalls) {
    this.#res = res;
    this.#fd = fd;
    this.#native = native;
  }

  /** Null where there is no such way, or the connection is gone. What node has written of the answer must have left. */
  static async open(res: ServerResponse): Promise<DirectLine | null> {
    const native = await nativeCalls();
    const { socket } = res;
    if (native === null || socket === null || socket.destroyed) return null;
    const fd = plainDescriptor(socket);
    if (fd === null) return null;
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
    const sent = await this.#native.sendFile(this.#fd, file, at, length);
    if (this.#res.direct_bytes !== undefined) this.#res.direct_bytes += sent ?? 0;
    return sent;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Of a connection without TLS, whose bytes are what is sent and received; null = it has none. */
export function plainDescriptor(socket: Socket): number | null {
  if (Object.getPrototypeOf(socket) !== Socket.prototype) return null; // a TLS socket is another class
  const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } })._handle?.fd ?? -1;
  return fd < 0 ? null : fd;
}
