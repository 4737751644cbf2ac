// Which version is ours? Answers get lost; what was sent is noted before it is sent, so that our own upload is known again
// by its bytes, also after a crash.

import { createHash } from 'node:crypto';
import type { Remote, RemoteEntry } from '../../remote/remote.js';
import type { NodeRecord, Sending } from '../metadata/node.js';
import type { NodeStore } from '../metadata/node_store.js';

/** More is not fetched only to be compared. */
export const COMPARE_LIMIT_BYTES = 256 * 1024 * 1024;
const SENDINGS_KEPT = 8;

/** Before the server is told: what it is told, and where. It is durable when this resolves. */
export function noteSending(node: NodeRecord, sending: Sending, store: NodeStore): Promise<void> {
  return store.recordSoon(() => {
    const last = node.sending.at(-1);
    const known =
      last !== undefined &&
      last.sha256 === sending.sha256 &&
      last.place?.parent === sending.place?.parent &&
      last.place?.name === sending.place?.name;
    if (known) return;
    node.sending = [...node.sending, sending].slice(-SENDINGS_KEPT);
    store.save(node);
  });
}

/** The server's SHA-256 in lower case hex, where it knows one. */
export function sha256Of({ checksum }: RemoteEntry): string | null {
  return checksum?.toUpperCase().startsWith('SHA256:') === true ? checksum.slice(7).toLowerCase() : null;
}

/** Is what the server has something that we sent since the base version, without an answer? By what is known without
 * asking for its bytes. */
export function mayBeSentByUs(node: NodeRecord, entry: RemoteEntry): 'yes' | 'no' | 'maybe' {
  if (entry.kind !== 'file') return 'no';
  const candidates = node.sending.filter(
    ({ sha256, size_bytes }) => sha256 !== null && size_bytes === entry.size_bytes,
  );
  if (candidates.length === 0) return 'no';
  const theirs = sha256Of(entry);
  if (theirs === null) return 'maybe';
  return candidates.some(({ sha256 }) => sha256 === theirs) ? 'yes' : 'no';
}

/** The same, for certain: its bytes are read where the server knows no checksum. */
export async function wasSentByUs(
  node: NodeRecord,
  entry: RemoteEntry,
  remote: Remote,
  signal: AbortSignal,
): Promise<boolean> {
  const known = mayBeSentByUs(node, entry);
  if (known !== 'maybe') return known === 'yes';
  if (entry.size_bytes > COMPARE_LIMIT_BYTES) return false;
  const hash = createHash('sha256');
  await remote.read(
    entry.path,
    { start: 0, end: entry.size_bytes },
    entry.etag,
    (chunk) => {
      hash.update(chunk);
    },
    { signal },
  );
  const theirs = hash.digest('hex');
  return node.sending.some(({ sha256 }) => sha256 === theirs);
}

/** Did we make it, without having had the answer? */
export async function isOurs(
  node: NodeRecord,
  entry: RemoteEntry,
  remote: Remote,
  signal: AbortSignal,
): Promise<boolean> {
  if (entry.kind !== node.kind) return false;
  if (node.kind === 'symlink') return entry.symlinkTarget === node.symlinkTarget;
  if (node.kind === 'file') return wasSentByUs(node, entry, remote, signal);
  // Nothing was put into it before it was known to be there: with members it is somebody else's.
  for await (const batch of remote.list(entry.path, { signal })) {
    if (batch.some((member) => member.path !== entry.path)) return false;
  }
  return true;
}
