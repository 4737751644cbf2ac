import type { FlushProgress } from '../../src/daemon/drive_methods.js';
import type { PendingWork } from '../../src/daemon/pending_work.js';
import { type Command, jsonOption } from '../cli/command.js';
import { commandContext } from '../cli/context.js';
import { describePending } from '../cli/describe.js';
import { CommandError, EXIT } from '../cli/exit_codes.js';
import { drivesFor, type PlaceInDrive, placeInDrive, withDrive } from '../cli/find_drive.js';
import { printable, printJson, printLine } from '../cli/output.js';
import { startProgress } from '../cli/progress.js';
import { parseDuration, plural } from '../cli/sizes.js';

interface Options {
  readonly path?: string | undefined;
  readonly wait: boolean;
  readonly timeout?: string | undefined;
  readonly json: boolean;
}

export const flush: Command<Options> = {
  command: 'flush [path]',
  describe: 'Send what is pending to the server now',
  builder: (yargs) =>
    yargs
      .positional('path', { type: 'string', describe: 'A file, folder or mount point [default: all drives]' })
      .options({
        wait: {
          type: 'boolean',
          default: false,
          describe: 'Return when the server has it all, or say what stands in the way',
        },
        timeout: {
          type: 'string',
          requiresArg: true,
          describe: 'With --wait: give up after so many seconds (exit code 8)',
        },
        ...jsonOption,
      })
      .example('$0 flush --wait ~/Cloud/report.odt', 'After this, the server has the report'),
  handler: async ({ path, wait, timeout, json }) => {
    const { dirs } = commandContext();
    const limit_ms = timeout === undefined ? null : parseDuration(timeout, '--timeout');
    const signal = limit_ms === null ? undefined : AbortSignal.timeout(limit_ms);
    const places: readonly PlaceInDrive[] =
      path === undefined
        ? (await drivesFor(dirs, undefined)).map((mount) => ({ mount, path: '' }))
        : [await placeInDrive(dirs, path)];
    const results: object[] = [];
    for (const place of places) {
      const progress = startProgress(printable(place.mount.mountPoint));
      try {
        const pending = (await withDrive(dirs, place.mount, (client) =>
          client.call(
            'flush',
            { path: place.path, wait },
            {
              ...(signal === undefined ? {} : { signal }),
              onProgress: (value) => {
                const { pending } = value as FlushProgress;
                progress.update({
                  done_bytes: pending.sent_bytes,
                  total_bytes: pending.size_bytes,
                  note: plural(pending.changes, 'change'),
                });
              },
            },
          ),
        )) as PendingWork;
        results.push({ mountPoint: place.mount.mountPoint, path: place.path, pending });
        progress.end();
        if (!json)
          printLine(
            `${printable(place.mount.mountPoint)}: ${wait && place.path !== '' ? `${printable(place.path)} is on the server` : describePending(pending)}.`,
          );
      } catch (error) {
        progress.end();
        if (!signal?.aborted) throw error;
        throw new CommandError(
          EXIT.unfinished,
          `${printable(place.mount.mountPoint)}: not everything was on the server within ${(limit_ms ?? 0) / 1000} s; it goes on in the background.`,
        );
      }
    }
    if (json) printJson(results);
  },
};
