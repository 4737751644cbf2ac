// Media types by name: what is stored is the bytes, the type follows the extension.

import { extname } from 'node:path';
import { lookup } from 'mime-types';
import type { NodeRecord } from '../storage/metadata/metadata_store.js';

export const SYMLINK_TYPE = 'inode/symlink';

const FALLBACK = 'application/octet-stream';
const MAX_CACHED = 2000;
const cache = new Map<string, string>();

export function contentTypeOf(node: Pick<NodeRecord, 'name' | 'kind'>): string {
  if (node.kind === 'symlink') return SYMLINK_TYPE;
  if (node.kind === 'dir') return 'httpd/unix-directory';
  const extension = extname(node.name).toLowerCase();
  if (extension === '') return FALLBACK;
  let type = cache.get(extension);
  if (type === undefined) {
    type = lookup(extension) || FALLBACK;
    if (cache.size >= MAX_CACHED) cache.clear();
    cache.set(extension, type);
  }
  return type;
}
