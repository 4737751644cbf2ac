// Sharing as people do it: rules about who may share what with whom, on top of the shares the metadata store keeps.
// Every rule that grants something is asked of `Access`, like any other request.

import { randomBytes } from 'node:crypto';
import type { Clock } from '../../clock.js';
import { CloudError } from '../../errors.js';
import type { Name } from '../../ids.js';
import type { AccountStore, User } from '../accounts/account_store.js';
import { checkPassword, hashPassword } from '../accounts/password.js';
import { userIdOf } from '../accounts/user_name.js';
import type { MetadataRead, MetadataStore, MetadataWrite, NodeRecord } from '../storage/metadata/metadata_store.js';
import type { ShareId, SharePatch, ShareRecord } from '../storage/metadata/share_records.js';
import { Access } from './access.js';
import { CREATE, DELETE, FILE_RIGHTS, has, READ, SHARE, UPDATE } from './rights.js';

export interface ShareWish {
  readonly path: readonly Name[];
  readonly kind: 'user' | 'group' | 'link';
  /** Name of the user or group; not for links. */
  readonly recipient?: string;
  /** null = the default of its kind. */
  readonly permissions: number | null;
  readonly note?: string;
  readonly label?: string;
  readonly expires_ms?: number | null;
  readonly password?: string | null;
  readonly hideDownload?: boolean;
  readonly maxDownloads?: number | null;
}

export interface ShareChange {
  readonly permissions?: number;
  readonly note?: string;
  readonly label?: string;
  readonly expires_ms?: number | null;
  readonly suspended?: boolean;
  readonly password?: string | null;
  readonly hideDownload?: boolean;
  readonly maxDownloads?: number | null;
}

/** A share with what is shared, as one user sees it. */
export interface SeenShare {
  readonly share: ShareRecord;
  readonly node: NodeRecord;
  /** In the tree of the one who asks; null = not (or no longer) in it. */
  readonly path: readonly Name[] | null;
  /** May the one who asks change it? */
  readonly mine: boolean;
}

export type ShareListing =
  | { readonly kind: 'given' }
  /** With `path`: only those of the node there. */
  | { readonly kind: 'received'; readonly path?: readonly Name[] }
  /** Waits for the user's answer. */
  | { readonly kind: 'pending' }
  /** Of the node at `path`; `all`: also what others have made of it. */
  | { readonly kind: 'of'; readonly path: readonly Name[]; readonly all: boolean }
  /** Given of the members of the collection at `path`, or by others of the user's files in it. */
  | { readonly kind: 'in'; readonly path: readonly Name[] };

export interface ShareEvent {
  readonly kind: 'shared' | 'changed' | 'withdrawn' | 'suspended' | 'resumed' | 'declined' | 'accepted';
  readonly userId: string;
  readonly seen: SeenShare;
  /** Program that asked, as it names itself. */
  readonly client?: string;
}

const TEXT_MAX_CHARS = 1000;
const LABEL_MAX_CHARS = 255;
const MAX_LISTED = 10_000;
/** No quota counts them, and each may come into many people's files. */
const MAX_MADE = 10_000;

export interface SharingOptions {
  readonly metadata: MetadataStore;
  readonly accounts: AccountStore;
  readonly clock: Clock;
  readonly onEvent?: (event: ShareEvent) => void;
}

export class SharingService {
  readonly #options: SharingOptions;
  readonly #metadata: MetadataStore;
  readonly #accounts: AccountStore;
  readonly #clock: Clock;
  readonly #onEvent: (event: ShareEvent) => void;

  constructor(options: SharingOptions) {
    this.#options = options;
    this.#metadata = options.metadata;
    this.#accounts = options.accounts;
    this.#clock = options.clock;
    this.#onEvent = options.onEvent ?? (() => {});
  }

  /** The same, whose events name the program that asks. */
  from(client: string | undefined): SharingService {
    const { onEvent } = this.#options;
    if (client === undefined || onEvent === undefined) return this;
    return new SharingService({ ...this.#options, onEvent: (event) => onEvent({ ...event, client }) });
  }

  /** Rejects with `not_found` (path, recipient), `no_access` (rights), `invalid`, `exists`. */
  async create(user: User, wish: ShareWish): Promise<SeenShare> {
    const link = wish.kind === 'link' ? await newLink(wish) : undefined;
    const texts = {
      note: checkText(wish.note ?? '', TEXT_MAX_CHARS),
      label: checkText(wish.label ?? '', LABEL_MAX_CHARS),
    };
    const expires_ms = this.#checkExpiry(wish.expires_ms ?? null);
    const seen = await this.#metadata.write(async (tx) => {
      if ((await tx.countMade(user.id)) >= MAX_MADE) {
        throw new CloudError(
          'quota',
          `sharing: at most ${MAX_MADE} shares are made by one person, withdraw some first`,
        );
      }
      // Here, where nobody else changes who there is: who leaves a group before this is not given the share any more.
      const { recipient, people } = await this.#recipientOf(wish);
      const rootId = await this.#rootOf(tx, user);
      const { node } = await tx.resolve(rootId, wish.path);
      const rights = node === null ? 0 : await this.#rightsOn(tx, user, node);
      if (node === null || !has(rights, READ)) throw noSuchFile();
      if (!has(rights, SHARE))
        throw new CloudError('no_access', 'sharing: you have not been given the right to share this');
      const owner = (await tx.ownersOf([node.rootId])).get(node.rootId);
      if (wish.kind === 'user' && (recipient === owner || recipient === user.id)) {
        throw new CloudError('invalid', 'sharing: it belongs to this user already');
      }
      const permissions = checkPermissions(wish.permissions ?? defaultRights(wish.kind, node), wish.kind, node, rights);
      const share = await tx.addShare({
        nodeId: node.id,
        kind: wish.kind,
        sharerId: user.id,
        recipient,
        people,
        permissions,
        expires_ms,
        ...texts,
        ...(link === undefined ? {} : { link }),
      });
      return { share, node, path: wish.path, mine: true };
    });
    this.#onEvent({ kind: 'shared', userId: user.id, seen });
    return seen;
  }

  async list(user: User, listing: ShareListing): Promise<readonly SeenShare[]> {
    return this.#metadata.read(async (tx) => {
      const rootId = await this.#rootOf(tx, user);
      const shares = await this.#listed(tx, user, rootId, listing);
      const out: SeenShare[] = [];
      // Asked once, if at all: for each share anew a long list would hold everybody up.
      let received: Promise<ReadonlySet<ShareId>> | null = null;
      const receivedOnce = () => (received ??= this.#received(tx, user));
      for (const share of shares.slice(0, MAX_LISTED)) {
        const seen = await this.#see(tx, user, share, receivedOnce);
        if (seen !== null) out.push(seen);
      }
      return out;
    });
  }

  /** Null unless it exists and is one of the user's: given, received, or of a file of theirs. */
  async get(user: User, id: ShareId): Promise<SeenShare | null> {
    return this.#metadata.read(async (tx) => this.#find(tx, user, id));
  }

  /** Rejects with `not_found`, `no_access`, `invalid`, `locked`. */
  async change(user: User, id: ShareId, change: ShareChange): Promise<SeenShare> {
    const { password, ...plain } = change;
    const passwordHash =
      password === undefined ? undefined : password === null ? null : await hashPassword(checkPassword(password));
    const patch: SharePatch = {
      ...plain,
      ...(change.note === undefined ? {} : { note: checkText(change.note, TEXT_MAX_CHARS) }),
      ...(change.label === undefined ? {} : { label: checkText(change.label, LABEL_MAX_CHARS) }),
      ...(change.expires_ms === undefined ? {} : { expires_ms: this.#checkExpiry(change.expires_ms) }),
      ...(change.maxDownloads === undefined ? {} : { maxDownloads: checkLimit(change.maxDownloads) }),
      ...(passwordHash === undefined ? {} : { passwordHash }),
    };
    const seen = await this.#metadata.write(async (tx) => {
      const found = await this.#mustOwn(tx, user, id);
      const { share, node } = found;
      if (patch.permissions !== undefined) {
        checkPermissions(patch.permissions, share.kind, node, await this.#rightsOn(tx, user, node));
      }
      const permissions =
        patch.permissions === undefined ? undefined : normalRights(patch.permissions, share.kind, node);
      const narrows = patch.suspended === true || patch.permissions !== undefined || patch.expires_ms !== undefined;
      if (narrows) await this.#mayEndLocks(tx, user, found);
      const changed = await tx.changeShare(id, { ...patch, ...(permissions === undefined ? {} : { permissions }) });
      return { ...found, share: changed };
    });
    const kind = change.suspended === undefined ? 'changed' : change.suspended ? 'suspended' : 'resumed';
    this.#onEvent({ kind, userId: user.id, seen });
    return seen;
  }

  /** Withdraws a share one has given; does without one that was received. Rejects with `not_found`, `locked`. */
  async remove(user: User, id: ShareId): Promise<void> {
    const event = await this.#metadata.write(async (tx): Promise<ShareEvent> => {
      const seen = await this.#find(tx, user, id);
      if (seen === null) throw noSuchShare(id);
      if (!seen.mine) {
        await tx.answerShare(id, user.id, 'declined');
        return { kind: 'declined', userId: user.id, seen };
      }
      await this.#mayEndLocks(tx, user, seen);
      await tx.removeShare(id);
      return { kind: 'withdrawn', userId: user.id, seen };
    });
    this.#onEvent(event);
  }

  /** What waits for the user's answer comes into their tree, or never does. Rejects with `not_found`. */
  async answer(user: User, id: ShareId, state: 'accepted' | 'declined'): Promise<SeenShare> {
    const seen = await this.#metadata.write(async (tx) => {
      const pending = await tx.shares({ kind: 'pending', userId: user.id });
      if (!pending.some((share) => share.id === id)) throw noSuchShare(id);
      const found = await this.#find(tx, user, id);
      if (found === null) throw noSuchShare(id);
      await tx.answerShare(id, user.id, state);
      return state === 'accepted' ? ((await this.#find(tx, user, id)) ?? found) : found;
    });
    this.#onEvent({ kind: state, userId: user.id, seen });
    return seen;
  }

  /** Is the user asked before a share comes into their tree? For shares made from now on. */
  async setAsksFirst(user: User, asksFirst: boolean): Promise<void> {
    await this.#metadata.write((tx) => tx.setAsksFirst(user.id, asksFirst));
  }

  async #listed(
    tx: MetadataRead,
    user: User,
    rootId: NodeRecord['rootId'],
    listing: ShareListing,
  ): Promise<readonly ShareRecord[]> {
    switch (listing.kind) {
      case 'given':
        return (await tx.shares({ kind: 'given', userId: user.id })).filter(({ sharerId }) => sharerId === user.id);
      case 'received': {
        const shares = (await tx.shares({ kind: 'received', userId: user.id })).filter(({ granted }) => granted !== 0);
        if (listing.path === undefined) return shares;
        const { id } = await this.#readable(tx, user, rootId, listing.path);
        return shares.filter(({ nodeId }) => nodeId === id);
      }
      case 'pending':
        return (await tx.shares({ kind: 'pending', userId: user.id })).filter(({ granted }) => granted !== 0);
      case 'of': {
        const node = await this.#readable(tx, user, rootId, listing.path);
        const shares = await tx.shares({ kind: 'node', nodeIds: [node.id] });
        return listing.all ? shares : shares.filter(({ sharerId }) => sharerId === user.id);
      }
      case 'in': {
        const node = await this.#readable(tx, user, rootId, listing.path);
        if (node.kind !== 'dir') throw new CloudError('invalid', 'listing shares: a folder is required, found a file');
        const members = await tx.children(node, null, MAX_LISTED, 'brief');
        const shares = await tx.shares({ kind: 'node', nodeIds: members.map(({ id }) => id) });
        return shares.filter(({ sharerId, ownerId }) => sharerId === user.id || ownerId === user.id);
      }
    }
  }

  /** What is at the path. Throws `not_found`, also where the user may not know of it. */
  async #readable(
    tx: MetadataRead,
    user: User,
    rootId: NodeRecord['rootId'],
    path: readonly Name[],
  ): Promise<NodeRecord> {
    const { node } = await tx.resolve(rootId, path);
    if (node === null || !has(await this.#rightsOn(tx, user, node), READ)) throw noSuchFile();
    return node;
  }

  async #find(tx: MetadataRead, user: User, id: ShareId): Promise<SeenShare | null> {
    const share = await tx.share(id);
    return share === null ? null : this.#see(tx, user, share);
  }

  /** Null for what is none of the user's business; that is also what they have handed on of something that they do not
   * have any more: how it is called by now, and how large it is, is told to nobody who may not read it. */
  async #see(
    tx: MetadataRead,
    user: User,
    share: ShareRecord,
    received: () => Promise<ReadonlySet<ShareId>> = () => this.#received(tx, user),
  ): Promise<SeenShare | null> {
    const mine = share.sharerId === user.id || share.ownerId === user.id;
    if (!mine && !(await received()).has(share.id)) return null;
    const node = await tx.node(share.nodeId);
    if (node === null) return null;
    if (mine && share.ownerId !== user.id && !has(await this.#rightsOn(tx, user, node), READ)) return null;
    return { share, node, path: await tx.pathIn(await this.#rootOf(tx, user), node.id), mine };
  }

  /** What the user was given, or is offered. */
  async #received(tx: MetadataRead, user: User): Promise<ReadonlySet<ShareId>> {
    const shares = [
      ...(await tx.shares({ kind: 'received', userId: user.id })),
      ...(await tx.shares({ kind: 'pending', userId: user.id })),
    ];
    return new Set(shares.filter(({ granted }) => granted !== 0).map(({ id }) => id));
  }

  async #mustOwn(tx: MetadataRead, user: User, id: ShareId): Promise<SeenShare> {
    const seen = await this.#find(tx, user, id);
    if (seen === null) throw noSuchShare(id);
    if (!seen.mine) throw new CloudError('no_access', `share ${id}: only who gave it may change it`);
    return seen;
  }

  /** The owner of the files may end any lock on them; who hands a share on may not end one that others hold. */
  async #mayEndLocks(tx: MetadataRead, user: User, { share, node }: SeenShare): Promise<void> {
    const now_ms = this.#clock.now_ms();
    if (share.ownerId === user.id || user.isAdmin || !(await tx.anyLock(node.rootId, now_ms))) return;
    const locks = [...(await tx.locksOn([node.id], now_ms)), ...(await tx.locksBelow(node.id, now_ms))];
    const other = locks.find(({ userId }) => userId !== user.id && userId !== share.ownerId);
    if (other === undefined) return;
    throw new CloudError('locked', `changing share ${share.id}: ${other.displayName} has locked something in it`, {
      lockOwner: other.displayName,
    });
  }

  async #rightsOn(tx: MetadataRead, user: User, node: NodeRecord): Promise<number> {
    const access = new Access(tx, { userId: user.id, rootId: await this.#rootOf(tx, user) }, this.#clock.now_ms());
    await access.load([node]);
    return access.of(node).node;
  }

  async #rootOf(tx: MetadataRead | MetadataWrite, user: User): Promise<NodeRecord['rootId']> {
    const root = await tx.root(user.id);
    if (root === null) throw noSuchFile();
    return root.id;
  }

  async #recipientOf(wish: ShareWish): Promise<{ readonly recipient: string; readonly people: readonly string[] }> {
    if (wish.kind === 'link') return { recipient: '', people: [] };
    const name = wish.recipient ?? '';
    if (wish.kind === 'group') {
      const group = await this.#accounts.getGroup(name);
      if (group === null) throw new CloudError('not_found', `sharing: there is no group ${JSON.stringify(name)}`);
      return { recipient: group.id, people: group.members };
    }
    const user = await this.#accounts.get(name);
    if (user === null) throw new CloudError('not_found', `sharing: there is no user ${JSON.stringify(name)}`);
    return { recipient: userIdOf(user.name), people: [user.id] };
  }

  #checkExpiry(expires_ms: number | null): number | null {
    if (expires_ms !== null && expires_ms <= this.#clock.now_ms()) {
      throw new CloudError('invalid', 'sharing: the date of expiry must be in the future');
    }
    return expires_ms;
  }
}

function defaultRights(kind: ShareWish['kind'], node: NodeRecord): number {
  if (kind === 'link') return READ;
  return node.kind === 'dir' ? READ | UPDATE | CREATE | DELETE : READ | UPDATE;
}

/** What these rights come to on this node; nobody is given a share that can do nothing. */
function normalRights(asked: number, kind: ShareWish['kind'], node: NodeRecord): number {
  let rights = asked;
  if (kind === 'link') rights &= ~SHARE;
  else rights |= READ;
  if (node.kind !== 'dir') rights &= FILE_RIGHTS;
  return rights;
}

/** Throws `invalid` on what is no set of rights, `no_access` on more than the giver has. */
function checkPermissions(asked: number, kind: ShareWish['kind'], node: NodeRecord, own: number): number {
  if (!Number.isInteger(asked) || asked < 1 || asked > 31) {
    throw new CloudError('invalid', `sharing: permissions must be a number from 1 to 31, found ${asked}`);
  }
  const rights = normalRights(asked, kind, node);
  if (rights === 0) {
    throw new CloudError(
      'invalid',
      kind === 'link' && (asked & ~SHARE) === 0
        ? 'sharing: a link that only lets share further (16) lets do nothing'
        : 'sharing: a folder is required to add or remove something in it, found a file, which can only be read or changed',
    );
  }
  if (kind === 'link' && !has(rights, READ) && rights !== CREATE) {
    throw new CloudError('invalid', 'sharing: a link that does not let read can only take files in (4)');
  }
  if (!has(own, rights)) {
    throw new CloudError('no_access', 'sharing: nobody can give more rights than they have themselves');
  }
  return rights;
}

async function newLink(wish: ShareWish) {
  return {
    // 192 bits, in characters that need no escaping anywhere.
    token: randomBytes(24).toString('base64url'),
    passwordHash: wish.password == null ? null : await hashPassword(checkPassword(wish.password)),
    hideDownload: wish.hideDownload ?? false,
    maxDownloads: checkLimit(wish.maxDownloads ?? null),
  };
}

function checkLimit(limit: number | null): number | null {
  if (limit === null || (Number.isSafeInteger(limit) && limit > 0)) return limit;
  throw new CloudError('invalid', `sharing: the number of downloads must be a whole number above 0, found ${limit}`);
}

function checkText(text: string, max: number): string {
  if ([...text].length <= max && text.isWellFormed()) return text;
  throw new CloudError('invalid', `sharing: a note or label of at most ${max} characters is required`);
}

function noSuchFile(): CloudError {
  return new CloudError('not_found', 'sharing: there is no file or folder at this path');
}

function noSuchShare(id: number): CloudError {
  return new CloudError('not_found', `share ${id}: there is none of this number, or it is not yours to see`);
}
