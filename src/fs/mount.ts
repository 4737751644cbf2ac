// Mounting and unmounting. With CAP_SYS_ADMIN (root, or root of a user namespace) mount(2) is called directly; anybody
// else goes through the set-user-id helper fusermount3, which sends the device descriptor back over a socket. Whatever
// is missing on the machine is said exactly, with what to do about it.

import { spawn } from 'node:child_process';
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { statfs } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { CloudError, type ErrorCode } from '../errors.js';
import {
  MNT_DETACH,
  MNT_FORCE,
  MS_NODEV,
  MS_NOSUID,
  MS_RDONLY,
  mount,
  receiveFd,
  socketpair,
  umount,
} from '../libc.js';
import { MAX_IO_BYTES } from './wire/abi.js';

const DEVICE = '/dev/fuse';
const FSTYPE = 'fuse.cloudmount';
const HELPER = 'fusermount3';
/** A helper that takes longer hangs on a dead mount somewhere on its way. */
const HELPER_TIMEOUT_MS = 20_000;
const PROBE_TIMEOUT_MS = 5_000;
const READ_AHEAD_KIB = 512;

export interface MountRequest {
  readonly mountPoint: string;
  /** Shown as the device by mount(8) and df(1). */
  readonly fsName: string;
  readonly allowOther: boolean;
  readonly readOnly: boolean;
  /** `auto`: by mount(2) where the process may, else by the helper. */
  readonly privileged: boolean | 'auto';
}

export interface Mounted {
  /** Absolute, symbolic links resolved. */
  readonly mountPoint: string;
  /** The connected /dev/fuse descriptor; the caller's to close. */
  readonly fd: number;
  readonly privileged: boolean;
}

/** Mounts. Throws `CloudError` that names what is missing. */
export async function mountFuse(request: MountRequest): Promise<Mounted> {
  requireDevice();
  const mountPoint = await prepareMountPoint(request.mountPoint);
  const viaSyscall = request.privileged === 'auto' ? hasSysAdmin() : request.privileged;
  if (viaSyscall) return { mountPoint, fd: mountBySyscall(mountPoint, request), privileged: true };
  return { mountPoint, fd: await mountByHelper(mountPoint, request), privileged: false };
}

/** Is CAP_SYS_ADMIN effective (capabilities(7), proc_pid_status(5))? */
export function hasSysAdmin(): boolean {
  const hex = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  return hex !== undefined && ((BigInt(`0x${hex}`) >> 21n) & 1n) === 1n;
}

function requireDevice(): void {
  try {
    accessSync(DEVICE, constants.R_OK | constants.W_OK);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new CloudError(
        'unsupported',
        `mounting needs ${DEVICE}, which is not there: load the kernel module ("modprobe fuse", as root); ` +
          'in a container, pass the device in ("--device /dev/fuse")',
        { cause },
      );
    }
    const mode = (statSync(DEVICE).mode & 0o777).toString(8).padStart(4, '0');
    throw new CloudError(
      'no_access',
      `mounting needs ${DEVICE} to be readable and writable by this user: 0666 is required, found ${mode}; ` +
        `"chmod 0666 ${DEVICE}" (as root) helps until the next boot, udev's standard rules make it last`,
      { cause },
    );
  }
}

// ---- the mount point ------------------------------------------------------------------------------------------------

/** Clears a dead mount, then requires a directory that nothing is mounted on; whether it may hide what is in it is the
 * caller's to judge. Returns its real path. */
export async function prepareMountPoint(path: string): Promise<string> {
  const absolute = resolve(path);
  const mountPoint = absolute === '/' ? absolute : join(realParent(absolute), basename(absolute));
  await clearDeadMount(mountPoint);
  const type = mountedType(mountPoint);
  if (type !== null) {
    throw new CloudError('busy', `mounting on ${mountPoint}: a file system (${type}) is mounted there already`, {
      path: mountPoint,
    });
  }
  const stat = statSync(mountPoint, { throwIfNoEntry: false });
  if (stat === undefined) throw pointError('not_found', mountPoint, `it does not exist ("mkdir -p ${mountPoint}")`);
  if (!stat.isDirectory()) throw pointError('not_dir', mountPoint, 'it is not a directory');
  return realpathSync(mountPoint);
}

function pointError(code: ErrorCode, path: string, found: string): CloudError {
  return new CloudError(code, `mounting on ${path}: ${found}`, { path });
}

function realParent(path: string): string {
  try {
    return realpathSync(dirname(path));
  } catch (cause) {
    throw new CloudError('not_found', `mounting on ${path}: its parent directory does not exist`, { path, cause });
  }
}

/** The type of what is mounted exactly on `path` (the topmost), or null. Asks the kernel's table, not the mount. */
export function mountedType(path: string): string | null {
  return mountedOn(path)?.type ?? null;
}

/** Begins the topmost mount on `path` in the kernel's table: its number, its parent's, device, root and mount point. */
export function mountLine(path: string): string | null {
  return mountedOn(path)?.line ?? null;
}

/** Where the FUSE connection of the mount on `path` is controlled (Documentation/filesystems/fuse.rst, "Control
 * filesystem"); null where that file system is not mounted. */
export function connectionOf(path: string): string | null {
  const minor = mountedOn(path)?.device.split(':')[1];
  const control = `/sys/fs/fuse/connections/${minor}`;
  return minor !== undefined && existsSync(control) ? control : null;
}

interface MountedOn {
  readonly type: string;
  readonly device: string;
  readonly line: string;
}

function mountedOn(path: string): MountedOn | null {
  let found: MountedOn | null = null;
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    // proc_pid_mountinfo(5): id parent major:minor root MOUNTPOINT options [fields] - TYPE source options
    const [left, right] = line.split(' - ');
    const fields = left?.split(' ').slice(0, 5) ?? [];
    const [, , device, , point] = fields;
    const type = right?.split(' ')[0];
    if (point !== undefined && device !== undefined && type !== undefined && unescapeMountinfo(point) === path)
      found = { type, device, line: `${fields.join(' ')} ` };
  }
  return found;
}

/** The kernel never reads more ahead of a program than 128 KiB of a FUSE mount, whatever INIT says, and so asks for no
 * more at a time; only root may widen that (Documentation/ABI/testing/sysfs-class-bdi). Not more than this: a page fault
 * in a mapped file waits for as much around it. False where the machine does not let us. */
export function widenReadAhead(mountPoint: string): boolean {
  const device = mountedOn(mountPoint)?.device;
  if (device === undefined) return false;
  try {
    writeFileSync(`/sys/class/bdi/${device}/read_ahead_kb`, String(READ_AHEAD_KIB));
    return true;
  } catch {
    return false; // a container with a read-only /sys
  }
}

/** Blank, tab, newline, backslash and `#` are written as three octal digits. */
export function unescapeMountinfo(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

export type MountState = 'none' | 'alive' | 'dead' | 'hung';

/** Is a FUSE mount there, and does its daemon answer? A daemon that does not answer within five seconds is `hung`. */
export async function probeMount(mountPoint: string): Promise<MountState> {
  const type = mountedType(mountPoint);
  if (type === null || !/^fuse(\.|$)/.test(type)) return type === null ? 'none' : 'alive';
  // statfs always asks the daemon, other calls may be answered from the kernel's caches after its death.
  const answer = statfs(mountPoint).then(
    () => 'alive' as const,
    (error: NodeJS.ErrnoException) => (error.code === 'ENOTCONN' || error.code === 'ECONNABORTED' ? 'dead' : 'alive'),
  );
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'hung'>((done) => {
    timer = setTimeout(done, PROBE_TIMEOUT_MS, 'hung');
  });
  const state = await Promise.race([answer, late]);
  clearTimeout(timer);
  return state;
}

/** Takes away mounts whose daemon is gone ("Transport endpoint is not connected"), also several on top of each other. */
export async function clearDeadMount(mountPoint: string): Promise<void> {
  for (let tries = 0; tries < 16; tries++) {
    const state = await probeMount(mountPoint);
    if (state === 'hung') {
      throw new CloudError(
        'busy',
        `mounting on ${mountPoint}: what is mounted there does not answer; "cloudmount unmount --force ${mountPoint}" takes it away`,
        { path: mountPoint },
      );
    }
    if (state !== 'dead') return;
    await unmountPath(mountPoint, { force: true });
  }
}

// ---- mounting -------------------------------------------------------------------------------------------------------

function mountBySyscall(mountPoint: string, request: MountRequest): number {
  const fd = openSync(DEVICE, 'r+');
  const options = [
    `fd=${fd}`,
    'rootmode=40000',
    `user_id=${process.getuid?.() ?? 0}`,
    `group_id=${process.getgid?.() ?? 0}`,
    'default_permissions',
    `max_read=${MAX_IO_BYTES}`,
    ...(request.allowOther ? ['allow_other'] : []),
  ];
  try {
    const flags = MS_NOSUID | MS_NODEV | (request.readOnly ? MS_RDONLY : 0);
    mount(request.fsName, mountPoint, FSTYPE, flags, options.join(','));
    return fd;
  } catch (cause) {
    closeSync(fd);
    const code = (cause as NodeJS.ErrnoException).code;
    const hint =
      code === 'ENODEV'
        ? 'the kernel has no FUSE ("modprobe fuse", as root)'
        : code === 'EPERM'
          ? 'the kernel refuses although the process has CAP_SYS_ADMIN (a container without the right to mount?)'
          : `mount(2) failed with ${code}`;
    throw new CloudError('not_permitted', `mounting on ${mountPoint}: ${hint}`, { cause, path: mountPoint });
  }
}

async function mountByHelper(mountPoint: string, request: MountRequest): Promise<number> {
  if (request.allowOther && process.getuid?.() !== 0) requireUserAllowOther();
  const options = [
    `fsname=${escapeOption(request.fsName)}`,
    'subtype=cloudmount',
    'default_permissions',
    `max_read=${MAX_IO_BYTES}`,
    request.readOnly ? 'ro' : 'rw',
    ...(request.allowOther ? ['allow_other'] : []),
  ];
  const [ours, theirs] = socketpair();
  try {
    const helper = runHelper(['-o', options.join(','), '--', mountPoint], theirs);
    helper.catch(() => undefined); // awaited below; the stream ends first
    closeSync(theirs); // the child has its copy: now its death is seen as the end of the stream
    const fd = await receiveFd(ours);
    const { code, stderr } = await helper;
    if (fd !== null) return fd;
    throw new CloudError('not_permitted', `mounting on ${mountPoint}: ${HELPER} failed (${code}): ${stderr}`, {
      path: mountPoint,
    });
  } finally {
    closeSync(ours);
  }
}

/** In the helper's option list a comma separates and a backslash escapes. */
function escapeOption(value: string): string {
  return value.replace(/[\\,]/g, '\\$&');
}

function requireUserAllowOther(): void {
  let config = '';
  try {
    config = readFileSync('/etc/fuse.conf', 'utf8');
  } catch {
    // no file: nothing is allowed
  }
  if (!/^\s*user_allow_other\s*$/m.test(config)) {
    throw new CloudError(
      'not_permitted',
      'allowing other users needs the line "user_allow_other" in /etc/fuse.conf (to be added as root), found none',
    );
  }
}

/** Runs fusermount3; `comm`, if given, becomes the socket it sends the descriptor over. Rejects only if it cannot start. */
function runHelper(args: string[], comm: number | null): Promise<{ code: string; stderr: string }> {
  const env = { ...process.env, LC_ALL: 'C', ...(comm === null ? {} : { _FUSE_COMMFD: '3' }) };
  const child = spawn(HELPER, args, {
    stdio: ['ignore', 'ignore', 'pipe', ...(comm === null ? [] : [comm])],
    env,
    timeout: HELPER_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return new Promise((done, fail) => {
    child.on('error', (cause: NodeJS.ErrnoException) =>
      fail(
        cause.code === 'ENOENT'
          ? new CloudError(
              'unsupported',
              `mounting without privileges needs ${HELPER}, which is not there: "apt-get install fuse3" (as root)`,
              { cause },
            )
          : new CloudError('io', `starting ${HELPER}: ${cause.message}`, { cause }),
      ),
    );
    child.on('close', (code, signal) =>
      done({
        code: signal === null ? `exit code ${code}` : `killed by ${signal}`,
        stderr: stderr.trim() || 'it said nothing',
      }),
    );
  });
}

// ---- unmounting -----------------------------------------------------------------------------------------------------

/**
 * Unmounts `mountPoint`. With `force` it goes out of sight at once, whoever uses it. Throws `busy` if it is in use.
 * Asynchronous throughout: the process that serves the mount may call it.
 */
export async function unmountPath(mountPoint: string, options: { readonly force: boolean }): Promise<void> {
  if (hasSysAdmin()) {
    try {
      // Forcing aborts what waits, detaching takes it out of the tree even where something is still open.
      if (options.force) await umount(mountPoint, MNT_FORCE).catch(() => undefined);
      if (!options.force || mountedType(mountPoint) !== null) await umount(mountPoint, options.force ? MNT_DETACH : 0);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'EINVAL' || code === 'ENOENT') return; // not mounted (any more)
      throw unmountError(mountPoint, code === 'EBUSY', `umount2(2) failed with ${code}`, cause);
    }
    return;
  }
  if (options.force) abortConnection(mountPoint);
  const { code, stderr } = await runHelper([options.force ? '-uz' : '-u', '--', mountPoint], null);
  if (code !== 'exit code 0' && mountedType(mountPoint) !== null) {
    throw unmountError(mountPoint, /busy/i.test(stderr), `${HELPER}: ${stderr}`, null);
  }
}

/** What waits for an answer gets none any more. The helper cannot do that; the control file system lets the owner. */
function abortConnection(mountPoint: string): void {
  const control = connectionOf(mountPoint);
  if (control === null) return;
  try {
    writeFileSync(join(control, 'abort'), '1');
  } catch {
    // somebody else's mount
  }
}

function unmountError(mountPoint: string, busy: boolean, found: string, cause: unknown): CloudError {
  return busy
    ? new CloudError('busy', `unmounting ${mountPoint}: a program uses it ("fuser -vm ${mountPoint}" shows which)`, {
        cause,
      })
    : new CloudError('not_permitted', `unmounting ${mountPoint}: ${found}`, { cause });
}
