// `Remote` over WebDAV, for every server we know: finds out at `connect` what is there, then hands each call to the module
// that does it. Built from an address (`createRemote`) or from what an earlier connect learned (`createRemoteOffline`).

import { CloudError, isCloudError } from '../errors.js';
import { type RemotePath, ROOT_PATH } from '../ids.js';
import { encodeName } from '../names.js';
import { type Credentials, userOf } from './auth.js';
import { ChangeTurns } from './change_turns.js';
import { makeDirectory, moveNode, removeNode, setAttributes } from './changing.js';
import { Dav, type Log, propertyRequest } from './dav.js';
import { type Address, detect } from './detect.js';
import { dialectOf } from './dialects/index.js';
import { changePage } from './feed.js';
import { HttpClient } from './http.js';
import { type Attempt, LearnedRights } from './learned_rights.js';
import { list, stat } from './listing.js';
import { freeLock, refreshLock, takeLock, whateverToken, withRealToken } from './locks.js';
import { throwTruly } from './missing.js';
import { OwnLocks } from './own_locks.js';
import { keepPushOpen } from './push.js';
import { readRange } from './reading.js';
import {
  ANY_LOCK,
  type CallOptions,
  type ChangePage,
  type LockInfo,
  type MetaPatch,
  type MoveRule,
  type PosixMeta,
  type Precondition,
  type PutResult,
  type Quota,
  type ReadSink,
  type Remote,
  type RemoteCapabilities,
  type RemoteEntry,
  type RemoteEvents,
  type UploadSession,
  type UploadSource,
} from './remote.js';
import { retry } from './retry.js';
import type { ServerInfo } from './server_info.js';
import type { TlsOptions } from './tls.js';
import { putFile, upload } from './upload.js';
import { propertyText } from './wire/multistatus.js';
import { DAV } from './wire/ns.js';

export interface WebdavRemoteOptions {
  readonly address: Address;
  readonly credentials: Credentials;
  readonly timeout_ms: number;
  readonly userAgent: string;
  readonly tls: TlsOptions;
  /** Written into the locks we take; tells our own from others' after a restart. */
  readonly lockOwner: string;
  /** Tells the locks we take for a change from those of another process of the same user on the same machine. */
  readonly instance: string;
  readonly log: Log;
  /** From an earlier connect. */
  readonly info: ServerInfo | null;
}

const PING_ms = 5_000;

export class WebdavRemote implements Remote {
  readonly displayUrl: string;
  readonly #options: WebdavRemoteOptions;
  readonly #http: HttpClient;
  readonly #closed = new AbortController();
  readonly #learned = new LearnedRights();
  readonly #ownLocks: OwnLocks;
  readonly #turns = new ChangeTurns();
  #credentials: Credentials;
  #dav: Dav | null;

  constructor(options: WebdavRemoteOptions) {
    this.#options = options;
    this.#credentials = options.credentials;
    this.#ownLocks = new OwnLocks(options.lockOwner, options.instance);
    this.displayUrl = options.address.origin + options.address.path;
    this.#http = new HttpClient({
      origin: options.address.origin,
      credentials: options.credentials,
      timeout_ms: options.timeout_ms,
      userAgent: options.userAgent,
      tls: options.tls,
    });
    this.#dav = options.info === null ? null : this.#davFor(options.info);
  }

  get capabilities(): RemoteCapabilities {
    return this.#known.info.capabilities;
  }

  /** What connect learned, to be stored and given to `createRemoteOffline`. No credentials inside. */
  describe(): ServerInfo {
    return this.#known.info;
  }

  /** Rejects as `detect` does, and with `protocol` when another kind of server answers than the one that is known: then
   * something stands in between, or all that is known of the account is about another server. */
  async connect(options: CallOptions = {}): Promise<RemoteCapabilities> {
    const { address, lockOwner, log } = this.#options;
    const info = await detect(this.#http, address, { lockOwner }, this.#ownLocks, log, options);
    const known = this.#dav?.info;
    if (known !== undefined && (known.dialect !== info.dialect || known.user !== info.user)) {
      throw new CloudError(
        'protocol',
        `connecting to ${this.displayUrl}: the server of this account is required (${described(known)}), found ${described(info)}. ` +
          'If it has really become another one, unmount, log out and log in again',
      );
    }
    this.#dav = this.#davFor(info);
    return info.capabilities;
  }

  /** A new password or token of the same user, from the next request on. */
  useCredentials(credentials: Credentials): void {
    this.#http.useCredentials(credentials);
    this.#credentials = credentials;
  }

  async stat(path: RemotePath, options: CallOptions = {}): Promise<RemoteEntry> {
    return this.#withLearned(await this.#truly(options, () => stat(this.#known, path, options)));
  }

  async *list(path: RemotePath, options: CallOptions = {}): AsyncGenerator<readonly RemoteEntry[]> {
    try {
      for await (const batch of list(this.#known, path, options)) yield batch.map((entry) => this.#withLearned(entry));
    } catch (error) {
      await throwTruly(error, () => this.#askForRoot(options));
    }
  }

  async read(
    path: RemotePath,
    range: { readonly start: number; readonly end: number },
    etag: string | null,
    sink: ReadSink,
    options: CallOptions = {},
  ): Promise<void> {
    await this.#truly(options, () => readRange(this.#known, path, range, etag, sink, options));
  }

  async put(
    path: RemotePath,
    source: UploadSource,
    precondition: Precondition,
    meta: PosixMeta,
    session: UploadSession,
    options: CallOptions = {},
  ): Promise<PutResult> {
    const what = precondition.kind === 'if_absent' ? 'add' : 'replace';
    return await this.#change(what, path, options, () =>
      upload(this.#known, path, source, precondition, meta, session, withRealToken(options)),
    );
  }

  async mkdir(path: RemotePath, meta: PosixMeta, options: CallOptions = {}): Promise<PutResult> {
    return await this.#change('make_dir', path, options, () =>
      makeDirectory(this.#known, path, meta, withRealToken(options)),
    );
  }

  async symlink(
    path: RemotePath,
    target: string,
    precondition: Precondition,
    options: CallOptions = {},
  ): Promise<PutResult> {
    const dav = this.#known;
    if (!dav.info.capabilities.symlinks) {
      throw new CloudError('unsupported', 'making a symbolic link: this server cannot hold them', { path });
    }
    const bytes = encodeName(target);
    const source: UploadSource = {
      size_bytes: bytes.length,
      async *open(start, end) {
        yield bytes.subarray(start, end);
      },
    };
    const headers = { 'content-type': 'inode/symlink' };
    const session = { progress: () => undefined, committing: async () => undefined };
    return await this.#truly(options, () =>
      putFile(dav, path, source, precondition, headers, session, withRealToken(options)),
    );
  }

  async move(from: RemotePath, to: RemotePath, rule: MoveRule, options: CallOptions = {}): Promise<void> {
    await this.#change('move', from, options, () => moveNode(this.#known, from, to, rule, withRealToken(options)));
  }

  async remove(path: RemotePath, etag: string | null, options: CallOptions = {}): Promise<void> {
    await this.#change('remove', path, options, () => removeNode(this.#known, path, etag, withRealToken(options)));
  }

  async setMeta(path: RemotePath, patch: MetaPatch, options: CallOptions = {}): Promise<void> {
    await this.#truly(options, () => setAttributes(this.#known, path, patch, withRealToken(options)));
  }

  async lock(path: RemotePath, options: CallOptions & { readonly timeout_s?: number } = {}): Promise<LockInfo> {
    const dav = this.#lockable(path);
    // Locking a free name would make a file of it.
    await this.stat(path, options);
    return (await takeLock(dav, path, options.timeout_s ?? null, options)).info;
  }

  async refreshLock(path: RemotePath, token: string, options: CallOptions = {}): Promise<LockInfo> {
    const dav = this.#lockable(path);
    return await this.#truly(options, () =>
      retry(() => refreshLock(dav, path, token, null, options), dav.retrying(options)),
    );
  }

  async unlock(path: RemotePath, token: string, options: CallOptions = {}): Promise<void> {
    const dav = this.#lockable(path);
    const free = async () =>
      freeLock(dav, path, token === ANY_LOCK ? await whateverToken(dav, path, options) : token, options);
    await this.#truly(options, () => retry(free, dav.retrying(options)));
  }

  async quota(options: CallOptions = {}): Promise<Quota | null> {
    const dav = this.#known;
    const names = ['quota-used-bytes', 'quota-available-bytes'];
    const request = propertyRequest(dav.href(ROOT_PATH, true), 0, names, options);
    return await retry(async () => {
      let quota: Quota | null = null;
      for await (const page of dav.multistatus(request, 'asking for the quota')) {
        for (const response of page.responses) {
          const used = number(propertyText(response, DAV, 'quota-used-bytes'));
          const available = number(propertyText(response, DAV, 'quota-available-bytes'));
          // Negative: not computed, unknown or unlimited (Nextcloud's -1 to -3).
          if (used !== null) quota = { used_bytes: used, available_bytes: available };
        }
      }
      return quota;
    }, dav.retrying(options));
  }

  async changes(cursor: string | null, options: CallOptions = {}): Promise<ChangePage> {
    const dav = this.#known;
    if (!dav.info.capabilities.changeFeed) {
      throw new CloudError('unsupported', 'asking for changes: this server has no change feed');
    }
    return await changePage(dav, cursor, options);
  }

  watch(events: RemoteEvents, signal: AbortSignal): void {
    const { info } = this.#known;
    const { push } = info;
    if (push === null || signal.aborted) return;
    const { userAgent, tls, timeout_ms, log } = this.#options;
    const credentials = () => this.#credentials;
    const preAuth = async (abort: AbortSignal) => await this.#preAuth(push.preAuth, abort);
    const url = info.origin.replace(/^http/, 'ws') + push.socket;
    const options = { url, credentials, userAgent, tls, timeout_ms, preAuth, log };
    void keepPushOpen(options, events, AbortSignal.any([signal, this.#closed.signal]));
  }

  async ping(options: CallOptions = {}): Promise<void> {
    const dav = this.#known;
    const request = {
      ...propertyRequest(dav.href(ROOT_PATH, true), 0, ['resourcetype'], options),
      timeout_ms: Math.min(PING_ms, this.#options.timeout_ms),
      lane: 'probe' as const,
    };
    try {
      for await (const _ of dav.multistatus(request, 'asking whether the server is there'));
    } catch (error) {
      if (isCloudError(error, 'timeout', 'network')) this.#http.renew();
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await this.#http.close();
  }

  async #change<T>(what: Attempt, path: RemotePath, options: CallOptions, work: () => Promise<T>): Promise<T> {
    return await this.#truly(options, () => this.#learned.attempt(what, path, work));
  }

  /** `work`; that something is not there is believed only while the account is. */
  async #truly<T>(options: CallOptions, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      return await throwTruly(error, () => this.#askForRoot(options));
    }
  }

  async #askForRoot({ signal }: CallOptions): Promise<void> {
    await stat(this.#known, ROOT_PATH, signal === undefined ? {} : { signal });
  }

  get #known(): Dav {
    if (this.#dav === null)
      throw new CloudError('offline', 'talking to the server: connect first, nothing is known about it');
    return this.#dav;
  }

  /** Where the server tells rights, they are what counts. */
  #withLearned(entry: RemoteEntry): RemoteEntry {
    const { dialect, privileges } = this.#known.info;
    return dialect === 'generic' && privileges !== true ? this.#learned.apply(entry) : entry;
  }

  #davFor(info: ServerInfo): Dav {
    const { lockOwner, log } = this.#options;
    const self = { user: info.user ?? userOf(this.#credentials), lockOwner };
    const kept = { http: this.#http, ownLocks: this.#ownLocks, turns: this.#turns };
    return new Dav({ ...kept, info, dialect: dialectOf(info.dialect), self, log });
  }

  #lockable(path: RemotePath): Dav {
    const dav = this.#known;
    if (!dav.info.capabilities.locks) {
      throw new CloudError('unsupported', 'locking: this server has no locks', { path });
    }
    return dav;
  }

  async #preAuth(path: string | null, signal: AbortSignal): Promise<string> {
    if (path === null) throw new CloudError('unsupported', 'opening the push channel: it takes user and password only');
    const response = await this.#http.request({ method: 'POST', path, signal });
    const token = await response.text(4096);
    if (response.status !== 200)
      throw new CloudError('unauthorized', `opening the push channel: status ${response.status}`);
    return token.trim();
  }
}

function described({ dialect, user, product }: ServerInfo): string {
  return `${product}, ${dialect === 'generic' ? 'plain WebDAV' : `user ${user ?? 'unknown'}`}`;
}

/** A count of bytes; null for what is none, or negative. */
function number(text: string | null): number | null {
  const value = text === null || text === '' ? Number.NaN : Number(text);
  return Number.isFinite(value) && value >= 0 ? value : null;
}
