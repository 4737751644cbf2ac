// Tables of the cache. One row per node that exists here, on the server, or both.
//
// A node has two places. `parent`/`name` is where the drive shows it (NULL = unlinked). `base_parent`/`base_name` is where
// the server has it as far as we know (NULL = not there). The difference between the two, plus the dirty bits, *is* the
// journal: what must still be sent is derived from it, so create+delete or rename+rename back cost nothing, and a crash
// can at worst repeat a step that is guarded by a precondition. `pending` orders the work.

export const SCHEMA_VERSION = 1;

export const SCHEMA = `
CREATE TABLE node (
  ino INTEGER PRIMARY KEY AUTOINCREMENT,
  kind INTEGER NOT NULL,              -- 1 file, 2 directory, 3 symlink
  parent INTEGER,
  name,                               -- TEXT, or BLOB where the bytes are no UTF-8
  size INTEGER NOT NULL,
  mtime_s INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  ctime_s INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
  atime_s INTEGER NOT NULL, atime_ns INTEGER NOT NULL,
  mode INTEGER, uid INTEGER, gid INTEGER,
  target,                             -- symlinks
  rights INTEGER NOT NULL,
  shared TEXT, checksum TEXT, fileid TEXT,
  lock TEXT,                          -- JSON LockInfo
  xattrs TEXT,                        -- JSON name -> base64: the user's own
  base_parent INTEGER, base_name,
  base_etag TEXT,                     -- version our content is, or was, based on; collections: their ETag
  base_size INTEGER,
  cut INTEGER,                        -- the file was truncated here: of the server's version only this much still counts
  torn INTEGER NOT NULL DEFAULT 0,    -- 1: truncated, and nothing was synced since; 2: about to be cut to that; 4: refused by the disk
  sent TEXT,                          -- JSON list of Sending: what may have reached the server since base_etag
  seen INTEGER NOT NULL DEFAULT 0,    -- last full listing that named it
  limbo INTEGER NOT NULL DEFAULT 0,   -- 1, 2: pushed out of its base slot by a feed that has not ended yet
  listed_ms INTEGER NOT NULL DEFAULT 0, -- directories: when completely listed
  listed_etag TEXT,
  dirty INTEGER NOT NULL DEFAULT 0,   -- Dirty bits
  xattr_dirty TEXT,                   -- JSON list of xattr names to send
  pending INTEGER,                    -- order of work, NULL = nothing to send
  pending_ms INTEGER NOT NULL DEFAULT 0,
  error TEXT, error_code TEXT,
  attempts INTEGER NOT NULL DEFAULT 0,
  upload_state TEXT,
  gen INTEGER NOT NULL DEFAULT 0,     -- generation of the content file
  extents BLOB,
  sums BLOB,                          -- per-block checksums of fetched bytes
  fingerprint TEXT,                   -- of the content file when it was last closed in good order
  cached INTEGER NOT NULL DEFAULT 0,  -- bytes in the content file
  used_ms INTEGER NOT NULL DEFAULT 0, -- last opened
  pin INTEGER NOT NULL DEFAULT 0,
  local_only INTEGER NOT NULL DEFAULT 0,
  conflict TEXT                       -- JSON {original, atEpoch_ms, reason}
);
CREATE UNIQUE INDEX node_place ON node(parent, name) WHERE parent IS NOT NULL;
CREATE INDEX node_members ON node(parent, ino) WHERE parent IS NOT NULL;
CREATE UNIQUE INDEX node_base ON node(base_parent, base_name) WHERE base_parent IS NOT NULL;
CREATE INDEX node_fileid ON node(fileid) WHERE fileid IS NOT NULL;
CREATE INDEX node_pending ON node(pending) WHERE pending IS NOT NULL;
CREATE INDEX node_used ON node(used_ms, cached) WHERE cached > 0;
CREATE INDEX node_unlinked ON node(ino) WHERE parent IS NULL;
CREATE INDEX node_lock ON node(ino) WHERE lock IS NOT NULL;
CREATE INDEX node_sent ON node(ino) WHERE sent IS NOT NULL;
CREATE INDEX node_dirty ON node(ino) WHERE dirty > 0;
CREATE INDEX node_pin ON node(pin) WHERE pin > 0;
CREATE INDEX node_limbo ON node(limbo) WHERE limbo > 0;
CREATE INDEX node_conflict ON node(ino) WHERE conflict IS NOT NULL;
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
`;
