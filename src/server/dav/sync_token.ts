// Sync tokens (RFC 6578 section 3.2: a URI, opaque to clients): the history they belong to, the collection they were
// given for, and the place in the feed.

import type { FeedCursor, NodeId } from '../storage/metadata/metadata_store.js';

const TOKEN = /^urn:cloudmount:sync:([0-9a-z]+):(\d{1,16}):(\d{1,16})(?::(\d{1,16}))?$/;

export function formatSyncToken(epoch: string, collectionId: NodeId, cursor: FeedCursor): string {
  const listing = cursor.listedFrom === null ? '' : `:${cursor.listedFrom}`;
  return `urn:cloudmount:sync:${epoch}:${collectionId}:${cursor.seq}${listing}`;
}

/** Null when it is no token of this history for this collection. */
export function parseSyncToken(token: string, epoch: string, collectionId: NodeId): FeedCursor | null {
  const match = TOKEN.exec(token.trim());
  if (match === null || match[1] !== epoch || Number(match[2]) !== collectionId) return null;
  return { seq: Number(match[3]), listedFrom: match[4] === undefined ? null : Number(match[4]) };
}
