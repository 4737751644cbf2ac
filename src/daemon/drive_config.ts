// Everything one mount needs to know, as plain JSON: the command that starts a drive in the background hands it to the
// new process over a pipe, so that the password is in no argument list and no environment.

import { isAbsolute } from 'node:path';
import { AUTO_LOCK_MODES, type AutoLockMode } from '../cache/auto_lock.js';
import { CloudError } from '../errors.js';
import type { TlsFiles } from './accounts/tls_files.js';
import { LOG_LEVELS, type LogLevel } from './log/logger.js';

export interface DriveConfig {
  readonly account: string;
  readonly url: string;
  readonly user: string;
  readonly password: string;
  readonly tls: TlsFiles;
  /** What the cache belongs to if the address may change; null = the address. */
  readonly identity: string | null;
  /** Use the cache even if it says that it is of another address. */
  readonly adoptCache: boolean;
  /** Absolute, normalized. */
  readonly mountPoint: string;
  readonly cacheDir: string;
  readonly stateDir: string;
  readonly cacheSize_bytes: number;
  readonly minFree_bytes: number;
  readonly dirCacheTime_ms: number;
  readonly timeout_ms: number;
  readonly quiet_ms: number;
  readonly readOnly: boolean;
  readonly writeThrough: boolean;
  readonly autoLock: AutoLockMode;
  readonly allowOther: boolean;
  readonly nonEmpty: boolean;
  /** First column of `df`. */
  readonly fsname: string;
  readonly uid: number | null;
  readonly gid: number | null;
  readonly umask: number | null;
  readonly logLevel: LogLevel;
}

export const DRIVE_DEFAULTS = {
  cacheSize_bytes: 10 * 1024 ** 3,
  minFree_bytes: 1024 ** 3,
  dirCacheTime_ms: 60_000,
  timeout_ms: 20_000,
  // Long enough for an editor's temporary file to become the file before it is sent, short enough that another mount of the
  // account shows a change in under a second.
  quiet_ms: 200,
} as const;

/** Checks what came over the pipe. Throws `invalid`. */
export function parseDriveConfig(value: unknown): DriveConfig {
  if (typeof value !== 'object' || value === null)
    throw new CloudError('invalid', 'drive configuration: expected an object');
  const config = value as Record<keyof DriveConfig, unknown>;
  for (const key of ['account', 'url', 'user', 'password', 'fsname'] as const) {
    require(typeof config[key] === 'string', key, 'a text');
  }
  for (const key of ['mountPoint', 'cacheDir', 'stateDir'] as const) {
    const path = config[key];
    require(typeof path === 'string' && isAbsolute(path) && !path.includes('\0'), key, 'an absolute path');
  }
  for (const key of ['cacheSize_bytes', 'minFree_bytes', 'dirCacheTime_ms', 'timeout_ms', 'quiet_ms'] as const) {
    require(Number.isSafeInteger(config[key]) && (config[key] as number) >= 0, key, 'a whole number');
  }
  require((config.timeout_ms as number) > 0, 'timeout_ms', 'more than 0');
  for (const key of ['readOnly', 'writeThrough', 'allowOther', 'nonEmpty', 'adoptCache'] as const) {
    require(typeof config[key] === 'boolean', key, 'true or false');
  }
  require(config.identity === null || typeof config.identity === 'string', 'identity', 'a text or null');
  for (const key of ['uid', 'gid', 'umask'] as const) {
    require(config[key] === null || Number.isSafeInteger(config[key]), key, 'a number or null');
  }
  require(AUTO_LOCK_MODES.includes(config.autoLock as AutoLockMode), 'autoLock', AUTO_LOCK_MODES.join(', '));
  require(LOG_LEVELS.includes(config.logLevel as LogLevel), 'logLevel', LOG_LEVELS.join(', '));
  require(typeof config.tls === 'object' && config.tls !== null, 'tls', 'an object');
  return config as unknown as DriveConfig;
}

function require(holds: boolean, key: string, what: string): void {
  if (!holds) throw new CloudError('invalid', `drive configuration: "${key}" must be ${what}`);
}
