// MKCOL (RFC 4918 section 9.3).

import { attributesOf } from '../attributes.js';
import { hasBody } from '../body.js';
import { aboutNode, noParent } from '../commit_upload.js';
import type { DavRequest } from '../context.js';
import { mayChangeMembers } from '../lock_rules.js';
import { ocId } from '../properties.js';
import { sendEmpty } from '../reply.js';
import { newName } from '../resource_path.js';
import { DavFailure } from '../status.js';
import { holderOf, resolveChecked } from '../write_access.js';

export async function mkcol(request: DavRequest): Promise<void> {
  const { services, ctx, path, req, res } = request;
  if (hasBody(req)) {
    throw new DavFailure(
      415,
      'unsupported',
      'creating a collection: no body is understood here (RFC 4918 section 9.3)',
    );
  }
  if (path.names.length === 0) throw taken();
  const name = newName(path);
  const attributes = attributesOf(request);
  await services.blobs.demandRoom(0);
  const node = await services.metadata.write(async (tx) => {
    const at = await resolveChecked(request, tx, 'add');
    if (at.node !== null) throw taken();
    if (at.parent === null) throw noParent();
    await mayChangeMembers(tx, holderOf(request), at);
    return tx.create(at.parent, name, { ...attributes, kind: 'dir' });
  });
  services.onDone?.({ kind: 'created', ctx, ...aboutNode(node), path: path.names });
  const headers: Record<string, string> = { ETag: node.etag, 'OC-ETag': node.etag, 'OC-FileId': ocId(node.id) };
  if (attributes.mtime !== undefined) headers['X-OC-MTime'] = 'accepted';
  sendEmpty(res, 201, headers);
}

function taken(): DavFailure {
  return new DavFailure(405, 'exists', 'creating a collection: something is stored at this address already');
}
