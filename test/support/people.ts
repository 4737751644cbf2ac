// People on one of our servers: each with an account, a mounted drive, a process of their own that makes the system
// calls, and a command line that is logged in. Groups are made with the server's own commands.

import { mustCli } from './cli.js';
import { DavClient } from './dav_client.js';
import type { Drive, DriveOptions } from './drive.js';
import type { FsProcess } from './fs_process.js';
import { eventually } from './processes.js';
import type { OwnServer } from './servers.js';
import type { LinkedServer, Stage } from './stage.js';

export interface Person {
  readonly name: string;
  readonly drive: Drive;
  readonly fs: FsProcess;
  readonly dav: DavClient;
  /** Path in the drive. */
  path(...names: string[]): string;
  /** One command of the command line; rejects unless it ends with 0. */
  run(...args: string[]): Promise<string>;
}

export interface PersonOptions extends DriveOptions {
  /** Reaches the server through this instead. */
  readonly link?: (login: ReturnType<OwnServer['loginOf']>) => Promise<LinkedServer>;
}

/** Adds the account unless it is alice's, which is always there, and mounts their drive. */
export async function join(
  stage: Stage,
  server: OwnServer,
  name: string,
  options: PersonOptions = {},
): Promise<Person> {
  if (name !== 'alice') await server.addUser(name);
  const login = server.loginOf(name);
  const target = options.link === undefined ? { url: server.url, login } : await options.link(login);
  const drive = stage.drive(target, options);
  // First, so that the drive is the account's and its command line knows whose it is.
  await drive.mustCli(['login', target.url, '--user', name, '--password-stdin', '--store', 'file'], {
    input: `${login.password}\n`,
  });
  await drive.mount();
  const dav = new DavClient(login);
  stage.defer(() => dav.close());
  return {
    name,
    drive,
    fs: stage.fs(),
    dav,
    path: (...names) => drive.path(...names),
    run: (...args) => drive.mustCli(args),
  };
}

export async function groupOf(server: OwnServer, group: string, ...members: readonly string[]): Promise<void> {
  await mustCli(['group', 'add', group, '--data', server.data]);
  for (const member of members) await mustCli(['group', 'member', group, member, '--data', server.data]);
}

/** Shares and answers the number of the share. */
export async function share(person: Person, path: string, ...args: readonly string[]): Promise<string> {
  const said = await person.run('share', path, '--json', ...args);
  return String((JSON.parse(said) as { readonly id: string }).id);
}

/** Waits for the text; a file that is not there (yet) has none. */
export async function reads(person: Person, path: string, text: string): Promise<void> {
  await eventually(`${person.name} to read ${JSON.stringify(text)}`, async () => {
    const answer = await person.fs.readText(path).catch(() => null);
    return answer === text;
  });
}

export async function shows(person: Person, path: string, there = true): Promise<void> {
  await eventually(`${path} to be ${there ? 'there' : 'gone'}`, async () => (await person.fs.exists(path)) === there);
}

/** Owner's permission bits. */
export async function bits(person: Person, path: string): Promise<number> {
  return ((await person.fs.stat(path)).mode >> 6) & 7;
}
