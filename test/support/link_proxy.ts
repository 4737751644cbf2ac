// A TCP relay that behaves like a long or thin link and counts what crosses it (there is no netem in a container). Each
// direction has one pipe shared by all connections: a piece leaves when the pipe has had time to carry it and arrives
// half a round trip later. A new connection pays the round trip of its handshake.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export interface LinkOptions {
  readonly targetPort: number;
  readonly targetHost?: string;
  readonly roundTrip_ms?: number;
  readonly rate_bitsPerSecond?: number;
}

/** A thin link carries in pieces of this size: who reads along sees the first bytes before the last have left. */
const PIECE_bytes = 8 << 10;

/** Bytes that may wait in one direction of one connection before its sender is paused. */
const QUEUE_LIMIT_bytes = 4 << 20;

/** One direction of the link: knows when it will have carried all it was given. */
class Pipe {
  #freeAt_ms = 0;
  bytes = 0;
  readonly #bytesPerMs: number;

  constructor(rate_bitsPerSecond: number | undefined) {
    this.#bytesPerMs = rate_bitsPerSecond === undefined ? Number.POSITIVE_INFINITY : rate_bitsPerSecond / 8000;
  }

  /** What is carried as one. */
  get piece_bytes(): number {
    return this.#bytesPerMs === Number.POSITIVE_INFINITY ? Number.POSITIVE_INFINITY : PIECE_bytes;
  }

  /** The time at which the last of `size_bytes` more bytes has left. */
  take(size_bytes: number, now_ms: number): number {
    this.bytes += size_bytes;
    this.#freeAt_ms = Math.max(now_ms, this.#freeAt_ms) + size_bytes / this.#bytesPerMs;
    return this.#freeAt_ms;
  }
}

export class LinkProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #options: LinkOptions;
  readonly #up: Pipe;
  readonly #down: Pipe;
  #cut = false;
  #targetPort: number;
  connections = 0;

  private constructor(options: LinkOptions) {
    this.#options = options;
    this.#targetPort = options.targetPort;
    this.#up = new Pipe(options.rate_bitsPerSecond);
    this.#down = new Pipe(options.rate_bitsPerSecond);
    this.#server = createServer({ noDelay: true }, (client) => this.#accept(client));
  }

  static async open(options: LinkOptions): Promise<LinkProxy> {
    const proxy = new LinkProxy(options);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Bytes that went from the clients to the server and back, since the start. */
  get sent_bytes(): number {
    return this.#up.bytes;
  }
  get received_bytes(): number {
    return this.#down.bytes;
  }

  /** While cut, connections are reset and new ones too: the server cannot be reached. */
  set cut(cut: boolean) {
    this.#cut = cut;
    if (cut) for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** From now on the same address is answered by another server, as behind a captive portal. */
  retarget(port: number): void {
    this.#targetPort = port;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #accept(client: Socket): void {
    if (this.#cut) {
      client.resetAndDestroy();
      return;
    }
    this.connections += 1;
    const server = connect({
      port: this.#targetPort,
      host: this.#options.targetHost ?? '127.0.0.1',
      noDelay: true,
    });
    const roundTrip_ms = this.#options.roundTrip_ms ?? 0;
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    }
    client.on('error', () => server.destroy());
    server.on('error', () => client.resetAndDestroy());
    const opened_ms = performance.now();
    relay(client, server, this.#up, roundTrip_ms / 2, opened_ms + 1.5 * roundTrip_ms);
    relay(server, client, this.#down, roundTrip_ms / 2, 0);
  }
}

function relay(from: Socket, to: Socket, pipe: Pipe, delay_ms: number, notBefore_ms: number): void {
  // One queue and one timer: timers of their own could fire in another order than their chunks came.
  const queue: { readonly due_ms: number; readonly deliver: () => void }[] = [];
  let queued_bytes = 0;
  let timer: NodeJS.Timeout | null = null;
  const pump = () => {
    timer = null;
    for (let head = queue[0]; head !== undefined; head = queue[0]) {
      const wait_ms = head.due_ms - performance.now();
      if (wait_ms > 0) {
        timer = setTimeout(pump, Math.ceil(wait_ms));
        return;
      }
      queue.shift();
      head.deliver();
    }
  };
  const send = (due_ms: number, deliver: () => void) => {
    queue.push({ due_ms, deliver });
    if (timer === null) pump();
  };
  const carry = (piece: Buffer) => {
    send(Math.max(pipe.take(piece.length, performance.now()) + delay_ms, notBefore_ms), () => {
      const done = () => {
        queued_bytes -= piece.length;
        if (queued_bytes <= QUEUE_LIMIT_bytes / 2 && from.isPaused()) from.resume();
      };
      if (to.destroyed) done();
      else to.write(piece, done);
    });
  };
  from.on('data', (chunk: Buffer) => {
    queued_bytes += chunk.length;
    if (queued_bytes > QUEUE_LIMIT_bytes) from.pause();
    for (let at = 0; at < chunk.length; at += pipe.piece_bytes) carry(chunk.subarray(at, at + pipe.piece_bytes));
  });
  from.on('end', () => send(performance.now() + delay_ms, () => to.end()));
  from.on('close', () => {
    if (!from.readableEnded) to.destroy();
  });
}
