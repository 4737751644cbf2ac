import { join } from 'node:path';
import type { PathStatus } from '../../src/cache/cache_api.js';
import { formatTime } from '../../src/clock.js';
import { CloudError, isCloudError } from '../../src/errors.js';
import { type Command, changing, jsonOption } from '../cli/command.js';
import { commandContext } from '../cli/context.js';
import { describeLock } from '../cli/describe.js';
import { type InDrive, listFromEach } from '../cli/each_drive.js';
import { placeInDrive, withDrive } from '../cli/find_drive.js';
import { formatTable, printable, printJson, printLine } from '../cli/output.js';

interface Lock {
  readonly mine: boolean;
  readonly owner: string;
  readonly sinceEpoch_s: number | null;
  readonly expiresEpoch_s: number | null;
}

export const lock: Command<{ readonly path: string; readonly json: boolean }> = {
  command: 'lock <path>',
  describe: 'Lock a file on the server: read-only for all other users until you unlock it',
  builder: (yargs) =>
    yargs
      .positional('path', { type: 'string', demandOption: true, describe: 'A file in a drive' })
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

interface Held {
  readonly path: string;
  readonly lock: Lock & { readonly auto?: boolean; readonly deep?: boolean };
}

export const locks: Command<{ readonly drive?: string | undefined; readonly json: boolean }> = {
  command: 'locks [drive]',
  describe: 'Show what is locked, by you and by others',
  builder: (yargs) =>
    yargs
      .positional('drive', { type: 'string', describe: 'A mount point or an account [default: all drives]' })
      .options(jsonOption)
      .example('$0 locks', ''),
  handler: async ({ drive, json }) => {
    const { dirs } = commandContext();
    return await listFromEach<Held>('locks', { dirs, target: drive, json }, (found, isAll) => {
      if (found.length > 0) printLine(tableOf(found));
      else if (isAll) printLine('Nothing is locked.');
    });
  },
};

function tableOf(found: readonly (Held & InDrive)[]): string {
  return formatTable(
    ['PATH', 'BY', 'SINCE', 'UNTIL'],
    found.map(({ mountPoint, path, lock: held }) => [
      `${printable(join(mountPoint, path))}${held.deep === true ? ' and all in it' : ''}`,
      held.mine ? `you${held.auto === true ? ' (while it is open)' : ''}` : printable(held.owner),
      timeOf(held.sinceEpoch_s),
      // One's own is kept alive.
      held.mine ? '-' : timeOf(held.expiresEpoch_s),
    ]),
  );
}

function timeOf(epoch_s: number | null): string {
  return epoch_s === null ? '-' : formatTime(epoch_s * 1000);
}

export const unlock = changing<{ readonly path: string; readonly break: boolean }>({
  command: 'unlock <path>',
  describe: 'Give back a lock taken with `lock`',
  builder: (yargs) =>
    yargs
      .positional('path', { type: 'string', demandOption: true, describe: 'A file or folder in a drive' })
      .options({
        break: {
          type: 'boolean',
          default: false,
          describe: 'Also a lock of somebody else: for the owner of the file and administrators of the server',
        },
      })
      .example('$0 unlock ~/Cloud/budget.ods', ''),
  handler: async ({ path, break: force }) => {
    const { dirs } = commandContext();
    const place = await placeInDrive(dirs, path);
    const wasLocked = await withDrive(dirs, place.mount, async (client) => {
      const { lock: held } = (await client.call('pathStatus', { path: place.path })) as PathStatus;
      try {
        return (await client.call('unlock', { path: place.path, force })) === true;
      } catch (error) {
        if (!isCloudError(error, 'locked')) throw error;
        const who = 'the owner of the file and administrators of the server';
        const why = force
          ? `unlocking "${place.path}": only ${who} may break the lock of ${held?.owner ?? 'somebody else'}`
          : `${error.message}; ${who} may say --break`;
        throw new CloudError('locked', why, { cause: error });
      }
    });
    return {
      json: { mountPoint: place.mount.mountPoint, path: place.path, wasLocked },
      text: `${printable(path)}: ${wasLocked ? 'unlocked' : 'was not locked'}.`,
    };
  },
});
