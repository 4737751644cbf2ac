// Values for the shell's completion: accounts where an account is wanted, mount points where a drive is, and whom one can
// share with, as the server knows them.

import { runningMounts } from '../../src/daemon/mount_registry.js';
import { commandContext } from './context.js';
import { ocsAccount, ocsPlace, withOcs } from './ocs_client.js';

const WANTS_ACCOUNT = new Set(['mount', 'logout', 'pins', 'conflicts', 'check', 'locks', 'unmount', 'umount']);
const WANTS_DRIVE = new Set(['unmount', 'umount', 'status', 'pins', 'conflicts', 'check', 'locks']);

/** `words`: the command and what follows it, the last one half typed. */
export async function knownValues(words: readonly string[]): Promise<readonly string[]> {
  const [command = '', ...rest] = words;
  if (command === 'share') return sharees(rest);
  // Only the first argument of these commands is one.
  if (rest.length !== 1) return [];
  const { dirs, accounts } = commandContext();
  const found: string[] = [];
  if (WANTS_ACCOUNT.has(command)) found.push(...(await accounts.list()).map((account) => account.name));
  if (WANTS_DRIVE.has(command)) found.push(...(await runningMounts(dirs)).map((mount) => mount.mountPoint));
  return found.filter((value) => value.startsWith(rest[0] ?? ''));
}

interface Sharee {
  readonly value: { readonly shareType: number; readonly shareWith: string };
}

interface Found {
  readonly users?: readonly Sharee[];
  readonly groups?: readonly Sharee[];
  readonly exact?: { readonly users?: readonly Sharee[]; readonly groups?: readonly Sharee[] };
}

const MAY_TAKE_MS = 2_000;

/** `… --with an`: users; `… --with @cr`: groups. Bash makes a word of its own of the `@`. */
async function sharees(words: readonly string[]): Promise<readonly string[]> {
  const typed = words.at(-1) ?? '';
  const split = words.at(-2) === '@' && words.at(-3) === '--with';
  if (!split && words.at(-2) !== '--with') return [];
  const isGroup = split || typed.startsWith('@');
  const part = typed.replace(/^@/, '');
  if (part === '') return [];
  const context = commandContext();
  const path = words.find((word, at) => !word.startsWith('-') && at < words.indexOf('--with'));
  const place = path === undefined ? null : await ocsPlace(context, path).catch(() => null);
  const account = place?.account ?? (await ocsAccount(context, undefined));
  const late = new Promise<null>((resolve) => {
    setTimeout(() => resolve(null), MAY_TAKE_MS).unref();
  });
  const asked = withOcs(context, account, (client) =>
    client.call('GET', 'files_sharing/api/v1/sharees', { search: part, itemType: 'file', perPage: '50' }),
  );
  const found = (await Promise.race([asked, late])) as Found | null;
  if (found === null) return [];
  const all = isGroup
    ? [...(found.exact?.groups ?? []), ...(found.groups ?? [])]
    : [...(found.exact?.users ?? []), ...(found.users ?? [])];
  return all.map(({ value }) => (isGroup && !split ? `@${value.shareWith}` : value.shareWith));
}
