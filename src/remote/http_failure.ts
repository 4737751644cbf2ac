// What an answer that is no success means: its status, by one table, and the reason the server gives in its body.

import { CloudError, type ErrorCode } from '../errors.js';
import type { HttpResponse } from './http.js';
import { parseHttpDate } from './wire/http_date.js';
import { DAV, SABRE } from './wire/ns.js';
import { childOf, elementsOf, parseXml, textOf, type XmlElement } from './wire/xml.js';

/** The one table: HTTP status -> what went wrong. */
const STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid',
  401: 'unauthorized',
  403: 'no_access',
  404: 'not_found',
  405: 'not_permitted',
  408: 'timeout',
  409: 'not_found', // WebDAV: the parent collection is missing
  410: 'not_found',
  412: 'precondition',
  413: 'too_large',
  414: 'name_too_long',
  415: 'unsupported',
  416: 'protocol', // we ask only for what the listing says is there
  423: 'locked',
  424: 'locked', // failed because of another resource, nearly always a locked one
  425: 'busy_server',
  429: 'busy_server',
  431: 'name_too_long',
  500: 'server',
  501: 'unsupported',
  502: 'server',
  503: 'busy_server',
  504: 'server',
  507: 'quota',
  508: 'symlink_loop',
  511: 'network', // a network that wants us to sign in first
};

export function codeOfStatus(status: number): ErrorCode {
  const known = STATUS[status];
  if (known !== undefined) return known;
  if (status >= 500) return 'server';
  return status >= 400 ? 'not_permitted' : 'protocol';
}

/** Who asks for more is asked again all the same: a wrong clock or a wrong number must not end the sending for good. */
const MAX_RETRY_AFTER_s = 3600;

/** Retry-After (RFC 9110 section 10.2.3) in seconds from now, an hour at most. */
export function parseRetryAfter(header: string | undefined, now_ms: number): number | null {
  if (header === undefined) return null;
  if (/^\s*\d+\s*$/.test(header)) return Math.min(Number(header), MAX_RETRY_AFTER_s);
  const date_s = parseHttpDate(header);
  return date_s === null ? null : Math.min(Math.max(0, date_s - now_ms / 1000), MAX_RETRY_AFTER_s);
}

/** A failed answer, read and understood. */
export interface Failure {
  readonly error: CloudError;
  /** Children of `<d:error>`: preconditions by name, without sabre's text elements. */
  readonly conditions: readonly XmlElement[];
}

/** Consumes the answer. `doing`: what was tried, for the message. */
export async function readFailure(response: HttpResponse, doing: string): Promise<Failure> {
  let said = '';
  let conditions: readonly XmlElement[] = [];
  const type = response.headers['content-type'] ?? '';
  if (/xml/i.test(type)) {
    try {
      const root = parseXml(await response.text(64 * 1024));
      if (root.ns === DAV && root.local === 'error') {
        const message = childOf(root, SABRE, 'message');
        said = message === null ? '' : textOf(message).trim().slice(0, 500);
        conditions = elementsOf(root).filter((one) => one.ns !== SABRE);
      }
    } catch {
      await response.discard(); // an error without a readable reason is still that error
    }
  } else {
    await response.discard();
  }
  const { status } = response;
  const retryAfter_s = parseRetryAfter(response.headers['retry-after'], Date.now());
  const digest = status === 401 && /^\s*digest/i.test(response.headers['www-authenticate'] ?? '');
  const detail = said !== '' ? said : digest ? 'the server takes Digest authentication only, we send Basic' : '';
  const error = new CloudError(
    codeOfStatus(status),
    `${doing}: the server answered ${status}${detail === '' ? '' : ` (${detail})`}`,
    {
      status,
      ...(retryAfter_s === null ? {} : { retryAfter_s }),
    },
  );
  return { error, conditions };
}

/** The answer where a DAV document or a plain acknowledgement is due is a web page: somebody in between spoke. */
export function isWebPage(response: Pick<HttpResponse, 'headers'>): boolean {
  return /^\s*(text\/html|application\/xhtml)/i.test(response.headers['content-type'] ?? '');
}

export function captivePortal(doing: string, response: Pick<HttpResponse, 'status'>): CloudError {
  return new CloudError(
    'protocol',
    `${doing}: a WebDAV answer is required, found a web page with status ${response.status} (a network that wants you to sign in first, or no WebDAV address)`,
    { status: response.status },
  );
}
