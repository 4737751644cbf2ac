// What a plain WebDAV server lets one do: told by `current-user-privilege-set`, or learned from what it refuses.

import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { createRemote, type WebdavRemote } from '../../../src/remote/connect.js';
import { ALL_RIGHTS } from '../../../src/remote/remote.js';
import { codeOf, path, put } from '../../contract/remote_contract.js';

let server: Server;
let remote: WebdavRemote;

afterEach(async () => {
  await remote.close();
  server.close();
});

interface Told {
  readonly classes: string;
  /** Privileges of the folder and of the file in it. */
  readonly folder?: readonly string[];
  readonly file?: readonly string[];
}

/** A server that lists `folder/` and `folder/file`, and refuses every change. */
async function start({ classes, folder, file }: Told): Promise<{ readonly asked: string[] }> {
  const asked: string[] = [];
  const set = (names: readonly string[] | undefined) =>
    names === undefined
      ? ''
      : `<d:current-user-privilege-set>${names.map((name) => `<d:privilege><d:${name}/></d:privilege>`).join('')}</d:current-user-privilege-set>`;
  const describe = (href: string, type: string, names: readonly string[] | undefined) =>
    `<d:response><d:href>${href}</d:href><d:propstat><d:prop><d:resourcetype>${type}</d:resourcetype><d:getcontentlength>3</d:getcontentlength><d:getetag>"e"</d:getetag><d:getlastmodified>Sun, 22 Nov 2026 00:00:00 GMT</d:getlastmodified>${set(names)}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>`;
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on('end', () => {
      const url = request.url ?? '/';
      if (request.method === 'OPTIONS') {
        response.writeHead(200, { dav: classes, server: 'Apache/2.4', 'content-length': '0' }).end();
      } else if (request.method === 'PROPFIND' && !/^\/(folder(\/(file)?)?)?$/.test(url)) {
        response.writeHead(404, { 'content-length': '0' }).end();
      } else if (request.method === 'PROPFIND') {
        asked.push(body);
        const parts = url.endsWith('/file')
          ? [describe('/folder/file', '', file)]
          : [
              describe(url.startsWith('/folder') ? '/folder/' : '/', '<d:collection/>', folder),
              ...(request.headers['depth'] === '0' || !url.startsWith('/folder')
                ? []
                : [describe('/folder/file', '', file)]),
            ];
        response.writeHead(207, { 'content-type': 'application/xml' });
        response.end(`<?xml version="1.0"?><d:multistatus xmlns:d="DAV:">${parts.join('')}</d:multistatus>`);
      } else response.writeHead(403, { 'content-length': '0' }).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  remote = createRemote({ url: `http://127.0.0.1:${port}/`, auth: { kind: 'none' }, timeout_ms: 5_000 });
  await remote.connect();
  return { asked };
}

it('privileges are asked for where the server has access control, and taken for what they say', async () => {
  const { asked } = await start({
    classes: '1, 2, access-control',
    folder: ['read', 'bind'],
    file: ['read', 'read-acl'],
  });
  const entries = new Map<string, typeof ALL_RIGHTS>();
  for await (const batch of remote.list(path('folder')))
    for (const entry of batch) entries.set(entry.path, entry.rights);
  expect(asked.at(-1)).toContain('current-user-privilege-set');
  expect(entries.get('folder')).toMatchObject({ read: true, createFile: true, createDir: true, remove: true });
  expect(entries.get('folder/file')).toMatchObject({ read: true, write: false, remove: false, rename: false });
});

it('write stands for all it contains, all for everything', async () => {
  await start({ classes: '1, access-control', folder: ['all'], file: ['read', 'write'] });
  expect((await remote.stat(path('folder/file'))).rights).toMatchObject({ read: true, write: true, remove: true });
  expect((await remote.stat(path('folder'))).rights).toMatchObject({ read: true, createFile: true, createDir: true });
});

it('what a server without them refuses is remembered of just that place', async () => {
  const { asked } = await start({ classes: '1, 2' });
  expect((await remote.stat(path('folder/file'))).rights).toEqual(ALL_RIGHTS);
  expect(asked.at(-1)).not.toContain('current-user-privilege-set');
  expect(await codeOf(put(remote, path('folder/file'), 'new', { kind: 'if_match', etag: '"e"' }))).toBe('no_access');
  expect((await remote.stat(path('folder/file'))).rights).toEqual({ ...ALL_RIGHTS, write: false });
  expect((await remote.stat(path('folder'))).rights).toEqual(ALL_RIGHTS);
  expect(await codeOf(put(remote, path('folder/new'), 'new', { kind: 'if_absent' }))).toBe('no_access');
  expect(await codeOf(remote.mkdir(path('folder/dir'), {}))).toBe('no_access');
  expect((await remote.stat(path('folder'))).rights).toEqual({ ...ALL_RIGHTS, createFile: false, createDir: false });
  expect(await codeOf(remote.remove(path('folder/file'), '"e"'))).toBe('no_access');
  expect((await remote.stat(path('folder/file'))).rights).toMatchObject({ write: false, remove: false, read: true });
});
