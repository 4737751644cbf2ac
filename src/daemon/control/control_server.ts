// The daemon's end of the control socket: reads requests, runs their handlers, streams progress. One broken client never
// disturbs another: its connection is closed, its handlers' signals abort.

import { chmod, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { CloudError, toCloudError } from '../../errors.js';
import type { Log } from '../../log.js';
import { LineReader } from './line_reader.js';
import {
  type ControlReply,
  type ControlRequest,
  formatReply,
  MAX_REQUEST_BYTES,
  parseRequest,
  toWireError,
} from './protocol.js';

export interface CallContext {
  /** Aborts when the client is gone or the daemon stops. */
  readonly signal: AbortSignal;
  progress(value: unknown): void;
}

export type Handler = (params: ControlRequest['params'], context: CallContext) => unknown;
export type Handlers = Readonly<Record<string, Handler>>;

/** sun_path of unix(7), its terminating NUL excluded. */
const MAX_SOCKET_PATH_BYTES = 107;
const MAX_CONNECTIONS = 64;
const MAX_RUNNING_PER_CONNECTION = 32;
/** A client that does not read its answers is dropped rather than buffered for. */
const MAX_UNSENT_BYTES = 64 * 1024 * 1024;

export class ControlServer {
  readonly path: string;
  readonly #server: Server;
  readonly #handlers: Handlers;
  readonly #log: Log;
  readonly #sockets = new Set<Socket>();

  private constructor(path: string, handlers: Handlers, log: Log) {
    this.path = path;
    this.#handlers = handlers;
    this.#log = log;
    this.#server = createServer((socket) => this.#serve(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** Listens on `path`. The caller holds the lock of the cache folder that the path stands for, so that a socket found
   * there is a dead daemon's and is replaced. */
  static async listen(path: string, handlers: Handlers, log: Log): Promise<ControlServer> {
    if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
      throw new CloudError(
        'name_too_long',
        `opening the control socket ${path}: the kernel takes at most ${MAX_SOCKET_PATH_BYTES} bytes; set XDG_RUNTIME_DIR to a shorter path`,
      );
    }
    const control = new ControlServer(path, handlers, log);
    await rm(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      control.#server.once('error', reject);
      control.#server.listen(path, resolve);
    }).catch((error: unknown) => {
      throw toCloudError(error, `opening the control socket ${path}`);
    });
    control.#server.on('error', (error) => log.error({ error }, 'control socket'));
    await chmod(path, 0o600);
    return control;
  }

  /** Ends all connections. The socket is gone at once; what is at its path later is that of a drive mounted since. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    // The answer to the request that had us stop (`unmount`) is due in this turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    for (const socket of this.#sockets) socket.end();
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, 500);
    await closed;
    clearTimeout(timer);
  }

  #serve(socket: Socket): void {
    const lines = new LineReader(MAX_REQUEST_BYTES);
    const gone = new AbortController();
    const running = new Set<string>();
    this.#sockets.add(socket);
    socket.on('error', (error) => this.#log.debug({ error }, 'control connection'));
    socket.on('close', () => {
      this.#sockets.delete(socket);
      gone.abort(new CloudError('interrupted', 'the client closed the control connection'));
    });
    const send = (reply: ControlReply): void => {
      if (socket.destroyed || socket.writableEnded) return;
      socket.write(formatReply(reply));
      if (socket.writableLength > MAX_UNSENT_BYTES) socket.destroy();
    };
    const heard = (chunk: Buffer) => {
      // Who has given up waiting (this process was stopped) has been told that it failed: then it must not happen either.
      if (gone.signal.aborted || socket.readableEnded) return;
      let id = '';
      try {
        for (const line of lines.push(chunk)) {
          id = '';
          const request = parseRequest(line);
          id = request.id;
          if (running.has(id) || running.size >= MAX_RUNNING_PER_CONNECTION) {
            throw new CloudError(
              'protocol',
              `control request ${id}: ids must differ, and at most ${MAX_RUNNING_PER_CONNECTION} requests run at once`,
            );
          }
          running.add(id);
          void this.#run(request, gone.signal, send).finally(() => running.delete(request.id));
        }
      } catch (error) {
        // What follows on this connection cannot be trusted to be in step any more.
        send({ id, error: toWireError(toCloudError(error, 'control request')) });
        socket.end();
      }
    };
    // The end of a connection is read in the turn after what was said on it, if it is there.
    socket.on('data', (chunk: Buffer) => setImmediate(() => setImmediate(() => heard(chunk))));
  }

  async #run(request: ControlRequest, signal: AbortSignal, send: (reply: ControlReply) => void): Promise<void> {
    const { id, method, params } = request;
    try {
      const handler = Object.hasOwn(this.#handlers, method) ? this.#handlers[method] : undefined;
      if (handler === undefined) throw new CloudError('unsupported', `control request: no method "${method}"`);
      const result = await handler(params, { signal, progress: (progress) => send({ id, progress }) });
      send({ id, result });
    } catch (error) {
      const known = toCloudError(error, method);
      if (known.code === 'io') this.#log.warn({ method, error: known }, 'control request failed');
      send({ id, error: toWireError(known) });
    }
  }
}
