import type { Account } from '../../src/daemon/accounts/account_book.js';
import type { Listed } from '../../src/daemon/drive_methods.js';
import { type RunningMount, runningMounts } from '../../src/daemon/mount_registry.js';
import { isCloudError } from '../../src/errors.js';
import { type Command, jsonOption } from '../cli/command.js';
import { type Context, commandContext } from '../cli/context.js';
import { loginOf, planDrive } from '../cli/drive_plan.js';
import { eachDrive } from '../cli/each_drive.js';
import { CommandError, EXIT, type ExitCode } from '../cli/exit_codes.js';
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
      .positional('drive', {
        type: 'string',
        describe: 'A mount point, or an account, mounted or not [default: all drives]',
      })
      .options({
        content: { type: 'boolean', default: true, describe: 'Read all cached contents and compare checksums' },
        ...jsonOption,
      })
      .example('$0 check', '')
      .example('$0 check --no-content ~/Cloud', 'Only the records, fast'),
  handler: async ({ drive, content, json }) => {
    const context = commandContext();
    const account = drive === undefined ? null : await context.accounts.get(drive);
    const mounts = await runningMounts(context.dirs);
    const isMounted = account === null || mounts.some((mount) => mount.account === account.name);
    const results: Result[] = [];
    let code: ExitCode = EXIT.ok;
    if (isMounted) {
      code = await eachDrive(await drivesFor(context.dirs, drive), {
        json,
        ask: async (mount) => {
          const result = await checkMounted(context, mount, content);
          results.push(result);
          return [result];
        },
        show,
      });
    } else {
      results.push(await checkUnmounted(context, account, content));
      if (json) printJson(results);
      else show(results);
    }
    return results.some((result) => result.total > 0) ? EXIT.problems : code;
  },
};

interface Result {
  readonly account: string;
  readonly mountPoint: string | null;
  readonly problems: readonly string[];
  readonly total: number;
}

function show(results: readonly Result[]): void {
  for (const { account, mountPoint, problems, total } of results) {
    const subject = printable(mountPoint ?? `${account} (not mounted)`);
    printLine(`${subject}: ${total === 0 ? 'no problem found' : `${total} problems`}`);
    for (const problem of problems) printLine(`  ${printable(problem)}`);
  }
}

async function checkMounted({ dirs }: Context, mount: RunningMount, content: boolean): Promise<Result> {
  const found = await withDrive(dirs, mount, (client) => client.call('check', { content }));
  const { items, total } = found as Listed<string>;
  return { account: mount.account, mountPoint: mount.mountPoint, problems: items, total };
}

async function checkUnmounted(context: Context, account: Account, content: boolean): Promise<Result> {
  const { checkClosedCache } = await import('../../src/daemon/closed_cache.js');
  const config = await planDrive(loginOf(account, ''), '/', {}, context);
  const problems = await checkClosedCache(config, { content }).catch((error: unknown) => {
    throw isCloudError(error, 'not_found') ? new CommandError(EXIT.notRunning, error.message) : error;
  });
  return { account: account.name, mountPoint: null, problems, total: problems.length };
}
