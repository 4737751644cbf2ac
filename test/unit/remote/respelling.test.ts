// Renaming `foo` to `Foo` on a server that takes both for one name, where something goes wrong.

import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createRemote, type WebdavRemote } from '../../../src/remote/connect.js';
import { codeOf, path } from '../../contract/remote_contract.js';
import { type PlainServer, startPlainServer } from '../../support/plain_server.js';

let server: PlainServer;
let remote: WebdavRemote;
let moves = 0;
const RULE = { overwrite: null, sourceEtag: null };

beforeEach(async () => {
  moves = 0;
  server = await startPlainServer();
  server.odd = { fold: (one) => one.toLowerCase() };
  server.write('foo', 'text');
  remote = createRemote({ url: server.url, auth: { kind: 'none' }, timeout_ms: 2000 });
  await remote.connect();
});

afterEach(async () => {
  await remote.close();
  await server.close();
});

/** What becomes of the moves that `isHit` names. */
function atMove(isHit: (count: number) => boolean, fault: (response: ServerResponse) => boolean): void {
  server.before = (request, response) => request.method === 'MOVE' && isHit(++moves) && fault(response);
}

it.each([1, 2])('goes on where the answer to the move %i of two is lost', async (which) => {
  atMove(
    (count) => count === which,
    (response) => {
      response.end = (() => response.destroy()) as never;
      return false;
    },
  );
  await remote.move(path('foo'), path('Foo'), RULE);
  expect(server.paths()).toEqual(['Foo']);
  expect(server.text('Foo')).toBe('text');
});

it('gives the name back where the second move is refused', async () => {
  atMove(
    (count) => count === 2,
    (response) => response.writeHead(403).end() !== null,
  );
  expect(await codeOf(remote.move(path('foo'), path('Foo'), RULE))).toBe('no_access');
  expect(server.paths()).toEqual(['foo']);
});

it('removes nothing where it is told to replace what it moves', async () => {
  const { etag } = await remote.stat(path('Foo'));
  await remote.move(path('foo'), path('Foo'), { overwrite: { etag: etag ?? '' }, sourceEtag: null });
  expect(server.text('Foo')).toBe('text');
});

it('is no such case where both are there', async () => {
  server.odd = {};
  server.write('Foo', 'another');
  expect(await codeOf(remote.move(path('foo'), path('Foo'), RULE))).toBe('exists');
  expect(server.paths()).toEqual(['Foo', 'foo']);
});
