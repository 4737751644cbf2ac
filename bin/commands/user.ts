import type { CommandModule } from 'yargs';
import { formatTime } from '../../src/clock.js';
import type { AccountStore, User } from '../../src/server/accounts/account_store.js';
import { type Command, changing, group, jsonOption, type Runner } from '../cli/command.js';
import { CommandError, EXIT } from '../cli/exit_codes.js';
import { formatTable, printable, printJson, printLine } from '../cli/output.js';
import { askNewPassword, confirm, secretFromFile, secretFromStdin } from '../cli/prompt.js';
import { dataOption } from '../cli/server_options.js';
import { formatSize, parseSize } from '../cli/sizes.js';
import { nameArgument, type WithData, withAccounts } from '../cli/with_accounts.js';

const passwordOptions = {
  'password-file': { type: 'string', requiresArg: true, describe: 'File whose first line is the password' },
  'password-stdin': { type: 'boolean', default: false, describe: 'Read the password from standard input' },
} as const;

interface PasswordOptions {
  readonly passwordFile?: string | undefined;
  readonly passwordStdin: boolean;
}

async function newPassword({ passwordFile, passwordStdin }: PasswordOptions): Promise<string> {
  if (passwordStdin) return secretFromStdin();
  return passwordFile === undefined ? askNewPassword() : secretFromFile(passwordFile);
}

function parseQuota(text: string): number | null {
  return /^(?:none|unlimited)$/i.test(text) ? null : parseSize(text, 'quota');
}

interface AddOptions extends WithData, PasswordOptions {
  readonly name: string;
  readonly admin: boolean;
  readonly displayName?: string | undefined;
  readonly quota?: string | undefined;
  readonly adoptFiles: boolean;
}

const add = changing<AddOptions>({
  command: 'add <name>',
  describe: 'Add a user',
  builder: (yargs) =>
    yargs
      .positional('name', nameArgument)
      .options({
        ...dataOption,
        ...passwordOptions,
        admin: { type: 'boolean', default: false, describe: 'May administer the server' },
        'display-name': { type: 'string', requiresArg: true, describe: 'Name as others see it' },
        quota: { type: 'string', requiresArg: true, describe: 'Most room for files, e.g. 10G [default: none]' },
        'adopt-files': {
          type: 'boolean',
          default: false,
          describe: 'Take over the files of a removed user of this name',
        },
      })
      .example('$0 user add anna', 'Asks for the password')
      .example('pwgen -s 20 1 | $0 user add anna --password-stdin --quota 50G', ''),
  handler: async (options) => {
    const password = await newPassword(options);
    const user = await withAccounts({ data: options.data, create: true }, (accounts) =>
      accounts.create({
        name: options.name,
        password,
        isAdmin: options.admin,
        ...(options.displayName === undefined ? {} : { displayName: options.displayName }),
        ...(options.quota === undefined ? {} : { quota_bytes: parseQuota(options.quota) }),
        ...(options.adoptFiles ? { adoptFiles: true } : {}),
      }),
    );
    return { json: user, text: `User ${user.name} added.` };
  },
});

const list: Command<WithData & { readonly json: boolean }> = {
  command: 'list',
  describe: 'List the users',
  builder: (yargs) => yargs.options({ ...dataOption, ...jsonOption }).example('$0 user list --json', ''),
  handler: async (options) => {
    const users = await withAccounts(options, (accounts) => accounts.list());
    if (options.json) printJson(users);
    else if (users.length === 0) printLine('No users. Add one with: cloudmount user add NAME');
    else printLine(formatTable(['USER', 'NAME', 'QUOTA', 'STATE', 'SINCE'], users.map(userRow)));
  },
};

function userRow(user: User): readonly string[] {
  const state = [user.isAdmin ? 'admin' : '', user.isDisabled ? 'disabled' : ''].filter(Boolean).join(', ');
  return [
    user.name,
    printable(user.displayName),
    user.quota_bytes === null ? 'none' : formatSize(user.quota_bytes),
    state || '-',
    formatTime(user.created_ms).slice(0, 10),
  ];
}

const passwd = changing<WithData & PasswordOptions & { readonly name: string }>({
  command: 'passwd <name>',
  describe: 'Set a user’s password; app tokens stay valid',
  builder: (yargs) =>
    yargs
      .positional('name', nameArgument)
      .options({ ...dataOption, ...passwordOptions })
      .example('$0 user passwd anna', ''),
  handler: async (options) => {
    const password = await newPassword(options);
    await withAccounts(options, (accounts) => accounts.setPassword(options.name, password));
    return { json: { name: options.name }, text: `Password of ${options.name} changed.` };
  },
});

interface RemoveOptions extends WithData {
  readonly name: string;
  readonly deleteFiles: boolean;
  readonly handOverTo?: string | undefined;
  readonly yes: boolean;
}

/** Without any the server has nobody to run it, and `cloudmount up` no account of its own. One who is locked out is none. */
async function refuseLastAdmin(accounts: Pick<AccountStore, 'list'>, name: string): Promise<void> {
  const admins = (await accounts.list()).filter(({ isAdmin, isDisabled }) => isAdmin && !isDisabled);
  if (admins.length !== 1 || admins[0]?.name.toLowerCase() !== name.toLowerCase()) return;
  throw new CommandError(
    EXIT.failed,
    `${name} is the only administrator; make another one first: cloudmount user add NAME --admin`,
  );
}

const remove = changing<RemoveOptions>({
  command: 'remove <name>',
  describe: 'Remove a user; the files stay unless you say otherwise',
  builder: (yargs) =>
    yargs
      .positional('name', nameArgument)
      .options({
        ...dataOption,
        'delete-files': { type: 'boolean', default: false, describe: 'Delete the files too' },
        'hand-over-to': {
          type: 'string',
          requiresArg: true,
          describe: 'Another user who gets the files, and what is shared of them',
        },
        yes: { alias: 'y', type: 'boolean', default: false, describe: 'Do not ask' },
      })
      .example('$0 user remove anna', '')
      .example('$0 user remove anna --hand-over-to ben', 'They are in his folder “Files of anna” then'),
  handler: async (options) => {
    // Not left to yargs, for which an option with a default is always given.
    if (options.deleteFiles && options.handOverTo !== undefined) {
      throw new CommandError(EXIT.usage, 'Files are either handed over or deleted: --hand-over-to or --delete-files.');
    }
    const question = `Delete user ${options.name} and all files of theirs?`;
    if (options.deleteFiles && !options.yes && !(await confirm(question, 'say --yes'))) {
      throw new CommandError(EXIT.failed, 'Nothing was removed.');
    }
    const removed = await withAccounts(options, async (accounts) => {
      await refuseLastAdmin(accounts, options.name);
      return accounts.remove(
        options.name,
        options.handOverTo !== undefined ? { handOverTo: options.handOverTo } : options.deleteFiles ? 'delete' : 'keep',
      );
    });
    const what =
      options.handOverTo === undefined
        ? `files ${removed.files}`
        : removed.folder == null
          ? 'there were no files'
          : `their files are in “${removed.folder}” of ${options.handOverTo}`;
    return {
      json: { name: options.name, files: removed.files, folder: removed.folder ?? null },
      text: `User ${options.name} removed; ${what}.`,
    };
  },
});

function locking(name: 'disable' | 'enable', describe: string, done: string) {
  const isDisabled = name === 'disable';
  return changing<WithData & { readonly name: string }>({
    command: `${name} <name>`,
    describe,
    builder: (yargs) => yargs.positional('name', nameArgument).options(dataOption).example(`$0 user ${name} anna`, ''),
    handler: async (options) => {
      const user = await withAccounts(options, async (accounts) => {
        if (isDisabled) await refuseLastAdmin(accounts, options.name);
        return accounts.update(options.name, { isDisabled });
      });
      return { json: user, text: `User ${user.name} ${done}.` };
    },
  });
}

const disable = locking('disable', 'Lock a user out: no password, app token or link of theirs counts', 'disabled');
const enable = locking(
  'enable',
  'Let a disabled user in again, with the password and app tokens from before',
  'enabled',
);

const quota = changing<WithData & { readonly name: string; readonly size: string }>({
  command: 'quota <name> <size>',
  describe: 'Limit the room for a user’s files',
  builder: (yargs) =>
    yargs
      .positional('name', nameArgument)
      .positional('size', { type: 'string', demandOption: true, describe: 'E.g. 10G, or none' })
      .options(dataOption)
      .example('$0 user quota anna 10G', ''),
  handler: async (options) => {
    const quota_bytes = parseQuota(options.size);
    const user = await withAccounts(options, (accounts) => accounts.update(options.name, { quota_bytes }));
    return {
      json: user,
      text: `Quota of ${options.name}: ${quota_bytes === null ? 'none' : formatSize(quota_bytes)}.`,
    };
  },
});

export function userModule(runner: Runner): CommandModule {
  return group('user', 'Users of the server', [add, list, passwd, disable, enable, remove, quota], runner);
}
