// What is known of one request besides Node's own objects. Made once by `http.ts`, handed down to every handler. What most
// requests do not ask for is made when it is asked for.

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
  /** Who the request acts for, once that is known. */
  principal: Principal | null;
}

export interface UserContext extends RequestContext {
  principal: Principal;
}

/** From here on the request acts for somebody. */
export function actFor(context: RequestContext, principal: Principal): UserContext {
  context.principal = principal;
  return context as UserContext;
}

/** Of a request, what is told of it to those who know no HTTP: `client` is the program, as it names itself. */
export function aboutRequest({ id, log, request }: RequestContext): {
  readonly requestId: string;
  readonly log: Log;
  readonly client?: string;
} {
  const client = request.headers['user-agent'];
  return { requestId: id, log, ...(client === undefined ? {} : { client }) };
}
