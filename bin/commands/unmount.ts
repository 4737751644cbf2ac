import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { FlushProgress, UnmountResult } from '../../src/daemon/drive_methods.js';
import { type RunningMount, runningMounts, unregisterMount } from '../../src/daemon/mount_registry.js';
import { isDrive, readMountTable } from '../../src/daemon/mount_table.js';
import type { UserDirs } from '../../src/daemon/user_dirs.js';
import { isCloudError } from '../../src/errors.js';
import { isAlive } from '../../src/process_state.js';
import { type Command, jsonOption } from '../cli/command.js';
import { commandContext } from '../cli/context.js';
import { describePending } from '../cli/describe.js';
import { CommandError, EXIT } from '../cli/exit_codes.js';
import { followParents, listMounts, withDrive } from '../cli/find_drive.js';
import { note, printable, printJson, printLine } from '../cli/output.js';
import { startProgress } from '../cli/progress.js';
import { parseDuration, plural } from '../cli/sizes.js';

interface Options {
  readonly dir: string;
  readonly force: boolean;
  readonly wait: string;
  readonly json: boolean;
}

/** A daemon that says nothing for so long is taken for stuck. */
const FORCE_SILENCE_MS = 6_000;
/** Of 100 ms each. */
const KILL_POLLS = 55;

export const unmount: Command<Options> = {
  command: 'unmount <dir>',
  aliases: ['umount'],
  describe: 'Unmount a drive; what is not uploaded yet is kept and sent after the next mount',
  builder: (yargs) =>
    yargs
      .positional('dir', { type: 'string', demandOption: true, describe: 'The mount point, or the account' })
      .options({
        force: {
          alias: 'f',
          type: 'boolean',
          default: false,
          describe: 'Even if files are open or the drive does not answer; nothing is waited for',
        },
        wait: {
          type: 'string',
          default: '30',
          requiresArg: true,
          describe: 'Seconds that pending uploads may take before unmounting; 0 = none',
        },
        ...jsonOption,
      })
      .example('$0 unmount ~/Cloud', '')
      .example('$0 unmount --force ~/Cloud', 'The drive hangs, or a program will not let go'),
  handler: async ({ dir, force, wait, json }) => {
    const { dirs } = commandContext();
    const wait_ms = parseDuration(wait, '--wait');
    const mountPoint = await followParents(resolve(dir));
    process.chdir('/'); // not to be among those who keep it from being unmounted
    const mounts = await runningMounts(dirs);
    const mount = mounts.find((one) => one.mountPoint === mountPoint) ?? theOneOf(dir, mounts);
    const result =
      mount === undefined
        ? await unmountOrphan(mountPoint, mounts, force)
        : await unmountRunning(dirs, mount, force, wait_ms);
    if (json)
      printJson({
        mountPoint: mount?.mountPoint ?? mountPoint,
        pending: result?.pending ?? null,
        kept: result?.kept ?? null,
      });
    else printLine(`${printable(mount?.mountPoint ?? mountPoint)} is unmounted.`);
    if (mount !== undefined && result !== null && result.pending.changes > 0) {
      const cacheDir = printable(mount.cacheDir);
      note(
        result.kept
          ? `${describePending(result.pending)}: kept in ${cacheDir} and sent after the next mount.`
          : `${describePending(result.pending)}, and lost: ${cacheDir} was removed or replaced while the drive used it.`,
      );
    }
  },
};

/** The drive of this account, undefined if it has none. */
function theOneOf(account: string, mounts: readonly RunningMount[]): RunningMount | undefined {
  const found = mounts.filter((mount) => mount.account === account);
  if (found.length <= 1) return found[0];
  const names = found.map((mount) => printable(mount.mountPoint));
  throw new CommandError(
    EXIT.usage,
    `unmount: one drive is required, found several of the account ${printable(account)}: ${names.join(', ')}. Name its folder.`,
  );
}

async function unmountRunning(
  dirs: UserDirs,
  mount: RunningMount,
  force: boolean,
  wait_ms: number,
): Promise<UnmountResult | null> {
  const progress = startProgress(`${printable(mount.mountPoint)}: uploading`);
  try {
    const result = await withDrive(dirs, mount, (client) =>
      client.call(
        'unmount',
        { force, wait_ms: force ? 0 : wait_ms },
        {
          silence_ms: force ? FORCE_SILENCE_MS : undefined,
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
    );
    return result as UnmountResult;
  } catch (error) {
    const gone = error instanceof CommandError && error.exitCode === EXIT.notRunning;
    if (!gone && !(force && isCloudError(error, 'timeout', 'network'))) throw error;
    if (!gone) await killStuck(mount);
    unregisterMount(dirs, mount);
    // Ending it took seconds: what is there now may have been mounted since.
    const isAgain = (await runningMounts(dirs)).some((one) => one.mountPoint === mount.mountPoint);
    if (!isAgain && readMountTable().some((entry) => isDrive(entry) && entry.mountPoint === mount.mountPoint)) {
      await unmountByKernel(mount.mountPoint, true);
    }
    return null;
  } finally {
    progress.end();
  }
}

/** Ends a daemon that does not answer: asked once more, then killed. Its queue is in its journal. */
async function killStuck(mount: RunningMount): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    if (!isAlive(mount.pid) || !(await isDaemon(mount.pid))) return;
    process.kill(mount.pid, signal);
    for (let i = 0; i < KILL_POLLS && isAlive(mount.pid); i++) await sleep(100);
  }
}

/** A process number may have been given to another program since. */
async function isDaemon(pid: number): Promise<boolean> {
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return /cloudmount/.test(command);
}

/** A drive whose daemon is gone, or is not in this user's list. */
async function unmountOrphan(mountPoint: string, mounts: readonly RunningMount[], force: boolean): Promise<null> {
  if (!readMountTable().some((entry) => isDrive(entry) && entry.mountPoint === mountPoint)) {
    throw new CommandError(
      EXIT.notRunning,
      `${printable(mountPoint)} is not the mount point of a drive. ${listMounts(mounts)}`,
    );
  }
  await unmountByKernel(mountPoint, force);
  return null;
}

/** Without the daemon: umount(8) for root, fusermount3 for everybody else. `lazy` detaches what is in use. */
async function unmountByKernel(mountPoint: string, lazy: boolean): Promise<void> {
  const [command, args] =
    process.getuid?.() === 0
      ? ['umount', [...(lazy ? ['-l'] : []), '--', mountPoint]]
      : ['fusermount3', [lazy ? '-uz' : '-u', '--', mountPoint]];
  try {
    await promisify(execFile)(command, args, { timeout: 10_000 });
  } catch (error) {
    const words = (error as { stderr?: string }).stderr?.trim() || (error as Error).message;
    throw new CommandError(
      /busy/i.test(words) ? EXIT.busy : EXIT.failed,
      `unmounting ${printable(mountPoint)}: ${words}`,
    );
  }
}
