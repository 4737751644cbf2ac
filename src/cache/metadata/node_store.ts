// Nodes in the database; what a row looks like is in node_row.ts, which with this module has all SQL about nodes. One
// object per inode at any time: recently used ones are held by an LRU, all others that somebody still refers to are
// found through weak references.

import type Sqlite from 'better-sqlite3';
import { LRUCache } from 'lru-cache';
import type { Timestamp } from '../../clock.js';
import { CloudError } from '../../errors.js';
import { type Ino, type Name, ROOT_INO } from '../../ids.js';
import { nameFromSql, nameToSql } from '../../names.js';
import type { NodeKind } from '../../remote/remote.js';
import type { NodeView } from '../cache_api.js';
import type { Database } from './database.js';
import { AS_LISTED, asListedArgs, INSERT_LISTED, insertListedArgs, type Listed } from './listed_row.js';
import { LockCover } from './lock_cover.js';
import { Dirty, NodeRecord } from './node.js';
import {
  AT,
  COLUMNS,
  fromRow,
  INSERT,
  INSERT_ROOT,
  MEMBER_VIEWS,
  NODE,
  type Row,
  type SqlName,
  toRow,
  viewOf,
} from './node_row.js';

const LRU_NODES = 8_000;
const WRITTEN_ROWS = 2_048;
/** Rows of a set that are read at a time. */
const PAGE = 500;
/** Removed nodes that the kernel may still ask about: an open directory outlives its name. */
const GHOSTS = 512;

const READING = 'reading the cache database';

interface Together {
  readonly changes: (() => void)[];
  /** They are durable. */
  readonly done: Promise<void>;
}

/** A place in the order of last use, as it is stored. */
export type LastUsed = Pick<NodeRecord, 'used_ms' | 'cached_bytes' | 'ino'>;

const LEAST_RECENTLY_USED =
  'SELECT used_ms, cached, ino FROM node WHERE cached > 0 AND (used_ms, cached, ino) > (?, ?, ?) ' +
  'ORDER BY used_ms, cached, ino LIMIT +?';

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
  /** Statements that wrote, so far. */
  #writes = 0;
  /** Where the members of a directory were found to end: whoever reads a directory asks once more behind its last one. */
  #lastEnd = { parent: 0, after: 0, writes: -1 };
  /** Nodes of which something was sent without an answer. */
  readonly #sending: Set<Ino>;
  /** Nodes written by the transaction that is running. */
  #touched: Set<NodeRecord> | null = null;
  /** What follows it. */
  #after: (() => void)[] = [];
  /** Changes that go into one transaction at the end of this turn. */
  #together: Together | null = null;
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
    let result: T;
    try {
      result = this.#db.transaction(work);
    } catch (error) {
      if (outermost) {
        this.#reload(this.#touched);
        this.#after = [];
      }
      throw error;
    } finally {
      if (outermost) this.#touched = null;
    }
    if (outermost && this.#after.length > 0) {
      const after = this.#after;
      this.#after = [];
      for (const then of after) then();
    }
    return result;
  }

  /** `then` is done when the transaction that runs is written, and not if it is undone; at once if there is none. It must
   * not throw. */
  afterCommit(then: () => void): void {
    if (this.#touched === null) then();
    else this.#after.push(then);
  }

  durable(): Promise<void> {
    return this.#db.durable();
  }

  /** For who is told that the next start finds what is durable: it must be where that one looks. */
  requireInPlace(): void {
    this.#db.requireInPlace();
  }

  /** `change` in one transaction with the others of this turn of the loop; durable when it resolves. */
  recordSoon(change: () => void): Promise<void> {
    this.#together ??= this.#recordTogether();
    this.#together.changes.push(change);
    return this.#together.done;
  }

  #recordTogether(): Together {
    const changes: (() => void)[] = [];
    const work = async () => {
      await new Promise((resolve) => setImmediate(resolve));
      this.#together = null;
      this.transaction(() => {
        for (const change of changes) change();
      });
      await this.durable();
    };
    return { changes, done: work() };
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

  insert(
    kind: NodeKind,
    parent: Ino | null,
    name: Name,
    now: Timestamp,
    fill?: (node: NodeRecord) => void,
  ): NodeRecord {
    const node = new NodeRecord(0 as Ino, kind, parent, name, now);
    fill?.(node);
    const row = toRow(node);
    const done = this.#run('adding a node', INSERT, row);
    const known: { ino: Ino } = node;
    known.ino = Number(done.lastInsertRowid) as Ino;
    if (node.differs) this.#written.set(node, row); // others are hardly ever written again
    this.#touched?.add(node);
    this.#remember(node);
    this.cover.note(node);
    return node;
  }

  /** Writes the row of a node that a listing was the first to name, without making an object. False, and nothing done, if
   * there is something in its place, here or on the server, or if it is known elsewhere. */
  insertListed(listed: Listed): boolean {
    const done = this.#run('adding a node', INSERT_LISTED, insertListedArgs(listed));
    const { entry, lock } = listed;
    if (done.changes > 0 && lock !== null)
      this.cover.note({ ino: Number(done.lastInsertRowid) as Ino, kind: entry.kind, lockInfo: lock });
    return done.changes > 0;
  }

  /** The node at this place on the server, if it is in the same place here, nothing of it is to be sent, and all that is
   * stored of it is as `listed` has it. */
  asListed(listed: Listed): { readonly ino: Ino; readonly seen: number } | null {
    if (listed.lock !== null || listed.entry.xattrs.size > 0) return null;
    const row = this.#db.run(READING, () => this.#prepare('rows', AS_LISTED).get(asListedArgs(listed))) as
      | [Ino, number]
      | undefined;
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
    this.#run('adding the root', INSERT_ROOT, toRow(draft));
    this.#remember(draft);
    return draft;
  }

  /** Writes what of the row is not written yet. */
  save(node: NodeRecord): void {
    this.#touched?.add(node);
    if (node.sending.length > 0) this.#sending.add(node.ino);
    else this.#sending.delete(node.ino);
    const row = toRow(node);
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
    return this.#load('WHERE parent = ? AND ino > ? ORDER BY ino LIMIT +?', parent, after, limit);
  }

  /** All of them, read by pages; who needs only the first ones asks for small ones. */
  *everyMember(parent: Ino, { after = 0, page_rows = PAGE } = {}): Generator<NodeRecord, void> {
    for (let last = after; ; ) {
      const page = this.members(parent, last, page_rows);
      yield* page;
      if (page.length < page_rows) return;
      last = page.at(-1)?.ino ?? last;
    }
  }

  /** `root` and all that is below it in the drive, each before what is in it. */
  *walk(root: NodeRecord): Generator<NodeRecord, void> {
    yield root;
    if (root.isDir) for (const member of this.everyMember(root.ino)) yield* this.walk(member);
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
    const end = this.#lastEnd;
    if (after !== 0 && end.parent === parent && end.after === after && end.writes === this.#writes) return [];
    const rows = this.#db.run(READING, () => this.#prepare('rows', MEMBER_VIEWS).all([parent, after, limit])) as Row[];
    if (rows.length < limit) {
      const [last] = rows.at(-1) ?? [after];
      this.#lastEnd = { parent, after: last as number, writes: this.#writes };
    }
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

  /** Everything the server has in collection `parent`, wherever it is here; by pages, of which what is changed meanwhile may
   * have left the collection. */
  *baseMembers(parent: Ino, which: 'all' | 'dirs' = 'all'): Generator<NodeRecord, void> {
    const kind = which === 'dirs' ? 'AND kind = 2' : '';
    const where = `WHERE base_parent = ? AND base_name > ? ${kind} ORDER BY base_name LIMIT +?`;
    let after: SqlName = '';
    for (;;) {
      const page = this.#load(where, parent, after, PAGE);
      const last = page.at(-1)?.base;
      yield* page;
      if (page.length < PAGE || last === undefined || last === null) return;
      after = nameToSql(last.name);
    }
  }

  aBaseMember(parent: Ino): NodeRecord | null {
    return this.#loadOne('WHERE base_parent = ? LIMIT 1', parent);
  }

  /** One that is not removed here. */
  aShownBaseMember(parent: Ino): NodeRecord | null {
    return this.#loadOne('WHERE base_parent = ? AND parent IS NOT NULL LIMIT 1', parent);
  }

  /** Everything the server has below collection `dir`, each behind what is in it. Others may change it meanwhile: what has left
   * is passed over. */
  *belowAtBase(dir: NodeRecord, mayEnter: (node: NodeRecord) => boolean = () => true): Generator<NodeRecord, void> {
    for (const member of this.baseMembers(dir.ino)) {
      const isThere = () => member.base?.parent === dir.ino;
      if (member.isDir && isThere() && mayEnter(member)) yield* this.belowAtBase(member, mayEnter);
      if (isThere()) yield member;
    }
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
  withDirtyContent(larger_bytes = -1): NodeRecord[] {
    return this.#load(
      'WHERE dirty > 0 AND dirty & ? AND kind = 1 AND size > ? ORDER BY ino',
      Dirty.content,
      larger_bytes,
    );
  }

  /** Files whose bytes are to be sent, without those that the server has refused. */
  toBeSent(): Ino[] {
    return this.#pluck(
      `SELECT ino FROM node
         WHERE pending IS NOT NULL AND parent IS NOT NULL AND dirty & ? AND kind = 1 AND error_code IS NULL`,
      Dirty.content,
    ) as Ino[];
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

  /** Files with cached bytes, least recently used first; behind `after`, null = from the first on. */
  leastRecentlyUsed(after: LastUsed | null, limit: number): LastUsed[] {
    const { used_ms, cached_bytes, ino } = after ?? { used_ms: -1, cached_bytes: 0, ino: 0 };
    const rows = this.#db.run(READING, () =>
      this.#prepare('rows', LEAST_RECENTLY_USED).all([used_ms, cached_bytes, ino, limit]),
    );
    return (rows as [number, number, Ino][]).map(([used_ms, cached_bytes, ino]) => ({ used_ms, cached_bytes, ino }));
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
      const page = this.#load('WHERE ino > ? ORDER BY ino LIMIT +?', after, PAGE);
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
    this.#writes += 1;
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
      const { dataVersion, notBefore_ms, displaced, contentDirty, size_bytes, mtime, ctime, atime } = node;
      Object.assign(node, fromRow(row), { dataVersion, notBefore_ms });
      if (node.parent === null) node.displaced = displaced;
      if (contentDirty && node.contentDirty) Object.assign(node, { size_bytes, mtime, ctime, atime });
      this.#remember(node);
      this.cover.note(node);
    }
  }
}
