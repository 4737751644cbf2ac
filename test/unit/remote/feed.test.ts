import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { RemotePath } from '../../../src/ids.js';
import { createRemoteOffline, type WebdavRemote } from '../../../src/remote/connect.js';
import { childOf, parseXml, textOf } from '../../../src/remote/wire/xml.js';
import { codeOf } from '../../contract/remote_contract.js';

const BASE = '/dav/files/alice/';

function present(name: string): string {
  return `<d:response><d:href>${BASE}${name}</d:href><d:propstat><d:prop><d:resourcetype/><d:getcontentlength>1</d:getcontentlength><d:getetag>"${name}"</d:getetag></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>`;
}
function status(name: string, code: number): string {
  return `<d:response><d:href>${BASE}${name}</d:href><d:status>HTTP/1.1 ${code} x</d:status></d:response>`;
}

async function listAll(remote: WebdavRemote): Promise<void> {
  for await (const _ of remote.list('' as RemotePath));
}

describe('the change feed', () => {
  let server: Server | null = null;
  let remote: WebdavRemote | null = null;

  afterEach(async () => {
    await remote?.close();
    server?.closeAllConnections();
    await new Promise((resolve) => server?.close(resolve));
  });

  /** A server that answers each token with its page; `null` = it does not know the token. */
  async function serve(pages: Record<string, { body: string; token: string | null } | null>): Promise<WebdavRemote> {
    server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const root = parseXml(Buffer.concat(chunks));
      const element = childOf(root, 'DAV:', 'sync-token');
      const page = pages[element === null ? '' : textOf(element)];
      if (page === null || page === undefined) {
        response.writeHead(403, { 'content-type': 'application/xml' });
        response.end('<d:error xmlns:d="DAV:"><d:valid-sync-token/></d:error>');
        return;
      }
      const token = page.token === null ? '' : `<d:sync-token>${page.token}</d:sync-token>`;
      response.writeHead(207, { 'content-type': 'application/xml' });
      response.end(`<d:multistatus xmlns:d="DAV:">${page.body}${token}</d:multistatus>`);
    });
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const flags = [
      'changeFeed',
      'push',
      'collectionEtags',
      'fileIds',
      'symlinks',
      'xattrs',
      'posix',
      'setMtime',
      'locks',
      'chunkedUpload',
      'conditionalPut',
    ];
    const info = {
      version: 1,
      dialect: 'cloudmount',
      origin,
      base: BASE,
      user: 'alice',
      uploads: null,
      push: null,
      conditional: 'if_match',
      product: 'test',
      capabilities: { dialect: 'cloudmount', ...Object.fromEntries(flags.map((flag) => [flag, true])) },
    };
    remote = createRemoteOffline(info, { url: origin, auth: { user: 'alice', password: 'x' }, timeout_ms: 1000 });
    return remote;
  }

  async function follow(from: WebdavRemote, start: string | null) {
    const steps: string[] = [];
    const full: boolean[] = [];
    let cursor = start;
    for (;;) {
      const page = await from.changes(cursor);
      full.push(page.full);
      steps.push(
        page.changes.map((change) => (change.kind === 'gone' ? `-${change.path}` : `+${change.entry.path}`)).join(' '),
      );
      cursor = page.next;
      if (!page.more) return { steps, full, cursor };
    }
  }

  it('reads a long listing page by page, then what changed since', async () => {
    const from = await serve({
      '': { body: present('a') + status('', 507), token: 't1' },
      t1: { body: status('', 507) + present('b'), token: 't2' },
      t2: { body: present('c') + present('a2') + status('a', 404), token: 't4' },
      t4: { body: '', token: 't4' },
    });
    const first = await follow(from, null);
    expect(first.steps).toEqual(['+a', '+b', '+c +a2 -a']);
    expect(first.full).toEqual([true, true, true]);
    const next = await follow(from, first.cursor);
    expect(next).toMatchObject({ steps: [''], full: [false] });
  });

  it.each([
    ['a page of changes', (from: WebdavRemote) => from.changes(null)],
    ['a listing without the folder itself', (from: WebdavRemote) => listAll(from)],
  ])('%s that never ends is refused before it fills the memory', async (_what, ask) => {
    const from = await serve({});
    server?.removeAllListeners('request');
    server?.on('request', (_request, response) => {
      response.writeHead(207, { 'content-type': 'application/xml' });
      response.write('<d:multistatus xmlns:d="DAV:">');
      const more = Array.from({ length: 1000 }, (_, i) => present(`x${i}`)).join('');
      const on = () => {
        while (!response.destroyed && response.write(more));
      };
      response.on('drain', on);
      on();
    });
    await expect(ask(from)).rejects.toMatchObject({ code: 'protocol' });
  });

  it('names what is there before what is gone', async () => {
    const from = await serve({ t: { body: status('old', 404) + present('new'), token: 'u' } });
    expect((await follow(from, '{"token":"t"}')).steps).toEqual(['+new -old']);
  });

  it('begins again with a full listing when the server has forgotten the token', async () => {
    const from = await serve({ '': { body: present('a'), token: 't1' }, old: null });
    expect(await follow(from, '{"token":"old"}')).toMatchObject({ steps: ['+a'], full: [true] });
    expect(await from.changes('{"token":"old"}')).toMatchObject({ anew: true });
    expect(await from.changes(null)).not.toHaveProperty('anew');
    expect(await follow(from, 'no cursor of ours')).toMatchObject({ full: [true] });
  });

  it('refuses an answer without a token, one that does not move on, and one from elsewhere', async () => {
    const from = await serve({
      '': { body: present('a'), token: null },
      stuck: { body: present('a') + status('', 507), token: 'stuck' },
      outside: {
        body: '<d:response><d:href>/dav/files/bob/x</d:href><d:status>HTTP/1.1 404 x</d:status></d:response>',
        token: 'u',
      },
    });
    expect(await codeOf(from.changes(null))).toBe('protocol');
    expect(await codeOf(from.changes('{"token":"stuck"}'))).toBe('protocol');
    expect(await codeOf(from.changes('{"token":"outside"}'))).toBe('protocol');
  });
});
