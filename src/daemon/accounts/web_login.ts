// Logging in on a page in a browser: Nextcloud's login flow v2, which our server has, too. The only way where the password
// alone does not do (a second factor, a login by another service).

import { setTimeout as sleep } from 'node:timers/promises';
import { CloudError, isCloudError } from '../../errors.js';
import { askServer, type ServerAddress } from './ask_server.js';

export interface WebLogin {
  /** To be opened in any browser. */
  readonly page: string;
  /** Resolves when somebody has logged in there. Rejects with `timeout` when nobody has for as long as servers wait. */
  readonly done: () => Promise<WebCredentials>;
}

export interface WebCredentials {
  readonly user: string;
  /** An app token. */
  readonly password: string;
}

/** How often the server is asked, and for how long: Nextcloud's pages and ours end then. */
const PACE = { poll_ms: 2_000, patience_ms: 20 * 60_000 };
const FORM = 'application/x-www-form-urlencoded';

/** `device` names what logs in. Rejects with `unsupported` where the server has no such page. */
export async function beginWebLogin(at: ServerAddress, device: string, pace = PACE): Promise<WebLogin> {
  const headers = { 'user-agent': device, accept: 'application/json' };
  const path = 'index.php/login/v2';
  const { status, body } = await askServer(at, { method: 'POST', path, headers });
  if (status === 429)
    throw new CloudError('busy_server', 'asking for a login page: too many were asked for; try later');
  const told = status === 200 ? parsed(body) : null;
  const poll = (told?.['poll'] ?? {}) as Record<string, unknown>;
  const [page, endpoint] = [pathOf(told?.['login']), pathOf(poll['endpoint'])];
  const { token } = poll;
  if (page === null || endpoint === null || typeof token !== 'string') {
    throw new CloudError(
      'unsupported',
      `asking for a login page: the server has none (status ${status}); log in with name and password`,
    );
  }
  const question = {
    method: 'POST',
    path: endpoint,
    headers: { ...headers, 'content-type': FORM },
    body: new URLSearchParams({ token }).toString(),
  } as const;
  return { page: new URL(page, at.url).href, done };

  async function done(): Promise<WebCredentials> {
    const until_ms = performance.now() + pace.patience_ms;
    while (performance.now() < until_ms) {
      await sleep(pace.poll_ms);
      const answer = await askServer(at, question).catch(unlessPassing);
      const found = answer?.status === 200 ? parsed(answer.body) : null;
      if (typeof found?.['loginName'] === 'string' && typeof found['appPassword'] === 'string') {
        return { user: found['loginName'], password: found['appPassword'] };
      }
    }
    throw new CloudError('timeout', 'waiting for the login on the page: nobody has logged in there in time');
  }
}

/** The network may come and go while somebody types. */
function unlessPassing(error: unknown): null {
  if (isCloudError(error, 'network') || isCloudError(error, 'timeout')) return null;
  throw error;
}

function parsed(body: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Without the server's idea of its own scheme and host, which a proxy may have got wrong: what was typed is right, and no
 * secret goes anywhere else. */
function pathOf(address: unknown): string | null {
  if (typeof address !== 'string' || !URL.canParse(address)) return null;
  const { pathname, search } = new URL(address);
  return pathname.replace(/^\/+/, '/') + search;
}
