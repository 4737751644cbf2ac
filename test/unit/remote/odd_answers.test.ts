// Answers that are legal and seldom, and one that comes from somebody in between.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRemote, type WebdavRemote } from '../../../src/remote/connect.js';
import { codeOf, path, put, readAll, readPart } from '../../contract/remote_contract.js';
import { type PlainServer, startPlainServer } from '../../support/plain_server.js';

let server: PlainServer;
let remote: WebdavRemote;

beforeEach(async () => {
  server = await startPlainServer();
  remote = createRemote({ url: server.url, auth: { kind: 'none' }, timeout_ms: 2000 });
  await remote.connect();
});

afterEach(async () => {
  await remote.close();
  await server.close();
});

function answering(method: string, answer: (request: IncomingMessage, response: ServerResponse) => boolean): void {
  server.before = (request, response) => request.method === method && answer(request, response);
}

describe('a range of which less comes than was asked for', () => {
  const text = 'abcdefghijklmnopqrstuvwxyz';
  const atMost = (limit: number, sent = limit) =>
    answering('GET', (request, response) => {
      const [start = 0, last = 0] = (request.headers.range ?? '').slice('bytes='.length).split('-').map(Number);
      const part = text.slice(start, Math.min(start + limit, last + 1));
      const headers = { etag: '"t2"', 'content-range': `bytes ${start}-${start + part.length - 1}/${text.length}` };
      return response.writeHead(206, headers).end(part + 'x'.repeat(sent - limit)) !== null;
    });

  it('is asked for the rest', async () => {
    server.write('a', text);
    atMost(10);
    expect((await readAll(remote, 'a')).toString()).toBe(text);
    const { etag } = await remote.stat(path('a'));
    expect((await readPart(remote, 'a', 3, 24, etag)).toString()).toBe(text.slice(3, 24));
  });

  it('nothing more is taken than it says it is', async () => {
    server.write('a', text);
    atMost(10, 12);
    expect(await codeOf(readAll(remote, 'a'))).toBe('protocol');
  });
});

describe('a web page with a version of its own', () => {
  const page = () =>
    answering('GET', (_, response) => {
      response.writeHead(200, { 'content-type': 'text/html', etag: '"page"' }).end('<html>Sign in</html>');
      return true;
    });

  it('is not the file changed: it is trouble with the connection', async () => {
    server.write('a', 'text');
    page();
    expect(await codeOf(readAll(remote, 'a'))).toBe('protocol');
  });

  it('is the file changed where that has another version', async () => {
    server.write('a', 'text');
    const { etag } = await remote.stat(path('a'));
    server.write('a', 'other');
    page();
    expect(await codeOf(remote.read(path('a'), { start: 0, end: 4 }, etag, () => undefined))).toBe('stale');
  });
});

describe.each(['DELETE', 'MOVE'])('%s', (method) => {
  const change = () =>
    method === 'DELETE'
      ? remote.remove(path('a'), null)
      : remote.move(path('a'), path('b'), { overwrite: null, sourceEtag: null });
  const done = () => (method === 'DELETE' ? [] : ['b']);

  beforeEach(() => server.write('a', null));

  const really = () => {
    server.remove('a');
    if (method === 'MOVE') server.write('b', null);
  };

  it('is done where a 207 tells of no failure', async () => {
    answering(method, (_, response) => {
      really();
      const one = '<d:response><d:href>/a/</d:href><d:status>HTTP/1.1 204 No Content</d:status></d:response>';
      response.writeHead(207, { 'content-type': 'application/xml' });
      return response.end(`<d:multistatus xmlns:d="DAV:">${one}</d:multistatus>`) !== null;
    });
    expect(await codeOf(change())).toBe('no error');
    expect(server.paths()).toEqual(done());
  });

  it('is no success where nothing is told but that something depends on what failed', async () => {
    answering(method, (_, response) => {
      const one = '<d:response><d:href>/a/</d:href><d:status>HTTP/1.1 424 Failed Dependency</d:status></d:response>';
      response.writeHead(207, { 'content-type': 'application/xml' });
      return response.end(`<d:multistatus xmlns:d="DAV:">${one}</d:multistatus>`) !== null;
    });
    expect(await codeOf(change())).toBe('server');
  });

  it('is done later where the server says so with 202', async () => {
    answering(method, (_, response) => {
      setTimeout(really, 30);
      return response.writeHead(202).end() !== null;
    });
    expect(['no error', 'not_found']).toContain(await codeOf(change()));
    expect(server.paths()).toEqual(done());
  });
});

it('an upload that the server stores later is looked for', async () => {
  answering('PUT', (_, response) => {
    setTimeout(() => server.write('a', 'text'), 30);
    return response.writeHead(202).end() !== null;
  });
  expect((await put(remote, 'a', 'text')).etag).not.toBeNull();
  expect(server.text('a')).toBe('text');
});
