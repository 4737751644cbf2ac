// MKCOL, MOVE, DELETE, PROPPATCH: changes of the tree. Each is sent under a precondition, so that sending it again is safe;
// where an answer was lost, we look what the tree says before we call it a failure.

import { randomUUID } from 'node:crypto';
import { CloudError, isCloudError } from '../errors.js';
import { isWithin, joinPath, type Name, type RemotePath, splitPath } from '../ids.js';
import { NAME_MAX_BYTES, nameBytes } from '../names.js';
import { ANSWER_PATIENCE, type Dav, show } from './dav.js';
import { dropOrphans, giveBack, guarded, lockLost, lookAt, mismatch, requireNow } from './guard.js';
import { codeOfStatus } from './http_failure.js';
import { list, stat } from './listing.js';
import {
  ANY_LOCK,
  type CallOptions,
  type MetaPatch,
  type MoveRule,
  type PosixMeta,
  type Precondition,
  type PutResult,
  type RemoteEntry,
} from './remote.js';
import { isRespelling, respell } from './respelling.js';
import { isTransient, retry } from './retry.js';
import { ROOT_XMLNS } from './wire/ns.js';
import { XML_DECLARATION } from './wire/xml.js';

export async function makeDirectory(
  dav: Dav,
  path: RemotePath,
  meta: PosixMeta,
  options: CallOptions,
): Promise<PutResult> {
  const doing = `making the directory ${show(path)}`;
  // Some servers say 201 for a collection that was there.
  if (dav.info.conditional === 'none') await requireFree(dav, path, doing, options);
  const response = await retry(async (tried) => {
    try {
      return await dav.send(
        {
          method: 'MKCOL',
          path: dav.href(path, true),
          headers: {
            ...dav.dialect.metaHeaders(meta),
            ...dav.conditionHeaders(path, { kind: 'none' }, options.lockToken),
          },
          signal: options.signal,
        },
        [201],
        doing,
      );
    } catch (error) {
      // 405 says that the name is taken; mod_dav says 400 when a file has it.
      if (!isCloudError(error, 'not_permitted', 'invalid')) throw error;
      const there = await lookAt(dav, path, options);
      if (there === null) throw error;
      // After a try whose answer was lost a directory there is the one we asked for.
      if (tried > 0 && there.kind === 'dir') return null;
      throw new CloudError('exists', `${doing}: the name is taken`, { status: 405, path });
    }
  }, dav.retrying(options));
  const etag = response === null || !dav.dialect.collectionEtags ? null : dav.versionOf(response);
  const fileid = response === null ? null : dav.fileidOf(response);
  const { fileIds, collectionEtags } = dav.info.capabilities;
  if ((fileid !== null || !fileIds) && (etag !== null || !collectionEtags)) return { etag, fileid, created: true };
  const entry = await lookAt(dav, path, options);
  return { etag: entry?.etag ?? null, fileid: entry?.fileid ?? null, created: true };
}

async function requireFree(dav: Dav, path: RemotePath, doing: string, options: CallOptions): Promise<void> {
  if ((await lookAt(dav, path, options)) !== null) {
    throw new CloudError('exists', `${doing}: the name is taken`, { path });
  }
}

/** See `Remote.move`. */
export async function moveNode(
  dav: Dav,
  from: RemotePath,
  to: RemotePath,
  rule: MoveRule,
  options: CallOptions,
): Promise<void> {
  const doing = `moving ${show(from)} to ${show(to)}`;
  if (isWithin(to, from)) throw new CloudError('invalid', `${doing}: the target is the source or inside it`);
  const source = await sourceOf(dav, from, rule, options);
  const collection = source?.kind === 'dir';
  if (await isRespelling(dav, from, to, options)) return await respell(dav, from, to, sendRespelled, options);
  // lighttpd takes no lock of the target along: there what is replaced is removed before.
  const replaces = rule.overwrite !== null && dav.info.ifHeader !== 'lighttpd';
  let removed = false;
  const send = async (headers: Readonly<Record<string, string>>) => {
    const overwrites = replaces && !removed ? 'T' : 'F';
    await sendMove(
      dav,
      { from, to, collection },
      { overwrite: overwrites, ...identity(dav, rule), ...headers },
      options,
    );
  };
  const { overwrite } = rule;
  let held = options;
  const attempt = async (): Promise<void> => {
    const all = tokensOf(dav, held);
    if (overwrite === null || removed) {
      if (dav.info.conditional === 'none' || dav.info.ifHeader === 'lighttpd')
        await requirePlace(dav, to, doing, options);
      const conditions = sourceCondition(dav, from, source, rule, held);
      const onlyOwn = all.every((token) => token === held.lockToken);
      return await send(onlyOwn ? conditions : { ...conditions, if: submitting(dav, from, all, '') });
    }
    const precondition: Precondition = { kind: 'if_match', etag: overwrite.etag };
    const tagged = { if: submitting(dav, to, all, ` [${overwrite.etag}]`) };
    const looksOnly = dav.info.conditional === 'put_if_match';
    if (dav.info.dialect !== 'generic' && !looksOnly)
      return await send({ ...sourceCondition(dav, from, source, rule, {}), ...tagged });
    // Also because locking a free name makes a file of it.
    const target = await requireNow(dav, to, precondition, options);
    if (target?.kind === 'dir') throw mismatch(to, precondition, 'a directory');
    if (looksOnly) return await send({});
    const onTarget = held.overToken;
    const others = all.filter((token) => token !== onTarget);
    const signal = withoutToken(held);
    const atTarget = onTarget === undefined ? signal : { ...signal, lockToken: onTarget };
    // Go's holds a list for the address it knows only, or one without for both places: each needs a token then.
    const unnamed = dav.info.ifHeader === 'absolute' && !dav.destinations.haveOurHost;
    // So it is where a token of the one would be taken for the other's.
    const confused = unnamed ? others.length === 0 : others.length > 0 && dav.tagOf(from) === dav.tagOf(to);
    if (!replaces || confused) {
      await removeNode(dav, to, overwrite.etag, atTarget);
      removed = true;
      if (onTarget !== undefined) {
        held = { ...held, alsoTokens: others.filter((token) => token !== held.lockToken) };
        await giveBack(dav, to, onTarget); // on nginx the name stays locked
      }
      return await attempt();
    }
    return await guarded(dav, to, precondition, 0, atTarget, (headers) => {
      // If-Match would be held against the source: the tag moves into the list that has the guard's lock.
      const { 'if-match': strong, if: list, ...rest } = headers;
      if (unnamed && list !== undefined) {
        return send({ ...rest, if: list.replace(/\)$/, `${others.map((token) => ` <${token}>`).join('')})`) });
      }
      const lists = list === undefined ? undefined : dav.aboutOther(to, list, others.length > 0);
      const condition = strong === undefined ? lists : (lists?.replace(/\)$/, ` [${strong}])`) ?? tagged.if);
      const shown = others.length === 0 ? undefined : dav.aboutOther(from, submitting(dav, from, others, ''), true);
      // nginx takes the first list whose address, or that of a folder above, is that of what it asks about.
      const parts = dav.tagOf(to).length < dav.tagOf(from).length ? [shown, condition] : [condition, shown];
      const both = parts.filter((part) => part !== undefined).join(' ');
      return send(both === '' ? rest : { ...rest, if: both });
    });
  };
  await retry(async (tried) => {
    try {
      await attempt();
    } catch (error) {
      if (isCloudError(error, 'locked') && (await dropOrphans(dav, [from, to], options))) throw lockLost(from, error);
      if (isCloudError(error) && isTransient(error) && (await isMoved(dav, from, to, options))) return;
      const mayBeDone = tried > 0 && isCloudError(error, 'not_found', 'precondition', 'exists');
      if (mayBeDone && (await isMoved(dav, from, to, options))) return;
      throw await explained(error);
    }
  }, dav.retrying(options));

  /** Its own lock goes with the first of the two moves. */
  async function sendRespelled(at: RemotePath, name: RemotePath): Promise<void> {
    const tokens = tokensOf(dav, options).filter((token) => at === from || token !== options.lockToken);
    const shown = tokens.length === 0 ? {} : { if: submitting(dav, at, tokens, '') };
    await sendMove(dav, { from: at, to: name, collection }, { overwrite: 'F', ...shown }, options);
  }

  /** 412 says that something did not hold; which one decides what the caller does. mod_dav says 500 where the parent of
   * the target is missing. */
  async function explained(error: unknown): Promise<unknown> {
    if (isCloudError(error, 'server', 'no_access')) {
      const missing = (await lookAt(dav, splitPath(to).parent, options)) === null;
      return missing ? new CloudError('not_found', `${doing}: the target's parent is missing`, { path: to }) : error;
    }
    if (!isCloudError(error, 'precondition')) return error;
    const { sourceId, sourceEtag } = rule;
    const isTold = typeof sourceId === 'string';
    const here = isTold || sourceEtag !== null ? await lookAt(dav, from, options) : null;
    if (isTold && here !== null && here.fileid !== null && here.fileid !== sourceId) return error;
    const target = await lookAt(dav, to, options);
    if (overwrite === null || removed) {
      if (target !== null) return new CloudError('exists', `${doing}: the target exists`, { status: 412, path: to });
      if (tokensOf(dav, held).length === 0) return error;
    } else if (target === null || target.etag !== overwrite.etag) return error;
    if (sourceEtag !== null && here?.etag !== sourceEtag) return error;
    held = withoutToken(options);
    return lockLost(to, error);
  }
}

interface Moved {
  readonly from: RemotePath;
  readonly to: RemotePath;
  readonly collection: boolean;
}

/** The request. Rejects with `busy_server` when it is to be sent once more, with the target written in another way. */
async function sendMove(
  dav: Dav,
  { from, to, collection }: Moved,
  headers: Readonly<Record<string, string>>,
  options: CallOptions,
): Promise<void> {
  await dav.destinations.attempt(dav.href(to, collection), async (destination) => {
    await dav.send(
      {
        method: 'MOVE',
        path: dav.href(from, collection),
        headers: { destination, ...headers },
        answer_ms: dav.http.timeout_ms * ANSWER_PATIENCE,
        signal: options.signal,
      },
      [200, 201, 204],
      `moving ${show(from)} to ${show(to)}`,
    );
  });
}

/** A free name in a collection that is there: lighttpd moves into a collection that has the name, nginx makes what is missing
 * above. */
async function requirePlace(dav: Dav, to: RemotePath, doing: string, options: CallOptions): Promise<void> {
  await requireFree(dav, to, doing, options);
  if ((await lookAt(dav, splitPath(to).parent, options)) === null) {
    throw new CloudError('not_found', `${doing}: the target's parent is missing`, { path: to });
  }
}

/** Is it a collection (then addresses of generic servers end in a slash), and is it the version? Ours checks by itself. */
async function sourceOf(dav: Dav, from: RemotePath, rule: MoveRule, options: CallOptions): Promise<RemoteEntry | null> {
  const { dialect } = dav.info;
  if (dialect === 'cloudmount' || (dialect !== 'generic' && rule.sourceEtag === null)) return null;
  const source = await stat(dav, from, options);
  if (rule.sourceKind !== undefined && source.kind !== rule.sourceKind) {
    const found = `a ${rule.sourceKind} is required, found a ${source.kind}`;
    throw new CloudError('precondition', `moving ${show(from)}: ${found}`, { path: from });
  }
  if (rule.sourceEtag !== null && source.etag !== rule.sourceEtag) {
    throw mismatch(from, { kind: 'if_match', etag: rule.sourceEtag }, source.etag);
  }
  return source;
}

/** Our server moves nothing but what has this id. */
function identity({ info }: Dav, { sourceId }: MoveRule): Record<string, string> {
  return info.dialect === 'cloudmount' && typeof sourceId === 'string' ? { 'x-cloudmount-source': sourceId } : {};
}

/** `source`: as far as it was looked at. sabre's collections match no tag. */
function sourceCondition(
  dav: Dav,
  from: RemotePath,
  source: RemoteEntry | null,
  rule: MoveRule,
  options: CallOptions,
): Record<string, string> {
  const checked = dav.info.conditional === 'if_match' && dav.info.dialect !== 'generic' && source?.kind !== 'dir';
  return {
    ...(checked && rule.sourceEtag !== null ? { 'if-match': rule.sourceEtag } : {}),
    ...dav.conditionHeaders(from, { kind: 'none' }, options.lockToken),
  };
}

/** What a move shows. lighttpd refuses it with a token of anything but what is moved, also of what is in that. */
function tokensOf(dav: Dav, { lockToken, alsoTokens = [] }: CallOptions): readonly string[] {
  const also = dav.info.ifHeader === 'lighttpd' ? [] : alsoTokens;
  return (lockToken === undefined ? also : [lockToken, ...also]).filter((token) => token !== ANY_LOCK);
}

/** An If header that shows tokens, whatever they are on, and depends on nothing but `etag` (` [ETAG]`, or ''): its lists are
 * alternatives, and one of them holds as far as locks go (RFC 4918 section 10.4.8). */
function submitting(dav: Dav, path: RemotePath, tokens: readonly string[], etag: string): string {
  if (tokens.length === 0) return dav.listFor(path, etag.trim());
  const never = tokens.length === 1 ? tokens[0] : 'DAV:no-lock';
  return `${dav.listFor(path, `${tokens.map((token) => `<${token}>`).join(' ')}${etag}`)} (Not <${never}>${etag})`;
}

/** After a lost answer: the source is gone and something is at the target. */
async function isMoved(dav: Dav, from: RemotePath, to: RemotePath, options: CallOptions): Promise<boolean> {
  try {
    return (await lookAt(dav, from, options)) === null && (await lookAt(dav, to, options)) !== null;
  } catch {
    return false; // the failure that made us look is the one to report
  }
}

function withoutToken(options: CallOptions): CallOptions {
  return options.signal === undefined ? {} : { signal: options.signal };
}

/** See `Remote.remove`. */
export async function removeNode(dav: Dav, path: RemotePath, etag: string | null, options: CallOptions): Promise<void> {
  const doing = `removing ${show(path)}`;
  const send = async (collection: boolean, headers: Readonly<Record<string, string>>) => {
    await dav.send(
      {
        method: 'DELETE',
        path: dav.href(path, collection),
        headers,
        answer_ms: dav.http.timeout_ms * ANSWER_PATIENCE,
        signal: options.signal,
      },
      [200, 204],
      doing,
    );
  };
  let held = options;
  const attempt = async () => {
    if (etag === null) {
      const collection = await requireEmpty(dav, path, doing, options);
      if (collection && dav.info.capabilities.hidesDotNames === true) return await putAway(dav, path, held, doing);
      return await send(collection, dav.conditionHeaders(path, { kind: 'none' }, held.lockToken));
    }
    // Locking makes a file of a name that is free: it must be there before.
    if (dav.info.dialect === 'generic') await stat(dav, path, options);
    return await guarded(dav, path, { kind: 'if_match', etag }, 0, held, (headers) => send(false, headers));
  };
  await retry(async () => {
    try {
      await attempt();
    } catch (error) {
      if (isCloudError(error, 'locked') && (await dropOrphans(dav, [path], options))) throw lockLost(path, error);
      if (!isCloudError(error, 'precondition')) throw error;
      const entry = await lookAt(dav, path, options);
      if (entry === null) throw new CloudError('not_found', `${doing}: nothing is there`, { status: 412, path });
      if (etag === null || entry.etag !== etag) throw error;
      if (entry.kind === 'dir' && dav.info.dialect !== 'cloudmount') {
        // sabre (Nextcloud, ownCloud) holds If-Match against files only, of a collection it never holds: the look must do.
        return await send(true, dav.conditionHeaders(path, { kind: 'none' }, held.lockToken));
      }
      held = withoutToken(options);
      throw lockLost(path, error);
    }
  }, dav.retrying(options));
}

/** For what servers that hide dot names (nginx) have in a folder that looks empty. */
const REMOVED = '.cloudmount-removed' as RemotePath;

/** What may be in the collection cannot be seen, and DELETE takes all of it: it goes where nobody sees it instead. */
async function putAway(dav: Dav, path: RemotePath, options: CallOptions, doing: string): Promise<void> {
  const { signal, lockToken } = options;
  await dav.send({ method: 'MKCOL', path: dav.href(REMOVED, true), signal }, [201, 405], doing);
  const mark = randomUUID();
  const name = `${splitPath(path).name}.${mark}` as Name;
  const to = joinPath(REMOVED, nameBytes(name) <= NAME_MAX_BYTES ? name : (mark as Name));
  const conditions = dav.conditionHeaders(path, { kind: 'none' }, lockToken);
  await sendMove(dav, { from: path, to, collection: true }, { overwrite: 'F', ...conditions }, options);
}

/** Without a version to insist on, DELETE takes everything below: nothing may be there. A file goes only where the server
 * knows no version of it. Is it a collection? */
async function requireEmpty(dav: Dav, path: RemotePath, doing: string, options: CallOptions): Promise<boolean> {
  const self = await stat(dav, path, options);
  if (self.kind !== 'dir') {
    if (self.etag === null) return false;
    throw new CloudError('precondition', `${doing}: of a file the version is required, found ${self.etag}`, { path });
  }
  for await (const batch of list(dav, path, options)) {
    if (batch.some((entry) => entry.path !== path)) {
      throw new CloudError('not_empty', `${doing}: the directory must be empty`, { path });
    }
  }
  return true;
}

/** See `Remote.setMeta`. PROPPATCH is all or nothing (RFC 4918 section 9.2). */
export async function setAttributes(dav: Dav, path: RemotePath, patch: MetaPatch, options: CallOptions): Promise<void> {
  const { set, remove } = dav.dialect.patch(patch);
  if (set.length === 0 && remove.length === 0) return;
  const doing = `setting attributes of ${show(path)}`;
  const part = (name: string, props: readonly string[]) =>
    props.length === 0 ? '' : `<d:${name}><d:prop>${props.join('')}</d:prop></d:${name}>`;
  const request = {
    method: 'PROPPATCH',
    path: dav.href(path),
    headers: {
      'content-type': 'application/xml; charset=utf-8',
      ...dav.conditionHeaders(path, { kind: 'none' }, options.lockToken),
    },
    body: `${XML_DECLARATION}<d:propertyupdate${ROOT_XMLNS}>${part('set', set)}${part('remove', remove)}</d:propertyupdate>`,
    signal: options.signal,
  };
  await retry(async () => {
    for await (const page of dav.multistatus(request, doing)) {
      for (const response of page.responses) {
        const statuses = [response.status, ...response.propstats.map((propstat) => propstat.status)];
        // 424 is what the others get because of the one that failed.
        const failed = statuses.filter((status): status is number => status !== null && status >= 300);
        const status = failed.find((one) => one !== 424) ?? failed[0];
        if (status === undefined) continue;
        const why = response.propstats.find((propstat) => propstat.status === status)?.description ?? '';
        const refused = status === 403 || status === 409;
        throw new CloudError(
          refused ? 'unsupported' : codeOfStatus(status),
          `${doing}: the server answered ${status} ${why}`.trim(),
          {
            status,
            path,
          },
        );
      }
    }
  }, dav.retrying(options));
}
