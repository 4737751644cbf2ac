// Contents after a kill or a power cut.

import { isCloudError } from '../errors.js';
import { countedBytes, remoteSizeOf } from './active_content.js';
import { ExtentSet } from './content/extents.js';
import type { ContentsOptions } from './contents.js';
import type { PreviousEnd } from './metadata/database.js';
import { Dirty, type NodeRecord } from './metadata/node.js';

type RecoveryOptions = Pick<ContentsOptions, 'store' | 'files' | 'log' | 'mirror' | 'space' | 'tree'>;

/** After a start that followed no good end, before anything else: records and content files are brought in line. A
 * killed process loses nothing that was written, so its last writes are taken over as the content files show them. After
 * a power cut only what the records claim was synced, so only that counts. */
export function recoverContents(o: RecoveryOptions, end: PreviousEnd): void {
  if (end === 'clean' || end === 'none') return;
  for (const node of o.store.withDirtyContent()) {
    if (node.fingerprint !== null) continue; // closed in good order: its fingerprint and sums say more
    try {
      o.store.transaction(() => reclaim(o, node, end));
    } catch (error) {
      if (isCloudError(error, 'no_space')) throw error; // the start that finds room does it
      o.log.warn({ err: error, ino: node.ino, name: node.name }, 'content of a crash could not be looked at');
    }
  }
}

function reclaim(o: RecoveryOptions, node: NodeRecord, end: 'killed' | 'power_cut'): void {
  const claims = ExtentSet.parse(node.extents);
  const there = o.files.has(node.ino, node.gen);
  if (!there && !claims.isEmpty) return; // reported when it is opened, and by check
  if (there && end === 'killed') takeFromOthers(o, node);
  const file = there ? o.files.open(node.ino, node.gen, { create: false }) : null;
  try {
    if (node.cutting && node.cut_bytes !== null && (file?.stat().size_bytes ?? 0) > node.cut_bytes) {
      file?.truncate(node.cut_bytes); // what it was asked for; its holes are no zeros
    }
    node.cutting = false;
    const stored = file?.stat().size_bytes ?? 0;
    if (stored < claims.end) return; // the same
    const theirs = Math.min(node.size_bytes, remoteSizeOf(node));
    if (end === 'killed' && file !== null) {
      const kept = Math.min(theirs, stored);
      for (const gap of claims.missing(kept, stored)) claims.insertDirty(gap.start, gap.end);
      node.size_bytes = stored;
    } else {
      node.size_bytes = Math.max(theirs, claims.end);
    }
    if (end === 'power_cut' && node.torn && node.base !== null && !claims.isDirty) {
      // Emptied for new content that never reached the disk: the version before is better than nothing.
      node.size_bytes = node.baseSize_bytes ?? 0;
      node.dirty &= ~(Dirty.content | Dirty.mtime);
      const path = o.mirror().remotePath(node);
      if (path !== null) o.mirror().deferred.add(path); // its time is the server's again
      o.log.warn({ ino: node.ino, name: node.name }, 'the power went before new content was stored: back to old');
    }
    node.torn = false;
    if (file !== null) {
      // What no record claims must not show up in a hole later.
      if (stored !== node.size_bytes) file.truncate(node.size_bytes);
      for (const gap of claims.missing(0, node.size_bytes)) file.punchHole(gap.start, gap.end);
    }
    const cached_bytes = countedBytes(file?.stat().allocated_bytes ?? 0, claims);
    if (cached_bytes > node.cached_bytes) o.space().charge(cached_bytes - node.cached_bytes);
    else o.space().refund(node.cached_bytes - cached_bytes);
    node.cached_bytes = cached_bytes;
    node.extents = claims.isEmpty ? null : claims.serialise();
    node.sums = null;
    o.tree().changed(node);
  } finally {
    file?.close();
  }
}

/** What a program does through a mount whose daemon is gone must not change what this one has. */
function takeFromOthers(o: RecoveryOptions, { ino, gen, name }: NodeRecord): void {
  try {
    if (o.files.takeFromOthers(ino, gen)) o.log.info({ ino, name }, 'still being written elsewhere');
  } catch (error) {
    o.log.warn({ err: error, ino, name }, 'still being written elsewhere, and could not be copied');
  }
}
