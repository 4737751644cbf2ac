// Rows <-> NodeRecords. The only module with SQL about nodes. One object per inode at any time: recently used ones are
// held by an LRU, all others that somebody still refers to are found through weak references.

import type Sqlite from 'better-sqlite3';
import { LRUCache } from 'lru-cache';
import type { Timestamp } from '../../clock.js';
import { CloudError } from '../../errors.js';
import { type Ino, type Name, ROOT_INO } from '../../ids.js';
import { nameFromSql, nameToSql } from '../../names.js';
import type { LockInfo, NodeKind } from '../../remote/remote.js';
import type { Database } from './database.js';
import { type ConflictNote, Dirty, NodeRecord, type Sending } from './node.js';

const KINDS: readonly NodeKind[] = ['file', 'dir', 'symlink'];
const LIMBO = ['none', 'follow', 'stay'] as const;
const LRU_NODES = 8_000;
const WRITTEN_ROWS = 2_048;
/** Removed nodes that the kernel may still ask about: an open directory outlives its name. */
const GHOSTS = 512;

type SqlName = string | Buffer;

const READING = 'reading the cache database';

interface Row {
  ino: number;
  kind: number;
  parent: number | null;
  name: SqlName;
  size: number;
  mtime_s: number;
  mtime_ns: number;
  ctime_s: number;
  ctime_ns: number;
  atime_s: number;
  atime_ns: number;
  mode: number | null;
  uid: number | null;
  gid: number | null;
  target: SqlName | null;
  rights: number;
  shared: string | null;
  checksum: string | null;
  fileid: string | null;
  lock: string | null;
  xattrs: string | null;
  base_parent: number | null;
  base_name: SqlName | null;
  base_etag: string | null;
  base_size: number | null;
  cut: number | null;
  torn: number;
  sent: string | null;
  seen: number;
  limbo: number;
  listed_ms: number;
  listed_etag: string | null;
  dirty: number;
  xattr_dirty: string | null;
  pending: number | null;
  pending_ms: number;
  error: string | null;
  error_code: string | null;
  attempts: number;
  upload_state: string | null;
  gen: number;
  extents: Buffer | null;
  sums: Buffer | null;
  fingerprint: string | null;
  cached: number;
  used_ms: number;
  pin: number;
  local_only: number;
  conflict: string | null;
}

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

const INSERT = `INSERT INTO node (${COLUMNS.join(', ')}) VALUES (${COLUMNS.map(() => '?').join(', ')})`;

export class NodeStore {
  readonly #db: Database;
  readonly #recent = new LRUCache<number, NodeRecord>({ max: LRU_NODES });
  readonly #ghosts = new LRUCache<number, NodeRecord>({ max: GHOSTS });
  readonly #live = new Map<number, WeakRef<NodeRecord>>();
  readonly #gone = new FinalizationRegistry<number>((ino) => {
    if (this.#live.get(ino)?.deref() === undefined) this.#live.delete(ino);
  });
  readonly #statements = new Map<string, Sqlite.Statement>();
  /** What the rows of the nodes written last hold: only what differs is written, and an index of what did not change is
   * left alone. */
  readonly #written = new LRUCache<NodeRecord, readonly unknown[]>({ max: WRITTEN_ROWS });
  #lastPending: number;
  /** Nodes of which something was sent without an answer. */
  readonly #sending: Set<Ino>;
  /** Nodes written by the transaction that is running. */
  #touched: Set<NodeRecord> | null = null;

  constructor(db: Database) {
    this.#db = db;
    const row = this.#one('SELECT max(pending) AS n FROM node WHERE pending IS NOT NULL') as { n: number | null };
    this.#lastPending = row.n ?? 0;
    this.#sending = new Set(this.#pluck('SELECT ino FROM node WHERE sent IS NOT NULL') as Ino[]);
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
    return this.#loadOne('SELECT * FROM node WHERE ino = ?', ino);
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

  insert(
    kind: NodeKind,
    parent: Ino | null,
    name: Name,
    now: Timestamp,
    fill?: (node: NodeRecord) => void,
  ): NodeRecord {
    const draft = new NodeRecord(0 as Ino, kind, parent, name, now);
    fill?.(draft);
    const row = values(draft);
    const done = this.#run('adding a node', INSERT, row);
    const node = Object.assign(new NodeRecord(Number(done.lastInsertRowid) as Ino, kind, parent, name, now), {
      ...draft,
      ino: Number(done.lastInsertRowid) as Ino,
    });
    if (node.differs) this.#written.set(node, row); // a listing's nodes are hardly ever written again
    this.#touched?.add(node);
    this.#remember(node);
    return node;
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
  }

  remove(node: NodeRecord): void {
    this.#touched?.add(node);
    this.#sending.delete(node.ino);
    this.#run('removing a node', 'DELETE FROM node WHERE ino = ?', [node.ino]);
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
    return this.#load('SELECT * FROM node WHERE parent = ? AND ino > ? ORDER BY ino LIMIT ?', parent, after, limit);
  }

  /** Members whose names end so and have more in front. Reads the names of the directory, no rows. */
  membersEndingIn(parent: Ino, end: Name): NodeRecord[] {
    return this.#load(
      `SELECT * FROM node WHERE ino IN
         (SELECT ino FROM node WHERE parent = ? AND substr(name, -length(?)) = ? AND name <> ?)`,
      parent,
      end,
      end,
      end,
    );
  }

  hasMembers(parent: Ino): boolean {
    return this.#one('SELECT 1 FROM node WHERE parent = ? LIMIT 1', parent) !== undefined;
  }

  /** Everything the server has in collection `parent`, wherever it is here. */
  baseMembers(parent: Ino): NodeRecord[] {
    return this.#load('SELECT * FROM node WHERE base_parent = ?', parent);
  }

  hasBaseMembers(parent: Ino): boolean {
    return this.#one('SELECT 1 FROM node WHERE base_parent = ? LIMIT 1', parent) !== undefined;
  }

  pendingInos(): Ino[] {
    return this.#pluck('SELECT ino FROM node WHERE pending IS NOT NULL ORDER BY pending') as Ino[];
  }

  limbo(): NodeRecord[] {
    return this.#load('SELECT * FROM node WHERE limbo > 0');
  }

  /** On the server before, but not named by the full listing `epoch`. */
  unseen(epoch: number): Ino[] {
    return this.#pluck('SELECT ino FROM node WHERE base_parent IS NOT NULL AND seen < ? ORDER BY ino', epoch) as Ino[];
  }

  pinned(): NodeRecord[] {
    return this.#load('SELECT * FROM node WHERE pin > 0 ORDER BY ino');
  }

  conflicts(): NodeRecord[] {
    return this.#load('SELECT * FROM node WHERE conflict IS NOT NULL ORDER BY ino');
  }

  /** Files whose bytes differ from the server's. */
  withDirtyContent(): NodeRecord[] {
    return this.#load('SELECT * FROM node WHERE dirty > 0 AND dirty & ? AND kind = 1 ORDER BY ino', Dirty.content);
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
    return this.#load('SELECT * FROM node WHERE lock IS NOT NULL');
  }

  /** No longer in the drive, some of them still on the server. */
  unlinked(): NodeRecord[] {
    return this.#load('SELECT * FROM node WHERE parent IS NULL AND ino > 1 AND limbo = 0');
  }

  /** Files with cached bytes, least recently used first. */
  leastRecentlyUsed(offset: number, limit: number): NodeRecord[] {
    return this.#load('SELECT * FROM node WHERE cached > 0 ORDER BY used_ms LIMIT ? OFFSET ?', limit, offset);
  }

  cachedBytes(): number {
    return (this.#one('SELECT coalesce(sum(cached), 0) AS n FROM node WHERE cached > 0') as { n: number }).n;
  }

  count(): number {
    return (this.#one('SELECT count(*) AS n FROM node WHERE parent IS NOT NULL') as { n: number }).n;
  }

  *all(): Iterable<NodeRecord> {
    let after = 0;
    for (;;) {
      const page = this.#load('SELECT * FROM node WHERE ino > ? ORDER BY ino LIMIT 1000', after);
      if (page.length === 0) return;
      yield* page;
      after = page.at(-1)?.ino ?? after;
    }
  }

  // ---- settings -----------------------------------------------------------------------------------------------------

  setting(key: string): string | null {
    const row = this.#one('SELECT value FROM setting WHERE key = ?', key) as { value: string } | undefined;
    return row?.value ?? null;
  }

  setSetting(key: string, value: string | null): void {
    if (value === null) this.#run('removing a setting', 'DELETE FROM setting WHERE key = ?', [key]);
    else this.#run('writing a setting', 'INSERT OR REPLACE INTO setting VALUES (?, ?)', [key, value]);
  }

  // ---- inside -------------------------------------------------------------------------------------------------------

  #prepare(sql: string): Sqlite.Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.sql.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #run(doing: string, sql: string, args: readonly unknown[]): Sqlite.RunResult {
    return this.#db.run(doing, () => this.#prepare(sql).run(...args));
  }

  #one(sql: string, ...args: unknown[]): unknown {
    return this.#db.run(READING, () => this.#prepare(sql).get(...args));
  }

  #pluck(sql: string, ...args: unknown[]): unknown[] {
    return this.#db.run(READING, () =>
      this.#prepare(sql)
        .pluck()
        .all(...args),
    );
  }

  /** `sql` selects an inode: mostly its node is in memory, and its row need not be read. */
  #find(sql: string, ...args: unknown[]): NodeRecord | null {
    const ino = this.#db.run(READING, () =>
      this.#prepare(sql)
        .pluck()
        .get(...args),
    ) as Ino | undefined;
    return ino === undefined ? null : this.get(ino);
  }

  #loadOne(sql: string, ...args: unknown[]): NodeRecord | null {
    const row = this.#one(sql, ...args) as Row | undefined;
    return row === undefined ? null : this.#adopt(row);
  }

  #load(sql: string, ...args: unknown[]): NodeRecord[] {
    const rows = this.#db.run(READING, () => this.#prepare(sql).all(...args)) as Row[];
    return rows.map((row) => this.#adopt(row));
  }

  /** The object that is already in memory wins over the row: rows are written through at once. */
  #adopt(row: Row): NodeRecord {
    const known = this.#recent.get(row.ino) ?? this.#live.get(row.ino)?.deref();
    const node = known ?? fromRow(row);
    if (known === undefined) this.#remember(node);
    else this.#recent.set(row.ino, known);
    return node;
  }

  #remember(node: NodeRecord): void {
    this.#recent.set(node.ino, node);
    this.#live.set(node.ino, new WeakRef(node));
    this.#gone.register(node, node.ino);
  }

  /** After a rolled-back transaction memory is ahead of the file: what it wrote takes the file's values again. Not so the
   * size and the times of a file with local changes: those are written behind, memory alone has them. */
  #reload(touched: ReadonlySet<NodeRecord> | null): void {
    const statement = this.#prepare('SELECT * FROM node WHERE ino = ?');
    for (const node of touched ?? []) {
      this.#written.delete(node);
      const row = statement.get(node.ino) as Row | undefined;
      if (row?.sent) this.#sending.add(node.ino);
      else this.#sending.delete(node.ino);
      if (row === undefined) {
        this.#recent.delete(node.ino);
        this.#live.delete(node.ino);
        continue;
      }
      const { dataVersion, notBefore_ms, contentDirty, size_bytes, mtime, ctime, atime } = node;
      Object.assign(node, fromRow(row), { dataVersion, notBefore_ms });
      if (contentDirty && (row.dirty & Dirty.content) !== 0) Object.assign(node, { size_bytes, mtime, ctime, atime });
      this.#remember(node);
    }
  }
}

function fromRow(row: Row): NodeRecord {
  const node = new NodeRecord(
    row.ino as Ino,
    KINDS[row.kind - 1] ?? 'file',
    row.parent as Ino | null,
    nameFromSql(row.name),
    { s: row.mtime_s, ns: row.mtime_ns },
  );
  node.size_bytes = row.size;
  node.ctime = { s: row.ctime_s, ns: row.ctime_ns };
  node.atime = { s: row.atime_s, ns: row.atime_ns };
  node.mode = row.mode;
  node.uid = row.uid;
  node.gid = row.gid;
  node.symlinkTarget = row.target === null ? null : nameFromSql(row.target);
  node.rightsBits = row.rights;
  node.shared = row.shared as NodeRecord['shared'];
  node.checksum = row.checksum;
  node.fileid = row.fileid;
  node.lockInfo = row.lock === null ? null : (JSON.parse(row.lock) as LockInfo);
  node.xattrs = row.xattrs === null ? null : decodeXattrs(row.xattrs);
  node.base =
    row.base_parent === null || row.base_name === null
      ? null
      : { parent: row.base_parent as Ino, name: nameFromSql(row.base_name) };
  node.baseEtag = row.base_etag;
  node.baseSize_bytes = row.base_size;
  node.cut_bytes = row.cut;
  node.torn = row.torn !== 0;
  node.sending = row.sent === null ? [] : decodeSending(row.sent);
  node.seen = row.seen;
  node.limbo = LIMBO[row.limbo] ?? 'none';
  node.listed_ms = row.listed_ms;
  node.listedEtag = row.listed_etag;
  node.dirty = row.dirty;
  node.xattrDirty = row.xattr_dirty === null ? null : new Set(JSON.parse(row.xattr_dirty) as string[]);
  node.pending = row.pending;
  node.pendingSince_ms = row.pending_ms;
  node.error = row.error;
  node.errorCode = row.error_code;
  node.attempts = row.attempts;
  node.uploadState = row.upload_state;
  node.gen = row.gen;
  node.extents = row.extents;
  node.sums = row.sums;
  node.fingerprint = row.fingerprint;
  node.cached_bytes = row.cached;
  node.used_ms = row.used_ms;
  node.pin = row.pin !== 0;
  node.localOnly = row.local_only !== 0;
  node.conflict = row.conflict === null ? null : (JSON.parse(row.conflict) as ConflictNote);
  return node;
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
