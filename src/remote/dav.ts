// WebDAV requests on one tree: addresses, headers, statuses and multistatus bodies turned into values and CloudErrors.
// What reads is repeated on transient failures here; what changes is sent once, its caller knows what a repetition means.

import { CloudError } from '../errors.js';
import type { RemotePath } from '../ids.js';
import { folded } from '../names.js';
import type { ChangeTurns } from './change_turns.js';
import { Destinations } from './destinations.js';
import type { Dialect } from './dialects/dialect.js';
import type { Self } from './entry.js';
import type { HttpClient, HttpRequest, HttpResponse } from './http.js';
import { captivePortal, codeOfStatus, isWebPage, readFailure } from './http_failure.js';
import { LeftOut } from './left_out.js';
import { LockRoots } from './lock_roots.js';
import type { OwnLocks } from './own_locks.js';
import type { CallOptions, Precondition } from './remote.js';
import type { ServerInfo } from './server_info.js';
import { etagOfHeaders } from './wire/etag.js';
import { escapedFully, type HrefTarget, hrefResolver, hrefToPath, pathToHref } from './wire/href.js';
import { emptyProperty, MultistatusReader, type MultistatusResponse } from './wire/multistatus.js';
import { DAV, ROOT_XMLNS, type XmlName } from './wire/ns.js';
import { XML_DECLARATION, type XmlElement } from './wire/xml.js';

/** Where we say what happened (pino fits); never credentials, never contents. */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export const SILENT: Log = { info: () => undefined, warn: () => undefined };

/** A server may take its time to store a file or to move a big folder: so many times the usual timeout. */
export const ANSWER_PATIENCE = 6;

export const XML_TYPE = 'application/xml; charset=utf-8';

/** A failed answer together with the conditions it names. */
export class DavFailure extends CloudError {
  readonly conditions: readonly XmlElement[];

  constructor(error: CloudError, conditions: readonly XmlElement[]) {
    super(error.code, error.message, error.details);
    this.conditions = conditions;
  }
}

export function namesCondition(error: unknown, local: string): boolean {
  return error instanceof DavFailure && error.conditions.some((one) => one.ns === DAV && one.local === local);
}

export function propElement(names: readonly XmlName[]): string {
  return `<d:prop>${names.map(emptyProperty).join('')}</d:prop>`;
}

function propfindBody(names: readonly XmlName[]): string {
  return `${XML_DECLARATION}<d:propfind${ROOT_XMLNS}>${propElement(names)}</d:propfind>`;
}

/** Asks for some properties, by their local names in `DAV:`, of what is at `path` (encoded) and with depth 1 of its members. */
export function propertyRequest(
  path: string,
  depth: 0 | 1,
  locals: readonly string[],
  { signal }: CallOptions,
): HttpRequest {
  return {
    method: 'PROPFIND',
    path,
    headers: { depth: String(depth), 'content-type': XML_TYPE },
    body: propfindBody(locals.map((local) => ({ ns: DAV, local }))),
    signal,
  };
}

export interface Page {
  readonly responses: readonly MultistatusResponse[];
  readonly syncToken: string | null;
}

/** DELETE and MOVE too: locks go with what they are on. */
const CHANGES_LOCKS: ReadonlySet<string> = new Set(['LOCK', 'UNLOCK', 'DELETE', 'MOVE']);
const PRIVILEGES = { ns: DAV, local: 'current-user-privilege-set' };

export class Dav {
  readonly http: HttpClient;
  readonly info: ServerInfo;
  readonly dialect: Dialect;
  readonly self: Self;
  readonly log: Log;
  readonly turns: ChangeTurns;
  readonly ownLocks: OwnLocks;
  readonly destinations: Destinations;
  readonly #resolve: (href: string) => HrefTarget | null;
  /** Asks for all that makes an entry. */
  readonly propfindBody: string;
  readonly leftOut: LeftOut;

  constructor(parts: {
    http: HttpClient;
    info: ServerInfo;
    dialect: Dialect;
    self: Self;
    ownLocks: OwnLocks;
    turns: ChangeTurns;
    log: Log;
  }) {
    this.http = parts.http;
    this.info = parts.info;
    this.dialect = parts.dialect;
    this.self = parts.self;
    this.ownLocks = parts.ownLocks;
    this.turns = parts.turns;
    this.log = parts.log;
    this.destinations = new Destinations(parts.info);
    this.#resolve = hrefResolver(parts.info.base);
    const privileges = parts.info.privileges === true ? [PRIVILEGES] : [];
    this.leftOut = new LeftOut(parts.log);
    this.propfindBody = propfindBody([...parts.dialect.properties, ...privileges]);
  }

  href(path: RemotePath, collection = false): string {
    return pathToHref(this.info.base, path, collection);
  }

  /** Absolute address, as Destination and resource tags have it. */
  url(path: RemotePath, collection = false): string {
    return this.info.origin + this.href(path, collection);
  }

  // --- what answers say

  /** Where a response points. Throws `protocol` for what is not below our base or has no safe name. */
  targetOf(response: MultistatusResponse, doing: string): HrefTarget {
    const [href = ''] = response.hrefs;
    let target: HrefTarget | null;
    try {
      target = this.#targetOf(href);
    } catch (error) {
      throw this.protocol(doing, error instanceof Error ? error.message : String(error));
    }
    if (target === null)
      throw this.protocol(doing, `an address below ${this.info.base} is required, found ${show(href)}`);
    return target;
  }

  /** In the way it is written by servers that escape too little, or spell the base otherwise, if not as it should be. */
  #targetOf(href: string): HrefTarget | null {
    try {
      const target = this.#resolve(href);
      if (target !== null) return target;
    } catch (error) {
      if (escapedFully(href) === href) throw error;
    }
    return hrefToPath(this.info.base, escapedFully(href), folded);
  }

  /** For the locks of one answer. */
  lockRoots(): LockRoots {
    return new LockRoots((href) => {
      try {
        return this.#resolve(href)?.path ?? null;
      } catch {
        return null; // no address that could be one of ours
      }
    });
  }

  /** Sends a request whose answer is a multistatus and hands out its responses as they arrive; the last page has the sync
   * token. Rejects unless the answer is a complete multistatus. */
  async *multistatus(request: HttpRequest, doing: string): AsyncGenerator<Page> {
    const response = await this.http.request({ ...request, compressible: true });
    if (response.status !== 207) throw await this.#notMultistatus(response, doing);
    const reader = new MultistatusReader();
    for await (const chunk of response.body) {
      const responses = reader.write(chunk);
      if (responses.length > 0) yield { responses, syncToken: null };
    }
    yield reader.end();
  }

  async #notMultistatus(response: HttpResponse, doing: string): Promise<CloudError> {
    if (response.status >= 200 && response.status < 300) {
      await response.discard();
      if (isWebPage(response)) return captivePortal(doing, response);
      return this.protocol(doing, `a multistatus (207) is required, found status ${response.status}`);
    }
    return await this.failureOf(response, doing);
  }

  // --- changing

  /** Runs `act`, which sends the request it is given: one that changes locks when its turn has come, where there are
   * turns (see `ChangeTurns`). */
  async inTurn<T>(request: HttpRequest, act: (request: HttpRequest) => Promise<T>): Promise<T> {
    if (this.info.dialect !== 'generic' || !CHANGES_LOCKS.has(request.method)) return await act(request);
    const { signal, ...rest } = request;
    return await this.turns.changingLocks(signal, () => act(rest));
  }

  /** Sends once. Resolves with the answer when its status is in `expected` (body discarded); everything else rejects. */
  async send(request: HttpRequest, expected: readonly number[], doing: string): Promise<HttpResponse> {
    return await this.inTurn(request, (asked) => this.#send(asked, expected, doing));
  }

  async #send(request: HttpRequest, expected: readonly number[], doing: string): Promise<HttpResponse> {
    const response = await this.http.request(request);
    if (!expected.includes(response.status)) {
      if (response.status === 207) {
        const stopped = await this.#partial(response, doing);
        if (stopped !== null) throw stopped;
        return response;
      }
      if (response.status === 202) {
        await response.discard();
        // Whoever repeats a change looks what has become of it first.
        throw new CloudError('busy_server', `${doing}: the server will do it later`, { status: 202 });
      }
      if (response.status >= 200 && response.status < 300) {
        await response.discard();
        if (isWebPage(response)) throw captivePortal(doing, response);
        throw this.protocol(doing, `status ${expected.join(' or ')} is required, found ${response.status}`);
      }
      throw await this.failureOf(response, doing);
    }
    await response.discard();
    if (response.status === 200 && isWebPage(response)) throw captivePortal(doing, response);
    return response;
  }

  /** A change of a whole tree that stopped at some of its members (RFC 4918 section 9.6.1): the first one's reason. Null: none
   * of what is told failed. */
  async #partial(response: HttpResponse, doing: string): Promise<CloudError | null> {
    const reader = new MultistatusReader();
    const all: MultistatusResponse[] = [];
    for await (const chunk of response.body) all.push(...reader.write(chunk));
    all.push(...reader.end().responses);
    const statusOf = ({ status, propstats }: MultistatusResponse) =>
      Math.max(status ?? 0, ...propstats.map((propstat) => propstat.status));
    if (all.every((one) => statusOf(one) < 300)) return null;
    const failed = all.find((one) => statusOf(one) >= 400 && statusOf(one) !== 424);
    const status = failed === undefined ? 500 : statusOf(failed);
    return new CloudError(
      codeOfStatus(status),
      `${doing}: stopped at ${show(failed?.hrefs[0] ?? '')}, status ${status}`,
      {
        status,
      },
    );
  }

  async failureOf(response: HttpResponse, doing: string): Promise<DavFailure> {
    const { error, conditions } = await readFailure(response, doing);
    return new DavFailure(error, conditions);
  }

  /** Headers that make a change of `path` depend on `precondition`, with the lock token we hold on it. */
  conditionHeaders(
    path: RemotePath,
    precondition: Precondition,
    lockToken: string | undefined,
  ): Record<string, string> {
    const conditions: string[] = lockToken === undefined ? [] : [`<${lockToken}>`];
    const headers: Record<string, string> = {};
    if (precondition.kind === 'if_absent') headers['if-none-match'] = '*';
    if (precondition.kind === 'if_match') {
      const { conditional } = this.info;
      if (conditional === 'if_header') conditions.push(`[${precondition.etag}]`);
      if (conditional === 'if_match' || conditional === 'put_if_match') headers['if-match'] = precondition.etag;
    }
    if (conditions.length > 0) headers['if'] = this.listFor(path, conditions.join(' '));
    return headers;
  }

  /** A list of an If header about the addressed resource. It names it where it can: mod_dav holds one that does not against
   * the parent of what it deletes. The path alone survives a proxy that changes the host. */
  listFor(path: RemotePath, conditions: string): string {
    return this.info.ifHeader === undefined ? `<${this.href(path)}> (${conditions})` : `(${conditions})`;
  }

  /** What `listFor` says of `path`, for a request that addresses another resource; `several`: one of such. */
  aboutOther(path: RemotePath, list: string, several = false): string {
    const { ifHeader } = this.info;
    if (ifHeader === undefined) return list;
    return ifHeader === 'nginx' && !several ? `</> ${list}` : `<${this.tagOf(path)}> ${list}`;
  }

  /** How an If header names one of several resources; on nginx perhaps a folder above, which is for all in it. */
  tagOf(path: RemotePath): string {
    return this.info.ifHeader === 'nginx' ? unescaped(this.href(path)) : this.url(path);
  }

  /** Version in an answer's headers, null when it has none that can be relied on. */
  versionOf(response: Pick<HttpResponse, 'headers'>): string | null {
    const etag = etagOfHeaders(response.headers);
    return etag === null ? null : this.dialect.version(etag);
  }

  /** `oc:fileid` from the header, where it stands padded with zeros and followed by the name of the instance; Infinite Scale's
   * (STORAGE$SPACE!NODE) is the same at both places. */
  fileidOf(response: HttpResponse): string | null {
    const said = response.headers['oc-fileid'] ?? '';
    return said.includes('!') ? said : (/^0*(\d+)/.exec(said)?.[1] ?? null);
  }

  retrying(options: CallOptions): { signal?: AbortSignal | undefined; deadline_ms: number } {
    return { signal: options.signal, deadline_ms: this.http.timeout_ms };
  }

  /** The server's answer is not what it should be. */
  protocol(doing: string, problem: string): CloudError {
    return new CloudError('protocol', `${doing}: ${problem}`);
  }
}

export function show(path: string): string {
  return JSON.stringify(path === '' ? '/' : path);
}

/** An address without its escapes, a character per byte as the values of headers are sent; of one with what would end it
 * there, the folder. */
function unescaped(href: string): string {
  return href
    .replace(/[^/]*%(?:3e|[01][0-9a-f]|7f).*$/i, '')
    .replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
