import type { CommandModule } from 'yargs';
import { type Command, changing, group, jsonOption, type Runner } from '../cli/command.js';
import { formatTable, printable, printJson, printLine } from '../cli/output.js';
import { dataOption } from '../cli/server_options.js';
import { type WithData, withAccounts } from '../cli/with_accounts.js';

const groupArgument = { type: 'string', demandOption: true, describe: 'Name of the group' } as const;

const add = changing<WithData & { readonly group: string }>({
  command: 'add <group>',
  describe: 'Add a group',
  builder: (yargs) => yargs.positional('group', groupArgument).options(dataOption).example('$0 group add crew', ''),
  handler: async (options) => {
    const made = await withAccounts(options, (accounts) => accounts.createGroup(options.group));
    return { json: made, text: `Group ${printable(made.name)} added.` };
  },
});

const list: Command<WithData & { readonly json: boolean }> = {
  command: 'list',
  describe: 'List the groups with their members',
  builder: (yargs) => yargs.options({ ...dataOption, ...jsonOption }).example('$0 group list --json', ''),
  handler: async (options) => {
    const groups = await withAccounts(options, (accounts) => accounts.listGroups());
    if (options.json) printJson(groups);
    else if (groups.length === 0) printLine('No groups. Add one with: cloudmount group add NAME');
    else {
      printLine(
        formatTable(
          ['GROUP', 'MEMBERS'],
          groups.map(({ name, members }) => [printable(name), members.join(', ') || '-']),
        ),
      );
    }
  },
};

const remove = changing<WithData & { readonly group: string }>({
  command: 'remove <group>',
  describe: 'Remove a group, and what was shared with it',
  builder: (yargs) => yargs.positional('group', groupArgument).options(dataOption).example('$0 group remove crew', ''),
  handler: async (options) => {
    await withAccounts(options, (accounts) => accounts.removeGroup(options.group));
    return { json: { group: options.group }, text: `Group ${printable(options.group)} removed.` };
  },
});

interface MemberOptions extends WithData {
  readonly group: string;
  readonly user: string;
  readonly remove: boolean;
}

const member = changing<MemberOptions>({
  command: 'member <group> <user>',
  describe: 'Put a user into a group, or take one out',
  builder: (yargs) =>
    yargs
      .positional('group', groupArgument)
      .positional('user', { type: 'string', demandOption: true, describe: 'Name of the user' })
      .options({ remove: { type: 'boolean', default: false, describe: 'Take the user out of it' }, ...dataOption })
      .example('$0 group member crew anna', '')
      .example('$0 group member crew anna --remove', ''),
  handler: async (options) => {
    await withAccounts(options, (accounts) =>
      options.remove
        ? accounts.removeMember(options.group, options.user)
        : accounts.addMember(options.group, options.user),
    );
    return {
      json: { group: options.group, user: options.user, member: !options.remove },
      text: `${options.user} is ${options.remove ? 'no longer' : 'now'} in ${printable(options.group)}.`,
    };
  },
});

export function groupModule(runner: Runner): CommandModule {
  return group('group', 'Groups of users on this machine’s server', [add, list, remove, member], runner);
}
