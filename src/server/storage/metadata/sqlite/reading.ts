// Reading transactions: prepared statements over one connection, and the interface `MetadataRead` over them. The
// methods ending in `Sync` are for the rooms beside this file; everyone else awaits.

import type { Name } from '../../../../ids.js';
import { nameFromSql, nameToSql } from '../../../../names.js';
import type {
  ContentId,
  ContentRecord,
  DeadProperty,
  Detail,
  FeedCursor,
  FeedPage,
  LockRecord,
  MetadataRead,
  NodeId,
  NodeRecord,
  Readable,
  Resolved,
  Usage,
} from '../metadata_store.js';
import type { ShareFilter, ShareId, ShareRecord } from '../share_records.js';
import type { Connection } from './database.js';
import { FeedReader } from './feed.js';
import {
  BRIEF_COLUMNS,
  type BriefRow,
  KIND_DIR,
  KIND_MOUNT,
  LOCK_COLUMNS,
  type LockRow,
  type NodeRow,
  nodeColumns,
  READABLE_COLUMNS,
  type ReadableRow,
  toBriefNode,
  toLock,
  toNode,
  toReadable,
} from './rows.js';
import { ShareReader } from './share_reading.js';

const UP = `WITH RECURSIVE up(id, parent_id, depth) AS (
  SELECT id, parent_id, 0 FROM nodes WHERE id = ?
  UNION ALL SELECT n.id, n.parent_id, up.depth + 1 FROM up JOIN nodes n ON n.id = up.parent_id)`;

const MAX_ROOTS = 10_000;

type SqlName = string | Buffer;
type PropertyRow = [number, string, string, string];

function readStatements(db: Connection) {
  const node = nodeColumns('n');
  return {
    begin: db.prepare('BEGIN'),
    commit: db.prepare('COMMIT'),
    head: db.prepare<[], [number, string]>('SELECT seq, epoch FROM store').raw(),
    root: db
      .prepare<[string], NodeRow>(`SELECT ${node} FROM roots r JOIN nodes n ON n.id = r.node_id WHERE r.user_id = ?`)
      .raw(),
    node: db.prepare<[number], NodeRow>(`SELECT ${node} FROM nodes n WHERE n.id = ?`).raw(),
    member: db
      .prepare<[number, SqlName], NodeRow>(`SELECT ${node} FROM nodes n WHERE n.parent_id = ? AND n.name = ?`)
      .raw(),
    /** Answered from the index alone. */
    memberId: db.prepare<[number, SqlName], number>('SELECT id FROM nodes WHERE parent_id = ? AND name = ?').pluck(),
    readable: db
      .prepare<[number, SqlName], ReadableRow>(
        `SELECT ${READABLE_COLUMNS} FROM nodes n LEFT JOIN contents c ON c.id = n.content_id
         WHERE n.parent_id = ? AND n.name = ?`,
      )
      .raw(),
    children: db
      .prepare<[number, SqlName, number], NodeRow>(
        `SELECT ${node} FROM nodes n WHERE n.parent_id = ? AND n.name > ? ORDER BY n.name LIMIT +?`,
      )
      .raw(),
    briefChildren: db
      .prepare<[number, SqlName, number], BriefRow>(
        `SELECT ${BRIEF_COLUMNS} FROM nodes n WHERE n.parent_id = ? AND n.name > ? ORDER BY n.name LIMIT +?`,
      )
      .raw(),
    /** Mounts by the ids of their rows, with the nodes they stand for. */
    mounted: db
      .prepare<[string], [...NodeRow, number, number, number, SqlName]>(
        `SELECT ${node}, m.id, m.parent_id, m.root_id, m.name FROM nodes m JOIN nodes n ON n.id = m.mount_of
         WHERE m.id IN (SELECT value FROM json_each(?))`,
      )
      .raw(),
    mountsInRoot: db
      .prepare<[number], number>('SELECT id FROM nodes WHERE root_id = ? AND mount_of IS NOT NULL')
      .pluck(),
    anyChild: db.prepare<[number], number>('SELECT 1 FROM nodes WHERE parent_id = ? LIMIT 1').pluck(),
    countBelow: db
      .prepare<[number, number], number>(
        `WITH RECURSIVE below(id) AS (
           SELECT id FROM nodes WHERE parent_id = ?
           UNION ALL SELECT n.id FROM below JOIN nodes n ON n.parent_id = below.id)
         SELECT count(*) FROM (SELECT 1 FROM below LIMIT +?)`,
      )
      .pluck(),
    propertiesOfOne: db
      .prepare<[number], PropertyRow>('SELECT node_id, ns, name, xml FROM properties WHERE node_id = ?')
      .raw(),
    properties: db
      .prepare<[string], PropertyRow>(
        'SELECT node_id, ns, name, xml FROM properties WHERE node_id IN (SELECT value FROM json_each(?))',
      )
      .raw(),
    content: db
      .prepare<[number], [string, number, Buffer | null]>('SELECT sha256, size, data FROM contents WHERE id = ?')
      .raw(),
    usage: db
      .prepare<[number], [number, number | null]>(
        'SELECT n.size + coalesce(r.property_bytes, 0), r.quota_bytes FROM nodes n LEFT JOIN roots r ON r.node_id = n.id WHERE n.id = ?',
      )
      .raw(),
    nextLockExpiry: db.prepare<[], number | null>('SELECT min(expires_ms) FROM locks').pluck(),
    anyLock: db
      .prepare<[number, number], number>('SELECT 1 FROM locks WHERE root_id = ? AND expires_ms > ? LIMIT 1')
      .pluck(),
    countLocks: db
      .prepare<[number, string, number], number>(
        'SELECT count(*) FROM locks WHERE root_id = ? AND user_id = ? AND expires_ms > ?',
      )
      .pluck(),
    locksOn: db
      .prepare<[string, number], LockRow>(
        `SELECT ${LOCK_COLUMNS} FROM locks l
         WHERE l.node_id IN (SELECT value FROM json_each(?)) AND l.expires_ms > ? ORDER BY l.created_ms`,
      )
      .raw(),
    locksOfRoot: db
      .prepare<[number, number], LockRow>(
        `SELECT ${LOCK_COLUMNS} FROM locks l WHERE l.root_id = ? AND l.expires_ms > ?`,
      )
      .raw(),
    isBelow: db.prepare<[number, number], number>(`${UP} SELECT 1 FROM up WHERE up.id = ? AND up.depth > 0`).pluck(),
    locksOfRootInOrder: db
      .prepare<[number, number], LockRow>(
        `SELECT ${LOCK_COLUMNS} FROM locks l WHERE l.root_id = ? AND l.expires_ms > ? ORDER BY l.created_ms`,
      )
      .raw(),
    lock: db
      .prepare<[string, number], LockRow>(`SELECT ${LOCK_COLUMNS} FROM locks l WHERE l.token = ? AND l.expires_ms > ?`)
      .raw(),
  };
}

export type ReadStatements = ReturnType<typeof readStatements>;

export class SqliteRead implements MetadataRead {
  protected readonly sql: ReadStatements;
  protected readonly shareRows: ShareReader;
  readonly #feed: FeedReader;
  readonly #version: (() => number) | null;
  /** Roots as of one version. */
  readonly #roots = new Map<string, NodeRecord | null>();
  #rootsOf = Number.NaN;
  #epoch: string;

  /** `version`: another number when anything was committed; without it nothing is kept from one query to the next. */
  constructor(db: Connection, version: (() => number) | null = null) {
    this.#version = version;
    this.sql = readStatements(db);
    this.shareRows = new ShareReader(db);
    this.#feed = new FeedReader(db, this);
    this.#epoch = this.headSync().epoch;
  }

  begin(): void {
    this.sql.begin.run();
  }

  commit(): void {
    this.sql.commit.run();
  }

  /** The identity of the history was changed. */
  reloadEpoch(): void {
    this.#rootsOf = Number.NaN;
    this.#epoch = this.headSync().epoch;
  }

  toNode(row: NodeRow): NodeRecord {
    return toNode(row, this.#epoch);
  }

  headSync(): { readonly seq: number; readonly epoch: string } {
    const row = this.sql.head.get();
    return { seq: row?.[0] ?? 0, epoch: row?.[1] ?? '' };
  }

  nodeSync(id: NodeId): NodeRecord | null {
    const row = this.sql.node.get(id);
    return row === undefined ? null : this.toNode(row);
  }

  /** What is seen under this name: of a mount, the node it stands for. */
  memberSync(parentId: NodeId, name: Name): NodeRecord | null {
    const row = this.sql.member.get(parentId, nameToSql(name));
    if (row === undefined) return null;
    return row[4] === KIND_MOUNT ? this.mountedSync(row[0] as NodeId) : this.toNode(row);
  }

  /** The node a mount stands for, under the mount's name. */
  mountedSync(mountId: NodeId): NodeRecord | null {
    return this.mountedManySync([mountId]).get(mountId) ?? null;
  }

  mountedManySync(mountIds: readonly NodeId[]): ReadonlyMap<NodeId, NodeRecord> {
    const out = new Map<NodeId, NodeRecord>();
    for (const row of this.sql.mounted.all(JSON.stringify(mountIds))) {
      const [id, parentId, rootId] = [row[19] as NodeId, row[20] as NodeId, row[21] as NodeId];
      const mount = { id, parentId, rootId };
      out.set(id, { ...this.toNode(row as unknown as NodeRow), name: nameFromSql(row[22]), mount });
    }
    return out;
  }

  /** Entries for shares anywhere in the tree. */
  mountsInRootSync(rootId: NodeId): readonly NodeRecord[] {
    const ids = this.sql.mountsInRoot.all(rootId) as NodeId[];
    return ids.length === 0 ? [] : [...this.mountedManySync(ids).values()];
  }

  resolveSync(rootId: NodeId, path: readonly Name[]): Resolved {
    let node = this.nodeSync(rootId);
    let ancestors: NodeRecord[] = node === null || node.parentId === null ? [] : this.#aboveSync(node);
    let isTop = true;
    for (const name of path) {
      if (node === null || node.kind !== 'dir') return { node: null, parent: null, ancestors, above: ancestors };
      // From here on it is the owner's tree that counts: for locks, for rights.
      if (node.mount !== undefined) ancestors = this.#aboveSync(node);
      ancestors.push(node);
      node = this.memberSync(node.id, name);
      isTop = false;
    }
    const above = node?.mount === undefined ? ancestors : this.#aboveSync(node);
    return { node, parent: isTop ? null : (ancestors.at(-1) ?? null), ancestors, above };
  }

  #aboveSync(node: NodeRecord): NodeRecord[] {
    return this.lineageSync(node.id).slice(0, -1);
  }

  lineageSync(id: NodeId): readonly NodeRecord[] {
    // Trees are not deep: a look-up each takes less than a recursive statement for all.
    const lineage: NodeRecord[] = [];
    for (let at: NodeId | null = id; at !== null; ) {
      const node = this.nodeSync(at);
      if (node === null) break;
      lineage.push(node);
      at = node.parentId;
    }
    return lineage.reverse();
  }

  usageSync(rootId: NodeId): Usage {
    const row = this.sql.usage.get(rootId);
    return { used_bytes: row?.[0] ?? 0, quota_bytes: row?.[1] ?? null };
  }

  rootSync(userId: string): NodeRecord | null {
    if (this.#version === null) return this.#readRoot(userId);
    const version = this.#version();
    if (version !== this.#rootsOf || this.#roots.size > MAX_ROOTS) {
      this.#roots.clear();
      this.#rootsOf = version;
    }
    let root = this.#roots.get(userId);
    if (root === undefined) {
      root = this.#readRoot(userId);
      this.#roots.set(userId, root);
    }
    return root;
  }

  #readRoot(userId: string): NodeRecord | null {
    const row = this.sql.root.get(userId);
    return row === undefined ? null : this.toNode(row);
  }

  async root(userId: string): Promise<NodeRecord | null> {
    return this.rootSync(userId);
  }

  async node(id: NodeId): Promise<NodeRecord | null> {
    return this.nodeSync(id);
  }

  async resolve(rootId: NodeId, path: readonly Name[]): Promise<Resolved> {
    return this.resolveSync(rootId, path);
  }

  async readable(rootId: NodeId, path: readonly Name[]): Promise<Readable | null> {
    let parentId: number = rootId;
    const last = path.length - 1;
    for (let i = 0; i < last; i++) {
      const id = this.sql.memberId.get(parentId, nameToSql(path[i] as Name));
      if (id === undefined) return this.#readableThroughMount(rootId, path);
      parentId = id;
    }
    const name = path[last];
    if (name === undefined) {
      const root = this.nodeSync(rootId);
      if (root === null) return null;
      return { node: root, content: root.contentId === null ? null : await this.content(root.contentId) };
    }
    const row = this.sql.readable.get(parentId, nameToSql(name));
    if (row === undefined || row[2] === KIND_MOUNT) return this.#readableThroughMount(rootId, path);
    if (row[2] !== KIND_DIR) return toReadable(row, parentId, name);
    const node = this.nodeSync(row[0] as NodeId);
    return node === null ? null : { node, content: null };
  }

  /** The same, slower, for paths that may lead through the entry of a share. */
  async #readableThroughMount(rootId: NodeId, path: readonly Name[]): Promise<Readable | null> {
    if (this.sql.mountsInRoot.get(rootId) === undefined) return null;
    const { node } = this.resolveSync(rootId, path);
    if (node === null) return null;
    return { node, content: node.contentId === null ? null : await this.content(node.contentId) };
  }

  async lineage(id: NodeId): Promise<readonly NodeRecord[]> {
    return this.lineageSync(id);
  }

  async children(
    parent: NodeRecord,
    after: Name | null,
    limit: number,
    detail: Detail = 'full',
  ): Promise<readonly NodeRecord[]> {
    // No name is empty, so all are greater than ''.
    const from = after === null ? '' : nameToSql(after);
    if (detail === 'brief') {
      const rows = this.sql.briefChildren.all(parent.id, from, limit);
      const brief: NodeRecord[] = new Array(rows.length);
      const mounts: number[] = [];
      for (let i = 0; i < rows.length; i++) {
        const row = rows[i] as BriefRow;
        if (row[2] === KIND_MOUNT) mounts.push(i);
        brief[i] = toBriefNode(row, parent, this.#epoch);
      }
      return this.#withMounted(brief, mounts);
    }
    const rows = this.sql.children.all(parent.id, from, limit);
    const nodes: NodeRecord[] = new Array(rows.length);
    const mounts: number[] = [];
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i] as NodeRow;
      if (row[4] === KIND_MOUNT) mounts.push(i);
      nodes[i] = this.toNode(row);
    }
    return this.#withMounted(nodes, mounts);
  }

  /** Puts the nodes that mounts stand for in their places. */
  #withMounted(nodes: NodeRecord[], at: readonly number[]): readonly NodeRecord[] {
    if (at.length === 0) return nodes;
    const mounted = this.mountedManySync(at.map((i) => (nodes[i] as NodeRecord).id));
    for (const i of at) {
      const row = nodes[i] as NodeRecord;
      nodes[i] = mounted.get(row.id) ?? row;
    }
    return nodes;
  }

  async hasChildren(parentId: NodeId): Promise<boolean> {
    return this.sql.anyChild.get(parentId) !== undefined;
  }

  async countBelow(id: NodeId, limit: number): Promise<number> {
    return this.sql.countBelow.get(id, limit) ?? 0;
  }

  async properties(ids: readonly NodeId[]): Promise<ReadonlyMap<NodeId, readonly DeadProperty[]>> {
    const out = new Map<NodeId, DeadProperty[]>();
    const first = ids[0];
    if (first === undefined) return out;
    const rows = ids.length === 1 ? this.sql.propertiesOfOne.all(first) : this.sql.properties.all(JSON.stringify(ids));
    for (const [id, ns, name, xml] of rows) {
      const list = out.get(id as NodeId);
      if (list === undefined) out.set(id as NodeId, [{ ns, name, xml }]);
      else list.push({ ns, name, xml });
    }
    return out;
  }

  async content(id: ContentId): Promise<ContentRecord | null> {
    const row = this.sql.content.get(id);
    return row === undefined ? null : { sha256: row[0], size_bytes: row[1], data: row[2] };
  }

  async usage(rootId: NodeId): Promise<Usage> {
    return this.usageSync(rootId);
  }

  async locksOn(ids: readonly NodeId[], now_ms: number): Promise<readonly LockRecord[]> {
    return this.sql.locksOn.all(JSON.stringify(ids), now_ms).map(toLock);
  }

  async locksBelow(id: NodeId, now_ms: number): Promise<readonly LockRecord[]> {
    const node = this.nodeSync(id);
    if (node === null || node.kind !== 'dir') return [];
    // Locks are few and trees are deep: climb from each lock instead of walking the subtree.
    const rows = this.sql.locksOfRoot.all(node.rootId, now_ms);
    return rows.filter((row) => this.sql.isBelow.get(row[1], id) !== undefined).map(toLock);
  }

  async locksIn(rootId: NodeId, now_ms: number): Promise<readonly LockRecord[]> {
    return this.locksInSync(rootId, now_ms);
  }

  locksInSync(rootId: NodeId, now_ms: number): readonly LockRecord[] {
    return this.sql.locksOfRootInOrder.all(rootId, now_ms).map(toLock);
  }

  async lock(token: string, now_ms: number): Promise<LockRecord | null> {
    const row = this.sql.lock.get(token, now_ms);
    return row === undefined ? null : toLock(row);
  }

  async nextLockExpiry(): Promise<number | null> {
    return this.sql.nextLockExpiry.get() ?? null;
  }

  async anyLock(rootId: NodeId, now_ms: number): Promise<boolean> {
    return this.sql.anyLock.get(rootId, now_ms) !== undefined;
  }

  async countLocks(rootId: NodeId, userId: string, now_ms: number): Promise<number> {
    return this.sql.countLocks.get(rootId, userId, now_ms) ?? 0;
  }

  async head(): Promise<{ readonly seq: number; readonly epoch: string }> {
    return this.headSync();
  }

  async changes(collectionId: NodeId, cursor: FeedCursor | null, limit: number): Promise<FeedPage | null> {
    return this.#feed.page(collectionId, cursor, limit);
  }

  async share(id: ShareId): Promise<ShareRecord | null> {
    return this.shareRows.one(id);
  }

  async shareByToken(token: string): Promise<ShareRecord | null> {
    return this.shareRows.byToken(token);
  }

  async shares(filter: ShareFilter): Promise<readonly ShareRecord[]> {
    return this.shareRows.list(filter);
  }

  async countMade(userId: string): Promise<number> {
    return this.shareRows.countMade(userId);
  }

  async grants(userId: string, ids: readonly NodeId[], now_ms: number): Promise<ReadonlyMap<NodeId, number>> {
    return this.shareRows.grants(userId, ids, now_ms);
  }

  async directGrants(userId: string, ids: readonly NodeId[], now_ms: number): Promise<ReadonlyMap<NodeId, number>> {
    return this.shareRows.directGrants(userId, ids, now_ms);
  }

  async anyShare(rootId: NodeId): Promise<boolean> {
    return this.shareRows.any(rootId);
  }

  async isWithinShare(id: NodeId): Promise<boolean> {
    return this.shareRows.isWithin(id);
  }

  async ownersOf(rootIds: readonly NodeId[]): Promise<ReadonlyMap<NodeId, string>> {
    return this.shareRows.ownersOf(rootIds);
  }

  async pathIn(rootId: NodeId, id: NodeId): Promise<readonly Name[] | null> {
    const lineage = this.lineageSync(id);
    const own = lineage.findIndex((node) => node.id === rootId);
    if (own >= 0) return lineage.slice(own + 1).map((node) => node.name);
    for (let i = lineage.length - 1; i >= 0; i--) {
      const mount = this.shareRows.mountIn(rootId, (lineage[i] as NodeRecord).id);
      if (mount === null) continue;
      const place = this.lineageSync(mount.id).slice(1);
      return [...place, ...lineage.slice(i + 1)].map((node) => node.name);
    }
    return null;
  }

  async nextExpiry(): Promise<number | null> {
    return this.shareRows.nextExpiry();
  }
}
