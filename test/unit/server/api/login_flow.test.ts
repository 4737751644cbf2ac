import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Answer, PASSWORD, TestServer } from './test_server.js';

let server: TestServer;

beforeEach(async () => {
  server = await TestServer.start();
});
afterEach(() => server.end());

interface Begun {
  readonly poll: { readonly token: string; readonly endpoint: string };
  readonly login: string;
}

const device = { 'user-agent': 'Mozilla/5.0 (Linux) mirall/3.7.3 (Nextcloud)' };

function anonymous(method: string, url: string, body?: string, headers: Record<string, string> = {}): Promise<Answer> {
  const { pathname, search } = new URL(url, server.url);
  return server.call(method, pathname + search, {
    user: null,
    headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }) },
    ...(body === undefined ? {} : { body }),
  });
}

async function begin(): Promise<Begun> {
  const answer = await anonymous('POST', '/index.php/login/v2', undefined, device);
  expect(answer.status).toBe(200);
  expect(answer.headers['cache-control']).toBe('no-store');
  return JSON.parse(answer.text) as Begun;
}

const poll = ({ poll: { endpoint, token } }: Begun) => anonymous('POST', endpoint, `token=${token}`);

const fillIn = (url: string, user = 'alice', password = PASSWORD) =>
  anonymous('POST', url, new URLSearchParams({ user, password }).toString());

const labels = async () => (await server.running.accounts.listTokens('alice')).map((token) => token.label);

test('a device that asks is let in on a page and then, once, told an app token that logs in', async () => {
  const begun = await begin();
  expect([begun.login, begun.poll.endpoint].every((url) => url.startsWith(`${server.url}/login/v2/`))).toBe(true);
  expect((await poll(begun)).status).toBe(404);
  const page = await anonymous('GET', begun.login);
  expect(page.status).toBe(200);
  expect(page.text).toContain('mirall/3.7.3');
  expect(page.headers).toMatchObject({ 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' });
  expect((await fillIn(begun.login)).text).toContain('can use your files now');
  const answer = await poll(begun);
  expect(answer.status).toBe(200);
  expect(answer.headers['cache-control']).toBe('no-store');
  const { appPassword: password, ...told } = JSON.parse(answer.text) as Record<string, string>;
  expect(told).toEqual({ server: server.url, loginName: 'Alice' });
  expect((await server.call('PROPFIND', '/webdav/', { password: password ?? '' })).status).toBe(207);
  expect(await labels()).toEqual([device['user-agent']]);
  expect((await poll(begun)).status).toBe(404);
  expect((await anonymous('GET', begun.login)).status).toBe(404);
  expect((await fillIn(begun.login)).status).toBe(404);
});

test('a device that shows the page itself is sent on to its own address', async () => {
  const path = '/index.php/login/flow';
  expect((await anonymous('GET', path)).text).toContain('name="password"');
  const body = new URLSearchParams({ user: 'alice', password: PASSWORD }).toString();
  const answer = await anonymous('POST', path, body, { 'user-agent': 'My phone' });
  expect(answer.status).toBe(303);
  const [, at, password = ''] =
    /^nc:\/\/login\/server:(.*)&user:Alice&password:(.*)$/.exec(answer.headers.location ?? '') ?? [];
  expect(at).toBe(server.url);
  expect((await server.call('PROPFIND', '/webdav/', { password })).status).toBe(207);
  expect(await labels()).toEqual(['My phone']);
});

test('nobody lets a device in who does not know the password of the account', async () => {
  const begun = await begin();
  const { secret } = await server.running.accounts.createToken('alice', 'a stolen phone');
  await server.running.accounts.update('bert', { isDisabled: true });
  const wrong: [string, string][] = [
    ['alice', 'wrong'],
    ['alice', ''],
    ['nobody', PASSWORD],
    ['bert', PASSWORD],
    ['alice', secret],
  ];
  for (const [user, password] of wrong) {
    const answer = await fillIn(begun.login, user, password);
    expect(answer.status).toBe(403);
    expect(answer.text).toContain('role="alert"');
    expect((await fillIn('/login/flow', user, password)).status).toBe(403);
  }
  expect((await poll(begun)).status).toBe(404);
  expect(await labels()).toEqual(['a stolen phone']);
});

test('guessing on the page is slowed down as it is elsewhere', async () => {
  const begun = await begin();
  const statuses: number[] = [];
  for (let i = 0; i < 11; i++) statuses.push((await fillIn(begun.login, 'alice', `wrong ${i}`)).status);
  expect(statuses.at(-1)).toBe(429);
  expect((await server.call('PROPFIND', '/webdav/', { password: 'wrong again' })).status).toBe(429);
});

test('what a device or a visitor calls itself is shown as text', async () => {
  const name = `<script>alert(1)</script>" onfocus="x`;
  const { login } = JSON.parse((await anonymous('POST', '/login/v2', '', { 'user-agent': name })).text) as Begun;
  expect((await anonymous('GET', login)).text).not.toContain('<script');
  const again = await fillIn(login, `"><script>`, 'wrong');
  expect(again.text).not.toContain('<script');
  expect(again.text).toContain('value="&quot;&gt;&lt;script&gt;"');
});

test('who has as many app tokens as there may be is told on the page', async () => {
  const begun = await begin();
  for (let i = 0; i < 1000; i++) await server.running.accounts.createToken('alice', `device ${i}`);
  const answer = await fillIn(begun.login);
  expect(answer.status).toBe(507);
  expect(answer.text).toContain('revoked');
  const [first] = await server.running.accounts.listTokens('alice');
  await server.running.accounts.revokeToken('alice', first?.id ?? 0);
  expect((await fillIn(begun.login)).status).toBe(200);
  expect((await poll(begun)).status).toBe(200);
});

test('only the methods of the flow are taken, and no more logins are begun than people begin', async () => {
  const {
    login,
    poll: { endpoint },
  } = await begin();
  expect((await anonymous('GET', '/index.php/login/v2')).status).toBe(405);
  expect((await anonymous('GET', endpoint)).status).toBe(405);
  expect((await anonymous('DELETE', login)).status).toBe(405);
  expect((await anonymous('POST', endpoint, `token=${'x'.repeat(9000)}`)).status).toBe(413);
  let status = 200;
  for (let i = 0; i < 200 && status === 200; i++) status = (await anonymous('POST', '/login/v2')).status;
  expect(status).toBe(429);
});
