// REPORT sync-collection (RFC 6578): what changed below a collection since a token, in pages. A page that is not the last
// one ends with a 507 for the collection itself and a token to go on from; a first listing (empty token) is paged the
// same way. Collections come before what is in them.

import { CloudError } from '../../../errors.js';
import {
  MULTISTATUS_START,
  MULTISTATUS_TYPE,
  multistatusEnd,
  statusResponse,
} from '../../../remote/wire/multistatus.js';
import { DAV } from '../../../remote/wire/ns.js';
import { childOf, elementsOf, textOf, type XmlElement } from '../../../remote/wire/xml.js';
import type { Change } from '../../storage/metadata/metadata_store.js';
import { readXml } from '../body.js';
import { checkIf, ifScopeOf } from '../conditional.js';
import type { DavRequest } from '../context.js';
import { PAGE_CHARS } from '../listing.js';
import { PropertyPage, PropertyPlan } from '../properties.js';
import { TextStream } from '../reply.js';
import { hrefOf } from '../resource_path.js';
import { DavFailure } from '../status.js';
import { formatSyncToken, parseSyncToken } from '../sync_token.js';
import { existing } from '../write_access.js';
import { preferenceApplied, wantsMinimal } from './propfind.js';

/** A page that would be too long is made again with so many times fewer changes. */
const SHORTER = 8;

interface SyncQuery {
  readonly token: string;
  readonly onlyMembers: boolean;
  readonly limit: number;
  readonly plan: PropertyPlan;
}

export async function report(request: DavRequest): Promise<void> {
  const { services, ctx, path, req } = request;
  const query = read(request, await readXml(req, services.limits.xml));
  const free_bytes = query.plan.needs.has('usage') ? await services.blobs.free() : null;
  const out = new TextStream(request, 207, { 'Content-Type': MULTISTATUS_TYPE, ...preferenceApplied(request) });
  out.write(MULTISTATUS_START);
  const token = await services.metadata.read(async (tx) => {
    const at = await tx.resolve(ctx.rootId, path.names);
    await request.access(tx).demand('read', at);
    await checkIf(tx, request.ifLists, ifScopeOf(request), path, at);
    const collection = existing(at, path.slash);
    if (collection.kind !== 'dir') throw unsupported();
    const { epoch } = await tx.head();
    const cursor = query.token === '' ? null : parseSyncToken(query.token, epoch, collection.id);
    const isInvalid = query.token !== '' && cursor === null;
    const page = new PropertyPage(tx, query.plan, ctx, request.now_ms, free_bytes, services.displayName);
    // The feed tells places in the tree the collection is stored in; the client may see it elsewhere.
    const depth = at.above.length;
    for (let { limit } = query; ; limit = Math.ceil(limit / SHORTER)) {
      const feed = isInvalid ? null : await tx.changes(collection.id, cursor, limit);
      if (feed === null) {
        throw new DavFailure(
          403,
          'invalid',
          'synchronising: the token is not valid any more, start with an empty one',
          {
            condition: '<d:valid-sync-token/>',
          },
        );
      }
      const text = await changesText(request, query, page, feed.changes, depth, limit === 1);
      if (text === null) continue;
      out.write(text);
      if (feed.more) {
        const self = hrefOf(ctx.basePath, path.names, true);
        out.write(statusResponse(self, 507, { error: '<d:number-of-matches-within-limits/>' }));
      }
      return formatSyncToken(epoch, collection.id, feed.next);
    }
  });
  // The token must not name what a power cut could still undo.
  await services.metadata.durable();
  out.write(multistatusEnd(token));
  out.end();
}

/** Null when it is more than `PAGE_CHARS` (unless `anyLength`): fewer changes must do. */
async function changesText(
  request: DavRequest,
  { plan, onlyMembers }: SyncQuery,
  page: PropertyPage,
  changes: readonly Change[],
  depth: number,
  anyLength: boolean,
): Promise<string | null> {
  const { ctx, path } = request;
  let text = '';
  const parts = page.inParts(changes.flatMap((change) => (change.kind === 'present' ? [change.node] : [])));
  let [loaded, left] = [0, 0];
  for (const change of changes) {
    if (change.kind === 'present') {
      if (left === 0) {
        const part = parts[loaded++] ?? [];
        left = part.length;
        await page.load(part);
      }
      left -= 1;
    }
    const below = change.path.slice(depth);
    if (onlyMembers && below.length !== 1) continue;
    const names = [...path.names, ...below];
    if (change.kind === 'gone') text += statusResponse(hrefOf(ctx.basePath, names, false), 404);
    else if (page.mayRead(change.node)) {
      text += plan.response(hrefOf(ctx.basePath, names, change.node.kind === 'dir'), change.node, page);
    }
    if (text.length > PAGE_CHARS && !anyLength) return null;
  }
  return text;
}

function read(request: DavRequest, body: XmlElement | null): SyncQuery {
  if (body === null) throw new CloudError('invalid', 'reading REPORT: a body is required');
  if (body.ns !== DAV || body.local !== 'sync-collection') throw unsupported();
  const text = (parent: XmlElement, local: string): string | null => {
    const child = childOf(parent, DAV, local);
    return child === null ? null : textOf(child).trim();
  };
  const level = text(body, 'sync-level') ?? request.header('depth') ?? '1';
  if (level !== '1' && level !== 'infinite' && level !== 'infinity') {
    throw new CloudError('invalid', `reading sync-collection: the sync-level must be 1 or infinite, found ${level}`);
  }
  const limitElement = childOf(body, DAV, 'limit');
  const nresults = limitElement === null ? null : text(limitElement, 'nresults');
  if (nresults !== null && !/^[1-9]\d{0,9}$/.test(nresults)) {
    throw new CloudError('invalid', `reading sync-collection: nresults must be a number above 0, found ${nresults}`);
  }
  const max = request.services.limits.syncPage;
  const prop = childOf(body, DAV, 'prop');
  const names = prop === null ? [] : elementsOf(prop);
  return {
    token: text(body, 'sync-token') ?? '',
    onlyMembers: level === '1',
    limit: nresults === null ? max : Math.min(Number(nresults), max),
    plan: new PropertyPlan({ kind: 'prop', names }, wantsMinimal(request)),
  };
}

function unsupported(): DavFailure {
  return new DavFailure(403, 'unsupported', 'reporting: only sync-collection, on collections, is supported', {
    condition: '<d:supported-report/>',
  });
}
