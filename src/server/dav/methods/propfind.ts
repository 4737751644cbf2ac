// PROPFIND (RFC 4918 section 9.1). An absent or empty body means allprop. Short answers are read in one go and sent whole;
// long ones are streamed out of a snapshot with the memory of one page, whatever the number of entries.

import { LRUCache } from 'lru-cache';
import { CloudError } from '../../../errors.js';
import { type Depth, parseDepth } from '../../../remote/wire/depth.js';
import { MULTISTATUS_START, MULTISTATUS_TYPE, multistatusEnd } from '../../../remote/wire/multistatus.js';
import { DAV } from '../../../remote/wire/ns.js';
import { childOf, elementsOf, type XmlElement } from '../../../remote/wire/xml.js';
import { has, READ } from '../../sharing/rights.js';
import type { MetadataRead, NodeRecord } from '../../storage/metadata/metadata_store.js';
import { readBody, xmlOf } from '../body.js';
import { checkIf, ifScopeOf } from '../conditional.js';
import type { DavRequest } from '../context.js';
import { PAGE_NODES, streamMembers, writeNode, writePage } from '../listing.js';
import { PropertyPage, PropertyPlan, type PropertyRequest } from '../properties.js';
import { TextStream } from '../reply.js';
import { hrefOf } from '../resource_path.js';
import { DavFailure } from '../status.js';
import { existing } from '../write_access.js';

export async function propfind(request: DavRequest): Promise<void> {
  const { services, req } = request;
  const depth = parseDepth(request.header('depth'), 'infinity');
  const plan = planFor(request, await readBody(req, services.limits.xml.maxBytes));
  const free_bytes = plan.needs.has('usage') ? await services.blobs.free() : null;
  const answer = new Answer(request, plan, depth, free_bytes);
  const isWhole = await services.metadata.read((tx) => answer.short(tx));
  if (!isWhole) await services.metadata.snapshot((tx) => answer.long(tx), request.ctx.principal.userId);
  // A sync token must not name what a power cut could still undo.
  if (plan.needs.has('head')) await services.metadata.durable();
  answer.end();
}

/** RFC 7240 section 3. */
export function preferenceApplied(request: DavRequest): Record<string, string> {
  return wantsMinimal(request) ? { 'Preference-Applied': 'return=minimal', Vary: 'Prefer' } : {};
}

// Clients send the same few bodies all the time.
const plans = new LRUCache<string, PropertyPlan>({ max: 200 });
const MAX_REMEMBERED_BYTES = 4096;

function planFor(request: DavRequest, body: Buffer): PropertyPlan {
  const isMinimal = wantsMinimal(request);
  const key = `${isMinimal}${body.toString('latin1')}`;
  const known = plans.get(key);
  if (known !== undefined) return known;
  const plan = new PropertyPlan(propertyRequest(xmlOf(body, request.services.limits.xml)), isMinimal);
  if (body.length <= MAX_REMEMBERED_BYTES) plans.set(key, plan);
  return plan;
}

/** Throws `invalid` on a body that is no propfind. */
export function propertyRequest(body: XmlElement | null): PropertyRequest {
  if (body === null) return { kind: 'allprop', include: [] };
  if (body.ns !== DAV || body.local !== 'propfind') {
    throw new CloudError('invalid', `reading PROPFIND: {DAV:}propfind is required, found {${body.ns}}${body.local}`);
  }
  const prop = childOf(body, DAV, 'prop');
  if (prop !== null) return { kind: 'prop', names: elementsOf(prop) };
  if (childOf(body, DAV, 'propname') !== null) return { kind: 'propname' };
  if (childOf(body, DAV, 'allprop') !== null) {
    const include = childOf(body, DAV, 'include');
    return { kind: 'allprop', include: include === null ? [] : elementsOf(include) };
  }
  throw new CloudError('invalid', 'reading PROPFIND: one of prop, propname, allprop is required, found none');
}

/** RFC 8144 section 2, and Microsoft's older Brief. */
export function wantsMinimal(request: DavRequest): boolean {
  return /(^|[,;\s])return=minimal($|[,;\s])/i.test(request.header('prefer') ?? '') || request.header('brief') === 't';
}

class Answer {
  readonly #request: DavRequest;
  readonly #plan: PropertyPlan;
  readonly #depth: Depth;
  readonly #free_bytes: number | null;
  #out: TextStream;

  constructor(request: DavRequest, plan: PropertyPlan, depth: Depth, free_bytes: number | null) {
    this.#request = request;
    this.#plan = plan;
    this.#depth = depth;
    this.#free_bytes = free_bytes;
    this.#out = this.#stream();
  }

  /** The whole answer, if it is short; false (and nothing written) otherwise. */
  async short(tx: MetadataRead): Promise<boolean> {
    const { request, node, href } = await this.#find(tx);
    const listing = this.#listing(tx);
    await writeNode(listing, href, node);
    if (this.#depth === 0 || node.kind !== 'dir' || this.#isBlind()) return true;
    const members = await tx.children(node, null, PAGE_NODES, this.#plan.detail);
    const isDeep = this.#depth === 'infinity';
    if (members.length < PAGE_NODES && !(isDeep && members.some((member) => member.kind === 'dir'))) {
      let isShort = true;
      await writePage(listing, href, members, async () => {
        isShort = false;
        return true;
      });
      return isShort;
    }
    const limit = request.services.limits.infinityEntries;
    if (isDeep && (await tx.countBelow(node.id, limit + 1)) > limit) {
      throw new DavFailure(
        403,
        'too_large',
        `listing with Depth infinity: at most ${limit} entries are told, there are more`,
        { condition: '<d:propfind-finite-depth/>' },
      );
    }
    return false;
  }

  async long(tx: MetadataRead): Promise<void> {
    this.#out = this.#stream();
    const { request, node, href } = await this.#find(tx);
    const listing = this.#listing(tx);
    await writeNode(listing, href, node);
    await streamMembers(request, listing, node, href, this.#depth === 'infinity');
  }

  end(): void {
    this.#out.write(multistatusEnd());
    this.#out.end();
  }

  #stream(): TextStream {
    const out = new TextStream(this.#request, 207, {
      'Content-Type': MULTISTATUS_TYPE,
      ...preferenceApplied(this.#request),
    });
    out.write(MULTISTATUS_START);
    return out;
  }

  #listing(tx: MetadataRead) {
    const { ctx, now_ms, services } = this.#request;
    return {
      tx,
      plan: this.#plan,
      page: new PropertyPage(tx, this.#plan, ctx, now_ms, this.#free_bytes, services.displayName),
      out: this.#out,
      began_ms: performance.now(),
    };
  }

  #isBlind(): boolean {
    const { link } = this.#request.ctx;
    return link !== undefined && !has(link.rights, READ);
  }

  async #find(tx: MetadataRead): Promise<{ request: DavRequest; node: NodeRecord; href: string }> {
    const request = this.#request;
    const { ctx, path } = request;
    const at = await tx.resolve(ctx.rootId, path.names);
    // Who may only put things in sees that the collection is there, and nothing else.
    if (!this.#isBlind() || path.names.length > 0) await request.access(tx).demand('read', at);
    await checkIf(tx, request.ifLists, ifScopeOf(request), path, at);
    const found = existing(at, path.slash);
    const node = this.#isBlind() ? { ...found, size_bytes: 0 } : found;
    return { request, node, href: hrefOf(ctx.basePath, path.names, node.kind === 'dir') };
  }
}
