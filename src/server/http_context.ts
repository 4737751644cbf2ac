// What is known of one request besides Node's own objects. Made once by `http.ts`, handed down to every handler.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Log } from '../log.js';
import type { Principal } from './auth/authenticator.js';

export interface RequestContext {
  /** In the access log and in `X-Request-Id` of the answer. */
  readonly id: string;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Raw path of the request target (percent-encoded as sent), without the query; starts with `/`. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Scheme, host and port as the client sees them, e.g. `https://cloud.example.org`. No trailing `/`. */
  readonly origin: string;
  /** IP address of the client. */
  readonly address: string;
  /** Aborted when the client is gone or the server stops hard. */
  readonly signal: AbortSignal;
  readonly log: Log;
}

export interface UserContext extends RequestContext {
  readonly principal: Principal;
}
