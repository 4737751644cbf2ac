// Values for the shell's completion: accounts where an account is wanted, mount points where a drive is.

import { runningMounts } from '../../src/daemon/mount_registry.js';
import { commandContext } from './context.js';

type Filter = (onCompleted: (error: Error | null, completions?: string[]) => void) => unknown;

const WANTS_ACCOUNT = new Set(['mount', 'logout', 'pins', 'conflicts', 'check', 'unmount', 'umount']);
const WANTS_DRIVE = new Set(['unmount', 'umount', 'status', 'pins', 'conflicts', 'check']);

/** yargs' own completions (commands, options) first, then names that are known on this machine. */
export function completeValues(
  current: string,
  argv: { readonly _?: readonly (string | number)[] },
  defaults: Filter,
  done: (completions: string[]) => void,
): void {
  defaults((_error, completions = []) => {
    const [, command] = argv._ ?? [];
    values(String(command ?? ''), (argv._ ?? []).length).then(
      (found) => done([...completions, ...found.filter((value) => value.startsWith(current))]),
      () => done(completions),
    );
  });
}

async function values(command: string, words: number): Promise<string[]> {
  const { dirs, accounts } = commandContext();
  // The program's name, the command, the word that is being typed.
  const first = words <= 3;
  const found: string[] = [];
  if (first && WANTS_ACCOUNT.has(command)) found.push(...(await accounts.list()).map((account) => account.name));
  if (first && WANTS_DRIVE.has(command)) found.push(...(await runningMounts(dirs)).map((mount) => mount.mountPoint));
  return found;
}
