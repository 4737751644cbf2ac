// Values for the shell's completion: accounts where an account is wanted, mount points where a drive is, whom one can share
// with, as the server knows them, and a server's users where its data can be read.

import { runningMounts } from '../../src/daemon/mount_registry.js';
import { commandContext } from './context.js';
import { ocsAccount, ocsPlace, withOcs } from './ocs_client.js';
import { type Recipient, recipientOf, searchSharees } from './sharees.js';

const WANTS_ACCOUNT = new Set(['mount', 'logout', 'pins', 'conflicts', 'check', 'locks', 'unmount', 'umount']);
const WANTS_USER = new Set(['passwd', 'disable', 'enable', 'quota', 'remove']);
const WANTS_DRIVE = new Set(['unmount', 'umount', 'status', 'pins', 'conflicts', 'check', 'locks']);

export interface Known {
  readonly values: readonly string[];
  /** The value of an option is wanted: commands and other options are none. */
  readonly isValue: boolean;
}

export const NOTHING_KNOWN: Known = { values: [], isValue: false };

/** `words`: the command and what follows it, the last one half typed. */
export async function knownValues(words: readonly string[]): Promise<Known> {
  const [command = '', ...rest] = words;
  if (command === 'share') {
    const typed = typedRecipient(rest);
    return typed === null ? NOTHING_KNOWN : { values: await sharees(rest, typed).catch(() => []), isValue: true };
  }
  if (
    command === 'user' &&
    WANTS_USER.has(rest[0] ?? '') &&
    (rest.length === 2 || (rest.length === 4 && rest[1] === '--data'))
  ) {
    const names = await users(rest[2]).catch(() => []);
    return { values: names.filter((name) => name.startsWith(rest.at(-1) ?? '')), isValue: false };
  }
  // Only the first argument of these commands is one.
  if (rest.length !== 1) return NOTHING_KNOWN;
  const { dirs, accounts } = commandContext();
  const found: string[] = [];
  if (WANTS_ACCOUNT.has(command)) found.push(...(await accounts.list()).map((account) => account.name));
  if (WANTS_DRIVE.has(command)) found.push(...(await runningMounts(dirs)).map((mount) => mount.mountPoint));
  return { values: found.filter((value) => value.startsWith(rest[0] ?? '')), isValue: false };
}

/** Loaded only for this: the others need nothing of a server. */
async function users(data: string | undefined): Promise<readonly string[]> {
  const { withAccounts } = await import('./with_accounts.js');
  return withAccounts({ data }, async (accounts) => (await accounts.list()).map(({ name }) => name));
}

const MAY_TAKE_MS = 2_000;

interface Typed {
  readonly recipient: Recipient;
  /** What the answers begin with: bash makes a word of its own of the `@` and completes what is behind it. */
  readonly prefix: '' | '@';
}

/** `… --with an`: users; `… --with @cr`: groups; null where something else is typed. */
function typedRecipient(words: readonly string[]): Typed | null {
  const typed = words.at(-1) ?? '';
  if (words.at(-2) === '@' && words.at(-3) === '--with') {
    return { recipient: { kind: 'group', name: typed }, prefix: '' };
  }
  if (words.at(-2) !== '--with') return null;
  const recipient = recipientOf(typed);
  return { recipient, prefix: recipient.kind === 'group' ? '@' : '' };
}

async function sharees(words: readonly string[], { recipient, prefix }: Typed): Promise<readonly string[]> {
  // Everybody contains nothing: that would be the list of all.
  if (recipient.name === '') return [];
  const context = commandContext();
  const path = words.find((word, at) => !word.startsWith('-') && at < words.indexOf('--with'));
  const place = path === undefined ? null : await ocsPlace(context, path).catch(() => null);
  const account = place?.account ?? (await ocsAccount(context, undefined));
  const late = new Promise<null>((resolve) => {
    setTimeout(() => resolve(null), MAY_TAKE_MS).unref();
  });
  const asked = withOcs(context, account, (client) => searchSharees(client, recipient));
  const found = (await Promise.race([asked, late])) ?? [];
  return found.map((name) => prefix + name);
}
