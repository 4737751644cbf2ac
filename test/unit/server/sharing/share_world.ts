// A server with a few people and groups for the tests of sharing, and short ways to ask it.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { type Clock, systemClock } from '../../../../src/clock.js';
import { silentLog } from '../../../../src/log.js';
import { type RunningServer, startServer } from '../../../../src/server/server.js';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

export interface Ask {
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

export interface OcsReply<T> {
  readonly status: number;
  readonly data: T;
  readonly message: string | null;
}

/** Of the sharing API, what tests look at. */
export interface SharedItem {
  readonly id: string;
  readonly share_type: number;
  readonly permissions: number;
  readonly path: string;
  readonly token: string | null;
  readonly url: string | null;
  readonly share_with: string | null;
  readonly uid_owner: string;
  readonly uid_file_owner: string;
  readonly item_source: number;
  readonly expiration: string | null;
  readonly note: string;
  readonly label: string;
  readonly suspended: boolean;
  readonly downloads: number;
}

export interface ShareWorld {
  readonly server: RunningServer;
  /** Its data folder. */
  readonly dir: string;
  readonly url: string;
  /** In the tree of `user`; `path` not encoded, without a slash in front. */
  dav(user: string, method: string, path: string, options?: Ask): Promise<Answer>;
  /** Any path of the server, with or without a user. */
  raw(user: string | null, method: string, path: string, options?: Ask): Promise<Answer>;
  ocs<T = SharedItem>(
    user: string,
    method: string,
    path: string,
    params?: Record<string, string>,
  ): Promise<OcsReply<T>>;
  share(user: string, path: string, params: Record<string, string>): Promise<SharedItem>;
  /** Names in a collection, sorted. */
  list(user: string, path?: string): Promise<readonly string[]>;
  /** One property, null if the node does not have it. */
  prop(user: string, path: string, name: string): Promise<string | null>;
  /** sync-collection of a whole tree: `+path` and `-path`, sorted. */
  sync(
    user: string,
    token: string,
    path?: string,
    limit?: number,
  ): Promise<{ readonly token: string; readonly lines: string[]; readonly more: boolean }>;
  urlOf(user: string, path: string): string;
  /** The user's app token. */
  secretOf(user: string): string;
  close(): Promise<void>;
}

export const PEOPLE = ['anna', 'bert', 'carl', 'dora'] as const;

export async function shareWorld(options: { readonly clock?: Clock } = {}): Promise<ShareWorld> {
  const dir = await mkdtemp(join(tmpdir(), 'cloudmount-share-'));
  const server = await startServer({
    dataDir: dir,
    listen: { host: '127.0.0.1', port: 0 },
    log: { ...silentLog, error: (fields, message) => console.error(message, fields) },
    clock: options.clock ?? systemClock,
  });
  const agent = new Agent({ connections: 8 });
  const secrets = new Map<string, string>();
  for (const name of PEOPLE) {
    await server.accounts.create({
      name,
      password: null,
      displayName: `${name[0]?.toUpperCase()}${name.slice(1)} Example`,
    });
    secrets.set(name, (await server.accounts.createToken(name, 'test')).secret);
  }
  const auth = (user: string | null): Record<string, string> => {
    if (user === null) return {};
    const secret = user.includes(':') ? user : `${user}:${secrets.get(user) ?? 'none'}`;
    return { authorization: `Basic ${Buffer.from(secret).toString('base64')}` };
  };
  const raw = async (user: string | null, method: string, path: string, { headers = {}, body }: Ask = {}) => {
    const answer = await request(server.url + path, {
      method: method as 'GET',
      headers: { ...auth(user), ...headers },
      body: body ?? null,
      dispatcher: agent,
    });
    return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() };
  };
  const encode = (path: string) => path.split('/').map(encodeURIComponent).join('/');
  const dav = (user: string, method: string, path: string, ask?: Ask) =>
    raw(user, method, `/dav/files/${user}/${encode(path)}`, ask);
  const ocs = async <T>(user: string, method: string, path: string, params: Record<string, string> = {}) => {
    const isRead = method === 'GET';
    const query = new URLSearchParams({ format: 'json', ...(isRead ? params : {}) });
    const answer = await raw(user, method, `/ocs/v2.php/apps/files_sharing/api/v1/${path}?${query}`, {
      headers: { 'OCS-APIRequest': 'true', 'Content-Type': 'application/x-www-form-urlencoded' },
      ...(isRead ? {} : { body: new URLSearchParams(params).toString() }),
    });
    const { ocs: inner } = JSON.parse(answer.text) as { ocs: { meta: { message: string | null }; data: T } };
    return { status: answer.status, data: inner.data, message: inner.meta.message };
  };
  const hrefs = (user: string, text: string) =>
    [...text.matchAll(/<d:response><d:href>([^<]*)<\/d:href>(<d:status>HTTP\/1.1 (\d+))?/g)].map(
      ([, href = '', , status]) => ({
        path: decodeURIComponent(href).slice(`/dav/files/${user}/`.length),
        status: status === undefined ? 200 : Number(status),
      }),
    );
  return {
    server,
    dir,
    url: server.url,
    dav,
    raw,
    ocs,
    secretOf: (user) => secrets.get(user) ?? '',
    urlOf: (user, path) => `${server.url}/dav/files/${user}/${encode(path)}`,
    async share(user, path, params) {
      const answer = await ocs<SharedItem>(user, 'POST', 'shares', { path: `/${path}`, ...params });
      if (answer.status !== 200) throw new Error(`sharing ${path}: ${answer.status} ${answer.message}`);
      return answer.data;
    },
    async list(user, path = '') {
      const slash = path === '' ? '' : `${path}/`;
      const answer = await dav(user, 'PROPFIND', slash, { headers: { Depth: '1' } });
      if (answer.status !== 207) throw new Error(`listing ${path}: ${answer.status}`);
      return hrefs(user, answer.text)
        .map((entry) => entry.path.slice(slash.length))
        .filter((name) => name !== '')
        .sort();
    },
    async prop(user, path, name) {
      const body = `<d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns" xmlns:nc="http://nextcloud.org/ns"><d:prop><${name}/></d:prop></d:propfind>`;
      const answer = await dav(user, 'PROPFIND', path, { headers: { Depth: '0' }, body });
      if (answer.status !== 207) throw new Error(`${name} of ${path}: ${answer.status}`);
      if (answer.text.includes('404 Not Found')) return null;
      return new RegExp(`<${name}>(.*)</${name}>`, 's').exec(answer.text)?.[1] ?? '';
    },
    async sync(user, token, path = '', limit) {
      const page = limit === undefined ? '' : `<d:limit><d:nresults>${limit}</d:nresults></d:limit>`;
      const body = `<d:sync-collection xmlns:d="DAV:"><d:sync-token>${token}</d:sync-token><d:sync-level>infinite</d:sync-level>${page}<d:prop><d:getetag/></d:prop></d:sync-collection>`;
      const answer = await dav(user, 'REPORT', path, { body });
      if (answer.status !== 207) throw new Error(`sync of ${path}: ${answer.status} ${answer.text}`);
      const all = hrefs(user, answer.text);
      return {
        token: /<d:sync-token>([^<]*)</.exec(answer.text)?.[1] ?? '',
        more: all.some(({ status }) => status === 507),
        lines: [
          ...new Set(all.filter(({ status }) => status !== 507).map((e) => `${e.status === 404 ? '-' : '+'}${e.path}`)),
        ].sort(),
      };
    },
    async close() {
      await agent.close();
      await server.close({ graceful_ms: 2000 });
      await rm(dir, { recursive: true, force: true });
    },
  };
}
