// With TRACE=FILE in the environment the fake server's calls, what the cache logs and what the walk does go there, in the
// order in which they happen: the story behind a seed that fails.

import { appendFileSync } from 'node:fs';
import type { Log } from '../../src/log.js';

const file = process.env['TRACE'];

export function trace(line: string): void {
  if (file !== undefined) appendFileSync(file, `${(performance.now() / 1000).toFixed(4)} ${line}\n`);
}

function tracing(level: string) {
  return (fields: object, message: string) => trace(`   [${level}] ${message} ${JSON.stringify(fields).slice(0, 300)}`);
}

export const traceLog: Log = {
  debug: tracing('debug'),
  info: tracing('info'),
  warn: tracing('warn'),
  error: tracing('error'),
};
