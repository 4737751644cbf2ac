// Who may do what with which node: the one place. Rights belong to nodes (the union of all shares of a node and of what
// is above it), not to the path by which one came there. Owners may everything in their own tree; a public link grants
// what it says on all it leads to.
//
// What may be done with an entry (removing, renaming it) is a right on the collection it is in; only the entry of a
// share in its recipient's own tree is the recipient's: to remove it means to do without the share.

import type { PermissionLetters } from '../../remote/wire/cloudmount_props.js';
import { DavFailure } from '../dav/status.js';
import type { MetadataRead, NodeId, NodeRecord, Resolved } from '../storage/metadata/metadata_store.js';
import { ALL_RIGHTS, CREATE, DELETE, has, NO_RIGHTS, READ, SHARE, UPDATE } from './rights.js';

/** Who looks at a tree. */
export interface Viewer {
  readonly userId: string;
  /** The tree the request's paths start in. */
  readonly rootId: NodeId;
  /** Set for visitors of a public link: what it grants. */
  readonly linkRights?: number;
}

/** What a request is about to do. */
export type Action =
  /** See the node, its properties, its content or its list of members. */
  | 'read'
  /** Give the node other content or properties. */
  | 'write'
  /** Put something new into `at.parent`. */
  | 'add'
  /** Take the entry away, or to another collection. */
  | 'remove'
  /** Give the entry another name where it is. */
  | 'rename'
  | 'lock';

export interface EntryRights {
  /** On the node. */
  readonly node: number;
  /** On the collection it is in: what counts for the entry itself. */
  readonly entry: number;
}

const OWN: EntryRights = { node: ALL_RIGHTS, entry: ALL_RIGHTS };

/** Answers for the nodes of one request; remembers what it has looked up. */
export class Access {
  readonly #tx: MetadataRead;
  readonly #viewer: Viewer;
  readonly #now_ms: number;
  /** Of collections. */
  readonly #inherited = new Map<NodeId, number>();
  /** Of nodes that are shared themselves. */
  readonly #direct = new Map<NodeId, number>();

  constructor(tx: MetadataRead, viewer: Viewer, now_ms: number) {
    this.#tx = tx;
    this.#viewer = viewer;
    this.#now_ms = now_ms;
  }

  /** Makes `of` answer for these nodes, with two queries whatever their number (none for one's own). */
  async load(nodes: readonly NodeRecord[]): Promise<void> {
    if (this.#viewer.linkRights !== undefined) return;
    const foreign = nodes.filter((node) => !this.isOwn(node));
    if (foreign.length === 0) return;
    const parents = new Set<NodeId>();
    for (const { parentId } of foreign) if (parentId !== null && !this.#inherited.has(parentId)) parents.add(parentId);
    const { userId } = this.#viewer;
    const grants = await this.#tx.grants(userId, [...parents], this.#now_ms);
    for (const id of parents) this.#inherited.set(id, grants.get(id) ?? NO_RIGHTS);
    const ids = foreign.map((node) => node.id);
    for (const [id, rights] of await this.#tx.directGrants(userId, ids, this.#now_ms)) this.#direct.set(id, rights);
  }

  of(node: NodeRecord): EntryRights {
    const { linkRights } = this.#viewer;
    if (linkRights !== undefined) {
      return { node: linkRights, entry: node.id === this.#viewer.rootId ? NO_RIGHTS : linkRights };
    }
    if (this.isOwn(node)) return OWN;
    const inherited = node.parentId === null ? NO_RIGHTS : (this.#inherited.get(node.parentId) ?? NO_RIGHTS);
    const own = inherited | (this.#direct.get(node.id) ?? NO_RIGHTS);
    return { node: own, entry: node.mount !== undefined && own !== NO_RIGHTS ? ALL_RIGHTS : inherited };
  }

  /** Does it lie in the viewer's own tree (and is no entry of somebody's share)? */
  isOwn(node: NodeRecord): boolean {
    return this.#viewer.linkRights === undefined && node.rootId === this.#viewer.rootId;
  }

  /** As `oc:permissions` shows it. */
  letters(node: NodeRecord): PermissionLetters {
    const { node: rights, entry } = this.of(node);
    const isDir = node.kind === 'dir';
    return {
      read: has(rights, READ),
      write: !isDir && has(rights, UPDATE),
      createFile: isDir && has(rights, CREATE),
      createDir: isDir && has(rights, CREATE),
      remove: has(entry, DELETE),
      rename: has(entry, UPDATE),
      move: has(entry, DELETE),
      share: has(rights, SHARE) && this.#viewer.linkRights === undefined,
    };
  }

  /** Resolves if the action is allowed. Otherwise 403, or 404 where the viewer must not even know what there is. */
  async demand(action: Action, at: Resolved): Promise<void> {
    if (!(await this.allows(action, at))) throw await this.#refusal(action, at);
  }

  async allows(action: Action, at: Resolved): Promise<boolean> {
    const subject = action === 'add' ? at.parent : at.node;
    if (subject === null) return true; // Nothing there to be judged: the method says so itself.
    await this.load([subject]);
    return permits(this.of(subject), action);
  }

  async #refusal(action: Action, at: Resolved): Promise<DavFailure> {
    const subject = action === 'add' ? at.parent : at.node;
    if (subject !== null) await this.load([subject]);
    const rights = subject === null ? NO_RIGHTS : this.of(subject).node;
    if (!has(rights, READ))
      return new DavFailure(404, 'not_found', 'using a resource: nothing is stored at this address');
    return new DavFailure(403, 'no_access', `${DOING[action]}: your rights on this do not allow it`, {
      condition: '<d:need-privileges/>',
    });
  }
}

const DOING: Readonly<Record<Action, string>> = {
  read: 'reading',
  write: 'changing a resource',
  add: 'adding to a collection',
  remove: 'removing an entry',
  rename: 'renaming an entry',
  lock: 'locking',
};

/** The table of the whole: which right each action needs. */
export function permits({ node, entry }: EntryRights, action: Action): boolean {
  switch (action) {
    case 'read':
      return has(node, READ);
    case 'write':
      return has(node, UPDATE);
    case 'add':
      return has(node, CREATE);
    case 'remove':
      return has(entry, DELETE);
    case 'rename':
      return has(entry, UPDATE);
    // Of a folder, too: it keeps everybody else from changing what is in it.
    case 'lock':
      return has(node, UPDATE);
  }
}
