// The activity of a Nextcloud: filtered by file only under `/filter`, 304 without an envelope where nothing is left.

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Context } from '../../../bin/cli/context.js';
import { OcsClient } from '../../../bin/cli/ocs_client.js';
import { type Account, AccountBook } from '../../../src/daemon/accounts/account_book.js';
import { Credentials } from '../../../src/daemon/accounts/credential_store.js';
import { silentLog } from '../../../src/log.js';

let dir = '';
let server: Server;
let client: OcsClient;
const asked: string[] = [];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cm-activity-'));
  asked.length = 0;
  server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://x');
    asked.push(url.pathname);
    if (url.searchParams.has('since')) {
      response.writeHead(304).end();
      return;
    }
    const data = [{ activity_id: 9, datetime: '2026-01-01T00:00:00+00:00', subject: 'You changed a.txt' }];
    response.setHeader('X-Activity-Last-Given', '7'); // two more are told with the first
    response.end(JSON.stringify({ ocs: { meta: { statuscode: 200, message: 'OK' }, data } }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const dirs = { config: join(dir, 'c'), data: join(dir, 'd'), state: join(dir, 's'), runtime: join(dir, 'r') };
  const context: Context = {
    dirs,
    accounts: new AccountBook(dirs.config),
    credentials: new Credentials(dirs.config, silentLog),
  };
  const account: Account = {
    name: 'work',
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/nc/`,
    user: 'anna',
    credential: 'file',
    appToken: true,
    tls: {},
    addedAt: '2026-01-01T00:00:00.000Z',
  };
  await context.credentials.set('work', 'token', 'file');
  client = await OcsClient.open(context, account);
});
afterEach(async () => {
  await client.close();
  await new Promise((resolve) => server.close(resolve));
  await rm(dir, { recursive: true });
});

it('says where the next page begins, and that there is none', async () => {
  const first = await client.activity({ limit: '200' });
  expect(first.items).toHaveLength(1);
  expect(first.since).toBe('7');
  expect(await client.activity({ limit: '200', since: first.since })).toEqual({ items: [], since: '' });
  expect(asked).toEqual(Array(2).fill('/nc/ocs/v2.php/apps/activity/api/v2/activity'));
});

it('asks for one file where the server heeds it', async () => {
  await client.activity({ object_type: 'files', object_id: '12' });
  expect(asked).toEqual(['/nc/ocs/v2.php/apps/activity/api/v2/activity/filter']);
});
