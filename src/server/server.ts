// The server put together: one data folder, one listener. `startServer` is all that the CLI and tests need.

import { stat } from 'node:fs/promises';
import { systemClock } from '../clock.js';
import { useSpareRoom } from '../spare_room.js';
import { accessThroughLog } from './access_log.js';
import type { AccountStore, Login } from './accounts/account_store.js';
import { SERVER_SCHEMA } from './accounts/open_accounts.js';
import { SqliteAccounts } from './accounts/sqlite_accounts.js';
import { storedShares, storedUserFiles } from './accounts/user_files.js';
import { LoginFlowApi } from './api/login_flow.js';
import { Sharees } from './api/sharees.js';
import { Authenticator } from './auth/authenticator.js';
import { ChangeBus } from './changes/change_bus.js';
import { checkOptions, type ServerLimits, type ServerOptions } from './config.js';
import { type DataDir, prepareDataDir } from './data_dir.js';
import { DEFAULT_DAV_LIMITS } from './dav/context.js';
import { createDavHandler, type DavDone } from './dav/handler.js';
import { Guard } from './guard.js';
import { Housekeeping } from './housekeeping.js';
import { HttpFront, readCertificate } from './http.js';
import { hostInUrl, listensOnAll } from './listen_address.js';
import { Metrics } from './metrics/metrics.js';
import { PUSH_PATH, PushServer } from './push/push_server.js';
import { Router } from './router.js';
import { ServerLock } from './server_lock.js';
import { Activity } from './sharing/activity.js';
import { PublicFace } from './sharing/public_face.js';
import { PublicLinks } from './sharing/public_links.js';
import { ShareTicker } from './sharing/share_ticker.js';
import { SharingService } from './sharing/sharing_service.js';
import { LocalBlobStore } from './storage/blobs/local_blob_store.js';
import { SqliteDatabase } from './storage/metadata/sqlite/database.js';
import { SqliteMetadataStore } from './storage/metadata/sqlite/sqlite_metadata_store.js';
import { ChunkedUploads } from './uploads/chunked_uploads.js';
import { UploadHandler } from './uploads/upload_handler.js';

export { AccessLines, type AccessLog } from './access_log.js';
export type { AccountStore } from './accounts/account_store.js';
export { openAccounts } from './accounts/open_accounts.js';
export { backup } from './backup/backup.js';
export { restore } from './backup/restore.js';
export type { ServerOptions } from './config.js';

export interface RunningServer {
  /** Base URL to give to clients, without a slash at the end. */
  readonly url: string;
  readonly address: { readonly host: string; readonly port: number };
  readonly accounts: AccountStore;
  /** Takes no new requests, lets running ones end for `graceful_ms` (default 10 s), then aborts them. Idempotent. */
  close(options?: { readonly graceful_ms?: number }): Promise<void>;
}

const GRACEFUL_MS = 10_000;

/** Resolves when the server answers. Rejects with `invalid` (options), `busy` (another process serves the folder, its
 * pid in the message), `io` (port taken, certificate unreadable, …); nothing is left open then. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const limits = checkOptions(options);
  const closers: (() => Promise<void> | void)[] = [];
  const closeAll = async () => {
    for (const close of closers.splice(0).reverse()) await close();
  };
  try {
    return await start(options, limits, closers, closeAll);
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function start(
  options: ServerOptions,
  limits: ServerLimits,
  closers: (() => Promise<void> | void)[],
  closeAll: () => Promise<void>,
): Promise<RunningServer> {
  const { log } = options;
  const clock = options.clock ?? systemClock;
  // Nothing is made for a server that cannot start.
  if (options.tls !== undefined) await readCertificate(options.tls);
  const dir = await prepareDataDir(options.dataDir);
  const lock = await ServerLock.acquire(dir);
  closers.push(() => lock.release());

  const database = SqliteDatabase.open(dir.database, SERVER_SCHEMA, () => {
    if (useSpareRoom(dir)) log.warn({ dataDir: dir.root }, 'the disk is full: the room that was kept for it is used');
  });
  closers.push(() => database.close());
  const metadata = new SqliteMetadataStore(database, { clock });
  closers.push(() => metadata.close());
  const blobs = await LocalBlobStore.open(dir.blobs);
  closers.push(() => blobs.close());
  if ((await blobs.free().catch(() => null)) === 0) {
    log.warn({ dataDir: dir.root }, 'the disk is full: what is here can be read and removed, nothing can be added');
  }
  const accounts = new SqliteAccounts(database, storedUserFiles(metadata, dir.uploads), {
    clock,
    shared: storedShares(metadata),
  });
  await accounts.reconcile();

  const authenticator = new Authenticator(
    accounts,
    options.throttle === undefined ? {} : { throttle: options.throttle },
  );
  const changes = new ChangeBus(metadata, {
    onError: (error) => log.error({ err: error }, 'a change listener failed'),
  });
  closers.push(() => changes.close());
  const push = new PushServer({ authenticator, changes, limits });
  const uploads = new ChunkedUploads(dir.uploads, blobs, log);
  closers.push(() => uploads.close());
  const activity = new Activity(database, clock, log);
  closers.push(() => activity.settled());
  const davServices = {
    metadata,
    blobs,
    clock,
    limits: DEFAULT_DAV_LIMITS,
    displayName: (userId: string) => accounts.displayNameOf(userId),
    standing: (userId: string, login?: Login) => accounts.standing(userId, login),
    onDone: ({ ctx, ...done }: DavDone) => {
      activity.note({
        ...done,
        actor: ctx.principal.userId,
        ...(ctx.link === undefined ? {} : { target: `link:${ctx.link.label}` }),
        ...(ctx.client === undefined ? {} : { client: ctx.client }),
      });
    },
  };
  const sharing = new SharingService({
    metadata,
    accounts,
    clock,
    onEvent: ({ kind, userId, seen: { share, node, path }, client }) => {
      activity.note({
        kind: kind === 'changed' ? 'share_changed' : kind,
        actor: userId,
        ownerRootId: node.rootId,
        fileId: node.id,
        path: path ?? [node.name],
        ...(client === undefined ? {} : { client }),
        ...(share.kind === 'user'
          ? { affected: share.recipient }
          : { target: `${share.kind}:${share.kind === 'group' ? share.recipient : share.label}` }),
      });
    },
  });
  const ticker = new ShareTicker({ metadata, clock, changes, log });
  closers.push(() => ticker.close());
  const housekeeping = new Housekeeping({
    dir,
    metadata,
    blobs,
    uploads,
    clock,
    log,
    uploadAge_ms: limits.uploadAge_ms,
  });
  closers.push(() => housekeeping.close());

  const metrics = new Metrics({
    activeRequests: () => front.activeRequests,
    pushSessions: () => push.sessions,
    databaseBytes: () => databaseBytes(dir),
    passwordChecks: () => authenticator.verifications,
  });
  const dav = createDavHandler(davServices);
  const links = new PublicLinks({
    metadata,
    accounts,
    clock,
    ...(options.throttle === undefined ? {} : { throttle: options.throttle }),
  });
  const guard = new Guard(authenticator, metrics);
  const router = new Router({
    accounts,
    guard,
    metadata,
    dav,
    uploads: new UploadHandler(davServices, uploads),
    push,
    metrics,
    shares: { sharing, displayName: davServices.displayName },
    sharees: new Sharees(accounts),
    activity: { activity, metadata, displayName: davServices.displayName, now_ms: () => clock.now_ms() },
    publicFace: new PublicFace(links, dav, metadata),
    loginFlow: new LoginFlowApi(accounts, guard),
  });
  const access = options.access ?? accessThroughLog(log);
  const front = await HttpFront.create({
    tls: options.tls ?? null,
    limits,
    trustProxy: options.trustProxy ?? false,
    log,
    onRequest: (context) => router.handle(context),
    onUpgrade: (request, socket, head, address) => {
      if (request.url?.split('?')[0] === PUSH_PATH) push.upgrade(request, socket, head, address);
      else socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    },
    onDone: (done) => {
      const { duration_ms, received_bytes, sent_bytes, aborted, context } = done;
      const { request, response } = context;
      const [method, status] = [request.method ?? '', response.statusCode];
      metrics.request({ method, status, duration_ms, received_bytes, sent_bytes, aborted });
      access(done);
    },
  });

  const bound = await front.listen(options.listen.host, options.listen.port);
  const url = urlOf(options, bound.address, bound.port);
  await lock.publish(url);
  log.info({ url, dataDir: dir.root }, 'the server answers');

  let closing: Promise<void> | null = null;
  return {
    url,
    address: { host: bound.address, port: bound.port },
    accounts,
    close: ({ graceful_ms = GRACEFUL_MS } = {}) => {
      closing ??= (async () => {
        push.close();
        await front.close(graceful_ms);
        await closeAll();
        log.info({ url }, 'the server has stopped');
      })();
      return closing;
    },
  };
}

async function databaseBytes(dir: DataDir): Promise<number> {
  let sum = 0;
  for (const file of [dir.database, `${dir.database}-wal`]) {
    sum += await stat(file).then(
      ({ size }) => size,
      () => 0,
    );
  }
  return sum;
}

/** The address to show: a wildcard is no address to connect to. */
function urlOf(options: ServerOptions, address: string, port: number): string {
  const host = listensOnAll(address) ? 'localhost' : hostInUrl(address);
  return `${options.tls === undefined ? 'http' : 'https'}://${host}:${port}`;
}
