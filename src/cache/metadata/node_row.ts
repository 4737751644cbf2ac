// One row of the node table and the object it becomes: columns, their order, and how each value is stored.

import type { Ino, Name } from '../../ids.js';
import { nameFromSql, nameToSql } from '../../names.js';
import type { LockInfo, NodeKind } from '../../remote/remote.js';
import type { NodeView } from '../cache_api.js';
import { type ConflictNote, lockThatCounts, NodeRecord, rightsOfBits, type Sending } from './node.js';

export const KINDS: readonly NodeKind[] = ['file', 'dir', 'symlink'];
const LIMBO = ['none', 'follow', 'stay'] as const;
/** Bits of `torn`. */
const TORN = 1;
const CUTTING = 2;
const UNSTORED = 4;
export type SqlName = string | Buffer;

export const COLUMNS = [
  'kind',
  'parent',
  'name',
  'size',
  'mtime_s',
  'mtime_ns',
  'ctime_s',
  'ctime_ns',
  'atime_s',
  'atime_ns',
  'mode',
  'uid',
  'gid',
  'target',
  'rights',
  'shared',
  'checksum',
  'fileid',
  'lock',
  'xattrs',
  'base_parent',
  'base_name',
  'base_etag',
  'base_size',
  'cut',
  'torn',
  'sent',
  'seen',
  'limbo',
  'listed_ms',
  'listed_etag',
  'dirty',
  'xattr_dirty',
  'pending',
  'pending_ms',
  'error',
  'error_code',
  'attempts',
  'upload_state',
  'gen',
  'extents',
  'sums',
  'fingerprint',
  'cached',
  'used_ms',
  'pin',
  'local_only',
  'conflict',
] as const;

type Column = (typeof COLUMNS)[number];

export const INSERT = `INSERT INTO node (${COLUMNS.join(', ')}) VALUES (${COLUMNS.map(() => '?').join(', ')})`;

export const INSERT_ROOT = INSERT.replace('(', '(ino, ').replace('VALUES (', 'VALUES (1, ');

/** A row, read as an array: a quarter of what an object with so many fields costs. */
export type Row = readonly unknown[];

export const NODE = `SELECT ino, ${COLUMNS.join(', ')} FROM node`;
/** Where in a `NODE` row a column is. */
export const AT = Object.fromEntries(COLUMNS.map((column, at) => [column, at + 1])) as Readonly<Record<Column, number>>;

export const MEMBER_VIEWS = `SELECT ino, kind, name, size, mtime_s, mtime_ns, ctime_s, ctime_ns, atime_s, atime_ns, mode, uid, gid,
    rights, lock, target, base_parent FROM node WHERE parent = ? AND ino > ? ORDER BY ino LIMIT +?`;

export function fromRow(row: Row): NodeRecord {
  const node = new NodeRecord(
    row[0] as Ino,
    KINDS[(row[AT.kind] as number) - 1] ?? 'file',
    row[AT.parent] as Ino | null,
    nameFromSql(row[AT.name] as SqlName),
    { s: row[AT.mtime_s] as number, ns: row[AT.mtime_ns] as number },
  );
  node.size_bytes = row[AT.size] as number;
  node.ctime = { s: row[AT.ctime_s] as number, ns: row[AT.ctime_ns] as number };
  node.atime = { s: row[AT.atime_s] as number, ns: row[AT.atime_ns] as number };
  node.mode = row[AT.mode] as number | null;
  node.uid = row[AT.uid] as number | null;
  node.gid = row[AT.gid] as number | null;
  node.symlinkTarget = row[AT.target] === null ? null : nameFromSql(row[AT.target] as SqlName);
  node.rightsBits = row[AT.rights] as number;
  node.shared = row[AT.shared] as NodeRecord['shared'];
  node.checksum = row[AT.checksum] as string | null;
  node.fileid = row[AT.fileid] as string | null;
  node.lockInfo = row[AT.lock] === null ? null : (JSON.parse(row[AT.lock] as string) as LockInfo);
  node.xattrs = row[AT.xattrs] === null ? null : decodeXattrs(row[AT.xattrs] as string);
  node.base =
    row[AT.base_parent] === null || row[AT.base_name] === null
      ? null
      : { parent: row[AT.base_parent] as Ino, name: nameFromSql(row[AT.base_name] as SqlName) };
  node.baseEtag = row[AT.base_etag] as string | null;
  node.baseSize_bytes = row[AT.base_size] as number | null;
  node.cut_bytes = row[AT.cut] as number | null;
  node.torn = ((row[AT.torn] as number) & TORN) !== 0;
  node.cutting = ((row[AT.torn] as number) & CUTTING) !== 0;
  node.unstored = ((row[AT.torn] as number) & UNSTORED) !== 0;
  node.sending = row[AT.sent] === null ? [] : decodeSending(row[AT.sent] as string);
  node.seen = row[AT.seen] as number;
  node.limbo = LIMBO[row[AT.limbo] as number] ?? 'none';
  node.listed_ms = row[AT.listed_ms] as number;
  node.listedEtag = row[AT.listed_etag] as string | null;
  node.dirty = row[AT.dirty] as number;
  node.xattrDirty =
    row[AT.xattr_dirty] === null ? null : new Set(JSON.parse(row[AT.xattr_dirty] as string) as string[]);
  node.pending = row[AT.pending] as number | null;
  node.pendingSince_ms = row[AT.pending_ms] as number;
  node.error = row[AT.error] as string | null;
  node.errorCode = row[AT.error_code] as string | null;
  node.attempts = row[AT.attempts] as number;
  node.uploadState = row[AT.upload_state] as string | null;
  node.gen = row[AT.gen] as number;
  node.extents = row[AT.extents] as Buffer | null;
  node.sums = row[AT.sums] as Buffer | null;
  node.fingerprint = row[AT.fingerprint] as string | null;
  node.cached_bytes = row[AT.cached] as number;
  node.used_ms = row[AT.used_ms] as number;
  node.pin = row[AT.pin] !== 0;
  node.localOnly = row[AT.local_only] !== 0;
  node.surpassed = node.pending !== null || node.localOnly;
  node.conflict = row[AT.conflict] === null ? null : (JSON.parse(row[AT.conflict] as string) as ConflictNote);
  return node;
}

/** Of a row of `MEMBER_VIEWS`. */
export function viewOf(parent: Ino, row: Row, covered: LockInfo | null): NodeView {
  const own = row[14] === null ? null : (JSON.parse(row[14] as string) as LockInfo);
  const lock = lockThatCounts(own, covered, row[16] !== null);
  const target = row[15] as SqlName | null;
  return {
    ino: row[0] as Ino,
    kind: KINDS[(row[1] as number) - 1] ?? 'file',
    parent,
    name: nameFromSql(row[2] as SqlName),
    size_bytes: row[3] as number,
    mtime: { s: row[4] as number, ns: row[5] as number },
    ctime: { s: row[6] as number, ns: row[7] as number },
    atime: { s: row[8] as number, ns: row[9] as number },
    mode: row[10] as number | null,
    uid: row[11] as number | null,
    gid: row[12] as number | null,
    rights: rightsOfBits(row[13] as number),
    lock: lock === null ? 'none' : lock.mine ? 'mine' : 'other',
    symlinkTarget: target === null ? null : nameFromSql(target),
    nlink: 1,
    dataVersion: 0,
  };
}

/** In the order of `COLUMNS`. */
export function toRow(node: NodeRecord): unknown[] {
  return [
    KINDS.indexOf(node.kind) + 1,
    node.parent,
    nameToSql(node.name),
    node.size_bytes,
    node.mtime.s,
    node.mtime.ns,
    node.ctime.s,
    node.ctime.ns,
    node.atime.s,
    node.atime.ns,
    node.mode,
    node.uid,
    node.gid,
    node.symlinkTarget === null ? null : nameToSql(node.symlinkTarget as Name),
    node.rightsBits,
    node.shared,
    node.checksum,
    node.fileid,
    node.lockInfo === null ? null : JSON.stringify(node.lockInfo),
    node.xattrs === null || node.xattrs.size === 0 ? null : encodeXattrs(node.xattrs),
    node.base?.parent ?? null,
    node.base === null ? null : nameToSql(node.base.name),
    node.baseEtag,
    node.baseSize_bytes,
    node.cut_bytes,
    (node.torn ? TORN : 0) | (node.cutting ? CUTTING : 0) | (node.unstored ? UNSTORED : 0),
    node.sending.length === 0 ? null : encodeSending(node.sending),
    node.seen,
    LIMBO.indexOf(node.limbo),
    node.listed_ms,
    node.listedEtag,
    node.dirty,
    node.xattrDirty === null || node.xattrDirty.size === 0 ? null : JSON.stringify([...node.xattrDirty]),
    node.pending,
    node.pendingSince_ms,
    node.error,
    node.errorCode,
    node.attempts,
    node.uploadState,
    node.gen,
    node.extents,
    node.sums,
    node.fingerprint,
    node.cached_bytes,
    node.used_ms,
    node.pin ? 1 : 0,
    node.localOnly ? 1 : 0,
    node.conflict === null ? null : JSON.stringify(node.conflict),
  ];
}

interface PlainSending {
  readonly parent?: number;
  readonly name?: string;
  /** A name that is no UTF-8, base64. */
  readonly bytes?: string;
  readonly sha256: string | null;
  readonly size: number;
}

function encodeSending(list: readonly Sending[]): string {
  const plain = list.map(({ place, sha256, size_bytes }): PlainSending => {
    if (place === null) return { sha256, size: size_bytes };
    const name = nameToSql(place.name);
    const named = typeof name === 'string' ? { name } : { bytes: name.toString('base64') };
    return { parent: place.parent, ...named, sha256, size: size_bytes };
  });
  return JSON.stringify(plain);
}

function decodeSending(json: string): Sending[] {
  return (JSON.parse(json) as PlainSending[]).map(({ parent, name, bytes, sha256, size }) => {
    const stored = name ?? Buffer.from(bytes ?? '', 'base64');
    return {
      place: parent === undefined ? null : { parent: parent as Ino, name: nameFromSql(stored) },
      sha256,
      size_bytes: size,
    };
  });
}

export function encodeXattrs(xattrs: ReadonlyMap<string, Buffer>): string {
  return JSON.stringify(Object.fromEntries([...xattrs].map(([name, value]) => [name, value.toString('base64')])));
}

function decodeXattrs(json: string): Map<string, Buffer> {
  const plain = JSON.parse(json) as Record<string, string>;
  return new Map(Object.entries(plain).map(([name, value]) => [name, Buffer.from(value, 'base64')]));
}
