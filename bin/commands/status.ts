import type { PathStatus } from '../../src/cache/cache_api.js';
import type { ControlClient } from '../../src/daemon/control/control_client.js';
import type { DriveStatus } from '../../src/daemon/drive_methods.js';
import { deadMounts, type RunningMount, runningMounts } from '../../src/daemon/mount_registry.js';
import type { UserDirs } from '../../src/daemon/user_dirs.js';
import { type ErrorCode, isCloudError } from '../../src/errors.js';
import { type Command, jsonOption } from '../cli/command.js';
import { commandContext } from '../cli/context.js';
import { describeDeath, describeDrive, describePath, describeSilence } from '../cli/describe.js';
import { CommandError, codeOf, EXIT } from '../cli/exit_codes.js';
import { placeInDrive, withDrive } from '../cli/find_drive.js';
import { note, printJson, printLine } from '../cli/output.js';

/** A drive that is well answers within milliseconds, a busy one within a second. */
const ANSWER_MS = 4_000;

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
      // All at once: one daemon that hangs neither hides nor delays the others.
      const answers = await Promise.all(mounts.map((mount) => askDrive(dirs, mount)));
      const found = answers.filter((answer) => answer !== null);
      if (json) printJson(found);
      else if (found.length > 0) printLine(found.map((one) => describe(one)).join('\n\n'));
      else printLine('No drive is mounted.');
      if (found.length === 0) return EXIT.notRunning;
      return found.some(isSilent) ? EXIT.offline : EXIT.ok;
    }
    const place = await placeInDrive(dirs, path);
    if (place.path === '') {
      const one = await askDrive(dirs, place.mount);
      if (one === null) return EXIT.notRunning;
      if (json) printJson(one);
      else printLine(describe(one));
      return isSilent(one) ? EXIT.offline : EXIT.ok;
    }
    return withDrive(dirs, place.mount, async (client) => {
      const one = (await client.call('pathStatus', { path: place.path })) as PathStatus;
      if (json) printJson({ mountPoint: place.mount.mountPoint, ...one });
      else printLine(describePath(place.mount.mountPoint, one));
      return EXIT.ok;
    });
  },
};

/** A drive whose process lives and does not say how it is. */
interface SilentDrive extends RunningMount {
  readonly error: { readonly code: ErrorCode; readonly message: string };
}

function isSilent(one: DriveStatus | SilentDrive): one is SilentDrive {
  return 'error' in one;
}

function describe(one: DriveStatus | SilentDrive): string {
  return isSilent(one) ? describeSilence(one, one.error.message) : describeDrive(one, Date.now());
}

/** Null: it has gone meanwhile, which is told. */
async function askDrive(dirs: UserDirs, mount: RunningMount): Promise<DriveStatus | SilentDrive | null> {
  try {
    const ask = (client: ControlClient) => client.call('status', {}, { silence_ms: ANSWER_MS });
    return (await withDrive(dirs, mount, ask, ANSWER_MS)) as DriveStatus;
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === EXIT.notRunning) {
      note(error.message);
      return null;
    }
    const message = isCloudError(error, 'timeout')
      ? `no answer within ${ANSWER_MS / 1000} s`
      : error instanceof Error
        ? error.message
        : String(error);
    return { ...mount, error: { code: codeOf(error), message } };
  }
}
