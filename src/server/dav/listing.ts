// Walks collections page by page and writes one `<d:response>` per node. Short listings run inside one `read` and are sent
// whole; long ones are streamed out of a snapshot, so that their memory is that of one page and a rename in the middle
// can neither hide nor double an entry.

import type { Name } from '../../ids.js';
import { encodeSegment } from '../../names.js';
import type { MetadataRead, NodeRecord } from '../storage/metadata/metadata_store.js';
import type { DavRequest } from './context.js';
import type { PropertyPage, PropertyPlan } from './properties.js';
import type { TextStream } from './reply.js';

export const PAGE_NODES = 1000;

export interface Listing {
  readonly tx: MetadataRead;
  readonly plan: PropertyPlan;
  readonly page: PropertyPage;
  readonly out: TextStream;
}

export async function writeNode(listing: Listing, href: string, node: NodeRecord): Promise<void> {
  await listing.page.load([node]);
  listing.out.write(listing.plan.response(href, node, listing.page));
}

/** One page already read. `base` is the collection's address, slash at its end. */
export async function writePage(listing: Listing, base: string, nodes: readonly NodeRecord[]): Promise<boolean> {
  const { page, plan, out } = listing;
  await page.load(nodes);
  let full = false;
  for (const node of nodes) {
    if (!page.mayRead(node)) continue;
    const segment = encodeSegment(node.name);
    full = out.write(plan.response(node.kind === 'dir' ? `${base}${segment}/` : base + segment, node, page));
  }
  return full;
}

/** All members, and with `deep` all that is below, each collection before its members. Awaits the client. */
export async function streamMembers(
  request: DavRequest,
  listing: Listing,
  collection: NodeRecord,
  base: string,
  deep: boolean,
): Promise<void> {
  const { tx, out } = listing;
  let after: Name | null = null;
  for (;;) {
    request.ctx.signal?.throwIfAborted();
    const nodes: readonly NodeRecord[] = await tx.children(collection, after, PAGE_NODES, listing.plan.detail);
    if (deep) {
      await streamDeep(request, listing, nodes, base);
    } else if (await writePage(listing, base, nodes)) {
      await out.flush();
    }
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
  if (await writePage(listing, base, nodes)) await listing.out.flush();
  for (const node of nodes) {
    if (node.kind !== 'dir' || !listing.page.mayRead(node)) continue;
    await streamMembers(request, listing, node, `${base}${encodeSegment(node.name)}/`, true);
  }
}
