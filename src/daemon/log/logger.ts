// pino over a rotating file, every line through `redact`. One JSON object per line, time in milliseconds.

import { type DestinationStream, pino } from 'pino';
import type { Log } from '../../log.js';
import { redact, redactText } from './redact.js';
import { RotatingFile } from './rotating_file.js';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LogFile {
  readonly log: Log;
  readonly path: string;
  close(): Promise<void>;
  /** On the way out of a dying process. */
  flushSync(): void;
}

/** A `Log` whose lines go to `destination`. */
export function createLog(destination: DestinationStream, level: LogLevel): Log {
  const logger = pino(
    {
      level,
      base: null,
      formatters: { log: (fields) => redact(fields) as Record<string, unknown> },
      hooks: {
        logMethod(args, method) {
          const texts = args.map((arg) => (typeof arg === 'string' ? redactText(arg) : arg));
          method.apply(this, texts as typeof args);
        },
      },
    },
    destination,
  );
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
  };
}

/** 10 MB, three old files kept: 40 MB at most. */
export function openLogFile(path: string, level: LogLevel): LogFile {
  const file = new RotatingFile(path, { maxBytes: 10 * 1024 * 1024, keep: 3 });
  return {
    log: createLog(file, level),
    path,
    close: () => file.close(),
    flushSync: () => file.flushSync(),
  };
}

/** One log written to several places. */
export function teeLogs(...logs: readonly Log[]): Log {
  return {
    debug: (fields, message) => logs.forEach((log) => void log.debug(fields, message)),
    info: (fields, message) => logs.forEach((log) => void log.info(fields, message)),
    warn: (fields, message) => logs.forEach((log) => void log.warn(fields, message)),
    error: (fields, message) => logs.forEach((log) => void log.error(fields, message)),
  };
}
