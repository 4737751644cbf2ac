// GET and HEAD (RFC 9110): whole, one range, several ranges (multipart/byteranges), conditions. Small contents come out of
// the database with their row, others out of the blob store. On a collection a plain page that names its members.

import { randomBytes } from 'node:crypto';
import { CloudError, isCloudError } from '../../../errors.js';
import { encodeName, encodeSegment } from '../../../names.js';
import { evaluateConditions, ifRangeHolds, parseConditions } from '../../../remote/wire/conditional.js';
import { type ByteRange, formatContentRange, formatUnsatisfied, parseRange } from '../../../remote/wire/range.js';
import { escapeAttribute, escapeText } from '../../../remote/wire/xml.js';
import { DirectLine } from '../../direct_line.js';
import type { OpenBlob } from '../../storage/blobs/blob_store.js';
import type { ContentRecord, NodeRecord, Readable } from '../../storage/metadata/metadata_store.js';
import { aboutNode } from '../commit_upload.js';
import { checkIf, ifScopeOf, selectedOf } from '../conditional.js';
import { contentTypeOf } from '../content_type.js';
import type { DavRequest } from '../context.js';
import { httpDate } from '../http_dates.js';
import { ocId } from '../properties.js';
import { sendBody, written } from '../reply.js';
import { hrefOf } from '../resource_path.js';
import { DavFailure } from '../status.js';

/** To be kept, and asked about each time; 304 says it again (RFC 9110 section 15.4.5). */
const CACHING = { 'Cache-Control': 'private, no-cache' };
/** Members named on the page of a collection; who wants all asks PROPFIND. */
const PAGE_MEMBERS = 1000;

interface Found extends Readable {
  readonly members: readonly NodeRecord[];
}

export async function get(request: DavRequest): Promise<void> {
  const { services, ctx, req, res, path } = request;
  const isHead = req.method === 'HEAD';
  const { node, content, members } = await services.metadata.read(async (tx): Promise<Found> => {
    const found = await tx.readable(ctx.rootId, path.names);
    if (found === null || (path.slash && found.node.kind !== 'dir')) {
      throw new CloudError('not_found', 'reading: nothing is stored at this address');
    }
    if (ctx.link !== undefined || found.node.rootId !== ctx.rootId) {
      await request.access(tx).demand('read', { node: found.node, parent: null, ancestors: [], above: [] });
    }
    if (request.ifLists.length > 0) {
      await checkIf(tx, request.ifLists, ifScopeOf(request), path, await tx.resolve(ctx.rootId, path.names));
    }
    // For HEAD too: it tells the length of the page.
    const isPage = found.node.kind === 'dir';
    return { ...found, members: isPage ? await tx.children(found.node, null, PAGE_MEMBERS + 1, 'brief') : [] };
  });

  const verdict = evaluateConditions(parseConditions(req.headers), selectedOf(node), req.method ?? 'GET');
  if (verdict === 'failed') {
    throw new DavFailure(412, 'precondition', `judging the preconditions: the current version is ${node.etag}`, {
      headers: { ETag: node.etag },
    });
  }
  if (verdict === 'not_modified') {
    res.writeHead(304, { ETag: node.etag, 'Last-Modified': httpDate(node.mtime.s), ...CACHING });
    res.end();
    return;
  }
  if (node.kind === 'dir') {
    sendPage(request, node, members);
    return;
  }
  if (ctx.link?.hideDownload === true && !isHead) {
    throw new DavFailure(403, 'no_access', 'reading: this link is not for downloading');
  }
  await sendContent(request, node, content);
  if (!isHead && node.rootId !== ctx.rootId) {
    services.onDone?.({ kind: 'read', ctx, ...aboutNode(node), path: path.names });
  }
}

function headersOf(node: NodeRecord): Record<string, string | number> {
  const headers: Record<string, string | number> = {
    'Content-Type': contentTypeOf(node),
    ETag: node.etag,
    'OC-ETag': node.etag,
    'OC-FileId': ocId(node.id),
    'Last-Modified': httpDate(node.mtime.s),
    'Accept-Ranges': 'bytes',
    ...CACHING,
    // What users store is never to act as a page of this server.
    'Content-Security-Policy': "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    'X-Content-Type-Options': 'nosniff',
  };
  if (node.sha256 !== null && node.kind === 'file') headers['OC-Checksum'] = `SHA256:${node.sha256}`;
  return headers;
}

async function sendContent(request: DavRequest, node: NodeRecord, content: ContentRecord | null): Promise<void> {
  const { req, res } = request;
  const isHead = req.method === 'HEAD';
  const size = node.size_bytes;
  const headers = headersOf(node);
  // Range counts for GET alone (RFC 9110 section 14.2), and only for the version If-Range names.
  const rangeHeader = isHead || !ifRangeHolds(request.header('if-range'), node.etag) ? undefined : req.headers.range;
  const asked = parseRange(rangeHeader, size);
  if (asked.kind === 'unsatisfiable') {
    throw new DavFailure(416, 'range', `reading: the content has ${size} bytes, the range begins behind them`, {
      headers: { 'Content-Range': formatUnsatisfied(size), ETag: node.etag },
    });
  }
  if (isHead) {
    headers['Content-Length'] = size;
    res.writeHead(200, headers);
    res.end();
    return;
  }
  await takeDownload(request);
  if (asked.kind === 'whole') {
    headers['Content-Length'] = size;
    await sendBytes(request, node, content, 200, headers, [{ range: { start: 0, end: size }, before: '' }], '');
    return;
  }
  const [first] = asked.ranges;
  if (asked.ranges.length === 1 && first !== undefined) {
    headers['Content-Length'] = first.end - first.start;
    headers['Content-Range'] = formatContentRange(first, size);
    await sendBytes(request, node, content, 206, headers, [{ range: first, before: '' }], '');
    return;
  }
  const boundary = randomBytes(12).toString('hex');
  const type = headers['Content-Type'];
  const parts = asked.ranges.map((range, i) => ({
    range,
    before: `${i === 0 ? '' : '\r\n'}--${boundary}\r\nContent-Type: ${type}\r\nContent-Range: ${formatContentRange(range, size)}\r\n\r\n`,
  }));
  const end = `\r\n--${boundary}--\r\n`;
  headers['Content-Type'] = `multipart/byteranges; boundary=${boundary}`;
  headers['Content-Length'] = parts.reduce(
    (sum, part) => sum + part.before.length + part.range.end - part.range.start,
    end.length,
  );
  await sendBytes(request, node, content, 206, headers, parts, end);
}

/** Of those a public link allows; only for content that is there to be sent: a refused range uses up none. */
async function takeDownload({ ctx }: DavRequest): Promise<void> {
  const count = ctx.link?.countDownload ?? null;
  if (count === null || (await count())) return;
  throw new DavFailure(403, 'no_access', 'reading: this link has been used as often as it may be');
}

interface Part {
  readonly range: ByteRange;
  /** ASCII text in front of the bytes. */
  readonly before: string;
}

async function sendBytes(
  request: DavRequest,
  node: NodeRecord,
  content: ContentRecord | null,
  status: number,
  headers: Record<string, string | number>,
  parts: readonly Part[],
  end: string,
): Promise<void> {
  const { res, services } = request;
  const data = content === null ? encodeName(node.target ?? '') : content.data;
  if (data !== null) {
    res.writeHead(status, headers);
    const [only] = parts;
    if (parts.length === 1 && only !== undefined) {
      res.end(data.subarray(only.range.start, only.range.end));
      return;
    }
    const pieces = parts.flatMap(({ range, before }) => [Buffer.from(before), data.subarray(range.start, range.end)]);
    res.end(Buffer.concat([...pieces, Buffer.from(end)]));
    return;
  }
  // Opened before the first header goes out: a content that is missing must not look like a short one.
  const blob = await services.blobs.open(content?.sha256 ?? '').catch((error: unknown) => {
    // To a client "not found" would mean that the file was deleted.
    if (!isCloudError(error, 'not_found')) throw error;
    throw new CloudError('corrupt', `reading node ${node.id}: its content is missing in the store`, { cause: error });
  });
  try {
    if (blob.size_bytes !== node.size_bytes) {
      throw new CloudError('corrupt', `reading: ${node.size_bytes} bytes are recorded, ${blob.size_bytes} are stored`);
    }
    res.writeHead(status, headers);
    for (const { range, before } of parts) {
      if (before !== '') res.write(before);
      await pump(request, blob, range);
    }
    res.end(end);
  } finally {
    await blob.close();
  }
}

/** Handed to the kernel at a time. */
const DIRECT_BYTES = 2 << 20;
/** Written by node at the beginning, and whenever the connection has no room: node knows how to wait for it. */
const COPIED_BYTES = 64 << 10;
/** What is shorter is not worth a second way. */
const MIN_DIRECT_BYTES = 256 << 10;

async function pump(request: DavRequest, blob: OpenBlob, range: ByteRange): Promise<void> {
  const { res, services } = request;
  const copy = (start: number, end: number) =>
    blob.send(start, end, (chunk) => written(res, chunk, services.limits.stall_ms));
  const { fd } = blob;
  if (fd === null || range.end - range.start < MIN_DIRECT_BYTES) return await copy(range.start, range.end);
  let at = range.start + COPIED_BYTES;
  await copy(range.start, at); // and with it the head
  const line = await DirectLine.open(res);
  if (line === null) return await copy(at, range.end);
  try {
    while (at < range.end) {
      const wanted = Math.min(range.end - at, DIRECT_BYTES);
      const sent = await line.send(fd, at, wanted);
      if (sent === null) return await copy(at, range.end);
      at += sent;
      if (sent === wanted || at === range.end) continue;
      const next = Math.min(at + COPIED_BYTES, range.end);
      await copy(at, next);
      at = next;
    }
  } finally {
    line.close();
  }
}

/** Its links are whole paths: relative ones lead elsewhere where the address was written without its last slash. */
function sendPage(request: DavRequest, node: NodeRecord, members: readonly NodeRecord[]): void {
  const { ctx, path } = request;
  const title = escapeText(`/${path.names.join('/')}`);
  const base = hrefOf(ctx.basePath, path.names, true);
  let list =
    path.names.length === 0
      ? ''
      : `<li><a href="${escapeAttribute(hrefOf(ctx.basePath, path.names.slice(0, -1), true))}">..</a></li>`;
  for (const member of members.slice(0, PAGE_MEMBERS)) {
    const slash = member.kind === 'dir' ? '/' : '';
    const href = escapeAttribute(`${base}${encodeSegment(member.name)}${slash}`);
    list += `<li><a href="${href}">${escapeText(member.name)}${slash}</a></li>`;
  }
  if (members.length > PAGE_MEMBERS) list += `<li>… (more than ${PAGE_MEMBERS})</li>`;
  sendBody(
    request.res,
    200,
    'text/html; charset=utf-8',
    `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title><h1>${title}</h1><ul>${list}</ul></html>\n`,
    {
      ETag: node.etag,
      'OC-FileId': ocId(node.id),
      'Last-Modified': httpDate(node.mtime.s),
      ...CACHING,
      'Content-Security-Policy': "default-src 'none'; sandbox",
      'X-Content-Type-Options': 'nosniff',
    },
  );
}
