// Trades the user's password for an app token, so that the password itself is never stored here, and gives the token
// back at logout. The calls are Nextcloud's (core/getapppassword, core/apppassword of the OCS API), which our server
// answers too; a server that does not know them keeps the password login.

import type { Log } from '../../log.js';
import { askServer, type ServerAddress } from './ask_server.js';

export interface ServerLogin extends ServerAddress {
  readonly user: string;
  readonly password: string;
}

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
  try {
    const { status, body } = await askServer(login, {
      method,
      path: `ocs/v2.php/${path}?format=json`,
      headers: {
        authorization: `Basic ${Buffer.from(`${login.user}:${login.password}`).toString('base64')}`,
        'ocs-apirequest': 'true',
        accept: 'application/json',
        // Servers name the token after the client.
        'user-agent': userAgent,
      },
    });
    return status === 200 ? body : null;
  } catch (error) {
    log.debug({ error }, 'asking for an app token');
    return null;
  }
}
