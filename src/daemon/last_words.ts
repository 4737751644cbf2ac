// Defects that reach the top. A promise nobody looked after concerns one request: it is logged, the others go on. An
// exception that nobody caught may have left anything half done: it is logged and the process ends; what matters is in the
// journal, and the guard, or the server's clients, know how to go on.

import type { Log } from '../log.js';

export interface LastWords {
  /** Writes what still waits in the log. */
  readonly flushSync: () => void;
  readonly exit: () => void;
}

/** Returns a function that takes the handlers away. */
export function watchForDefects(log: Log, end: LastWords): () => void {
  const onRejection = (error: unknown): void => log.error({ error }, 'unhandled rejection');
  const onException = (error: Error): void => {
    log.error({ error }, 'uncaught exception');
    end.flushSync();
    process.stderr.write(`${error.stack ?? error.message}\n`);
    end.exit();
  };
  process.on('unhandledRejection', onRejection);
  process.on('uncaughtException', onException);
  return () => {
    process.off('unhandledRejection', onRejection);
    process.off('uncaughtException', onException);
  };
}
