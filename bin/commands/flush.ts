import type { ControlCallOptions } from '../../src/daemon/control/control_client.js';
import type { FlushProgress } from '../../src/daemon/drive_methods.js';
import type { RunningMount } from '../../src/daemon/mount_registry.js';
import type { PendingWork } from '../../src/daemon/pending_work.js';
import { isCloudError } from '../../src/errors.js';
import { type Command, jsonOption } from '../cli/command.js';
import { commandContext } from '../cli/context.js';
import { describePending } from '../cli/describe.js';
import { eachDrive } from '../cli/each_drive.js';
import { CommandError, EXIT } from '../cli/exit_codes.js';
import { drivesFor, placeInDrive, withDrive } from '../cli/find_drive.js';
import { printable, printLine } from '../cli/output.js';
import { startProgress } from '../cli/progress.js';
import { parseDuration, plural } from '../cli/sizes.js';

interface Options {
  readonly path?: string | undefined;
  readonly wait: boolean;
  readonly timeout?: string | undefined;
  readonly json: boolean;
}

/** A drive whose turn comes when the time is over is asked how it is all the same. */
const LATE_SILENCE_MS = 3_000;

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
    const place = path === undefined ? null : await placeInDrive(dirs, path);
    const inside = place?.path ?? '';
    const mounts = place === null ? await drivesFor(dirs, undefined) : [place.mount];
    const flushOne = async (mount: RunningMount, waits: boolean, call: ControlCallOptions): Promise<PendingWork> => {
      const params = { path: inside, wait: waits };
      return (await withDrive(dirs, mount, (client) => client.call('flush', params, call))) as PendingWork;
    };
    // None waits for the others before it begins. Who fails here fails again where it is told.
    const bounded = signal === undefined ? {} : { signal };
    if (wait && mounts.length > 1) await Promise.allSettled(mounts.map((mount) => flushOne(mount, false, bounded)));
    return await eachDrive(mounts, {
      json,
      ask: async (mount) => {
        const name = printable(mount.mountPoint);
        const unfinished = () =>
          new CommandError(
            EXIT.unfinished,
            `${mount.mountPoint}: not everything was on the server within ${(limit_ms ?? 0) / 1000} s; it goes on in the background.`,
          );
        const isLate = signal?.aborted === true;
        let heard = false;
        const progress = startProgress(name);
        try {
          const pending = await flushOne(mount, wait && !isLate, {
            ...(isLate ? { silence_ms: LATE_SILENCE_MS } : bounded),
            onProgress: (value) => {
              heard = true;
              const { pending } = value as FlushProgress;
              progress.update({
                done_bytes: pending.sent_bytes,
                total_bytes: pending.size_bytes,
                note: plural(pending.changes, 'change'),
              });
            },
          });
          if (wait && isLate && pending.changes > 0) throw unfinished();
          const done = wait && inside !== '' ? `${printable(inside)} is on the server` : describePending(pending);
          progress.end();
          if (!json) printLine(`${name}: ${done}.`);
          return [{ mountPoint: mount.mountPoint, path: inside, pending }];
        } catch (error) {
          progress.end();
          if (!signal?.aborted || !isCloudError(error, 'interrupted')) throw error;
          throw heard
            ? unfinished()
            : new CommandError(EXIT.offline, `${mount.mountPoint}: the drive does not answer.`);
        }
      },
    });
  },
};
