// Locks as a listing shows them: for a page of nodes at once, with what is inherited from collections above.

import { formatTimeout } from '../../remote/wire/timeout.js';
import { escapeText } from '../../remote/wire/xml.js';
import type { LockRecord, MetadataRead, NodeId, NodeRecord } from '../storage/metadata/metadata_store.js';
import { hrefIn, type LockTree } from './lock_rules.js';
import { hrefOf } from './resource_path.js';

const NONE: readonly LockRecord[] = [];

export class LockView {
  readonly #tx: MetadataRead;
  readonly #tree: LockTree;
  readonly #viewerId: string;
  readonly #now_ms: number;
  #own = new Map<NodeId, LockRecord[]>();
  /** Collection -> locks with depth infinity at or above it. */
  readonly #inherited = new Map<NodeId, readonly LockRecord[]>();
  /** Of what is locked; null = above what the viewer sees. */
  readonly #hrefs = new Map<NodeId, string | null>();
  /** Node -> address of the topmost collection at or above it that the viewer sees, where a lock is above that. */
  readonly #tops = new Map<NodeId, string>();
  /** Trees seen so far -> is anything in them locked? */
  readonly #anyIn = new Map<NodeId, boolean>();

  constructor(tx: MetadataRead, tree: LockTree, viewerId: string, now_ms: number) {
    this.#tx = tx;
    this.#tree = tree;
    this.#viewerId = viewerId;
    this.#now_ms = now_ms;
  }

  /** Makes `of` answer for these nodes (and no longer for those before them). */
  async load(nodes: readonly NodeRecord[]): Promise<void> {
    this.#own = new Map();
    for (const { rootId } of nodes) {
      if (!this.#anyIn.has(rootId)) this.#anyIn.set(rootId, await this.#tx.anyLock(rootId, this.#now_ms));
    }
    const lockable = nodes.filter((node) => this.#anyIn.get(node.rootId) === true);
    if (lockable.length === 0) return;
    const ids = lockable.map((node) => node.id);
    for (const lock of await this.#tx.locksOn(ids, this.#now_ms)) {
      const list = this.#own.get(lock.nodeId);
      if (list === undefined) this.#own.set(lock.nodeId, [lock]);
      else list.push(lock);
      await this.#learnHref(lock);
    }
    for (const { id, parentId } of lockable) {
      if (parentId === null) continue;
      const inherited = await this.#inherit(parentId);
      if (inherited.some((lock) => this.#hrefs.get(lock.nodeId) === null)) this.#tops.set(id, await this.#topOf(id));
    }
  }

  of(node: NodeRecord): readonly LockRecord[] {
    if (this.#anyIn.get(node.rootId) !== true) return NONE;
    const own = this.#own.get(node.id) ?? NONE;
    const inherited = (node.parentId === null ? undefined : this.#inherited.get(node.parentId)) ?? NONE;
    return inherited.length === 0 ? own : [...own, ...inherited];
  }

  /** `<activelock>` of each lock of the node. */
  activeLocks(node: NodeRecord): string {
    let out = '';
    for (const lock of this.of(node)) {
      const root = this.#hrefs.get(lock.nodeId) ?? this.#tops.get(node.id) ?? this.#tree.basePath;
      out += activeLock(lock, root, this.#viewerId, this.#now_ms);
    }
    return out;
  }

  /** To who sees a part of what is locked, that part is what is locked. */
  async #topOf(id: NodeId): Promise<string> {
    for (const node of await this.#tx.lineage(id)) {
      const names = await this.#tx.pathIn(this.#tree.rootId, node.id);
      if (names !== null) return hrefOf(this.#tree.basePath, names, node.kind === 'dir');
    }
    return this.#tree.basePath;
  }

  async #inherit(id: NodeId): Promise<readonly LockRecord[]> {
    const known = this.#inherited.get(id);
    if (known !== undefined) return known;
    const lineage = await this.#tx.lineage(id);
    const locks = await this.#tx.locksOn(
      lineage.map((node) => node.id),
      this.#now_ms,
    );
    const deep = locks.filter((lock) => lock.depth === 'infinity');
    for (const lock of deep) await this.#learnHref(lock);
    this.#inherited.set(id, deep);
    return deep;
  }

  async #learnHref({ nodeId }: LockRecord): Promise<void> {
    if (!this.#hrefs.has(nodeId)) this.#hrefs.set(nodeId, await hrefIn(this.#tx, this.#tree, nodeId));
  }
}

/** RFC 4918 section 14.1. What a client wrote as owner (often a machine or a program) is told to the one who holds the
 * lock; others learn who it is. */
export function activeLock(lock: LockRecord, rootHref: string, viewerId: string, now_ms: number): string {
  const owner = lock.userId === viewerId ? lock.ownerXml : `<d:owner>${escapeText(lock.displayName)}</d:owner>`;
  const left_s = Math.max(0, Math.round((lock.expires_ms - now_ms) / 1000));
  return (
    `<d:activelock><d:locktype><d:write/></d:locktype><d:lockscope><d:${lock.scope}/></d:lockscope>` +
    `<d:depth>${lock.depth}</d:depth>${owner}<d:timeout>${formatTimeout(left_s)}</d:timeout>` +
    `<d:locktoken><d:href>${escapeText(lock.token)}</d:href></d:locktoken>` +
    `<d:lockroot><d:href>${escapeText(rootHref)}</d:href></d:lockroot></d:activelock>`
  );
}
