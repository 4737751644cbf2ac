// Shares written to SQLite. Every change of a share ends in `settle`, which makes the rest follow for one owner's tree:
// what each share grants, which entries (mounts) recipients have, what has to be told again because its rights changed,
// and which locks of people who may no longer write have to go.
//
// What a share handed on by a recipient grants is bounded by what that recipient has. Rights are computed as the least
// fixpoint from nothing upwards, so that two people who hand a share to each other cannot hold it without the owner.

import type { Clock } from '../../../../clock.js';
import { CloudError } from '../../../../errors.js';
import type { Name } from '../../../../ids.js';
import { nameFromSql, nameToSql } from '../../../../names.js';
import { CREATE, DELETE, SHARE, UPDATE } from '../../../sharing/rights.js';
import type { LockRecord, NodeId, NodeRecord } from '../metadata_store.js';
import {
  linkOfVisitor,
  type Mount,
  type NewShare,
  numbered,
  type RecipientState,
  type ShareId,
  type SharePatch,
  type ShareRecord,
  shareKindNumber,
} from '../share_records.js';
import type { Connection } from './database.js';
import { KIND_MOUNT } from './rows.js';
import type { ShareReader } from './share_reading.js';

/** What of the tree the shares have to change; implemented by the writing transaction. */
export interface TreeHand {
  next(): number;
  node(id: NodeId): NodeRecord | null;
  lineage(id: NodeId): readonly NodeRecord[];
  ensureRoot(userId: string): NodeRecord;
  isTaken(parentId: NodeId, name: Name): boolean;
  /** Removes one entry's row and tells it as gone. */
  removeEntry(id: NodeId): void;
  /** An entry has come into a collection: number, time and notice. */
  entryAdded(parentId: NodeId, id: NodeId): void;
  /** New numbers for the node and everything below: all of it is told again. */
  retell(id: NodeId): void;
  stamp(id: NodeId): void;
  locksIn(rootId: NodeId): readonly LockRecord[];
  removeLock(token: string): void;
}

type Sql = string | number | null | Buffer;

interface Person {
  readonly shareId: number;
  readonly userId: string;
  /** Or not answered yet. */
  readonly declined: boolean;
}

interface MountRow {
  readonly id: NodeId;
  readonly nodeId: NodeId;
  readonly userId: string;
}

function statements(db: Connection) {
  return {
    insert: db.prepare<Sql[]>(
      `INSERT INTO shares (node_id, root_id, kind, sharer_id, recipient, permissions, granted, note, label, created_ms,
        expires_ms, suspended, token, password_hash, hide_download, max_downloads, downloads)
       VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, 0, ?, ?, ?, ?, 0)`,
    ),
    same: db
      .prepare<[number, number, string, string], number>(
        'SELECT id FROM shares WHERE node_id = ? AND kind = ? AND recipient = ? AND sharer_id = ?',
      )
      .pluck(),
    declinedBy: db
      .prepare<[number, string], number>(
        'SELECT 1 FROM share_people WHERE share_id = ? AND user_id = ? AND declined = 1',
      )
      .pluck(),
    update: db.prepare<Sql[]>(
      `UPDATE shares SET permissions = ?, note = ?, label = ?, expires_ms = ?, suspended = ?, token = ?, password_hash = ?,
        hide_download = ?, max_downloads = ? WHERE id = ?`,
    ),
    grant: db.prepare<[number, number | null, number]>('UPDATE shares SET granted = ?, until_ms = ? WHERE id = ?'),
    askFirst: db.prepare<[string]>('INSERT INTO share_by_hand (user_id) VALUES (?) ON CONFLICT DO NOTHING'),
    askNot: db.prepare<[string]>('DELETE FROM share_by_hand WHERE user_id = ?'),
    takeOver: db.prepare<[number, string, string, number]>(
      'UPDATE shares SET root_id = ?, sharer_id = CASE sharer_id WHEN ? THEN ? ELSE sharer_id END WHERE root_id = ?',
    ),
    remove: db.prepare<[number]>('DELETE FROM shares WHERE id = ?'),
    addPerson: db.prepare<[number, string]>(
      `INSERT INTO share_people (share_id, user_id, declined)
       SELECT ?, u.id, CASE WHEN EXISTS (SELECT 1 FROM share_by_hand h WHERE h.user_id = u.id) THEN 2 ELSE 0 END
       FROM (SELECT ? AS id) u WHERE true
       ON CONFLICT DO NOTHING`,
    ),
    removePerson: db.prepare<[number, string]>('DELETE FROM share_people WHERE share_id = ? AND user_id = ?'),
    peopleOf: db.prepare<[number], string>('SELECT user_id FROM share_people WHERE share_id = ?').pluck(),
    answer: db.prepare<[number, number, string]>(
      'UPDATE share_people SET declined = ? WHERE share_id = ? AND user_id = ?',
    ),
    peopleOfRoot: db
      .prepare<[number], [number, string, number]>(
        `SELECT p.share_id, p.user_id, p.declined FROM share_people p JOIN shares s ON s.id = p.share_id
         WHERE s.root_id = ?`,
      )
      .raw(),
    mountsOfRoot: db
      .prepare<[number], [number, number, string]>(
        `SELECT m.id, m.mount_of, r.user_id FROM nodes m JOIN nodes n ON n.id = m.mount_of JOIN roots r ON r.node_id = m.root_id
         WHERE m.mount_of IS NOT NULL AND n.root_id = ?`,
      )
      .raw(),
    insertMount: db.prepare<Sql[]>(
      `INSERT INTO nodes (id, parent_id, root_id, name, kind, size, etag, tree_seq, changed_seq, path_seq, mtime_s, mtime_ns,
        mtime_set, created_ms, mount_of) VALUES (?, ?, ?, ?, ${KIND_MOUNT}, 0, NULL, ?, ?, ?, ?, 0, 0, ?, ?)`,
    ),
    mountRow: db
      .prepare<[number], [number, number, string | Buffer]>('SELECT mount_of, parent_id, name FROM nodes WHERE id = ?')
      .raw(),
    remember: db.prepare<[number, string | Buffer, string, number]>(
      `UPDATE share_people SET parent_id = ?, name = ? WHERE user_id = ? AND share_id IN (SELECT id FROM shares WHERE node_id = ?)`,
    ),
    remembered: db
      .prepare<[string, number], [number, string | Buffer]>(
        `SELECT p.parent_id, p.name FROM share_people p JOIN shares s ON s.id = p.share_id
         WHERE p.user_id = ? AND s.node_id = ? AND p.parent_id IS NOT NULL LIMIT 1`,
      )
      .raw(),
    declineAll: db.prepare<[string, number]>(
      'UPDATE share_people SET declined = 1 WHERE user_id = ? AND share_id IN (SELECT id FROM shares WHERE node_id = ?)',
    ),
    below: db
      .prepare<[number, number], number>(
        `WITH RECURSIVE below(id) AS (
           SELECT id FROM nodes WHERE id = ?
           UNION ALL SELECT n.id FROM below JOIN nodes n ON n.parent_id = below.id)
         SELECT s.id FROM shares s WHERE s.root_id = ? AND s.node_id IN (SELECT id FROM below)`,
      )
      .pluck(),
    mountsBelow: db
      .prepare<[number, number], [number, number]>(
        `WITH RECURSIVE below(id) AS (
           SELECT id FROM nodes WHERE id = ?
           UNION ALL SELECT n.id FROM below JOIN nodes n ON n.parent_id = below.id)
         SELECT m.id, m.mount_of FROM nodes m WHERE m.root_id = ? AND m.mount_of IS NOT NULL AND m.id IN (SELECT id FROM below)`,
      )
      .raw(),
    anyMount: db
      .prepare<[number], number>('SELECT 1 FROM nodes WHERE root_id = ? AND mount_of IS NOT NULL LIMIT 1')
      .pluck(),
    userOfRoot: db.prepare<[number], string>('SELECT user_id FROM roots WHERE node_id = ?').pluck(),
    anyHandedOn: db
      .prepare<[number], number>(
        `SELECT 1 FROM shares s JOIN roots r ON r.node_id = s.root_id WHERE s.root_id = ? AND s.sharer_id <> r.user_id LIMIT 1`,
      )
      .pluck(),
    count: db.prepare<[number]>(
      'UPDATE shares SET downloads = downloads + 1 WHERE id = ? AND (max_downloads IS NULL OR downloads < max_downloads)',
    ),
    expired: db
      .prepare<[number], number>(
        'SELECT DISTINCT root_id FROM shares WHERE expires_ms IS NOT NULL AND expires_ms <= ? AND granted > 0',
      )
      .pluck(),
    rootsWith: db
      .prepare<[string], number>(
        'SELECT DISTINCT s.root_id FROM shares s JOIN share_people p ON p.share_id = s.id WHERE p.user_id = ?',
      )
      .pluck(),
    givenTo: db
      .prepare<[string], [number, number]>('SELECT id, root_id FROM shares WHERE kind = 0 AND recipient = ?')
      .raw(),
    forgetPerson: db.prepare<[string]>('DELETE FROM share_people WHERE user_id = ?'),
    givenElsewhere: db
      .prepare<[string, string], [number, number]>(
        'SELECT s.id, s.root_id FROM shares s JOIN roots r ON r.node_id = s.root_id WHERE s.sharer_id = ? AND r.user_id <> ?',
      )
      .raw(),
  };
}

export class ShareWriter {
  readonly #sql: ReturnType<typeof statements>;
  readonly #shares: ShareReader;
  readonly #tree: TreeHand;
  readonly #clock: Clock;

  constructor(db: Connection, shares: ShareReader, tree: TreeHand, clock: Clock) {
    this.#sql = statements(db);
    this.#shares = shares;
    this.#tree = tree;
    this.#clock = clock;
  }

  add(spec: NewShare): ShareRecord {
    const node = this.#mustNode(spec.nodeId);
    if (node.parentId === null) {
      throw new CloudError('not_permitted', 'sharing: the root of a tree cannot be shared, only what is in it');
    }
    if (this.#mountsBelow(node).length > 0) {
      throw new CloudError(
        'not_permitted',
        'sharing: this folder contains entries that others have shared with you; move those out of it first',
      );
    }
    const kind = shareKindNumber(spec.kind);
    const same = spec.kind === 'link' ? undefined : this.#sql.same.get(node.id, kind, spec.recipient, spec.sharerId);
    if (same !== undefined) {
      if (spec.kind !== 'user' || this.#sql.declinedBy.get(same, spec.recipient) === undefined) {
        throw new CloudError(
          'exists',
          `sharing with ${spec.recipient}: it is shared with them already, change that share`,
        );
      }
      // They did without it, perhaps by mistake: it is offered anew.
      this.#sql.remove.run(same);
    }
    const id = this.#sql.insert.run(
      ...[
        node.id,
        node.rootId,
        kind,
        spec.sharerId,
        spec.recipient,
        spec.permissions,
        spec.note ?? '',
        spec.label ?? '',
      ],
      ...[this.#clock.now_ms(), spec.expires_ms ?? null, spec.link?.token ?? null, spec.link?.passwordHash ?? null],
      ...[spec.link?.hideDownload === true ? 1 : 0, spec.link?.maxDownloads ?? null],
    ).lastInsertRowid as number;
    this.#addPeople(id, spec.sharerId, node.rootId, spec.people);
    this.settle(node.rootId);
    this.#tree.stamp(node.id);
    return this.#must(id as ShareId);
  }

  change(id: ShareId, patch: SharePatch): ShareRecord {
    const old = this.#must(id);
    const { link } = old;
    const expires_ms = patch.expires_ms === undefined ? old.expires_ms : patch.expires_ms;
    this.#sql.update.run(
      ...[patch.permissions ?? old.permissions, patch.note ?? old.note, patch.label ?? old.label, expires_ms],
      ...[(patch.suspended ?? old.suspended) ? 1 : 0, patch.token ?? link?.token ?? null],
      patch.passwordHash === undefined ? (link?.passwordHash ?? null) : patch.passwordHash,
      (patch.hideDownload ?? link?.hideDownload) === true ? 1 : 0,
      patch.maxDownloads === undefined ? (link?.maxDownloads ?? null) : patch.maxDownloads,
      id,
    );
    this.settle(old.rootId);
    return this.#must(id);
  }

  remove(id: ShareId): void {
    const share = this.#shares.one(id);
    if (share === null) return;
    this.#drop([share]);
    this.settle(share.rootId);
    if (this.#tree.node(share.nodeId) !== null) this.#tree.stamp(share.nodeId);
  }

  setPeople(groupId: string, people: readonly string[]): void {
    const roots = new Set<NodeId>();
    for (const share of this.#shares.list({ kind: 'group', groupId })) {
      const keep = new Set(people);
      for (const userId of this.#sql.peopleOf.all(share.id)) {
        if (!keep.has(userId)) this.#sql.removePerson.run(share.id, userId);
      }
      this.#addPeople(share.id, share.sharerId, share.rootId, people);
      roots.add(share.rootId);
    }
    for (const rootId of roots) this.settle(rootId);
  }

  answer(id: ShareId, userId: string, state: RecipientState): void {
    const share = this.#must(id);
    if (this.#sql.answer.run(state === 'declined' ? 1 : 0, id, userId).changes === 0) {
      throw new CloudError('not_found', `share ${id}: it is not one with you`);
    }
    this.settle(share.rootId);
  }

  setAsksFirst(userId: string, asksFirst: boolean): void {
    (asksFirst ? this.#sql.askFirst : this.#sql.askNot).run(userId);
  }

  unmount(mount: Mount): void {
    const userId = this.#sql.userOfRoot.get(mount.rootId);
    const row = this.#sql.mountRow.get(mount.id);
    if (row === undefined || userId === undefined) return;
    const [nodeId] = row;
    this.#sql.declineAll.run(userId, nodeId);
    const node = this.#tree.node(nodeId as NodeId);
    if (node === null) this.#tree.removeEntry(mount.id);
    else this.settle(node.rootId);
  }

  countDownload(id: ShareId): boolean {
    return this.#sql.count.run(id).changes === 1;
  }

  expire(now_ms: number): number {
    const roots = this.#sql.expired.all(now_ms);
    for (const rootId of roots) this.settle(rootId as NodeId);
    return roots.length;
  }

  forgetUser(userId: string): void {
    const roots = new Set<number>(this.#sql.rootsWith.all(userId));
    // Those with this very user, too: somebody of that name who comes later is somebody else.
    for (const [id, rootId] of [...this.#sql.givenElsewhere.all(userId, userId), ...this.#sql.givenTo.all(userId)]) {
      this.#sql.remove.run(id);
      roots.add(rootId);
    }
    this.#sql.forgetPerson.run(userId);
    this.#sql.askNot.run(userId);
    for (const rootId of roots) this.settle(rootId as NodeId);
  }

  /** The nodes of one tree are in another now: what is shared of them is the new owner's to give. */
  takeOver(
    from: { readonly rootId: NodeId; readonly userId: string },
    to: { readonly rootId: NodeId; readonly userId: string },
  ): void {
    // Nobody is a recipient of their own.
    for (const share of this.#shares.ofRoot(from.rootId)) {
      if (share.kind === 'user' && share.recipient === to.userId) this.#sql.remove.run(share.id);
      else this.#sql.removePerson.run(share.id, to.userId);
    }
    this.#sql.takeOver.run(to.rootId, from.userId, to.userId, from.rootId);
    this.settle(to.rootId);
  }

  /** Before the node goes with everything below: its shares end, entries received in it are declined. */
  beforeRemove(node: NodeRecord): void {
    if (this.#shares.any(node.rootId)) {
      const ids = this.#sql.below.all(node.id, node.rootId) as ShareId[];
      if (ids.length > 0) {
        this.#drop(ids.map((id) => this.#must(id)));
        this.settle(node.rootId);
      }
    }
    const userId = this.#sql.userOfRoot.get(node.rootId);
    if (userId === undefined) return;
    const roots = new Set<NodeId>();
    for (const [, mountOf] of this.#mountsBelow(node)) {
      this.#sql.declineAll.run(userId, mountOf);
      const shared = this.#tree.node(mountOf);
      if (shared !== null) roots.add(shared.rootId);
    }
    // Who does without a share hands it on to nobody, and holds no lock in it.
    for (const rootId of roots) this.settle(rootId);
  }

  /** May the node go under `parent`? Throws `not_permitted`. */
  checkMove(node: NodeRecord, parent: NodeRecord): void {
    const mounts = this.#mountsBelow(node);
    if (mounts.length > 0 && (node.rootId !== parent.rootId || this.#shares.isWithin(parent.id))) {
      throw new CloudError(
        'not_permitted',
        'moving: what others have shared with you cannot be put into a folder that is shared itself',
      );
    }
    if (node.rootId === parent.rootId || !this.#shares.any(node.rootId)) return;
    if (this.#sql.below.all(node.id, node.rootId).length > 0) {
      throw new CloudError('not_permitted', 'moving into the files of somebody else: withdraw the shares in it first');
    }
  }

  /** After the node moved: what is behind entries in it has moved too, and shares above it are others now. */
  afterMove(node: NodeRecord): void {
    for (const [, mountOf] of this.#mountsBelow(node)) this.#tree.retell(mountOf);
    // Where it is decides what those who hand it on have themselves.
    if (this.#sql.anyHandedOn.get(node.rootId) !== undefined) this.settle(node.rootId);
  }

  /** Makes everything follow from the shares of one owner's tree. */
  settle(rootId: NodeId): void {
    const now_ms = this.#clock.now_ms();
    const shares = this.#shares.ofRoot(rootId);
    const people = this.#people(rootId);
    const granted = this.#compute(shares, people, now_ms);
    const changed = new Set<NodeId>();
    for (const share of shares) {
      const now = granted.get(share.id) ?? 0;
      this.#sql.grant.run(now, this.#until(share, shares, now_ms), share.id);
      if (now !== share.granted) changed.add(share.nodeId);
    }
    this.#settleMounts(rootId, shares, people, granted, changed);
    this.#retell(changed);
    this.#dropLocks(rootId, now_ms);
  }

  /** A share handed on counts until anything above it expires; then it is settled anew, within a second. */
  #until(share: ShareRecord, shares: readonly ShareRecord[], now_ms: number): number | null {
    if (share.sharerId === share.ownerId) return share.expires_ms;
    const above = new Set(this.#tree.lineage(share.nodeId).map((node) => node.id));
    let until = Number.POSITIVE_INFINITY;
    for (const { nodeId, expires_ms } of shares) {
      if (expires_ms !== null && expires_ms > now_ms && above.has(nodeId)) until = Math.min(until, expires_ms);
    }
    return until === Number.POSITIVE_INFINITY ? share.expires_ms : until;
  }

  #people(rootId: NodeId): ReadonlyMap<number, readonly Person[]> {
    const out = new Map<number, Person[]>();
    for (const [shareId, userId, declined] of this.#sql.peopleOfRoot.all(rootId)) {
      const list = out.get(shareId) ?? [];
      list.push({ shareId, userId, declined: declined !== 0 });
      out.set(shareId, list);
    }
    return out;
  }

  #compute(
    shares: readonly ShareRecord[],
    people: ReadonlyMap<number, readonly Person[]>,
    now_ms: number,
  ): ReadonlyMap<ShareId, number> {
    const granted = new Map<ShareId, number>();
    const handedOn: ShareRecord[] = [];
    for (const share of shares) {
      const isActive = !share.suspended && (share.expires_ms === null || share.expires_ms > now_ms);
      if (!isActive) continue;
      if (share.sharerId === share.ownerId) granted.set(share.id, share.permissions);
      else handedOn.push(share);
    }
    const above = new Map<NodeId, ReadonlySet<NodeId>>();
    for (const { nodeId } of handedOn) {
      if (!above.has(nodeId)) above.set(nodeId, new Set(this.#tree.lineage(nodeId).map((node) => node.id)));
    }
    for (let grows = handedOn.length > 0; grows; ) {
      grows = false;
      for (const share of handedOn) {
        const path = above.get(share.nodeId);
        let rights = 0;
        for (const other of shares) {
          const bits = granted.get(other.id) ?? 0;
          if (bits === 0 || path?.has(other.nodeId) !== true) continue;
          const takes = (people.get(other.id) ?? []).some((p) => p.userId === share.sharerId && !p.declined);
          if (takes) rights |= bits;
        }
        const bits = (rights & SHARE) === 0 ? 0 : share.permissions & rights;
        if (bits !== (granted.get(share.id) ?? 0)) {
          granted.set(share.id, bits);
          grows = true;
        }
      }
    }
    return granted;
  }

  #settleMounts(
    rootId: NodeId,
    shares: readonly ShareRecord[],
    people: ReadonlyMap<number, readonly Person[]>,
    granted: ReadonlyMap<ShareId, number>,
    changed: Set<NodeId>,
  ): void {
    const wanted = new Map<string, { readonly nodeId: NodeId; readonly userId: string }>();
    for (const share of shares) {
      if ((granted.get(share.id) ?? 0) === 0 || share.kind === 'link') continue;
      for (const { userId, declined } of people.get(share.id) ?? []) {
        if (!declined) wanted.set(`${share.nodeId} ${userId}`, { nodeId: share.nodeId, userId });
      }
    }
    const mounts: readonly MountRow[] = this.#sql.mountsOfRoot
      .all(rootId)
      .map(([id, nodeId, userId]) => ({ id: id as NodeId, nodeId: nodeId as NodeId, userId }));
    for (const mount of mounts) {
      if (wanted.delete(`${mount.nodeId} ${mount.userId}`)) continue;
      const row = this.#sql.mountRow.get(mount.id);
      if (row !== undefined) this.#sql.remember.run(row[1], row[2], mount.userId, mount.nodeId);
      this.#tree.removeEntry(mount.id);
    }
    for (const { nodeId, userId } of wanted.values()) {
      this.#mount(nodeId, userId);
      changed.add(nodeId);
    }
  }

  #mount(nodeId: NodeId, userId: string): void {
    const node = this.#mustNode(nodeId);
    const { parent, name } = this.#placeFor(node, userId);
    const seq = this.#tree.next();
    const now_ms = this.#clock.now_ms();
    this.#sql.insertMount.run(
      ...[seq, parent.id, parent.rootId, nameToSql(name), seq, seq, seq, Math.floor(now_ms / 1000), now_ms, nodeId],
    );
    this.#tree.entryAdded(parent.id, seq as NodeId);
  }

  /** Where it was when it was last there; else the recipient's root, under a name that is free. */
  #placeFor(node: NodeRecord, userId: string): { readonly parent: NodeRecord; readonly name: Name } {
    const root = this.#tree.ensureRoot(userId);
    const row = this.#sql.remembered.get(userId, node.id);
    let parent = root;
    let name = node.name;
    if (row !== undefined) {
      const before = this.#tree.node(row[0] as NodeId);
      name = nameFromSql(row[1]);
      if (before?.kind === 'dir' && before.rootId === root.id && !this.#shares.isWithin(before.id)) parent = before;
    }
    for (let n = 1; ; n++) {
      const candidate = n === 1 ? name : numbered(name, n, node.kind === 'dir');
      if (!this.#tree.isTaken(parent.id, candidate)) return { parent, name: candidate };
    }
  }

  /** Everything at or below these nodes, once. */
  #retell(nodes: ReadonlySet<NodeId>): void {
    for (const id of nodes) {
      const lineage = this.#tree.lineage(id);
      if (lineage.length > 0 && !lineage.slice(0, -1).some((above) => nodes.has(above.id))) this.#tree.retell(id);
    }
  }

  /** Nobody holds a lock where they may not write. */
  #dropLocks(rootId: NodeId, now_ms: number): void {
    const owner = this.#sql.userOfRoot.get(rootId);
    for (const lock of this.#tree.locksIn(rootId)) {
      if (lock.userId === owner) continue;
      const rights = this.#rightsOfHolder(lock, now_ms);
      if ((rights & (UPDATE | CREATE | DELETE)) === 0) this.#tree.removeLock(lock.token);
    }
  }

  #rightsOfHolder({ userId, nodeId }: LockRecord, now_ms: number): number {
    const linkId = linkOfVisitor(userId);
    if (linkId === null) return this.#shares.grants(userId, [nodeId], now_ms).get(nodeId) ?? 0;
    const link = this.#shares.one(linkId);
    const isIn = link !== null && this.#tree.lineage(nodeId).some(({ id }) => id === link.nodeId);
    return isIn ? link.granted : 0;
  }

  /** The rows go (with their people); what they granted is told again, for the rights that are left. */
  #drop(shares: readonly ShareRecord[]): void {
    const told = new Set<NodeId>();
    for (const share of shares) {
      if (share.granted !== 0 && share.kind !== 'link') told.add(share.nodeId);
      this.#sql.remove.run(share.id);
    }
    this.#retell(told);
  }

  #addPeople(shareId: number, sharerId: string, rootId: NodeId, people: readonly string[]): void {
    const owner = this.#sql.userOfRoot.get(rootId);
    for (const userId of people) {
      if (userId !== owner && userId !== sharerId) this.#sql.addPerson.run(shareId, userId);
    }
  }

  #mountsBelow(node: NodeRecord): readonly [id: NodeId, mountOf: NodeId][] {
    if (this.#sql.anyMount.get(node.rootId) === undefined) return [];
    return this.#sql.mountsBelow.all(node.id, node.rootId) as [NodeId, NodeId][];
  }

  #mustNode(id: NodeId): NodeRecord {
    const node = this.#tree.node(id);
    if (node === null) throw new CloudError('not_found', `sharing node ${id}: it does not exist (any more)`);
    return node;
  }

  #must(id: ShareId): ShareRecord {
    const share = this.#shares.one(id);
    if (share === null) throw new CloudError('not_found', `share ${id}: there is none of this number (any more)`);
    return share;
  }
}
