// Where the server and the files are, out of an account's address.

import { type AddressInfo, createServer } from 'node:net';
import { expect, test } from 'vitest';
import type { Context } from '../../../bin/cli/context.js';
import { OcsClient, serverOf, subfolderOf } from '../../../bin/cli/ocs_client.js';
import type { Account } from '../../../src/daemon/accounts/account_book.js';

test.each([
  ['https://cloud.example.org', 'https://cloud.example.org', ''],
  ['https://cloud.example.org/nextcloud/', 'https://cloud.example.org/nextcloud', ''],
  ['https://c.org/remote.php/dav/files/anna/', 'https://c.org', ''],
  ['https://c.org/nc/remote.php/dav/files/anna/Some%20Folder/', 'https://c.org/nc', '/Some Folder'],
  ['http://127.0.0.1:8080/dav/files/anna', 'http://127.0.0.1:8080', ''],
  ['https://c.org/remote.php/webdav/Plans', 'https://c.org', '/Plans'],
])('%s', (url, server, folder) => {
  expect(serverOf(url)).toBe(server);
  expect(subfolderOf(url)).toBe(folder);
});

test('a server that does not answer is told as the drive tells it', async () => {
  const closed = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => closed.once('listening', done));
  const { port } = closed.address() as AddressInfo;
  await new Promise((done) => closed.close(done));
  const context = { credentials: { get: async () => 'secret' } } as unknown as Context;
  const client = await OcsClient.open(context, { url: `http://127.0.0.1:${port}/`, user: 'anna', tls: {} } as Account);
  await expect(client.call('GET', 'apps')).rejects.toMatchObject({
    code: 'network',
    message: expect.stringMatching(/^asking \S+: nothing answers there; does the server run\?/) as string,
  });
  await client.close();
});
