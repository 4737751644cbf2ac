// Options of the commands that work on a server's data folder.

import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { userDirs } from '../../src/daemon/user_dirs.js';
import { CloudError } from '../../src/errors.js';
import { dataDirLayout } from '../../src/server/data_dir.js';
import { CommandError, EXIT } from './exit_codes.js';
import { printable } from './output.js';

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

/** Of a server that is there: opening makes what is missing, and would at a mistyped place, or between other files. */
export function existingServerDir(data: string | undefined): string {
  const dir = serverDir(data);
  if (existsSync(dataDirLayout(dir).database)) return dir;
  throw new CommandError(EXIT.failed, `There is no server's data in ${printable(dir)}; say where it is with --data.`);
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
