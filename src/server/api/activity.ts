// The activity as Nextcloud's app tells it: `apps/activity/api/v2/activity[/filter]`, newest first; `since` is the last
// entry of the page before, as its header `X-Activity-Last-Given` says. With `object_type=files&object_id=ID` (or `path=…`, ours) that of one file.

import type { Name } from '../../ids.js';
import type { User } from '../accounts/account_store.js';
import type { RequestContext } from '../http_context.js';
import { Access } from '../sharing/access.js';
import type { Activity, ActivityRecord } from '../sharing/activity.js';
import { has, READ } from '../sharing/rights.js';
import type { MetadataRead, MetadataStore, NodeId } from '../storage/metadata/metadata_store.js';
import { linkOfVisitor } from '../storage/metadata/share_records.js';
import type { OcsAnswer } from './ocs.js';

export const ACTIVITY_PATH = /^apps\/activity\/api\/v2\/activity(?:\/(?:all|filter|self|by))?$/;

const LIMIT = 50;
const LIMIT_MAX = 200;

export interface ActivityApi {
  readonly activity: Activity;
  readonly metadata: MetadataStore;
  readonly displayName: (userId: string) => string;
  readonly now_ms: () => number;
}

export async function activityApi({ query }: RequestContext, user: User, api: ActivityApi): Promise<OcsAnswer> {
  const limit = Math.min(positive(query.get('limit')) ?? LIMIT, LIMIT_MAX);
  const before = positive(query.get('since'));
  const wantsFile = query.get('object_type') === 'files' || query.has('path');
  await api.activity.settled();
  return api.metadata.read(async (tx) => {
    const root = await tx.root(user.id);
    if (root === null) return { status: 200, data: [] };
    let fileId: NodeId | undefined;
    if (wantsFile) {
      const found = await readableFile(tx, user, root.id, query, api.now_ms());
      if (found === null) return { status: 404, message: 'There is no such file, or it is not yours to see', data: [] };
      fileId = found;
    }
    const since_ms = user.created_ms;
    const records = api.activity.list({
      userId: user.id,
      since_ms,
      before,
      limit,
      ...(fileId === undefined ? {} : { fileId }),
    });
    const data: object[] = [];
    for (const record of records) data.push(await describe(tx, record, user, root.id, api));
    const last = records.at(-1);
    return { status: 200, data, headers: last === undefined ? {} : { 'X-Activity-Last-Given': String(last.id) } };
  });
}

function positive(text: string | null): number | null {
  return text !== null && /^[1-9]\d{0,14}$/.test(text) ? Number(text) : null;
}

async function readableFile(
  tx: MetadataRead,
  user: User,
  rootId: NodeId,
  query: URLSearchParams,
  now_ms: number,
): Promise<NodeId | null> {
  const path = query.get('path');
  const id = positive(query.get('object_id'));
  const names = path?.split('/').filter((name) => name !== '') as Name[] | undefined;
  const node =
    names !== undefined ? (await tx.resolve(rootId, names)).node : id === null ? null : await tx.node(id as NodeId);
  if (node === null) return null;
  const access = new Access(tx, { userId: user.id, rootId }, now_ms);
  await access.load([node]);
  return has(access.of(node).node, READ) ? node.id : null;
}

const LINK = 'public link';

/** What was done, before the path it was done with; the kind itself where it is not here. */
const WORDS: Readonly<Record<string, string>> = {
  share_changed: 'changed the share of',
  withdrawn: 'withdrew the share of',
  suspended: 'suspended the share of',
  resumed: 'resumed the share of',
  declined: 'declined the share of',
  accepted: 'accepted the share of',
  unmounted: 'did without the share of',
};

async function describe(
  tx: MetadataRead,
  record: ActivityRecord,
  user: User,
  rootId: NodeId,
  api: ActivityApi,
): Promise<object> {
  const here = await tx.pathIn(rootId, record.fileId);
  // How others call the folders a file is in is theirs to know; whom else it is shared with, the owner's and the giver's.
  const known = record.actor === user.id ? record.path : (record.path.split('/').at(-1) ?? '');
  const path = here === null ? known : here.join('/');
  const link = linkOfVisitor(record.actor);
  const isTheirs = record.actor === user.id || record.owner === user.id;
  const knowsTarget = isTheirs || (link !== null && (await tx.share(link))?.sharerId === user.id);
  const target = knowsTarget || record.affected === user.id ? targetOf(record, api.displayName) : '';
  const who =
    link === null ? api.displayName(record.actor) : target === '' || target === LINK ? `A ${LINK}` : `The ${target}`;
  const subject = `${who}: ${WORDS[record.kind] ?? record.kind} ${path}${link !== null || target === '' ? '' : ` (${target})`}`;
  return {
    activity_id: record.id,
    app: 'files',
    type: `file_${record.kind}`,
    user: record.actor,
    subject,
    message: '',
    object_type: 'files',
    object_id: record.fileId,
    object_name: `/${path}`,
    datetime: new Date(record.at_ms).toISOString(),
    client: isTheirs ? record.client : null,
    ...(record.actor === user.id && record.fromPath !== null ? { from: `/${record.fromPath}` } : {}),
  };
}

/** `with Ben Example`, `with @crew`, `public link "for the press"`; '' where nobody and nothing is named. */
function targetOf({ actor, affected, target }: ActivityRecord, displayName: (userId: string) => string): string {
  if (affected !== null) return affected === actor ? '' : `with ${displayName(affected)}`;
  if (target?.startsWith('group:') === true) return `with @${target.slice('group:'.length)}`;
  const label = target?.startsWith('link:') === true ? target.slice('link:'.length) : null;
  return label === null ? '' : label === '' ? LINK : `${LINK} "${label}"`;
}
