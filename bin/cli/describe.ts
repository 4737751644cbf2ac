// Daemon answers in words.

import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { PathStatus, QueueItem } from '../../src/cache/cache_api.js';
import { formatTime } from '../../src/clock.js';
import type { DriveStatus } from '../../src/daemon/drive_methods.js';
import type { RunningMount } from '../../src/daemon/mount_registry.js';
import type { PendingWork } from '../../src/daemon/pending_work.js';
import { printable } from './output.js';
import { formatAge, formatSize, plural } from './sizes.js';

const QUEUE_SHOWN = 10;

export function describePending(pending: PendingWork): string {
  if (pending.changes === 0) return 'everything is on the server';
  const bytes = pending.size_bytes > 0 ? ` (${formatSize(pending.size_bytes)})` : '';
  const failed = pending.failed > 0 ? `, ${pending.failed} of them failed` : '';
  return `${plural(pending.changes, 'change')}${bytes} not on the server yet${failed}`;
}

export function describeDrive(status: DriveStatus, now_ms: number): string {
  const { cache } = status;
  const connection =
    cache.connectionError === null ? cache.connection : `${cache.connection}: ${printable(cache.connectionError)}`;
  const lines = [
    printable(status.mountPoint),
    `  account     ${status.account}, ${status.url} (${status.dialect})${status.readOnly ? ', read-only' : ''}`,
    `  connection  ${connection}${cache.connection === 'online' ? (cache.pushed ? ', changes are pushed' : ', changes are polled') : ''}`,
    `  queue       ${describePending(status.pending)}`,
    ...status.queue.slice(0, QUEUE_SHOWN).map((item) => `    ${describeItem(item, now_ms)}`),
    ...(status.pending.changes > QUEUE_SHOWN ? [`    … and ${status.pending.changes - QUEUE_SHOWN} more`] : []),
    `  cache       ${formatSize(cache.cacheUsed_bytes)} of ${formatSize(cache.cacheLimit_bytes)} in ${printable(status.cacheDir)}`,
    `  tree        ${plural(cache.nodes, 'entry', 'entries')}, ${cache.pinned} pinned`,
  ];
  if (!cache.inPlace) {
    const first =
      status.pending.changes === 0 ? '' : 'have what waits sent (cloudmount flush --wait) or copy it elsewhere, ';
    lines.push(
      '  cache lost  the cache folder was removed or replaced while the drive uses it: nothing is kept there',
      `  what to do  ${first}then unmount and mount again, or put the folder back`,
    );
  }
  if (cache.connection === 'unauthorized') lines.push(`  login       ${loginAgain(status)}`);
  if (cache.quota !== null) {
    const free = cache.quota.available_bytes === null ? '' : `, ${formatSize(cache.quota.available_bytes)} free`;
    const when = cache.connection === 'online' ? '' : ' (when it last answered)';
    lines.push(`  server      ${formatSize(cache.quota.used_bytes)} used${free}${when}`);
  }
  if (cache.conflicts > 0) lines.push(`  conflicts   ${cache.conflicts}: cloudmount conflicts`);
  lines.push(`  log         ${printable(status.logFile)}`);
  return lines.join('\n');
}

/** What to do about a login that the server does not accept any more. */
export function loginAgain({ account, url }: Pick<DriveStatus, 'account' | 'url'>): string {
  return `log in again: cloudmount login ${url} --name ${account} (a running drive takes the new login over)`;
}

/** Of a drive whose process lives and does not say how it is. */
export function describeSilence({ mountPoint, account, url, pid, logFile }: RunningMount, why: string): string {
  return [
    printable(mountPoint),
    `  account     ${printable(account)}, ${printable(url)}`,
    `  connection  does not answer (process ${pid}): ${printable(why)}`,
    `  what to do  wait, or end it: cloudmount unmount --force '${printable(mountPoint)}' (unsent changes are kept)`,
    `  log         ${printable(logFile)}`,
  ].join('\n');
}

/** Of a drive that ended without being unmounted. */
export function describeDeath({ account, mountPoint, logFile, pid, startedAt }: RunningMount): string {
  const words = join(dirname(logFile), 'drive.stderr');
  const found = statSync(words, { throwIfNoEntry: false });
  const said = found !== undefined && found.size > 0 && found.mtimeMs >= Date.parse(startedAt);
  return [
    `${printable(mountPoint)}: the drive of ${printable(account)} ended without being unmounted (process ${pid}: it crashed or was killed).`,
    '  What was in it is kept; unsent changes go out after the next mount.',
    `  log         ${printable(logFile)}`,
    ...(said ? [`  last words  ${printable(words)}`] : []),
  ].join('\n');
}

function describeItem(item: QueueItem, now_ms: number): string {
  const share =
    item.state === 'running' && item.size_bytes > 0
      ? ` ${Math.floor((100 * item.sent_bytes) / item.size_bytes)} %`
      : '';
  const error = item.error === null ? '' : `: ${printable(item.error)} (${plural(item.attempts, 'attempt')})`;
  return `${item.operation} ${printable(item.path)}, ${item.state}${share}, ${formatAge(item.sinceEpoch_ms, now_ms)}${error}`;
}

const STATUS_WORDS: Readonly<Record<PathStatus['status'], string>> = {
  cloud: 'on the server only',
  partial: 'partly here',
  cached: 'here and on the server',
  dirty: 'changed here, not on the server yet',
  uploading: 'being uploaded',
  failed: 'changed here, the upload failed',
  conflict: 'in conflict with the version on the server',
};

export function describePath(mountPoint: string, status: PathStatus): string {
  const files = status.files === undefined ? '' : ` in ${plural(status.files, 'file')}`;
  // A folder itself is always here: what counts is what is in it.
  const isElsewhere = status.kind === 'dir' && status.status === 'cached' && status.cached_bytes < status.size_bytes;
  const lines = [
    printable(join(mountPoint, status.path)),
    `  status  ${isElsewhere ? 'on the server' : STATUS_WORDS[status.status]}`,
    `  here    ${formatSize(status.cached_bytes)} of ${formatSize(status.size_bytes)}${files}`,
  ];
  if (status.pin !== 'none') lines.push(`  pin     ${status.pin === 'pinned' ? 'pinned' : 'by a folder above'}`);
  if (status.lock !== null) lines.push(`  lock    ${describeLock(status.lock)}`);
  if (status.error !== null) lines.push(`  error   ${printable(status.error)}`);
  return lines.join('\n');
}

export function describeLock(lock: {
  readonly mine: boolean;
  readonly owner: string;
  readonly sinceEpoch_s: number | null;
  readonly expiresEpoch_s: number | null;
}): string {
  const since = lock.sinceEpoch_s === null ? '' : ` since ${formatTime(lock.sinceEpoch_s * 1000)}`;
  const until = lock.expiresEpoch_s === null ? '' : ` until ${formatTime(lock.expiresEpoch_s * 1000)}`;
  return `${lock.mine ? 'yours' : `held by ${printable(lock.owner)}`}${since}${lock.mine ? '' : until}`;
}
