// The activity as Nextcloud's app tells it: `apps/activity/api/v2/activity[/filter]`, newest first; `since` is the last
// entry of the page before. With `object_type=files&object_id=ID` (or `path=…`, ours) that of one file.

import type { Name } from '../../ids.js';
import type { User } from '../accounts/account_store.js';
import type { RequestContext } from '../http_context.js';
import { Access } from '../sharing/access.js';
import type { Activity, ActivityRecord } from '../sharing/activity.js';
import { has, READ } from '../sharing/rights.js';
import type { MetadataRead, MetadataStore, NodeId } from '../storage/metadata/metadata_store.js';
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
    const records = api.activity.list({ userId: user.id, before, limit, ...(fileId === undefined ? {} : { fileId }) });
    const data: object[] = [];
    for (const record of records) data.push(await describe(tx, record, user, root.id, api));
    return { status: 200, data };
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

async function describe(
  tx: MetadataRead,
  record: ActivityRecord,
  user: User,
  rootId: NodeId,
  api: ActivityApi,
): Promise<object> {
  const here = await tx.pathIn(rootId, record.fileId);
  // How others call the folders a file is in is theirs to know.
  const known = record.actor === user.id ? record.path : (record.path.split('/').at(-1) ?? '');
  const path = here === null ? known : here.join('/');
  const who = record.actor.startsWith('link:') ? 'A public link' : api.displayName(record.actor);
  const to = record.affected === null ? '' : ` (${api.displayName(record.affected)})`;
  return {
    activity_id: record.id,
    app: 'files',
    type: `file_${record.kind}`,
    user: record.actor,
    subject: `${who}: ${record.kind} ${path}${to}`,
    message: '',
    object_type: 'files',
    object_id: record.fileId,
    object_name: `/${path}`,
    datetime: new Date(record.at_ms).toISOString(),
    client: record.actor === user.id || record.owner === user.id ? record.client : null,
    ...(record.actor === user.id && record.fromPath !== null ? { from: `/${record.fromPath}` } : {}),
  };
}
