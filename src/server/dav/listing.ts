// Walks collections page by page and writes one `<d:response>` per node. Short listings run inside one `read` and are sent
// whole; long ones are streamed out of a snapshot, so that their memory is that of one page and a rename in the middle
// can neither hide nor double an entry.

import { CloudError } from '../../errors.js';
import type { Name } from '../../ids.js';
import { encodeSegment } from '../../names.js';
import type { MetadataRead, NodeRecord } from '../storage/metadata/metadata_store.js';
import type { DavRequest } from './context.js';
import type { PropertyPage, PropertyPlan } from './properties.js';
import { FLUSH_CHARS, type TextStream } from './reply.js';

export const PAGE_NODES = 1000;

/** Text of an answer that is gathered at most before it goes out, or the answer is made another way: clients may ask for
 * much of each entry, or have stored it there. */
export const PAGE_CHARS = 8 << 20;

export interface Listing {
  readonly tx: MetadataRead;
  readonly plan: PropertyPlan;
  readonly page: PropertyPage;
  readonly out: TextStream;
  /** By `performance.now`. */
  readonly began_ms: number;
}

export async function writeNode(listing: Listing, href: string, node: NodeRecord): Promise<void> {
  await listing.page.load([node]);
  listing.out.write(listing.plan.response(href, node, listing.page));
}

/** One page already read. `base` is the collection's address, slash at its end. `isFull` is called whenever `PAGE_CHARS`
 * are gathered; when it resolves to true the page is left as it is. */
export async function writePage(
  listing: Listing,
  base: string,
  nodes: readonly NodeRecord[],
  isFull: () => Promise<boolean>,
): Promise<void> {
  const { page, plan, out } = listing;
  for (const part of page.inParts(nodes)) {
    await page.load(part);
    for (const node of part) {
      if (!page.mayRead(node)) continue;
      const segment = encodeSegment(node.name);
      out.write(plan.response(node.kind === 'dir' ? `${base}${segment}/` : base + segment, node, page));
      if (out.gathered_chars >= PAGE_CHARS && (await isFull())) return;
    }
  }
}

/** The same, to a client that reads, and fast enough. */
async function sendPage(
  { services }: DavRequest,
  listing: Listing,
  base: string,
  nodes: readonly NodeRecord[],
): Promise<void> {
  const { out } = listing;
  const send = async () => {
    await out.flush();
    const { listing_ms, listingHeldUp_ms } = services.limits;
    const took_ms = performance.now() - listing.began_ms;
    if (took_ms > listing_ms || (took_ms > listingHeldUp_ms && services.metadata.isHeldUp())) {
      throw new CloudError('timeout', 'listing: the client reads too slowly, it takes too long');
    }
  };
  await writePage(listing, base, nodes, async () => {
    await send();
    return false;
  });
  if (out.gathered_chars >= FLUSH_CHARS) await send();
}

/** All members, and with `deep` all that is below, each collection before its members. Awaits the client. */
export async function streamMembers(
  request: DavRequest,
  listing: Listing,
  collection: NodeRecord,
  base: string,
  deep: boolean,
): Promise<void> {
  const { tx } = listing;
  let after: Name | null = null;
  for (;;) {
    request.ctx.signal?.throwIfAborted();
    const nodes: readonly NodeRecord[] = await tx.children(collection, after, PAGE_NODES, listing.plan.detail);
    if (deep) await streamDeep(request, listing, nodes, base);
    else await sendPage(request, listing, base, nodes);
    if (nodes.length < PAGE_NODES) return;
    after = nodes.at(-1)?.name ?? null;
  }
}

async function streamDeep(
  request: DavRequest,
  listing: Listing,
  nodes: readonly NodeRecord[],
  base: string,
): Promise<void> {
  await sendPage(request, listing, base, nodes);
  for (const node of nodes) {
    if (node.kind !== 'dir' || !listing.page.mayRead(node)) continue;
    await streamMembers(request, listing, node, `${base}${encodeSegment(node.name)}/`, true);
  }
}
