import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createRemote, createRemoteOffline } from '../../../src/remote/connect.js';
import { conditionalWritesOf, ifHeaderOf, parseAddress } from '../../../src/remote/detect.js';
import { parseServerInfo } from '../../../src/remote/server_info.js';
import { bytesSource, codeOf, listAll, path, session } from '../../contract/remote_contract.js';

const AUTH = { user: 'al@ice', password: 'secret' };
const ROOT = 'xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns" xmlns:nc="http://nextcloud.org/ns"';

let server: Server | null = null;

/** A server made of answers; what it has no answer for is 404. */
async function serve(answer: (request: IncomingMessage, response: ServerResponse) => boolean): Promise<string> {
  server = createServer((request, response) => {
    request.resume();
    request.on('end', () => {
      if (!answer(request, response)) response.writeHead(404).end();
    });
  });
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

afterEach(async () => {
  server?.closeAllConnections();
  await new Promise((resolve) => (server === null ? resolve(null) : server.close(resolve)));
  server = null;
});

function json(response: ServerResponse, value: unknown): true {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  return true;
}

function multistatus(response: ServerResponse, ...responses: string[]): true {
  response
    .writeHead(207, { 'content-type': 'application/xml' })
    .end(`<d:multistatus ${ROOT}>${responses.join('')}</d:multistatus>`);
  return true;
}

function node(href: string, props: string): string {
  return `<d:response><d:href>${href}</d:href><d:propstat><d:prop>${props}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>`;
}

function nextcloud(prefix: string, capabilities: object, status: object = {}) {
  const base = `${prefix}/remote.php/dav/files/al%40ice/`;
  return (request: IncomingMessage, response: ServerResponse): boolean => {
    const url = request.url ?? '';
    if (url === `${prefix}/status.php`) {
      return json(response, {
        installed: true,
        maintenance: false,
        version: '29.0.1.1',
        productname: 'Nextcloud',
        ...status,
      });
    }
    if (request.headers.authorization !== `Basic ${Buffer.from('al@ice:secret').toString('base64')}`) {
      response.writeHead(401).end();
      return true;
    }
    if (url.startsWith(`${prefix}/ocs/v2.php/cloud/capabilities`))
      return json(response, { ocs: { data: { capabilities } } });
    if (url.startsWith(`${prefix}/ocs/v2.php/cloud/user`)) return json(response, { ocs: { data: { id: 'al@ice' } } });
    if (request.method !== 'PROPFIND' || !url.startsWith(base)) return false;
    const self = node(
      base,
      '<d:resourcetype><d:collection/></d:resourcetype><d:getetag>"c1"</d:getetag><oc:permissions>RGDNVCK</oc:permissions><oc:fileid>2</oc:fileid>',
    );
    if (request.headers.depth === '0') return multistatus(response, self);
    const file = node(
      `${base}a%20b.txt`,
      `<d:resourcetype/><d:getetag>"f1"</d:getetag><d:getcontentlength>12</d:getcontentlength>
       <d:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</d:getlastmodified><oc:permissions>SRGNVW</oc:permissions><oc:fileid>7</oc:fileid>
       <oc:checksums><oc:checksum>MD5:AA SHA256:BB</oc:checksum></oc:checksums><oc:share-types><oc:share-type>3</oc:share-type></oc:share-types>
       <nc:lock>1</nc:lock><nc:lock-owner>bob</nc:lock-owner><nc:lock-owner-displayname>Bob B.</nc:lock-owner-displayname>
       <nc:lock-time>1700000000</nc:lock-time><nc:lock-timeout>1800</nc:lock-timeout>`,
    );
    return multistatus(response, self, file);
  };
}

describe('reading the address', () => {
  it('takes it apart', () => {
    expect(parseAddress('https://cloud.example.org')).toMatchObject({ prefix: '', below: '', path: '/' });
    expect(parseAddress('https://h/nextcloud/')).toMatchObject({ prefix: '/nextcloud', path: '/nextcloud/' });
    expect(parseAddress('https://h/nc/remote.php/dav/files/me/')).toMatchObject({ prefix: '/nc', below: '' });
    expect(parseAddress('https://h/remote.php/webdav/Photos/')).toMatchObject({ prefix: '', below: 'Photos' });
    expect(parseAddress('https://h/dav/files/m%20e/a%20b/c')).toMatchObject({
      prefix: '',
      owner: 'm e',
      below: 'a%20b/c',
    });
  });

  it.each(['', 'host', 'ftp://h/', 'https://u:p@h/', 'https://h/?a=b', 'https://h/#a', 'file:///etc'])(
    'refuses %j',
    (url) => {
      expect(() => parseAddress(url)).toThrow(expect.objectContaining({ code: 'invalid' }));
    },
  );
});

describe('finding out what the server is', () => {
  it('refuses the address of somebody else’s files instead of showing one’s own', async () => {
    const origin = await serve(nextcloud('', {}));
    const remote = createRemote({ url: `${origin}/remote.php/dav/files/berta/Photos`, auth: AUTH });
    await expect(remote.connect()).rejects.toMatchObject({
      code: 'no_access',
      message: expect.stringMatching(/files of berta, the login is of al@ice/),
    });
    await remote.close();
  });

  it.each(['', '/nextcloud', '/nextcloud/remote.php/dav/files/Al%40ice/', '/nextcloud/remote.php/webdav'])(
    'knows a Nextcloud by any of its addresses (%j)',
    async (address) => {
      const prefix = address === '' ? '' : '/nextcloud';
      const capabilities = {
        dav: { chunking: '1.0' },
        files: { locking: '1.0' },
        notify_push: { endpoints: { websocket: 'wss://other.example.org/push/ws', pre_auth: 'https://x/pre' } },
      };
      const origin = await serve(nextcloud(prefix, capabilities));
      const remote = createRemote({ url: origin + address, auth: AUTH });
      expect(await remote.connect()).toEqual({
        dialect: 'nextcloud',
        changeFeed: false,
        push: true,
        collectionEtags: true,
        fileIds: true,
        symlinks: false,
        xattrs: false,
        posix: false,
        setMtime: true,
        locks: true,
        chunkedUpload: true,
        conditionalPut: true,
      });
      expect(remote.describe()).toMatchObject({
        origin,
        base: `${prefix}/remote.php/dav/files/al%40ice/`,
        uploads: `${prefix}/remote.php/dav/uploads/al%40ice/`,
        push: { socket: '/push/ws', preAuth: '/pre' },
        user: 'al@ice',
      });
      expect(JSON.stringify(remote.describe())).not.toContain('secret');
      await remote.close();
    },
  );

  it('the password is sent to no other host, whatever address of the push channel the server tells', async () => {
    const strangers: string[] = [];
    const stranger = createServer();
    stranger.on('connection', (socket) =>
      socket.on('data', (bytes) => strangers.push(String(bytes))).on('error', () => {}),
    );
    await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve));
    const websocket = `x:@127.0.0.1:${(stranger.address() as AddressInfo).port}/push/ws`;
    const origin = await serve(nextcloud('', { notify_push: { endpoints: { websocket } } }));
    const remote = createRemote({ url: origin, auth: AUTH });
    await remote.connect();
    remote.watch({ onChange: () => {}, onConnection: () => {} }, AbortSignal.timeout(300));
    await new Promise((resolve) => setTimeout(resolve, 300));
    await remote.close();
    stranger.closeAllConnections();
    await new Promise((resolve) => stranger.close(resolve));
    expect(strangers).toEqual([]);
    const info = remote.describe();
    expect(info.push).toBeNull();
    const noted = { ...info, push: { socket: '@elsewhere.org/push/ws', preAuth: null } };
    expect(() => parseServerInfo(noted)).toThrow(/socket by its path/);
  });

  it('reads rights, locks, shares and checksums from it', async () => {
    const origin = await serve(nextcloud('', {}));
    const remote = createRemote({ url: origin, auth: AUTH });
    await remote.connect();
    const [root, file] = await listAll(remote, '');
    expect(root).toMatchObject({
      path: '',
      kind: 'dir',
      etag: '"c1"',
      fileid: '2',
      rights: { createDir: true, write: false },
    });
    expect(file).toMatchObject({
      path: 'a b.txt',
      kind: 'file',
      etag: '"f1"',
      size_bytes: 12,
      mtime: { s: 784111777, ns: 0 },
      rights: { read: true, write: true, remove: false, rename: true, share: true },
      lock: { owner: 'Bob B.', sinceEpoch_s: 1700000000, expiresEpoch_s: 1700001800, token: null, mine: false },
      shared: 'in',
      checksum: 'SHA256:bb',
    });
    await remote.close();
  });

  it("takes a Nextcloud's locks by user, and shows no token for them", async () => {
    const seen: string[] = [];
    const answers = nextcloud('', { files: { locking: '1.0' } });
    const origin = await serve((request, response) => {
      if (!['LOCK', 'UNLOCK', 'PUT'].includes(request.method ?? '')) return answers(request, response);
      seen.push(
        `${request.method} user-lock=${request.headers['x-user-lock']} if=${request.headers.if} match=${request.headers['if-match']}`,
      );
      response.writeHead(200, { etag: '"f2"', 'oc-fileid': '00000007ocabc' }).end();
      return true;
    });
    const remote = createRemote({ url: origin, auth: AUTH });
    await remote.connect();
    const lock = await remote.lock(path(''));
    expect(lock).toMatchObject({ mine: true, owner: 'al@ice', token: expect.any(String) });
    const options = { lockToken: lock.token ?? '' };
    const match = { kind: 'if_match', etag: '"f1"' } as const;
    const result = await remote.put(path('a b.txt'), bytesSource('x'), match, {}, session(), options);
    expect(result).toMatchObject({ etag: '"f2"', fileid: '7' });
    await remote.unlock(path(''), lock.token ?? '');
    expect(seen).toEqual([
      'LOCK user-lock=1 if=undefined match=undefined',
      'PUT user-lock=undefined if=undefined match="f1"',
      'UNLOCK user-lock=1 if=undefined match=undefined',
    ]);
    await remote.close();
  });

  it('tells ownCloud from Nextcloud', async () => {
    const origin = await serve(
      nextcloud('', { dav: { chunking: '1.0' } }, { productname: 'ownCloud', version: '10.13.0' }),
    );
    const remote = createRemote({ url: origin, auth: AUTH });
    expect(await remote.connect()).toMatchObject({
      dialect: 'owncloud',
      push: false,
      locks: false,
      chunkedUpload: true,
    });
    await remote.close();
  });

  it('says that the server is in maintenance, or refuses us', async () => {
    const origin = await serve(nextcloud('', {}, { maintenance: true }));
    const remote = createRemote({ url: origin, auth: AUTH, timeout_ms: 1000 });
    expect(await codeOf(remote.connect())).toBe('busy_server');
    await remote.close();
    const wrong = createRemote({ url: origin, auth: { user: 'al@ice', password: 'wrong' } });
    server?.removeAllListeners('request');
    server?.on('request', (request, response) => {
      request.resume();
      nextcloud('', {})(request, response);
    });
    expect(await codeOf(wrong.connect())).toBe('unauthorized');
    await wrong.close();
  });

  it('explains that a server cannot list', async () => {
    const origin = await serve((request, response) => {
      if (request.url?.endsWith('status.php')) return false;
      response.writeHead(request.method === 'OPTIONS' ? 200 : 405, { server: 'nginx/1.26.0' }).end();
      return true;
    });
    const remote = createRemote({ url: `${origin}/dav/`, auth: AUTH });
    await expect(remote.connect()).rejects.toMatchObject({
      code: 'protocol',
      message: expect.stringContaining('PROPFIND'),
    });
    await expect(remote.connect()).rejects.toThrow('nginx');
    await remote.close();
  });

  it('never takes a server that it knows for another one, whatever is answered in between', async () => {
    const honest = nextcloud('', {});
    let between: ((request: IncomingMessage, response: ServerResponse) => boolean) | null = null;
    const origin = await serve(
      (request, response) => between?.(request, response) === true || honest(request, response),
    );
    const remote = createRemote({ url: origin, auth: AUTH });
    const known = await remote.connect();
    const at = (status: number, type: string, body: string) => {
      between = (request, response) => {
        if (request.url?.endsWith('status.php')) response.writeHead(status, { 'content-type': type }).end(body);
        else if (request.method === 'OPTIONS') response.writeHead(200, { dav: '1' }).end();
        else if (request.method === 'PROPFIND' && request.url === '/') {
          return multistatus(response, node('/', '<d:resourcetype><d:collection/></d:resourcetype>'));
        } else return false;
        return true;
      };
    };
    at(200, 'text/html', '<html></html>'); // a network's sign-in page, gone by the next request
    expect(await codeOf(remote.connect())).toBe('protocol');
    at(404, 'text/plain', '');
    await expect(remote.connect()).rejects.toThrow('log in again');
    at(200, 'application/json', '{"installed":tr'); // cut short
    expect(await codeOf(remote.connect())).toBe('protocol');
    at(500, 'text/plain', '');
    expect(await codeOf(remote.connect({ signal: AbortSignal.timeout(3000) }))).not.toBe('no error');
    expect(remote.capabilities).toEqual(known);
    between = null;
    expect(await remote.connect()).toEqual(known);
    await remote.close();
  });

  it('is not taken in by a web site', async () => {
    const origin = await serve((_, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html></html>');
      return true;
    });
    const remote = createRemote({ url: origin, auth: AUTH });
    expect(await codeOf(remote.connect())).toBe('protocol');
    await remote.close();
  });

  it.each([
    [{ server: 'nginx/1.22.1', dav: '2' }, 'nginx'],
    [{ server: 'nginx/1.22.1', dav: '1, 2' }, 'absolute'], // Go behind nginx
    [{ dav: '1, 2' }, 'absolute'],
    [{ server: 'lighttpd/1.4.69', dav: '1, 2' }, 'absolute'], // Go behind lighttpd
    [{ server: 'lighttpd/1.4.69', dav: '1,2,3' }, 'lighttpd'],
    [{ server: 'nginx', dav: '1,2,<http://apache.org/dav/propset/fs/1>' }, undefined], // mod_dav behind nginx
  ])('knows what an If header must look like for %j', (headers, expected) => {
    expect(ifHeaderOf({ headers }, 'none')).toBe(expected);
  });

  it.each([
    ['"17"', true],
    ['', false],
  ])('believes in those of lighttpd where it makes ETags, root with %j: %j', async (etag, expected) => {
    const origin = await serve((request, response) => {
      response.setHeader('server', 'lighttpd/1.4.69').setHeader('dav', '1,2,3');
      if (request.method === 'OPTIONS') response.writeHead(200).end();
      else if (request.method !== 'PROPFIND') return false;
      else {
        const tag = etag === '' ? '' : `<d:getetag>${etag}</d:getetag>`;
        multistatus(
          response,
          `<d:response><d:href>/</d:href><d:propstat><d:prop>${tag}<d:resourcetype><d:collection/></d:resourcetype></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>`,
        );
      }
      return true;
    });
    const remote = createRemote({ url: origin, auth: AUTH });
    await remote.connect();
    expect(remote.capabilities.conditionalPut).toBe(expected);
    expect(remote.describe().conditional).toBe(expected ? 'if_match' : 'none');
    await remote.close();
  });

  it('believes in conditional writes only where they are known to work', () => {
    const apache = { server: 'Apache/2.4.62 (Debian)', dav: '1,2, <http://apache.org/dav/propset/fs/1>' };
    expect(conditionalWritesOf({ headers: apache })).toBe('if_header');
    expect(conditionalWritesOf({ headers: { server: 'Apache/2.4.62', dav: '1, 2' } })).toBe('none');
    expect(conditionalWritesOf({ headers: { 'x-sabre-version': '4.6.0' } })).toBe('if_match');
    expect(conditionalWritesOf({ headers: { server: 'lighttpd/1.4.69', dav: '1,2,3' } })).toBe('if_match');
    expect(conditionalWritesOf({ headers: { server: 'lighttpd/1.4.69', dav: '1, 2' } })).toBe('none');
    expect(conditionalWritesOf({ headers: { dav: '1, 2' } })).toBe('none');
  });
});

describe('what was learned', () => {
  it('builds a remote without a network, which works when there is one', async () => {
    const origin = await serve(nextcloud('', {}));
    const first = createRemote({ url: origin, auth: AUTH });
    await first.connect();
    const saved = JSON.parse(JSON.stringify(first.describe()));
    await first.close();
    const remote = createRemoteOffline(saved, { url: origin, auth: AUTH });
    expect(remote.capabilities).toMatchObject({ dialect: 'nextcloud', fileIds: true });
    expect((await remote.stat(path(''))).kind).toBe('dir');
    await remote.close();
  });

  it('fails cleanly as long as there is none', async () => {
    const origin = await serve(nextcloud('', {}));
    const first = createRemote({ url: origin, auth: AUTH });
    expect(() => first.capabilities).toThrow(expect.objectContaining({ code: 'offline' }));
    await first.connect();
    const saved = JSON.stringify(first.describe());
    await first.close();
    server?.closeAllConnections();
    await new Promise((resolve) => server?.close(resolve));
    server = null;
    const remote = createRemoteOffline(saved, { url: origin, auth: AUTH });
    expect(remote.capabilities.dialect).toBe('nextcloud');
    expect(await codeOf(remote.stat(path('')))).toBe('network');
    expect(await codeOf(remote.connect())).toBe('network');
    await remote.close();
  });

  it('is checked when it is read', async () => {
    const origin = await serve(nextcloud('', {}));
    const remote = createRemote({ url: origin, auth: AUTH });
    await remote.connect();
    const good = remote.describe();
    await remote.close();
    expect(parseServerInfo(JSON.stringify(good))).toEqual(good);
    const wrong = [
      null,
      'x',
      '{}',
      { ...good, version: 2 },
      { ...good, dialect: 'ftp' },
      { ...good, origin: 'x' },
      { ...good, base: 1 },
      { ...good, capabilities: {} },
      { ...good, push: undefined },
    ];
    for (const one of wrong) expect(() => parseServerInfo(one)).toThrow(expect.objectContaining({ code: 'invalid' }));
    const elsewhere = { url: 'https://elsewhere.example', auth: AUTH };
    expect(() => createRemoteOffline(good, elsewhere)).toThrow(expect.objectContaining({ code: 'invalid' }));
  });
});
