// A command's end of the control socket.

import { connect, type Socket } from 'node:net';
import { CloudError, type ErrorCode } from '../../errors.js';
import { LineReader } from './line_reader.js';
import { type ControlReply, formatRequest, MAX_REPLY_BYTES, parseReply } from './protocol.js';

export interface ControlCallOptions {
  readonly signal?: AbortSignal;
  /** Called for every progress message of this request. */
  readonly onProgress?: (value: unknown) => void;
  /** Longest silence: neither progress nor result. Default 30 s; null = wait for as long as the connection lives. */
  readonly silence_ms?: number | null | undefined;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: unknown): void;
  progress(value: unknown): void;
}

/** Only the first two say that nobody listens. EAGAIN: so many wait that no other can, for a daemon that was stopped, say. */
const CONNECT_FAILURES: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'not_found',
  ECONNREFUSED: 'not_found',
  EACCES: 'no_access',
  EPERM: 'no_access',
  EAGAIN: 'timeout',
};

const CONNECT_TIMEOUT_MS = 5_000;
const SILENCE_MS = 30_000;

export class ControlClient {
  readonly #socket: Socket;
  readonly #pending = new Map<string, Pending>();
  readonly #lines = new LineReader(MAX_REPLY_BYTES);
  #nextId = 1;
  #broken: CloudError | null = null;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.#fail(new CloudError('network', `control connection: ${error.message}`)));
    socket.on('close', () => this.#fail(new CloudError('network', 'control connection: the daemon ended it')));
  }

  /** Rejects with `not_found` if no daemon listens at `path`, with `no_access` if it is another user's, with `timeout` if
   * it accepts no connection. */
  static connect(path: string, timeout_ms = CONNECT_TIMEOUT_MS): Promise<ControlClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      const timer = setTimeout(() => {
        socket.destroy();
        reject(
          new CloudError('timeout', `connecting to the daemon at ${path}: no answer within ${timeout_ms / 1000} s`),
        );
      }, timeout_ms);
      socket.once('connect', () => {
        clearTimeout(timer);
        socket.removeAllListeners('error');
        resolve(new ControlClient(socket));
      });
      socket.once('error', (error: NodeJS.ErrnoException) => {
        clearTimeout(timer);
        const code = CONNECT_FAILURES[error.code ?? ''] ?? 'io';
        reject(new CloudError(code, `connecting to the daemon at ${path}: ${error.message}`, { cause: error }));
      });
    });
  }

  /** Rejects with the daemon's own error, `timeout` after too long a silence, `interrupted` on abort. */
  call(
    method: string,
    params: Readonly<Record<string, unknown>> = {},
    options: ControlCallOptions = {},
  ): Promise<unknown> {
    if (this.#broken !== null) return Promise.reject(this.#broken);
    const id = String(this.#nextId++);
    const silence_ms = options.silence_ms === undefined ? SILENCE_MS : options.silence_ms;
    return new Promise<unknown>((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const rearm = (): void => {
        clearTimeout(timer);
        if (silence_ms === null) return;
        timer = setTimeout(() => {
          finish();
          const hint = 'if it hangs, cloudmount unmount --force ends it';
          reject(
            new CloudError(
              'timeout',
              `asking the drive's process (${method}): no answer within ${silence_ms / 1000} s; ${hint}`,
            ),
          );
        }, silence_ms);
      };
      const onAbort = (): void => {
        finish();
        reject(new CloudError('interrupted', `asking the drive's process (${method}): interrupted`));
      };
      const finish = (): void => {
        clearTimeout(timer);
        options.signal?.removeEventListener('abort', onAbort);
        this.#pending.delete(id);
      };
      if (options.signal?.aborted) {
        onAbort();
        return;
      }
      options.signal?.addEventListener('abort', onAbort, { once: true });
      this.#pending.set(id, {
        resolve: (value) => {
          finish();
          resolve(value);
        },
        reject: (error) => {
          finish();
          reject(error);
        },
        progress: (value) => {
          rearm();
          options.onProgress?.(value);
        },
      });
      rearm();
      this.#socket.write(formatRequest({ id, method, params }));
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    try {
      for (const line of this.#lines.push(chunk)) this.#deliver(parseReply(line));
    } catch (error) {
      this.#fail(error instanceof CloudError ? error : new CloudError('protocol', String(error)));
      this.#socket.destroy();
    }
  }

  #deliver(reply: ControlReply): void {
    const pending = this.#pending.get(reply.id);
    if (pending === undefined) {
      // An error without a request's id concerns the connection.
      if ('error' in reply && reply.id === '') throw new CloudError(reply.error.code, reply.error.message);
      return;
    }
    if ('progress' in reply) pending.progress(reply.progress);
    else if ('result' in reply) pending.resolve(reply.result);
    else pending.reject(new CloudError(reply.error.code, reply.error.message, reply.error.details ?? {}));
  }

  #fail(error: CloudError): void {
    this.#broken ??= error;
    for (const pending of [...this.#pending.values()]) pending.reject(error);
  }
}
