// One tree of files over WebDAV (RFC 4918 classes 1, 2, 3; RFC 6578). The caller has authenticated the request and knows
// whose tree it is about; from here on every answer, errors included, is written by this room.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../clock.js';
import type { BlobStore } from '../storage/blobs/blob_store.js';
import type { MetadataStore } from '../storage/metadata/metadata_store.js';
import { commitUpload, isBlind, type UploadCommit, type UploadResult } from './commit_upload.js';
import {
  type DavContext,
  type DavDone,
  type DavLimits,
  type DavMethod,
  DavRequest,
  type DavServices,
  DEFAULT_DAV_LIMITS,
} from './context.js';
import { copy, move } from './methods/copy_move.js';
import { remove } from './methods/delete.js';
import { get } from './methods/get.js';
import { lock } from './methods/lock.js';
import { mkcol } from './methods/mkcol.js';
import { options } from './methods/options.js';
import { propfind } from './methods/propfind.js';
import { proppatch } from './methods/proppatch.js';
import { put } from './methods/put.js';
import { report } from './methods/report.js';
import { unlock } from './methods/unlock.js';
import { parseResourcePath, type ResourcePath, ROOT, targetPath } from './resource_path.js';
import { DavFailure, sendError } from './status.js';

export type { UploadCommit, UploadResult } from './commit_upload.js';
export type { DavContext, DavDone, DavLimits, DavPrincipal } from './context.js';

const METHODS: ReadonlyMap<string, DavMethod> = new Map([
  ['OPTIONS', options],
  ['GET', get],
  ['HEAD', get],
  ['PUT', put],
  ['DELETE', remove],
  ['MKCOL', mkcol],
  ['COPY', copy],
  ['MOVE', move],
  ['PROPFIND', propfind],
  ['PROPPATCH', proppatch],
  ['LOCK', lock],
  ['UNLOCK', unlock],
  ['REPORT', report],
]);

export const DAV_METHODS: readonly string[] = [...METHODS.keys()];

export interface DavHandlerOptions {
  readonly metadata: MetadataStore;
  readonly blobs: BlobStore;
  readonly clock: Clock;
  readonly limits?: Partial<DavLimits>;
  readonly displayName?: (userId: string) => string;
  readonly standing?: NonNullable<DavServices['standing']>;
  readonly onDone?: (done: DavDone) => void;
}

export interface DavHandler {
  /** Answers the request; never rejects. `path`: where its address leads below the tree's root, if that is known already. */
  handle(req: IncomingMessage, res: ServerResponse, ctx: DavContext, path?: ResourcePath): Promise<void>;
  /** Puts finished content in place as PUT does; rejects with `DavFailure` or `CloudError` (see `status.ts`). */
  commitUpload(upload: UploadCommit): Promise<UploadResult>;
}

export function createDavHandler(given: DavHandlerOptions): DavHandler {
  const services: DavServices = { ...given, limits: { ...DEFAULT_DAV_LIMITS, ...given.limits } };
  return {
    async handle(req, res, ctx, path) {
      try {
        await dispatch(services, req, res, ctx, path);
      } catch (error) {
        sendError(res, error, ctx.log, ctx.showError);
      }
    },
    commitUpload: (upload) => commitUpload(services, upload),
  };
}

async function dispatch(
  services: DavServices,
  req: IncomingMessage,
  res: ServerResponse,
  ctx: DavContext,
  known?: ResourcePath,
): Promise<void> {
  const method = METHODS.get(req.method ?? '');
  if (method === undefined) {
    throw new DavFailure(405, 'unsupported', `answering ${req.method}: the method is not known here`, {
      headers: { Allow: DAV_METHODS.join(', ') },
    });
  }
  const path = known ?? parseResourcePath([ctx.basePath, ...(ctx.aliases ?? [])], targetPath(req.url ?? '/'));
  if (path === null) throw new DavFailure(404, 'not_found', 'using a resource: the address is outside of this tree');
  // To who may only put files in nothing is there: no answer depends on what is.
  if (isBlind(ctx) && path.names.length > 0 && req.method !== 'PUT' && req.method !== 'OPTIONS') {
    throw new DavFailure(404, 'not_found', 'using a resource: nothing is stored at this address');
  }
  // What a tree begins with may be a single file (of a public link): the slash belongs to the address of the tree.
  await method(new DavRequest(services, req, res, ctx, path.names.length === 0 ? ROOT : path));
}
