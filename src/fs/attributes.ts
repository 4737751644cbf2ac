// What stat(2) shows of a node: stored attributes where the server holds them, the mount's defaults where not, and the
// rights and locks of the server as permission bits. A process that ignores bits (root) meets the same refusal in
// `access_rules.ts`.

import type { NodeView } from '../cache/cache_api.js';
import { PERMISSION_BITS, S_IFDIR, S_IFLNK, S_IFREG } from './wire/flags.js';
import type { FileAttr } from './wire/ops.js';

export interface AttributePolicy {
  /** Shown where nothing is stored, or for everything if `storedOwners` is false. */
  readonly uid: number;
  readonly gid: number;
  /** Permission bits where none are stored. */
  readonly fileMode: number;
  readonly dirMode: number;
  /** Show stored owners. Only where the kernel may act on them, that is on a privileged mount. */
  readonly storedOwners: boolean;
}

const WRITE_BITS = 0o222;
const READ_BITS = 0o444;

export function fileAttr(node: NodeView, policy: AttributePolicy): FileAttr {
  const stored = policy.storedOwners;
  return {
    ino: node.ino,
    size_bytes: node.size_bytes,
    atime: node.atime,
    mtime: node.mtime,
    ctime: node.ctime,
    mode: modeOf(node, policy),
    nlink: node.nlink,
    uid: stored ? (node.uid ?? policy.uid) : policy.uid,
    gid: stored ? (node.gid ?? policy.gid) : policy.gid,
  };
}

/** Type and permission bits as shown. */
export function modeOf(node: NodeView, policy: AttributePolicy): number {
  switch (node.kind) {
    case 'symlink':
      return S_IFLNK | 0o777;
    case 'dir': {
      const { createFile, createDir, read } = node.rights;
      const mayChange = (createFile || createDir) && node.lock !== 'other';
      return S_IFDIR | masked(node.mode ?? policy.dirMode, mayChange, read);
    }
    case 'file': {
      const mayWrite = node.rights.write && node.lock !== 'other';
      return S_IFREG | masked(node.mode ?? policy.fileMode, mayWrite, node.rights.read);
    }
  }
}

function masked(mode: number, mayWrite: boolean, mayRead: boolean): number {
  let bits = mode & PERMISSION_BITS;
  if (!mayWrite) bits &= ~WRITE_BITS;
  if (!mayRead) bits &= ~READ_BITS;
  return bits;
}

/** `S_IFMT >> 12`, as directory entries carry it. */
export function direntType(node: NodeView): number {
  return (node.kind === 'dir' ? S_IFDIR : node.kind === 'symlink' ? S_IFLNK : S_IFREG) >> 12;
}
