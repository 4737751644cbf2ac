// The upload queue in four numbers.

import type { CacheStatus } from '../cache/cache_api.js';

export interface PendingWork {
  /** Changes that are not on the server yet, failed ones included. */
  readonly changes: number;
  readonly failed: number;
  /** Of file contents. */
  readonly size_bytes: number;
  readonly sent_bytes: number;
}

export function pendingWork(status: Pick<CacheStatus, 'queue'>): PendingWork {
  let failed = 0;
  let size_bytes = 0;
  let sent_bytes = 0;
  for (const item of status.queue) {
    if (item.state === 'failed') failed += 1;
    size_bytes += item.size_bytes;
    sent_bytes += Math.min(item.sent_bytes, item.size_bytes);
  }
  return { changes: status.queue.length, failed, size_bytes, sent_bytes };
}
