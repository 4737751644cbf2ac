// Looks into the cache folder of a drive that is not mounted.

import { openCache } from '../cache/open_cache.js';
import { systemClock } from '../clock.js';
import { CloudError } from '../errors.js';
import { silentLog } from '../log.js';
import { createRemoteOffline } from '../remote/connect.js';
import type { DriveConfig } from './drive_config.js';
import { SavedDescription } from './remote_description.js';
import { unreachableRemote } from './unreachable_remote.js';

/** Every broken invariant. Rejects with `not_found` for an account that was never mounted, `busy` while it is. */
export async function checkClosedCache(
  config: DriveConfig,
  options: { readonly content: boolean },
): Promise<readonly string[]> {
  const saved = await new SavedDescription(config.stateDir, config.url, config.user).load();
  if (saved === null) {
    throw new CloudError('not_found', `checking the cache of ${config.account}: it was never mounted here`);
  }
  const known = createRemoteOffline(saved, { url: config.url, auth: { kind: 'none' } });
  const { displayUrl, capabilities } = known;
  await known.close();
  const cache = await openCache({
    dir: config.cacheDir,
    remote: unreachableRemote(displayUrl, capabilities),
    account: { name: config.account, user: 'check', host: 'localhost' },
    ...(config.identity === null ? {} : { identity: config.identity }),
    sizeLimit_bytes: config.cacheSize_bytes,
    minFree_bytes: 0,
    dirCacheTime_ms: config.dirCacheTime_ms,
    timeout_ms: config.timeout_ms,
    quiet_ms: config.quiet_ms,
    readOnly: true,
    writeThrough: false,
    log: silentLog,
    clock: systemClock,
  });
  try {
    return await cache.check(options);
  } finally {
    await cache.close();
  }
}
