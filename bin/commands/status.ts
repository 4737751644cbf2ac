import type { PathStatus } from '../../src/cache/cache_api.js';
import type { DriveStatus } from '../../src/daemon/drive_methods.js';
import { deadMounts, runningMounts } from '../../src/daemon/mount_registry.js';
import { type Command, jsonOption } from '../cli/command.js';
import { commandContext } from '../cli/context.js';
import { describeDeath, describeDrive, describePath } from '../cli/describe.js';
import { CommandError, EXIT } from '../cli/exit_codes.js';
import { placeInDrive, withDrive } from '../cli/find_drive.js';
import { note, printable, printJson, printLine } from '../cli/output.js';

interface Options {
  readonly path?: string | undefined;
  readonly json: boolean;
}

export const status: Command<Options> = {
  command: 'status [path]',
  describe: 'Show all drives, or one, or one file: connection, queue, cache, errors',
  builder: (yargs) =>
    yargs
      .positional('path', { type: 'string', describe: 'A mount point, or a file or folder in a drive' })
      .options(jsonOption)
      .example('$0 status', 'All your drives')
      .example('$0 status ~/Cloud/report.odt', 'Is this file here, on the server, being uploaded?'),
  handler: async ({ path, json }) => {
    const { dirs } = commandContext();
    if (path === undefined) {
      const mounts = await runningMounts(dirs);
      for (const mount of await deadMounts(dirs)) note(describeDeath(mount));
      const found: DriveStatus[] = [];
      let silent = 0;
      for (const mount of mounts) {
        // One daemon that hangs does not hide the others.
        const one = await withDrive(dirs, mount, (client) => client.call('status')).catch((error: Error) => {
          const gone = error instanceof CommandError && error.exitCode === EXIT.notRunning;
          if (!gone) silent += 1;
          note(gone ? error.message : `${printable(mount.mountPoint)}: ${error.message}`);
          return null;
        });
        if (one !== null) found.push(one as DriveStatus);
      }
      if (json) printJson(found);
      else if (found.length > 0) printLine(found.map((one) => describeDrive(one, Date.now())).join('\n\n'));
      if (found.length > 0) return EXIT.ok;
      if (silent > 0) throw new CommandError(EXIT.failed, 'No daemon answered.');
      if (!json) printLine('No drive is mounted.');
      return EXIT.notRunning;
    }
    const place = await placeInDrive(dirs, path);
    return withDrive(dirs, place.mount, async (client) => {
      if (place.path === '') {
        const one = (await client.call('status')) as DriveStatus;
        if (json) printJson(one);
        else printLine(describeDrive(one, Date.now()));
      } else {
        const one = (await client.call('pathStatus', { path: place.path })) as PathStatus;
        if (json) printJson({ mountPoint: place.mount.mountPoint, ...one });
        else printLine(describePath(place.mount.mountPoint, one));
      }
      return EXIT.ok;
    });
  },
};
