// Shares read from SQLite. Rights are asked for many nodes at once: one climb from all of them to their roots, joined with
// the shares on the way.

import type { NodeId } from '../metadata_store.js';
import { type ShareFilter, type ShareId, type ShareKind, type ShareRecord, shareKindNumber } from '../share_records.js';
import type { Connection } from './database.js';

const COLUMNS = `s.id, s.node_id, s.root_id, s.kind, r.user_id, s.sharer_id, s.recipient, s.permissions, s.granted, s.note,
  s.label, s.created_ms, s.expires_ms, s.suspended, s.token, s.password_hash, s.hide_download, s.max_downloads, s.downloads`;
const FROM = 'FROM shares s JOIN roots r ON r.node_id = s.root_id';

type ShareRow = [
  id: number,
  nodeId: number,
  rootId: number,
  kind: number,
  ownerId: string,
  sharerId: string,
  recipient: string,
  permissions: number,
  granted: number,
  note: string,
  label: string,
  createdMs: number,
  expiresMs: number | null,
  suspended: number,
  token: string | null,
  passwordHash: string | null,
  hideDownload: number,
  maxDownloads: number | null,
  downloads: number,
];

/** As the sharing API numbers them. */
const KINDS: ReadonlyMap<number, ShareKind> = new Map(
  (['user', 'group', 'link'] as const).map((kind) => [shareKindNumber(kind), kind]),
);

function toShare(row: ShareRow): ShareRecord {
  const token = row[14];
  return {
    id: row[0] as ShareId,
    nodeId: row[1] as NodeId,
    rootId: row[2] as NodeId,
    kind: KINDS.get(row[3]) ?? 'user',
    ownerId: row[4],
    sharerId: row[5],
    recipient: row[6],
    permissions: row[7],
    granted: row[8],
    note: row[9],
    label: row[10],
    created_ms: row[11],
    expires_ms: row[12],
    suspended: row[13] === 1,
    link:
      token === null
        ? null
        : {
            token,
            passwordHash: row[15],
            hideDownload: row[16] === 1,
            maxDownloads: row[17],
            downloads: row[18],
          },
  };
}

function statements(db: Connection) {
  const list = <P extends unknown[]>(where: string) =>
    db.prepare<P, ShareRow>(`SELECT ${COLUMNS} ${FROM} WHERE ${where} ORDER BY s.id`).raw();
  return {
    one: list<[number]>('s.id = ?'),
    byToken: list<[string]>('s.token = ?'),
    given: list<[string, string]>('(s.sharer_id = ? OR r.user_id = ?)'),
    countMade: db.prepare<[string], number>('SELECT count(*) FROM shares WHERE sharer_id = ?').pluck(),
    received: list<[string]>('s.id IN (SELECT share_id FROM share_people WHERE user_id = ? AND declined = 0)'),
    ofNodes: list<[string]>('s.node_id IN (SELECT value FROM json_each(?))'),
    pending: list<[string]>('s.id IN (SELECT share_id FROM share_people WHERE user_id = ? AND declined = 2)'),
    ofGroup: list<[string]>('s.kind = 1 AND s.recipient = ?'),
    ofRoot: list<[number]>('s.root_id = ?'),
    any: db.prepare<[number], number>('SELECT 1 FROM shares WHERE root_id = ? LIMIT 1').pluck(),
    within: db
      .prepare<[number], number>(
        `WITH RECURSIVE up(id, parent_id) AS (
           SELECT id, parent_id FROM nodes WHERE id = ?
           UNION ALL SELECT n.id, n.parent_id FROM up JOIN nodes n ON n.id = up.parent_id)
         SELECT 1 FROM up JOIN shares s ON s.node_id = up.id LIMIT 1`,
      )
      .pluck(),
    grants: db
      .prepare<[string, string, number], [number, number]>(
        `WITH RECURSIVE up(origin, id, parent_id) AS (
           SELECT n.id, n.id, n.parent_id FROM json_each(?) j JOIN nodes n ON n.id = j.value
           UNION ALL SELECT up.origin, n.id, n.parent_id FROM up JOIN nodes n ON n.id = up.parent_id)
         SELECT up.origin, s.granted FROM up JOIN shares s ON s.node_id = up.id
         JOIN share_people p ON p.share_id = s.id AND p.user_id = ?
         WHERE p.declined = 0 AND (s.until_ms IS NULL OR s.until_ms > ?)`,
      )
      .raw(),
    direct: db
      .prepare<[string, string, number], [number, number]>(
        `SELECT s.node_id, s.granted FROM shares s JOIN share_people p ON p.share_id = s.id AND p.user_id = ?
         WHERE s.node_id IN (SELECT value FROM json_each(?)) AND p.declined = 0
         AND (s.until_ms IS NULL OR s.until_ms > ?)`,
      )
      .raw(),
    owners: db
      .prepare<[string], [number, string]>(
        'SELECT node_id, user_id FROM roots WHERE node_id IN (SELECT value FROM json_each(?))',
      )
      .raw(),
    nextExpiry: db
      .prepare<[], number | null>('SELECT min(expires_ms) FROM shares WHERE expires_ms IS NOT NULL AND granted > 0')
      .pluck(),
    mountsOf: db
      .prepare<[number, number], [number, number]>(
        'SELECT id, parent_id FROM nodes WHERE mount_of = ? AND root_id = ? LIMIT 1',
      )
      .raw(),
  };
}

export class ShareReader {
  readonly #sql: ReturnType<typeof statements>;

  constructor(db: Connection) {
    this.#sql = statements(db);
  }

  one(id: ShareId): ShareRecord | null {
    const row = this.#sql.one.get(id);
    return row === undefined ? null : toShare(row);
  }

  byToken(token: string): ShareRecord | null {
    const row = this.#sql.byToken.get(token);
    return row === undefined ? null : toShare(row);
  }

  list(filter: ShareFilter): readonly ShareRecord[] {
    return this.#rows(filter).map(toShare);
  }

  #rows(filter: ShareFilter): readonly ShareRow[] {
    switch (filter.kind) {
      case 'given':
        return this.#sql.given.all(filter.userId, filter.userId);
      case 'received':
        return this.#sql.received.all(filter.userId);
      case 'pending':
        return this.#sql.pending.all(filter.userId);
      case 'node':
        return this.#sql.ofNodes.all(JSON.stringify(filter.nodeIds));
      case 'group':
        return this.#sql.ofGroup.all(filter.groupId);
    }
  }

  countMade(userId: string): number {
    return this.#sql.countMade.get(userId) ?? 0;
  }

  ofRoot(rootId: NodeId): readonly ShareRecord[] {
    return this.#sql.ofRoot.all(rootId).map(toShare);
  }

  any(rootId: NodeId): boolean {
    return this.#sql.any.get(rootId) !== undefined;
  }

  isWithin(id: NodeId): boolean {
    return this.#sql.within.get(id) !== undefined;
  }

  grants(userId: string, ids: readonly NodeId[], now_ms: number): ReadonlyMap<NodeId, number> {
    if (ids.length === 0) return new Map();
    return union(this.#sql.grants.all(JSON.stringify(ids), userId, now_ms));
  }

  directGrants(userId: string, ids: readonly NodeId[], now_ms: number): ReadonlyMap<NodeId, number> {
    if (ids.length === 0) return new Map();
    return union(this.#sql.direct.all(userId, JSON.stringify(ids), now_ms));
  }

  ownersOf(rootIds: readonly NodeId[]): ReadonlyMap<NodeId, string> {
    return new Map(this.#sql.owners.all(JSON.stringify(rootIds)).map(([id, userId]) => [id as NodeId, userId]));
  }

  nextExpiry(): number | null {
    return this.#sql.nextExpiry.get() ?? null;
  }

  /** The entry for this very node in the tree: its row and the collection it is in. */
  mountIn(rootId: NodeId, nodeId: NodeId): { readonly id: NodeId; readonly parentId: NodeId } | null {
    const row = this.#sql.mountsOf.get(nodeId, rootId);
    return row === undefined ? null : { id: row[0] as NodeId, parentId: row[1] as NodeId };
  }
}

function union(rows: readonly (readonly [number, number])[]): ReadonlyMap<NodeId, number> {
  const out = new Map<NodeId, number>();
  for (const [id, granted] of rows) {
    if (granted !== 0) out.set(id as NodeId, (out.get(id as NodeId) ?? 0) | granted);
  }
  return out;
}
