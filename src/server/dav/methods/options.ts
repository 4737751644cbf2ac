// OPTIONS (RFC 4918 section 10.1): what is true for this address, nothing more.

import type { DavRequest } from '../context.js';

const ALWAYS = 'OPTIONS, GET, HEAD, PROPFIND, PROPPATCH, LOCK, UNLOCK, DELETE, COPY, MOVE';
export const DAV_CLASSES = '1, 2, 3';

export async function options(request: DavRequest): Promise<void> {
  const { services, ctx, path, res } = request;
  const node = await services.metadata.read(async (tx) => {
    const at = await tx.resolve(ctx.rootId, path.names);
    return (await request.access(tx).allows('read', at)) ? at.node : null;
  });
  const allow =
    node === null ? 'OPTIONS, PUT, MKCOL, LOCK' : node.kind === 'dir' ? `${ALWAYS}, REPORT` : `${ALWAYS}, PUT`;
  res.writeHead(200, {
    DAV: DAV_CLASSES,
    Allow: allow,
    'MS-Author-Via': 'DAV',
    'X-Cloudmount': '1',
    'Accept-Ranges': 'bytes',
    'Content-Length': 0,
  });
  res.end();
}
