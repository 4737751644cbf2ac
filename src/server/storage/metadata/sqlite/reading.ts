// Reading transactions: prepared statements over one connection, and the interface `MetadataRead` over them. The
// methods ending in `Sync` are for the rooms beside this file; everyone else awaits.

import type { Name } from '../../../../ids.js';
import { nameToSql } from '../../../../names.js';
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
import type { Connection } from './database.js';
import { FeedReader } from './feed.js';
import {
  BRIEF_COLUMNS,
  type BriefRow,
  LOCK_COLUMNS,
  type LockRow,
  type NodeRow,
  nodeColumns,
  toBriefNode,
  toLock,
  toNode,
} from './rows.js';

const UP = `WITH RECURSIVE up(id, parent_id, depth) AS (
  SELECT id, parent_id, 0 FROM nodes WHERE id = ?
  UNION ALL SELECT n.id, n.parent_id, up.depth + 1 FROM up JOIN nodes n ON n.id = up.parent_id)`;

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
      .prepare<[number, SqlName], [...NodeRow, string | null, number | null, Buffer | null]>(
        `SELECT ${node}, c.sha256, c.size, c.data FROM nodes n LEFT JOIN contents c ON c.id = n.content_id
         WHERE n.parent_id = ? AND n.name = ?`,
      )
      .raw(),
    lineage: db
      .prepare<[number], NodeRow>(`${UP} SELECT ${node} FROM up JOIN nodes n ON n.id = up.id ORDER BY up.depth DESC`)
      .raw(),
    children: db
      .prepare<[number, SqlName, number], NodeRow>(
        `SELECT ${node} FROM nodes n WHERE n.parent_id = ? AND n.name > ? ORDER BY n.name LIMIT ?`,
      )
      .raw(),
    briefChildren: db
      .prepare<[number, SqlName, number], BriefRow>(
        `SELECT ${BRIEF_COLUMNS} FROM nodes n WHERE n.parent_id = ? AND n.name > ? ORDER BY n.name LIMIT ?`,
      )
      .raw(),
    anyChild: db.prepare<[number], number>('SELECT 1 FROM nodes WHERE parent_id = ? LIMIT 1').pluck(),
    countBelow: db
      .prepare<[number, number], number>(
        `WITH RECURSIVE below(id) AS (
           SELECT id FROM nodes WHERE parent_id = ?
           UNION ALL SELECT n.id FROM below JOIN nodes n ON n.parent_id = below.id)
         SELECT count(*) FROM (SELECT 1 FROM below LIMIT ?)`,
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
        'SELECT n.size, r.quota_bytes FROM nodes n LEFT JOIN roots r ON r.node_id = n.id WHERE n.id = ?',
      )
      .raw(),
    anyLock: db
      .prepare<[number, number], number>('SELECT 1 FROM locks WHERE root_id = ? AND expires_ms > ? LIMIT 1')
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
    lock: db
      .prepare<[string, number], LockRow>(`SELECT ${LOCK_COLUMNS} FROM locks l WHERE l.token = ? AND l.expires_ms > ?`)
      .raw(),
  };
}

export type ReadStatements = ReturnType<typeof readStatements>;

export class SqliteRead implements MetadataRead {
  protected readonly sql: ReadStatements;
  readonly #feed: FeedReader;
  #epoch: string;

  constructor(db: Connection) {
    this.sql = readStatements(db);
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

  memberSync(parentId: NodeId, name: Name): NodeRecord | null {
    const row = this.sql.member.get(parentId, nameToSql(name));
    return row === undefined ? null : this.toNode(row);
  }

  resolveSync(rootId: NodeId, path: readonly Name[]): Resolved {
    let node = this.nodeSync(rootId);
    const ancestors: NodeRecord[] = [];
    for (const name of path) {
      if (node === null || node.kind !== 'dir') return { node: null, parent: null, ancestors };
      ancestors.push(node);
      node = this.memberSync(node.id, name);
    }
    return { node, parent: ancestors.at(-1) ?? null, ancestors };
  }

  lineageSync(id: NodeId): readonly NodeRecord[] {
    return this.sql.lineage.all(id).map((row) => this.toNode(row));
  }

  usageSync(rootId: NodeId): Usage {
    const row = this.sql.usage.get(rootId);
    return { used_bytes: row?.[0] ?? 0, quota_bytes: row?.[1] ?? null };
  }

  async root(userId: string): Promise<NodeRecord | null> {
    const row = this.sql.root.get(userId);
    return row === undefined ? null : this.toNode(row);
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
      if (id === undefined) return null;
      parentId = id;
    }
    if (last < 0) {
      const root = this.nodeSync(rootId);
      return root === null ? null : { node: root, content: null };
    }
    const row = this.sql.readable.get(parentId, nameToSql(path[last] as Name));
    if (row === undefined) return null;
    const [sha256, size_bytes, data] = [row[19], row[20], row[21]];
    return {
      node: this.toNode(row as unknown as NodeRow),
      content: sha256 === null || size_bytes === null ? null : { sha256, size_bytes, data },
    };
  }

  async pathOf(id: NodeId): Promise<readonly Name[] | null> {
    const lineage = this.lineageSync(id);
    return lineage.length === 0 ? null : lineage.slice(1).map((node) => node.name);
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
      for (let i = 0; i < rows.length; i++) brief[i] = toBriefNode(rows[i] as BriefRow, parent, this.#epoch);
      return brief;
    }
    const rows = this.sql.children.all(parent.id, from, limit);
    const nodes: NodeRecord[] = new Array(rows.length);
    for (let i = 0; i < rows.length; i++) nodes[i] = this.toNode(rows[i] as NodeRow);
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

  async lock(token: string, now_ms: number): Promise<LockRecord | null> {
    const row = this.sql.lock.get(token, now_ms);
    return row === undefined ? null : toLock(row);
  }

  async anyLock(rootId: NodeId, now_ms: number): Promise<boolean> {
    return this.sql.anyLock.get(rootId, now_ms) !== undefined;
  }

  async head(): Promise<{ readonly seq: number; readonly epoch: string }> {
    return this.headSync();
  }

  async changes(collectionId: NodeId, cursor: FeedCursor | null, limit: number): Promise<FeedPage | null> {
    return this.#feed.page(collectionId, cursor, limit);
  }
}
