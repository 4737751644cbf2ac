// The public entry of this room: mounts a cache as a drive and serves it until it is unmounted, by whomever.

import type { DriveCache } from '../cache/cache_api.js';
import { type Clock, systemClock } from '../clock.js';
import { CloudError } from '../errors.js';
import type { Log } from '../log.js';
import type { AttributePolicy } from './attributes.js';
import { FuseDevice } from './device.js';
import { Filesystem } from './filesystem.js';
import { Guard } from './guard.js';
import { HandleTable } from './handle_table.js';
import type { Negotiated } from './init.js';
import { InodeTable } from './inode_table.js';
import { Invalidator, NotifyThread } from './invalidate.js';
import { clearDeadMount, type Mounted, mountFuse, unmountPath, widenReadAhead } from './mount.js';
import { type BackingFiles, KernelBackingFiles, noBackingFiles } from './passthrough.js';
import { Session } from './session.js';
import { Timeouts } from './timeouts.js';
import { ReplyBuffer } from './wire/encode.js';

export interface MountOptions {
  /** Let users other than the mounting one in (their rights are checked by mode). Default false. */
  readonly allowOther?: boolean;
  readonly readOnly?: boolean;
  /** Owner shown for what has none stored, and for everything if given. Default: the mounting user. */
  readonly uid?: number;
  readonly gid?: number;
  /** Bits taken away where no mode is stored. Default 022. */
  readonly umask?: number;
  /** Permission bits where none are stored; override `umask`. */
  readonly fileMode?: number;
  readonly dirMode?: number;
  /** `auto` (default): mount(2) where the process may, else fusermount3. */
  readonly privileged?: boolean | 'auto';
  /** `auto` (default): let the kernel read and write whole local files itself, where it allows that. */
  readonly passthrough?: boolean | 'auto';
  /** Shown as the device by df(1). Default `cloudmount`. */
  readonly fsName?: string;
  /** Bound of one request of the kernel that only reads. Default 5 minutes. */
  readonly requestTimeout_ms?: number;
}

export interface DriveStats {
  readonly requests: Readonly<Record<string, number>>;
  readonly errors: number;
  readonly inFlight: number;
  readonly notifications: number;
  /** Inodes the kernel holds. */
  readonly inodes: number;
  readonly open: Readonly<Record<'passthrough' | 'cached' | 'direct', number>>;
}

export interface MountedDrive {
  readonly mountPoint: string;
  readonly privileged: boolean;
  /** The kernel may be handed content files. */
  readonly passthrough: boolean;
  /**
   * Unmounts and waits until the kernel let go. Throws `busy` if a program uses the drive; with `force` it goes all the
   * same, and what is still open on it fails with ENOTCONN.
   */
  unmount(options?: { readonly force?: boolean }): Promise<void>;
  /** Resolves when the kernel side has ended, also when somebody else ran umount. Never rejects. */
  readonly closed: Promise<void>;
  stats(): DriveStats;
}

export interface MountArguments {
  readonly cache: DriveCache;
  readonly mountPoint: string;
  readonly options?: MountOptions;
  readonly log: Log;
  readonly clock?: Clock;
}

const DEFAULT_UMASK = 0o022;
const DEFAULT_REQUEST_TIMEOUT_MS = 300_000;

/** Resolves when the drive answers. Throws `CloudError` that says what is missing. */
export async function mountDrive({
  cache,
  mountPoint,
  options = {},
  log,
  clock,
}: MountArguments): Promise<MountedDrive> {
  const mounted = await mountFuse({
    mountPoint,
    fsName: options.fsName ?? 'cloudmount',
    allowOther: options.allowOther ?? false,
    readOnly: options.readOnly ?? cache.readOnly,
    privileged: options.privileged ?? 'auto',
  });
  const drive = new ServedDrive(mounted, cache, options, log, clock ?? systemClock);
  await drive.ready;
  if (mounted.privileged) widenReadAhead(mounted.mountPoint);
  return drive;
}

class ServedDrive implements MountedDrive {
  readonly mountPoint: string;
  readonly privileged: boolean;
  readonly closed: Promise<void>;
  /** Resolves with the kernel's INIT. */
  readonly ready: Promise<void>;
  readonly #log: Log;
  readonly #inodes = new InodeTable();
  readonly #handles: HandleTable;
  readonly #invalidator: Invalidator;
  readonly #session: Session;
  readonly #device: FuseDevice;
  readonly #guard: Guard;
  #passthrough = false;

  constructor(mounted: Mounted, cache: DriveCache, options: MountOptions, log: Log, clock: Clock) {
    this.mountPoint = mounted.mountPoint;
    this.privileged = mounted.privileged;
    this.#log = log;
    const wantsPassthrough = mounted.privileged && options.passthrough !== false;
    const backing: BackingFiles = wantsPassthrough ? new KernelBackingFiles(mounted.fd, log) : noBackingFiles;
    this.#handles = new HandleTable({
      open: (fd) => (this.#passthrough ? backing.open(fd) : null),
      close: (id) => backing.close(id),
    });
    this.#invalidator = new Invalidator(this.#inodes, new NotifyThread(mounted.fd, log));
    const replies = new ReplyBuffer();
    const filesystem = new Filesystem({
      cache,
      clock,
      replies,
      timeouts: new Timeouts(cache),
      inodes: this.#inodes,
      handles: this.#handles,
      policy: attributePolicy(options, mounted.privileged),
      attributesChanged: (ino) => this.#invalidator.inode(ino, false),
      pagesChanged: (ino) => this.#invalidator.inode(ino, true),
    });
    let initialised: (result: CloudError | null) => void = () => undefined;
    this.ready = new Promise((resolve, reject) => {
      initialised = (error) => (error === null ? resolve() : reject(error));
    });
    this.#session = new Session(filesystem, replies, clock, log, {
      passthrough: wantsPassthrough,
      requestTimeout_ms: options.requestTimeout_ms ?? DEFAULT_REQUEST_TIMEOUT_MS,
      onRequest: () => cache.served(),
      onInit: (negotiated) => {
        this.#initialised(negotiated);
        initialised(null);
      },
      onInitFailed: initialised,
    });
    this.#guard = new Guard(this.mountPoint, this.privileged);
    this.#device = new FuseDevice(mounted.fd, this.#session, log);
    this.#session.attach(this.#device);
    cache.onInvalidate((event) => this.#invalidator.onInvalidation(event));
    this.closed = this.#untilClosed();
    this.ready.catch(() => void this.unmount({ force: true }).catch(() => undefined));
    void this.#device.closed.then(() =>
      initialised(new CloudError('io', `mounting on ${this.mountPoint}: the kernel ended the connection at once`)),
    );
  }

  get passthrough(): boolean {
    return this.#passthrough;
  }

  #initialised({ reply, passthrough }: Negotiated): void {
    this.#passthrough = passthrough;
    this.#invalidator.kernelSpeaks(reply.minor);
    this.#log.info({ mountPoint: this.mountPoint, protocol: `7.${reply.minor}`, passthrough }, 'mounted');
  }

  async #untilClosed(): Promise<void> {
    const end = await this.#device.closed;
    this.#session.end();
    this.#handles.releaseAll();
    // The notification thread uses the descriptor: it goes first.
    await this.#invalidator.close();
    this.#device.dispose();
    await this.#clearAborted();
    this.#guard.dismiss();
    if (end.error === null) this.#log.info({ mountPoint: this.mountPoint }, `the drive is closed: ${end.reason}`);
    else this.#log.error({ err: end.error, mountPoint: this.mountPoint }, 'the connection to the kernel failed');
  }

  /** Where the connection was cut while the file system was mounted (umount -f of a busy drive), the mount goes too. */
  async #clearAborted(): Promise<void> {
    try {
      await clearDeadMount(this.mountPoint);
    } catch (error) {
      this.#log.warn({ err: error, mountPoint: this.mountPoint }, 'what is left of the mount could not be taken away');
    }
  }

  async unmount({ force = false }: { readonly force?: boolean } = {}): Promise<void> {
    await unmountPath(this.mountPoint, { force });
    if (force) {
      // Files may still be open: everything that comes is refused until the notification thread has let go.
      this.#session.refuse();
      await this.#invalidator.close();
      this.#device.stop();
    }
    await this.closed;
  }

  stats(): DriveStats {
    return {
      ...this.#session.stats(),
      notifications: this.#invalidator.sent,
      inodes: this.#inodes.size,
      open: this.#handles.counts(),
    };
  }
}

function attributePolicy(options: MountOptions, privileged: boolean): AttributePolicy {
  const umask = options.umask ?? DEFAULT_UMASK;
  return {
    uid: options.uid ?? process.getuid?.() ?? 0,
    gid: options.gid ?? process.getgid?.() ?? 0,
    fileMode: options.fileMode ?? 0o666 & ~umask,
    dirMode: options.dirMode ?? 0o777 & ~umask,
    storedOwners: privileged && options.uid === undefined && options.gid === undefined,
  };
}
