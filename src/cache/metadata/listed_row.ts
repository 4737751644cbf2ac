// What a listing says of a node, held against its row or made a new one, without an object in between: a listing of a whole
// tree does nothing else, many thousand times.

import type { Timestamp } from '../../clock.js';
import type { Name } from '../../ids.js';
import { nameToSql } from '../../names.js';
import type { LockInfo, RemoteEntry } from '../../remote/remote.js';
import { type BasePlace, rightsBitsOf } from './node.js';
import { encodeXattrs, KINDS } from './node_row.js';

/** `entry`, at this place. */
export interface Listed {
  readonly place: BasePlace;
  readonly entry: RemoteEntry;
  readonly mtime: Timestamp;
  /** On the node itself. */
  readonly lock: LockInfo | null;
  /** The full listing that says it, 0 = another one. */
  readonly epoch: number;
}

/** What a node can have of which nothing but this is known. All else has its default. */
const COLUMNS = [
  ...(['kind', 'parent', 'name', 'size', 'mtime_s', 'mtime_ns', 'ctime_s', 'ctime_ns', 'atime_s', 'atime_ns'] as const),
  ...(['mode', 'uid', 'gid', 'target', 'rights', 'shared', 'checksum', 'fileid', 'lock', 'xattrs'] as const),
  ...(['base_parent', 'base_name', 'base_etag', 'base_size', 'seen'] as const),
];

/** Nothing where the place is taken, or the node is known at another one: it would have no kind then. Asking with `SELECT …
 * WHERE NOT EXISTS` takes a third longer. */
export const INSERT_LISTED = `INSERT OR IGNORE INTO node (${COLUMNS.join(', ')})
  VALUES (CASE WHEN EXISTS (SELECT 1 FROM node WHERE fileid = ?) THEN NULL ELSE ? END${', ?'.repeat(COLUMNS.length - 1)})`;

export function insertListedArgs({ place, entry, mtime, lock, epoch }: Listed): unknown[] {
  const name = nameToSql(place.name);
  const { kind, fileid, posix, xattrs } = entry;
  const target = targetOf(entry);
  return [
    fileid,
    KINDS.indexOf(kind) + 1,
    place.parent,
    name,
    kind === 'symlink' ? Buffer.byteLength(entry.symlinkTarget ?? '') : entry.size_bytes,
    mtime.s,
    mtime.ns,
    mtime.s,
    mtime.ns,
    mtime.s,
    mtime.ns,
    posix.mode ?? null,
    posix.uid ?? null,
    posix.gid ?? null,
    target,
    rightsBitsOf(kind, entry.rights),
    entry.shared,
    entry.checksum,
    fileid,
    lock === null ? null : JSON.stringify(lock),
    xattrs.size === 0 ? null : encodeXattrs(xattrs),
    place.parent,
    name,
    entry.etag,
    entry.size_bytes,
    epoch,
  ];
}

/** The node in this place on the server, if it is in the same place here and nothing of it differs from what is given. Never
 * one with a lock or with attributes of the user's own. */
export const AS_LISTED = `SELECT ino, seen FROM node INDEXED BY node_base
  WHERE base_parent = ? AND base_name = ? AND parent = base_parent AND name = base_name
    AND kind = ? AND fileid IS ? AND base_etag IS ? AND base_size = ? AND checksum IS ? AND target IS ?
    AND mtime_s = ? AND mtime_ns = ? AND rights = ? AND shared IS ?
    AND mode IS coalesce(?, mode) AND uid IS coalesce(?, uid) AND gid IS coalesce(?, gid)
    AND (kind <> 1 OR size = base_size) AND dirty = 0 AND pending IS NULL AND limbo = 0
    AND sent IS NULL AND lock IS NULL AND xattrs IS NULL AND conflict IS NULL AND error_code IS NULL`;

export function asListedArgs({ place, entry, mtime }: Listed): unknown[] {
  const { posix } = entry;
  return [
    place.parent,
    nameToSql(place.name),
    KINDS.indexOf(entry.kind) + 1,
    entry.fileid,
    entry.etag,
    entry.size_bytes,
    entry.checksum,
    targetOf(entry),
    mtime.s,
    mtime.ns,
    rightsBitsOf(entry.kind, entry.rights),
    entry.shared,
    posix.mode ?? null,
    posix.uid ?? null,
    posix.gid ?? null,
  ];
}

function targetOf({ kind, symlinkTarget }: RemoteEntry): string | Buffer | null {
  return kind !== 'symlink' || symlinkTarget === null ? null : nameToSql(symlinkTarget as Name);
}
