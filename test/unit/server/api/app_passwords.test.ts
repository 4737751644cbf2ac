import { afterEach, beforeEach, expect, test } from 'vitest';
import { TestServer } from './test_server.js';

let server: TestServer;

beforeEach(async () => {
  server = await TestServer.start();
});
afterEach(() => server.end());

const GET = '/ocs/v2.php/core/getapppassword?format=json';
const DELETE = '/ocs/v2.php/core/apppassword?format=json';
const ocs = { 'ocs-apirequest': 'true', 'user-agent': 'my laptop' };

async function trade(): Promise<string> {
  const answer = await server.call('GET', GET, { headers: ocs });
  expect(answer.status).toBe(200);
  expect(answer.headers['cache-control']).toBe('no-store');
  return (JSON.parse(answer.text) as { ocs: { data: { apppassword: string } } }).ocs.data.apppassword;
}

test('a password is traded for a token named after the client, which logs in and is given back', async () => {
  const password = await trade();
  expect((await server.call('PROPFIND', '/webdav/', { password })).status).toBe(207);
  expect((await server.running.accounts.listTokens('alice')).map((token) => token.label)).toEqual(['my laptop']);
  expect((await server.call('DELETE', DELETE, { password, headers: ocs })).status).toBe(200);
  expect((await server.call('PROPFIND', '/webdav/', { password })).status).toBe(401);
  expect(await server.running.accounts.listTokens('alice')).toEqual([]);
});

test('a token makes no further tokens, and a password cannot be given back', async () => {
  const password = await trade();
  expect((await server.call('GET', GET, { password, headers: ocs })).status).toBe(403);
  expect((await server.call('DELETE', DELETE, { headers: ocs })).status).toBe(403);
  expect(await server.running.accounts.listTokens('alice')).toHaveLength(1);
});

test('a web page cannot have a logged-in browser do it', async () => {
  const password = await trade();
  expect((await server.call('GET', GET)).status).toBe(412);
  expect((await server.call('DELETE', DELETE, { password })).status).toBe(412);
  expect((await server.call('POST', GET, { headers: ocs })).status).toBe(405);
  expect(await server.running.accounts.listTokens('alice')).toHaveLength(1);
});

test('nobody gets one without logging in', async () => {
  expect((await server.call('GET', GET, { user: null, headers: ocs })).status).toBe(401);
  expect((await server.call('GET', GET, { password: 'wrong password', headers: ocs })).status).toBe(401);
});
