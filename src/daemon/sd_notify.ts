// Tells systemd how we are (sd_notify(3), Type=notify): one datagram to the socket named by NOTIFY_SOCKET. node has no
// datagram unix sockets, so libc's own `sendto` is called. Without NOTIFY_SOCKET nothing is loaded and nothing happens.

import type { Log } from '../log.js';

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const SUN_PATH_BYTES = 108;

export interface ServiceManager {
  /** The drive answers. */
  ready(status: string): void;
  status(text: string): void;
  stopping(): void;
}

const nobody: ServiceManager = { ready() {}, status() {}, stopping() {} };

export async function serviceManager(log: Log, address = process.env['NOTIFY_SOCKET']): Promise<ServiceManager> {
  if (address === undefined || address === '') return nobody;
  // Inherited by children otherwise, who would speak for us.
  delete process.env['NOTIFY_SOCKET'];
  try {
    const send = await datagramSender(address);
    return {
      ready: (status) => send(`READY=1\nMAINPID=${process.pid}\nSTATUS=${oneLine(status)}`),
      status: (text) => send(`STATUS=${oneLine(text)}`),
      stopping: () => send('STOPPING=1'),
    };
  } catch (error) {
    log.warn({ error, address }, 'systemd cannot be notified');
    return nobody;
  }
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ');
}

/** `struct sockaddr_un`: family (16 bits, native order), path. `@` stands for the abstract namespace's NUL. */
export function socketAddress(address: string): Buffer {
  const path = Buffer.from(address);
  if ((path[0] !== 0x2f && path[0] !== 0x40) || path.length >= SUN_PATH_BYTES) {
    throw new Error(`NOTIFY_SOCKET: expected an absolute path or "@name" of less than ${SUN_PATH_BYTES} bytes`);
  }
  if (path[0] === 0x40) path[0] = 0;
  const family = Buffer.alloc(2);
  new Uint16Array(family.buffer, family.byteOffset, 1)[0] = AF_UNIX;
  // A path is NUL-terminated; an abstract name is as long as the address says.
  return Buffer.concat(path[0] === 0 ? [family, path] : [family, path, Buffer.alloc(1)]);
}

async function datagramSender(address: string): Promise<(text: string) => void> {
  const { default: koffi } = await import('koffi');
  const libc = koffi.load('libc.so.6');
  const socket = libc.func('int socket(int domain, int type, int protocol)');
  const sendto = libc.func(
    'long sendto(int fd, const void *data, size_t size, int flags, const void *address, unsigned int length)',
  );
  const close = libc.func('int close(int fd)');
  const target = socketAddress(address);
  return (text) => {
    const fd: number = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
    if (fd < 0) return;
    const message = Buffer.from(text);
    sendto(fd, message, message.length, MSG_NOSIGNAL, target, target.length);
    close(fd);
  };
}
