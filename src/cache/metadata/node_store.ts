// Rows <-> NodeRecords. The only module with SQL about nodes. One object per inode at any time: recently used ones are
// held by an LRU, all others that somebody still refers to are found through weak references.

import type Sqlite from 'better-sqlite3';
import { LRUCache } from 'lru-cache';
import type { Timestamp } from '../../clock.js';
import { CloudError } from '../../errors.js';
import { type Ino, type Name, ROOT_INO } from '../../ids.js';
import { nameFromSql, nameToSql } from '../../names.js';
import type { LockInfo, NodeKind } from '../../remote/remote.js';
import type { NodeView } from '../cache_api.js';
import type { Database } from './database.js';
import { LockCover } from './lock_cover.js';
import { type ConflictNote, Dirty, lockThatCounts, NodeRecord, rightsOfBits, type Sending } from './node.js';

const KINDS: readonly NodeKind[] = ['file', 'dir', 'symlink'];
const LIMBO = ['none', 'follow', 'stay'] as const;
const LRU_NODES = 8_000;
const WRITTEN_ROWS = 2_048;
/** Removed nodes that the kernel may still ask about: an open directory outlives its name. */
const GHOSTS = 512;

type SqlName = string | Buffer;

const READING = 'reading the cache database';

const COLUMNS = [
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

const INSERT = `INSERT INTO node (${COLUMNS.join(', ')}) VALUES (${COLUMNS.map(() => '?').join(', ')})`;

/** A row, read as an array: a quarter of what an object with so many fields costs. */
type Row = readonly unknown[];

const NODE = `SELECT ino, ${COLUMNS.join(', ')} FROM node`;
/** Where in a `NODE` row a column is. */
const AT = Object.fromEntries(COLUMNS.map((column, at) => [column, at + 1])) as Readonly<Record<Column, number>>;

/** What a node can have that a listing was the first to name. All else has its default. */
const LISTED = [
  ...(['kind', 'parent', 'name', 'size', 'mtime_s', 'mtime_ns', 'ctime_s', 'ctime_ns', 'atime_s', 'atime_ns'] as const),
  ...(['mode', 'uid', 'gid', 'target', 'rights', 'shared', 'checksum', 'fileid', 'lock', 'xattrs'] as const),
  ...(['base_parent', 'base_name', 'base_etag', 'base_size', 'seen'] as const),
];
const LISTED_AT = LISTED.map((column) => COLUMNS.indexOf(column));
const INSERT_LISTED = `INSERT INTO node (${LISTED.join(', ')}) VALUES (${LISTED.map(() => '?').join(', ')}) ON CONFLICT DO NOTHING`;

/** The node in this place on the server, if it is in the same place here and nothing of it differs from what is given. */
const AS_LISTED = `SELECT ino, seen FROM node INDEXED BY node_base
  WHERE base_parent = ? AND base_name = ? AND parent = base_parent AND name = base_name
    AND kind = ? AND fileid IS ? AND base_etag IS ? AND base_size = ? AND checksum IS ? AND target IS ?
    AND mtime_s = ? AND mtime_ns = ? AND rights = ? AND shared IS ?
    AND mode IS coalesce(?, mode) AND uid IS coalesce(?, uid) AND gid IS coalesce(?, gid)
    AND (kind <> 1 OR size = base_size) AND dirty = 0 AND pending IS NULL AND limbo = 0
    AND sent IS NULL AND lock IS NULL AND xattrs IS NULL AND conflict IS NULL AND error_code IS NULL`;

const MEMBER_VIEWS = `SELECT ino, kind, name, size, mtime_s, mtime_ns, ctime_s, ctime_ns, atime_s, atime_ns, mode, uid, gid,
    rights, lock, target, base_parent FROM node WHERE parent = ? AND ino > ? ORDER BY ino LIMIT ?`;

export class NodeStore {
  readonly #db: Database;
  readonly #recent = new LRUCache<number, NodeRecord>({
    max: LRU_NODES,
    dispose: (node, _ino, reason) => {
      if (reason === 'evict') this.#evicted(node);
    },
  });
  readonly #ghosts = new LRUCache<number, NodeRecord>({ max: GHOSTS });
  readonly #live = new Map<number, WeakRef<NodeRecord>>();
  readonly #gone = new FinalizationRegistry<number>((ino) => {
    if (this.#live.get(ino)?.deref() === undefined) this.#live.delete(ino);
  });
  readonly #statements = {
    none: new Map<string, Sqlite.Statement>(),
    first: new Map<string, Sqlite.Statement>(),
    rows: new Map<string, Sqlite.Statement>(),
    nodes: new Map<string, Sqlite.Statement>(),
  };
  /** What the rows of the nodes written last hold: only what differs is written, and an index of what did not change is
   * left alone. */
  readonly #written = new LRUCache<NodeRecord, readonly unknown[]>({ max: WRITTEN_ROWS });
  #lastPending: number;
  /** Nodes of which something was sent without an answer. */
  readonly #sending: Set<Ino>;
  /** Nodes written by the transaction that is running. */
  #touched: Set<NodeRecord> | null = null;
  /** Locks of folders that cover what is below them. */
  readonly cover = new LockCover((ino) => this.get(ino)?.parent ?? null);

  constructor(db: Database) {
    this.#db = db;
    this.#lastPending = (this.#one('SELECT max(pending) FROM node WHERE pending IS NOT NULL') as number | null) ?? 0;
    this.#sending = new Set(this.#pluck('SELECT ino FROM node WHERE sent IS NOT NULL') as Ino[]);
    for (const node of this.locked()) this.cover.note(node);
  }

  /** All or nothing, in the file and in memory. */
  transaction<T>(work: () => T): T {
    const outermost = this.#touched === null;
    this.#touched ??= new Set();
    try {
      return this.#db.transaction(work);
    } catch (error) {
      if (outermost) this.#reload(this.#touched);
      throw error;
    } finally {
      if (outermost) this.#touched = null;
    }
  }

  durable(): Promise<void> {
    return this.#db.durable();
  }

  // ---- one node -----------------------------------------------------------------------------------------------------

  get(ino: Ino): NodeRecord | null {
    const recent = this.#recent.get(ino);
    if (recent !== undefined) return recent;
    const live = this.#live.get(ino)?.deref();
    if (live !== undefined) {
      this.#recent.set(ino, live);
      return live;
    }
    return this.#loadOne('WHERE ino = ?', ino);
  }

  /** Throws `stale` for an inode that no longer exists. */
  must(ino: Ino): NodeRecord {
    const node = this.get(ino) ?? this.#ghosts.get(ino);
    if (node === undefined) throw new CloudError('stale', `inode ${ino} no longer exists`);
    return node;
  }

  child(parent: Ino, name: Name): NodeRecord | null {
    return this.#find('SELECT ino FROM node WHERE parent = ? AND name = ?', parent, nameToSql(name));
  }

  /** The node that the server has as member `name` of collection `parent`. */
  atBase(parent: Ino, name: Name): NodeRecord | null {
    return this.#find('SELECT ino FROM node WHERE base_parent = ? AND base_name = ?', parent, nameToSql(name));
  }

  byFileid(fileid: string): NodeRecord | null {
    return this.#find('SELECT ino FROM node WHERE fileid = ? ORDER BY ino LIMIT 1', fileid);
  }

  knowsFileid(fileid: string): boolean {
    return this.#one('SELECT 1 FROM node WHERE fileid = ? LIMIT 1', fileid) !== undefined;
  }

  insert(
    kind: NodeKind,
    parent: Ino | null,
    name: Name,
    now: Timestamp,
    fill?: (node: NodeRecord) => void,
  ): NodeRecord {
    const node = new NodeRecord(0 as Ino, kind, parent, name, now);
    fill?.(node);
    const row = values(node);
    const done = this.#run('adding a node', INSERT, row);
    const known: { ino: Ino } = node;
    known.ino = Number(done.lastInsertRowid) as Ino;
    if (node.differs) this.#written.set(node, row); // others are hardly ever written again
    this.#touched?.add(node);
    this.#remember(node);
    this.cover.note(node);
    return node;
  }

  /** Writes the row of a node that a listing was the first to name, without keeping an object; `draft` has no inode yet.
   * False, and nothing done, if there is something in its place, here or on the server. */
  insertListed(draft: NodeRecord): boolean {
    const row = values(draft);
    const done = this.#run(
      'adding a node',
      INSERT_LISTED,
      LISTED_AT.map((at) => row[at]),
    );
    const { kind, lockInfo } = draft;
    if (done.changes > 0 && lockInfo !== null)
      this.cover.note({ ino: Number(done.lastInsertRowid) as Ino, kind, lockInfo });
    return done.changes > 0;
  }

  /** The node at this place on the server, if it is in the same place here, nothing of it is to be sent, and all that is
   * stored of it is as `draft` (made of what a listing says) has it. */
  asListed(draft: NodeRecord): { readonly ino: Ino; readonly seen: number } | null {
    if (draft.lockInfo !== null || draft.xattrs !== null || draft.base === null) return null;
    const row = this.#db.run(READING, () =>
      this.#prepare('rows', AS_LISTED).get([
        draft.base?.parent,
        draft.base === null ? null : nameToSql(draft.base.name),
        KINDS.indexOf(draft.kind) + 1,
        draft.fileid,
        draft.baseEtag,
        draft.baseSize_bytes,
        draft.checksum,
        draft.symlinkTarget === null ? null : nameToSql(draft.symlinkTarget as Name),
        draft.mtime.s,
        draft.mtime.ns,
        draft.rightsBits,
        draft.shared,
        draft.mode,
        draft.uid,
        draft.gid,
      ]),
    ) as [Ino, number] | undefined;
    return row === undefined ? null : { ino: row[0], seen: row[1] };
  }

  /** A full listing has named the node. */
  markSeen(ino: Ino, epoch: number): void {
    const node = this.inMemory(ino);
    if (node !== null) {
      this.#touched?.add(node);
      node.seen = epoch;
      this.#written.delete(node);
    }
    this.#run('noting a node as seen', 'UPDATE node SET seen = ? WHERE ino = ?', [epoch, ino]);
  }

  /** The node if its object is in memory: whoever works on one keeps it there. */
  inMemory(ino: Ino): NodeRecord | null {
    return this.#recent.peek(ino) ?? this.#live.get(ino)?.deref() ?? null;
  }

  insertRoot(now: Timestamp): NodeRecord {
    const draft = new NodeRecord(ROOT_INO, 'dir', null, '' as Name, now);
    const columns = COLUMNS.join(', ');
    const marks = COLUMNS.map(() => '?').join(', ');
    this.#run('adding the root', `INSERT INTO node (ino, ${columns}) VALUES (1, ${marks})`, values(draft));
    this.#remember(draft);
    return draft;
  }

  /** Writes what of the row is not written yet. */
  save(node: NodeRecord): void {
    this.#touched?.add(node);
    if (node.sending.length > 0) this.#sending.add(node.ino);
    else this.#sending.delete(node.ino);
    const row = values(node);
    const written = this.#written.get(node);
    const changed: number[] = [];
    for (let at = 0; at < row.length; at++) if (written === undefined || row[at] !== written[at]) changed.push(at);
    if (changed.length === 0) return;
    const set = changed.map((at) => `${COLUMNS[at]} = ?`).join(', ');
    this.#run('writing a node', `UPDATE node SET ${set} WHERE ino = ?`, [...changed.map((at) => row[at]), node.ino]);
    this.#written.set(node, row);
    this.cover.note(node);
  }

  remove(node: NodeRecord): void {
    this.#touched?.add(node);
    this.#sending.delete(node.ino);
    this.#run('removing a node', 'DELETE FROM node WHERE ino = ?', [node.ino]);
    this.cover.forget(node.ino);
    this.#ghosts.set(node.ino, node);
    this.#written.delete(node);
    this.#recent.delete(node.ino);
    this.#live.delete(node.ino);
  }

  nextPending(): number {
    this.#lastPending += 1;
    return this.#lastPending;
  }

  // ---- sets of nodes ------------------------------------------------------------------------------------------------

  /** Members of a directory in inode order. */
  members(parent: Ino, after: number, limit: number): NodeRecord[] {
    return this.#load('WHERE parent = ? AND ino > ? ORDER BY ino LIMIT ?', parent, after, limit);
  }

  /** Members whose names end so and have more in front. Reads the names of the directory, no rows. */
  membersEndingIn(parent: Ino, end: Name): NodeRecord[] {
    return this.#load(
      `WHERE ino IN
         (SELECT ino FROM node WHERE parent = ? AND substr(name, -length(?)) = ? AND name <> ?)`,
      parent,
      end,
      end,
      end,
    );
  }

  /** The same as `members`, to be shown: without objects for what is not in memory. */
  memberViews(parent: Ino, after: number, limit: number): NodeView[] {
    const rows = this.#db.run(READING, () => this.#prepare('rows', MEMBER_VIEWS).all([parent, after, limit])) as Row[];
    const covered = this.cover.at(parent)?.lock ?? null;
    return rows.map((row) => this.inMemory(row[0] as Ino) ?? viewOf(parent, row, covered));
  }

  /** Inodes of members, folders first. */
  memberInos(parent: Ino): { readonly dirs: readonly Ino[]; readonly others: readonly Ino[] } {
    const of = (condition: string) =>
      this.#pluck(`SELECT ino FROM node WHERE parent = ? AND kind ${condition}`, parent) as Ino[];
    return { dirs: of('= 2'), others: of('<> 2') };
  }

  hasMembers(parent: Ino): boolean {
    return this.#one('SELECT 1 FROM node WHERE parent = ? LIMIT 1', parent) !== undefined;
  }

  /** Everything the server has in collection `parent`, wherever it is here. */
  baseMembers(parent: Ino): NodeRecord[] {
    return this.#load('WHERE base_parent = ?', parent);
  }

  /** Names of what the server has in collection `parent`. */
  baseNames(parent: Ino): Name[] {
    const names = this.#pluck('SELECT base_name FROM node WHERE base_parent = ?', parent) as SqlName[];
    return names.map(nameFromSql);
  }

  hasBaseMembers(parent: Ino): boolean {
    return this.#one('SELECT 1 FROM node WHERE base_parent = ? LIMIT 1', parent) !== undefined;
  }

  pendingInos(): Ino[] {
    return this.#pluck('SELECT ino FROM node WHERE pending IS NOT NULL ORDER BY pending') as Ino[];
  }

  limbo(): NodeRecord[] {
    return this.#load('WHERE limbo > 0');
  }

  /** On the server before, but not named by the full listing `epoch`. */
  unseen(epoch: number): Ino[] {
    return this.#pluck('SELECT ino FROM node WHERE base_parent IS NOT NULL AND seen < ? ORDER BY ino', epoch) as Ino[];
  }

  pinned(): NodeRecord[] {
    return this.#load('WHERE pin > 0 ORDER BY ino');
  }

  conflicts(): NodeRecord[] {
    return this.#load('WHERE conflict IS NOT NULL ORDER BY ino');
  }

  /** Files whose bytes differ from the server's. */
  withDirtyContent(): NodeRecord[] {
    return this.#load('WHERE dirty > 0 AND dirty & ? AND kind = 1 ORDER BY ino', Dirty.content);
  }

  /** Of which something was sent without an answer. */
  sending(): NodeRecord[] {
    return [...this.#sending].flatMap((ino) => this.get(ino) ?? []);
  }

  /** A node that is elsewhere now (or gone) and was sent to this place, with the outcome unknown. */
  sentTo(parent: Ino, name: Name): Ino | null {
    for (const ino of this.#sending) {
      const node = this.get(ino);
      if (node === null || node.base !== null || (node.parent === parent && node.name === name)) continue;
      if (node.sending.some(({ place }) => place?.parent === parent && place.name === name)) return ino;
    }
    return null;
  }

  locked(): NodeRecord[] {
    return this.#load('WHERE lock IS NOT NULL');
  }

  /** No longer in the drive, some of them still on the server. */
  unlinked(): NodeRecord[] {
    return this.#load('WHERE parent IS NULL AND ino > 1 AND limbo = 0');
  }

  /** Files with cached bytes, least recently used first. */
  leastRecentlyUsed(offset: number, limit: number): NodeRecord[] {
    return this.#load('WHERE cached > 0 ORDER BY used_ms LIMIT ? OFFSET ?', limit, offset);
  }

  cachedBytes(): number {
    return this.#one('SELECT coalesce(sum(cached), 0) FROM node WHERE cached > 0') as number;
  }

  count(): number {
    return this.#one('SELECT count(*) FROM node WHERE parent IS NOT NULL') as number;
  }

  *all(): Iterable<NodeRecord> {
    let after = 0;
    for (;;) {
      const page = this.#load('WHERE ino > ? ORDER BY ino LIMIT 1000', after);
      if (page.length === 0) return;
      yield* page;
      after = page.at(-1)?.ino ?? after;
    }
  }

  // ---- settings -----------------------------------------------------------------------------------------------------

  setting(key: string): string | null {
    return (this.#one('SELECT value FROM setting WHERE key = ?', key) as string | undefined) ?? null;
  }

  setSetting(key: string, value: string | null): void {
    if (value === null) this.#run('removing a setting', 'DELETE FROM setting WHERE key = ?', [key]);
    else this.#run('writing a setting', 'INSERT OR REPLACE INTO setting VALUES (?, ?)', [key, value]);
  }

  // ---- inside -------------------------------------------------------------------------------------------------------

  /** By the kind of result, which is part of a statement: none, the first column, rows as arrays. */
  #prepare(result: 'none' | 'first' | 'rows', sql: string): Sqlite.Statement {
    const statements = this.#statements[result];
    let statement = statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.sql.prepare(sql);
      if (result === 'first') statement.pluck();
      if (result === 'rows') statement.raw();
      statements.set(sql, statement);
    }
    return statement;
  }

  /** Of a statement that selects whole nodes, by its condition. */
  #prepareNodes(where: string): Sqlite.Statement {
    let statement = this.#statements.nodes.get(where);
    if (statement === undefined) {
      statement = this.#db.sql.prepare(`${NODE} ${where}`).raw();
      this.#statements.nodes.set(where, statement);
    }
    return statement;
  }

  #run(doing: string, sql: string, args: readonly unknown[]): Sqlite.RunResult {
    return this.#db.run(doing, () => this.#prepare('none', sql).run(args));
  }

  /** The first column of the first row. */
  #one(sql: string, ...args: unknown[]): unknown {
    return this.#db.run(READING, () => this.#prepare('first', sql).get(args));
  }

  #pluck(sql: string, ...args: unknown[]): unknown[] {
    return this.#db.run(READING, () => this.#prepare('first', sql).all(args));
  }

  /** `sql` selects an inode: mostly its node is in memory, and its row need not be read. */
  #find(sql: string, ...args: unknown[]): NodeRecord | null {
    const ino = this.#one(sql, ...args) as Ino | undefined;
    return ino === undefined ? null : this.get(ino);
  }

  #loadOne(where: string, ...args: unknown[]): NodeRecord | null {
    const row = this.#db.run(READING, () => this.#prepareNodes(where).get(args)) as Row | undefined;
    return row === undefined ? null : this.#adopt(row);
  }

  #load(where: string, ...args: unknown[]): NodeRecord[] {
    const rows = this.#db.run(READING, () => this.#prepareNodes(where).all(args)) as Row[];
    return rows.map((row) => this.#adopt(row));
  }

  /** The object that is already in memory wins over the row: rows are written through at once. */
  #adopt(row: Row): NodeRecord {
    const ino = row[0] as Ino;
    const known = this.#recent.get(ino) ?? this.#live.get(ino)?.deref();
    const node = known ?? fromRow(row);
    if (known === undefined) this.#remember(node);
    else this.#recent.set(ino, known);
    return node;
  }

  #remember(node: NodeRecord): void {
    node.cover = this.cover;
    this.#recent.set(node.ino, node);
  }

  /** No longer among the recent ones; somebody may refer to it all the same. */
  #evicted(node: NodeRecord): void {
    if (this.#live.get(node.ino)?.deref() === node) return;
    this.#live.set(node.ino, new WeakRef(node));
    this.#gone.register(node, node.ino);
  }

  /** After a rolled-back transaction memory is ahead of the file: what it wrote takes the file's values again. Not so the
   * size and the times of a file with local changes: those are written behind, memory alone has them. */
  #reload(touched: ReadonlySet<NodeRecord> | null): void {
    const statement = this.#prepareNodes('WHERE ino = ?');
    for (const node of touched ?? []) {
      this.#written.delete(node);
      const row = statement.get(node.ino) as Row | undefined;
      if (row !== undefined && row[AT.sent] !== null) this.#sending.add(node.ino);
      else this.#sending.delete(node.ino);
      if (row === undefined) {
        this.#recent.delete(node.ino);
        this.#live.delete(node.ino);
        continue;
      }
      const { dataVersion, notBefore_ms, contentDirty, size_bytes, mtime, ctime, atime } = node;
      Object.assign(node, fromRow(row), { dataVersion, notBefore_ms });
      if (contentDirty && node.contentDirty) Object.assign(node, { size_bytes, mtime, ctime, atime });
      this.#remember(node);
      this.cover.note(node);
    }
  }
}

function fromRow(row: Row): NodeRecord {
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
  node.torn = row[AT.torn] !== 0;
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
  node.conflict = row[AT.conflict] === null ? null : (JSON.parse(row[AT.conflict] as string) as ConflictNote);
  return node;
}

/** Of a row of `MEMBER_VIEWS`. */
function viewOf(parent: Ino, row: Row, covered: LockInfo | null): NodeView {
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

function values(node: NodeRecord): unknown[] {
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
    node.torn ? 1 : 0,
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

function encodeXattrs(xattrs: ReadonlyMap<string, Buffer>): string {
  return JSON.stringify(Object.fromEntries([...xattrs].map(([name, value]) => [name, value.toString('base64')])));
}

function decodeXattrs(json: string): Map<string, Buffer> {
  const plain = JSON.parse(json) as Record<string, string>;
  return new Map(Object.entries(plain).map(([name, value]) => [name, Buffer.from(value, 'base64')]));
}
