// The change feed of one collection: nodes and tombstones of its root, merged by their sequence numbers. Each entry is
// preceded by the collections above it that this page has not named yet: so parents come before children, and the
// moved ETags of collections reach the client although only the changed node carries a new number.
//
// What others share stands in a tree as entries (mounts). Below each, the owner's nodes and tombstones are further
// sources of the same merge, told at the places the recipient sees them. A share that is new to the recipient was given
// new numbers all through, so no client can have passed them.

import type { Name } from '../../../../ids.js';
import type { Change, FeedCursor, FeedPage, NodeId, NodeRecord } from '../metadata_store.js';
import type { Connection } from './database.js';
import type { SqliteRead } from './reading.js';
import { KIND_MOUNT, type NodeRow, nodeColumns, pathFromSql } from './rows.js';

interface Place {
  readonly node: NodeRecord;
  /** From the root of the tree that is asked about. */
  readonly path: readonly Name[];
  readonly above: Place | null;
  /** Collections of this part of the answer that the page has named. */
  readonly named: Set<NodeId>;
}

/** A part of the answer that comes from one tree: what is below `top`. */
interface Region {
  readonly top: NodeRecord;
  /** Where `top` is; null: not (any more) at or below the collection. */
  readonly place: Place | null;
  readonly places: Map<NodeId, Place | null>;
  readonly named: Set<NodeId>;
}

interface Event {
  readonly seq: number;
  readonly tell: () => void;
}

interface Source {
  readonly events: readonly Event[];
  /** There are more behind the last one. */
  readonly isCut: boolean;
  at: number;
}

type Tombstone = [seq: number, path: string | Buffer, parentId: number | null];

/** Of the owner's changes this many times the page are looked at for those inside a share, before the share is walked. */
const SCAN_PAGES = 8;

function feedStatements(db: Connection) {
  return {
    nodes: db
      .prepare<[number, number, number], NodeRow>(
        `SELECT ${nodeColumns('n')} FROM nodes n WHERE n.root_id = ? AND n.changed_seq > ? ORDER BY n.changed_seq LIMIT +?`,
      )
      .raw(),
    nodesBelow: db
      .prepare<[number, number, number], NodeRow>(
        `WITH RECURSIVE below(id) AS (
           SELECT ? UNION ALL SELECT n.id FROM below JOIN nodes n ON n.parent_id = below.id)
         SELECT ${nodeColumns('n')} FROM below JOIN nodes n ON n.id = below.id
         WHERE n.changed_seq > ? ORDER BY n.changed_seq LIMIT +?`,
      )
      .raw(),
    tombstones: db
      .prepare<[number, number, number], Tombstone>(
        'SELECT seq, path, parent_id FROM tombstones WHERE root_id = ? AND seq > ? ORDER BY seq LIMIT +?',
      )
      .raw(),
    floor: db.prepare<[number], number>('SELECT feed_floor FROM roots WHERE node_id = ?').pluck(),
    pathSeq: db.prepare<[number], number>('SELECT path_seq FROM nodes WHERE id = ?').pluck(),
  };
}

export class FeedReader {
  readonly #sql: ReturnType<typeof feedStatements>;
  readonly #tree: SqliteRead;

  constructor(db: Connection, tree: SqliteRead) {
    this.#sql = feedStatements(db);
    this.#tree = tree;
  }

  page(collectionId: NodeId, cursor: FeedCursor | null, limit: number): FeedPage | null {
    const lineage = this.#tree.lineageSync(collectionId);
    const [root] = lineage;
    const collection = lineage.at(-1);
    if (root === undefined || collection === undefined) return null;
    const head = this.#tree.headSync().seq;
    const at = cursor ?? { seq: 0, listedFrom: head };
    const known = at.listedFrom ?? at.seq;
    if (at.seq > head || known > head || known < (this.#sql.floor.get(root.id) ?? 0)) return null;
    // Tombstones carry the path of their time: they fit no client that knew the collection elsewhere.
    if (lineage.slice(1).some((node) => (this.#sql.pathSeq.get(node.id) ?? 0) > known)) return null;

    const page = new PageBuilder(this.#tree, root.id, lineage);
    const goneSince = Math.max(at.seq, at.listedFrom ?? 0);
    const sources = [this.#ownNodes(page, root.id, at.seq, limit), this.#ownGone(page, root.id, goneSince, limit)];
    const owners = new Map<NodeId, Shared>();
    for (const mounted of this.#tree.mountsInRootSync(root.id)) {
      const region = page.mount(mounted);
      if (region.place === null) continue;
      const isOld = (this.#sql.pathSeq.get(mounted.mount?.id ?? 0) ?? 0) <= known;
      if (isOld && known < (this.#sql.floor.get(mounted.rootId) ?? 0)) return null;
      const shared = owners.get(mounted.rootId);
      if (shared === undefined) owners.set(mounted.rootId, new Shared(this.#tree, mounted.rootId, region));
      else shared.add(region);
    }
    for (const shared of owners.values()) {
      sources.push(...this.#sharedNodes(page, shared, at.seq, limit));
    }
    // What is gone is looked for among all that the owners have removed: no further than this page can come.
    const until = Math.min(...sources.filter(({ isCut }) => isCut).map(({ events }) => events.at(-1)?.seq ?? 0));
    for (const shared of owners.values()) sources.push(...this.#sharedGone(page, shared, goneSince, until, limit));

    let seq = at.seq;
    for (let told = 0; ; told++) {
      const source = earliest(sources);
      const event = source?.events[source.at];
      // One change may be told at several places: those belong to one page.
      if (source === null || event === undefined || (told >= limit && event.seq !== seq)) break;
      source.at += 1;
      seq = event.seq;
      event.tell();
    }
    const more = sources.some(({ events, at, isCut }) => at < events.length || isCut);
    // At the end everything up to the head is told, also what concerned other roots.
    const next = more ? { seq, listedFrom: at.listedFrom } : { seq: head, listedFrom: null };
    return { changes: page.changes, next, more };
  }

  #ownNodes(page: PageBuilder, rootId: NodeId, since: number, limit: number): Source {
    const rows = this.#sql.nodes.all(rootId, since, limit + 1);
    const events = rows.map((row) => ({ seq: row[8], tell: () => page.present(row) }));
    return { events, isCut: rows.length > limit, at: 0 };
  }

  #ownGone(page: PageBuilder, rootId: NodeId, since: number, limit: number): Source {
    const rows = this.#sql.tombstones.all(rootId, since, limit + 1);
    const events = rows.map(([seq, path, parentId]) => ({
      seq,
      tell: () => page.gone(pathFromSql(path), parentId as NodeId | null),
    }));
    return { events, isCut: rows.length > limit, at: 0 };
  }

  #sharedNodes(page: PageBuilder, shared: Shared, since: number, limit: number): readonly Source[] {
    const scan = SCAN_PAGES * (limit + 1);
    const rows = this.#sql.nodes.all(shared.rootId, since, scan);
    const isAll = rows.length < scan;
    const found = new Map<Region, NodeRow[]>();
    for (const row of rows) {
      for (const region of shared.holding(row[0] as NodeId, row[1] as NodeId | null)) {
        const list = found.get(region);
        if (list === undefined) found.set(region, [row]);
        else list.push(row);
      }
    }
    return shared.regions.map((region) => {
      let inside = found.get(region) ?? [];
      if (!isAll && inside.length <= limit) inside = this.#sql.nodesBelow.all(region.top.id, since, limit + 1);
      const events = inside
        .slice(0, limit + 1)
        .map((row) => ({ seq: row[8], tell: () => page.presentShared(region, row) }));
      return { events, isCut: inside.length > limit, at: 0 };
    });
  }

  /** `until`: where a source is cut that alone fills the page. */
  #sharedGone(page: PageBuilder, shared: Shared, since: number, until: number, limit: number): readonly Source[] {
    const found = new Map<Region, Event[]>(shared.regions.map((region) => [region, []]));
    let open = found.size;
    for (const [seq, path, parentId] of this.#sql.tombstones.iterate(shared.rootId, since, -1)) {
      if (seq > until) break;
      if (parentId === null) continue;
      for (const region of shared.holding(parentId as NodeId)) {
        const events = found.get(region) ?? [];
        const parent = page.place(region, parentId as NodeId);
        const name = pathFromSql(path).at(-1);
        if (parent === null || name === undefined || events.length > limit) continue;
        events.push({ seq, tell: () => page.goneIn(parent, name) });
        if (events.length > limit) open -= 1;
      }
      if (open === 0) break;
    }
    return [...found.values()].map((events) => ({ events, isCut: events.length > limit, at: 0 }));
  }
}

const NOWHERE: readonly Region[] = [];

/** All that the answer has of one owner's tree: what changed in that is looked through once, however many shares of it
 * there are. */
class Shared {
  readonly rootId: NodeId;
  readonly regions: Region[] = [];
  readonly #tree: SqliteRead;
  readonly #tops = new Map<NodeId, Region>();
  /** Node -> the regions it is in. */
  readonly #holding = new Map<NodeId, readonly Region[]>();

  constructor(tree: SqliteRead, rootId: NodeId, first: Region) {
    this.#tree = tree;
    this.rootId = rootId;
    this.add(first);
  }

  add(region: Region): void {
    this.regions.push(region);
    this.#tops.set(region.top.id, region);
  }

  /** Those that the node is in, their tops included. `parentId`: of a node that is known. */
  holding(id: NodeId, parentId?: NodeId | null): readonly Region[] {
    const known = this.#holding.get(id);
    if (known !== undefined) return known;
    const above = parentId === undefined ? (this.#tree.nodeSync(id)?.parentId ?? null) : parentId;
    const outside = above === null ? NOWHERE : this.holding(above);
    const own = this.#tops.get(id);
    const all = own === undefined ? outside : [...outside, own];
    this.#holding.set(id, all);
    return all;
  }
}

function earliest(sources: readonly Source[]): Source | null {
  let best: Source | null = null;
  let bestSeq = Number.POSITIVE_INFINITY;
  for (const source of sources) {
    const seq = source.events[source.at]?.seq ?? Number.POSITIVE_INFINITY;
    if (seq >= bestSeq) continue;
    best = source;
    bestSeq = seq;
  }
  return best;
}

class PageBuilder {
  readonly changes: Change[] = [];
  readonly #tree: SqliteRead;
  readonly #rootId: NodeId;
  readonly #prefix: readonly Name[];
  readonly #collection: NodeRecord | undefined;
  readonly #own: Region | null;

  constructor(tree: SqliteRead, rootId: NodeId, lineage: readonly NodeRecord[]) {
    this.#tree = tree;
    this.#rootId = rootId;
    this.#prefix = lineage.slice(1).map((node) => node.name);
    this.#collection = lineage.at(-1);
    this.#own = this.#collection === undefined ? null : regionOf(this.#collection, this.#prefix, null);
  }

  /** The part of the answer behind the entry of a share. */
  mount(mounted: NodeRecord): Region {
    const above = mounted.mount === undefined ? null : this.#ownPlace(mounted.mount.parentId);
    return regionOf(mounted, above === null ? null : [...above.path, mounted.name], above);
  }

  present(row: NodeRow): void {
    const id = row[0] as NodeId;
    const parentId = row[1] as NodeId | null;
    if (parentId === null || id === this.#collection?.id) return;
    const above = this.#ownPlace(parentId);
    if (above === null) return;
    // An entry without its node is about to go: the tombstone says so.
    const node = row[4] === KIND_MOUNT ? this.#tree.mountedSync(id) : this.#tree.toNode(row);
    if (node !== null) this.#tell(node, above);
  }

  presentShared(region: Region, row: NodeRow): void {
    if (row[0] === region.top.id) {
      if (region.place?.above == null) return;
      this.#name(region.place.above);
      region.named.add(region.top.id);
      this.changes.push({ kind: 'present', node: region.top, path: region.place.path });
      return;
    }
    const above = row[1] === null ? null : this.place(region, row[1] as NodeId);
    if (above !== null) this.#tell(this.#tree.toNode(row), above);
  }

  /** Told where its collection is by now: the page, or one before, may have said so already. */
  gone(path: readonly Name[], parentId: NodeId | null): void {
    const now = parentId === null ? null : this.#ownPlace(parentId);
    const name = path.at(-1);
    if (now !== null && name !== undefined) {
      this.goneIn(now, name);
      return;
    }
    if (path.length <= this.#prefix.length || this.#prefix.some((name, i) => path[i] !== name)) return;
    const { node, ancestors } = this.#tree.resolveSync(this.#rootId, path);
    const parent = ancestors.at(-1);
    const place = parent === undefined ? null : this.#ownPlace(parent.id);
    if (place !== null) this.#name(place);
    // Something else stands there now and is (or will be) told as present: each path has one last word.
    if (node === null) this.changes.push({ kind: 'gone', path });
  }

  /** The same for an entry of a shared collection. */
  goneIn(parent: Place, name: Name): void {
    this.#name(parent);
    if (this.#tree.memberSync(parent.node.id, name) === null) {
      this.changes.push({ kind: 'gone', path: [...parent.path, name] });
    }
  }

  /** Where a node of the region's tree is, null if not at or below its top. */
  place(region: Region, id: NodeId): Place | null {
    const found = region.places.get(id);
    if (found !== undefined) return found;
    let place: Place | null = null;
    const node = this.#tree.nodeSync(id);
    if (node !== null && node.parentId !== null) {
      const above = this.place(region, node.parentId);
      if (above !== null) place = { node, path: [...above.path, node.name], above, named: region.named };
    }
    region.places.set(id, place);
    return place;
  }

  #ownPlace(id: NodeId): Place | null {
    return this.#own === null ? null : this.place(this.#own, id);
  }

  #tell(node: NodeRecord, above: Place): void {
    this.#name(above);
    above.named.add(node.id);
    this.changes.push({ kind: 'present', node, path: [...above.path, node.name] });
  }

  /** Names the collections from the top down to this one, once per page. */
  #name(place: Place): void {
    if (place.above === null || place.named.has(place.node.id)) return;
    this.#name(place.above);
    place.named.add(place.node.id);
    this.changes.push({ kind: 'present', node: place.node, path: place.path });
  }
}

/** `path`: where `top` is; null = nowhere in this answer. */
function regionOf(top: NodeRecord, path: readonly Name[] | null, above: Place | null): Region {
  const named = new Set<NodeId>();
  const place = path === null ? null : { node: top, path, above, named };
  return { top, place, places: new Map([[top.id, place]]), named };
}
