// Trading a password for an app token and giving one back: Nextcloud's `core/getapppassword` and `core/apppassword`, which
// clients call so that the password itself need not be kept on the device. The header every OCS client sends is required:
// a web page elsewhere cannot send it, so it cannot make a browser that is logged in create or end tokens.

import type { AccountStore } from '../accounts/account_store.js';
import type { Principal } from '../auth/authenticator.js';
import { parseAuthorization } from '../auth/credentials.js';
import type { RequestContext } from '../http_context.js';
import type { OcsAnswer } from './ocs.js';

const LABEL_CHARS = 100;

/** Null if `path` is neither of the two. */
export async function appPasswords(
  context: RequestContext,
  path: string,
  principal: Principal,
  accounts: AccountStore,
): Promise<OcsAnswer | null> {
  const { method, headers } = context.request;
  const wanted = { 'core/getapppassword': 'GET', 'core/apppassword': 'DELETE' }[path];
  if (wanted === undefined) return null;
  if (method !== wanted) return { status: 405, message: `Only ${wanted} is possible here`, data: [] };
  if (headers['ocs-apirequest'] !== 'true') {
    return { status: 412, message: 'The header OCS-APIRequest: true is required', data: [] };
  }
  return path === 'core/getapppassword'
    ? create(principal, accounts, headers['user-agent'])
    : revoke(principal, accounts, headers.authorization);
}

async function create(principal: Principal, accounts: AccountStore, userAgent: string | undefined): Promise<OcsAnswer> {
  if (principal.via !== 'password') {
    return { status: 403, message: 'This is an app password already; log in with the password', data: [] };
  }
  const { secret } = await accounts.createToken(principal.user.name, labelOf(userAgent));
  return { status: 200, data: { apppassword: secret } };
}

async function revoke(
  principal: Principal,
  accounts: AccountStore,
  authorization: string | undefined,
): Promise<OcsAnswer> {
  const secret = parseAuthorization(authorization)?.secret;
  const record = principal.via === 'token' && secret !== undefined ? await accounts.tokenRecord(secret) : null;
  if (record === null) return { status: 403, message: 'Only an app password can be given back', data: [] };
  await accounts.revokeToken(principal.user.name, record.token.id);
  return { status: 200, data: [] };
}

/** Devices are told apart by what they call themselves. */
export function labelOf(userAgent: string | undefined): string {
  const label = [...(userAgent ?? '').replaceAll(/\p{Cc}/gu, ' ')].slice(0, LABEL_CHARS).join('').trim();
  return label === '' ? 'unnamed device' : label;
}
