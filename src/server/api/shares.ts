// The sharing API of the Open Collaboration Services as Nextcloud and ownCloud speak it:
// `apps/files_sharing/api/v1/shares[/ID]`. What we have beyond theirs is told and taken under names of our own:
// `suspended`, `role`, `max_downloads`, `downloads`.

import { CloudError, isCloudError } from '../../errors.js';
import type { Name } from '../../ids.js';
import type { User } from '../accounts/account_store.js';
import { contentTypeOf } from '../dav/content_type.js';
import type { RequestContext } from '../http_context.js';
import { FILE_RIGHTS, LINK_ROLES, type LinkRoleName, rightsOfRole, roleOf } from '../sharing/rights.js';
import type { SeenShare, ShareChange, ShareListing, SharingService } from '../sharing/sharing_service.js';
import { type ShareId, shareKindNumber } from '../storage/metadata/share_records.js';
import type { OcsAnswer } from './ocs.js';
import { flag, type OcsParams, ocsParams, wholeNumber } from './ocs_params.js';

export const SHARES_PATH = /^apps\/files_sharing\/api\/v1\/shares(?:\/(pending(?:\/\d{1,15})?|inherited|\d{1,15}))?$/;

export interface ShareApi {
  readonly sharing: SharingService;
  readonly displayName: (userId: string) => string;
}

const KINDS: ReadonlyMap<string, 'user' | 'group' | 'link'> = new Map([
  ['0', 'user'],
  ['1', 'group'],
  ['3', 'link'],
]);

/** Answers; errors of the domain become the statuses of OCS. */
export async function sharesApi(
  context: RequestContext,
  user: User,
  path: string,
  given: ShareApi,
): Promise<OcsAnswer> {
  const api = { ...given, sharing: given.sharing.from(context.request.headers['user-agent']) };
  const id = SHARES_PATH.exec(path)?.[1];
  const { method } = context.request;
  try {
    if (id === 'inherited') return { status: 200, data: [] };
    const params = await ocsParams(context);
    const show = (seen: SeenShare) => describe(seen, context.origin, user, api.displayName);
    if (id?.startsWith('pending') === true)
      return await pendingApi(method, id.slice('pending/'.length), user, params, api, show);
    if (id === undefined) {
      if (method === 'GET' || method === 'HEAD') {
        return { status: 200, data: (await api.sharing.list(user, listingOf(params))).map(show) };
      }
      if (method === 'POST') return { status: 200, data: show(await create(user, params, api.sharing)) };
      return notPossible('GET, POST');
    }
    const shareId = Number(id) as ShareId;
    switch (method) {
      case 'GET':
      case 'HEAD': {
        const seen = await api.sharing.get(user, shareId);
        return seen === null
          ? { status: 404, message: 'Wrong share ID, share does not exist', data: [] }
          : { status: 200, data: [show(seen)] };
      }
      case 'PUT':
        return { status: 200, data: show(await api.sharing.change(user, shareId, changeOf(params))) };
      case 'DELETE':
        await api.sharing.remove(user, shareId);
        return { status: 200, data: [] };
      default:
        return notPossible('GET, PUT, DELETE');
    }
  } catch (error) {
    if (!isCloudError(error, 'exists')) throw error;
    return { status: 403, message: error.message, data: [] };
  }
}

/** As Nextcloud has it: `pending` lists, POST on one accepts, DELETE declines. PUT on the list, with `ask_first`, is ours:
 * whether this user is asked at all. */
async function pendingApi(
  method: string | undefined,
  id: string,
  user: User,
  params: OcsParams,
  { sharing }: ShareApi,
  show: (seen: SeenShare) => object,
): Promise<OcsAnswer> {
  const shareId = Number(id) as ShareId;
  if (id !== '') {
    if (method === 'POST') return { status: 200, data: show(await sharing.answer(user, shareId, 'accepted')) };
    if (method !== 'DELETE') return notPossible('POST, DELETE');
    await sharing.answer(user, shareId, 'declined');
    return { status: 200, data: [] };
  }
  if (method === 'PUT') {
    const asksFirst = flag(params, 'ask_first');
    if (asksFirst === undefined) throw new CloudError('invalid', 'ask_first: true or false is required');
    await sharing.setAsksFirst(user, asksFirst);
    return { status: 200, data: { ask_first: asksFirst } };
  }
  if (method !== 'GET' && method !== 'HEAD') return notPossible('GET, PUT');
  return { status: 200, data: (await sharing.list(user, { kind: 'pending' })).map(show) };
}

function notPossible(allow: string): OcsAnswer {
  return { status: 405, message: `Only ${allow} are possible here`, data: [] };
}

function listingOf(params: OcsParams): ShareListing {
  const path = params.get('path');
  const isReceived = flag(params, 'shared_with_me') === true;
  if (path === undefined || path === '') return { kind: isReceived ? 'received' : 'given' };
  if (isReceived) return { kind: 'received', path: namesOf(path) };
  if (flag(params, 'subfiles') === true) return { kind: 'in', path: namesOf(path) };
  return { kind: 'of', path: namesOf(path), all: flag(params, 'reshares') === true };
}

function create(user: User, params: OcsParams, sharing: SharingService): Promise<SeenShare> {
  const path = params.get('path');
  if (path === undefined || path === '') throw new CloudError('not_found', 'Please specify a file or folder path');
  const kind = KINDS.get(params.get('shareType') ?? '');
  if (kind === undefined) {
    throw new CloudError('invalid', 'shareType: 0 (user), 1 (group) or 3 (link) is required');
  }
  const recipient = params.get('shareWith');
  const change = changeOf(params);
  return sharing.create(user, {
    path: namesOf(path),
    kind,
    ...(recipient === undefined ? {} : { recipient }),
    ...change,
    permissions: change.permissions ?? null,
  });
}

function changeOf(params: OcsParams): ShareChange {
  const permissions = permissionsOf(params);
  const expires_ms = expiryOf(params.get('expireDate'));
  const password = params.get('password');
  const attributes = downloadAttribute(params.get('attributes'));
  const hide = flag(params, 'hideDownload') ?? flag(params, 'hide_download') ?? attributes;
  const limit = wholeNumber(params, 'max_downloads');
  const note = params.get('note');
  const label = params.get('label');
  const suspended = flag(params, 'suspended');
  return {
    ...(permissions === undefined ? {} : { permissions }),
    ...(note === undefined ? {} : { note }),
    ...(label === undefined ? {} : { label }),
    ...(expires_ms === undefined ? {} : { expires_ms }),
    ...(suspended === undefined ? {} : { suspended }),
    ...(password === undefined ? {} : { password: password === '' ? null : password }),
    ...(hide === undefined ? {} : { hideDownload: hide }),
    ...(params.has('max_downloads') ? { maxDownloads: limit ?? null } : {}),
  };
}

function permissionsOf(params: OcsParams): number | undefined {
  const role = params.get('role');
  if (role !== undefined) return LINK_ROLES.get(role as LinkRoleName) ?? rightsOfRole(role);
  const number = wholeNumber(params, 'permissions');
  if (number !== undefined) return number;
  const upload = flag(params, 'publicUpload');
  return upload === undefined ? undefined : upload ? 15 : 1;
}

/** Nextcloud's attribute `permissions/download` set to false says what `hideDownload` says. */
function downloadAttribute(text: string | undefined): boolean | undefined {
  if (text === undefined || text === '') return undefined;
  try {
    const list: unknown = JSON.parse(text);
    for (const item of Array.isArray(list) ? (list as unknown[]) : []) {
      const { scope, key, value, enabled } = item as Record<string, unknown>;
      if (scope === 'permissions' && key === 'download') return (value ?? enabled) === false;
    }
    return undefined;
  } catch {
    throw new CloudError('invalid', 'attributes: a JSON list is required');
  }
}

const DATE = /^(\d{4}-\d{2}-\d{2})(?:[ T](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(Z|[+-]\d{2}:\d{2})?)?$/;
const YEAR_10000_MS = Date.UTC(10_000, 0, 1);

/** `YYYY-MM-DD`: to the end of that day; with a time: to that moment; empty: no expiry. Undefined if not given. Where no zone
 * is said it is UTC, as it is told (`dateOf`): a client that saves what it was told changes nothing. */
function expiryOf(text: string | undefined): number | null | undefined {
  if (text === undefined) return undefined;
  if (text === '') return null;
  const [, day = '', time, zone] = DATE.exec(text) ?? [];
  const midnight_ms = Date.parse(`${day}T00:00:00Z`);
  const isDay = time === undefined || (time === '00:00:00' && zone === undefined);
  const ms = isDay ? midnight_ms + 86_400_000 : Date.parse(`${day}T${time}${zone ?? 'Z'}`);
  // Of a day that no month has, JavaScript makes another.
  const isReal = !Number.isNaN(ms) && ms <= YEAR_10000_MS && new Date(midnight_ms).toISOString().startsWith(day);
  if (isReal) return ms;
  throw new CloudError('invalid', `expireDate: a date like 2030-12-31 is required, found ${JSON.stringify(text)}`);
}

function namesOf(path: string): readonly Name[] {
  const names = path.split('/').filter((name) => name !== '');
  if (names.some((name) => name === '.' || name === '..' || name.includes('\0'))) {
    throw new CloudError('invalid', 'path: names other than "." and ".." are required');
  }
  return names as Name[];
}

function describe(
  { share, node, path, mine }: SeenShare,
  origin: string,
  user: User,
  displayName: (userId: string) => string,
): object {
  const { link } = share;
  const isDir = node.kind === 'dir';
  const at = path === null ? `/${node.name}` : `/${path.join('/')}`;
  const recipient = share.kind === 'link' ? (link?.passwordHash == null ? null : '***') : share.recipient;
  return {
    id: String(share.id),
    share_type: shareKindNumber(share.kind),
    uid_owner: share.sharerId,
    displayname_owner: displayName(share.sharerId),
    permissions: share.permissions,
    can_edit: mine,
    can_delete: mine,
    stime: Math.floor(share.created_ms / 1000),
    parent: null,
    expiration: share.expires_ms === null ? null : dateOf(share.expires_ms),
    token: mine ? (link?.token ?? null) : null,
    uid_file_owner: share.ownerId,
    note: share.note,
    label: share.label,
    displayname_file_owner: displayName(share.ownerId),
    path: at,
    item_type: isDir ? 'folder' : 'file',
    item_permissions: isDir ? 31 : FILE_RIGHTS,
    mimetype: isDir ? 'httpd/unix-directory' : contentTypeOf(node),
    has_preview: false,
    storage_id: `home::${share.ownerId}`,
    storage: node.rootId,
    item_source: node.id,
    file_source: node.id,
    file_parent: node.parentId,
    file_target: share.ownerId === user.id ? `/${node.name}` : at,
    item_size: node.size_bytes,
    item_mtime: node.mtime.s,
    share_with: recipient,
    share_with_displayname: share.kind === 'user' ? displayName(share.recipient) : recipient,
    ...(share.kind === 'user' ? { share_with_displayname_unique: share.recipient, status: [] } : {}),
    ...(share.kind === 'link'
      ? {
          password: recipient,
          send_password_by_talk: false,
          url: mine ? `${origin}/s/${link?.token ?? ''}` : null,
          max_downloads: link?.maxDownloads ?? null,
          downloads: link?.downloads ?? 0,
        }
      : {}),
    mail_send: 0,
    hide_download: link?.hideDownload === true ? 1 : 0,
    attributes: null,
    role: roleOf(share.permissions, !isDir),
    suspended: share.suspended,
    granted: share.granted,
  };
}

/** As Nextcloud writes it; the moment itself is midnight at the end of that day. */
function dateOf(ms: number): string {
  const isMidnight = ms % 86_400_000 === 0;
  const text = new Date(isMidnight ? ms - 86_400_000 : ms).toISOString();
  return `${text.slice(0, 10)} ${isMidnight ? '00:00:00' : text.slice(11, 19)}`;
}
