// Starts a drive in a process of its own that outlives this command, and waits until it answers. What goes wrong on the
// way comes back over the IPC channel and reaches the user's terminal as this command's own error. The configuration,
// password included, goes the other way over the same channel.

import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type DriveConfig, parseDriveConfig } from '../../src/daemon/drive_config.js';
import { onStopSignals } from '../../src/daemon/stop_signals.js';
import { privateDir, type UserDirs } from '../../src/daemon/user_dirs.js';
import { CloudError, type ErrorCode } from '../../src/errors.js';
import { CommandError, codeOf, EXIT, type ExitCode, exitCodeOf } from './exit_codes.js';
import { packageVersion, userAgent } from './version.js';

type FromChild =
  | { readonly kind: 'listening' }
  | { readonly kind: 'ready'; readonly started: Started }
  | { readonly kind: 'failed'; readonly message: string; readonly exitCode: ExitCode; readonly code: ErrorCode };

const MAX_WORDS_BYTES = 1024 ** 2;

/** What V8 must be told when a process starts. Room for short-lived objects, in MiB: it takes up to 48 where a drive, busy
 * for moments and idle for hours, does not get slower with 12. One thread for what it does beside (compiling, collecting):
 * with four, programs and their drive wait for them where processors are few. */
const SMALL_ENGINE = ['--max-semi-space-size=4', '--v8-pool-size=1'];

export interface Started {
  readonly pid: number;
  readonly connection: 'online' | 'offline' | 'unauthorized';
  readonly connectionError: string | null;
}

/** Name of the hidden command; stands in `ps`. */
export const DRIVE_PROCESS = 'drive-process';

/** Resolves once the drive answers. */
export async function startInBackground(config: DriveConfig): Promise<Started> {
  await privateDir(config.stateDir);
  // What even the log cannot take, such as the last words of a crashing native library.
  const words = join(config.stateDir, 'drive.stderr');
  const earlier = await stat(words).catch(() => null);
  const errors = openSync(words, (earlier?.size ?? 0) > MAX_WORDS_BYTES ? 'w' : 'a', 0o600);
  const child = spawn(process.execPath, [...SMALL_ENGINE, process.argv[1] ?? '', DRIVE_PROCESS, config.mountPoint], {
    detached: true,
    cwd: '/',
    stdio: ['ignore', errors, errors, 'ipc'],
  });
  closeSync(errors);
  let interrupted = false;
  const interrupt = (): void => {
    interrupted = true;
    child.kill('SIGTERM');
  };
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  try {
    return await new Promise<Started>((resolve, reject) => {
      child.on('message', (message: FromChild) => {
        if (message.kind === 'listening') child.send(config);
        else if (message.kind === 'ready') resolve(message.started);
        else reject(new CommandError(message.exitCode, message.message, message.code));
      });
      child.once('error', (error) => reject(new CommandError(EXIT.failed, `Starting the drive: ${error.message}`)));
      // 'close' comes after the last message, 'exit' may come before it.
      child.once('close', (code, signal) => {
        if (interrupted) {
          reject(new CommandError(EXIT.interrupted, 'Interrupted before the drive answered: it is not mounted.'));
          return;
        }
        const how = signal === null ? `with code ${code}` : `by ${signal}`;
        reject(
          new CommandError(
            EXIT.failed,
            `The drive's process ended ${how} before the drive answered; see ${config.stateDir}/drive.log and drive.stderr.`,
          ),
        );
      });
    });
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
    child.removeAllListeners();
    if (child.connected) child.disconnect();
    child.unref();
  }
}

/** The other side: the process that `startInBackground` starts. Resolves with its exit code. */
export async function serveInBackground(dirs: UserDirs): Promise<ExitCode> {
  const tell = (message: FromChild): Promise<void> =>
    new Promise((resolve) => {
      if (process.connected) process.send?.(message, undefined, undefined, () => resolve());
      else resolve();
    });
  if (process.send === undefined) {
    throw new CommandError(EXIT.usage, `${DRIVE_PROCESS} is started by "cloudmount mount", not by hand.`);
  }
  const parentGone = new Promise<never>((_resolve, reject) => {
    process.once('disconnect', () =>
      reject(new CloudError('interrupted', 'the command that started the drive is gone')),
    );
  });
  parentGone.catch(() => undefined);
  try {
    const received = new Promise<unknown>((resolve) => process.once('message', resolve));
    await tell({ kind: 'listening' });
    const config = parseDriveConfig(await Promise.race([received, parentGone]));
    return await keepDrive(config, dirs, (started) => tell({ kind: 'ready', started }));
  } catch (error) {
    await tell({
      kind: 'failed',
      message: error instanceof Error ? error.message : String(error),
      exitCode: exitCodeOf(error),
      code: codeOf(error),
    });
    return exitCodeOf(error);
  } finally {
    if (process.connected) process.disconnect();
  }
}

/** Runs the drive in this process until it is unmounted or a signal comes. */
export async function keepDrive(
  config: DriveConfig,
  dirs: UserDirs,
  onReady: (started: Started) => Promise<void>,
): Promise<ExitCode> {
  let requested: string | null = null;
  let stop: (reason: string) => void = (reason) => {
    requested = reason;
  };
  let flushLog: () => void = () => undefined;
  const restore = onStopSignals({
    stop: (signal) => stop(signal),
    abandon: () => {
      flushLog();
      process.exit(EXIT.failed);
    },
  });
  try {
    // Not at the top: the command that only starts a background process does not pay for loading a drive.
    const { startDriveProcess } = await import('../../src/daemon/drive_process.js');
    const running = await startDriveProcess(config, { dirs, version: packageVersion(), userAgent: userAgent() });
    flushLog = () => running.logFile.flushSync();
    stop = (reason) => void running.stop(reason);
    const early = requested !== null;
    if (early) stop('interrupted while starting');
    else {
      const { connection, connectionError } = running.drive.status().cache;
      await onReady({ pid: process.pid, connection, connectionError });
    }
    await running.drive.closed;
    await running.logFile.close();
    return early ? EXIT.interrupted : EXIT.ok;
  } finally {
    restore();
  }
}
