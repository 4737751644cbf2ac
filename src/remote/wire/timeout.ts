// Timeout header of LOCK (RFC 4918 section 10.7): `Second-N` or `Infinite`, in the client's order of preference.

export type LockTimeout = number | 'infinite';

/** Seconds; the first value that is understood, null when there is none. */
export function parseTimeout(header: string | undefined | null): LockTimeout | null {
  for (const raw of (header ?? '').split(',')) {
    const value = raw.trim();
    if (/^infinite$/i.test(value)) return 'infinite';
    const seconds = /^second-(\d{1,10})$/i.exec(value)?.[1];
    if (seconds !== undefined) return Number(seconds);
  }
  return null;
}

export function formatTimeout(timeout: LockTimeout): string {
  return timeout === 'infinite' ? 'Infinite' : `Second-${Math.max(0, Math.floor(timeout))}`;
}
