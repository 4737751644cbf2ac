// The user document of OCS: who is logged in, and how much space there is.

import type { User } from '../accounts/account_store.js';
import type { MetadataStore } from '../storage/metadata/metadata_store.js';

/** How Nextcloud's clients are told "no limit". */
const UNLIMITED = -3;

export async function ocsUser(metadata: MetadataStore, user: User): Promise<object> {
  const usage = await metadata.read(async (tx) => {
    const root = await tx.root(user.id);
    return root === null ? { used_bytes: 0, quota_bytes: user.quota_bytes } : tx.usage(root.id);
  });
  const { used_bytes, quota_bytes } = usage;
  const free = quota_bytes === null ? UNLIMITED : Math.max(0, quota_bytes - used_bytes);
  return {
    id: user.name,
    enabled: !user.isDisabled,
    'display-name': user.displayName,
    displayname: user.displayName,
    email: null,
    groups: user.isAdmin ? ['admin'] : [],
    quota: {
      free,
      used: used_bytes,
      total: quota_bytes ?? UNLIMITED,
      relative: quota_bytes === null || quota_bytes === 0 ? 0 : Math.round((used_bytes / quota_bytes) * 10_000) / 100,
      quota: quota_bytes ?? UNLIMITED,
    },
  };
}
