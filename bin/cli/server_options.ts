// Options of the commands that work on a server's data folder.

import { join, resolve } from 'node:path';
import { userDirs } from '../../src/daemon/user_dirs.js';
import { CloudError } from '../../src/errors.js';

export const dataOption = {
  data: {
    type: 'string',
    describe: "The server's data folder [default: the one of `cloudmount up`]",
    requiresArg: true,
  },
} as const;

export function defaultServerDir(): string {
  return join(userDirs().data, 'server');
}

export function serverDir(data: string | undefined): string {
  return resolve(data ?? defaultServerDir());
}

/** `host:port`, `[::1]:port`, `:port` (all addresses) or `port` (loopback). Throws `invalid`. */
export function parseListen(text: string): { host: string; port: number } {
  const match = /^(?:(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]*)):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new CloudError('invalid', `--listen: expected HOST:PORT, [IPv6]:PORT or PORT, found "${text}"`);
  }
  const host = match[1] ?? match[2] ?? '127.0.0.1';
  return { host: host === '' ? '::' : host, port };
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(host);
}
