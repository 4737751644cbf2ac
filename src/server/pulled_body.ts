// A long request body, fetched into its taker's memory. Node hands one out in pieces of 64 KiB, each allocated, copied and
// collected again: for 64 MiB that costs more than hashing them. So what the connection holds is read from it directly
// (read(2)) and node waits for more; node's parser is shown what was read, so that it knows where the body ends and what
// comes behind it is a request again. Behind TLS, or where node is built otherwise, everything comes from node.

import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { CloudError } from '../errors.js';
import { plainDescriptor } from './direct_line.js';
import type { NativeCalls } from './native_calls.js';
import { bodyCut } from './request_body.js';
import type { PullSource } from './storage/byte_source.js';

/** A request whose body is read past node, which knows of what it reads itself. */
export interface PulledRequest {
  pulled?: Pick<PulledBody, 'direct_bytes' | 'waits'>;
}

/** Node's HTTP parser, as far as it is used here. It calls what stands at `ON_BODY` with a copy of each piece of a body. */
interface Parser {
  execute(bytes: Buffer): number | Error;
  [ON_BODY]: unknown;
}
const ON_BODY = 3;

type ParsedSocket = Socket & {
  readonly parser?: Parser | null;
  /** Node takes no more requests before earlier answers on the connection are read. */
  readonly _paused?: boolean;
};

export class PulledBody implements PullSource {
  readonly #req: IncomingMessage & PulledRequest;
  readonly #native: NativeCalls | null;
  /** Of the body: what nobody has read. */
  #left_bytes: number | null;
  /** What node has read and nobody has taken. */
  #chunks: Buffer[] = [];
  #started = false;
  #showing = false;
  /** Resolves when node's parser has returned: it calls us from within, and must not be called there. */
  #parsed: Promise<void> = Promise.resolve();
  #cut: CloudError | null = null;
  #wake: () => void = () => undefined;

  /** Read past node. */
  direct_bytes = 0;
  /** For the client, not for whoever takes the bytes. */
  waits = false;

  /** `length`: what the request says; null = it comes in chunked coding, which is node's to undo. `native`: null = only by
   * node. */
  constructor(req: IncomingMessage, length: number | null, native: NativeCalls | null) {
    this.#req = req;
    this.#left_bytes = length;
    this.#native = native;
  }

  async fill(into: Buffer): Promise<number> {
    if (!this.#started) {
      // Within the parser's call node would not stop reading when it is told to: it is about to be told to go on.
      await afterThisTurn();
      this.#start();
    }
    for (;;) {
      const [chunk] = this.#chunks;
      if (chunk !== undefined) {
        const n = chunk.copy(into);
        if (n === chunk.length) this.#chunks.shift();
        else this.#chunks[0] = chunk.subarray(n);
        return n;
      }
      if (this.#req.complete) return 0;
      if (this.#cut !== null) throw this.#cut;
      await this.#parsed;
      // Meanwhile it may have gone on or come to an end, of which nobody will be told again.
      if (this.#chunks.length > 0 || this.#req.complete || this.#cut !== null) continue;
      const n = this.#readDirectly(into);
      if (n > 0) return n;
      this.waits = true;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        this.#req._read(0); // node reads on until it has something
      });
      this.waits = false;
    }
  }

  close(): void {
    const req = this.#req;
    req.off('error', this.#onCut);
    req.off('close', this.#onCut);
    if (this.#started) delete (req as { push?: unknown }).push;
    // Its end must have been seen, or the connection takes no further request.
    if (req.complete) req.resume();
  }

  #start(): void {
    this.#started = true;
    const req = this.#req;
    req.pulled = this;
    req.on('error', this.#onCut);
    req.on('close', this.#onCut);
    if (req.destroyed && !req.complete) this.#onCut();
    const push = req.push;
    req.push = (chunk: Buffer | null) => {
      if (chunk === null) {
        this.#wake();
        return push.call(req, null);
      }
      if (!this.#showing) this.#take(chunk);
      return false; // node stops reading
    };
    const had = req.read() as Buffer | null;
    if (had !== null) this.#take(had);
  }

  #take(chunk: Buffer): void {
    if (this.#left_bytes !== null) this.#left_bytes -= chunk.length;
    this.#parsed = afterThisTurn();
    this.#chunks.push(chunk);
    this.#wake();
  }

  readonly #onCut = (cause?: unknown) => {
    this.#cut ??= bodyCut(cause);
    this.#wake();
  };

  /** How many bytes the connection had: 0 also if there is no such way, or it has ended. */
  #readDirectly(into: Buffer): number {
    const { socket } = this.#req as { readonly socket: ParsedSocket | null };
    const parser = socket?.parser;
    if (this.#native === null || this.#left_bytes === null) return 0;
    if (socket === null || socket.destroyed || typeof parser?.execute !== 'function') return 0;
    if (socket._paused === true) return 0; // so is the parser, which would refuse what it is shown
    const fd = plainDescriptor(socket);
    if (fd === null || typeof parser[ON_BODY] !== 'function') return 0;
    const n = this.#native.rawRead(fd, into, Math.min(into.length, this.#left_bytes));
    if (n <= 0) return 0;
    this.#left_bytes -= n;
    this.direct_bytes += n;
    this.#show(parser, into.subarray(0, n));
    socket.setTimeout(socket.timeout ?? 0); // it did not stand still
    return n;
  }

  #show(parser: Parser, bytes: Buffer): void {
    const onBody = parser[ON_BODY];
    this.#showing = true;
    parser[ON_BODY] = null;
    try {
      const shown = parser.execute(bytes);
      if (shown instanceof Error) throw shown;
    } finally {
      parser[ON_BODY] = onBody;
      this.#showing = false;
    }
  }
}

function afterThisTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
