// PUT (RFC 9110 section 9.3.4): preconditions and locks are judged before the body is asked for, the body is taken whole
// (small ones in memory, others into the blob store), then committed in one transaction. Until that commit nobody sees
// anything of it, and whatever goes wrong before leaves nothing behind.

import { createHash } from 'node:crypto';
import { CloudError } from '../../../errors.js';
import { decodeName } from '../../../names.js';
import type { MetadataRead, NewContent, NodeId } from '../../storage/metadata/metadata_store.js';
import { attributesOf } from '../attributes.js';
import { bodyOf, contentOf, readBody } from '../body.js';
import { ChecksumVerifier, parseChecksums } from '../checksum.js';
import { commitUpload, mayUpload, targetName, type UploadBody } from '../commit_upload.js';
import { preconditionsOf } from '../conditional.js';
import type { DavRequest } from '../context.js';
import { ocId } from '../properties.js';
import { sendEmpty } from '../reply.js';
import { DavFailure } from '../status.js';

/** PATH_MAX of Linux less the NUL. */
const MAX_TARGET_BYTES = 4095;

/** How long a body may be, and what a longer one is. */
interface Bound {
  readonly bytes: number;
  readonly code: 'invalid' | 'quota';
}

interface Received {
  readonly body: UploadBody;
  readonly release: () => void;
}

export async function put(request: DavRequest): Promise<void> {
  const { services, ctx, req, res, path, now_ms } = request;
  if (req.headers['content-range'] !== undefined) {
    throw new CloudError('invalid', 'storing content: Content-Range is not allowed in PUT (RFC 9110 section 14.5)');
  }
  if (req.headers['oc-chunked'] !== undefined) {
    throw new CloudError(
      'unsupported',
      'storing content: chunks of the old protocol are not supported, use chunking 1.0',
    );
  }
  // HTTP/1.0 knows bodies that end with the connection, which are none in a request (RFC 1945 section 7.2.2): what is there
  // would be replaced by nothing.
  if (req.httpVersion === '1.0' && req.headers['content-length'] === undefined) {
    throw new DavFailure(411, 'invalid', 'storing content: in HTTP/1.0 a Content-Length is required, found none');
  }
  targetName({ ctx, path });
  const attributes = attributesOf(request);
  const verifier = new ChecksumVerifier(parseChecksums(request.header('oc-checksum')));
  const upload = { ctx, path, preconditions: preconditionsOf(request), attributes };
  const declared_bytes = declaredLength(request, 'content-length', 'x-expected-entity-length');
  // A small body that is on its way already is judged once, when it is committed.
  const isUnderWay = declared_bytes !== null && declared_bytes <= services.limits.inline_bytes;
  // A body that does not end is not taken for longer than it could be kept.
  let bound: Bound = { bytes: declared_bytes ?? Number.POSITIVE_INFINITY, code: 'invalid' };
  if (!isUnderWay || req.headers.expect !== undefined) {
    await services.metadata.read(async (tx) => {
      const at = await tx.resolve(ctx.rootId, path.names);
      await mayUpload(services, upload, tx, at, now_ms);
      const rootId = at.node?.rootId ?? at.parent?.rootId ?? ctx.rootId;
      const there_bytes = at.node?.size_bytes ?? 0;
      if (declared_bytes !== null) await mayHold(tx, rootId, declared_bytes - there_bytes);
      else bound = { bytes: (await roomIn(tx, rootId)) + there_bytes, code: 'quota' };
    });
  }

  const isSymlink = /^inode\/symlink\s*(;|$)/i.test(req.headers['content-type'] ?? '');
  const received = isSymlink
    ? await receiveTarget(request)
    : await receiveContent(request, verifier, declared_bytes, bound);
  try {
    const { node, created } = await commitUpload(services, { ...upload, body: received.body });
    const headers: Record<string, string> = { ETag: node.etag, 'OC-ETag': node.etag, 'OC-FileId': ocId(node.id) };
    if (attributes.mtime !== undefined) headers['X-OC-MTime'] = 'accepted';
    sendEmpty(res, created ? 201 : 204, headers);
  } finally {
    received.release();
  }
}

/** Room is the owner's, whoever stores. */
async function mayHold(tx: MetadataRead, rootId: NodeId, more_bytes: number): Promise<void> {
  const { used_bytes, quota_bytes } = await tx.usage(rootId);
  if (quota_bytes === null || more_bytes <= 0 || used_bytes + more_bytes <= quota_bytes) return;
  throw new CloudError(
    'quota',
    `storing ${more_bytes} more bytes: the quota is ${quota_bytes} bytes and ${used_bytes} are used`,
  );
}

/** What is left of the quota. */
async function roomIn(tx: MetadataRead, rootId: NodeId): Promise<number> {
  const { used_bytes, quota_bytes } = await tx.usage(rootId);
  return quota_bytes === null ? Number.POSITIVE_INFINITY : Math.max(0, quota_bytes - used_bytes);
}

/** What the client says the whole will have; null = it does not say. */
function declaredLength(request: DavRequest, ...names: readonly string[]): number | null {
  const { headers } = request.req;
  const length = names.map((name) => headers[name]).find((value) => value !== undefined);
  return typeof length === 'string' && /^\d{1,15}$/.test(length) ? Number(length) : null;
}

async function receiveTarget(request: DavRequest): Promise<Received> {
  // It leads where it says on the computers of who has the files: whatever is written to it there goes to that place.
  if (request.ctx.link !== undefined) {
    throw new CloudError('no_access', 'storing a symlink: visitors of a public link can store files only');
  }
  await request.services.blobs.demandRoom(0);
  const bytes = await readBody(request.req, MAX_TARGET_BYTES);
  if (bytes.length === 0 || bytes.includes(0)) {
    throw new CloudError(
      'invalid',
      `storing a symlink: a target of 1 to ${MAX_TARGET_BYTES} bytes without NUL is required, found ${bytes.length} bytes`,
    );
  }
  return { body: { kind: 'symlink', target: decodeName(bytes) }, release: () => undefined };
}

async function receiveContent(
  request: DavRequest,
  verifier: ChecksumVerifier,
  declared_bytes: number | null,
  bound: Bound,
): Promise<Received> {
  const { req, services, ctx } = request;
  const { inline_bytes } = services.limits;
  const head: Buffer[] = [];
  let head_bytes = 0;
  let release = () => {};
  try {
    let content: NewContent | null = null;
    if (declaredLength(request, 'content-length') !== null && (declared_bytes ?? 0) <= inline_bytes) {
      content = inlineContent(await readBody(req, inline_bytes), verifier);
    } else if (declared_bytes === null || declared_bytes <= inline_bytes) {
      // Of unknown length: gather until it ends or turns out to be big.
      const source = bodyOf(req);
      for (;;) {
        const { value, done } = await source.next();
        if (done === true) {
          content = inlineContent(Buffer.concat(head, head_bytes), verifier);
          break;
        }
        head.push(value);
        head_bytes += value.length;
        if (head_bytes > inline_bytes) {
          const blob = await services.blobs.put(joined(head, source), blobOptions(verifier, ctx.signal, bound));
          release = blob.release;
          content = { kind: 'blob', sha256: blob.sha256, size_bytes: blob.size_bytes };
          break;
        }
      }
    } else {
      const source = await contentOf(req, declaredLength(request, 'content-length'));
      const blob = await services.blobs.put(source, blobOptions(verifier, ctx.signal, bound));
      release = blob.release;
      content = { kind: 'blob', sha256: blob.sha256, size_bytes: blob.size_bytes };
    }
    if (content.kind === 'inline') await services.blobs.demandRoom(content.data.length);
    verifier.verify(content.sha256);
    checkTotal(request, content.size_bytes);
    return { body: { kind: 'file', content }, release };
  } catch (error) {
    release();
    throw error;
  }
}

function blobOptions(verifier: ChecksumVerifier, signal: AbortSignal | undefined, { bytes, code }: Bound) {
  let left_bytes = bytes;
  const tap = (chunk: Buffer) => {
    left_bytes -= chunk.length;
    if (left_bytes < 0) throw new CloudError(code, `storing content: at most ${bytes} bytes can be taken, more came`);
    verifier.update(chunk);
  };
  return { signal, tap };
}

function inlineContent(data: Buffer, verifier: ChecksumVerifier): NewContent {
  if (verifier.isNeeded) verifier.update(data);
  return {
    kind: 'inline',
    data,
    sha256: createHash('sha256').update(data).digest('hex'),
    size_bytes: data.length,
  };
}

async function* joined(head: readonly Buffer[], rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield* head;
  yield* rest;
}

function checkTotal(request: DavRequest, size_bytes: number): void {
  for (const name of ['oc-total-length', 'x-expected-entity-length']) {
    const value = request.req.headers[name];
    if (typeof value === 'string' && /^\d+$/.test(value) && Number(value) !== size_bytes) {
      throw new CloudError('invalid', `storing content: ${name} says ${value} bytes, received were ${size_bytes}`);
    }
  }
}
