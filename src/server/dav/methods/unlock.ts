// UNLOCK (RFC 4918 section 9.11): removes the whole lock, from any resource it covers; only for whom it was given to.

import { CloudError } from '../../../errors.js';
import type { DavRequest } from '../context.js';
import { locksCovering } from '../lock_rules.js';
import { sendEmpty } from '../reply.js';
import { DavFailure } from '../status.js';
import { existing, resolveChecked } from '../write_access.js';

export async function unlock(request: DavRequest): Promise<void> {
  const { services, ctx, path, res, now_ms } = request;
  const token = /^\s*<([^<>\s]+)>\s*$/.exec(request.header('lock-token') ?? '')?.[1];
  if (token === undefined) {
    throw new CloudError('invalid', 'unlocking: a Lock-Token header with the token in angle brackets is required');
  }
  await services.metadata.write(async (tx) => {
    const at = await resolveChecked(request, tx);
    const node = existing(at, path.slash);
    const covering = await locksCovering(tx, node, at.ancestors, now_ms);
    const found = covering.find((lock) => lock.token === token);
    if (found === undefined) {
      throw new DavFailure(409, 'invalid', 'unlocking: no lock with this token is on this resource', {
        condition: '<d:lock-token-matches-request-uri/>',
      });
    }
    if (found.userId !== ctx.principal.userId) {
      throw new DavFailure(403, 'no_access', 'unlocking: the lock was given to somebody else');
    }
    await tx.removeLock(token);
  });
  sendEmpty(res, 204);
}
