// DELETE (RFC 4918 section 9.6): the resource and everything below in one transaction, so there is never a 207. Locks go
// with what they are on. `If-Match` counts for collections too: their ETag says that nothing below has changed.

import type { DavRequest } from '../context.js';
import { mayRemove } from '../lock_rules.js';
import { sendEmpty } from '../reply.js';
import { DavFailure } from '../status.js';
import { existing, holderOf, resolveChecked } from '../write_access.js';

export async function remove(request: DavRequest): Promise<void> {
  const { services, path, res, req } = request;
  const depth = req.headers.depth;
  if (depth !== undefined && !/^\s*infinity\s*$/i.test(String(depth)) && path.slash) {
    throw new DavFailure(
      400,
      'invalid',
      'deleting a collection: Depth must be infinity or absent (RFC 4918 section 9.6.1)',
    );
  }
  await services.metadata.write(async (tx) => {
    const at = await resolveChecked(request, tx);
    const node = existing(at, path.slash);
    if (node.parentId === null) {
      throw new DavFailure(403, 'no_access', 'deleting: the root of the tree cannot be deleted');
    }
    await mayRemove(tx, holderOf(request), at);
    await tx.remove(node);
  });
  sendEmpty(res, 204);
}
