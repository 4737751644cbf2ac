// Nextcloud's chunked upload, version 2, over HTTP:
//   MKCOL    …/uploads/USER/ID           starts one
//   PUT      …/uploads/USER/ID/N         a chunk; its name is a number, an offset or a range
//   PROPFIND …/uploads/USER/ID           which chunks are here, for resuming
//   MOVE     …/uploads/USER/ID/.file     Destination: the file it becomes; judged like a PUT to that file
//   DELETE   …/uploads/USER/ID[/N]       gives it (or a chunk) up
// The MOVE may be repeated: it is done once, and its answer is kept.

import { CloudError, isCloudError } from '../../errors.js';
import { encodeSegment } from '../../names.js';
import { parseDepth } from '../../remote/wire/depth.js';
import { headerText } from '../../remote/wire/href.js';
import { formatHttpDate } from '../../remote/wire/http_date.js';
import {
  MULTISTATUS_START,
  MULTISTATUS_TYPE,
  multistatusEnd,
  propResponse,
  rawProperty,
  textProperty,
} from '../../remote/wire/multistatus.js';
import { DAV } from '../../remote/wire/ns.js';
import { attributesOf } from '../dav/attributes.js';
import { contentOf } from '../dav/body.js';
import { parseChecksums } from '../dav/checksum.js';
import { commitUpload, mayUpload, type UploadCommit } from '../dav/commit_upload.js';
import { type Preconditions, preconditionsOf } from '../dav/conditional.js';
import { type DavContext, DavRequest, type DavServices } from '../dav/context.js';
import { ocId } from '../dav/properties.js';
import { parseResourcePath, type ResourcePath } from '../dav/resource_path.js';
import { DavFailure } from '../dav/status.js';
import { aboutRequest, type UserContext } from '../http_context.js';
import { sendBody, sendEmpty, sendMethodNotAllowed } from '../respond.js';
import type { BlobPin } from '../storage/blobs/blob_store.js';
import type { Usage } from '../storage/metadata/metadata_store.js';
import type { ChunkedUploads, UploadKey } from './chunked_uploads.js';
import type { Chunk, Committed } from './upload_folder.js';

/** Where in the uploads a request points; the user is the one who asks. */
export interface UploadTarget {
  readonly upload: string | null;
  readonly chunk: string | null;
}

type Tree = Pick<DavContext, 'rootId' | 'principal'> & { readonly aliases: readonly string[] };

const METHODS = 'OPTIONS, MKCOL, PUT, PROPFIND, MOVE, DELETE';
const WHOLE = '.file';

export class UploadHandler {
  readonly #services: DavServices;
  readonly #uploads: ChunkedUploads;

  constructor(services: DavServices, uploads: ChunkedUploads) {
    this.#services = services;
    this.#uploads = uploads;
  }

  /** Rejects with what is to be answered. */
  async handle(context: UserContext, target: UploadTarget, tree: Tree): Promise<void> {
    const { method } = context.request;
    if (method === 'OPTIONS') {
      sendEmpty(context, 200, { DAV: '1', Allow: METHODS });
      return;
    }
    if (target.upload === null) {
      if (method === 'PROPFIND') await this.#listUploads(context);
      else sendMethodNotAllowed(context, 'OPTIONS, PROPFIND');
      return;
    }
    const key = { userId: context.principal.user.id, upload: target.upload };
    switch (method) {
      case 'MKCOL':
        if (target.chunk !== null) throw new CloudError('no_access', 'chunked upload: it holds chunks, no folders');
        await this.#start(context, key, tree);
        return;
      case 'PUT':
        if (target.chunk === null) throw new CloudError('is_dir', 'chunked upload: a chunk needs a name');
        await this.#receive(context, key, target.chunk, tree);
        return;
      case 'PROPFIND':
        await this.#listChunks(context, key, target.chunk);
        return;
      case 'MOVE':
        if (target.chunk !== WHOLE) {
          throw new CloudError('no_access', `chunked upload: only "${WHOLE}", the whole of it, can be moved`);
        }
        await this.#finish(context, key, tree);
        return;
      case 'DELETE': {
        const existed =
          target.chunk === null ? await this.#uploads.remove(key) : await this.#uploads.removeChunk(key, target.chunk);
        if (!existed) throw new CloudError('not_found', 'chunked upload: there is nothing of this name');
        sendEmpty(context, 204);
        return;
      }
      default:
        sendMethodNotAllowed(context, METHODS);
    }
  }

  async #start(context: UserContext, key: UploadKey, tree: Tree): Promise<void> {
    await this.#checkSpace(tree, announcedTotal(context) ?? 0, destinationOf(context, tree));
    await this.#uploads.create(key);
    sendEmpty(context, 201);
  }

  async #receive(context: UserContext, key: UploadKey, chunk: string, tree: Tree): Promise<void> {
    const { request, signal } = context;
    const length = request.headers['content-length'];
    const expected_bytes = length === undefined ? null : Number(length);
    if (!(await this.#uploads.exists(key))) {
      throw new CloudError('not_found', 'chunked upload: there is none of this name, start it with MKCOL');
    }
    const { quota_bytes } = await this.#usage(tree, destinationOf(context, tree));
    const here_bytes = await this.#uploads.size_bytes(key, chunk);
    // What the file replaces is not known yet; what can never fit is refused now, the rest when it is committed.
    const max_bytes = quota_bytes === null ? Number.MAX_SAFE_INTEGER : Math.max(0, quota_bytes - here_bytes);
    if (expected_bytes !== null && expected_bytes > max_bytes)
      throw overQuota(here_bytes + expected_bytes, quota_bytes);
    // One that was given up and the one after it have room beside each other. Who may store without end somewhere may here.
    const own = (await this.#usage(tree, null)).quota_bytes;
    const all_bytes = quota_bytes === null || own === null ? null : 2 * Math.max(own, quota_bytes);
    const limits = { expected_bytes, max_bytes, all_bytes, signal };
    const total_bytes = announcedTotal(context);
    const source = await contentOf(request, expected_bytes ?? total_bytes);
    const { replaced, etag } = await this.#uploads.receive(key, chunk, source, total_bytes, limits);
    sendEmpty(context, replaced ? 204 : 201, { ETag: etag, 'OC-ETag': etag });
  }

  async #finish(context: UserContext, key: UploadKey, tree: Tree): Promise<void> {
    const path = destinationOf(context, tree);
    if (path === null) {
      throw new CloudError(
        'invalid',
        'chunked upload: a Destination header is required, it says which file this becomes',
      );
    }
    const { request, response } = context;
    // Judged as a PUT to the destination. The client's going away does not stop it: it comes back and asks again.
    const ctx: DavContext = { ...tree, ...aboutRequest(context), basePath: tree.aliases[0] ?? '/' };
    const put = new DavRequest(this.#services, request, response, ctx, path);
    const attributes = attributesOf(put);
    const preconditions = withOverwrite(preconditionsOf(put), put.header('overwrite'));
    const destination = path.names.join('/');
    const upload = { ctx, path, preconditions, attributes };
    const commit = async (blob: BlobPin): Promise<Committed> => {
      const content = { kind: 'blob', sha256: blob.sha256, size_bytes: blob.size_bytes } as const;
      try {
        const { node, created } = await commitUpload(this.#services, { ...upload, body: { kind: 'file', content } });
        return { destination, etag: node.etag, fileId: node.id, created };
      } catch (error) {
        const done = isCloudError(error, 'precondition') ? await this.#alreadyThere(tree, path, blob.sha256) : null;
        if (done === null) throw error;
        return { destination, ...done };
      }
    };
    const wanted = {
      judge: () => this.#judge(upload),
      total_bytes: announcedTotal(context),
      checksums: parseChecksums(put.header('oc-checksum')),
      destination,
    };
    const done = await this.#uploads.finish(key, wanted, commit);
    const headers: Record<string, string> = { ETag: done.etag, 'OC-ETag': done.etag, 'OC-FileId': ocId(done.fileId) };
    if (attributes.mtime !== undefined) headers['X-OC-MTime'] = 'accepted';
    sendEmpty(context, done.created ? 201 : 204, headers);
  }

  /** Says no before the chunks are put together, where it will be said at the end anyway. */
  async #judge(upload: Pick<UploadCommit, 'ctx' | 'path' | 'preconditions'>): Promise<void> {
    const { ctx, path } = upload;
    const now_ms = this.#services.clock.now_ms();
    await this.#services.metadata
      .read(async (tx) => mayUpload(this.#services, upload, tx, await tx.resolve(ctx.rootId, path.names), now_ms))
      .catch((error: unknown) => {
        if (!isCloudError(error, 'precondition')) throw error;
      });
  }

  /** A commit whose answer was lost in a crash: the very same content is at the destination. */
  async #alreadyThere(tree: Tree, path: ResourcePath, sha256: string): Promise<Omit<Committed, 'destination'> | null> {
    const { node } = await this.#services.metadata.read((tx) => tx.resolve(tree.rootId, path.names));
    return node?.sha256 === sha256 ? { etag: node.etag, fileId: node.id, created: false } : null;
  }

  /** Room is that of whose tree the destination is in. */
  #usage(tree: Tree, destination: ResourcePath | null): Promise<Usage> {
    return this.#services.metadata.read(async (tx) => {
      if (destination === null) return tx.usage(tree.rootId);
      const { node, parent } = await tx.resolve(tree.rootId, destination.names);
      return tx.usage(node?.rootId ?? parent?.rootId ?? tree.rootId);
    });
  }

  async #checkSpace(tree: Tree, total_bytes: number, destination: ResourcePath | null): Promise<void> {
    const { quota_bytes, more_bytes, used_bytes } = await this.#services.metadata.read(async (tx) => {
      if (destination === null) {
        return { ...(await tx.usage(tree.rootId)), used_bytes: 0, more_bytes: total_bytes };
      }
      const { node, parent } = await tx.resolve(tree.rootId, destination.names);
      const usage = await tx.usage(node?.rootId ?? parent?.rootId ?? tree.rootId);
      return { ...usage, more_bytes: total_bytes - (node?.size_bytes ?? 0) };
    });
    if (quota_bytes !== null && more_bytes > 0 && used_bytes + more_bytes > quota_bytes) {
      throw overQuota(used_bytes + more_bytes, quota_bytes);
    }
  }

  async #listUploads(context: UserContext): Promise<void> {
    const names = await this.#uploads.list(context.principal.user.id);
    sendListing(
      context,
      null,
      names.map((name) => ({ kind: 'upload', name })),
    );
  }

  async #listChunks(context: UserContext, key: UploadKey, only: string | null): Promise<void> {
    const chunks = await this.#uploads.chunks(key);
    if (only === null) {
      sendListing(
        context,
        null,
        chunks.map((chunk) => ({ kind: 'chunk', chunk })),
      );
      return;
    }
    const chunk = chunks.find(({ name }) => name === only);
    if (chunk === undefined) throw new CloudError('not_found', 'chunked upload: there is no chunk of this name');
    sendListing(context, chunk, []);
  }
}

type Member = { readonly kind: 'upload'; readonly name: string } | { readonly kind: 'chunk'; readonly chunk: Chunk };

/** `self` null = a collection with `members`, else the one chunk the path names. */
function sendListing(context: UserContext, self: Chunk | null, members: readonly Member[]): void {
  const depth = parseDepth(context.request.headers.depth as string | undefined, 1);
  const base = context.path.endsWith('/') ? context.path : `${context.path}/`;
  let body = MULTISTATUS_START + (self === null ? collectionResponse(base) : chunkResponse(context.path, self));
  for (const member of depth === 0 ? [] : members) {
    body +=
      member.kind === 'upload'
        ? collectionResponse(`${base}${encodeSegment(member.name)}/`)
        : chunkResponse(base + encodeSegment(member.chunk.name), member.chunk);
  }
  sendBody(context, 207, MULTISTATUS_TYPE, body + multistatusEnd());
}

function collectionResponse(href: string): string {
  const props = [rawProperty({ ns: DAV, local: 'resourcetype' }, '<d:collection/>')];
  return propResponse(href, [{ status: 200, props }]);
}

function chunkResponse(href: string, chunk: Chunk): string {
  const props = [
    rawProperty({ ns: DAV, local: 'resourcetype' }, ''),
    textProperty({ ns: DAV, local: 'getcontentlength' }, String(chunk.size_bytes)),
    textProperty({ ns: DAV, local: 'getlastmodified' }, formatHttpDate(Math.floor(chunk.modified_ms / 1000))),
  ];
  return propResponse(href, [{ status: 200, props }]);
}

/** Null when there is no Destination header. Throws 403 for one outside of the user's tree. */
function destinationOf(context: UserContext, tree: Tree): ResourcePath | null {
  const header = context.request.headers.destination;
  if (typeof header !== 'string') return null;
  const path = parseResourcePath(tree.aliases, headerText(header));
  if (path === null) throw new DavFailure(403, 'no_access', 'chunked upload: the Destination is outside of your files');
  return path;
}

function announcedTotal(context: UserContext): number | null {
  const header = context.request.headers['oc-total-length'];
  if (header === undefined) return null;
  const total = Number(header);
  if (!Number.isSafeInteger(total) || total < 0) {
    throw new CloudError('invalid', `OC-Total-Length: a number of bytes is required, found ${JSON.stringify(header)}`);
  }
  return total;
}

/** `Overwrite: F` (RFC 4918 section 10.6) is what If-None-Match: * says to a PUT. */
function withOverwrite(preconditions: Preconditions, overwrite: string | undefined): Preconditions {
  if (overwrite?.trim().toUpperCase() !== 'F') return preconditions;
  return { ...preconditions, conditions: { ...preconditions.conditions, ifNoneMatch: '*' } };
}

function overQuota(wanted_bytes: number, quota_bytes: number | null): CloudError {
  return new CloudError('quota', `chunked upload: the quota is ${quota_bytes} bytes, ${wanted_bytes} would be used`);
}
