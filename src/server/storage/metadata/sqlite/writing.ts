// Writing transactions. Every change goes the same way: take numbers of the sequence, write the rows, carry number, size
// and time up to the root (`#carryUp`), note who must hear of it. The sequence is read once and written back once.

import { createHash } from 'node:crypto';
import type { Clock } from '../../../../clock.js';
import { CloudError } from '../../../../errors.js';
import type { Name } from '../../../../ids.js';
import { nameToSql } from '../../../../names.js';
import type {
  Attributes,
  CommittedChange,
  LockRecord,
  MetadataWrite,
  NewContent,
  NewNode,
  NodeId,
  NodeRecord,
  PropertyChange,
} from '../metadata_store.js';
import {
  type Mount,
  type NewShare,
  numbered,
  type RecipientState,
  type ShareId,
  type SharePatch,
  type ShareRecord,
} from '../share_records.js';
import type { Connection } from './database.js';
import { SqliteRead } from './reading.js';
import { contentEtag, KIND_DIR, kindNumber, pathToSql, targetToSql } from './rows.js';
import { ShareWriter } from './share_writing.js';
import { type WriteStatements, writeStatements } from './write_statements.js';

/** Ids named to one user per transaction; beyond that "something changed" is all anyone needs. */
const MAX_NAMED_IDS = 200;

interface Representation {
  readonly contentId: number | null;
  readonly sha256: string;
  readonly size: number;
  readonly target: Buffer | null;
}

const HANDED_AT_ONCE = 500;

/** Half of PATH_MAX: what is deeper no path could name. Each change is carried up through all that is above it, and told
 * with it. */
const MAX_DEPTH = 2048;

function checkDepth(depth: number): void {
  if (depth <= MAX_DEPTH) return;
  throw new CloudError(
    'name_too_long',
    `storing: folders may be in one another ${MAX_DEPTH} deep, this would be ${depth}`,
  );
}

/** One per database; `start` and `finish` bracket each transaction. */
export class SqliteWrite extends SqliteRead implements MetadataWrite {
  readonly #sql: WriteStatements;
  readonly #clock: Clock;
  #seq = 0;
  #seqAtStart = 0;
  #touched = new Map<NodeId, Set<NodeId>>();
  /** Nodes at or below which something changed: who sees them through a share must learn of it. */
  #changedAt = new Set<NodeId>();
  readonly #shares: ShareWriter;

  constructor(db: Connection, clock: Clock) {
    super(db);
    this.#sql = writeStatements(db);
    this.#clock = clock;
    this.#shares = new ShareWriter(
      db,
      this.shareRows,
      {
        next: () => this.#next(),
        node: (id) => this.nodeSync(id),
        lineage: (id) => this.lineageSync(id),
        ensureRoot: (userId) => this.#ensureRootSync(userId),
        isTaken: (parentId, name) => this.#isTaken(parentId, name),
        removeEntry: (id) => this.#removeEntry(id),
        entryAdded: (parentId, id) => this.#entryAdded(parentId, id),
        retell: (id) => this.#retell(id),
        stamp: (id) => {
          const node = this.#mustNode(id);
          this.#stamp(node, node.hasProperties);
        },
        locksIn: (rootId) => this.#sqlLocksIn(rootId),
        removeLock: (token) => this.#removeLockSync(token),
      },
      clock,
    );
  }

  start(): void {
    this.#seq = this.#seqAtStart = this.headSync().seq;
    this.#touched = new Map();
    this.#changedAt = new Set();
  }

  /** Writes the sequence back and says what changed for whom. */
  finish(): readonly CommittedChange[] {
    this.#carryThroughMounts();
    if (this.#seq !== this.#seqAtStart) this.#sql.setSeq.run(this.#seq);
    const out: CommittedChange[] = [];
    for (const [rootId, ids] of this.#touched) {
      const userId = this.#sql.userOfRoot.get(rootId);
      if (userId !== undefined) out.push({ userId, seq: this.#seq, fileIds: [...ids] });
    }
    return out;
  }

  /** The trees of recipients move with what is shared with them, once per transaction. */
  #carryThroughMounts(): void {
    if (this.#changedAt.size === 0 || this.#sql.anyMountAnywhere.get() === undefined) return;
    for (const [id, rootId, mountOf] of this.#sql.mountsAbove.all(JSON.stringify([...this.#changedAt]))) {
      this.#carryUp(id as NodeId, this.#seq, 0);
      this.#touch(rootId as NodeId, mountOf as NodeId);
    }
  }

  async ensureRoot(userId: string): Promise<NodeRecord> {
    return this.#ensureRootSync(userId);
  }

  #ensureRootSync(userId: string): NodeRecord {
    const found = this.rootSync(userId);
    if (found !== null) return found;
    const seq = this.#next();
    const now = this.#clock.timestamp();
    const created = this.#clock.now_ms();
    this.#sql.insertNode.run(
      ...[seq, null, seq, '', KIND_DIR, 0, null, seq, seq, seq, null, null, now.s, now.ns, 0, created],
      ...[null, null, null, null, 0],
    );
    this.#sql.insertRoot.run(userId, seq);
    return this.#mustNode(seq as NodeId);
  }

  async setQuota(rootId: NodeId, quota_bytes: number | null): Promise<void> {
    this.#sql.setQuota.run(quota_bytes, rootId);
  }

  async removeRoot(userId: string): Promise<void> {
    const root = await this.root(userId);
    if (root === null) return;
    this.#shares.beforeRemove(root);
    this.#deleteTree(root);
    this.#sql.deleteRoot.run(userId);
  }

  async handOver(userId: string, toUserId: string, name: Name): Promise<NodeRecord | null> {
    this.#shares.forgetUser(userId);
    const from = await this.root(userId);
    if (from === null) return null;
    const to = this.#ensureRootSync(toUserId);
    let folder: NodeRecord | null = null;
    for (;;) {
      const members = await this.children(from, null, HANDED_AT_ONCE, 'brief');
      if (members.length === 0) break;
      if (folder === null) {
        let free = name;
        for (let n = 2; this.#isTaken(to.id, free); n += 1) {
          free = numbered(name, n, true);
        }
        folder = await this.create(to, free, { kind: 'dir' });
      }
      for (const member of members) {
        this.#checkQuota(to.id, member.size_bytes);
        this.#moveEntry(this.#mustNode(member.id), folder, member.name);
      }
    }
    this.#shares.takeOver({ rootId: from.id, userId }, { rootId: to.id, userId: toUserId });
    this.#deleteTree(this.#mustNode(from.id));
    this.#sql.deleteRoot.run(userId);
    return folder === null ? null : this.#mustNode(folder.id);
  }

  async create(parent: NodeRecord, name: Name, spec: NewNode): Promise<NodeRecord> {
    this.#mustBeFree(parent, name);
    const seq = this.#next();
    const now = this.#clock.timestamp();
    const created_ms = spec.created_ms ?? this.#clock.now_ms();
    const content = spec.kind === 'dir' ? null : this.#store(spec, parent.rootId, 0);
    const { mtime = now, mode = null, uid = null, gid = null } = spec;
    const { size = 0, contentId = null, sha256 = null, target = null } = content ?? {};
    const etag = sha256 === null ? null : contentEtag(seq, sha256);
    this.#sql.insertNode.run(
      ...[seq, parent.id, parent.rootId, nameToSql(name), kindNumber(spec.kind), size, etag, seq, seq, seq],
      ...[contentId, sha256, mtime.s, mtime.ns, spec.mtime === undefined ? 0 : 1, created_ms, mode, uid, gid],
      ...[target, 0],
    );
    checkDepth(this.#entryChanged(parent.id, seq, size));
    this.#touch(parent.rootId, seq as NodeId, parent.id);
    return this.toNode([
      ...([seq, parent.id, parent.rootId, name, kindNumber(spec.kind), size, etag, seq, seq] as const),
      ...([contentId, sha256, mtime.s, mtime.ns, created_ms, mode, uid, gid, target, 0] as const),
    ]);
  }

  async replace({ id }: NodeRecord, spec: Exclude<NewNode, { kind: 'dir' }>): Promise<NodeRecord> {
    const node = this.#mustNode(id);
    if (node.kind === 'dir' || node.parentId === null) {
      throw new CloudError('is_dir', 'replacing content: a file is required, found a collection');
    }
    const seq = this.#next();
    const mtime = spec.mtime ?? this.#clock.timestamp();
    const content = this.#store(spec, node.rootId, node.size_bytes);
    if (node.contentId !== null) this.#release(node.contentId);
    this.#sql.replaceNode.run(
      ...[kindNumber(spec.kind), content.size, contentEtag(seq, content.sha256), seq, seq],
      ...[content.contentId, content.sha256, mtime.s, mtime.ns, spec.mtime === undefined ? 0 : 1],
      ...[spec.mode ?? null, spec.uid ?? null, spec.gid ?? null, content.target, spec.created_ms ?? null, node.id],
    );
    this.#carryUp(node.parentId, seq, content.size - node.size_bytes);
    this.#touch(node.rootId, node.id, node.parentId);
    return this.#mustNode(node.id);
  }

  async setAttributes(node: NodeRecord, attributes: Attributes): Promise<NodeRecord> {
    const { mtime, created_ms, mode, uid, gid } = attributes;
    const seq = this.#next();
    this.#sql.setAttributes.run(
      ...[seq, seq, mtime === undefined ? 0 : 1, mtime?.s ?? null, mtime?.ns ?? null, created_ms ?? null],
      ...[mode ?? null, uid ?? null, gid ?? null, node.id],
    );
    return this.#changed(node, seq);
  }

  async setProperties({ id }: NodeRecord, changes: readonly PropertyChange[]): Promise<NodeRecord> {
    const node = this.#mustNode(id);
    this.#withinQuota(node.rootId, () => {
      for (const change of changes) {
        if (change.kind === 'set') this.#sql.setProperty.run(node.id, change.ns, change.name, change.xml);
        else this.#sql.removeProperty.run(node.id, change.ns, change.name);
      }
    });
    return this.#stamp(node, this.#sql.anyProperty.get(node.id) !== undefined);
  }

  async remove({ id }: NodeRecord): Promise<void> {
    const node = this.#mustNode(id);
    if (node.parentId === null) throw new CloudError('no_access', 'removing: the root of a tree cannot be removed');
    this.#shares.beforeRemove(node);
    const path = this.#pathSync(node);
    const seq = this.#next();
    this.#deleteTree(node);
    this.#sql.tombstone.run(seq, node.rootId, pathToSql(path), this.#clock.now_ms(), node.parentId);
    this.#entryChanged(node.parentId, seq, -node.size_bytes);
    this.#touch(node.rootId, node.id, node.parentId);
  }

  async move({ id }: NodeRecord, { id: parentId }: NodeRecord, name: Name): Promise<NodeRecord> {
    const node = this.#mustNode(id);
    const parent = this.#mustNode(parentId);
    this.#mustBeFree(parent, name);
    this.#shares.checkMove(node, parent);
    const moving = () => this.#moveEntry(node, parent, name);
    const isWithin = node.rootId === parent.rootId;
    const { before, after } = isWithin ? moving() : this.#withinQuota(parent.rootId, moving);
    // What is too deep already (an older program's, a removed user's files) can be brought out of there.
    if (after > before) checkDepth(after);
    this.#shares.afterMove(this.#mustNode(node.id));
    return this.#mustNode(node.id);
  }

  /** What is shared of it has to follow. Returns how deep the lowest of it was and is. */
  #moveEntry(node: NodeRecord, parent: NodeRecord, name: Name): { readonly before: number; readonly after: number } {
    if (node.parentId === null) throw new CloudError('no_access', 'moving: the root of a tree cannot be moved');
    const oldPath = this.#pathSync(node);
    this.#deleteLocks(node);
    const [count, levels] = (node.kind === 'dir' ? this.#sql.extent.get(node.id) : undefined) ?? [1, 0];
    const below = count - 1;
    const seq = this.#next();
    this.#sql.moveNode.run(parent.id, parent.rootId, nameToSql(name), seq, seq, seq, node.id);
    if (below > 0) this.#sql.renumberBelow.run(node.id, parent.rootId, seq);
    this.#seq += below;
    // The tombstone comes last, so that who follows the feed sees the node at its new place before the old one goes.
    const last = this.#next();
    this.#sql.tombstone.run(last, node.rootId, pathToSql(oldPath), this.#clock.now_ms(), node.parentId);
    const before = levels + this.#entryChanged(node.parentId, last, -node.size_bytes);
    const after = levels + this.#entryChanged(parent.id, last, node.size_bytes);
    this.#touch(node.rootId, node.id, node.parentId);
    this.#touch(parent.rootId, node.id, parent.id);
    // Who sees only something below is told as well: its locks are gone, and what is granted from above is other now.
    for (const id of this.#sql.sharedIn.all(parent.rootId)) {
      if (this.sql.isBelow.get(id, node.id) !== undefined) this.#changedAt.add(id as NodeId);
    }
    return { before, after };
  }

  async copy(from: NodeRecord, to: NodeRecord, name: Name, deep: boolean): Promise<NodeRecord> {
    const node = this.#mustNode(from.id);
    const parent = this.#mustNode(to.id);
    this.#mustBeFree(parent, name);
    const size = node.kind === 'dir' && !deep ? 0 : node.size_bytes;
    this.#checkQuota(parent.rootId, size);
    const used_bytes = this.usageSync(parent.rootId).used_bytes;
    const id = await this.#copyTree(node, parent, name, deep, this.lineageSync(parent.id).length);
    this.#entryChanged(parent.id, this.#seq, size);
    this.#checkGrown(parent.rootId, used_bytes);
    this.#touch(parent.rootId, id, parent.id);
    return this.#mustNode(id);
  }

  async addLock(lock: LockRecord): Promise<void> {
    const node = this.#mustNode(lock.nodeId);
    this.#sql.insertLock.run(
      ...[lock.token, node.id, node.rootId, lock.scope === 'exclusive' ? 1 : 0, lock.depth === 'infinity' ? 1 : 0],
      ...[lock.ownerXml, lock.userId, lock.displayName, lock.created_ms, lock.timeout_s, lock.expires_ms],
      lock.byUser === true ? 1 : 0,
    );
    this.#lockChanged(node, lock.depth === 'infinity');
  }

  async refreshLock(token: string, timeout_s: number, expires_ms: number): Promise<void> {
    this.#sql.refreshLock.run(timeout_s, expires_ms, token);
  }

  async removeLock(token: string): Promise<void> {
    this.#removeLockSync(token);
  }

  async expireLocks(now_ms: number): Promise<number> {
    const tokens = this.#sql.expiredLocks.all(now_ms);
    for (const token of tokens) this.#removeLockSync(token);
    return tokens.length;
  }

  async addShare(share: NewShare): Promise<ShareRecord> {
    return this.#shares.add(share);
  }

  async changeShare(id: ShareId, patch: SharePatch): Promise<ShareRecord> {
    return this.#shares.change(id, patch);
  }

  async removeShare(id: ShareId): Promise<void> {
    this.#shares.remove(id);
  }

  async setPeople(groupId: string, people: readonly string[]): Promise<void> {
    this.#shares.setPeople(groupId, people);
  }

  async answerShare(id: ShareId, userId: string, state: RecipientState): Promise<void> {
    this.#shares.answer(id, userId, state);
  }

  async setAsksFirst(userId: string, asksFirst: boolean): Promise<void> {
    this.#shares.setAsksFirst(userId, asksFirst);
  }

  async unmount(mount: Mount): Promise<void> {
    this.#shares.unmount(mount);
  }

  async countDownload(id: ShareId): Promise<boolean> {
    return this.#shares.countDownload(id);
  }

  async expireShares(now_ms: number): Promise<number> {
    return this.#shares.expire(now_ms);
  }

  async forgetUser(userId: string): Promise<void> {
    this.#shares.forgetUser(userId);
  }

  #removeLockSync(token: string): void {
    const locked = this.#sql.lockedNode.get(token);
    if (locked === undefined) return;
    this.#sql.deleteLock.run(token);
    const node = this.nodeSync(locked[0] as NodeId);
    if (node !== null) this.#lockChanged(node, locked[1] === 1);
  }

  /** The lock of a folder is told once, of the folder; and, to who sees only something below it, of that. */
  #lockChanged(node: NodeRecord, deep: boolean): void {
    this.#stamp(node, node.hasProperties);
    if (!deep || node.kind !== 'dir') return;
    for (const id of this.#sql.sharedIn.all(node.rootId)) {
      const shared = this.sql.isBelow.get(id, node.id) === undefined ? null : this.nodeSync(id as NodeId);
      if (shared !== null) this.#stamp(shared, shared.hasProperties);
    }
  }

  #next(): number {
    this.#seq += 1;
    return this.#seq;
  }

  #touch(rootId: NodeId, ...ids: NodeId[]): void {
    let set = this.#touched.get(rootId);
    if (set === undefined) this.#touched.set(rootId, (set = new Set()));
    for (const id of ids) {
      this.#changedAt.add(id);
      if (set.size < MAX_NAMED_IDS) set.add(id);
    }
  }

  #isTaken(parentId: NodeId, name: Name): boolean {
    return this.sql.memberId.get(parentId, nameToSql(name)) !== undefined;
  }

  #sqlLocksIn(rootId: NodeId): readonly LockRecord[] {
    if (this.#sql.anyLockRow.get(rootId) === undefined) return [];
    return this.locksInSync(rootId, this.#clock.now_ms());
  }

  #removeEntry(id: NodeId): void {
    const node = this.#mustNode(id);
    if (node.parentId === null) return;
    const path = this.#pathSync(node);
    const seq = this.#next();
    this.#sql.deleteNode.run(node.id);
    this.#sql.tombstone.run(seq, node.rootId, pathToSql(path), this.#clock.now_ms(), node.parentId);
    this.#entryChanged(node.parentId, seq, 0);
    this.#touch(node.rootId, node.id, node.parentId);
  }

  #entryAdded(parentId: NodeId, id: NodeId): void {
    this.#entryChanged(parentId, id, 0);
    this.#touch(this.#mustNode(parentId).rootId, id, parentId);
  }

  #retell(id: NodeId): void {
    const node = this.nodeSync(id);
    if (node === null) return;
    this.#stamp(node, node.hasProperties);
    const below = node.kind === 'dir' ? (this.#sql.countBelow.get(node.id) ?? 1) - 1 : 0;
    if (below === 0) return;
    this.#sql.retellBelow.run(node.id, this.#seq, this.#seq);
    this.#seq += below;
    this.#carryUp(node.id, this.#seq, 0);
  }

  #mustNode(id: NodeId): NodeRecord {
    const node = this.nodeSync(id);
    if (node === null) throw new CloudError('not_found', `using node ${id}: it is required to exist, found nothing`);
    return node;
  }

  #mustBeFree(parent: NodeRecord, name: Name): void {
    if (parent.kind !== 'dir')
      throw new CloudError('not_dir', 'adding an entry: a collection is required, found a file');
    if (this.#isTaken(parent.id, name)) {
      throw new CloudError('exists', `adding the entry ${JSON.stringify(name)}: the name is taken`);
    }
  }

  #pathSync(node: NodeRecord): readonly Name[] {
    return this.lineageSync(node.id)
      .slice(1)
      .map((above) => above.name);
  }

  /** A change of the node's own properties or locks. */
  #stamp(node: NodeRecord, hasProperties: boolean): NodeRecord {
    const seq = this.#next();
    this.#sql.stampNode.run(node.kind === 'dir' ? seq : 0, seq, hasProperties ? 1 : 0, node.id);
    return this.#changed(node, seq);
  }

  #changed(node: NodeRecord, seq: number): NodeRecord {
    if (node.parentId !== null) this.#carryUp(node.parentId, seq, 0);
    this.#touch(node.rootId, node.id);
    return this.#mustNode(node.id);
  }

  /** The collection and those above it: number and size of what changed below. Returns how many they are. */
  #carryUp(from: NodeId, seq: number, size_bytes: number): number {
    let count = 0;
    let id: number | null = from;
    while (id !== null) {
      this.#sql.carry.run(seq, size_bytes, id);
      id = this.#sql.parentOf.get(id) ?? null;
      count += 1;
    }
    return count;
  }

  /** The list of members of the collection is another one. Returns how deep they are: 1 = in the root. */
  #entryChanged(dir: NodeId, seq: number, size_bytes: number): number {
    const now = this.#clock.timestamp();
    this.#sql.carryEntry.run(seq, size_bytes, now.s, now.ns, dir);
    const above = this.#sql.parentOf.get(dir) ?? null;
    return 1 + (above === null ? 0 : this.#carryUp(above as NodeId, seq, size_bytes));
  }

  #withinQuota<T>(rootId: NodeId, change: () => T): T {
    const { used_bytes } = this.usageSync(rootId);
    const result = change();
    this.#checkGrown(rootId, used_bytes);
    return result;
  }

  /** After a change whose size shows only then. Who is beyond the quota may still take away. */
  #checkGrown(rootId: NodeId, before_bytes: number): void {
    const { used_bytes, quota_bytes } = this.usageSync(rootId);
    if (quota_bytes === null || used_bytes <= Math.max(quota_bytes, before_bytes)) return;
    throw new CloudError('quota', `storing: the quota is ${quota_bytes} bytes, ${used_bytes} would be used`);
  }

  #checkQuota(rootId: NodeId, more_bytes: number): void {
    if (more_bytes <= 0) return;
    const { used_bytes, quota_bytes } = this.usageSync(rootId);
    if (quota_bytes !== null && used_bytes + more_bytes > quota_bytes) {
      throw new CloudError(
        'quota',
        `storing ${more_bytes} more bytes: the quota is ${quota_bytes} bytes and ${used_bytes} are used`,
      );
    }
  }

  /** Makes the content known, within the quota. */
  #store(spec: Exclude<NewNode, { kind: 'dir' }>, rootId: NodeId, replaced_bytes: number): Representation {
    if (spec.kind === 'symlink') {
      const target = targetToSql(spec.target);
      this.#checkQuota(rootId, target.length - replaced_bytes);
      const sha256 = createHash('sha256').update(target).digest('hex');
      return { contentId: null, sha256, size: target.length, target };
    }
    const { content } = spec;
    this.#checkQuota(rootId, content.size_bytes - replaced_bytes);
    return { contentId: this.#storeContent(content), sha256: content.sha256, size: content.size_bytes, target: null };
  }

  #storeContent(content: NewContent): number {
    const { sha256, size_bytes } = content;
    if (content.kind === 'inline') {
      return Number(this.#sql.insertInline.run(sha256, size_bytes, content.data).lastInsertRowid);
    }
    const id = this.#sql.insertBlob.get(sha256, size_bytes);
    if (id === undefined) throw new CloudError('io', `recording the content ${sha256}: no id was given`);
    return id;
  }

  #release(contentId: number): void {
    if (this.#sql.dropInline.run(contentId).changes === 0) this.#sql.release.run(this.#clock.now_ms(), contentId);
  }

  #deleteTree(node: NodeRecord): void {
    this.#deleteLocks(node);
    if (node.kind !== 'dir' || this.sql.anyChild.get(node.id) === undefined) {
      if (node.contentId !== null) this.#release(node.contentId);
      if (node.hasProperties) this.#sql.deleteProperties.run(node.id);
      this.#sql.deleteNode.run(node.id);
      return;
    }
    this.#sql.releaseBelow.run(node.id, this.#clock.now_ms());
    this.#sql.deleteUnusedInline.run();
    this.#sql.deletePropertiesBelow.run(node.id);
    this.#sql.deleteBelow.run(node.id);
  }

  /** Locks rooted at or below the node, expired ones too. */
  #deleteLocks(node: NodeRecord): void {
    if (this.#sql.anyLockRow.get(node.rootId) === undefined) return;
    this.#sql.deleteLocksOf.run(node.id);
    if (node.kind !== 'dir') return;
    for (const [token, lockedId] of this.#sql.lockRowsOfRoot.all(node.rootId)) {
      if (this.sql.isBelow.get(lockedId, node.id) !== undefined) this.#sql.deleteLock.run(token);
    }
  }

  /** `depth`: that of the copy. */
  async #copyTree(node: NodeRecord, parent: NodeRecord, name: Name, deep: boolean, depth: number): Promise<NodeId> {
    checkDepth(depth);
    const seq = this.#next();
    const size = node.kind === 'dir' && !deep ? 0 : node.size_bytes;
    if (node.contentId !== null) this.#sql.retain.run(node.contentId);
    this.#sql.insertNode.run(
      ...[seq, parent.id, parent.rootId, nameToSql(name), kindNumber(node.kind), size],
      ...[node.sha256 === null ? null : contentEtag(seq, node.sha256), seq, seq, seq, node.contentId, node.sha256],
      ...[node.mtime.s, node.mtime.ns, this.#sql.mtimeSet.get(node.id) ?? 0, this.#clock.now_ms()],
      ...[node.mode, node.uid, node.gid, node.target === null ? null : targetToSql(node.target)],
      node.hasProperties ? 1 : 0,
    );
    if (node.hasProperties) this.#sql.copyProperties.run(seq, node.id);
    if (node.kind === 'dir' && deep) {
      const copy = this.#mustNode(seq as NodeId);
      // All members are read before the first is written: a copy into itself (refused by the caller) could not run away.
      for (const member of await this.children(node, null, -1)) {
        // What others share stands in this tree but is no part of it.
        if (member.mount === undefined) await this.#copyTree(member, copy, member.name, true, depth + 1);
      }
      this.#carryOwn(copy.id);
    }
    return seq as NodeId;
  }

  /** A copied collection's ETag covers what was copied into it. */
  #carryOwn(id: NodeId): void {
    this.#carryUp(id, this.#seq, 0);
  }
}
