// A body may come for hours: what its sender has logged in with must count at its end, too.

import { request } from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { basic, PASSWORD, TestServer } from '../api/test_server.js';

let server: TestServer;

beforeEach(async () => {
  server = await TestServer.start();
  expect((await server.call('PUT', '/webdav/f', { body: 'before' })).status).toBe(201);
});
afterEach(() => server.end());

/** Answers to a PUT, half of whose body comes before `meanwhile`. */
async function put(authorization: string | null, path: string, meanwhile: () => Promise<unknown>) {
  const headers = { 'content-length': 200_000, ...(authorization === null ? {} : { authorization }) };
  const sent = request({ port: server.port, method: 'PUT', path, headers: { ...headers, expect: '100-continue' } });
  const answered = new Promise<{ status: number; challenge: string | undefined }>((resolve, reject) => {
    sent.on('response', (answer) => {
      resolve({ status: answer.resume().statusCode ?? 0, challenge: answer.headers['www-authenticate'] });
    });
    sent.on('error', reject);
  });
  await new Promise((resolve) => sent.on('continue', resolve)); // it has been let in
  sent.write(Buffer.alloc(100_000));
  await meanwhile();
  sent.end(Buffer.alloc(100_000));
  return await answered;
}

const content = async () => (await server.call('GET', '/webdav/f', { password: 'another password' })).body.length;
const refused = { status: 401, challenge: expect.stringMatching(/^Basic /) };

test('a token that is revoked meanwhile stores nothing; another of the same user goes on', async () => {
  const { accounts } = server.running;
  const [one, other] = [await accounts.createToken('alice', 'one'), await accounts.createToken('alice', 'other')];
  let waiting = 4;
  let revoked = (): void => undefined;
  const done = new Promise<void>((resolve) => {
    revoked = resolve;
  });
  // When all have been let in.
  const revoke = async () => {
    waiting -= 1;
    if (waiting === 0) await accounts.revokeToken('alice', one.token.id).then(revoked);
    await done;
  };
  const answers = await Promise.all([
    put(basic('alice', one.secret), '/webdav/f', revoke),
    put(`Bearer ${one.secret}`, '/webdav/g', revoke),
    put(`Bearer ${other.secret}`, '/webdav/h', revoke),
    put(basic('alice'), '/webdav/i', revoke),
  ]);
  expect(answers).toMatchObject([refused, refused, { status: 201 }, { status: 201 }]);
  expect((await server.call('GET', '/webdav/f')).text).toBe('before');
  expect((await server.call('GET', '/webdav/g')).status).toBe(404);
});

test('a password that is changed meanwhile stores nothing; a token goes on', async () => {
  const { accounts } = server.running;
  const { secret } = await accounts.createToken('alice', 'one');
  const change = () => accounts.setPassword('alice', 'another password');
  expect(await put(basic('alice', PASSWORD), '/webdav/f', change)).toMatchObject(refused);
  expect(await content()).toBe('before'.length);
  const again = () => accounts.setPassword('alice', PASSWORD);
  expect(await put(`Bearer ${secret}`, '/webdav/f', again)).toMatchObject({ status: 204 });
});

test('a user of the same name who came after is not the one who sent it', async () => {
  const { accounts } = server.running;
  const replace = async () => {
    await accounts.remove('alice', 'keep');
    await accounts.create({ name: 'alice', password: 'another password', adoptFiles: true });
  };
  expect(await put(basic('alice'), '/webdav/f', replace)).toMatchObject(refused);
  expect(await content()).toBe('before'.length);
});

test('a link that gets a password meanwhile takes nothing from who came without', async () => {
  const headers = { 'ocs-apirequest': 'true', 'content-type': 'application/x-www-form-urlencoded' };
  const shares = '/ocs/v2.php/apps/files_sharing/api/v1/shares';
  expect((await server.call('MKCOL', '/webdav/open')).status).toBe(201);
  const made = await server.call('POST', `${shares}?format=json`, {
    headers,
    body: 'path=/open&shareType=3&permissions=15',
  });
  const { id, token } = JSON.parse(made.text).ocs.data;
  const lock = async () => {
    const changed = await server.call('PUT', `${shares}/${id}`, { headers, body: `password=${PASSWORD}` });
    expect(changed.status).toBe(200);
  };
  const path = `/public.php/dav/files/${token}/f`;
  expect(await put(null, path, async () => undefined)).toMatchObject({ status: 201 });
  expect(await put(null, `${path}2`, lock)).toMatchObject({ status: 404 });
  expect((await server.call('GET', '/webdav/open/f2')).status).toBe(404);
});
