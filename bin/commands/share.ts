import { stat } from 'node:fs/promises';
import type { CommandModule } from 'yargs';
import type { Account } from '../../src/daemon/accounts/account_book.js';
import {
  LINK_ROLES,
  type LinkRoleName,
  linkRoleOf,
  ROLES,
  rightsOfRole,
  roleOf,
} from '../../src/server/sharing/rights.js';
import { bringIn, MY_SHARES } from '../cli/bring_in.js';
import { accountOption, type Command, changing, group, jsonOption, type Runner } from '../cli/command.js';
import { type Context, commandContext } from '../cli/context.js';
import { CommandError, EXIT } from '../cli/exit_codes.js';
import { type OcsPlace, ocsAccount, ocsPlace, withOcs } from '../cli/ocs_client.js';
import { formatTable, note, printable, printJson, printLine } from '../cli/output.js';
import { secretFromStdin } from '../cli/prompt.js';
import { isLoopback } from '../cli/server_options.js';
import { type Recipient, recipientOf, searchSharees } from '../cli/sharees.js';
import { plural } from '../cli/sizes.js';

const SHARES = 'files_sharing/api/v1/shares';

/** What of a share every server tells. */
interface ShareItem {
  readonly id: string | number;
  readonly share_type: number;
  readonly path: string;
  readonly item_type?: string;
  readonly permissions: number;
  readonly share_with: string | null;
  readonly share_with_displayname?: string | null;
  readonly uid_owner: string;
  readonly displayname_owner?: string;
  readonly expiration: string | null;
  readonly note?: string;
  readonly label?: string;
  readonly url?: string | null;
  readonly suspended?: boolean;
  /** What it comes to at the moment; ours alone. */
  readonly granted?: number;
  /** Of a link that has one: anything but null. */
  readonly password?: string | null;
  readonly max_downloads?: number | null;
  readonly downloads?: number;
  readonly hide_download?: number | boolean;
}

const sharedArgument = {
  type: 'string',
  demandOption: true,
  describe: `A file or folder; from outside the drive it is copied to "${MY_SHARES}" first`,
} as const;
const idArgument = {
  type: 'number',
  demandOption: true,
  describe: 'Number of the share, as `shares` shows it',
} as const;
const commonOptions = {
  expires: { type: 'string', requiresArg: true, describe: 'Last day, e.g. 2030-12-31; "never" takes it back' },
  note: { type: 'string', requiresArg: true, describe: 'A few words to the recipient' },
} as const;

function dateOf(text: string): string {
  if (text === 'never') return '';
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text) || Number.isNaN(Date.parse(text))) {
    throw new CommandError(EXIT.usage, `--expires ${printable(text)}: a date like 2030-12-31 is required.`);
  }
  return text;
}

interface CommonOptions {
  readonly expires?: string | undefined;
  readonly note?: string | undefined;
}

function commonParams({ expires, note }: CommonOptions): Record<string, string> {
  return {
    ...(expires === undefined ? {} : { expireDate: dateOf(expires) }),
    ...(note === undefined ? {} : { note }),
  };
}

/** The place to share, inside a drive; brings in what is outside. */
async function placeToShare(
  context: Context,
  path: string,
  account: string | undefined,
  recipient: Recipient | null = null,
): Promise<OcsPlace> {
  const brought = await bringIn(context, path, account, async (name) => {
    if (recipient !== null) await mustBeThere(context, await ocsAccount(context, name), recipient);
  });
  if (brought === null) return ocsPlace(context, path);
  note(`${brought.copied ? 'Copied to' : 'It is there already, unchanged:'} ${printable(brought.path)}.`);
  return ocsPlace(context, brought.path);
}

async function mustBeThere(context: Context, account: Account, recipient: Recipient): Promise<void> {
  const { kind, name } = recipient;
  const found = await withOcs(context, account, (client) => searchSharees(client, recipient));
  if (found.some((one) => one.toLowerCase() === name.toLowerCase())) return;
  throw new CommandError(EXIT.failed, `There is no ${kind} ${printable(name)} to share with; nothing was copied.`);
}

interface ShareOptions extends CommonOptions {
  readonly path: string;
  readonly account?: string | undefined;
  readonly with: string;
  readonly role: string;
  readonly json: boolean;
}

const give: Command<ShareOptions> = {
  command: '$0 <path>',
  describe: 'Share with a user or @group',
  builder: (yargs) =>
    yargs
      .positional('path', sharedArgument)
      .options({
        with: { type: 'string', demandOption: true, requiresArg: true, describe: 'Name of a user, or @GROUP' },
        role: { choices: [...ROLES.keys()], default: 'viewer', describe: 'What they may do' },
        ...commonOptions,
        ...accountOption,
        ...jsonOption,
      })
      .example('$0 share ~/Cloud/Plans --with anna --role editor', '')
      .example('$0 share ~/Cloud/Plans --with @crew --role organiser --expires 2030-12-31', ''),
  handler: async (options) => {
    const context = commandContext();
    const recipient = recipientOf(options.with);
    const { account, path } = await placeToShare(context, options.path, options.account, recipient);
    const item = (await withOcs(context, account, (client) =>
      client.call('POST', SHARES, {
        path,
        shareType: recipient.kind === 'group' ? '1' : '0',
        shareWith: recipient.name,
        permissions: String(rightsOfRole(options.role)),
        ...commonParams(options),
      }),
    )) as ShareItem;
    if (options.json) printJson(item);
    else printLine(`Shared with ${printable(options.with)} as ${options.role}: share ${item.id}.`);
  },
};

/** What is no number arrives as NaN. */
function checkLimit(limit: number | undefined, least: number): void {
  if (limit === undefined || (Number.isSafeInteger(limit) && limit >= least)) return;
  throw new CommandError(EXIT.usage, `--max-downloads: a whole number is required, ${least} or more.`);
}

interface LinkOptions extends CommonOptions {
  readonly path: string;
  readonly account?: string | undefined;
  readonly role: string;
  readonly label?: string | undefined;
  readonly passwordStdin: boolean;
  readonly maxDownloads?: number | undefined;
  readonly hideDownload: boolean;
  readonly json: boolean;
}

const link: Command<LinkOptions> = {
  command: 'link <path>',
  describe: 'Make a public link and print it',
  builder: (yargs) =>
    yargs
      .positional('path', sharedArgument)
      .options({
        role: { choices: [...LINK_ROLES.keys()], default: 'view', describe: 'What the link is for' },
        label: { type: 'string', requiresArg: true, describe: 'A name to tell it from others' },
        'password-stdin': {
          type: 'boolean',
          default: false,
          describe: 'Read a password from standard input (our server: 8 characters or more)',
        },
        'max-downloads': { type: 'number', requiresArg: true, describe: 'How often files may be loaded (our server)' },
        'hide-download': { type: 'boolean', default: false, describe: 'For looking at only' },
        ...commonOptions,
        ...accountOption,
        ...jsonOption,
      })
      .example('$0 share link ~/Cloud/Photos --expires 2030-12-31', ''),
  handler: async (options) => {
    const context = commandContext();
    checkLimit(options.maxDownloads, 1);
    await refuseUploadToFile(options);
    const password = options.passwordStdin ? await secretFromStdin() : null;
    const { account, path } = await placeToShare(context, options.path, options.account);
    const item = (await withOcs(context, account, (client) =>
      client.call('POST', SHARES, {
        path,
        shareType: '3',
        permissions: String(LINK_ROLES.get(options.role as LinkRoleName) ?? 1),
        ...(password === null ? {} : { password }),
        ...(options.label === undefined ? {} : { label: options.label }),
        ...(options.maxDownloads === undefined ? {} : { max_downloads: String(options.maxDownloads) }),
        ...(options.hideDownload ? { hideDownload: 'true' } : {}),
        ...commonParams(options),
      }),
    )) as ShareItem;
    if (options.json) printJson(item);
    else printLine(printable(item.url ?? ''));
    if (isForThisMachineOnly(item.url)) {
      note(
        'Others reach it only with the address under which they reach the server, in place of the one of this machine.',
      );
    }
  },
};

/** The server tells the address by which it was asked. */
function isForThisMachineOnly(url: string | null | undefined): boolean {
  return URL.canParse(url ?? '') && isLoopback(new URL(url ?? '').hostname);
}

/** Before a file from elsewhere is copied in vain. What cannot be looked at is left to the server. */
async function refuseUploadToFile({ path, role }: Pick<LinkOptions, 'path' | 'role'>): Promise<void> {
  if (role !== 'drop' && role !== 'upload') return;
  const found = await stat(path).catch(() => null);
  if (found === null || found.isDirectory()) return;
  throw new CommandError(
    EXIT.usage,
    `--role ${role} lets others put files in, so a folder is required: ${printable(path)} is a file. To show it: --role view.`,
  );
}

/** What is no number arrives as NaN. */
function checkId(id: number): void {
  if (Number.isSafeInteger(id) && id > 0) return;
  throw new CommandError(EXIT.usage, 'ID: the number of a share is required, as `cloudmount shares` shows it.');
}

interface EditOptions extends CommonOptions {
  readonly id: number;
  readonly role?: string | undefined;
  readonly label?: string | undefined;
  readonly passwordStdin: boolean;
  readonly removePassword: boolean;
  readonly maxDownloads?: number | undefined;
  readonly hideDownload?: boolean | undefined;
  readonly account?: string | undefined;
  readonly json: boolean;
}

const edit: Command<EditOptions> = {
  command: 'edit <id>',
  describe: 'Change a share',
  builder: (yargs) =>
    yargs
      .positional('id', idArgument)
      .options({
        role: { choices: [...ROLES.keys(), ...LINK_ROLES.keys()], requiresArg: true, describe: 'What they may do' },
        label: { type: 'string', requiresArg: true, describe: 'A name to tell it from others' },
        'password-stdin': {
          type: 'boolean',
          default: false,
          describe: 'Another password for a link, from standard input',
        },
        'remove-password': { type: 'boolean', default: false, describe: 'Take the password off a link' },
        'max-downloads': { type: 'number', requiresArg: true, describe: 'As for a new link; 0 takes the limit off' },
        'hide-download': { type: 'boolean', describe: 'For looking at only; --no-hide-download takes it back' },
        ...commonOptions,
        ...accountOption,
        ...jsonOption,
      })
      .example('$0 share edit 12 --role viewer', '')
      .example('$0 share edit 14 --remove-password --max-downloads 20', ''),
  handler: async (options) => {
    const { role, label, maxDownloads, hideDownload } = options;
    checkLimit(maxDownloads, 0);
    const rights = role === undefined ? undefined : (LINK_ROLES.get(role as LinkRoleName) ?? rightsOfRole(role));
    if (options.passwordStdin && options.removePassword) {
      throw new CommandError(EXIT.usage, 'Either another password or none: --password-stdin or --remove-password.');
    }
    const password = options.passwordStdin ? await secretFromStdin() : options.removePassword ? '' : undefined;
    const params = {
      ...commonParams(options),
      ...(label === undefined ? {} : { label }),
      ...(password === undefined ? {} : { password }),
      ...(maxDownloads === undefined ? {} : { max_downloads: maxDownloads === 0 ? '' : String(maxDownloads) }),
      ...(hideDownload === undefined ? {} : { hideDownload: String(hideDownload) }),
      ...(rights === undefined ? {} : { permissions: String(rights) }),
    };
    if (Object.keys(params).length === 0) throw new CommandError(EXIT.usage, 'Say what to change: see --help.');
    await refuseOfOtherKind(options, { role, isOfLinks: LINK_PARAMS.some((name) => name in params) });
    const item = await change('PUT', options, params);
    if (options.json) printJson(item);
    else printLine(`Share ${options.id} changed.`);
  },
};

const LINK_PARAMS = ['password', 'max_downloads', 'hideDownload'];

/** Servers pass over in silence what a share of that kind does not have, and take a role for the rights it stands for. */
async function refuseOfOtherKind(
  options: IdOptions,
  { role, isOfLinks }: { readonly role: string | undefined; readonly isOfLinks: boolean },
): Promise<void> {
  if (role === undefined && !isOfLinks) return;
  const [item] = (await change('GET', options, {})) as readonly ShareItem[];
  const isLink = item?.share_type === 3;
  if (isOfLinks && !isLink) {
    throw new CommandError(
      EXIT.usage,
      `Share ${options.id} is no link: only links have a password, a limit of downloads and --hide-download.`,
    );
  }
  const roles: readonly string[] = [...(isLink ? LINK_ROLES : ROLES).keys()];
  if (role !== undefined && !roles.includes(role)) {
    const what = isLink ? 'a link' : 'no link';
    throw new CommandError(
      EXIT.usage,
      `--role ${role}: share ${options.id} is ${what}; its roles are ${roles.join(', ')}.`,
    );
  }
}

type IdOptions = Pick<EditOptions, 'id' | 'account'>;

async function change(method: string, { id, account }: IdOptions, params: Record<string, string>): Promise<unknown> {
  checkId(id);
  const context = commandContext();
  const found = await ocsAccount(context, account);
  return withOcs(context, found, (client) => client.call(method, `${SHARES}/${id}`, params));
}

function simple(name: string, describe: string, done: string, method: string, params: Record<string, string>) {
  return changing<IdOptions>({
    command: `${name} <id>`,
    describe,
    builder: (yargs) => yargs.positional('id', idArgument).options(accountOption).example(`$0 share ${name} 12`, ''),
    handler: async (options) => {
      await change(method, options, params);
      return { json: { id: options.id, state: done }, text: `Share ${options.id} ${done}.` };
    },
  });
}

const suspend = simple('suspend', 'Take a share away for a while', 'suspended', 'PUT', { suspended: 'true' });
const resume = simple('resume', 'Give a suspended share back', 'resumed', 'PUT', { suspended: 'false' });
const remove = simple('remove', 'Withdraw a share, or do without one you were given', 'removed', 'DELETE', {});

const accept = changing<IdOptions & { readonly decline: boolean }>({
  command: 'accept <id>',
  describe: 'Take a share that waits for your answer (`shares` lists them)',
  builder: (yargs) =>
    yargs
      .positional('id', idArgument)
      .options({ decline: { type: 'boolean', default: false, describe: 'Do not take it' }, ...accountOption })
      .example('$0 share accept 12', ''),
  handler: async (options) => {
    checkId(options.id);
    const context = commandContext();
    const account = await ocsAccount(context, options.account);
    await withOcs(context, account, (client) =>
      client.call(options.decline ? 'DELETE' : 'POST', `${SHARES}/pending/${options.id}`),
    );
    const state = options.decline ? 'declined' : 'accepted';
    return { json: { id: options.id, state }, text: `Share ${options.id} ${state}.` };
  },
});

const askFirst = changing<{ readonly answer: 'on' | 'off'; readonly account?: string }>({
  command: 'ask-first <answer>',
  describe: 'Whether you are asked before what others share with you comes into your files',
  builder: (yargs) =>
    yargs
      .positional('answer', { choices: ['on', 'off'] as const, demandOption: true, describe: 'on or off' })
      .options(accountOption)
      .example('$0 share ask-first on', ''),
  handler: async ({ answer, account }) => {
    const context = commandContext();
    const found = await ocsAccount(context, account);
    await withOcs(context, found, (client) =>
      client.call('PUT', `${SHARES}/pending`, { ask_first: String(answer === 'on') }),
    );
    return {
      json: { askFirst: answer === 'on' },
      text: answer === 'on' ? 'New shares wait for your answer.' : 'New shares are taken at once.',
    };
  },
});

export function shareModule(runner: Runner): CommandModule {
  const commands = [give, link, edit, suspend, resume, remove, accept, askFirst];
  return group('share', 'Share a file or folder', commands, runner);
}

export const shares: Command<{ readonly path?: string; readonly account?: string; readonly json: boolean }> = {
  command: 'shares [path]',
  describe: 'List what you share and what is shared with you, or the shares of one path',
  builder: (yargs) =>
    yargs
      .positional('path', { type: 'string', describe: 'A file or folder in a mounted drive' })
      .options({ ...accountOption, ...jsonOption })
      .example('$0 shares ~/Cloud/Plans', ''),
  handler: async (options) => {
    const context = commandContext();
    const place = options.path === undefined ? null : await ocsPlace(context, options.path);
    const account = place?.account ?? (await ocsAccount(context, options.account));
    const [given, received, pending] = await withOcs(context, account, async (client) => {
      const list = async (params: Record<string, string>) => (await client.call('GET', SHARES, params)) as ShareItem[];
      if (place !== null) {
        const { path } = place;
        const toMe = await list({ path, shared_with_me: 'true' });
        const all = await list({ path, reshares: 'true' });
        return [all.filter(({ id }) => !toMe.some((item) => item.id === id)), toMe, []];
      }
      const waiting = (await client.call('GET', `${SHARES}/pending`)) as ShareItem[];
      return [await list({}), await list({ shared_with_me: 'true' }), waiting];
    });
    if (options.json) printJson({ given, received, pending });
    else if (given.length + received.length + pending.length === 0) printLine('Nothing is shared.');
    else {
      printLine(
        formatTable(
          ['ID', 'PATH', 'WITH', 'ROLE', 'UNTIL', 'LIMITS', 'STATE', 'NOTE'],
          [
            ...given.map((item) => row(item, toWhom(item))),
            ...received.map((item) => row(item, `from ${item.displayname_owner ?? item.uid_owner}`)),
            ...pending.map((item) => row(item, `from ${item.displayname_owner ?? item.uid_owner}`, 'waits for you')),
          ],
        ),
      );
    }
  },
};

function roleName({ share_type, permissions, item_type }: ShareItem): string {
  const name = (share_type === 3 ? linkRoleOf : roleOf)(permissions, item_type === 'file');
  return name ?? String(permissions);
}

function toWhom(item: ShareItem): string {
  if (item.share_type === 3) return item.url ?? 'link';
  return `${item.share_type === 1 ? '@' : ''}${item.share_with ?? ''}`;
}

/** What a link asks of who opens it. */
function limitsOf({ share_type, password, max_downloads, downloads = 0, hide_download }: ShareItem): string {
  if (share_type !== 3) return '-';
  const limits = [
    (password ?? '') === '' ? '' : 'password',
    max_downloads == null ? '' : `${downloads} of ${plural(max_downloads, 'download')}`,
    // A number of ours and of Nextcloud's; ownCloud leaves it out.
    hide_download === 1 || hide_download === true ? 'for looking at only' : '',
  ];
  return limits.filter(Boolean).join(', ') || '-';
}

function row(item: ShareItem, whom: string, state = '-'): readonly string[] {
  return [
    String(item.id),
    printable(item.path),
    printable(whom),
    roleName(item),
    item.expiration?.slice(0, 10) ?? '-',
    limitsOf(item),
    item.suspended === true ? 'suspended' : item.granted === 0 ? 'no effect' : state,
    printable([item.label, item.note].filter(Boolean).join(': ')) || '-',
  ];
}
