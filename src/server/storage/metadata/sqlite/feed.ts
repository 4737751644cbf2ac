// The change feed of one collection: nodes and tombstones of its root, merged by their sequence numbers. Each entry is
// preceded by the collections above it that this page has not named yet: so parents come before children, and the
// moved ETags of collections reach the client although only the changed node carries a new number.

import type { Name } from '../../../../ids.js';
import type { Change, FeedCursor, FeedPage, NodeId, NodeRecord } from '../metadata_store.js';
import type { Connection } from './database.js';
import type { SqliteRead } from './reading.js';
import { type NodeRow, nodeColumns, pathFromSql } from './rows.js';

interface Place {
  readonly node: NodeRecord;
  /** From the root. */
  readonly path: readonly Name[];
  readonly above: Place | null;
}

function feedStatements(db: Connection) {
  return {
    nodes: db
      .prepare<[number, number, number], NodeRow>(
        `SELECT ${nodeColumns('n')} FROM nodes n WHERE n.root_id = ? AND n.changed_seq > ? ORDER BY n.changed_seq LIMIT ?`,
      )
      .raw(),
    tombstones: db
      .prepare<[number, number, number], [number, string | Buffer]>(
        'SELECT seq, path FROM tombstones WHERE root_id = ? AND seq > ? ORDER BY seq LIMIT ?',
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

    const nodes = this.#sql.nodes.all(root.id, at.seq, limit + 1);
    const gone = this.#sql.tombstones.all(root.id, Math.max(at.seq, at.listedFrom ?? 0), limit + 1);
    const page = new PageBuilder(this.#tree, root.id, lineage);
    let seq = at.seq;
    let n = 0;
    let g = 0;
    while (n + g < limit) {
      const node = nodes[n];
      const tombstone = gone[g];
      if (node !== undefined && (tombstone === undefined || node[8] < tombstone[0])) {
        page.present(this.#tree.toNode(node));
        seq = node[8];
        n += 1;
      } else if (tombstone !== undefined) {
        page.gone(pathFromSql(tombstone[1]));
        seq = tombstone[0];
        g += 1;
      } else break;
    }
    const more = n < nodes.length || g < gone.length;
    // At the end everything up to the head is told, also what concerned other roots.
    const next = more ? { seq, listedFrom: at.listedFrom } : { seq: head, listedFrom: null };
    return { changes: page.changes, next, more };
  }
}

class PageBuilder {
  readonly changes: Change[] = [];
  readonly #tree: SqliteRead;
  readonly #rootId: NodeId;
  readonly #prefix: readonly Name[];
  readonly #collection: NodeRecord | undefined;
  readonly #places = new Map<NodeId, Place | null>();
  readonly #named = new Set<NodeId>();

  constructor(tree: SqliteRead, rootId: NodeId, lineage: readonly NodeRecord[]) {
    this.#tree = tree;
    this.#rootId = rootId;
    this.#prefix = lineage.slice(1).map((node) => node.name);
    this.#collection = lineage.at(-1);
  }

  present(node: NodeRecord): void {
    if (node.parentId === null || node.id === this.#collection?.id) return;
    const above = this.#place(node.parentId);
    if (above === null) return;
    this.#name(above);
    this.#named.add(node.id);
    this.changes.push({ kind: 'present', node, path: [...above.path, node.name] });
  }

  gone(path: readonly Name[]): void {
    if (path.length <= this.#prefix.length || this.#prefix.some((name, i) => path[i] !== name)) return;
    const { node, ancestors } = this.#tree.resolveSync(this.#rootId, path);
    const parent = ancestors.at(-1);
    const place = parent === undefined ? null : this.#place(parent.id);
    if (place !== null) this.#name(place);
    // Something else stands there now and is (or will be) told as present: each path has one last word.
    if (node === null) this.changes.push({ kind: 'gone', path });
  }

  /** Where a collection is, null if not at or below the one asked about. */
  #place(id: NodeId): Place | null {
    const found = this.#places.get(id);
    if (found !== undefined) return found;
    let place: Place | null = null;
    const node = this.#tree.nodeSync(id);
    if (node !== null && id === this.#collection?.id) place = { node, path: this.#prefix, above: null };
    else if (node !== null && node.parentId !== null) {
      const above = this.#place(node.parentId);
      if (above !== null) place = { node, path: [...above.path, node.name], above };
    }
    this.#places.set(id, place);
    return place;
  }

  /** Names the collections from the top down to this one, once per page. */
  #name(place: Place): void {
    if (place.above === null || this.#named.has(place.node.id)) return;
    this.#name(place.above);
    this.#named.add(place.node.id);
    this.changes.push({ kind: 'present', node: place.node, path: place.path });
  }
}
