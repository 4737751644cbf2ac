// Sizes and times as people write and read them.

import { LONGEST_TIMER_MS } from '../../src/clock.js';
import { CloudError } from '../../src/errors.js';

const UNITS = ['', 'K', 'M', 'G', 'T', 'P'] as const;

/** `10G`, `500M`, `1.5GiB`, `4096`: powers of 1024. Throws `invalid`. */
export function parseSize(text: string, what: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:i?B)?$/i.exec(text.trim());
  const power = match === null ? -1 : UNITS.findIndex((unit) => unit === (match[2] ?? '').toUpperCase());
  const bytes = match === null ? Number.NaN : Math.round(Number(match[1]) * 1024 ** power);
  if (!Number.isSafeInteger(bytes)) {
    throw new CloudError('invalid', `${what}: expected a size like 500M, 10G or 4096 (bytes), found "${text}"`);
  }
  return bytes;
}

/** `1.5 GiB`, `12 B`. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let power = 0;
  // What rounds to 1024 is one of the next.
  while (value >= (power === 0 ? 1024 : 1023.5) && power < UNITS.length - 1) {
    value /= 1024;
    power += 1;
  }
  return power === 0 ? `${bytes} B` : `${value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${UNITS[power]}iB`;
}

/** Seconds, with an optional unit: `30`, `1.5`, `200ms`, `5m`, `2h`. Returns milliseconds. Throws `invalid`. */
export function parseDuration(text: string, what: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|)$/.exec(text.trim());
  const factor = { ms: 1, s: 1000, '': 1000, m: 60_000, h: 3_600_000 }[match?.[2] ?? ''] ?? Number.NaN;
  const ms = match === null ? Number.NaN : Math.round(Number(match[1]) * factor);
  if (!Number.isSafeInteger(ms)) {
    throw new CloudError('invalid', `${what}: expected seconds like 20, 0.5, or 200ms, 5m, 1h, found "${text}"`);
  }
  if (ms > LONGEST_TIMER_MS)
    throw new CloudError('invalid', `${what}: at most 24 days (576h) are possible, found "${text}"`);
  return ms;
}

/** `just now`, `5 min ago`, `3 h ago`, `2 days ago`. */
export function formatAge(epoch_ms: number, now_ms: number): string {
  const s = Math.max(0, (now_ms - epoch_ms) / 1000);
  if (s < 60) return 'just now';
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 2 * 86_400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86_400)} days ago`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
