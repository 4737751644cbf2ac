// The SQL of writing transactions, prepared once per connection.

import type { Connection } from './database.js';
import { KIND_DIR } from './rows.js';

const BELOW = `WITH RECURSIVE below(id, depth) AS (
  SELECT id, 0 FROM nodes WHERE id = ?
  UNION ALL SELECT n.id, below.depth + 1 FROM below JOIN nodes n ON n.parent_id = below.id)`;

type Sql = string | number | null | Buffer;

export function writeStatements(db: Connection) {
  return {
    setSeq: db.prepare<[number]>('UPDATE store SET seq = ?'),
    insertRoot: db.prepare<[string, number]>('INSERT INTO roots (user_id, node_id) VALUES (?, ?)'),
    deleteRoot: db.prepare<[string]>('DELETE FROM roots WHERE user_id = ?'),
    setQuota: db.prepare<[number | null, number]>('UPDATE roots SET quota_bytes = ? WHERE node_id = ?'),
    userOfRoot: db.prepare<[number], string>('SELECT user_id FROM roots WHERE node_id = ?').pluck(),
    insertNode: db.prepare<Sql[]>(
      `INSERT INTO nodes (id, parent_id, root_id, name, kind, size, etag, tree_seq, changed_seq, path_seq, content_id, sha256,
        mtime_s, mtime_ns, mtime_set, created_ms, mode, uid, gid, target, has_properties)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    replaceNode: db.prepare<Sql[]>(
      `UPDATE nodes SET kind = ?, size = ?, etag = ?, tree_seq = ?, changed_seq = ?, content_id = ?, sha256 = ?, mtime_s = ?,
        mtime_ns = ?, mtime_set = ?, mode = coalesce(?, mode), uid = coalesce(?, uid), gid = coalesce(?, gid), target = ?,
        created_ms = coalesce(?, created_ms)
       WHERE id = ?`,
    ),
    setAttributes: db.prepare<Sql[]>(
      `UPDATE nodes SET tree_seq = ?, changed_seq = ?, mtime_set = max(mtime_set, ?), mtime_s = coalesce(?, mtime_s),
        mtime_ns = coalesce(?, mtime_ns), created_ms = coalesce(?, created_ms), mode = coalesce(?, mode),
        uid = coalesce(?, uid), gid = coalesce(?, gid)
       WHERE id = ?`,
    ),
    stampNode: db.prepare<[number, number, number, number]>(
      'UPDATE nodes SET tree_seq = ?, changed_seq = ?, has_properties = ? WHERE id = ?',
    ),
    moveNode: db.prepare<[number, number, string | Buffer, number, number, number, number]>(
      'UPDATE nodes SET parent_id = ?, root_id = ?, name = ?, tree_seq = ?, changed_seq = ?, path_seq = ? WHERE id = ?',
    ),
    countBelow: db.prepare<[number], number>(`${BELOW} SELECT count(*) FROM below`).pluck(),
    /** The node counted too, and how many levels there are below it. */
    extent: db.prepare<[number], [number, number]>(`${BELOW} SELECT count(*), max(depth) FROM below`).raw(),
    /** New numbers for everything below a moved collection, parents first. */
    renumberBelow: db.prepare<[number, number, number]>(
      `${BELOW} UPDATE nodes SET root_id = ?, changed_seq = ? + numbered.n
       FROM (SELECT id, row_number() OVER (ORDER BY depth, id) AS n FROM below WHERE depth > 0) AS numbered
       WHERE nodes.id = numbered.id`,
    ),
    parentOf: db.prepare<[number], number | null>('SELECT parent_id FROM nodes WHERE id = ?').pluck(),
    /** One collection on the way up to the root. A recursive statement for all of them takes six times as long. */
    carry: db.prepare<[number, number, number]>(
      'UPDATE nodes SET tree_seq = max(tree_seq, ?), size = size + ? WHERE id = ?',
    ),
    /** The same for the collection whose entries changed: its time goes with them unless somebody chose it. */
    carryEntry: db.prepare<[number, number, number, number, number]>(
      `UPDATE nodes SET tree_seq = max(tree_seq, ?), size = size + ?, mtime_s = iif(mtime_set = 0, ?, mtime_s),
         mtime_ns = iif(mtime_set = 0, ?, mtime_ns)
       WHERE id = ?`,
    ),
    /** As `renumberBelow`, the ETags of collections included. */
    retellBelow: db.prepare<[number, number, number]>(
      `${BELOW} UPDATE nodes SET changed_seq = ? + numbered.n,
         tree_seq = CASE WHEN kind = ${KIND_DIR} THEN ? + numbered.n ELSE tree_seq END
       FROM (SELECT id, row_number() OVER (ORDER BY depth, id) AS n FROM below WHERE depth > 0) AS numbered
       WHERE nodes.id = numbered.id`,
    ),
    anyMountAnywhere: db.prepare<[], number>('SELECT 1 FROM nodes WHERE mount_of IS NOT NULL LIMIT 1').pluck(),
    /** Entries for shares of these nodes or of anything above them. */
    mountsAbove: db
      .prepare<[string], [number, number, number]>(
        `WITH RECURSIVE up(id, parent_id) AS (
           SELECT id, parent_id FROM nodes WHERE id IN (SELECT value FROM json_each(?))
           UNION SELECT n.id, n.parent_id FROM up JOIN nodes n ON n.id = up.parent_id)
         SELECT m.id, m.root_id, m.mount_of FROM up JOIN nodes m ON m.mount_of = up.id`,
      )
      .raw(),
    tombstone: db.prepare<[number, number, string | Buffer, number, number]>(
      'INSERT INTO tombstones (seq, root_id, path, at_ms, parent_id) VALUES (?, ?, ?, ?, ?)',
    ),
    insertInline: db.prepare<[string, number, Buffer]>(
      'INSERT INTO contents (sha256, size, refs, data) VALUES (?, ?, 1, ?)',
    ),
    insertBlob: db
      .prepare<[string, number], number>(
        `INSERT INTO contents (sha256, size, refs) VALUES (?, ?, 1)
         ON CONFLICT (sha256) WHERE data IS NULL DO UPDATE SET refs = refs + 1, unused_since_ms = NULL RETURNING id`,
      )
      .pluck(),
    retain: db.prepare<[number]>('UPDATE contents SET refs = refs + 1, unused_since_ms = NULL WHERE id = ?'),
    dropInline: db.prepare<[number]>('DELETE FROM contents WHERE id = ? AND refs = 1 AND data IS NOT NULL'),
    release: db.prepare<[number, number]>(
      'UPDATE contents SET refs = refs - 1, unused_since_ms = CASE WHEN refs = 1 THEN ? END WHERE id = ?',
    ),
    releaseBelow: db.prepare<[number, number]>(
      `${BELOW} UPDATE contents SET refs = refs - used.n, unused_since_ms = CASE WHEN refs = used.n THEN ? END
       FROM (SELECT n.content_id AS id, count(*) AS n FROM below JOIN nodes n ON n.id = below.id
             WHERE n.content_id IS NOT NULL GROUP BY n.content_id) AS used
       WHERE contents.id = used.id`,
    ),
    deleteUnusedInline: db.prepare('DELETE FROM contents WHERE unused_since_ms IS NOT NULL AND data IS NOT NULL'),
    deleteNode: db.prepare<[number]>('DELETE FROM nodes WHERE id = ?'),
    deletePropertiesBelow: db.prepare<[number]>(
      `${BELOW} DELETE FROM properties WHERE node_id IN (SELECT b.id FROM below b JOIN nodes n ON n.id = b.id WHERE n.has_properties = 1)`,
    ),
    deleteBelow: db.prepare<[number]>(`${BELOW} DELETE FROM nodes WHERE id IN (SELECT id FROM below)`),
    deleteProperties: db.prepare<[number]>('DELETE FROM properties WHERE node_id = ?'),
    setProperty: db.prepare<[number, string, string, string]>(
      `INSERT INTO properties (node_id, ns, name, xml) VALUES (?, ?, ?, ?)
       ON CONFLICT (node_id, ns, name) DO UPDATE SET xml = excluded.xml`,
    ),
    removeProperty: db.prepare<[number, string, string]>(
      'DELETE FROM properties WHERE node_id = ? AND ns = ? AND name = ?',
    ),
    copyProperties: db.prepare<[number, number]>(
      'INSERT INTO properties (node_id, ns, name, xml) SELECT ?, ns, name, xml FROM properties WHERE node_id = ?',
    ),
    anyProperty: db.prepare<[number], number>('SELECT 1 FROM properties WHERE node_id = ? LIMIT 1').pluck(),
    mtimeSet: db.prepare<[number], number>('SELECT mtime_set FROM nodes WHERE id = ?').pluck(),
    insertLock: db.prepare<Sql[]>(
      `INSERT INTO locks (token, node_id, root_id, exclusive, infinite, owner_xml, user_id, display_name, created_ms,
        timeout_s, expires_ms, by_user) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    refreshLock: db.prepare<[number, number, string]>('UPDATE locks SET timeout_s = ?, expires_ms = ? WHERE token = ?'),
    lockedNode: db.prepare<[string], [number, number]>('SELECT node_id, infinite FROM locks WHERE token = ?').raw(),
    expiredLocks: db.prepare<[number], string>('SELECT token FROM locks WHERE expires_ms <= ?').pluck(),
    deleteLock: db.prepare<[string]>('DELETE FROM locks WHERE token = ?'),
    deleteLocksOf: db.prepare<[number]>('DELETE FROM locks WHERE node_id = ?'),
    anyLockRow: db.prepare<[number], number>('SELECT 1 FROM locks WHERE root_id = ? LIMIT 1').pluck(),
    sharedIn: db.prepare<[number], number>('SELECT DISTINCT node_id FROM shares WHERE root_id = ?').pluck(),
    lockRowsOfRoot: db.prepare<[number], [string, number]>('SELECT token, node_id FROM locks WHERE root_id = ?').raw(),
  };
}

export type WriteStatements = ReturnType<typeof writeStatements>;
