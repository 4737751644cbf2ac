import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createRemote, type WebdavRemote } from '../../../src/remote/connect.js';
import { codeOf, path } from '../../contract/remote_contract.js';

// A server that tells the version of a file in its listings and not with its bytes, as lighttpd does for files of a kind it
// does not know; and one that then sends without end.

let server: Server;
let remote: WebdavRemote;
let sent = 0;

function entry(href: string, props: string): string {
  return `<d:response><d:href>${href}</d:href><d:propstat><d:prop>${props}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>`;
}

beforeEach(async () => {
  sent = 0;
  server = createServer((request, response) => {
    request.resume();
    if (request.method === 'OPTIONS') return response.writeHead(200, { dav: '1,2,3', server: 'lighttpd/1.4.69' }).end();
    if (request.method === 'PROPFIND') {
      const one =
        request.url === '/'
          ? entry('/', '<d:resourcetype><d:collection/></d:resourcetype>')
          : entry('/a', '<d:resourcetype/><d:getetag>"1"</d:getetag><d:getcontentlength>10</d:getcontentlength>');
      return response
        .writeHead(207, { 'content-type': 'application/xml' })
        .end(`<d:multistatus xmlns:d="DAV:">${one}</d:multistatus>`);
    }
    if (request.method !== 'GET' || request.url !== '/a') return response.writeHead(404).end();
    response.writeHead(206, { 'content-range': 'bytes 0-9/10' });
    const more = () => {
      while (!response.destroyed && sent < 256 * 1024 ** 2) {
        sent += 65_536;
        if (!response.write(Buffer.alloc(65_536))) return;
      }
      response.end();
    };
    response.on('drain', more);
    return more();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  remote = createRemote({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    auth: { kind: 'none' },
    timeout_ms: 5000,
  });
  await remote.connect();
});

afterEach(async () => {
  await remote.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

it('keeps no more of an answer than was asked for', async () => {
  const reading = remote.read(path('a'), { start: 0, end: 10 }, '"1"', () => undefined);
  expect(await codeOf(reading)).toBe('protocol');
  expect(sent).toBeLessThan(32 * 1024 ** 2);
});
