// UNLOCK (RFC 4918 section 9.11): removes the whole lock, from any resource it covers; only for whom it was given to.

import { CloudError } from '../../../errors.js';
import { aboutNode } from '../commit_upload.js';
import type { DavRequest } from '../context.js';
import { locksCovering } from '../lock_rules.js';
import { sendEmpty } from '../reply.js';
import { DavFailure } from '../status.js';
import { existing, resolveChecked } from '../write_access.js';
import { isUserLock, userUnlock } from './user_lock.js';

export async function unlock(request: DavRequest): Promise<void> {
  const { services, ctx, path, res, now_ms } = request;
  if (isUserLock(request)) return userUnlock(request);
  const token = /^\s*<([^<>\s]+)>\s*$/.exec(request.header('lock-token') ?? '')?.[1];
  if (token === undefined) {
    throw new CloudError('invalid', 'unlocking: a Lock-Token header with the token in angle brackets is required');
  }
  const node = await services.metadata.write(
    async (tx) => {
      const at = await resolveChecked(request, tx, 'read');
      const node = existing(at, path.slash);
      const covering = await locksCovering(tx, node, at.above, now_ms);
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
      return node;
      // A power cut may bring it back, until it runs out.
    },
    () => true,
  );
  services.onDone?.({ kind: 'unlocked', ctx, ...aboutNode(node), path: path.names });
  sendEmpty(res, 204);
}
