import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startServer } from '../../../../src/server/server.js';
import { basic, PASSWORD, TestServer } from './test_server.js';

let server: TestServer;

beforeEach(async () => {
  server = await TestServer.start();
});

afterEach(async () => {
  await server.end();
});

const put = (path: string, body: string, headers: Record<string, string> = {}) =>
  server.call('PUT', path, { body, headers });

describe('addresses', () => {
  test('one tree under all of them, each answering with its own', async () => {
    expect((await put('/dav/files/alice/f.txt', 'one')).status).toBe(201);
    for (const base of ['/dav/files/Alice/', '/remote.php/dav/files/alice/', '/remote.php/webdav/', '/webdav/']) {
      expect((await server.call('GET', `${base}f.txt`)).text).toBe('one');
      const listing = await server.call('PROPFIND', base, { headers: { depth: '1' } });
      expect(listing.status).toBe(207);
      expect(listing.text).toContain(`<d:href>${base}f.txt</d:href>`);
    }
  });

  test('a Destination may use any of them', async () => {
    await put('/dav/files/alice/f.txt', 'one');
    for (const [i, to] of ['/webdav/a', '/remote.php/dav/files/alice/b', `${server.url}/dav/files/Alice/c`].entries()) {
      const done = await server.call('COPY', '/remote.php/webdav/f.txt', { headers: { destination: to } });
      expect(done.status, String(i)).toBe(201);
    }
    const listing = await server.call('PROPFIND', '/webdav/', { headers: { depth: '1' } });
    for (const name of ['a', 'b', 'c']) expect(listing.text).toContain(`<d:href>/webdav/${name}</d:href>`);
  });

  test('only the own tree is to be seen', async () => {
    await server.call('PUT', '/dav/files/bert/secret', { user: 'bert', body: 'secret' });
    for (const method of ['GET', 'PUT', 'PROPFIND', 'DELETE', 'MKCOL']) {
      expect((await server.call(method, '/dav/files/bert/secret')).status).toBe(404);
      expect((await server.call(method, '/dav/files/nobody/secret')).status).toBe(404);
    }
    expect((await server.call('GET', '/dav/uploads/bert/1')).status).toBe(404);
    const stolen = await server.call('COPY', '/dav/files/alice/', { headers: { destination: '/dav/files/bert/x' } });
    expect(stolen.status).toBeGreaterThanOrEqual(400);
    expect((await server.call('GET', '/dav/files/bert/secret', { user: 'bert' })).text).toBe('secret');
  });

  test.each([
    '/dav/files/alice/../bert/secret',
    '/dav/files/alice/%2e%2e/bert/secret',
    '/dav/files/alice/..%2fbert%2fsecret',
    '/dav/files/bert%2fsecret',
    '//dav/files/bert/secret',
    '/dav/files/alice/a%00b',
    '/dav/files/alice/%zz',
  ])('%s leads nowhere', async (path) => {
    await server.call('PUT', '/dav/files/bert/secret', { user: 'bert', body: 'secret' });
    const answer = await server.call('GET', path);
    expect([400, 404]).toContain(answer.status);
    expect(answer.text).not.toBe('secret');
  });

  test('the collections above list what is below and take nothing', async () => {
    const names = async (path: string) => {
      const answer = await server.call('PROPFIND', path, { headers: { depth: '1' } });
      expect(answer.status).toBe(207);
      return [...answer.text.matchAll(/<d:response><d:href>([^<]*)</g)].map(([, href]) => href);
    };
    expect(await names('/')).toEqual(['/', '/dav/', '/webdav/']);
    expect(await names('/dav')).toEqual(['/dav/', '/dav/files/', '/dav/uploads/']);
    expect(await names('/dav/files/')).toEqual(['/dav/files/', '/dav/files/Alice/']);
    expect(await names('/remote.php/dav/')).toEqual([
      '/remote.php/dav/',
      '/remote.php/dav/files/',
      '/remote.php/dav/uploads/',
    ]);
    for (const method of ['PUT', 'MKCOL', 'DELETE', 'MOVE']) {
      const answer = await server.call(method, '/dav/files/', { headers: { destination: '/dav/files/alice/x' } });
      expect(answer.status, method).toBe(405);
      expect(answer.headers.allow).toContain('PROPFIND');
    }
    expect((await server.call('PUT', '/', { body: 'x' })).status).toBe(405);
  });

  test('OPTIONS says what the server can do, with and without a password', async () => {
    for (const path of ['/', '/dav/', '/dav/files/alice/', '/webdav/x']) {
      for (const user of ['alice', null]) {
        const answer = await server.call('OPTIONS', path, { user });
        expect(answer.status).toBe(200);
        expect(answer.headers.dav).toBe('1, 2, 3');
        expect(answer.headers['ms-author-via']).toBe('DAV');
      }
    }
  });

  test('well-known addresses lead to the tree', async () => {
    for (const name of ['webdav', 'caldav', 'carddav']) {
      const answer = await server.call('PROPFIND', `/.well-known/${name}`, { user: null });
      expect(answer.status).toBe(301);
      expect(answer.headers.location).toBe(`${server.url}/remote.php/dav/`);
    }
  });

  test('anything else is not found', async () => {
    for (const path of ['/nothing', '/dav/calendars/', '/remote.php/webdavx', '/ocs/v3.php/cloud/user']) {
      expect((await server.call('GET', path)).status, path).toBe(404);
    }
  });

  test('a target in absolute form is judged by its path', async () => {
    await put('/webdav/f', 'absolute');
    const raw = server.raw();
    const head = `Host: x\r\nAuthorization: ${basic('alice')}\r\nConnection: close\r\n\r\n`;
    raw.send(`GET http://elsewhere.example/webdav/f HTTP/1.1\r\n${head}`);
    expect(await raw.untilClosed()).toMatch(/^HTTP\/1\.1 200[\s\S]*absolute$/);
  });
});

describe('logging in', () => {
  test('is asked for, in words clients know', async () => {
    const answer = await server.call('PROPFIND', '/dav/files/alice/', { user: null });
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toBe('Basic realm="cloudmount", charset="UTF-8"');
    expect(answer.text).toMatch(/<s:exception>.*NotAuthenticated<\/s:exception><s:message>/);
  });

  test('by app token works as a password and as Bearer', async () => {
    const { secret } = await server.running.accounts.createToken('alice', 'phone');
    expect((await server.call('PROPFIND', '/webdav/', { password: secret })).status).toBe(207);
    const bearer = { user: null, headers: { authorization: `Bearer ${secret}` } };
    expect((await server.call('PROPFIND', '/webdav/', bearer)).status).toBe(207);
  });

  test('too often wrong has to wait', async () => {
    const answers = [];
    for (let i = 0; i < 11; i++) answers.push(await server.call('GET', '/webdav/', { password: `wrong ${i}` }));
    expect(answers.map(({ status }) => status)).toEqual([...Array(10).fill(401), 429]);
    expect(Number(answers.at(-1)?.headers['retry-after'])).toBeGreaterThan(0);
    expect((await server.call('PROPFIND', '/webdav/', { user: 'bert' })).status).toBe(207);
  });

  test('credentials reach no log line', async () => {
    await server.call('GET', '/webdav/', { password: 'a wrong secret', headers: { cookie: 'session=secret' } });
    await server.call('GET', '/webdav/?token=secret');
    const text = JSON.stringify(server.lines);
    expect(text).not.toContain('secret');
    expect(text).not.toContain(PASSWORD);
    expect(text).not.toContain(Buffer.from(`alice:${PASSWORD}`).toString('base64'));
  });
});

describe('what clients ask about the server', () => {
  test('status.php', async () => {
    expect(await server.json('/status.php', { user: null })).toMatchObject({
      installed: true,
      maintenance: false,
      needsDbUpgrade: false,
      version: expect.stringMatching(/^\d+\.\d+\.\d+\.\d+$/),
      edition: '',
      productname: 'cloudmount',
    });
  });

  test('capabilities, as JSON and XML, with addresses the client can reach', async () => {
    const document = await server.json('/ocs/v1.php/cloud/capabilities?format=json', {
      headers: { host: 'cloud.example:8443' },
    });
    expect(document).toMatchObject({
      ocs: {
        meta: { status: 'ok', statuscode: 100 },
        data: {
          capabilities: {
            dav: { chunking: '1.0' },
            checksums: { supportedTypes: expect.arrayContaining(['SHA1', 'SHA256']) },
            notify_push: {
              endpoints: {
                websocket: 'ws://cloud.example:8443/push/ws',
                pre_auth: 'http://cloud.example:8443/apps/notify_push/pre_auth',
              },
            },
            cloudmount: { version: 1 },
          },
        },
      },
    });
    const xml = await server.call('GET', '/ocs/v2.php/cloud/capabilities');
    expect(xml.headers['content-type']).toMatch(/xml/);
    expect(xml.text).toMatch(/<statuscode>200<\/statuscode>/);
    expect(xml.text).toMatch(/<dav><chunking>1\.0<\/chunking><\/dav>/);
  });

  test('the user, with quota and usage', async () => {
    await server.running.accounts.update('alice', { quota_bytes: 1000, displayName: 'Alice A.' });
    await put('/webdav/f', 'x'.repeat(250));
    expect(await server.json('/ocs/v2.php/cloud/user?format=json')).toMatchObject({
      ocs: {
        meta: { statuscode: 200 },
        data: { id: 'Alice', 'display-name': 'Alice A.', quota: { free: 750, used: 250, total: 1000, relative: 25 } },
      },
    });
  });

  test('a wrong password shows there already', async () => {
    for (const path of ['/ocs/v1.php/cloud/user', '/ocs/v1.php/cloud/capabilities', '/ocs/v2.php/cloud/user']) {
      const answer = await server.call('GET', `${path}?format=json`, { password: 'wrong' });
      expect(answer.status, path).toBe(401);
      expect(answer.headers['www-authenticate']).toMatch(/^Basic/);
    }
    expect((await server.call('GET', '/ocs/v1.php/cloud/user', { user: null })).status).toBe(401);
    expect((await server.call('GET', '/ocs/v1.php/cloud/capabilities', { user: null })).status).toBe(200);
  });

  test('what OCS does not have', async () => {
    expect((await server.call('GET', '/ocs/v2.php/cloud/apps?format=json')).status).toBe(404);
    expect(await server.json('/ocs/v1.php/cloud/apps?format=json')).toMatchObject({
      ocs: { meta: { status: 'failure', statuscode: 404 } },
    });
    expect((await server.call('GET', '/ocs/v2.php/cloud/users/bert')).status).toBe(404);
  });

  test('a browser is told what this is', async () => {
    const page = await server.call('GET', '/', { user: null });
    expect(page.status).toBe(200);
    expect(page.headers['content-type']).toBe('text/html; charset=utf-8');
    expect(page.headers['content-security-policy']).toContain("default-src 'none'");
    expect(page.text).toContain(server.url);
    const head = await server.call('HEAD', '/', { user: null });
    expect(head.headers['content-length']).toBe(String(page.body.length));
    expect(head.body.length).toBe(0);
  });

  test('a Host that is none is not repeated', async () => {
    const page = await server.call('GET', '/', { user: null, headers: { host: 'x"><script>' } });
    expect(page.text).not.toContain('<script>');
    expect(page.text).toContain(server.url);
  });
});

describe('watching over it', () => {
  test('healthz answers while the database does', async () => {
    expect(await server.json('/healthz', { user: null })).toEqual({ status: 'ok' });
  });

  test('metrics count what happened', async () => {
    await put('/webdav/f', 'x'.repeat(10_000));
    await server.call('GET', '/webdav/f');
    await server.call('GET', '/webdav/f', { password: 'wrong' });
    const { text, headers } = await server.call('GET', '/metrics', { user: null });
    expect(headers['content-type']).toMatch(/^text\/plain; version=/);
    expect(text).toMatch(/cloudmount_http_requests_total\{method="PUT",status="201"\} 1\n/);
    expect(text).toMatch(/cloudmount_http_requests_total\{method="GET",status="401"\} 1\n/);
    expect(text).toMatch(/cloudmount_logins_total\{outcome="ok"\} 2\n/);
    expect(text).toMatch(/cloudmount_logins_total\{outcome="denied"\} 1\n/);
    expect(Number(/cloudmount_http_received_bytes_total (\d+)/.exec(text)?.[1])).toBeGreaterThan(10_000);
    expect(Number(/cloudmount_http_sent_bytes_total (\d+)/.exec(text)?.[1])).toBeGreaterThan(10_000);
    expect(Number(/cloudmount_database_bytes (\d+)/.exec(text)?.[1])).toBeGreaterThan(0);
    expect(text).toMatch(/process_resident_memory_bytes \d/);
  });

  test('metrics of a proxied request are for administrators', async () => {
    const headers = { 'x-forwarded-for': '192.0.2.1' };
    expect((await server.call('GET', '/metrics', { user: null, headers })).status).toBe(401);
    expect((await server.call('GET', '/metrics', { user: 'bert', headers })).status).toBe(403);
    expect((await server.call('GET', '/metrics', { headers })).status).toBe(200);
  });

  test('every request has a line with its id, and only that', async () => {
    const answer = await put('/webdav/f', 'hello');
    await server.call('GET', '/webdav/none?x=1', { user: 'bert' });
    const [first, second] = server.requests().map(({ fields }) => fields);
    expect(first).toMatchObject({
      id: answer.headers['x-request-id'],
      method: 'PUT',
      path: '/webdav/f',
      status: 201,
      user: 'Alice',
      address: '127.0.0.1',
      duration_ms: expect.any(Number),
    });
    expect(first?.['received_bytes']).toBeGreaterThan(5);
    expect(second).toMatchObject({ method: 'GET', path: '/webdav/none', status: 404, user: 'bert' });
  });
});

describe('behind a proxy', () => {
  test('forwarding headers are hearsay unless the operator says otherwise', async () => {
    const headers = {
      'x-forwarded-for': '192.0.2.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'evil.example',
    };
    const path = '/ocs/v2.php/cloud/capabilities';
    expect((await server.call('GET', path, { headers })).text).toContain(`ws://127.0.0.1:${server.port}/push/ws`);
    expect(server.requests().at(-1)?.fields['address']).toBe('127.0.0.1');
    await server.stop();
    await server.run({ trustProxy: true });
    expect((await server.call('GET', path, { headers })).text).toContain('wss://evil.example/push/ws');
    expect(server.requests().at(-1)?.fields['address']).toBe('192.0.2.1');
  });

  test('what the client wrote into X-Forwarded-For itself does not count', async () => {
    await server.stop();
    await server.run({ trustProxy: true });
    await server.call('GET', '/webdav/', { headers: { 'x-forwarded-for': '10.0.0.1, 192.0.2.9' } });
    expect(server.requests().at(-1)?.fields['address']).toBe('192.0.2.9');
  });

  test.each([
    ['192.0.2.9:5678', '192.0.2.9'],
    ['[2001:db8::9]:80', '2001:db8::9'],
    ['[2001:db8::9]', '2001:db8::9'],
    ['2001:db8::9', '2001:db8::9'],
    ['192.0.2.9:', '127.0.0.1'],
    ['[192.0.2.9', '127.0.0.1'],
    ['unknown', '127.0.0.1'],
  ])('a client is told apart by its address, with its port or without: %s', async (entry, address) => {
    await server.stop();
    await server.run({ trustProxy: true });
    await server.call('GET', '/webdav/', { headers: { 'x-forwarded-for': `10.0.0.1, ${entry}` } });
    expect(server.requests().at(-1)?.fields['address']).toBe(address);
  });
});

describe('one server per folder', () => {
  test('the second is refused and told who holds it', async () => {
    const second = startServer({
      dataDir: server.dataDir,
      listen: { host: '127.0.0.1', port: 0 },
      log: { debug() {}, info() {}, warn() {}, error() {} },
    });
    await expect(second).rejects.toMatchObject({
      code: 'busy',
      message: expect.stringMatching(new RegExp(`process ${process.pid} \\(server\\).*${server.url}`)),
    });
    expect((await server.call('GET', '/healthz')).status).toBe(200);
  });

  test('a stopped one makes room, and finds everything again', async () => {
    await put('/webdav/kept', 'kept');
    await server.stop();
    await server.run();
    expect((await server.call('GET', '/webdav/kept')).text).toBe('kept');
  });

  test('a port that is taken is told, and the folder is free again', async () => {
    const { port } = server;
    const other = await TestServer.start();
    await other.stop();
    await expect(other.run({ listen: { host: '127.0.0.1', port } })).rejects.toMatchObject({
      message: expect.stringContaining('another program listens there'),
    });
    await other.run();
    await other.end();
  });

  test.each([{ port: -1 }, { port: 70_000 }, { port: 1.5 }])('%j is no port', async ({ port }) => {
    await server.stop();
    await expect(server.run({ listen: { host: '127.0.0.1', port } })).rejects.toMatchObject({ code: 'invalid' });
    await server.run();
  });
});

describe('TLS', () => {
  let certFile: string;
  let keyFile: string;

  beforeEach(async () => {
    certFile = join(server.dir, 'cert.pem');
    keyFile = join(server.dir, 'key.pem');
    await makeCertificate();
    await server.stop();
  });

  async function makeCertificate(): Promise<void> {
    await promisify(execFile)('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', keyFile, '-out', certFile],
    ]);
  }

  /** Body of a GET that trusts the certificate file alone. */
  async function get(path: string): Promise<string> {
    const ca = await readFile(certFile);
    return new Promise<string>((resolve, reject) => {
      const sent = httpsRequest({ host: '127.0.0.1', port: server.port, path, ca, agent: false }, (answer) => {
        answer.setEncoding('utf8');
        let text = '';
        answer.on('data', (chunk: string) => {
          text += chunk;
        });
        answer.on('end', () => resolve(text));
      });
      sent.on('error', reject);
      sent.end();
    });
  }

  test('serves the certificate it is given', async () => {
    await server.run({ tls: { certFile, keyFile } });
    expect(server.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    expect(await get('/ocs/v2.php/cloud/capabilities')).toContain(`wss://127.0.0.1:${server.port}/push/ws`);
  });

  test('a renewed certificate is served without a restart', async () => {
    await server.run({ tls: { certFile, keyFile }, limits: { certificateCheck_ms: 20 } });
    expect(await get('/healthz')).toContain('ok');
    await makeCertificate();
    await expect.poll(() => get('/healthz').catch(String), { timeout: 20_000 }).toContain('"ok"');
    expect(server.lines.some(({ message }) => message === 'certificate read again')).toBe(true);
  });

  test('a missing certificate is told by name', async () => {
    await expect(server.run({ tls: { certFile: '/no/such/cert.pem', keyFile } })).rejects.toThrow('/no/such/cert.pem');
  });
});
