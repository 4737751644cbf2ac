// What is here beside what the server has: the same bytes? And what becomes of a part without its whole.

import { CloudError } from '../../errors.js';
import type { RemoteEntry } from '../../remote/remote.js';
import { type ActiveContent, fitsWith } from '../active_content.js';
import { lengthOf } from '../content/extents.js';
import type { NodeRecord } from '../metadata/node.js';
import { Outgoing } from './outgoing.js';
import { COMPARE_LIMIT_BYTES, sha256Of } from './sent.js';
import type { UploadServices } from './upload.js';

/** Are the server's bytes the ones we have? By checksum where the server knows one, else by reading them. */
export async function sameContent(
  node: NodeRecord,
  entry: RemoteEntry,
  services: UploadServices,
  signal: AbortSignal,
): Promise<boolean> {
  const { contents, remote } = services;
  if (entry.kind !== 'file' || entry.size_bytes !== node.size_bytes || !contents.isComplete(node)) return false;
  const content = await contents.acquire(node);
  try {
    const stillSame = content.snapshot();
    const theirs = sha256Of(entry);
    if (theirs !== null) {
      const mine = await new Outgoing(content, entry.size_bytes, stillSame, signal).sha256();
      return theirs === mine && stillSame();
    }
    if (entry.size_bytes > COMPARE_LIMIT_BYTES) return false;
    let same = true;
    await remote.read(
      entry.path,
      { start: 0, end: entry.size_bytes },
      entry.etag,
      async (chunk, offset) => {
        if (!same) return;
        const theirs = Buffer.from(chunk); // it is not ours after the first await
        const mine = await content.file.readAsync(offset, chunk.length).catch((error: unknown) => {
          if (stillSame()) throw error;
          return null;
        });
        same = mine !== null && theirs.equals(mine);
      },
      { signal },
    );
    return same && stillSame();
  } finally {
    contents.release(content);
  }
}

/** A dirty file of which only parts are here, while the version it was based on is gone: the parts nobody changed here
 * come from the server's new version, also where the old one's are here (where the new one is shorter these stay, and what
 * is not here is zeros). Rejects with `no_space` where there is no room for them. */
export async function completeFrom(
  node: NodeRecord,
  entry: RemoteEntry,
  services: UploadServices,
  signal: AbortSignal,
): Promise<void> {
  const { contents, remote } = services;
  const content = await contents.acquire(node);
  let giveBack = () => {};
  content.completing = true;
  try {
    const missing_bytes = lengthOf(content.extents.missing(0, Math.min(node.size_bytes, entry.size_bytes)));
    requireRoom(content, missing_bytes, contents.limit_bytes);
    giveBack = await contents.room(missing_bytes, signal);
    const gaps = content.extents.notDirty(0, node.size_bytes);
    for (const gap of gaps) {
      const end = Math.min(gap.end, entry.size_bytes);
      if (end > gap.start) {
        await remote.read(
          entry.path,
          { start: gap.start, end },
          entry.etag,
          (chunk, offset) => {
            // It may have been cut meanwhile: what lies behind its end would show when it grows again.
            const last = Math.min(offset + chunk.length, content.size_bytes);
            for (const free of content.extents.notDirty(offset, Math.max(offset, last))) {
              content.extents.remove(free.start, free.end);
              content.sums.forget(free.start, free.end);
              content.file.write(free.start, chunk.subarray(free.start - offset, free.end - offset));
            }
          },
          { signal },
        );
      }
    }
    // Not before all of it is here: if that ends in the middle, what follows may be of yet another version.
    for (const gap of gaps) {
      const end = Math.max(gap.start, Math.min(gap.end, content.size_bytes));
      for (const rest of content.extents.missing(gap.start, end)) {
        content.file.punchHole(Math.max(rest.start, entry.size_bytes), rest.end); // of an attempt that ended
        content.extents.insertDirty(rest.start, rest.end);
      }
    }
    content.unsaved = true;
    await contents.save(content);
  } finally {
    content.completing = false;
    giveBack(); // the save has counted what is there now
    contents.release(content);
  }
}

/** What is fetched for a changed file cannot go before that is sent: where it does not fit at all, it would only take the
 * room of all others. */
export function requireRoom(content: ActiveContent, missing_bytes: number, limit_bytes: number): void {
  if (fitsWith(content, missing_bytes, limit_bytes)) return;
  throw new CloudError(
    'no_space',
    `sending "${content.node.name}": only a part of it is here, and the other ${missing_bytes} bytes, which are sent with it, do ` +
      `not fit into the cache of ${limit_bytes} bytes. Mount with a larger one, or "cloudmount discard" the change`,
  );
}

/** A file that was changed here while only a part of it was here, and whose version on the server is gone. */
export function lostParts(node: NodeRecord): CloudError {
  return new CloudError(
    'stale',
    `sending "${node.name}": it was removed or replaced on the server while only a part of it was here; the changed parts are kept, ` +
      'the others are lost unless somebody has a copy. Write the file anew, or "cloudmount discard" it',
  );
}
