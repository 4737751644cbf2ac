// Shares as the metadata store keeps them: beside the nodes, because a right, the node it is on and the entry in the
// recipient's tree change in one transaction.
//
// A share asks for `permissions`; what counts is `granted`: nothing while it is suspended, has expired, or (for one
// handed on by a recipient) as far as the giver has lost the rights. Each recipient of shares of a node has one entry
// for it in their own tree, a mount: a row that stands for the node. It can be renamed and moved like any other entry.

import type { Name } from '../../../ids.js';
import { labelled } from '../../../names.js';
import type { NodeId } from './metadata_store.js';

declare const brand: unique symbol;
export type ShareId = number & { readonly [brand]: 'ShareId' };

export type ShareKind = 'user' | 'group' | 'link';

/** As the Open Collaboration Services number them. */
export function shareKindNumber(kind: ShareKind): number {
  return kind === 'user' ? 0 : kind === 'group' ? 1 : 3;
}

/** Who comes with a public link, where others are named by their user ids. */
export function linkVisitor(id: ShareId): string {
  return `link:${id}`;
}

/** The link that the visitor of this name comes with; null for users, whose names have no colon. */
export function linkOfVisitor(userId: string): ShareId | null {
  const id = /^link:(\d{1,15})$/.exec(userId)?.[1];
  return id === undefined ? null : (Number(id) as ShareId);
}

/** `Plan.ods` -> `Plan (2).ods`. */
export function numbered(name: Name, n: number, isDir: boolean): Name {
  return labelled(name, ` (${n})`, isDir);
}

/** accepted: it is in the recipient's tree. declined: the recipient has removed it; it grants nothing. Before they answer,
 * a share with somebody who wants to be asked is neither, and grants nothing. */
export type RecipientState = 'accepted' | 'declined';

export interface LinkRecord {
  /** The secret part of the address. */
  readonly token: string;
  /** argon2id in PHC format; null = no password. */
  readonly passwordHash: string | null;
  readonly hideDownload: boolean;
  /** null = no limit. */
  readonly maxDownloads: number | null;
  readonly downloads: number;
}

export interface ShareRecord {
  readonly id: ShareId;
  readonly nodeId: NodeId;
  readonly rootId: NodeId;
  readonly kind: ShareKind;
  /** Whose tree the node is in. */
  readonly ownerId: string;
  /** Who made the share: the owner, or a recipient who handed it on. */
  readonly sharerId: string;
  /** User id, group id, or '' for a link. */
  readonly recipient: string;
  /** As asked for (`sharing/rights.ts`). */
  readonly permissions: number;
  /** As it counts at the moment. */
  readonly granted: number;
  readonly note: string;
  readonly label: string;
  readonly created_ms: number;
  /** null = never. */
  readonly expires_ms: number | null;
  readonly suspended: boolean;
  readonly link: LinkRecord | null;
}

export interface NewShare {
  readonly nodeId: NodeId;
  readonly kind: ShareKind;
  readonly sharerId: string;
  readonly recipient: string;
  /** Ids of the people behind `recipient`; [] for a link. */
  readonly people: readonly string[];
  readonly permissions: number;
  readonly note?: string;
  readonly label?: string;
  readonly expires_ms?: number | null;
  readonly link?: Omit<LinkRecord, 'downloads'>;
}

export interface SharePatch {
  readonly permissions?: number;
  readonly note?: string;
  readonly label?: string;
  readonly expires_ms?: number | null;
  readonly suspended?: boolean;
  readonly token?: string;
  readonly passwordHash?: string | null;
  readonly hideDownload?: boolean;
  readonly maxDownloads?: number | null;
}

/** Which shares a list is about. */
export type ShareFilter =
  /** Made by, or on files of, this user. */
  | { readonly kind: 'given'; readonly userId: string }
  /** Where this user is (one of) the recipients and has not declined. */
  | { readonly kind: 'received'; readonly userId: string }
  /** Waiting for this user's answer. */
  | { readonly kind: 'pending'; readonly userId: string }
  | { readonly kind: 'node'; readonly nodeIds: readonly NodeId[] }
  | { readonly kind: 'group'; readonly groupId: string };

/** The recipient's entry for a shared node. */
export interface Mount {
  /** The entry's own row. */
  readonly id: NodeId;
  /** Collection of the recipient's tree it is in. */
  readonly parentId: NodeId;
  /** The recipient's root. */
  readonly rootId: NodeId;
}

export interface ShareRead {
  share(id: ShareId): Promise<ShareRecord | null>;
  shareByToken(token: string): Promise<ShareRecord | null>;
  shares(filter: ShareFilter): Promise<readonly ShareRecord[]>;
  /** How many this user has made. */
  countMade(userId: string): Promise<number>;
  /** For each node the union of what shares of it or of anything above it grant the user; absent = nothing. One query. */
  grants(userId: string, ids: readonly NodeId[], now_ms: number): Promise<ReadonlyMap<NodeId, number>>;
  /** As `grants`, but only shares of the very nodes. */
  directGrants(userId: string, ids: readonly NodeId[], now_ms: number): Promise<ReadonlyMap<NodeId, number>>;
  /** Is anything in this tree shared? The cheap question in front of the others. */
  anyShare(rootId: NodeId): Promise<boolean>;
  /** Is the node, or anything above it, shared with anybody (suspended or not)? */
  isWithinShare(id: NodeId): Promise<boolean>;
  /** Whose trees these are. */
  ownersOf(rootIds: readonly NodeId[]): Promise<ReadonlyMap<NodeId, string>>;
  /** Where the node is in the tree `rootId`, also through an entry for a share; null if it is not there. */
  pathIn(rootId: NodeId, id: NodeId): Promise<readonly Name[] | null>;
  /** When the next share expires; null = none will. */
  nextExpiry(now_ms: number): Promise<number | null>;
}

/** Each of these leaves trees, feeds and locks as the shares then demand. */
export interface ShareWrite {
  /** Rejects with `exists` when the node is shared with this recipient by the same person already (one that they have
   * declined is replaced), `not_permitted` when it is a root or holds entries for shares of others. */
  addShare(share: NewShare): Promise<ShareRecord>;
  /** Rejects with `not_found`. */
  changeShare(id: ShareId, patch: SharePatch): Promise<ShareRecord>;
  removeShare(id: ShareId): Promise<void>;
  /** The people behind a group's shares have changed. */
  setPeople(groupId: string, people: readonly string[]): Promise<void>;
  /** A recipient removes the share from their tree, or takes it again. */
  answerShare(id: ShareId, userId: string, state: RecipientState): Promise<void>;
  /** Does the user want to be asked before a share comes into their tree? Counts for shares made from now on. */
  setAsksFirst(userId: string, asksFirst: boolean): Promise<void>;
  /** Takes a received entry out of the recipient's tree: all shares behind it are declined. */
  unmount(mount: Mount): Promise<void>;
  /** Counts one download; false when the link's limit is reached. */
  countDownload(id: ShareId): Promise<boolean>;
  /** Ends what has expired. Returns how many shares did. */
  expireShares(now_ms: number): Promise<number>;
  /** Removes what the user gave (if not of their own tree) and received. */
  forgetUser(userId: string): Promise<void>;
}
