// Whom one can share with, as the account's server finds them by a part of the name.

import type { OcsClient } from './ocs_client.js';

export interface Recipient {
  readonly kind: 'user' | 'group';
  readonly name: string;
}

interface Sharee {
  readonly value: { readonly shareType: number; readonly shareWith: string };
}

interface Lists {
  readonly users?: readonly Sharee[];
  readonly groups?: readonly Sharee[];
}

/** `anna`, `@crew` -> who is meant. */
export function recipientOf(text: string): Recipient {
  return text.startsWith('@') ? { kind: 'group', name: text.slice(1) } : { kind: 'user', name: text };
}

/** Names of that kind with `part` in them, whole matches first; at most 50. */
export async function searchSharees(client: OcsClient, { kind, name }: Recipient): Promise<readonly string[]> {
  const found = (await client.call('GET', 'files_sharing/api/v1/sharees', {
    search: name,
    itemType: 'file',
    perPage: '50',
  })) as Lists & { readonly exact?: Lists };
  const list = kind === 'group' ? 'groups' : 'users';
  return [...(found.exact?.[list] ?? []), ...(found[list] ?? [])].map(({ value }) => value.shareWith);
}
