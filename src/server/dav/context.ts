// What a DAV method is given: the services of the server, who asks for what, and the limits. One `DavRequest` per request.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../clock.js';
import type { Log } from '../../log.js';
import { headerText } from '../../remote/wire/href.js';
import { type IfList, parseIfHeader, submittedTokens } from '../../remote/wire/if_header.js';
import type { XmlLimits } from '../../remote/wire/xml.js';
import { REQUEST_LIMITS } from '../../remote/wire/xml.js';
import type { Login } from '../accounts/account_store.js';
import { Access, type Viewer } from '../sharing/access.js';
import type { BlobStore } from '../storage/blobs/blob_store.js';
import type { MetadataRead, MetadataStore, NodeId } from '../storage/metadata/metadata_store.js';
import type { ShareId } from '../storage/metadata/share_records.js';
import type { ResourcePath } from './resource_path.js';

export interface DavLimits {
  /** Contents up to this many bytes live in the database: one small PUT is one transaction. Measured: below 64 KiB a
   * row is 3 to 7 times faster than a file with its two syncs; above, files win. */
  readonly inline_bytes: number;
  /** Most entries a PROPFIND with depth infinity lists; beyond that it is refused. */
  readonly infinityEntries: number;
  /** Most entries one COPY makes: it is one transaction, and nobody else is served meanwhile (some seconds). */
  readonly copyEntries: number;
  /** Most entries of one page of sync-collection. */
  readonly syncPage: number;
  /** Longest life of a lock without a refresh, and the shortest we give. */
  readonly maxLock_s: number;
  readonly minLock_s: number;
  readonly defaultLock_s: number;
  /** Most locks one person holds in one tree, and most shared ones on one resource: whoever changes something has to be
   * judged by them. */
  readonly locksOfOne: number;
  readonly locksOnOne: number;
  /** How long a client may leave a streamed listing unread. */
  readonly stall_ms: number;
  /** How long a streamed listing may take: as long as it is read from one moment's view, what others write meanwhile stays
   * in the WAL. */
  readonly listing_ms: number;
  /** The same while that has become much. */
  readonly listingHeldUp_ms: number;
  readonly xml: XmlLimits;
}

export const DEFAULT_DAV_LIMITS: DavLimits = {
  inline_bytes: 64 * 1024,
  infinityEntries: 500_000,
  copyEntries: 100_000,
  syncPage: 5000,
  maxLock_s: 7 * 86_400,
  minLock_s: 180,
  defaultLock_s: 1800,
  locksOfOne: 10_000,
  locksOnOne: 100,
  stall_ms: 60_000,
  listing_ms: 15 * 60_000,
  listingHeldUp_ms: 60_000,
  xml: REQUEST_LIMITS,
};

/** `ended`: what they logged in with does not count any more. */
export type Standing = 'active' | 'ended' | 'disabled' | 'unknown';

export interface DavServices {
  readonly metadata: MetadataStore;
  readonly blobs: BlobStore;
  readonly clock: Clock;
  readonly limits: DavLimits;
  /** How people are called, for what they have shared or locked; default: by their ids. */
  readonly displayName?: (userId: string) => string;
  /** How it stands with who asks, now; default: as when they began. Synchronous, so that a transaction may ask. */
  readonly standing?: (userId: string, login?: Login) => Standing;
  /** Told of what was done, once it is done. */
  readonly onDone?: (done: DavDone) => void;
}

/** One thing done with a file, for the activity. */
export interface DavDone {
  readonly kind: 'created' | 'changed' | 'deleted' | 'moved' | 'copied' | 'read' | 'locked' | 'unlocked' | 'unmounted';
  readonly ctx: Pick<DavContext, 'principal' | 'rootId' | 'link' | 'client'>;
  readonly fileId: NodeId;
  /** Root of the tree it is stored in. */
  readonly ownerRootId: NodeId;
  readonly isDir: boolean;
  /** As who did it sees it. */
  readonly path: readonly string[];
  /** Where it was before. */
  readonly from?: readonly string[];
}

export interface DavPrincipal {
  readonly userId: string;
  readonly displayName: string;
  /** May break locks of others. */
  readonly isAdmin?: boolean;
  /** What they logged in with; without it, it is not asked whether that still counts. */
  readonly login?: Login;
  /** Address of the principal resource for `DAV:current-user-principal`; default `/dav/principals/users/ID/`. */
  readonly href?: string;
}

export interface DavContext {
  readonly principal: DavPrincipal;
  /** Encoded URL path of the tree's root, a slash at both ends, e.g. `/dav/files/anna/`. */
  readonly basePath: string;
  /** Other addresses of the same tree: a Destination or If tag may use them. */
  readonly aliases?: readonly string[];
  readonly rootId: NodeId;
  /** Set for visitors of a public link; `rootId` is then what it leads to. */
  readonly link?: LinkAccess;
  /** Answers an error instead, where people look and no program; not called once the answer is under way. */
  readonly showError?: (status: number) => void;
  /** Program that asks, as it names itself. */
  readonly client?: string;
  readonly requestId: string;
  readonly log: Log;
  /** Aborted when the client is gone. */
  readonly signal?: AbortSignal;
}

export interface LinkAccess {
  readonly id: ShareId;
  readonly label: string;
  readonly rights: number;
  readonly hideDownload: boolean;
  /** What is stored of the password they gave; null = it had none. */
  readonly passwordHash: string | null;
  /** Takes one download from what the link allows; false = none are left. null = not limited. */
  readonly countDownload: (() => Promise<boolean>) | null;
}

/** The part of a context that decides what may be seen and done. */
export function viewerOf(ctx: Pick<DavContext, 'principal' | 'rootId' | 'link'>): Viewer {
  const { principal, rootId, link } = ctx;
  return { userId: principal.userId, rootId, ...(link === undefined ? {} : { linkRights: link.rights }) };
}

export class DavRequest {
  readonly services: DavServices;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly ctx: DavContext;
  readonly path: ResourcePath;
  readonly now_ms: number;
  #ifLists: readonly IfList[] | undefined;

  constructor(services: DavServices, req: IncomingMessage, res: ServerResponse, ctx: DavContext, path: ResourcePath) {
    this.services = services;
    this.req = req;
    this.res = res;
    this.ctx = ctx;
    this.path = path;
    this.now_ms = services.clock.now_ms();
  }

  access(tx: MetadataRead): Access {
    return new Access(tx, viewerOf(this.ctx), this.now_ms);
  }

  /** A header sent once; latin1 turned into the UTF-8 that was meant. */
  header(name: string): string | undefined {
    const value = this.req.headers[name];
    if (value === undefined) return undefined;
    return headerText(Array.isArray(value) ? value.join(', ') : value);
  }

  /** Parsed `If` header; [] when there is none. Throws `invalid`. */
  get ifLists(): readonly IfList[] {
    if (this.#ifLists === undefined) {
      const header = this.header('if');
      this.#ifLists = header === undefined ? [] : parseIfHeader(header);
    }
    return this.#ifLists;
  }

  /** Lock tokens the client has shown. */
  get lockTokens(): readonly string[] {
    return submittedTokens(this.ifLists);
  }
}

export type DavMethod = (request: DavRequest) => Promise<void>;
