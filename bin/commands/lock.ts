import type { PathStatus } from '../../src/cache/cache_api.js';
import { type Command, jsonOption } from '../cli/command.js';
import { commandContext } from '../cli/context.js';
import { describeLock } from '../cli/describe.js';
import { placeInDrive, withDrive } from '../cli/find_drive.js';
import { printable, printJson, printLine } from '../cli/output.js';

interface Lock {
  readonly mine: boolean;
  readonly owner: string;
  readonly sinceEpoch_s: number | null;
  readonly expiresEpoch_s: number | null;
}

export const lock: Command<{ readonly path: string; readonly json: boolean }> = {
  command: 'lock <path>',
  describe: 'Lock a file, or a folder with all in it, on the server: read-only for all other users until you unlock it',
  builder: (yargs) =>
    yargs
      .positional('path', { type: 'string', demandOption: true, describe: 'A file or folder in a drive' })
      .options(jsonOption)
      .example('$0 lock ~/Cloud/budget.ods', ''),
  handler: async ({ path, json }) => {
    const { dirs } = commandContext();
    const place = await placeInDrive(dirs, path);
    const held = (await withDrive(dirs, place.mount, (client) => client.call('lock', { path: place.path }))) as Lock;
    if (json) printJson({ mountPoint: place.mount.mountPoint, path: place.path, lock: held });
    else printLine(`${printable(path)}: locked, ${describeLock(held)}.`);
  },
};

export const unlock: Command<{ readonly path: string }> = {
  command: 'unlock <path>',
  describe: 'Give back a lock taken with `lock`',
  builder: (yargs) =>
    yargs
      .positional('path', { type: 'string', demandOption: true, describe: 'A file or folder in a drive' })
      .example('$0 unlock ~/Cloud/budget.ods', ''),
  handler: async ({ path }) => {
    const { dirs } = commandContext();
    const place = await placeInDrive(dirs, path);
    const wasLocked = await withDrive(dirs, place.mount, async (client) => {
      const { lock: held } = (await client.call('pathStatus', { path: place.path })) as PathStatus;
      await client.call('unlock', { path: place.path });
      return held !== null;
    });
    printLine(`${printable(path)}: ${wasLocked ? 'unlocked' : 'was not locked'}.`);
  },
};
