import type { Listed } from '../../src/daemon/drive_methods.js';
import { type Command, jsonOption } from '../cli/command.js';
import { commandContext } from '../cli/context.js';
import { EXIT } from '../cli/exit_codes.js';
import { drivesFor, withDrive } from '../cli/find_drive.js';
import { printable, printJson, printLine } from '../cli/output.js';

interface Options {
  readonly drive?: string | undefined;
  readonly content: boolean;
  readonly json: boolean;
}

export const check: Command<Options> = {
  command: 'check [drive]',
  describe: 'Verify every invariant of a drive’s cache: tree, queue, contents',
  builder: (yargs) =>
    yargs
      .positional('drive', { type: 'string', describe: 'A mount point or an account [default: all drives]' })
      .options({
        content: { type: 'boolean', default: true, describe: 'Read all cached contents and compare checksums' },
        ...jsonOption,
      })
      .example('$0 check', '')
      .example('$0 check --no-content ~/Cloud', 'Only the records, fast'),
  handler: async ({ drive, content, json }) => {
    const { dirs } = commandContext();
    const results: { mountPoint: string; problems: readonly string[]; total: number }[] = [];
    for (const mount of await drivesFor(dirs, drive)) {
      const { items, total } = (await withDrive(dirs, mount, (client) =>
        client.call('check', { content }),
      )) as Listed<string>;
      results.push({ mountPoint: mount.mountPoint, problems: items, total });
    }
    if (json) printJson(results);
    else {
      for (const { mountPoint, problems, total } of results) {
        printLine(`${printable(mountPoint)}: ${total === 0 ? 'no problem found' : `${total} problems`}`);
        for (const problem of problems) printLine(`  ${printable(problem)}`);
      }
    }
    return results.some((result) => result.total > 0) ? EXIT.problems : EXIT.ok;
  },
};
