// System calls that Node does not offer, bound by koffi without a compiler. One thin function per call, no policy.
// Symbols are looked up in the running process, so that glibc and musl serve alike. Failures are thrown as
// `ErrnoException`s (`code`, `errno`, `syscall`), as `node:fs` does, so `toCloudError` understands them.

import { constants as fsConstants } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';

const libc = koffi.load(null);
const errnoOf = osConstants.errno;

koffi.struct('cloudmount_iovec', { iov_base: 'void *', iov_len: 'size_t' });
koffi.struct('cloudmount_msghdr', {
  msg_name: 'void *',
  msg_namelen: 'uint32_t',
  msg_iov: 'cloudmount_iovec *',
  msg_iovlen: 'size_t',
  msg_control: 'void *',
  msg_controllen: 'size_t',
  msg_flags: 'int',
});

type Native<A extends unknown[], R = number> = ((...args: A) => R) & {
  async: (...args: [...A, (error: unknown, result: R) => void]) => void;
};
function bind<A extends unknown[], R = number>(prototype: string): Native<A, R> {
  return libc.func(prototype) as unknown as Native<A, R>;
}

const native = {
  read: bind<[number, Uint8Array, number]>('long read(int, void *, size_t)'),
  write: bind<[number, Uint8Array, number]>('long write(int, void *, size_t)'),
  mount: bind<[string, string, string, number, string]>(
    'int mount(const char *, const char *, const char *, unsigned long, const char *)',
  ),
  umount2: bind<[string, number]>('int umount2(const char *, int)'),
  ioctl: bind<[number, number, Uint8Array]>('int ioctl(int, unsigned long, void *)'),
  socketpair: bind<[number, number, number, Uint8Array]>('int socketpair(int, int, int, void *)'),
  recvmsg: bind<[number, object, number]>('long recvmsg(int, cloudmount_msghdr *, int)'),
  poll: bind<[Uint8Array, number, number]>('int poll(void *, unsigned long, int)'),
  sendfile: bind<[number, number, Uint8Array, number]>('long sendfile(int, int, void *, size_t)'),
  fcntl: bind<[number, number, number]>('int fcntl(int, int, int)'),
  fallocate: bind<[number, number, number, number]>('int fallocate(int, int, int64_t, int64_t)'),
  lseek: bind<[number, number, number], number | bigint>('int64_t lseek(int, int64_t, int)'),
  syncFileRange: bind<[number, number, number, number]>('int sync_file_range(int, int64_t, int64_t, unsigned int)'),
  posixFadvise: bind<[number, number, number, number]>('int posix_fadvise(int, int64_t, int64_t, int)'),
};

function failure(syscall: string, errno: number, path?: string): NodeJS.ErrnoException {
  const code = getSystemErrorName(-errno);
  const error: NodeJS.ErrnoException = new Error(`${code}: ${syscall}${path === undefined ? '' : ` '${path}'`}`);
  error.code = code;
  error.errno = -errno;
  error.syscall = syscall;
  if (path !== undefined) error.path = path;
  return error;
}

/** Where a buffer's bytes are in memory: they stay there as long as it lives. */
export function addressOf(buffer: Uint8Array): bigint {
  return koffi.address(buffer);
}

/** read(2). Returns the bytes read or `-errno`; never throws, because the caller's hot path meets EAGAIN all the time. */
export function rawRead(fd: number, into: Uint8Array, size: number): number {
  const n = native.read(fd, into, size);
  return n >= 0 ? n : -koffi.errno();
}

/** write(2). Returns the bytes written or `-errno`; never throws. */
export function rawWrite(fd: number, from: Uint8Array, size: number): number {
  const n = native.write(fd, from, size);
  return n >= 0 ? n : -koffi.errno();
}

export const MS_RDONLY = 1;
export const MS_NOSUID = 2;
export const MS_NODEV = 4;

export function mount(source: string, target: string, type: string, flags: number, data: string): void {
  if (native.mount(source, target, type, flags, data) !== 0) throw failure('mount', koffi.errno(), target);
}

export const MNT_FORCE = 1;
export const MNT_DETACH = 2;

/** umount2(2) on a worker thread: unmounting may send requests that this process itself must answer. */
export function umount(target: string, flags: number): Promise<void> {
  return new Promise((resolve, reject) => {
    native.umount2.async(target, flags, (error, rc) => {
      const errno = koffi.errno();
      if (error) reject(error);
      else if (rc !== 0) reject(failure('umount2', errno, target));
      else resolve();
    });
  });
}

/** ioctl(2) with a pointer argument. Returns what the call returned. */
export function ioctl(fd: number, request: number, argument: Uint8Array): number {
  const rc = native.ioctl(fd, request, argument);
  if (rc < 0) throw failure('ioctl', koffi.errno());
  return rc;
}

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;

/** A connected pair of Unix stream sockets, both close-on-exec. */
export function socketpair(): [number, number] {
  const pair = Buffer.alloc(8);
  if (native.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) !== 0) throw failure('socketpair', koffi.errno());
  return [pair.readInt32LE(0), pair.readInt32LE(4)];
}

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CMSG_CLOEXEC = 0x40000000;

/** Waits for one file descriptor sent with SCM_RIGHTS (unix(7)); null when the other side hung up without one. */
export function receiveFd(socket: number): Promise<number | null> {
  const byte = Buffer.alloc(1);
  const control = Buffer.alloc(64);
  const message = {
    msg_name: null,
    msg_namelen: 0,
    msg_iov: [{ iov_base: byte, iov_len: 1 }],
    msg_iovlen: 1,
    msg_control: control,
    msg_controllen: control.length,
    msg_flags: 0,
  };
  return new Promise((resolve, reject) => {
    native.recvmsg.async(socket, message, MSG_CMSG_CLOEXEC, (error, n) => {
      const errno = koffi.errno();
      if (error) reject(error);
      else if (n < 0) reject(failure('recvmsg', errno));
      // struct cmsghdr: size_t cmsg_len, int cmsg_level, int cmsg_type, then the descriptor
      else if (n === 0 || control.readInt32LE(8) !== SOL_SOCKET || control.readInt32LE(12) !== SCM_RIGHTS)
        resolve(null);
      else resolve(control.readInt32LE(16));
    });
  });
}

const F_DUPFD_CLOEXEC = 1030;

/** Another descriptor of what `fd` stands for, close-on-exec. */
export function duplicate(fd: number): number {
  const made = native.fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (made < 0) throw failure('fcntl', koffi.errno());
  return made;
}

const F_GETFL = 3;
const F_SETFL = 4;

export function setNonBlocking(fd: number): void {
  const flags = native.fcntl(fd, F_GETFL, 0);
  if (flags < 0 || native.fcntl(fd, F_SETFL, flags | fsConstants.O_NONBLOCK) < 0) {
    throw failure('fcntl', koffi.errno());
  }
}

const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const F_SETSIG = 10;
const F_SETLEASE = 1024;
const { SIGURG } = osConstants.signals;

/** False: somebody else has the file in a way that the lease rules out (fcntl(2), "Leases"); where the file system knows none
 * that is never so. Whoever opens the file while the lease is held breaks it, which is told by a signal that is ignored:
 * SIGIO would end the process. */
function takeLease(fd: number, kind: number): boolean {
  native.fcntl(fd, F_SETSIG, SIGURG);
  return native.fcntl(fd, F_SETLEASE, kind) === 0 || koffi.errno() !== errnoOf.EAGAIN;
}

/** Has anybody else this regular file open for writing? `fd` must be open for reading only; the lease ends with it. */
export function isWrittenElsewhere(fd: number): boolean {
  return !takeLease(fd, F_RDLCK);
}

/** Has anybody else this regular file open or mapped? `fd` must be open for writing. The lease is given back at once. */
export function isHeldElsewhere(fd: number): boolean {
  const isHeld = !takeLease(fd, F_WRLCK);
  native.fcntl(fd, F_SETLEASE, F_UNLCK);
  return isHeld;
}

const POLLIN = 1;

/** Calls back once `fd` is readable, hung up or in error, or after `timeout_ms`. Occupies a thread of the pool. */
export function pollReadable(fd: number, timeout_ms: number, done: () => void): void {
  const pollfd = Buffer.alloc(8);
  pollfd.writeInt32LE(fd, 0);
  pollfd.writeInt16LE(POLLIN, 4);
  native.poll.async(pollfd, 1, timeout_ms, done);
}

export const FALLOC_FL_KEEP_SIZE = 1;
export const FALLOC_FL_PUNCH_HOLE = 2;
export const FALLOC_FL_COLLAPSE_RANGE = 8;
export const FALLOC_FL_ZERO_RANGE = 16;
export const FALLOC_FL_INSERT_RANGE = 32;

/** fallocate(2): reserves, zeroes or punches [offset, offset + length). */
export function fallocate(fd: number, mode: number, offset: number, length: number): void {
  for (;;) {
    if (native.fallocate(fd, mode, offset, length) === 0) return;
    const errno = koffi.errno();
    if (errno !== errnoOf.EINTR) throw failure('fallocate', errno);
  }
}

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** lseek(2) with SEEK_DATA / SEEK_HOLE: the next offset of that kind at or after `offset`; null past the end (ENXIO). */
export function seekDataHole(fd: number, offset: number, whence: 'data' | 'hole'): number | null {
  const found = Number(native.lseek(fd, offset, whence === 'data' ? SEEK_DATA : SEEK_HOLE));
  if (found >= 0) return found;
  const errno = koffi.errno();
  if (errno === errnoOf.ENXIO) return null;
  throw failure('lseek', errno);
}

const SYNC_FILE_RANGE_WRITE = 2;

/** sync_file_range(2) on a worker thread: starts writing all dirty pages of the file and does not wait for the disk.
 * Of many files, so started, the first fdatasync commits what all of them need. Only a hint: failures are ignored. The
 * descriptor must stay open until it resolves. */
export async function startWriteback(fd: number): Promise<void> {
  await inTurn<void>((done) => native.syncFileRange.async(fd, 0, 0, SYNC_FILE_RANGE_WRITE, () => done()));
}

/** The same on this thread: for files of a few pages, where it costs a fifth of what the way to a thread and back does. */
export function startShortWriteback(fd: number): void {
  native.syncFileRange(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

/** koffi holds at most 256 calls on its threads; one more is not refused but ends the process when a native callback
 * comes in. What may be asked for in any number takes turns, far below that. */
const CALLS_AT_ONCE = 16;
let calls = 0;
const waitingCalls: (() => void)[] = [];

/** Runs `call`, which says when it is done, when its turn has come. */
async function inTurn<T>(call: (done: (value: T) => void) => void): Promise<T> {
  if (calls < CALLS_AT_ONCE) calls += 1;
  else await new Promise<void>((resolve) => waitingCalls.push(resolve));
  try {
    return await new Promise<T>(call);
  } finally {
    // The place is handed on, or free.
    const next = waitingCalls.shift();
    if (next === undefined) calls -= 1;
    else next();
  }
}

/** sendfile(2) on a worker thread, into a socket that does not block: how many of the bytes [offset, offset + length) of
 * `file` it took, 0 if it is full. Null where the file ends, or it cannot be done. Both descriptors must stay open until it
 * resolves. */
export async function sendFile(socket: number, file: number, offset: number, length: number): Promise<number | null> {
  const at = Buffer.alloc(8);
  at.writeBigInt64LE(BigInt(offset));
  return await inTurn((done) =>
    native.sendfile.async(socket, file, at, length, (error, n) => {
      const errno = koffi.errno();
      if (!error && n > 0) done(n);
      else done(!error && n < 0 && (errno === errnoOf.EAGAIN || errno === errnoOf.EINTR) ? 0 : null);
    }),
  );
}

export type Advice = 'normal' | 'random' | 'sequential' | 'willneed' | 'dontneed';
const ADVICE: Record<Advice, number> = { normal: 0, random: 1, sequential: 2, willneed: 3, dontneed: 4 };

/** posix_fadvise(2); `length` 0 = to the end of the file. */
export function fadvise(fd: number, offset: number, length: number, advice: Advice): void {
  const errno = native.posixFadvise(fd, offset, length, ADVICE[advice]);
  if (errno !== 0) throw failure('posix_fadvise', errno);
}
