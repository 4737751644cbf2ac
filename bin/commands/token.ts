import type { CommandModule } from 'yargs';
import { formatTime } from '../../src/clock.js';
import { type Command, changing, group, jsonOption, type Runner } from '../cli/command.js';
import { CommandError, EXIT } from '../cli/exit_codes.js';
import { formatTable, note, printable, printJson, printLine } from '../cli/output.js';
import { dataOption } from '../cli/server_options.js';
import { formatAge } from '../cli/sizes.js';
import { nameArgument, type WithData, withAccounts } from '../cli/with_accounts.js';

const add: Command<WithData & { readonly name: string; readonly label?: string | undefined; readonly json: boolean }> =
  {
    command: 'add <name> [label]',
    describe: 'Make an app token: a password for one device or script, shown once',
    builder: (yargs) =>
      yargs
        .positional('name', nameArgument)
        .positional('label', { type: 'string', describe: 'What it is for, shown by `token list` [default: the date]' })
        .options({ ...dataOption, ...jsonOption })
        .example('$0 token add anna phone', ''),
    handler: async (options) => {
      const { token, secret } = await withAccounts(options, (accounts) =>
        accounts.createToken(options.name, options.label ?? `made ${formatTime(Date.now())}`),
      );
      if (options.json) printJson({ ...token, secret });
      else {
        printLine(secret);
        note(`Token ${token.id} of ${token.user} for "${printable(token.label)}". It is not shown again.`);
      }
    },
  };

const list: Command<WithData & { readonly name: string; readonly json: boolean }> = {
  command: 'list <name>',
  describe: 'List a user’s app tokens',
  builder: (yargs) =>
    yargs
      .positional('name', nameArgument)
      .options({ ...dataOption, ...jsonOption })
      .example('$0 token list anna', ''),
  handler: async (options) => {
    const tokens = await withAccounts(options, (accounts) => accounts.listTokens(options.name));
    if (options.json) printJson(tokens);
    else if (tokens.length === 0) printLine(`${options.name} has no app tokens.`);
    else {
      const now_ms = Date.now();
      printLine(
        formatTable(
          ['ID', 'LABEL', 'MADE', 'LAST USED'],
          tokens.map((token) => [
            String(token.id),
            printable(token.label),
            formatAge(token.created_ms, now_ms),
            token.lastUsed_ms === null ? 'never' : formatAge(token.lastUsed_ms, now_ms),
          ]),
        ),
      );
    }
  },
};

const revoke = changing<WithData & { readonly name: string; readonly id: string }>({
  command: 'revoke <name> <id>',
  describe: 'End an app token; who uses it is logged out at once',
  builder: (yargs) =>
    yargs
      .positional('name', nameArgument)
      .positional('id', { type: 'string', demandOption: true, describe: 'Its number in `token list`' })
      .options(dataOption)
      .example('$0 token revoke anna 3', ''),
  handler: async (options) => {
    if (!/^\d{1,15}$/.test(options.id))
      throw new CommandError(EXIT.usage, `Token id: expected a number, found "${options.id}".`);
    await withAccounts(options, (accounts) => accounts.revokeToken(options.name, Number(options.id)));
    return {
      json: { user: options.name, id: Number(options.id) },
      text: `Token ${options.id} of ${options.name} revoked.`,
    };
  },
});

export function tokenModule(runner: Runner): CommandModule {
  return group('token', 'App tokens of the server’s users', [add, list, revoke], runner);
}
