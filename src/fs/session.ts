// One connection to the kernel: INIT, dispatch, what is in flight, interrupts, and the end. Each request is answered
// exactly once, whatever goes wrong with it; no failure of one request ends the loop. A request that waits is bounded:
// past its bound it is aborted, and if even that does not end it, it is answered all the same.

import type { Clock } from '../clock.js';
import { CloudError } from '../errors.js';
import type { Log } from '../log.js';
import { isPromise, type MaybePromise } from '../maybe_promise.js';
import { Call } from './call.js';
import { Errno, errnoOf } from './errno.js';
import { type Filesystem, NOT_OFFERED } from './filesystem.js';
import { type Negotiated, negotiate } from './init.js';
import { isAskedToEnd } from './pending_signals.js';
import type { RequestBuffer } from './request_buffer.js';
import { Opcode } from './wire/abi.js';
import { DecodeError, decodeRequest } from './wire/decode.js';
import type { ReplyBuffer } from './wire/encode.js';
import { type Answer, type InitOp, NO_ANSWER, OK, type Op, type Request } from './wire/ops.js';

/** What became of a reply: taken, not taken because nobody waits for it any more, or the connection is gone. */
export type Delivery = 'delivered' | 'not_wanted' | 'closed';

/** What became of a request: answered, or it waits for something; a promise where it needs its buffer until then. */
export type Handled = 'answered' | 'waits' | Promise<void>;

export interface ReplyChannel {
  /** Writes `length` bytes of `bytes`, followed by `data`, as one reply. */
  send(bytes: Buffer, length: number, data: Uint8Array | null): Delivery;
}

export interface SessionOptions {
  readonly passthrough: boolean;
  /** Bound of a request that neither stores nor transfers what the caller wrote. */
  readonly requestTimeout_ms: number;
  /** A request has come. */
  readonly onRequest: () => void;
  readonly onInit: (negotiated: Negotiated) => void;
  readonly onInitFailed: (error: CloudError) => void;
}

interface InFlight {
  readonly call: Call;
  readonly kind: Op['kind'];
  readonly abortAt_ms: number;
  answered: boolean;
  /** Its caller has a signal that does not ask it to end: the kernel says nothing of the next. */
  looking: NodeJS.Timeout | null;
}

/** Storing data may wait for room or, with write-through, for the server. */
const LONG_BOUND_MS = 24 * 3_600_000;
const LONG: ReadonlySet<Op['kind']> = new Set(['write', 'flush', 'fsync', 'fallocate', 'setattr', 'fsyncdir']);
/** How long an aborted request has to end by itself. */
const GRACE_MS = 10_000;
const SWEEP_MS = 5_000;
const LOOK_MS = 100;
const OPCODE_NAMES = new Map<number, string>(Object.entries(Opcode).map(([name, code]) => [code, name.toLowerCase()]));

export class Session {
  readonly #filesystem: Filesystem;
  readonly #replies: ReplyBuffer;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #options: SessionOptions;
  readonly #inFlight = new Map<number, InFlight>();
  readonly #counts = new Uint32Array(64);
  readonly #sweeper: NodeJS.Timeout;
  #channel: ReplyChannel | null = null;
  #refusing = false;
  #opendirIsOptional = false;
  #errors = 0;

  constructor(filesystem: Filesystem, replies: ReplyBuffer, clock: Clock, log: Log, options: SessionOptions) {
    this.#filesystem = filesystem;
    this.#replies = replies;
    this.#clock = clock;
    this.#log = log;
    this.#options = options;
    this.#sweeper = setInterval(() => this.sweep(), SWEEP_MS).unref();
  }

  attach(channel: ReplyChannel): void {
    this.#channel = channel;
  }

  /**
   * Handles the request of `length` bytes in `buffer`. Returns whether it is answered, or a promise that settles (never
   * rejects) when the buffer is free again.
   */
  handle(buffer: RequestBuffer, length: number): Handled {
    let request: Request;
    try {
      request = decodeRequest(buffer.cursor, length);
    } catch (error) {
      this.#undecodable(error);
      return 'answered';
    }
    const opcode = request.opcode & 63;
    this.#counts[opcode] = (this.#counts[opcode] ?? 0) + 1;
    this.#options.onRequest();
    const call = new Call(request);
    const { op } = request;
    let answer: MaybePromise<Answer>;
    try {
      answer = this.#dispatch(request, call);
    } catch (error) {
      this.#fail(request.unique, op.kind, error);
      return 'answered';
    }
    if (!isPromise(answer)) {
      this.#send(request.unique, answer);
      return 'answered';
    }
    const settled = this.#await(call, op.kind, answer);
    return keepsBuffer(op) ? settled : 'waits';
  }

  #undecodable(error: unknown): void {
    if (error instanceof DecodeError) this.#fail(error.unique, 'unknown', error.cause);
    else this.#log.error({ err: error }, 'a request could not be decoded');
  }

  #dispatch(request: Request, call: Call): MaybePromise<Answer> {
    const { ino, op } = request;
    const fs = this.#filesystem;
    if (this.#refusing) return refusal(op);
    switch (op.kind) {
      case 'lookup':
        return fs.lookup(ino, op, call);
      case 'getattr':
        return fs.getattr(ino, op);
      case 'read':
        return fs.read(op, call);
      case 'write':
        return fs.write(op, call);
      case 'readdir':
        return fs.readdir(ino, op, call);
      case 'open':
        return fs.open(ino, op, call);
      case 'flush':
        return fs.flush(op, call);
      case 'release':
        return fs.release(op);
      case 'opendir':
        return fs.opendir(ino, this.#opendirIsOptional);
      case 'releasedir':
        return OK;
      case 'forget':
        return fs.forget(ino, op);
      case 'batch_forget':
        return fs.batchForget(op);
      case 'getxattr':
        return fs.getxattr(ino, op, call);
      case 'listxattr':
        return fs.listxattr(ino, op, call);
      case 'setxattr':
        return fs.setxattr(ino, op, call);
      case 'removexattr':
        return fs.removexattr(ino, op, call);
      case 'create':
        return fs.create(ino, op, call);
      case 'setattr':
        return fs.setattr(ino, op, call);
      case 'readlink':
        return fs.readlink(ino);
      case 'symlink':
        return fs.symlink(ino, op, call);
      case 'mknod':
        return fs.mknod(ino, op, call);
      case 'mkdir':
        return fs.mkdir(ino, op, call);
      case 'unlink':
        return fs.unlink(ino, op, call);
      case 'rmdir':
        return fs.rmdir(ino, op, call);
      case 'rename':
        return fs.rename(ino, op, call);
      case 'link':
        return fs.link();
      case 'statfs':
        return fs.statfs(call);
      case 'fsync':
        return fs.fsync(op, call);
      case 'fsyncdir':
        return fs.fsyncdir(ino);
      case 'access':
        return fs.access(ino, op, call);
      case 'fallocate':
        return fs.fallocate(op, call);
      case 'lseek':
        return fs.lseek(op, call);
      case 'ioctl':
        return { kind: 'error', errno: Errno.ENOTTY };
      case 'interrupt':
        this.#interrupted(op.target);
        return NO_ANSWER;
      case 'init':
        return this.#init(op);
      case 'destroy':
        return OK;
      case 'unknown':
        this.#log.debug({ opcode: request.opcode }, 'an operation that is not offered');
        return NOT_OFFERED;
    }
  }

  #init(op: InitOp): Answer {
    try {
      const negotiated = negotiate(op, this.#options);
      this.#opendirIsOptional = negotiated.opendirIsOptional;
      this.#options.onInit(negotiated);
      return { kind: 'init', init: negotiated.reply };
    } catch (error) {
      if (!(error instanceof CloudError)) throw error;
      this.#options.onInitFailed(error);
      return { kind: 'error', errno: Errno.EPROTO };
    }
  }

  /** Settles when the work is over, which may be after the answer. */
  async #await(call: Call, kind: Op['kind'], answer: Promise<Answer>): Promise<void> {
    const bound_ms = LONG.has(kind) ? LONG_BOUND_MS : this.#options.requestTimeout_ms;
    const flight: InFlight = {
      call,
      kind,
      abortAt_ms: this.#clock.monotonic_ms() + bound_ms,
      answered: false,
      looking: null,
    };
    this.#inFlight.set(call.unique, flight);
    try {
      const result = await answer;
      if (flight.answered) this.#filesystem.undeliver(result);
      else this.#send(call.unique, result);
    } catch (error) {
      if (!flight.answered) this.#fail(call.unique, kind, error);
    } finally {
      if (!flight.answered) this.#over(call.unique, flight);
    }
  }

  #interrupted(unique: number): void {
    const flight = this.#inFlight.get(unique);
    if (flight === undefined) return;
    const look = () => {
      if (isAskedToEnd(flight.call.pid)) flight.call.abort();
    };
    look();
    if (!flight.call.aborted) flight.looking ??= setInterval(look, LOOK_MS).unref();
  }

  #over(unique: number, flight: InFlight): void {
    if (flight.looking !== null) clearInterval(flight.looking);
    this.#inFlight.delete(unique);
  }

  #fail(unique: number, kind: Op['kind'], error: unknown): void {
    this.#errors += 1;
    if (error instanceof CloudError) this.#log.debug({ op: kind, code: error.code }, error.message);
    else this.#log.error({ op: kind, err: error }, 'a defect in answering a request');
    if (kind === 'forget' || kind === 'batch_forget' || kind === 'interrupt') return;
    this.#send(unique, { kind: 'error', errno: errnoOf(error) });
  }

  #send(unique: number, answer: Answer): void {
    if (answer.kind === 'none' || this.#channel === null) return;
    const { length, data } = this.#replies.encode(unique, answer);
    const delivery = this.#channel.send(this.#replies.bytes, length, data);
    if (delivery !== 'delivered') this.#filesystem.undeliver(answer);
  }

  /** Ends what has waited beyond its bound. Called by a timer. */
  sweep(): void {
    const now_ms = this.#clock.monotonic_ms();
    for (const [unique, flight] of this.#inFlight) {
      if (now_ms < flight.abortAt_ms) continue;
      flight.call.abort();
      if (now_ms < flight.abortAt_ms + GRACE_MS) continue;
      this.#log.error({ op: flight.kind, unique }, 'a request did not end when it was aborted; answered without it');
      flight.answered = true;
      this.#over(unique, flight);
      this.#send(unique, { kind: 'error', errno: Errno.ETIMEDOUT });
    }
  }

  /** From now on everything fails at once, and what waits is aborted: the drive is being taken away by force. */
  refuse(): void {
    this.#refusing = true;
    for (const flight of this.#inFlight.values()) flight.call.abort();
  }

  /** The connection is over: aborts what still waits. Nothing can be answered any more. */
  end(): void {
    clearInterval(this.#sweeper);
    this.#channel = null;
    for (const [unique, flight] of this.#inFlight) {
      flight.answered = true;
      flight.call.abort();
      this.#over(unique, flight);
    }
  }

  stats(): { inFlight: number; errors: number; requests: Record<string, number> } {
    const requests: Record<string, number> = {};
    for (const [code, name] of OPCODE_NAMES) {
      const count = this.#counts[code] ?? 0;
      if (count > 0) requests[name] = count;
    }
    return { inFlight: this.#inFlight.size, errors: this.#errors, requests };
  }
}

/** Operations whose data is a view into the request buffer. */
function keepsBuffer(op: Op): boolean {
  return op.kind === 'write' || op.kind === 'setxattr';
}

function refusal(op: Op): Answer {
  const unanswered = op.kind === 'forget' || op.kind === 'batch_forget' || op.kind === 'interrupt';
  return unanswered ? NO_ANSWER : { kind: 'error', errno: Errno.EIO };
}
