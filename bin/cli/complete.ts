// Values for the shell's completion: accounts where an account is wanted, mount points where a drive is.

import { runningMounts } from '../../src/daemon/mount_registry.js';
import { commandContext } from './context.js';

const WANTS_ACCOUNT = new Set(['mount', 'logout', 'pins', 'conflicts', 'check', 'unmount', 'umount']);
const WANTS_DRIVE = new Set(['unmount', 'umount', 'status', 'pins', 'conflicts', 'check']);

/** `words`: the command and what follows it, the last one half typed. */
export async function knownValues(words: readonly string[]): Promise<readonly string[]> {
  const [command = '', ...rest] = words;
  // Only the first argument of these commands is one.
  if (rest.length !== 1) return [];
  const { dirs, accounts } = commandContext();
  const found: string[] = [];
  if (WANTS_ACCOUNT.has(command)) found.push(...(await accounts.list()).map((account) => account.name));
  if (WANTS_DRIVE.has(command)) found.push(...(await runningMounts(dirs)).map((mount) => mount.mountPoint));
  return found.filter((value) => value.startsWith(rest[0] ?? ''));
}
