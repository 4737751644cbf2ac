// DELETE (RFC 4918 section 9.6): the resource and everything below in one transaction, so there is never a 207. Locks go
// with what they are on. `If-Match` counts for collections too: their ETag says that nothing below has changed.

import { aboutNode } from '../commit_upload.js';
import type { DavRequest } from '../context.js';
import { mayRemove } from '../lock_rules.js';
import { sendEmpty } from '../reply.js';
import { DavFailure } from '../status.js';
import { existing, holderOf, resolveChecked } from '../write_access.js';

export async function remove(request: DavRequest): Promise<void> {
  const { services, ctx, path, res, req } = request;
  const depth = req.headers.depth;
  if (depth !== undefined && !/^\s*infinity\s*$/i.test(String(depth)) && path.slash) {
    throw new DavFailure(
      400,
      'invalid',
      'deleting a collection: Depth must be infinity or absent (RFC 4918 section 9.6.1)',
    );
  }
  if (path.names.length === 0) {
    throw new DavFailure(403, 'no_access', 'deleting: the root of the tree cannot be deleted');
  }
  const node = await services.metadata.write(async (tx) => {
    const at = await resolveChecked(request, tx, 'remove');
    const node = existing(at, path.slash);
    await mayRemove(tx, holderOf(request), at);
    // What somebody else shares is not deleted: its recipient does without it.
    if (node.mount === undefined) await tx.remove(node);
    else await tx.unmount(node.mount);
    return node;
  });
  const kind = node.mount === undefined ? 'deleted' : 'unmounted';
  services.onDone?.({ kind, ctx, ...aboutNode(node), path: path.names });
  sendEmpty(res, 204);
}
