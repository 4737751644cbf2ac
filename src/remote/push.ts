// The push channel: a WebSocket that speaks Nextcloud's notify_push. After `authenticated` the server sends `notify_file…`
// when something changed. Silence is told from a dead line by pings; a broken line is opened again with backoff, and what
// was missed meanwhile counts as a change.

import { type ClientOptions, WebSocket } from 'ws';
import { CloudError } from '../errors.js';
import type { Credentials } from './auth.js';
import type { Log } from './dav.js';
import type { RemoteEvents } from './remote.js';
import { connectOptions, type TlsOptions } from './tls.js';

export interface PushOptions {
  readonly url: string;
  /** Asked anew for each connection. */
  credentials(): Credentials;
  readonly userAgent: string;
  readonly tls: TlsOptions;
  /** Opening, signing in and each answer to a ping take at most this. */
  readonly timeout_ms: number;
  readonly ping_ms?: number;
  readonly firstRetry_ms?: number;
  readonly maxRetry_ms?: number;
  /** Fetches a token where there is no password to show (notify_push's `pre_auth`). */
  preAuth(signal: AbortSignal): Promise<string>;
  readonly log: Log;
}

const PING_ms = 30_000;
const FIRST_RETRY_ms = 500;
const MAX_RETRY_ms = 60_000;
const MAX_MESSAGE_bytes = 1 << 20;

/** Runs until the signal aborts; never rejects. */
export async function keepPushOpen(options: PushOptions, events: RemoteEvents, signal: AbortSignal): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    const outcome = await connection(options, events, signal);
    if (signal.aborted) return;
    failures = outcome.worked ? 0 : failures + 1;
    options.log.info({ reason: outcome.reason }, 'the push channel broke');
    const limit_ms = Math.min(
      options.maxRetry_ms ?? MAX_RETRY_ms,
      (options.firstRetry_ms ?? FIRST_RETRY_ms) * 2 ** Math.min(failures, 20),
    );
    await sleep(limit_ms * (0.5 + Math.random() / 2), signal);
  }
}

interface Outcome {
  /** We were signed in and heard something. */
  readonly worked: boolean;
  readonly reason: string;
}

/** One connection from opening to its end. */
async function connection(options: PushOptions, events: RemoteEvents, signal: AbortSignal): Promise<Outcome> {
  let secrets: readonly [string, string];
  try {
    secrets = await signIn(options, signal);
  } catch (error) {
    return { worked: false, reason: error instanceof Error ? error.message : String(error) };
  }
  return await new Promise<Outcome>((resolve) => {
    const line = new Line(options, secrets, events, (outcome) => {
      signal.removeEventListener('abort', stop);
      resolve(outcome);
    });
    const stop = () => line.end('no longer wanted');
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}

/** What is sent as the first two messages. */
async function signIn(options: PushOptions, signal: AbortSignal): Promise<readonly [string, string]> {
  const credentials = options.credentials();
  switch (credentials.kind) {
    case 'basic':
      return [credentials.user, credentials.password];
    case 'bearer':
      return ['', await options.preAuth(signal)];
    case 'none':
      throw new CloudError('unauthorized', 'opening the push channel: an account is required');
  }
}

class Line {
  readonly #socket: WebSocket;
  readonly #options: PushOptions;
  readonly #events: RemoteEvents;
  readonly #ended: (outcome: Outcome) => void;
  #signedIn = false;
  #done = false;
  #bound: NodeJS.Timeout | null = null;
  #pinging: NodeJS.Timeout | null = null;

  constructor(
    options: PushOptions,
    secrets: readonly [string, string],
    events: RemoteEvents,
    ended: (outcome: Outcome) => void,
  ) {
    this.#options = options;
    this.#events = events;
    this.#ended = ended;
    this.#socket = new WebSocket(options.url, clientOptions(options));
    this.#limit('no sign-in in time');
    this.#socket.on('open', () => {
      for (const secret of secrets) this.#socket.send(secret);
    });
    this.#socket.on('message', (data, binary) => {
      if (!binary) this.#heard(data.toString());
    });
    this.#socket.on('pong', () => this.#unlimit());
    this.#socket.on('error', (error) => this.end(error.message));
    this.#socket.on('close', (code) => this.end(`closed with code ${code}`));
  }

  end(reason: string): void {
    if (this.#done) return;
    this.#done = true;
    this.#unlimit();
    if (this.#pinging !== null) clearInterval(this.#pinging);
    this.#socket.terminate();
    if (this.#signedIn) this.#events.onConnection(false);
    this.#ended({ worked: this.#signedIn, reason });
  }

  #heard(message: string): void {
    if (!this.#signedIn) {
      if (message !== 'authenticated') {
        this.end(`not signed in: ${message.slice(0, 200)}`);
        return;
      }
      this.#signedIn = true;
      this.#unlimit();
      const ping_ms = this.#options.ping_ms ?? PING_ms;
      this.#pinging = setInterval(() => this.#ping(), ping_ms);
      this.#events.onConnection(true);
      // Nobody told us what happened before this moment.
      this.#events.onChange();
      return;
    }
    if (message.startsWith('notify_file')) this.#events.onChange();
  }

  #ping(): void {
    if (this.#bound !== null) return; // the last one is still open
    this.#limit('no answer to a ping');
    this.#socket.ping();
  }

  #limit(reason: string): void {
    this.#bound = setTimeout(() => this.end(reason), this.#options.timeout_ms);
  }

  #unlimit(): void {
    if (this.#bound !== null) clearTimeout(this.#bound);
    this.#bound = null;
  }
}

function clientOptions(options: PushOptions): ClientOptions {
  return {
    ...connectOptions(options.tls),
    headers: { 'user-agent': options.userAgent },
    handshakeTimeout: options.timeout_ms,
    followRedirects: false,
    maxPayload: MAX_MESSAGE_bytes,
    perMessageDeflate: false,
  };
}

function sleep(delay_ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, delay_ms);
    signal.addEventListener('abort', done, { once: true });
  });
}
