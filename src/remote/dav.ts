// WebDAV requests on one tree: addresses, headers, statuses and multistatus bodies turned into values and CloudErrors.
// What reads is repeated on transient failures here; what changes is sent once, its caller knows what a repetition means.

import { LRUCache } from 'lru-cache';
import { CloudError, isCloudError } from '../errors.js';
import type { Name, RemotePath } from '../ids.js';
import { isMember, joinPath, splitPath } from '../ids.js';
import { encodeSegment, folded } from '../names.js';
import type { ChangeTurns } from './change_turns.js';
import { Destinations } from './destinations.js';
import type { Dialect } from './dialects/dialect.js';
import { entryOf, lacksSize, leftOut, type Self } from './entry.js';
import type { HttpClient, HttpRequest, HttpResponse } from './http.js';
import { captivePortal, codeOfStatus, isWebPage, readFailure } from './http_failure.js';
import { LockRoots } from './lock_roots.js';
import type { OwnLocks } from './own_locks.js';
import type { CallOptions, Precondition, RemoteEntry } from './remote.js';
import { retry } from './retry.js';
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

const XML_TYPE = 'application/xml; charset=utf-8';

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
/** Members that may come before the folder they are in: they are kept until it is known to be one. */
const EARLY_MEMBERS = 100_000;
/** What was left out of listings is said once. */
const LEFT_OUT_KEPT = 1000;
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
  readonly #propfindBody: string;
  readonly #leftOut = new LRUCache<string, true>({ max: LEFT_OUT_KEPT });

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
    this.#propfindBody = propfindBody([...parts.dialect.properties, ...privileges]);
  }

  href(path: RemotePath, collection = false): string {
    return pathToHref(this.info.base, path, collection);
  }

  /** Absolute address, as Destination and resource tags have it. */
  url(path: RemotePath, collection = false): string {
    return this.info.origin + this.href(path, collection);
  }

  // --- reading

  async stat(path: RemotePath, options: CallOptions = {}): Promise<RemoteEntry> {
    return await retry(() => this.#statOnce(path, options), this.retrying(options));
  }

  async #statOnce(path: RemotePath, options: CallOptions): Promise<RemoteEntry> {
    let found: RemoteEntry | null = null;
    for await (const batch of this.#propfind(path, 0, options)) {
      for (const entry of batch) if (entry.path === path) found = entry;
    }
    if (found === null) throw this.#protocol(`looking at ${show(path)}`, 'the answer does not describe it');
    return found;
  }

  /** The collection first, then its members, as they arrive. Begins again on transient failures until the first batch is
   * there: what was handed out cannot be taken back. */
  async *list(path: RemotePath, options: CallOptions = {}): AsyncGenerator<readonly RemoteEntry[]> {
    const { batches, first } = await retry(async () => {
      const begun = this.#collection(path, options);
      return { batches: begun, first: await begun.next() };
    }, this.retrying(options));
    try {
      if (first.done !== true) yield first.value;
      yield* batches;
    } finally {
      await batches.return(undefined);
    }
  }

  async *#collection(path: RemotePath, options: CallOptions): AsyncGenerator<readonly RemoteEntry[], undefined> {
    const doing = `listing ${show(path)}`;
    let self: RemoteEntry | null = null;
    let begun = false;
    let members: RemoteEntry[] = [];
    for await (const batch of this.#propfind(path, 1, options)) {
      for (const entry of batch) {
        if (entry.path === path) self = entry;
        else if (!isMember(entry.path, path)) {
          const found = joinPath(path, encodeSegment(entry.path) as Name);
          members.push(this.#leaveOut(found, entry.path, `a member of ${show(path)} is required`));
        } else if (!isLockNull(entry)) members.push(entry);
      }
      if (self === null && members.length > EARLY_MEMBERS) {
        throw this.#protocol(doing, 'the answer goes on and on, and does not describe the directory itself');
      }
      if (self === null) continue;
      if (self.kind !== 'dir') {
        throw new CloudError('not_dir', `${doing}: a directory is required, found a ${self.kind}`);
      }
      const out = begun ? members : [self, ...members];
      begun = true;
      members = [];
      if (out.length > 0) yield out;
    }
    if (self === null) throw this.#protocol(doing, 'the answer does not describe the directory itself');
  }

  async *#propfind(path: RemotePath, depth: 0 | 1, options: CallOptions): AsyncGenerator<readonly RemoteEntry[]> {
    const doing = depth === 0 ? `looking at ${show(path)}` : `listing ${show(path)}`;
    const request: HttpRequest = {
      method: 'PROPFIND',
      path: this.href(path),
      headers: { depth: String(depth), 'content-type': XML_TYPE, prefer: 'return=minimal' },
      body: this.#propfindBody,
      signal: options.signal,
    };
    const roots = this.lockRoots();
    for await (const page of this.multistatus(request, doing)) {
      const entries: (RemoteEntry | (() => Promise<RemoteEntry>))[] = [];
      for (const response of page.responses) {
        const target = this.#targetIn(path, depth, response, doing);
        if (!('slash' in target)) {
          entries.push(target);
          continue;
        }
        if (response.status === 404 || response.status === 410) {
          if (target.path === path)
            throw new CloudError('not_found', `${doing}: nothing is there`, { status: 404, path });
          continue; // gone while the server listed it
        }
        if (response.status !== null && response.status >= 400 && target.path === path) {
          throw new CloudError(codeOfStatus(response.status), `${doing}: the server answered ${response.status}`, {
            status: response.status,
            path,
          });
        }
        entries.push(this.#described(path, target, response, roots, options));
      }
      if (entries.length > 0) yield await Promise.all(entries.map((one) => (typeof one === 'function' ? one() : one)));
    }
  }

  /** Where a response to a question about `path` points, in our spelling: the server may have another for the same name (case,
   * accents). What it names in a way that cannot be is left out of a listing. */
  #targetIn(path: RemotePath, depth: 0 | 1, response: MultistatusResponse, doing: string): HrefTarget | RemoteEntry {
    let target: HrefTarget;
    try {
      target = this.targetOf(response, doing);
    } catch (error) {
      if (depth === 0) throw error;
      const [href = ''] = response.hrefs;
      return this.#leaveOut(joinPath(path, encodeSegment(href) as Name), href, error);
    }
    if (target.path === path || isMember(target.path, path)) return target;
    if (folded(target.path) === folded(path)) return { ...target, path };
    const { parent, name } = splitPath(target.path);
    return folded(parent) === folded(path) ? { ...target, path: joinPath(path, name) } : target;
  }

  /** The entry, or how to get it. `protocol` where `path` itself is told in a way that cannot be; a member of it is left out
   * then. */
  #described(
    path: RemotePath,
    target: HrefTarget,
    response: MultistatusResponse,
    roots: LockRoots,
    options: CallOptions,
  ): RemoteEntry | (() => Promise<RemoteEntry>) {
    const read = (length?: string) =>
      entryOf(response, target.path, target.slash, this.dialect, this.self, roots, length);
    const failed = (error: unknown) => {
      if (target.path === path || !isCloudError(error, 'protocol')) throw error;
      return this.#leaveOut(target.path, target.path, error);
    };
    try {
      const entry = read();
      if (!lacksSize(response, entry)) return entry;
      return () => this.#askForSize(entry, options).then(read).catch(failed);
    } catch (error) {
      return failed(error);
    }
  }

  /** Of a file whose size is not told with it: shown as empty, it would be copied as empty. Rejects with `protocol` where it is
   * not told at all. */
  async #askForSize({ path, etag }: RemoteEntry, { signal }: CallOptions): Promise<string> {
    const headers = { 'accept-encoding': 'identity' };
    // Not in the lane of the listing, which goes on when this is answered.
    const response = await this.http.request({ method: 'HEAD', path: this.href(path), headers, lane: 'read', signal });
    await response.discard();
    const found = this.versionOf(response);
    const isSame = etag === null || found === null || found === etag;
    const length = response.headers['content-length'];
    if (response.status === 200 && isSame && length !== undefined) return length;
    throw this.#protocol(`asking for the size of ${show(path)}`, 'the server does not tell it');
  }

  #leaveOut(path: RemotePath, what: string, why: unknown): RemoteEntry {
    if (!this.#leftOut.has(what)) {
      this.#leftOut.set(what, true);
      const reason = why instanceof Error ? why.message : String(why);
      this.log.warn(
        { entry: what, reason },
        'left out of a listing: the server tells or names it in a way that cannot be',
      );
    }
    return leftOut(path);
  }

  /** Where a response points. Throws `protocol` for what is not below our base or has no safe name. */
  targetOf(response: MultistatusResponse, doing: string): HrefTarget {
    const [href = ''] = response.hrefs;
    let target: HrefTarget | null;
    try {
      target = this.#targetOf(href);
    } catch (error) {
      throw this.#protocol(doing, error instanceof Error ? error.message : String(error));
    }
    if (target === null)
      throw this.#protocol(doing, `an address below ${this.info.base} is required, found ${show(href)}`);
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
      return this.#protocol(doing, `a multistatus (207) is required, found status ${response.status}`);
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
        throw this.#protocol(doing, `status ${expected.join(' or ')} is required, found ${response.status}`);
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

  #protocol(doing: string, problem: string): CloudError {
    return new CloudError('protocol', `${doing}: ${problem}`);
  }
}

/** A name that is locked and free (mod_dav, after RFC 2518): described, with nothing that a file has. */
export function isLockNull(entry: RemoteEntry): boolean {
  return (
    entry.kind === 'file' && entry.etag === null && entry.size_bytes === 0 && entry.mtime.s === 0 && entry.rights.read
  );
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
