import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { beginWebLogin } from '../../../src/daemon/accounts/web_login.js';

const PACE = { poll_ms: 5, patience_ms: 10_000 };
const GRANTED = JSON.stringify({ server: 'http://inside', loginName: 'anna', appPassword: 'a token' });

interface Asked {
  readonly method: string;
  readonly url: string;
  readonly device: string;
  readonly body: string;
}

type Handler = (asked: Asked, response: ServerResponse) => void;
let handle: Handler;
let asked: Asked[];
let url: string;
const server = createServer(async (request: IncomingMessage, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const { method = '', headers } = request;
  const one = { method, url: request.url ?? '', device: headers['user-agent'] ?? '', body };
  asked.push(one);
  handle(one, response);
});

beforeEach(async () => {
  asked = [];
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/cloud/`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const begun = (over: object = {}) =>
  JSON.stringify({
    poll: { token: 'the token', endpoint: 'http://inside:8080/cloud/login/v2/poll' },
    login: 'http://inside:8080/cloud/login/v2/flow/abc',
    ...over,
  });

/** Begins, then answers what the device asks with these, the last one for ever. */
function answers(...polls: readonly ((response: ServerResponse) => void)[]): void {
  let n = 0;
  handle = (one, response) => {
    if (one.url.endsWith('/index.php/login/v2')) response.end(begun());
    else polls[Math.min(n++, polls.length - 1)]?.(response);
  };
}
const notYet = (response: ServerResponse) => response.writeHead(404).end('[]');

test('the page and all questions are at the address that was given, whatever the server takes for its own', async () => {
  answers(notYet, notYet, (response) => response.end(GRANTED));
  const web = await beginWebLogin({ url, tls: {} }, 'my laptop', PACE);
  expect(web.page).toBe(`${url}login/v2/flow/abc`);
  expect(await web.done()).toEqual({ user: 'anna', password: 'a token' });
  expect(asked.map((one) => `${one.method} ${one.url} ${one.device}`)).toEqual([
    'POST /cloud/index.php/login/v2 my laptop',
    ...Array(3).fill('POST /cloud/login/v2/poll my laptop'),
  ]);
  expect(asked.at(-1)?.body).toBe('token=the+token');
});

test('a page that names another host by a path is still asked for here', async () => {
  handle = (_one, response) => response.end(begun({ login: 'http://inside//elsewhere.example/x' }));
  expect((await beginWebLogin({ url, tls: {} }, 'my laptop', PACE)).page).toBe(
    new URL('/elsewhere.example/x', url).href,
  );
});

test('a network that comes and goes, and a server that is busy for a moment, do not end it', async () => {
  answers(
    (response) => response.destroy(),
    (response) => response.writeHead(503).end('<html>'),
    (response) => response.end('no JSON'),
    (response) => response.end('[]'),
    (response) => response.end(GRANTED),
  );
  const web = await beginWebLogin({ url, tls: {} }, 'my laptop', PACE);
  expect((await web.done()).user).toBe('anna');
});

test('it ends when nobody logs in', async () => {
  answers(notYet);
  const web = await beginWebLogin({ url, tls: {} }, 'my laptop', { poll_ms: 5, patience_ms: 30 });
  await expect(web.done()).rejects.toMatchObject({ code: 'timeout' });
});

test.each([
  ['has no such page', (response: ServerResponse) => response.writeHead(404).end('<html>')],
  ['answers something else', (response: ServerResponse) => response.end('{"poll":{"token":7},"login":"x"}')],
  ['answers a list', (response: ServerResponse) => response.end('[]')],
])('a server that %s is said to have none', async (_what, answer) => {
  handle = (_one, response) => answer(response);
  await expect(beginWebLogin({ url, tls: {} }, 'my laptop', PACE)).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining('log in with name and password') as string,
  });
});

test('an answer without end is not read', async () => {
  handle = (_one, response) => response.end(Buffer.alloc(200_000, 'x'));
  await expect(beginWebLogin({ url, tls: {} }, 'my laptop', PACE)).rejects.toMatchObject({ code: 'too_large' });
});
