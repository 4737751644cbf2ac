// Live properties: for each name how its value is written, whether `allprop` has it, and what PROPPATCH may do with it.
// A listing asks for the same names on every node, so the request is turned into a plan once and the plan run per node.
// Everything a value needs is loaded per page beforehand (`PropertyPage`): writing one node does no query and no await.

import { CloudError } from '../../errors.js';
import { encodeSegment } from '../../names.js';
import { formatBrief } from '../../remote/wire/brief.js';
import {
  formatMode,
  formatPermissions,
  formatTimestamp,
  formatXattrs,
  localNameToXattr,
} from '../../remote/wire/cloudmount_props.js';
import { emptyProperty, propResponse, statusElement } from '../../remote/wire/multistatus.js';
import { CM, CM_XATTR, clark, DAV, NC, OC, type XmlName } from '../../remote/wire/ns.js';
import { escapeText, parseXml, textOf } from '../../remote/wire/xml.js';
import { Access, permits } from '../sharing/access.js';
import { CREATE, DELETE, has, UPDATE } from '../sharing/rights.js';
import type {
  DeadProperty,
  Detail,
  LockRecord,
  MetadataRead,
  NodeId,
  NodeRecord,
  Usage,
} from '../storage/metadata/metadata_store.js';
import type { ShareRecord } from '../storage/metadata/share_records.js';
import { shareKindNumber } from '../storage/metadata/share_records.js';
import { contentTypeOf } from './content_type.js';
import { type DavContext, viewerOf } from './context.js';
import { creationDate, httpDate } from './http_dates.js';
import { LockView } from './lock_view.js';
import { formatSyncToken } from './sync_token.js';

/** What a property needs beyond the brief record of the node. */
type Need = 'dead' | 'locks' | 'usage' | 'head' | 'detail' | 'shares';

interface LiveProperty extends XmlName {
  /** The value's inside as written XML; null = this node does not have the property. */
  readonly value: (node: NodeRecord, page: PropertyPage) => string | null;
  readonly allprop?: boolean;
  readonly needs?: Need | readonly Need[];
  /** A dead property of the same name, if set, is the value. */
  readonly overridable?: boolean;
}

const PERMISSIONS = new Map<string, string>();

/** Of the sharing API. */
const OCS = 'http://open-collaboration-services.org/ns';

const LOCK_ENTRY = (scope: string) =>
  `<d:lockentry><d:lockscope><d:${scope}/></d:lockscope><d:locktype><d:write/></d:locktype></d:lockentry>`;
const SUPPORTED_LOCK = LOCK_ENTRY('exclusive') + LOCK_ENTRY('shared');
const REPORTS = '<d:supported-report><d:report><d:sync-collection/></d:report></d:supported-report>';

const DETAIL = { needs: 'detail' } as const;

const PROPERTIES: readonly LiveProperty[] = [
  dav('creationdate', (node) => creationDate(Math.floor(node.created_ms / 1000)), { allprop: true }),
  dav('displayname', (node, page) => escapeText(page.displayName(node)), { allprop: true, overridable: true }),
  dav('getcontentlength', (node) => (node.kind === 'dir' ? null : String(node.size_bytes)), { allprop: true }),
  dav('getcontenttype', (node) => (node.kind === 'dir' ? null : contentTypeOf(node)), { allprop: true }),
  // Made by us of characters that need no escaping.
  dav('getetag', (node) => node.etag, { allprop: true }),
  dav('getlastmodified', (node) => httpDate(node.mtime.s), { allprop: true }),
  dav('resourcetype', (node) => (node.kind === 'dir' ? '<d:collection/>' : ''), { allprop: true }),
  dav('lockdiscovery', (node, page) => page.locks.activeLocks(node), { allprop: true, needs: 'locks' }),
  dav('supportedlock', (node, page) => (page.mayLock(node) ? SUPPORTED_LOCK : ''), { allprop: true }),
  dav('supported-report-set', (node) => (node.kind === 'dir' ? REPORTS : '')),
  dav('sync-token', (node, page) => (node.kind === 'dir' ? escapeText(page.syncToken(node)) : null), { needs: 'head' }),
  dav('quota-available-bytes', (node, page) => page.available(node), { needs: 'usage' }),
  dav('quota-used-bytes', (node, page) => page.used(node), { needs: 'usage' }),
  dav('current-user-privilege-set', (node, page) => page.privileges(node)),
  dav('current-user-principal', (_, page) => page.principal),
  dav('owner', (node, page) => page.ownerPrincipal(node)),

  oc('id', (node) => ocId(node.id)),
  oc('fileid', (node) => String(node.id)),
  oc('permissions', (node, page) => page.permissions(node)),
  { ns: OCS, local: 'share-permissions', value: (node, page) => String(page.access.of(node).node) },
  oc('size', (node) => String(node.size_bytes)),
  oc(
    'checksums',
    (node) => {
      return node.kind === 'file' && node.sha256 !== null ? `<oc:checksum>SHA256:${node.sha256}</oc:checksum>` : null;
    },
    DETAIL,
  ),
  oc('favorite', () => '0', { overridable: true }),
  oc('owner-id', (node, page) => escapeText(page.ownerId(node))),
  oc('owner-display-name', (node, page) => escapeText(page.ownerName(node))),
  oc('share-types', (node, page) => page.shareTypes(node), { needs: 'shares' }),
  oc('downloadURL', () => ''),
  oc('dDC', () => ''),
  oc('data-fingerprint', () => ''),

  nc('has-preview', () => 'false'),
  nc('sharees', (node, page) => page.sharees(node), { needs: 'shares' }),
  nc('mount-type', (node) => (node.mount === undefined ? '' : 'shared')),
  nc('is-mount-root', (node) => (node.mount === undefined ? 'false' : 'true')),
  nc('lock', (node, page) => (page.userLock(node) === null ? '0' : '1'), { needs: 'locks' }),
  lockDetail('lock-owner', (lock) => escapeText(lock.userId)),
  lockDetail('lock-owner-displayname', (lock) => escapeText(lock.displayName)),
  // 0 a person, 1 an app, 2 a program holding a WebDAV token.
  lockDetail('lock-owner-type', (lock) => (lock.byUser === true ? '0' : '2')),
  lockDetail('lock-owner-editor', () => ''),
  lockDetail('lock-time', (lock) => String(Math.floor(lock.created_ms / 1000))),
  lockDetail('lock-timeout', (lock) => String(lock.timeout_s)),
  lockDetail('lock-token', (lock, page) => (lock.userId === page.ownUserId ? escapeText(lock.token) : '')),

  cm('brief', (node, page) => page.brief(node), { needs: ['locks', 'shares', 'detail'] }),
  cm('mode', (node) => (node.mode === null ? null : formatMode(node.mode)), DETAIL),
  cm('uid', (node) => (node.uid === null ? null : String(node.uid)), DETAIL),
  cm('gid', (node) => (node.gid === null ? null : String(node.gid)), DETAIL),
  cm('mtime', (node) => formatTimestamp(node.mtime), DETAIL),
  cm('symlink', (node) => (node.target === null ? null : encodeSegment(node.target)), DETAIL),
  cm('xattrs', (node, page) => page.xattrs(node), { needs: 'dead' }),
];

type Value = LiveProperty['value'];
type Extras = Partial<Pick<LiveProperty, 'allprop' | 'needs' | 'overridable'>>;

function dav(local: string, value: Value, extras: Extras = {}): LiveProperty {
  return { ns: DAV, local, value, ...extras };
}
function oc(local: string, value: Value, extras: Extras = {}): LiveProperty {
  return { ns: OC, local, value, ...extras };
}
function nc(local: string, value: Value, extras: Extras = {}): LiveProperty {
  return { ns: NC, local, value, ...extras };
}
function cm(local: string, value: Value, extras: Extras = {}): LiveProperty {
  return { ns: CM, local, value, ...extras };
}
function lockDetail(local: string, value: (lock: LockRecord, page: PropertyPage) => string): LiveProperty {
  return nc(
    local,
    (node, page) => {
      const lock = page.userLock(node);
      return lock === null ? null : value(lock, page);
    },
    { needs: 'locks' },
  );
}

const LIVE: ReadonlyMap<string, LiveProperty> = new Map(PROPERTIES.map((live) => [clark(live), live]));

/** Names PROPPATCH must not touch. Those that may be set are in `methods/proppatch.ts`; overridable ones are dead. */
export function isLive(name: XmlName): boolean {
  return LIVE.has(clark(name)) && LIVE.get(clark(name))?.overridable !== true;
}

/** Identity as Nextcloud and ownCloud clients expect it: digits, then the instance. */
export function ocId(id: NodeId): string {
  return `${String(id).padStart(8, '0')}cloudmount`;
}

/** What is asked of each node. */
export type PropertyRequest =
  | { readonly kind: 'prop'; readonly names: readonly XmlName[] }
  | { readonly kind: 'allprop'; readonly include: readonly XmlName[] }
  | { readonly kind: 'propname' };

interface Step {
  readonly name: XmlName;
  readonly live: LiveProperty | null;
  readonly open: string;
  readonly close: string;
  readonly empty: string;
  readonly deadKey: string;
}

const PROPSTAT = '<d:propstat><d:prop>';
const OK_END = `</d:prop>${statusElement(200)}</d:propstat>`;
const BRIEF = clark({ ns: CM, local: 'brief' });
const NOT_FOUND_END = `</d:prop>${statusElement(404)}</d:propstat>`;

export class PropertyPlan {
  readonly #steps: readonly Step[];
  readonly #kind: PropertyRequest['kind'];
  readonly #minimal: boolean;
  /** `cm:brief`, where nothing else need be told beside it. */
  readonly #brief: Step | null;
  readonly needs: ReadonlySet<Need>;

  /** How much of each node has to be read. */
  get detail(): Detail {
    return this.needs.has('detail') ? 'full' : 'brief';
  }

  /** `minimal`: leave out what a node does not have (RFC 8144 section 2.1). */
  constructor(request: PropertyRequest, minimal = false) {
    this.#kind = request.kind;
    this.#minimal = minimal;
    const names = new Map<string, XmlName>();
    if (request.kind === 'prop') for (const name of request.names) names.set(clark(name), name);
    else for (const live of PROPERTIES) if (request.kind === 'propname' || live.allprop) names.set(clark(live), live);
    if (request.kind === 'allprop') for (const name of request.include) names.set(clark(name), name);
    this.#steps = [...names.values()].map(stepFor);
    // Who wants no more than is needed is told the rest of what it asks for only where it is not in there.
    const isAlone = minimal && request.kind === 'prop';
    this.#brief = (isAlone ? this.#steps.find(({ deadKey }) => deadKey === BRIEF) : undefined) ?? null;
    const needs = new Set<Need>();
    for (const { live } of this.#steps) {
      if (live === null || live.overridable === true) needs.add('dead');
      for (const need of [live?.needs ?? []].flat()) needs.add(need);
    }
    if (request.kind !== 'prop') needs.add('dead');
    this.needs = needs;
  }

  /** One `<d:response>`. `href` is percent-encoded: nothing in it needs escaping. Written here and not by `propResponse`
   * because a listing does this for every entry: without the arrays it takes half the time. */
  response(href: string, node: NodeRecord, page: PropertyPage): string {
    if (this.#kind === 'propname') return this.#names(href, node, page);
    const brief = this.#brief === null ? null : writeValue(this.#brief, node, page, NO_DEAD);
    if (brief !== null) return `<d:response><d:href>${href}</d:href>${PROPSTAT}${brief}${OK_END}</d:response>`;
    const dead = page.dead(node);
    const tellsMissing = this.#kind === 'prop' && !this.#minimal;
    let found = '';
    let missing = '';
    for (const step of this.#steps) {
      const text = writeValue(step, node, page, dead);
      if (text !== null) found += text;
      else if (tellsMissing) missing += step.empty;
    }
    if (this.#kind === 'allprop') {
      for (const property of dead) if (!this.#has(property)) found += property.xml;
    }
    let out = `<d:response><d:href>${href}</d:href>`;
    if (found !== '' || missing === '') out += PROPSTAT + found + OK_END;
    if (missing !== '') out += PROPSTAT + missing + NOT_FOUND_END;
    return `${out}</d:response>`;
  }

  /** The values alone, of what the node has. */
  values(node: NodeRecord, page: PropertyPage): string {
    const dead = page.dead(node);
    return this.#steps.map((step) => writeValue(step, node, page, dead) ?? '').join('');
  }

  #names(href: string, node: NodeRecord, page: PropertyPage): string {
    const dead = page.dead(node);
    const props: string[] = [];
    for (const step of this.#steps) if (writeValue(step, node, page, dead) !== null) props.push(step.empty);
    for (const property of dead) {
      if (!this.#has(property)) props.push(emptyProperty({ ns: property.ns, local: property.name }));
    }
    return propResponse(href, [{ status: 200, props }]);
  }

  #has(property: DeadProperty): boolean {
    const key = clark({ ns: property.ns, local: property.name });
    return this.#steps.some((step) => step.deadKey === key);
  }
}

function stepFor(name: XmlName): Step {
  const empty = emptyProperty(name);
  const tag = /^<([^\s/>]+)/.exec(empty)?.[1] ?? '';
  return {
    name,
    live: LIVE.get(clark(name)) ?? null,
    open: `${empty.slice(0, -2)}>`,
    close: `</${tag}>`,
    empty,
    deadKey: clark(name),
  };
}

function writeValue(step: Step, node: NodeRecord, page: PropertyPage, dead: readonly DeadProperty[]): string | null {
  const { live } = step;
  if (live === null || live.overridable === true) {
    for (const property of dead) {
      if (property.name === step.name.local && property.ns === step.name.ns) return property.xml;
    }
    if (live === null) return null;
  }
  const value = live.value(node, page);
  if (value === null) return null;
  return value === '' ? step.empty : step.open + value + step.close;
}

const NO_DEAD: readonly DeadProperty[] = [];

/** Nodes with dead properties whose properties are loaded at a time. */
const PART_HOLDING = 50;

/** What the plan needs for the nodes of one page. */
export class PropertyPage {
  readonly locks: LockView;
  readonly access: Access;
  readonly ownUserId: string;
  readonly principal: string;
  readonly #tx: MetadataRead;
  readonly #plan: PropertyPlan;
  readonly #free_bytes: number | null;
  #dead: ReadonlyMap<NodeId, readonly DeadProperty[]> = new Map();
  readonly #usage = new Map<NodeId, Usage>();
  #head: { readonly seq: number; readonly epoch: string } | null = null;
  readonly #own: { readonly rootId: NodeId; readonly name: string };
  readonly #displayName: (userId: string) => string;
  readonly #owners = new Map<NodeId, string>();
  #shares: ReadonlyMap<NodeId, readonly ShareRecord[]> = new Map();

  /** `free_bytes`: what the disk still takes, null = unknown or without end. */
  constructor(
    tx: MetadataRead,
    plan: PropertyPlan,
    ctx: DavContext,
    now_ms: number,
    free_bytes: number | null = null,
    displayName: (userId: string) => string = (userId) => userId,
  ) {
    this.#free_bytes = free_bytes;
    const { userId, displayName: ownName, href } = ctx.principal;
    this.#tx = tx;
    this.#plan = plan;
    this.locks = new LockView(tx, ctx, userId, now_ms);
    this.access = new Access(tx, viewerOf(ctx), now_ms);
    this.ownUserId = userId;
    this.#own = { rootId: ctx.rootId, name: ownName };
    this.#displayName = displayName;
    this.principal = `<d:href>${escapeText(href ?? `/dav/principals/users/${encodeSegment(userId)}/`)}</d:href>`;
  }

  /** The nodes in parts that are loaded one after the other, so that no more than those of one have their dead properties
   * in memory. */
  inParts(nodes: readonly NodeRecord[]): readonly (readonly NodeRecord[])[] {
    if (!this.#plan.needs.has('dead')) return [nodes];
    const parts: NodeRecord[][] = [[]];
    let holding = 0;
    for (const node of nodes) {
      if (node.hasProperties && ++holding > PART_HOLDING) {
        parts.push([]);
        holding = 1;
      }
      parts.at(-1)?.push(node);
    }
    return parts;
  }

  async load(nodes: readonly NodeRecord[]): Promise<void> {
    const { needs } = this.#plan;
    await this.access.load(nodes);
    await this.#loadOwners(nodes);
    if (needs.has('shares')) await this.#loadShares(nodes);
    if (needs.has('dead')) {
      const ids = nodes.filter((node) => node.hasProperties).map((node) => node.id);
      this.#dead = ids.length === 0 ? new Map() : await this.#tx.properties(ids);
    }
    if (needs.has('locks')) await this.locks.load(nodes);
    if (needs.has('usage')) await this.#loadUsage(nodes);
    if (needs.has('head') && this.#head === null) this.#head = await this.#tx.head();
  }

  dead(node: NodeRecord): readonly DeadProperty[] {
    return node.hasProperties ? (this.#dead.get(node.id) ?? NO_DEAD) : NO_DEAD;
  }

  displayName(node: NodeRecord): string {
    return node.parentId === null ? this.ownUserId : node.name;
  }

  /** False for what must not even be named: an entry whose share has just ended. */
  mayRead(node: NodeRecord): boolean {
    return permits(this.access.of(node), 'read');
  }

  mayLock(node: NodeRecord): boolean {
    return permits(this.access.of(node), 'lock');
  }

  /** The letters of `oc:permissions`: S whatever is somebody else's, M the entry of a share itself. */
  permissions(node: NodeRecord): string {
    const { node: rights, entry } = this.access.of(node);
    const sharedIn = !this.access.isOwn(node);
    const mounted = node.mount !== undefined;
    const key = `${node.kind === 'dir'} ${rights} ${entry} ${sharedIn} ${mounted}`;
    let text = PERMISSIONS.get(key);
    if (text === undefined) {
      text = formatPermissions(this.access.letters(node), { sharedIn, mounted });
      PERMISSIONS.set(key, text);
    }
    return text;
  }

  /** RFC 3744 section 5.4, as far as our rights say it. */
  privileges(node: NodeRecord): string {
    const { node: rights, entry } = this.access.of(node);
    const isDir = node.kind === 'dir';
    const names = ['read', 'read-acl', 'read-current-user-privilege-set'];
    if (has(rights, UPDATE)) names.push('write-properties', ...(isDir ? [] : ['write-content']));
    if (isDir && has(rights, CREATE)) names.push('bind');
    if (isDir && has(rights, DELETE)) names.push('unbind');
    if (this.mayLock(node)) names.push('unlock');
    if (has(rights, isDir ? UPDATE | CREATE | DELETE : UPDATE) && has(entry, DELETE)) names.push('write');
    return names.map((name) => `<d:privilege><d:${name}/></d:privilege>`).join('');
  }

  /** `cm:brief`; null where there is more to say. The node must have been read in detail. */
  brief(node: NodeRecord): string | null {
    const { kind } = node;
    if (kind === 'symlink' || node.hasProperties || this.locks.of(node).length > 0 || this.#shares.has(node.id)) {
      return null;
    }
    return formatBrief({
      kind,
      fileid: String(node.id),
      size_bytes: kind === 'file' ? node.size_bytes : 0,
      mtime: node.mtime,
      permissions: this.permissions(node),
      etag: node.etag,
      mode: node.mode,
      uid: node.uid,
      gid: node.gid,
      sha256: kind === 'file' ? node.sha256 : null,
    });
  }

  ownerId(node: NodeRecord): string {
    return this.#owners.get(node.rootId) ?? this.ownUserId;
  }

  ownerName(node: NodeRecord): string {
    const owner = this.#owners.get(node.rootId);
    return owner === undefined ? this.#own.name : this.#displayName(owner);
  }

  ownerPrincipal(node: NodeRecord): string {
    const owner = this.#owners.get(node.rootId);
    if (owner === undefined) return this.principal;
    return `<d:href>${escapeText(`/dav/principals/users/${encodeSegment(owner)}/`)}</d:href>`;
  }

  /** What kinds of shares of the node there are, to whom it may be told. */
  shareTypes(node: NodeRecord): string {
    const kinds = new Set((this.#shares.get(node.id) ?? []).map(({ kind }) => shareKindNumber(kind)));
    return [...kinds].map((kind) => `<oc:share-type>${kind}</oc:share-type>`).join('');
  }

  sharees(node: NodeRecord): string {
    let out = '';
    for (const { kind, recipient } of this.#shares.get(node.id) ?? []) {
      if (kind === 'link') continue;
      const name = kind === 'user' ? this.#displayName(recipient) : recipient;
      out +=
        `<nc:sharee><nc:id>${escapeText(recipient)}</nc:id><nc:display-name>${escapeText(name)}</nc:display-name>` +
        `<nc:type>${shareKindNumber(kind)}</nc:type></nc:sharee>`;
    }
    return out;
  }

  /** Room is the owner's: in one listing there may be that of many. */
  async #loadUsage(nodes: readonly NodeRecord[]): Promise<void> {
    for (const { rootId } of nodes) {
      if (!this.#usage.has(rootId)) this.#usage.set(rootId, await this.#tx.usage(rootId));
    }
  }

  async #loadOwners(nodes: readonly NodeRecord[]): Promise<void> {
    const unknown = new Set<NodeId>();
    for (const { rootId } of nodes) if (rootId !== this.#own.rootId && !this.#owners.has(rootId)) unknown.add(rootId);
    if (unknown.size === 0) return;
    for (const [rootId, userId] of await this.#tx.ownersOf([...unknown])) this.#owners.set(rootId, userId);
  }

  async #loadShares(nodes: readonly NodeRecord[]): Promise<void> {
    const out = new Map<NodeId, ShareRecord[]>();
    const ids = nodes.map((node) => node.id);
    for (const share of await this.#tx.shares({ kind: 'node', nodeIds: ids })) {
      if (share.ownerId !== this.ownUserId && share.sharerId !== this.ownUserId) continue;
      const list = out.get(share.nodeId);
      if (list === undefined) out.set(share.nodeId, [share]);
      else list.push(share);
    }
    this.#shares = out;
  }

  /** RFC 4331: what is left of the quota, and never more than the disk takes. Without either limit it is -3, which is
   * how Nextcloud says "unlimited". */
  available(node: NodeRecord): string | null {
    const usage = this.#usage.get(node.rootId);
    if (node.kind !== 'dir' || usage === undefined) return null;
    const { used_bytes, quota_bytes } = usage;
    const left = quota_bytes === null ? Number.POSITIVE_INFINITY : Math.max(0, quota_bytes - used_bytes);
    const available = Math.min(left, this.#free_bytes ?? Number.POSITIVE_INFINITY);
    return available === Number.POSITIVE_INFINITY ? '-3' : String(available);
  }

  /** Of a whole tree, what counts in its quota. */
  used(node: NodeRecord): string | null {
    if (node.kind !== 'dir') return null;
    return String((node.parentId === null ? this.#usage.get(node.rootId)?.used_bytes : null) ?? node.size_bytes);
  }

  syncToken(node: NodeRecord): string {
    return formatSyncToken(this.#head?.epoch ?? '', node.id, { seq: this.#head?.seq ?? 0, listedFrom: null });
  }

  /** The lock a client shows as "locked": an exclusive one. */
  userLock(node: NodeRecord): LockRecord | null {
    for (const lock of this.locks.of(node)) if (lock.scope === 'exclusive') return lock;
    return null;
  }

  /** Extended attributes are dead properties of one namespace, told together as JSON. */
  xattrs(node: NodeRecord): string | null {
    const out = new Map<string, Buffer>();
    for (const property of this.dead(node)) {
      if (property.ns !== CM_XATTR) continue;
      try {
        out.set(localNameToXattr(property.name), Buffer.from(textOf(parseXml(property.xml)), 'base64'));
      } catch (error) {
        // A foreign client may have put something else under this namespace: it is no xattr.
        if (!(error instanceof CloudError)) throw error;
      }
    }
    return out.size === 0 ? null : escapeText(formatXattrs(out));
  }
}
