import { join } from 'node:path';
import type { ConflictInfo } from '../../src/cache/cache_api.js';
import { type Command, changing, jsonOption } from '../cli/command.js';
import { commandContext } from '../cli/context.js';
import { listFromEach } from '../cli/each_drive.js';
import { CommandError, EXIT } from '../cli/exit_codes.js';
import { placeInDrive, withDrive } from '../cli/find_drive.js';
import { printable, printLine } from '../cli/output.js';
import { confirm } from '../cli/prompt.js';
import { formatAge } from '../cli/sizes.js';

export const conflicts: Command<{ readonly drive?: string | undefined; readonly json: boolean }> = {
  command: 'conflicts [drive]',
  describe: 'Show files of which both your version and the server’s were kept',
  builder: (yargs) =>
    yargs
      .positional('drive', { type: 'string', describe: 'A mount point or an account [default: all drives]' })
      .options(jsonOption)
      .example('$0 conflicts', ''),
  handler: async ({ drive, json }) => {
    const { dirs } = commandContext();
    return await listFromEach<ConflictInfo>('conflicts', { dirs, target: drive, json }, (found, isAll) => {
      if (found.length === 0) {
        if (isAll) printLine('No conflicts.');
        return;
      }
      for (const item of found) {
        printLine(printable(join(item.mountPoint, item.path)));
        const original = printable(join(item.mountPoint, item.original));
        printLine(item.hasOriginal ? `  beside  ${original}` : `  not as  ${original}, where nothing is now`);
        printLine(`  why     ${printable(item.reason)}, ${formatAge(item.atEpoch_ms, Date.now())}`);
      }
      printLine('\nResolve each with: cloudmount resolve PATH --keep mine|theirs|both');
    });
  },
};

interface ResolveOptions {
  readonly path: string;
  readonly keep: 'mine' | 'theirs' | 'both';
}

export const resolve = changing<ResolveOptions>({
  command: 'resolve <path>',
  describe: 'Settle a conflict',
  builder: (yargs) =>
    yargs
      .positional('path', {
        type: 'string',
        demandOption: true,
        describe: 'The conflict copy, or the file it competes with',
      })
      .option('keep', {
        choices: ['mine', 'theirs', 'both'] as const,
        demandOption: true,
        describe: 'mine: my version takes the name; theirs: my copy is removed; both: leave two files',
      })
      .example('$0 resolve ~/Cloud/report.odt --keep mine', ''),
  handler: async ({ path, keep }) => {
    const { dirs } = commandContext();
    const place = await placeInDrive(dirs, path);
    await withDrive(dirs, place.mount, (client) => client.call('resolve', { path: place.path, keep }));
    return {
      json: { mountPoint: place.mount.mountPoint, path: place.path, kept: keep },
      text: `${printable(path)}: resolved, kept ${keep}.`,
    };
  },
});

export const discard = changing<{ readonly path: string; readonly yes: boolean }>({
  command: 'discard <path>',
  describe: 'Throw away local changes that are not on the server; the server’s version comes back',
  builder: (yargs) =>
    yargs
      .positional('path', { type: 'string', demandOption: true, describe: 'A file or folder in a drive' })
      .option('yes', { alias: 'y', type: 'boolean', default: false, describe: 'Do not ask' })
      .example('$0 discard ~/Cloud/draft.txt', ''),
  handler: async ({ path, yes }) => {
    const { dirs } = commandContext();
    const place = await placeInDrive(dirs, path);
    const question = `Throw away the changes to ${printable(path)} that are only on this computer?`;
    if (!yes && !(await confirm(question, 'say --yes'))) throw new CommandError(EXIT.failed, 'Nothing was discarded.');
    const { discarded } = (await withDrive(dirs, place.mount, (client) =>
      client.call('discard', { path: place.path }),
    )) as { readonly discarded: number };
    return {
      json: { mountPoint: place.mount.mountPoint, path: place.path, discarded },
      text:
        discarded === 0
          ? `${printable(path)}: nothing to discard, it is as on the server.`
          : `${printable(path)}: local changes discarded.`,
    };
  },
});
