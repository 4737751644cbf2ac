// Rows of the metadata tables <-> records. Rows are read as arrays in the order of the column lists here.

import type { Name } from '../../../../ids.js';
import { decodeName, encodeName, nameFromSql, nameToSql } from '../../../../names.js';
import type { ContentId, LockRecord, NodeId, NodeKind, NodeRecord, Readable } from '../metadata_store.js';

export const KIND_FILE = 0;
export const KIND_DIR = 1;
export const KIND_SYMLINK = 2;
/** The entry of a share in its recipient's tree. Never shown as it is: what is shown is the node it stands for. */
export const KIND_MOUNT = 3;

const KINDS: readonly NodeKind[] = ['file', 'dir', 'symlink'];

export const NODE_COLUMNS = [
  'id',
  'parent_id',
  'root_id',
  'name',
  'kind',
  'size',
  'etag',
  'tree_seq',
  'changed_seq',
  'content_id',
  'sha256',
  'mtime_s',
  'mtime_ns',
  'created_ms',
  'mode',
  'uid',
  'gid',
  'target',
  'has_properties',
] as const;

export function nodeColumns(alias: string): string {
  return NODE_COLUMNS.map((column) => `${alias}.${column}`).join(', ');
}

export type NodeRow = [
  id: number,
  parentId: number | null,
  rootId: number,
  name: string | Buffer,
  kind: number,
  size: number,
  etag: string | null,
  treeSeq: number,
  changedSeq: number,
  contentId: number | null,
  sha256: string | null,
  mtimeS: number,
  mtimeNs: number,
  createdMs: number,
  mode: number | null,
  uid: number | null,
  gid: number | null,
  target: Buffer | null,
  hasProperties: number,
];

/** `epoch` makes the ETags of collections different after a restore. */
export function toNode(row: NodeRow, epoch: string): NodeRecord {
  return {
    id: row[0] as NodeId,
    parentId: row[1] as NodeId | null,
    rootId: row[2] as NodeId,
    name: nameFromSql(row[3]),
    kind: KINDS[row[4]] ?? 'file',
    size_bytes: row[5],
    etag: row[6] ?? collectionEtag(row[7], epoch),
    changedSeq: row[8],
    contentId: row[9] as ContentId | null,
    sha256: row[10],
    mtime: { s: row[11], ns: row[12] },
    created_ms: row[13],
    mode: row[14],
    uid: row[15],
    gid: row[16],
    target: row[17] === null ? null : decodeName(row[17]),
    hasProperties: row[18] === 1,
  };
}

/** Reading a column costs as much as anything else done with a row. */
export const BRIEF_COLUMNS =
  'n.id, n.name, n.kind, n.size, coalesce(n.etag, n.tree_seq), n.mtime_s, n.created_ms, n.has_properties';

export type BriefRow = [
  id: number,
  name: string | Buffer,
  kind: number,
  size: number,
  version: string | number,
  mtimeS: number,
  createdMs: number,
  hasProperties: number,
];

export function toBriefNode(row: BriefRow, parent: NodeRecord, epoch: string): NodeRecord {
  const version = row[4];
  return {
    id: row[0] as NodeId,
    parentId: parent.id,
    rootId: parent.rootId,
    name: nameFromSql(row[1]),
    kind: KINDS[row[2]] ?? 'file',
    size_bytes: row[3],
    etag: typeof version === 'string' ? version : collectionEtag(version, epoch),
    changedSeq: 0,
    contentId: null,
    sha256: null,
    mtime: { s: row[5], ns: 0 },
    created_ms: row[6],
    mode: null,
    uid: null,
    gid: null,
    target: null,
    hasProperties: row[7] === 1,
  };
}

/** A file or symlink with its content: what GET tells of it. */
export const READABLE_COLUMNS =
  'n.id, n.root_id, n.kind, n.size, n.etag, n.mtime_s, n.sha256, n.target, n.content_id, n.created_ms, c.data';

export type ReadableRow = [
  id: number,
  rootId: number,
  kind: number,
  size: number,
  etag: string | null,
  mtimeS: number,
  sha256: string | null,
  target: Buffer | null,
  contentId: number | null,
  createdMs: number,
  data: Buffer | null,
];

/** Not for collections. */
export function toReadable(row: ReadableRow, parentId: number, name: Name): Readable {
  const [id, rootId, kind, size_bytes, etag, s, sha256, target, contentId, created_ms, data] = row;
  const node: NodeRecord = {
    id: id as NodeId,
    parentId: parentId as NodeId,
    rootId: rootId as NodeId,
    name,
    kind: KINDS[kind] ?? 'file',
    size_bytes,
    etag: etag ?? '',
    changedSeq: 0,
    contentId: contentId as ContentId | null,
    sha256,
    mtime: { s, ns: 0 },
    created_ms,
    mode: null,
    uid: null,
    gid: null,
    target: target === null ? null : decodeName(target),
    hasProperties: false,
  };
  return { node, content: contentId === null || sha256 === null ? null : { sha256, size_bytes, data } };
}

export function collectionEtag(treeSeq: number, epoch: string): string {
  return `"${treeSeq.toString(36)}-${epoch}"`;
}

/** The sequence number alone would do while history is one line; the hash makes it right whatever happens to that. */
export function contentEtag(seq: number, sha256: string): string {
  return `"${seq.toString(36)}-${sha256.slice(0, 16)}"`;
}

export function kindNumber(kind: NodeKind): number {
  return kind === 'dir' ? KIND_DIR : kind === 'symlink' ? KIND_SYMLINK : KIND_FILE;
}

export function targetToSql(target: string): Buffer {
  return encodeName(target);
}

/** No name contains `/`, so joining is unambiguous. */
export function pathToSql(path: readonly Name[]): string | Buffer {
  return nameToSql(path.join('/') as Name);
}

export function pathFromSql(value: string | Buffer): readonly Name[] {
  return nameFromSql(value).split('/') as Name[];
}

export const LOCK_COLUMNS =
  'l.token, l.node_id, l.exclusive, l.infinite, l.owner_xml, l.user_id, l.display_name, l.created_ms, l.timeout_s, l.expires_ms, l.by_user';

export type LockRow = [string, number, number, number, string, string, string, number, number, number, number];

export function toLock(row: LockRow): LockRecord {
  return {
    token: row[0],
    nodeId: row[1] as NodeId,
    scope: row[2] === 1 ? 'exclusive' : 'shared',
    depth: row[3] === 1 ? 'infinity' : '0',
    ownerXml: row[4],
    userId: row[5],
    displayName: row[6],
    created_ms: row[7],
    timeout_s: row[8],
    expires_ms: row[9],
    ...(row[10] === 1 ? { byUser: true } : {}),
  };
}
