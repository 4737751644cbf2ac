// Trades the user's password for an app token, so that the password itself is never stored here, and gives the token
// back at logout. The calls are Nextcloud's (core/getapppassword, core/apppassword of the OCS API), which our server
// answers too; a server that does not know them keeps the password login.

import { Agent, request } from 'undici';
import type { Log } from '../../log.js';
import type { TlsMaterial } from './tls_files.js';

export interface ServerLogin {
  /** What the user gave or the account holds. */
  readonly url: string;
  readonly user: string;
  readonly password: string;
  readonly tls: TlsMaterial;
}

const TIMEOUT_MS = 15_000;
const MAX_ANSWER_BYTES = 64 * 1024;

/** The token, or null if the server has none to give (or the password is one already). */
export async function requestAppToken(login: ServerLogin, userAgent: string, log: Log): Promise<string | null> {
  const answer = await ocs(login, 'GET', 'core/getapppassword', userAgent, log);
  if (answer === null) return null;
  try {
    const token = (JSON.parse(answer) as { ocs?: { data?: { apppassword?: unknown } } }).ocs?.data?.apppassword;
    return typeof token === 'string' && token !== '' ? token : null;
  } catch {
    return null;
  }
}

/** Revokes the token that `login` uses. False if the server did not confirm. */
export async function revokeAppToken(login: ServerLogin, userAgent: string, log: Log): Promise<boolean> {
  return (await ocs(login, 'DELETE', 'core/apppassword', userAgent, log)) !== null;
}

/** Body of a 200 answer, null for anything else. */
async function ocs(
  login: ServerLogin,
  method: 'GET' | 'DELETE',
  path: string,
  userAgent: string,
  log: Log,
): Promise<string | null> {
  const agent = new Agent({ connect: { ...login.tls, timeout: TIMEOUT_MS } });
  try {
    const answer = await request(`${serverBase(login.url)}ocs/v2.php/${path}?format=json`, {
      method,
      dispatcher: agent,
      headersTimeout: TIMEOUT_MS,
      bodyTimeout: TIMEOUT_MS,
      headers: {
        authorization: `Basic ${Buffer.from(`${login.user}:${login.password}`).toString('base64')}`,
        'ocs-apirequest': 'true',
        accept: 'application/json',
        // Servers name the token after the client.
        'user-agent': userAgent,
      },
    });
    let body = '';
    for await (const chunk of answer.body.setEncoding('utf8')) {
      body += chunk;
      if (body.length > MAX_ANSWER_BYTES) return null;
    }
    return answer.statusCode === 200 ? body : null;
  } catch (error) {
    log.debug({ error }, 'asking for an app token');
    return null;
  } finally {
    await agent.destroy();
  }
}

/** The server's own address out of any of its URLs: what comes before the WebDAV part. Ends in `/`. */
export function serverBase(url: string): string {
  const parsed = new URL(url);
  const path = parsed.pathname.replace(/\/(?:remote\.php|index\.php|public\.php|ocs|dav)(?:\/.*)?$/, '');
  return `${parsed.origin}${path.replace(/\/+$/, '')}/`;
}
