// A server that changed its address leaves caches behind that are of the old one. Whoever mounts it at a new address for the
// first time is told of what waits there.

import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describeUnsent, unsentIn } from '../../src/cache/unsent.js';
import type { DriveConfig } from '../../src/daemon/drive_config.js';
import { runningMounts } from '../../src/daemon/mount_registry.js';
import type { UserDirs } from '../../src/daemon/user_dirs.js';

export interface StrandedCache {
  readonly dir: string;
  /** Of the files it is of. */
  readonly url: string;
  /** What waits, in words. */
  readonly unsent: string;
}

/** Caches with unsent changes that no drive uses, before the first mount with the cache folder of `config`. */
export async function strandedCaches(
  { cacheDir }: Pick<DriveConfig, 'cacheDir'>,
  dirs: UserDirs,
): Promise<readonly StrandedCache[]> {
  if (existsSync(join(cacheDir, 'metadata.db'))) return [];
  const inUse = new Set((await runningMounts(dirs)).map((mount) => mount.cacheDir));
  const home = join(dirs.data, 'cache');
  const found: StrandedCache[] = [];
  for (const name of await readdir(home).catch(() => [])) {
    const dir = join(home, name);
    if (inUse.has(dir)) continue;
    const known = unsentIn(dir);
    const unsent = known === null ? null : describeUnsent(known);
    // "work@https://cloud.example.org/dav/files/anna/"; that of a server of `up` names no address.
    const url = /@(https?:\/\/.*)$/.exec(known?.belongsTo ?? '')?.[1];
    if (unsent !== null && url !== undefined) found.push({ dir, url, unsent });
  }
  return found;
}

/** The same files of the same user, as far as addresses can tell, behind another name or port. */
export function isSamePlace(one: string, other: string): boolean {
  if (!URL.canParse(one) || !URL.canParse(other)) return false;
  const [a, b] = [new URL(one), new URL(other)];
  return a.origin !== b.origin && a.pathname === b.pathname;
}
