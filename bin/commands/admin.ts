import type { CommandModule } from 'yargs';
import { formatTime } from '../../src/clock.js';
import { breakLocks, heldLocks } from '../../src/server/sharing/lock_admin.js';
import { type Command, group, jsonOption, type Runner } from '../cli/command.js';
import { CommandError, EXIT } from '../cli/exit_codes.js';
import { formatTable, printable, printJson, printLine } from '../cli/output.js';
import { dataOption, existingServerDir } from '../cli/server_options.js';
import { formatAge } from '../cli/sizes.js';
import type { WithData } from '../cli/with_accounts.js';

interface LockOptions extends WithData {
  readonly break?: string | undefined;
  readonly json: boolean;
}

const locks: Command<LockOptions> = {
  command: 'locks',
  describe: 'List all locks on this machine’s server, or break those on one file',
  builder: (yargs) =>
    yargs
      .options({
        break: { type: 'string', requiresArg: true, describe: 'OWNER:PATH of a file, as the list shows it' },
        ...dataOption,
        ...jsonOption,
      })
      .example('$0 admin locks', '')
      .example('$0 admin locks --break anna:/Plans/budget.ods', ''),
  handler: async (options) => {
    const dir = existingServerDir(options.data);
    const held = options.break === undefined ? await heldLocks(dir) : await broken(dir, options.break);
    if (options.json) printJson(held);
    else if (options.break !== undefined) printLine(`Locks broken: ${held.length}.`);
    else if (held.length === 0) printLine('Nothing is locked.');
    else {
      const now_ms = Date.now();
      printLine(
        formatTable(
          ['FILE', 'HELD BY', 'SINCE', 'UNTIL'],
          held.map((lock) => [
            printable(`${lock.owner}:${lock.path}`),
            printable(lock.holderName),
            formatAge(lock.created_ms, now_ms),
            formatTime(lock.expires_ms),
          ]),
        ),
      );
    }
  },
};

async function broken(dir: string, place: string) {
  const colon = place.indexOf(':');
  if (colon < 1) throw new CommandError(EXIT.usage, '--break: OWNER:PATH is required, as `admin locks` shows it.');
  const done = await breakLocks(dir, place.slice(0, colon).toLowerCase(), place.slice(colon + 1));
  if (done.length === 0) throw new CommandError(EXIT.failed, `${printable(place)} is not locked.`);
  return done;
}

export function adminModule(runner: Runner): CommandModule {
  return group('admin', 'For the administrator of this machine’s server', [locks], runner);
}
