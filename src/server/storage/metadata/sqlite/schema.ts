// Tables of the metadata store. Names are TEXT, or BLOB when they are no valid UTF-8 (`names.ts`), hence the columns
// without a type. Ids of nodes are numbers of the change sequence (the one they were created with): never reused.

import type { SchemaModule } from './database.js';

export const METADATA_SCHEMA: SchemaModule = {
  name: 'metadata',
  migrations: [
    `
    CREATE TABLE store (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      seq INTEGER NOT NULL,
      epoch TEXT NOT NULL
    );
    INSERT INTO store (id, seq, epoch) VALUES (1, 0, lower(hex(randomblob(6))));

    CREATE TABLE roots (
      user_id TEXT PRIMARY KEY,
      node_id INTEGER NOT NULL UNIQUE,
      quota_bytes INTEGER,
      feed_floor INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;

    CREATE TABLE nodes (
      id INTEGER PRIMARY KEY,
      parent_id INTEGER,
      root_id INTEGER NOT NULL,
      name NOT NULL,
      kind INTEGER NOT NULL,          -- 0 file, 1 dir, 2 symlink
      size INTEGER NOT NULL,          -- dir: sum below
      etag TEXT,                      -- null for dirs: made from tree_seq
      tree_seq INTEGER NOT NULL,      -- newest change at or below
      changed_seq INTEGER NOT NULL,   -- newest change of the node itself or of its path
      path_seq INTEGER NOT NULL,      -- when it was created or last moved itself
      content_id INTEGER,
      sha256 TEXT,
      mtime_s INTEGER NOT NULL,
      mtime_ns INTEGER NOT NULL,
      mtime_set INTEGER NOT NULL,     -- 1 = a client chose it; else a dir's follows its entries
      created_ms INTEGER NOT NULL,
      mode INTEGER,
      uid INTEGER,
      gid INTEGER,
      target BLOB,
      has_properties INTEGER NOT NULL DEFAULT 0
    );
    CREATE UNIQUE INDEX nodes_by_name ON nodes (parent_id, name);
    CREATE UNIQUE INDEX nodes_by_change ON nodes (root_id, changed_seq);

    CREATE TABLE contents (
      id INTEGER PRIMARY KEY,
      sha256 TEXT NOT NULL,
      size INTEGER NOT NULL,
      refs INTEGER NOT NULL,
      unused_since_ms INTEGER,
      data BLOB                       -- null: in the blob store
    );
    CREATE UNIQUE INDEX contents_by_hash ON contents (sha256) WHERE data IS NULL;
    CREATE INDEX contents_unused ON contents (unused_since_ms) WHERE unused_since_ms IS NOT NULL;

    CREATE TABLE properties (
      node_id INTEGER NOT NULL,
      ns TEXT NOT NULL,
      name TEXT NOT NULL,
      xml TEXT NOT NULL,
      PRIMARY KEY (node_id, ns, name)
    ) WITHOUT ROWID;

    CREATE TABLE locks (
      token TEXT PRIMARY KEY,
      node_id INTEGER NOT NULL,
      root_id INTEGER NOT NULL,
      exclusive INTEGER NOT NULL,
      infinite INTEGER NOT NULL,
      owner_xml TEXT NOT NULL,
      user_id TEXT NOT NULL,
      display_name TEXT NOT NULL,
      created_ms INTEGER NOT NULL,
      timeout_s INTEGER NOT NULL,
      expires_ms INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX locks_by_node ON locks (node_id);
    CREATE INDEX locks_by_root ON locks (root_id, expires_ms);

    CREATE TABLE tombstones (
      seq INTEGER PRIMARY KEY,
      root_id INTEGER NOT NULL,
      path NOT NULL,
      at_ms INTEGER NOT NULL
    );
    CREATE INDEX tombstones_by_root ON tombstones (root_id, seq);
    `,
    // Sharing. A node of kind 3 is a mount: it stands for the node mount_of of somebody else's tree. Where a tombstone
    // was is told by parent and name too, for those who see the parent at another place.
    `
    ALTER TABLE nodes ADD COLUMN mount_of INTEGER;
    CREATE INDEX nodes_by_mount ON nodes (mount_of) WHERE mount_of IS NOT NULL;
    CREATE INDEX mounts_by_root ON nodes (root_id) WHERE mount_of IS NOT NULL;
    ALTER TABLE tombstones ADD COLUMN parent_id INTEGER;
    ALTER TABLE locks ADD COLUMN by_user INTEGER NOT NULL DEFAULT 0;

    CREATE TABLE shares (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      node_id INTEGER NOT NULL,
      root_id INTEGER NOT NULL,
      kind INTEGER NOT NULL,          -- 0 user, 1 group, 3 link
      sharer_id TEXT NOT NULL,
      recipient TEXT NOT NULL,
      permissions INTEGER NOT NULL,
      granted INTEGER NOT NULL,
      note TEXT NOT NULL,
      label TEXT NOT NULL,
      created_ms INTEGER NOT NULL,
      expires_ms INTEGER,
      suspended INTEGER NOT NULL,
      token TEXT UNIQUE,
      password_hash TEXT,
      hide_download INTEGER NOT NULL,
      max_downloads INTEGER,
      downloads INTEGER NOT NULL
    );
    CREATE INDEX shares_by_node ON shares (node_id);
    CREATE INDEX shares_by_root ON shares (root_id);
    CREATE INDEX shares_by_sharer ON shares (sharer_id);
    CREATE INDEX shares_by_recipient ON shares (recipient);
    CREATE INDEX shares_by_expiry ON shares (expires_ms) WHERE expires_ms IS NOT NULL;

    CREATE TABLE share_people (
      share_id INTEGER NOT NULL REFERENCES shares (id) ON DELETE CASCADE,
      user_id TEXT NOT NULL,
      declined INTEGER NOT NULL,
      parent_id INTEGER,              -- where the mount was when it was last taken away
      name,
      PRIMARY KEY (share_id, user_id)
    ) WITHOUT ROWID;
    CREATE INDEX share_people_by_user ON share_people (user_id);
    `,
    // When what a share grants has to be looked at again: its own end, or that of one it was handed on from.
    `
    ALTER TABLE shares ADD COLUMN until_ms INTEGER;
    UPDATE shares SET until_ms = expires_ms;
    `,
    // Who wants to be asked before a share comes into their tree: share_people.declined is 2 until they have answered.
    `
    CREATE TABLE share_by_hand (user_id TEXT PRIMARY KEY) WITHOUT ROWID;
    `,
    // What properties take counts in the quota of whose tree they are in. By triggers: they are set, copied, moved and
    // removed in many ways.
    `
    ALTER TABLE roots ADD COLUMN property_bytes INTEGER NOT NULL DEFAULT 0;
    UPDATE roots SET property_bytes = held.bytes
      FROM (SELECT n.root_id, sum(octet_length(p.xml)) AS bytes FROM properties p JOIN nodes n ON n.id = p.node_id
            GROUP BY n.root_id) AS held
      WHERE roots.node_id = held.root_id;
    CREATE TRIGGER property_added AFTER INSERT ON properties BEGIN
      UPDATE roots SET property_bytes = property_bytes + octet_length(new.xml)
      WHERE node_id = (SELECT root_id FROM nodes WHERE id = new.node_id);
    END;
    CREATE TRIGGER property_changed AFTER UPDATE OF xml ON properties BEGIN
      UPDATE roots SET property_bytes = property_bytes + octet_length(new.xml) - octet_length(old.xml)
      WHERE node_id = (SELECT root_id FROM nodes WHERE id = new.node_id);
    END;
    CREATE TRIGGER property_removed AFTER DELETE ON properties BEGIN
      UPDATE roots SET property_bytes = property_bytes - octet_length(old.xml)
      WHERE node_id = (SELECT root_id FROM nodes WHERE id = old.node_id);
    END;
    CREATE TRIGGER properties_moved AFTER UPDATE OF root_id ON nodes
    WHEN new.has_properties = 1 AND new.root_id <> old.root_id BEGIN
      UPDATE roots SET property_bytes = property_bytes + iif(node_id = new.root_id, 1, -1)
        * (SELECT sum(octet_length(xml)) FROM properties WHERE node_id = new.id)
      WHERE node_id IN (old.root_id, new.root_id);
    END;
    `,
  ],
};
