// One running mount: remote + cache + fs, its control socket, its entry among the running mounts, its shutdown
// inhibitor. `startDrive` resolves when the drive answers; from then on `closed` resolves when it is down, whoever asked
// for that: `stop`, the control socket, or a plain `umount`.

import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CacheControl, DriveCache } from '../cache/cache_api.js';
import { openCache } from '../cache/open_cache.js';
import type { Clock } from '../clock.js';
import { CloudError, isCloudError, toCloudError } from '../errors.js';
import { type MountedDrive, mountDrive } from '../fs/drive.js';
import type { Log } from '../log.js';
import { createRemote, createRemoteOffline, type RemoteOptions, type WebdavRemote } from '../remote/connect.js';
import { readTlsFiles } from './accounts/tls_files.js';
import { busyProcesses } from './busy_processes.js';
import { ControlServer } from './control/control_server.js';
import { MAX_LIST } from './control/protocol.js';
import type { DriveConfig } from './drive_config.js';
import { type DriveStatus, driveMethods, type UnmountResult } from './drive_methods.js';
import { ShutdownInhibitor } from './inhibitor.js';
import { checkMountPoint } from './mount_point.js';
import { type RunningMount, registerMount, runningMounts, socketPath, unregisterMount } from './mount_registry.js';
import { isDrive, readMountTable } from './mount_table.js';
import { type PendingWork, pendingWork } from './pending_work.js';
import { SavedDescription } from './remote_description.js';
import { type ServiceManager, serviceManager } from './sd_notify.js';
import { privateDir, type UserDirs } from './user_dirs.js';

export interface DriveEnvironment {
  readonly dirs: UserDirs;
  readonly clock: Clock;
  readonly log: Log;
  readonly logFile: string;
  readonly version: string;
  readonly userAgent: string;
  /** user@host for the names of conflict copies. */
  readonly person: { readonly user: string; readonly host: string };
}

export interface Drive {
  readonly running: RunningMount;
  readonly mounted: MountedDrive;
  readonly cache: CacheControl;
  status(): DriveStatus;
  /** Resolves when everything is durable and closed. Rejects never. */
  readonly closed: Promise<void>;
  /** Without `force`, open files make it reject with `busy` and the drive goes on. What is not uploaded stays queued. */
  stop(options: { readonly force: boolean }): Promise<UnmountResult>;
}

const TICK_MS = 2_000;
/** How long a drive is unmounted again and again that is in use by nobody who shows, and how often. */
const UNSEEN_USERS_MS = 2_000;
const UNSEEN_RETRY_MS = 50;
/** How long the server may take at the first mount of an account, when nothing is known of it. */
const FIRST_CONNECT_MS = 20_000;

export async function startDrive(config: DriveConfig, environment: DriveEnvironment): Promise<Drive> {
  const { dirs, log } = environment;
  await checkMountPoint(config.mountPoint, {
    create: false,
    nonEmpty: config.nonEmpty,
    outside: [config.cacheDir, config.stateDir, dirs.runtime],
  });
  for (const dir of [config.stateDir, dirs.runtime]) await privateDir(dir);
  await refuseSecondDaemon(config, dirs);
  const service = await serviceManager(log);
  // Undone in reverse order if a later step fails.
  const undo: (() => Promise<unknown>)[] = [];
  try {
    service.status(`connecting to ${config.url}`);
    const saved = new SavedDescription(config.stateDir, config.url, config.user);
    const { remote, isNew } = await openRemote(config, environment, saved);
    undo.push(() => remote.close());
    // Not before: a login that is refused leaves no cache behind.
    await privateDir(config.cacheDir);
    const cache = await openCache({
      dir: config.cacheDir,
      remote,
      connected: isNew,
      account: { name: config.account, ...environment.person },
      ...(config.identity === null ? {} : { identity: config.identity }),
      owner: remote.describe().user ?? config.user,
      adopt: config.adoptCache,
      sizeLimit_bytes: config.cacheSize_bytes,
      minFree_bytes: config.minFree_bytes,
      dirCacheTime_ms: config.dirCacheTime_ms,
      timeout_ms: config.timeout_ms,
      quiet_ms: config.quiet_ms,
      readOnly: config.readOnly,
      writeThrough: config.writeThrough,
      autoLock: config.autoLock,
      log,
      clock: environment.clock,
    });
    undo.push(() => cache.close());
    // Not before: with a cache that is another address's, what is known of that one must stay.
    if (isNew) await saved.save(remote.describe());
    const mounted = await mountDrive({
      cache,
      mountPoint: config.mountPoint,
      options: {
        readOnly: config.readOnly,
        allowOther: config.allowOther,
        fsName: config.fsname,
        ...(config.uid === null ? {} : { uid: config.uid }),
        ...(config.gid === null ? {} : { gid: config.gid }),
        ...(config.umask === null ? {} : { umask: config.umask }),
      },
      log,
    });
    undo.push(() => mounted.unmount({ force: true }));
    const drive = new RunningDrive({ config, environment, saved, remote, cache, mounted, service });
    await drive.announce();
    return drive;
  } catch (error) {
    for (const step of undo.reverse()) {
      await step().catch((cleanup: unknown) => log.warn({ error: cleanup }, 'cleaning up after a failed start'));
    }
    throw error;
  }
}

async function refuseSecondDaemon(config: DriveConfig, dirs: UserDirs): Promise<void> {
  const other = (await runningMounts(dirs)).find((mount) => mount.cacheDir === config.cacheDir);
  if (other === undefined) return;
  throw new CloudError(
    'busy',
    `mounting ${config.account} on ${config.mountPoint}: its cache folder ${config.cacheDir} is in use by the drive at ` +
      `${other.mountPoint} (process ${other.pid}). One cache folder serves one drive; for a second one give --cache-dir.`,
  );
}

/** With a saved description the drive starts at once, reachable or not; without one the server must answer first. */
async function openRemote(
  config: DriveConfig,
  environment: DriveEnvironment,
  saved: SavedDescription,
): Promise<{ readonly remote: WebdavRemote; readonly isNew: boolean }> {
  const options: RemoteOptions = {
    url: config.url,
    auth: { kind: 'basic', user: config.user, password: config.password },
    timeout_ms: config.timeout_ms,
    tls: await readTlsFiles(config.tls),
    userAgent: environment.userAgent,
    // One cache folder serves one process at a time.
    instance: createHash('sha256').update(`${hostname()}\0${config.cacheDir}`).digest('hex').slice(0, 12),
    log: environment.log,
  };
  const description = await saved.load();
  if (description !== null) return { remote: createRemoteOffline(description, options), isNew: false };
  const remote = createRemote(options);
  try {
    await remote.connect({ signal: AbortSignal.timeout(FIRST_CONNECT_MS) });
  } catch (error) {
    await remote.close();
    const known = toCloudError(error, 'connecting');
    const why =
      known.code === 'unauthorized'
        ? `the server does not accept user name and password of ${config.user} (${known.message})`
        : known.message;
    throw new CloudError(known.code, `connecting to ${config.url} for the first time: ${why}`, { cause: error });
  }
  return { remote, isNew: true };
}

/** umount(2) takes what is on top: that would be somebody else's, and the drive would wait for its own end. */
function refuseIfCovered(mountPoint: string): void {
  const top = readMountTable().findLast((entry) => entry.mountPoint === mountPoint);
  if (top === undefined || isDrive(top)) return;
  throw new CloudError(
    'busy',
    `unmounting ${mountPoint}: another file system (${top.fsType}) was mounted over the drive. Unmount that first, or say --force.`,
  );
}

interface Parts {
  readonly config: DriveConfig;
  readonly environment: DriveEnvironment;
  readonly saved: SavedDescription;
  readonly remote: WebdavRemote;
  readonly cache: DriveCache & CacheControl;
  readonly mounted: MountedDrive;
  readonly service: ServiceManager;
}

class RunningDrive implements Drive {
  readonly running: RunningMount;
  readonly closed: Promise<void>;
  readonly #parts: Parts;
  readonly #inhibitor: ShutdownInhibitor;
  #resolveClosed: () => void = () => undefined;
  #control: ControlServer | null = null;
  #ticker: NodeJS.Timeout | undefined;
  #lastConnection: string | null = null;
  #stopping: Promise<UnmountResult> | null = null;

  constructor(parts: Parts) {
    const { config, environment } = parts;
    this.#parts = parts;
    this.#inhibitor = new ShutdownInhibitor(environment.log);
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.running = {
      pid: process.pid,
      account: config.account,
      url: parts.remote.displayUrl,
      mountPoint: config.mountPoint,
      cacheDir: config.cacheDir,
      socket: socketPath(environment.dirs, config.cacheDir),
      logFile: environment.logFile,
      startedAt: new Date(environment.clock.now_ms()).toISOString(),
    };
  }

  get mounted(): MountedDrive {
    return this.#parts.mounted;
  }

  get cache(): CacheControl {
    return this.#parts.cache;
  }

  /** From here on the drive can be found, asked and stopped. */
  async announce(): Promise<void> {
    const { environment, mounted, service, config } = this.#parts;
    const { log } = environment;
    this.#control = await ControlServer.listen(
      this.running.socket,
      driveMethods({
        cache: this.cache,
        status: () => this.status(),
        unmount: (options) => this.stop(options),
        usePassword: (password) => {
          log.info({ account: config.account }, 'logged in again');
          this.#parts.remote.useCredentials({ kind: 'basic', user: config.user, password });
        },
      }),
      log,
    );
    try {
      await registerMount(environment.dirs, this.running);
    } catch (error) {
      await this.#control.close();
      throw error;
    }
    // Unmounted by somebody else: `umount`, a shutdown, the file manager.
    void mounted.closed
      .then(() => this.stop({ force: true }))
      .catch((error: unknown) => log.error({ error }, 'stopping'));
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    this.#tick();
    service.ready(`${config.mountPoint}: ${this.running.url}`);
    log.info(
      {
        mountPoint: config.mountPoint,
        url: this.running.url,
        privileged: mounted.privileged,
        passthrough: mounted.passthrough,
      },
      'drive is up',
    );
  }

  status(): DriveStatus {
    const { config, environment, mounted, remote, cache } = this.#parts;
    const { queue, ...rest } = cache.status();
    return {
      ...this.running,
      version: environment.version,
      dialect: remote.capabilities.dialect,
      readOnly: config.readOnly,
      privileged: mounted.privileged,
      passthrough: mounted.passthrough,
      shutdownInhibited: this.#inhibitor.held,
      cache: rest,
      pending: pendingWork({ queue }),
      queue: queue.slice(0, MAX_LIST),
    };
  }

  stop(options: { readonly force: boolean }): Promise<UnmountResult> {
    this.#stopping ??= this.#stop(options).catch((error: unknown) => {
      // Still mounted, still working: it may be asked again.
      this.#stopping = null;
      throw error;
    });
    return this.#stopping;
  }

  async #stop({ force }: { readonly force: boolean }): Promise<UnmountResult> {
    const { config, environment, mounted, cache, remote, service } = this.#parts;
    const { log, dirs } = environment;
    await this.#unmount(force);
    service.stopping();
    clearInterval(this.#ticker);
    const status = cache.status();
    const pending: PendingWork = pendingWork(status);
    const kept = status.inPlace;
    if (!kept && pending.changes > 0) {
      log.error(
        { cacheDir: config.cacheDir, pending },
        'the cache folder was removed or replaced: unsent changes are lost',
      );
    }
    log.info({ mountPoint: config.mountPoint, pending, ...mounted.stats() }, 'unmounted');
    for (const [what, step] of [
      ['closing the cache', () => cache.close()],
      ['closing the connection', () => remote.close()],
      ['leaving the list of mounts', async () => unregisterMount(dirs, this.running)],
    ] as const) {
      await step().catch((error: unknown) => log.error({ error }, what));
    }
    this.#inhibitor.release();
    // Not awaited: the answer to `unmount` still has to go out on it.
    void this.#control?.close().finally(() => this.#resolveClosed());
    return { pending, kept };
  }

  async #unmount(force: boolean): Promise<void> {
    const { mountPoint } = this.#parts.config;
    if (!force) refuseIfCovered(mountPoint);
    const until_ms = performance.now() + UNSEEN_USERS_MS;
    for (let busy = await this.#triedUnmount(force); busy !== null; busy = await this.#triedUnmount(force)) {
      const users = await busyProcesses(mountPoint);
      if (users.length > 0 || performance.now() >= until_ms) {
        const who = users.map((user) => `${user.command} (${user.pid}) at ${user.path}`).join(', ');
        throw new CloudError(
          'busy',
          `unmounting ${mountPoint}: it is in use${who === '' ? '' : ` by ${who}`}. Close what uses it, or say --force.`,
          { cause: busy },
        );
      }
      // By nobody who shows: a call that is just ending, as a rule.
      await sleep(UNSEEN_RETRY_MS);
    }
  }

  /** What says that it is in use; null = it is unmounted. */
  async #triedUnmount(force: boolean): Promise<CloudError | null> {
    try {
      await this.#parts.mounted.unmount({ force });
      return null;
    } catch (error) {
      if (!isCloudError(error, 'busy')) throw error;
      return error;
    }
  }

  /** What follows the cache's state without the cache knowing of it. */
  #tick(): void {
    const { environment, remote, saved, cache, service, config } = this.#parts;
    const status = cache.status();
    const { changes, failed } = pendingWork(status);
    // Offline, or with failures only, waiting helps nobody: the data is safe here and goes out another day.
    this.#inhibitor.set(
      status.connection === 'online' && changes > failed,
      `Uploading ${changes === 1 ? 'a change' : `${changes} changes`} to ${config.account}`,
    );
    if (status.connection !== this.#lastConnection) {
      this.#lastConnection = status.connection;
      if (status.connection === 'online') {
        saved.save(remote.describe()).catch((error: unknown) => environment.log.warn({ error }, 'saving remote.json'));
      }
    }
    service.status(
      `${status.connection}, ${changes === 0 ? 'everything is on the server' : `${changes} changes to send`}`,
    );
  }
}
