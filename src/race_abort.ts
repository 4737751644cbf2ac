import { CloudError } from './errors.js';

/** `work`, or `interrupted` as soon as the signal aborts; the work itself goes on for others, and may fail unheard. */
export function raceAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(new CloudError('interrupted', 'interrupted'));
    signal.addEventListener('abort', aborted, { once: true });
    if (signal.aborted) aborted();
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', aborted));
  });
}
