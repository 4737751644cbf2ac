// Locks that belong to a person and not to a program: LOCK and UNLOCK with `X-User-Lock: 1`, as Nextcloud's
// files_lock app has them. No token is handed out; whoever logs in as the same user may write. Answers 200 with the
// `nc:lock*` properties, 423 when somebody else holds it, 412 when there is none to remove. Owner of the file and
// administrators may break a lock of anybody.

import { randomUUID } from 'node:crypto';
import { NC, ROOT_XMLNS } from '../../../remote/wire/ns.js';
import { parseTimeout } from '../../../remote/wire/timeout.js';
import { XML_DECLARATION } from '../../../remote/wire/xml.js';
import { aboutNode } from '../commit_upload.js';
import type { DavRequest } from '../context.js';
import { conflictingLocks, lockedFailure, locksCovering, mayHoldOneMore } from '../lock_rules.js';
import { PropertyPage, PropertyPlan } from '../properties.js';
import { sendBody } from '../reply.js';
import { DavFailure } from '../status.js';
import { existing, resolveChecked } from '../write_access.js';

const PLAN = new PropertyPlan({
  kind: 'prop',
  names: ['', '-owner', '-owner-displayname', '-owner-type', '-time', '-timeout'].map((end) => ({
    ns: NC,
    local: `lock${end}`,
  })),
});

export function isUserLock(request: DavRequest): boolean {
  return /^\s*(1|true)\s*$/i.test(request.header('x-user-lock') ?? '');
}

/** Taking it again refreshes it. */
export async function userLock(request: DavRequest): Promise<void> {
  const { services, ctx, path, now_ms } = request;
  const { minLock_s, maxLock_s } = services.limits;
  const asked = parseTimeout(request.header('timeout'));
  const timeout_s =
    asked === null || asked === 'infinite' ? maxLock_s : Math.min(Math.max(asked, minLock_s), maxLock_s);
  const noRoom = await services.blobs.demandRoom(0).then(
    () => null,
    (error: unknown) => error,
  );
  const node = await services.metadata.write(async (tx) => {
    const at = await resolveChecked(request, tx, 'lock');
    const node = existing(at, path.slash);
    const { userId, displayName } = ctx.principal;
    const conflicts = await conflictingLocks(tx, at, 'exclusive', node.kind === 'dir', now_ms);
    const own = conflicts.find((lock) => lock.byUser === true && lock.userId === userId && lock.nodeId === node.id);
    const expires_ms = now_ms + timeout_s * 1000;
    if (own !== undefined) {
      await tx.refreshLock(own.token, timeout_s, expires_ms);
      return node;
    }
    if (conflicts.length > 0) throw await lockedFailure(tx, ctx, conflicts, 'no-conflicting-lock');
    if (noRoom !== null) throw noRoom;
    await mayHoldOneMore(tx, at, userId, services.limits, now_ms);
    await tx.addLock({
      token: `urn:uuid:${randomUUID()}`,
      nodeId: node.id,
      scope: 'exclusive',
      depth: 'infinity',
      ownerXml: '',
      userId,
      displayName,
      created_ms: now_ms,
      timeout_s,
      expires_ms,
      byUser: true,
    });
    return node;
  });
  services.onDone?.({ kind: 'locked', ctx, ...aboutNode(node), path: path.names });
  await answer(request);
}

export async function userUnlock(request: DavRequest): Promise<void> {
  const { services, ctx, path, now_ms } = request;
  const { userId, isAdmin } = ctx.principal;
  const node = await services.metadata.write(async (tx) => {
    const at = await resolveChecked(request, tx, 'read');
    const node = existing(at, path.slash);
    const covering = await locksCovering(tx, node, at.above, now_ms);
    const lock = covering.find((held) => held.userId === userId && held.byUser === true) ?? covering[0];
    if (lock === undefined) throw new DavFailure(412, 'precondition', 'unlocking: nobody has locked this');
    const isOwner = request.access(tx).isOwn(node);
    const mayBreak = lock.userId === userId || isAdmin === true || isOwner;
    if (!mayBreak) throw await lockedFailure(tx, ctx, [lock]);
    await tx.removeLock(lock.token);
    return node;
  });
  services.onDone?.({ kind: 'unlocked', ctx, ...aboutNode(node), path: path.names });
  await answer(request);
}

async function answer(request: DavRequest): Promise<void> {
  const { services, ctx, path, res, now_ms } = request;
  const props = await services.metadata.read(async (tx) => {
    const { node } = await tx.resolve(ctx.rootId, path.names);
    if (node === null) throw new DavFailure(404, 'not_found', 'locking: the resource has just gone');
    const page = new PropertyPage(tx, PLAN, ctx, now_ms, null, services.displayName);
    await page.load([node]);
    return PLAN.values(node, page);
  });
  sendBody(res, 200, 'application/xml; charset=utf-8', `${XML_DECLARATION}<d:prop${ROOT_XMLNS}>${props}</d:prop>`);
}
