// The one table from domain errors to HTTP status, and the one way an error is answered: `<d:error>` with the condition
// RFC 4918 section 16 names, sabre's `<s:message>` for people and `<s:exception>` for clients that look at it.

import type { ServerResponse } from 'node:http';
import { CloudError, type ErrorCode, toCloudError } from '../../errors.js';
import type { Log } from '../../log.js';
import { errorBody } from '../../remote/wire/multistatus.js';

const STATUS: Readonly<Record<ErrorCode, number>> = {
  not_found: 404,
  exists: 405,
  not_dir: 409,
  is_dir: 405,
  not_empty: 409,
  invalid: 400,
  name_too_long: 400,
  symlink_loop: 409,
  no_access: 403,
  not_permitted: 403,
  read_only: 403,
  unauthorized: 401,
  locked: 423,
  no_space: 507,
  quota: 507,
  too_large: 413,
  precondition: 412,
  stale: 412,
  corrupt: 500,
  offline: 503,
  timeout: 408,
  network: 400,
  server: 500,
  busy_server: 503,
  protocol: 400,
  interrupted: 400,
  busy: 503,
  again: 503,
  unsupported: 501,
  no_attribute: 404,
  range: 416,
  past_end: 416,
  too_big: 413,
  io: 500,
};

const EXCEPTION: Readonly<Record<number, string>> = {
  400: 'Sabre\\DAV\\Exception\\BadRequest',
  403: 'Sabre\\DAV\\Exception\\Forbidden',
  404: 'Sabre\\DAV\\Exception\\NotFound',
  405: 'Sabre\\DAV\\Exception\\MethodNotAllowed',
  409: 'Sabre\\DAV\\Exception\\Conflict',
  412: 'Sabre\\DAV\\Exception\\PreconditionFailed',
  413: 'OCA\\DAV\\Connector\\Sabre\\Exception\\EntityTooLarge',
  415: 'Sabre\\DAV\\Exception\\UnsupportedMediaType',
  416: 'Sabre\\DAV\\Exception\\RequestedRangeNotSatisfiable',
  423: 'Sabre\\DAV\\Exception\\Locked',
  501: 'Sabre\\DAV\\Exception\\NotImplemented',
  503: 'Sabre\\DAV\\Exception\\ServiceUnavailable',
  507: 'Sabre\\DAV\\Exception\\InsufficientStorage',
};

/** A failure whose status the table cannot know, or that has a condition element to show. */
export class DavFailure extends CloudError {
  readonly status: number;
  /** Written XML, prefixes of ROOT_XMLNS. */
  readonly condition: string | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: ErrorCode,
    message: string,
    options: { condition?: string; headers?: Readonly<Record<string, string>>; lockOwner?: string } = {},
  ) {
    super(code, message, options.lockOwner === undefined ? {} : { lockOwner: options.lockOwner });
    this.status = status;
    this.condition = options.condition;
    this.headers = options.headers ?? {};
  }
}

export function statusOf(error: CloudError): number {
  return error instanceof DavFailure ? error.status : STATUS[error.code];
}

/** Condition element of RFC 4331 section 6 where the code implies one. */
function conditionOf(error: CloudError): string | undefined {
  if (error instanceof DavFailure) return error.condition;
  if (error.code === 'quota') return '<d:quota-not-exceeded/>';
  if (error.code === 'no_space') return '<d:sufficient-disk-space/>';
  return undefined;
}

/** Answers with the error (`show` does, if given), or cuts the connection when the answer is under way already: half an
 * answer must not look like a whole one. */
export function sendError(
  res: ServerResponse,
  thrown: unknown,
  log: Log,
  show?: (status: number, message: string) => void,
): void {
  const error = toCloudError(thrown, 'answering the request');
  const status = statusOf(error);
  if (status >= 500 && status !== 507) {
    log.error({ err: error, cause: error.cause, status }, 'request failed');
  } else {
    log.debug({ code: error.code, status, reason: error.message }, 'request refused');
  }
  if (res.headersSent) {
    res.destroy();
    return;
  }
  // What went wrong inside is for the log; a client learns what it can act on.
  const message = status === 500 ? 'The server failed to do this; its log says why.' : error.message;
  if (show !== undefined) {
    show(status, message);
    return;
  }
  const condition = conditionOf(error);
  const body = Buffer.from(
    errorBody({
      exception: EXCEPTION[status] ?? 'Sabre\\DAV\\Exception',
      message,
      ...(condition === undefined ? {} : { condition }),
    }),
  );
  res.writeHead(status, {
    'Content-Type': 'application/xml; charset=utf-8',
    'Content-Length': body.length,
    ...(status === 503 ? { 'Retry-After': '5' } : {}),
    ...(error instanceof DavFailure ? error.headers : {}),
  });
  res.end(res.req.method === 'HEAD' ? undefined : body);
}
