// What the server says of a node, held against what is known of it here.

import type { Timestamp } from '../clock.js';
import { isCertain, type LockInfo, type RemoteEntry } from '../remote/remote.js';
import { Dirty, type NodeRecord } from './metadata/node.js';

/** Does `entry` say nothing about this file that we do not know already, its rights aside? */
export function saysNothingNew(entry: RemoteEntry, node: NodeRecord): boolean {
  if (node.kind !== 'file' || entry.kind !== 'file' || node.limbo !== 'none') return false;
  if (!isCertain(entry.etag) || entry.etag !== node.baseEtag || entry.fileid !== node.fileid) return false;
  if (entry.size_bytes !== node.baseSize_bytes || entry.checksum !== node.checksum) return false;
  if ((entry.lock !== null && entry.lockRoot === undefined) || node.lockInfo !== null || entry.shared !== node.shared)
    return false;
  if (entry.xattrs.size > 0 || node.xattrs !== null) return false;
  const { mode, uid, gid } = entry.posix;
  const mtime = entry.posix.mtime ?? entry.mtime;
  const timeIsOurs = (node.dirty & (Dirty.mtime | Dirty.content)) !== 0;
  if (!timeIsOurs && (mtime.s !== node.mtime.s || mtime.ns !== node.mtime.ns)) return false;
  if ((node.dirty & Dirty.mode) === 0 && mode !== undefined && mode !== node.mode) return false;
  if ((node.dirty & Dirty.owner) !== 0) return true;
  return (uid ?? node.uid) === node.uid && (gid ?? node.gid) === node.gid;
}

/** What the kernel shows of a node, apart from its content: rights and locks are part of the mode. */
export function shownOf({ mode, uid, gid, mtime, rightsBits, lock }: NodeRecord): string {
  return `${mode} ${uid} ${gid} ${mtime.s}.${mtime.ns} ${rightsBits} ${lock}`;
}

/** May `occupant` of a slot be the node that `entry` describes? */
export function sameIdentity(occupant: NodeRecord, entry: RemoteEntry): boolean {
  return occupant.fileid === null || entry.fileid === null || occupant.fileid === entry.fileid;
}

/** Is `entry` for certain not the version, or the thing, that `node` is? Where the server tells no identity the version
 * must do: of what is to be `known` by it, any other is another. */
export function isAnother(node: NodeRecord, entry: RemoteEntry, known = true): boolean {
  if (entry.kind !== node.kind) return true;
  if (entry.fileid !== null && node.fileid !== null) return !sameIdentity(node, entry);
  return known && node.kind === 'file' && isCertain(node.baseEtag) && entry.etag !== node.baseEtag;
}

/** The same content? ETags compare without the weakness flag: Apache's become strong when the file is two seconds old. */
export function sameVersion(mine: string | null, theirs: string | null, node: NodeRecord, entry: RemoteEntry): boolean {
  if (mine !== null && theirs !== null) return opaque(mine) === opaque(theirs);
  const sameSize = node.baseSize_bytes === entry.size_bytes;
  return sameSize && node.mtime.s === entry.mtime.s;
}

function opaque(etag: string): string {
  return etag.startsWith('W/') ? etag.slice(2) : etag;
}

/** The lock on the node itself. One of a folder above is that folder's; one that we know to be ours stays ours when a
 * listing shows it without saying so. */
export function ownLock(mine: LockInfo | null, { lock, lockRoot }: RemoteEntry): LockInfo | null {
  if (lock === null || lockRoot !== undefined) return null;
  if (mine?.mine !== true) return lock;
  if (lock.token !== null && mine.token !== null && lock.token !== mine.token) return lock;
  const { elsewhere: _, ...told } = lock;
  return {
    ...told,
    mine: true,
    token: mine.token,
    ...(mine.auto === true ? { auto: true } : {}),
    ...(mine.elsewhere === true ? { elsewhere: true } : {}),
  };
}

/** Some servers answer 1970 for what they do not know. */
export function usable(wanted: Timestamp, known: Timestamp): Timestamp {
  return wanted.s > 0 || known.s <= 0 ? wanted : known;
}
