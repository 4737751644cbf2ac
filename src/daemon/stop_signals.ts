// SIGTERM, SIGINT and SIGHUP (the terminal of a foreground drive was closed; a background one has none): the first asks
// for a clean stop, the second for a quick one, and whatever happens the process is gone within `limit_ms` of the first.

export interface StopHandlers {
  /** First signal. */
  stop(signal: NodeJS.Signals): void;
  /** Second signal, or the limit has passed: end the process now. */
  abandon(reason: string): void;
}

const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
const ECHO_MS = 400;
export const STOP_LIMIT_MS = 4_700;

/** Returns a function that restores what was before. */
export function onStopSignals(handlers: StopHandlers, limit_ms = STOP_LIMIT_MS): () => void {
  let first: { readonly signal: NodeJS.Signals; readonly at_ms: number } | null = null;
  let timer: NodeJS.Timeout | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (first !== null) {
      // One Ctrl-C may arrive twice: from the terminal, and passed on by npm or a shell.
      if (performance.now() - first.at_ms > ECHO_MS) handlers.abandon(`${signal} after ${first.signal}`);
      return;
    }
    first = { signal, at_ms: performance.now() };
    timer = setTimeout(() => handlers.abandon(`not stopped within ${limit_ms} ms of ${signal}`), limit_ms);
    timer.unref();
    handlers.stop(signal);
  };
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  return () => {
    clearTimeout(timer);
    for (const signal of STOP_SIGNALS) process.off(signal, onSignal);
  };
}
