// A process whose work is one drive: starts it, stops it on signals, and knows when it is over. Used by `mount` in the
// foreground, by the background process it starts, and by `up`.

import { hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { systemClock } from '../clock.js';
import { isCloudError } from '../errors.js';
import type { Log } from '../log.js';
import { type Drive, startDrive } from './drive.js';
import type { DriveConfig } from './drive_config.js';
import { watchForDefects } from './last_words.js';
import { type LogFile, openLogFile, teeLogs } from './log/logger.js';
import { privateDir, type UserDirs } from './user_dirs.js';

export interface DriveProcessOptions {
  readonly dirs: UserDirs;
  readonly version: string;
  readonly userAgent: string;
  /** A second place for what is logged, e.g. the terminal. */
  readonly alsoLog?: Log;
}

export interface DriveProcess {
  readonly drive: Drive;
  readonly logFile: LogFile;
  /** Unmounts, by force if files are open, and resolves when all is closed and the log written. */
  stop(reason: string): Promise<void>;
}

export function driveLogPath(config: Pick<DriveConfig, 'stateDir'>): string {
  return join(config.stateDir, 'drive.log');
}

/**
 * How much the heap may grow before it is collected whole. On a machine with much memory V8 lets it grow to several times
 * what is alive, and only a whole collection lets go of what weak references have pointed at, as they do at every node the
 * kernel has seen: listing 32,000 nodes peaked at 280 MB, with this at 210 MB, for no more processor time.
 */
const HEAP_GROWTH_PERCENT = 50;

export async function startDriveProcess(config: DriveConfig, options: DriveProcessOptions): Promise<DriveProcess> {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
  // Whatever this process writes is its user's alone.
  process.umask(0o077);
  await privateDir(config.stateDir);
  const logFile = openLogFile(driveLogPath(config), config.logLevel);
  const log = options.alsoLog === undefined ? logFile.log : teeLogs(logFile.log, options.alsoLog);
  const unwatch = watchForDefects(log, { flushSync: () => logFile.flushSync(), exit: () => process.exit(1) });
  log.info({ version: options.version, pid: process.pid, mountPoint: config.mountPoint, url: config.url }, 'starting');
  try {
    const drive = await startDrive(config, {
      dirs: options.dirs,
      clock: systemClock,
      log,
      logFile: logFile.path,
      version: options.version,
      userAgent: options.userAgent,
      person: { user: personName(), host: hostname() },
    });
    return {
      drive,
      logFile,
      async stop(reason) {
        log.info({ reason }, 'stopping');
        await drive.stop({ force: false }).catch((error: unknown) => {
          if (!isCloudError(error, 'busy')) log.error({ error }, 'unmounting');
          return drive.stop({ force: true });
        });
        await drive.closed;
        unwatch();
        await logFile.close();
      },
    };
  } catch (error) {
    log.error({ error }, 'start failed');
    unwatch();
    await logFile.close();
    throw error;
  }
}

/** Containers may run under a user id that has no name. */
function personName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid${process.getuid?.() ?? 0}`;
  }
}
