// Opens a cache folder and joins its parts. DIR/metadata.db, DIR/content/, DIR/lock. One daemon at a time; a cache
// belongs to one account on one server and says so when asked to serve another.

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../clock.js';
import { CloudError, isCloudError, toCloudError } from '../errors.js';
import type { Ino } from '../ids.js';
import type { Log } from '../log.js';
import { makeFolder } from '../make_folder.js';
import { spelledAlike } from '../names.js';
import type { Remote } from '../remote/remote.js';
import type { ActiveContent } from './active_content.js';
import { AutoLock, type AutoLockMode } from './auto_lock.js';
import { Cache } from './cache.js';
import type { CacheControl, DriveCache, Invalidation } from './cache_api.js';
import { CacheDisk } from './cache_disk.js';
import { Conflicts } from './conflicts.js';
import { Connection } from './connection.js';
import { ContentStore } from './content/content_store.js';
import { Contents, type ContentsOptions } from './contents.js';
import { recoverContents } from './contents_recovery.js';
import { takeOverMapped } from './file_handle.js';
import { lockFolder } from './folder_lock.js';
import { Follower } from './follower.js';
import { Hydrator } from './hydrator.js';
import { invalidateBelow } from './invalidate_below.js';
import { Locks } from './locks.js';
import { MappedWrites } from './mapped_writes.js';
import { Database } from './metadata/database.js';
import type { NodeRecord } from './metadata/node.js';
import { NodeStore } from './metadata/node_store.js';
import { Mirror } from './mirror.js';
import { Pins } from './pins.js';
import { LinkMeter } from './read_ahead.js';
import { RecentOperations } from './recent_operations.js';
import { holdsContents, isBeingSetAside, recoveredFolders, setAside } from './recovered.js';
import { SpaceBudget } from './space.js';
import { Tree } from './tree.js';
import { describeUnsent, unsentOf } from './unsent.js';
import { placePath } from './writeback/request.js';
import { Writeback } from './writeback/writeback.js';
import { Xattrs } from './xattrs.js';

export interface OpenCacheOptions {
  /** Created if missing, mode 0700. */
  readonly dir: string;
  readonly remote: Remote;
  /** Who made `remote` has just connected it: the server is not asked again what it is. */
  readonly connected?: boolean;
  readonly account: { readonly name: string; readonly user: string; readonly host: string };
  /** What the cache belongs to, where the server's address is not it (a local server whose port may change). */
  readonly identity?: string;
  /** Whose files they are, as the server names that user. Two users may log in at the same address. */
  readonly owner?: string;
  /** It is known that the server of `remote` has the files that the cache is of, whatever the cache says. */
  readonly adopt?: boolean;
  readonly sizeLimit_bytes: number;
  readonly minFree_bytes: number;
  /** How long a writer waits for room before it is told that there is none. Default 30 s. */
  readonly spaceWait_ms?: number;
  /** How long a listing is believed where the server does not tell of changes. */
  readonly dirCacheTime_ms: number;
  readonly timeout_ms: number;
  /** How long writeback leaves a changed file alone. */
  readonly quiet_ms: number;
  readonly readOnly: boolean;
  readonly writeThrough: boolean;
  /** Default off. */
  readonly autoLock?: AutoLockMode;
  readonly log: Log;
  readonly clock: Clock;
}

/** How long the start waits for the server before it goes on without. */
const FIRST_CONNECT_MS = 1_500;
/** How long the server may take to say whether it knows a position in its feed. */
const ASK_POSITION_MS = 10_000;
const CLOSE_BOUND_MS = 3_000;
/** Who writes through to a server that answers, but not as it should, is told after so many attempts. */
const THROUGH_ATTEMPTS = 5;
const THROUGH_LOOK_MS = 1_000;
const DATABASE = 'metadata.db';
const CONTENT = 'content';

export async function openCache(options: OpenCacheOptions): Promise<DriveCache & CacheControl> {
  const { dir, remote, clock, log } = options;
  try {
    await makeFolder(dir, 0o700);
  } catch (error) {
    throw toCloudError(error, `creating the cache folder ${dir}`);
  }
  const disk = new CacheDisk(dir, clock, log);
  disk.isTight();
  const unlock = await lockFolder(dir, log);
  let db: Database;
  try {
    db = await openDatabase(dir, log, disk);
  } catch (error) {
    await unlock();
    throw error;
  }
  let connect: () => Promise<Cache>;
  try {
    connect = await assemble(options, db, unlock);
  } catch (error) {
    await db.close(false).catch(() => undefined);
    await unlock();
    throw error;
  }
  return connect(); // which closes the cache by itself where it fails

  async function assemble(
    o: OpenCacheOptions,
    database: Database,
    release: () => Promise<void>,
  ): Promise<() => Promise<Cache>> {
    const store = new NodeStore(database);
    await claim(store, database, o, clock);
    const listeners = new Set<(event: Invalidation) => void>();
    const invalidate = (event: Invalidation) => {
      for (const listener of listeners) listener(event);
    };
    const coverChanged = (folder: Ino) => invalidateBelow(folder, store, invalidate);
    store.cover.onChange = coverChanged;
    const recent = new RecentOperations(clock);
    const files = new ContentStore({ dir: join(o.dir, CONTENT), log });
    const link = new LinkMeter();

    const parts: ContentsOptions = {
      store,
      files,
      clock,
      log,
      mirror: () => mirror,
      hydrator: () => hydrator,
      space: () => space,
      tree: () => tree,
      isPinned: (node) => pins.isPinned(node),
    };
    const contents = new Contents(parts);
    const space: SpaceBudget = new SpaceBudget({
      limit_bytes: o.sizeLimit_bytes,
      minFree_bytes: o.minFree_bytes,
      used_bytes: store.cachedBytes(),
      ...(o.spaceWait_ms === undefined ? {} : { wait_ms: o.spaceWait_ms }),
      clock,
      log,
      freeBytes: () => disk.free_bytes(),
      mayComeFree: () => writeback.makesRoom(),
      candidates: (limit, staying) => contents.candidates(limit, staying),
      evict: (victim) => contents.evict(victim),
      shrinkOpen: (bytes, sides) => contents.shrinkOpen(bytes, sides),
    });
    const tree: Tree = new Tree({
      store,
      clock,
      quiet_ms: o.quiet_ms,
      onPending: (node) => {
        writeback.enqueue(node);
        autoLock.changed(node);
      },
      isBusy: (node) => writeback.isBusy(node),
      isBeingMade: (parent, name) => writeback.makerAt(parent, name) !== null,
      isOpen: (node) => contents.isOpen(node),
      onVacated: (parent, name) => {
        const path = placePath({ parent, name }, { store, mirror });
        if (path === null) return;
        mirror.deferred.add(path);
        // When it is so, and not undone by a failure.
        setImmediate(() => writeback.lookUpDeferred());
      },
      onUnlinked: (node) => contents.unlinked(node),
    });
    const conflicts = new Conflicts({
      store,
      tree,
      clock,
      author: { user: o.account.user, host: o.account.host },
      log,
      invalidate,
      isComplete: (node) => contents.isComplete(node),
      insert: (parent, name, entry) => mirror.insert(parent, name, entry, 0),
    });
    const mirror: Mirror = new Mirror({
      store,
      tree,
      conflicts,
      clock,
      recent,
      log,
      invalidate,
      coverChanged,
      keepsTimes: () => remote.capabilities.setMtime,
      keepsXattrs: () => remote.capabilities.xattrs,
      isBusy: (node) => writeback.isUnsettled(node),
      isOpen: (node) => contents.isOpen(node),
      isBeingMade: (parent, name) => writeback.makerAt(parent, name) !== null,
      listedSince: (dir, since_ms) => follower.listedSince(dir, since_ms),
      isComplete: (node) => contents.isComplete(node),
      dropContent: (node) => contents.drop(node),
      onUnlinked: (node) => contents.unlinked(node),
    });
    const connection: Connection = new Connection({
      remote,
      clock,
      log,
      onState: (state) => {
        if (state === 'online') {
          follower.online();
          writeback.resume();
          pins.kick();
          locks.refresh().catch((error: unknown) => log.warn({ err: error }, 'refreshing locks failed'));
          void cache.refreshQuota();
          autoLock.settleAll();
        } else follower.offline();
      },
    });
    const hydrator: Hydrator = new Hydrator({
      remoteRead: async (path, range, etag, sink, call) => {
        await connection.reach('reading', call?.signal);
        const node = mirror.atPath(path);
        for (let at = path; ; ) {
          try {
            return await remote.read(at, range, etag, sink, call);
          } catch (error) {
            // Also where our patience ended before that of the request, which was only told to end.
            connection.suspect(call?.signal?.aborted === true ? call.signal.reason : error);
            if (!isCloudError(error, 'not_found', 'stale', 'precondition') || node === null) throw error;
            // It, or a directory above it, may be on its way to another place, with the answer outstanding or lost.
            const waited = await writeback.settleWay(node, call?.signal);
            const now = waited ? mirror.remotePath(node) : null;
            if (now === null || now === at) {
              // What we know of it is not so any more: whoever reads next must find it as it is.
              mirror.deferred.add(at);
              writeback.lookUpDeferred();
              follower.hint();
              throw error;
            }
            at = now;
          }
        }
      },
      clock,
      log,
      limits: { timeout_ms: o.timeout_ms },
      space,
      link,
      onProgress: (node, start, end) => contents.fetched(node, start, end),
    });
    const writeback: Writeback = new Writeback({
      remote,
      store,
      contents,
      hydrator,
      clock,
      tree,
      mirror,
      conflicts,
      connection,
      space,
      recent,
      log,
      onSettled: (node: NodeRecord) => {
        if (node.parent !== null) pins.kick();
        autoLock.changed(node);
      },
      onSurprise: () => follower.hint(),
      isCatchingUp: () => follower.isCatchingUp,
      lockAgain: (node, stayed) => locks.again(node, stayed),
    });
    const follower: Follower = new Follower({
      remote,
      store,
      mirror,
      connection,
      recent,
      clock,
      log,
      dirCacheTime_ms: o.dirCacheTime_ms,
      invalidate,
      onApplied: () => {
        writeback.lookUpDeferred();
        pins.refresh();
        space.changed();
      },
      onPush: (connected) => {
        log.info({ connected }, 'push channel');
        // Closed by a server that is going down, or that has withdrawn the login.
        if (!connected) connection.doubt();
      },
    });
    const pins: Pins = new Pins({ store, contents, hydrator, follower, connection, log });
    const locks: Locks = new Locks({ store, mirror, remote, connection, recent, clock, log, invalidate });
    const autoLock: AutoLock = new AutoLock({
      mode: o.autoLock ?? 'off',
      store,
      locks,
      contents,
      online: () => connection.online && remote.capabilities.locks,
      log,
    });
    const xattrs = new Xattrs({
      store,
      tree,
      clock,
      status: (node) => cache.nodeStatus(node),
      pinState: (node) => pins.state(node),
      setPin: (node, pinned) => pins.set(node, pinned),
      lock: async (node) => {
        await locks.lock(node);
      },
      unlock: async (node) => {
        await locks.unlock(node);
      },
      holdsXattrs: () => remote.capabilities.xattrs,
    });

    const mapped = new MappedWrites({
      contents,
      log,
      takeOver: async (content) => {
        const putBack = (node: NodeRecord) => conflicts.putBack(node);
        const state = await takeOverMapped(content, { clock, contents, store, tree, putBack });
        invalidate({ kind: 'inode', ino: content.ino, data: false });
        return state;
      },
    });

    const cache: Cache = new Cache({
      store,
      tree,
      mirror,
      conflicts,
      contents,
      mapped,
      hydrator,
      space,
      follower,
      connection,
      writeback,
      xattrs,
      autoLock,
      remote,
      clock,
      log,
      readOnly: o.readOnly,
      listeners,
      writeThrough: o.writeThrough
        ? (content, caller) => waitSent(content, caller.signal, writeback, connection)
        : null,
      pins,
      locks,
      files,
      recent,
      limit_bytes: o.sizeLimit_bytes,
      minFree_bytes: o.minFree_bytes,
      db: database,
      recovered: () => recoveredFolders(o.dir),
      shutdown: async () => {
        await disk.close();
        connection.close();
        autoLock.close();
        locks.close();
        await bounded(Promise.all([writeback.close(), follower.close(), pins.close()]), log, 'ending requests');
        await bounded(hydrator.close(), log, 'ending fetches');
        await mapped.close();
        space.close();
        let failure: unknown = null;
        try {
          await contents.close();
          await database.durable();
        } catch (error) {
          failure = error;
          log.error({ err: error }, 'not everything could be written down when closing; the next start looks again');
        }
        await database.close(failure === null);
        await disk.keepRoom();
        await release();
        if (failure !== null) throw failure;
      },
    });

    recover(database, parts, tree, contents);
    database.beginRun();
    writeback.start();
    locks.start();
    autoLock.start();
    disk.tend({ trim: () => space.trim(), online: () => connection.online });
    return async () => {
      // With a mirror from last time the drive comes up at once and the server is asked meanwhile.
      const connecting = connection.start(o.connected === true);
      const haveTree = follower.hasTree;
      await Promise.race([connecting, clock.sleep(haveTree ? FIRST_CONNECT_MS : o.timeout_ms)]);
      if (!haveTree && connection.state !== 'online') {
        await cache.close();
        throw new CloudError(
          connection.state === 'unauthorized' ? 'unauthorized' : 'offline',
          `mounting ${remote.displayUrl} for the first time needs the server: ${connection.error ?? 'no answer'}`,
        );
      }
      contents.collectOrphans().catch(() => undefined); // said in the log
      return cache;
    };
  }
}

/** A damaged database is set aside with all that only this machine may have; the tree comes from the server anew. */
async function openDatabase(dir: string, log: Log, disk: CacheDisk): Promise<Database> {
  if (isBeingSetAside(dir)) await setAside(dir, DATABASE, CONTENT, log);
  else if ((await isEmpty(join(dir, DATABASE))) && (await holdsContents(join(dir, CONTENT)))) {
    log.error({ dir }, 'the cache database is gone, its contents are not; starting with an empty one');
    await setAside(dir, DATABASE, CONTENT, log);
  }
  try {
    return await Database.open(join(dir, DATABASE), log, disk);
  } catch (error) {
    if (!isCloudError(error, 'corrupt')) throw error;
    log.error({ err: error }, 'the cache database is damaged; starting with an empty one');
    await setAside(dir, DATABASE, CONTENT, log);
    return Database.open(join(dir, DATABASE), log, disk);
  }
}

/** Or not there at all. */
async function isEmpty(path: string): Promise<boolean> {
  try {
    return (await stat(path)).size === 0;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
    throw toCloudError(error, `looking at the cache database ${path}`); // a disk that fails now may not tomorrow
  }
}

async function claim(store: NodeStore, { sql }: Database, options: OpenCacheOptions, clock: Clock): Promise<void> {
  const identity = options.identity ?? `${options.account.name}@${options.remote.displayUrl}`;
  const known = store.setting('account');
  // An address has several spellings, the name of a folder (`identity`) has one.
  const spelled = options.identity === undefined ? spelledAlike : (text: string) => text;
  if (known !== null && spelled(known) !== spelled(identity)) {
    const isSame = options.adopt === true || (await knowsThePosition(store, options.remote));
    if (!isSame) throw foreign(sql, options.dir, known, identity);
    options.log.info({ from: known, to: identity }, 'the server has another address: the cache goes with it');
  }
  const owner = store.setting('owner');
  if (options.owner !== undefined && owner !== null && owner !== options.owner && options.adopt !== true) {
    throw foreign(sql, options.dir, `${known} of ${owner}`, `${identity} of ${options.owner}`);
  }
  store.transaction(() => {
    store.setSetting('account', identity);
    if (options.owner !== undefined) store.setSetting('owner', options.owner);
    if (store.get(1 as NodeRecord['ino']) === null) store.insertRoot(clock.timestamp());
  });
}

/** Has the server only changed its address? A position in its feed names its history by a random number: no other server
 * goes on from it, nor the same one after a restore. */
async function knowsThePosition(store: NodeStore, remote: Remote): Promise<boolean> {
  const cursor = store.setting('cursor');
  if (cursor === null || !remote.capabilities.changeFeed) return false;
  try {
    const page = await remote.changes(cursor, { signal: AbortSignal.timeout(ASK_POSITION_MS), limit: 1 });
    return !page.full;
  } catch {
    return false;
  }
}

function foreign(sql: Database['sql'], dir: string, known: string, identity: string): CloudError {
  const unsent = describeUnsent(unsentOf(sql));
  return new CloudError(
    'invalid',
    `opening the cache folder ${dir}: it belongs to ${known}, asked for ${identity}, and nothing says that this is the same. ` +
      `${unsent === null ? 'Nothing unsent is in it' : `Unsent in it: ${unsent}`}. ` +
      'If they are the same files (the server moved, or was restored from a backup), --adopt-cache goes on with the folder and ' +
      'sends what waits, overwriting nothing. If not, use another --cache-dir; what waits stays where it is.',
  );
}

/** What a crash may have left: last writes that no record shows, files that were unlinked while open. */
function recover(db: Database, parts: ContentsOptions, tree: Tree, contents: Contents): void {
  const { store, log } = parts;
  recoverContents(parts, db.previousEnd);
  store.transaction(() => {
    for (const node of store.unlinked()) {
      contents.unlinked(node);
      tree.purgeIfGone(node);
    }
  });
  if (db.previousEnd === 'killed' || db.previousEnd === 'power_cut') {
    log.info({ end: db.previousEnd }, 'the last run did not end in good order; what it had written was taken over');
  }
}

async function waitSent(
  content: ActiveContent,
  signal: AbortSignal,
  writeback: Writeback,
  connection: Connection,
): Promise<void> {
  const { node } = content;
  content.sendNow = true;
  writeback.sendNow(node);
  const tried = new Map<Ino, number>();
  while (node.pending !== null && node.contentDirty) {
    await connection.reach(`writing "${node.name}" through to the server`, signal);
    // A folder that is to be made first, say, may be what the server refuses.
    const first = writeback.inTheWayOf(node);
    const { name, attempts, error, errorCode } = first;
    const before = tried.get(first.ino);
    if (before === undefined && first !== node) writeback.sendNow(first);
    tried.set(first.ino, Math.min(before ?? attempts, attempts));
    const failed = before === undefined || writeback.isBusy(first) ? 0 : attempts - before;
    if (failed >= (errorCode === null ? THROUGH_ATTEMPTS : 1)) {
      throw new CloudError('io', error ?? `"${name}" could not be sent`);
    }
    await writeback.changedWithin(THROUGH_LOOK_MS, signal);
  }
}

async function bounded(work: Promise<unknown>, log: Log, doing: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const bound = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), CLOSE_BOUND_MS);
  });
  const result = await Promise.race([work.catch((error: unknown) => log.warn({ err: error }, doing)), bound]);
  clearTimeout(timer);
  if (result === 'late') log.warn({}, `${doing} took too long; going on`);
}
