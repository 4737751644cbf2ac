import { afterEach, describe, expect, test, vi } from 'vitest';
import { basic, TestServer } from './test_server.js';

let server: TestServer;

afterEach(async () => {
  await server.end();
});

const HEAD = `Host: x\r\nAuthorization: ${basic('alice')}\r\n`;

describe('limits', () => {
  test('headers that are too long are refused as such', async () => {
    server = await TestServer.start({ limits: { maxHeader_bytes: 4096 } });
    const raw = server.raw();
    raw.send(`GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(5000)}\r\n\r\n`);
    expect(await raw.untilClosed()).toMatch(/^HTTP\/1\.1 431 /);
  });

  test('headers that do not come end the connection', async () => {
    server = await TestServer.start({ limits: { headersTimeout_ms: 200 } });
    const raw = server.raw();
    raw.send('GET / HTTP/1.1\r\nHost: x\r\n');
    expect(await raw.untilClosed()).toMatch(/^HTTP\/1\.1 408 /);
  });

  test('a body that stands still ends the connection and leaves nothing behind', async () => {
    server = await TestServer.start({ limits: { idleTimeout_ms: 200 } });
    const raw = server.raw();
    raw.send(`PUT /webdav/half HTTP/1.1\r\n${HEAD}Content-Length: 200000\r\n\r\n${'x'.repeat(100_000)}`);
    await raw.untilClosed();
    expect((await server.call('GET', '/webdav/half')).status).toBe(404);
    expect(server.requests().find(({ fields }) => fields['method'] === 'PUT')?.fields).toMatchObject({ aborted: true });
  });

  test('a connection without a request is ended after the keep-alive time', async () => {
    server = await TestServer.start({ limits: { keepAlive_ms: 100, idleTimeout_ms: 100 } });
    const raw = server.raw();
    raw.send('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(await raw.untilClosed()).toMatch(/^HTTP\/1\.1 200 /);
  });

  test.each([
    ['no HTTP at all', 'HELLO\r\n\r\n'],
    ['two lengths', 'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n'],
    [
      'length and chunks',
      'PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    ['no Host', 'GET / HTTP/1.1\r\n\r\n'],
    ['a path that is not encoded', 'GET /webdav/ä€ HTTP/1.1\r\nHost: x\r\n\r\n'],
  ])('%s is a bad request', async (_what, text) => {
    server = await TestServer.start();
    const raw = server.raw();
    raw.send(text);
    expect(await raw.untilClosed()).toMatch(/^HTTP\/1\.1 400 /);
  });
});

describe('bodies', () => {
  test('Expect: 100-continue is answered when the body is wanted', async () => {
    server = await TestServer.start();
    const raw = server.raw();
    raw.send(`PUT /webdav/f HTTP/1.1\r\n${HEAD}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n`);
    expect(await raw.until(/\r\n\r\n/)).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    raw.send('hello');
    await raw.until(/HTTP\/1\.1 201 /);
    expect((await server.call('GET', '/webdav/f')).text).toBe('hello');
  });

  test.each([
    ['without credentials', 'PUT /webdav/f HTTP/1.1\r\nHost: x\r\n', 401],
    ['where no folder is', `PUT /webdav/no/f HTTP/1.1\r\n${HEAD}`, 409],
    ['over a precondition', `PUT /webdav/f HTTP/1.1\r\n${HEAD}If-Match: "x"\r\n`, 412],
  ])('an upload %s is refused before its body, and the connection ends', async (_what, head, status) => {
    server = await TestServer.start();
    const raw = server.raw();
    raw.send(`${head}Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n`);
    const received = await raw.untilClosed();
    expect(received).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(received).toMatch(/\r\nConnection: close\r\n/i);
  });

  test('a refused upload that is being sent gets its whole answer, not a reset', async () => {
    server = await TestServer.start();
    const raw = server.raw();
    raw.send(`PUT /webdav/no/f HTTP/1.1\r\n${HEAD}Content-Length: 50000000\r\n\r\n`);
    for (let i = 0; i < 20 && !raw.socket.writableNeedDrain; i++) raw.send(Buffer.alloc(100_000));
    const received = await raw.until(/<\/d:error>/);
    expect(received).toMatch(/^HTTP\/1\.1 409 /);
    raw.socket.destroy();
  });

  test('a refused upload that is here already leaves the connection usable', async () => {
    server = await TestServer.start();
    const raw = server.raw();
    raw.send(`PUT /webdav/no/f HTTP/1.1\r\n${HEAD}Content-Length: 5\r\n\r\nhello`);
    await raw.until(/<\/d:error>/);
    raw.send('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(await raw.until(/\{"status":"ok"\}/)).toMatch(/^HTTP\/1\.1 409 [\s\S]*HTTP\/1\.1 200 /);
    raw.socket.destroy();
  });

  test('an unknown expectation is refused', async () => {
    server = await TestServer.start();
    const raw = server.raw();
    raw.send(`PUT /webdav/f HTTP/1.1\r\n${HEAD}Expect: miracles\r\nContent-Length: 5\r\n\r\n`);
    expect(await raw.untilClosed()).toMatch(/^HTTP\/1\.1 417 /);
  });

  test('a connection cut in the middle of an upload leaves what was there', async () => {
    server = await TestServer.start();
    await server.call('PUT', '/webdav/f', { body: 'the old one' });
    const raw = server.raw();
    raw.send(`PUT /webdav/f HTTP/1.1\r\n${HEAD}Content-Length: 200000\r\n\r\n${'x'.repeat(150_000)}`);
    raw.socket.end();
    await raw.untilClosed();
    expect((await server.call('GET', '/webdav/f')).text).toBe('the old one');
  });

  test.each([
    ['in a coding that is not undone', '1.1', 'Transfer-Encoding: gzip, chunked\r\n', '3\r\nabc\r\n0\r\n\r\n', 501],
    ['without a length in HTTP/1.0', '1.0', '', '', 411],
    ['without a length in HTTP/1.0, which comes at once,', '1.0', '', 'abc', 411],
  ])('a body %s is refused, and what was there stays', async (_what, version, header, body, status) => {
    server = await TestServer.start();
    await server.call('PUT', '/webdav/f', { body: 'old' });
    const raw = server.raw();
    raw.send(`PUT /webdav/f HTTP/${version}\r\n${HEAD}${header}Connection: close\r\n\r\n${body}`);
    expect(await raw.untilClosed()).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect((await server.call('GET', '/webdav/f')).text).toBe('old');
  });

  test('pipelined requests are answered in order', async () => {
    server = await TestServer.start();
    await server.call('PUT', '/webdav/a', { body: 'content a' });
    const raw = server.raw();
    raw.send(
      `GET /webdav/a HTTP/1.1\r\n${HEAD}\r\nGET /webdav/none HTTP/1.1\r\n${HEAD}\r\nGET /healthz HTTP/1.1\r\n${HEAD}Connection: close\r\n\r\n`,
    );
    const received = await raw.untilClosed();
    expect([...received.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => status)).toEqual(['200', '404', '200']);
  });

  test('what was stored is not told as refused because of what follows it', async () => {
    server = await TestServer.start();
    const raw = server.raw();
    raw.send(`PUT /webdav/f HTTP/1.1\r\n${HEAD}Content-Length: 3\r\n\r\nabcdef`);
    const answers = await raw.untilClosed();
    expect(answers).toMatch(/^HTTP\/1\.1 201 /);
    expect(answers).toContain('Connection: close');
    expect((await server.call('GET', '/webdav/f')).text).toBe('abc');
  });

  test('a request behind one whose answer ends the connection is let go with it', async () => {
    server = await TestServer.start();
    const raw = server.raw();
    await server.call('PUT', '/webdav/a', { body: 'a' });
    // The body that nobody reads ends the connection behind the first answer.
    raw.send(`GET /webdav/a HTTP/1.1\r\n${HEAD}Content-Length: 3\r\n\r\nabcGET /webdav/b HTTP/1.1\r\n${HEAD}\r\n`);
    expect(await raw.untilClosed()).not.toMatch(/HTTP\/1\.1 .*HTTP\/1\.1 /s);
    const active = async () =>
      /^cloudmount_http_active_requests (\d+)/m.exec((await server.call('GET', '/metrics', { user: null })).text)?.[1];
    await vi.waitFor(async () => expect(await active()).toBe('1')); // this one
    const second = server.requests().find(({ fields }) => fields['path'] === '/webdav/b');
    expect(second?.fields).toMatchObject({ aborted: true });
  });

  test('who would rather speak HTTP/2 is answered as asked, again and again', async () => {
    server = await TestServer.start();
    const wish = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n';
    const raw = server.raw();
    raw.send(`PUT /webdav/f HTTP/1.1\r\n${HEAD}${wish}Content-Length: 10\r\n\r\n01234`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    raw.send('56789');
    await raw.until(/^HTTP\/1\.1 201 /);
    raw.send(`GET /webdav/f HTTP/1.1\r\n${HEAD}${wish}\r\n`);
    expect(await raw.until(/0123456789$/)).toMatch(/HTTP\/1\.1 200 /);
    raw.send(`PROPFIND /webdav/f HTTP/1.1\r\n${HEAD}Connection: Upgrade, close\r\nUpgrade: h2c\r\nDepth: 0\r\n\r\n`);
    expect(await raw.untilClosed()).toMatch(/HTTP\/1\.1 207 /);
    expect(server.requests().map(({ fields }) => fields['status'])).toEqual([201, 200, 207]);
  });

  test('however many headers stand in front, none is left out that says where the body ends', async () => {
    server = await TestServer.start();
    const raw = server.raw();
    const many = 'a:\r\n'.repeat(4100);
    const hidden = 'GET /status.php HTTP/1.1\r\nHost: x\r\n\r\n';
    const wish = 'Connection: Upgrade\r\nUpgrade: h2c\r\n';
    raw.send(`GET /healthz HTTP/1.1\r\nHost: x\r\n${wish}${many}Content-Length: ${hidden.length}\r\n\r\n${hidden}`);
    await raw.until(/HTTP\/1\.1 200 /);
    raw.send('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    await raw.untilClosed();
    expect(server.requests().map(({ fields }) => fields['path'])).not.toContain('/status.php');
  });

  test('HEAD has the headers of GET and no body', async () => {
    server = await TestServer.start();
    await server.call('PUT', '/webdav/f', { body: 'hello' });
    const raw = server.raw();
    raw.send(`HEAD /webdav/f HTTP/1.1\r\n${HEAD}Connection: close\r\n\r\n`);
    const received = await raw.untilClosed();
    expect(received).toMatch(/\r\nContent-Length: 5\r\n/);
    expect(received).toMatch(/\r\n\r\n$/);
  });
});

describe('who says all there is to say and ends their half of the connection', () => {
  const end = async (text: string) => {
    const raw = server.raw();
    raw.socket.end(text);
    return await raw.untilClosed();
  };

  test('is answered, then the connection ends', async () => {
    server = await TestServer.start();
    await server.call('PUT', '/webdav/f', { body: Buffer.alloc(3_000_000, 'x') });
    expect(await end(`GET /webdav/f HTTP/1.1\r\n${HEAD}\r\n`)).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\nx{3000000}$/);
    expect(await end(`GET /webdav/f HTTP/1.0\r\n${HEAD}\r\n`)).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\nx{3000000}$/);
    expect(await end(`PUT /webdav/g HTTP/1.1\r\n${HEAD}Content-Length: 5\r\n\r\nhello`)).toMatch(/^HTTP\/1\.1 201 /);
    const long = `PUT /webdav/h HTTP/1.1\r\n${HEAD}Content-Length: 20000000\r\n\r\n${'y'.repeat(20_000_000)}`;
    expect(await end(long)).toMatch(/^HTTP\/1\.1 201 /);
    const two = `GET /webdav/g HTTP/1.1\r\n${HEAD}\r\nGET /webdav/none HTTP/1.1\r\n${HEAD}\r\n`;
    expect(await end(two)).toMatch(/^HTTP\/1\.1 200 [\s\S]*helloHTTP\/1\.1 404 /);
    // A password is checked for long enough that the end is known by then.
    const first = HEAD.replace(basic('alice'), basic('bert'));
    expect(await end(`PROPFIND /webdav/ HTTP/1.1\r\n${first}\r\n`)).toMatch(
      /^HTTP\/1\.1 207 [\s\S]*<\/d:multistatus>\n?$/,
    );
  });

  test('in the middle of a body or of the headers is let go, and nothing is kept', async () => {
    server = await TestServer.start();
    for (const [length, sent] of [
      [100, 5],
      [200_000, 100_000],
      [30_000_000, 20_000_000],
    ] as const) {
      await end(`PUT /webdav/f HTTP/1.1\r\n${HEAD}Content-Length: ${length}\r\n\r\n${'x'.repeat(sent)}`);
    }
    await end(`PUT /webdav/f HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`);
    await end(`GET /webdav/f HTTP/1.1\r\n${HEAD}`);
    await end('');
    expect((await server.call('GET', '/webdav/f')).status).toBe(404);
  });

  test('and then reads nothing is not waited for for ever', async () => {
    server = await TestServer.start({ limits: { idleTimeout_ms: 300 } });
    await server.call('PUT', '/webdav/f', { body: Buffer.alloc(30_000_000) });
    const raw = server.raw();
    raw.socket.pause();
    raw.socket.end(`GET /webdav/f HTTP/1.1\r\n${HEAD}\r\n`);
    const isCut = () =>
      server.requests().some(({ fields }) => fields['method'] === 'GET' && fields['aborted'] === true);
    await expect.poll(isCut, { timeout: 5000 }).toBe(true);
    raw.socket.destroy();
  });
});

describe('stopping', () => {
  test('lets a running upload end, takes no new connection', async () => {
    server = await TestServer.start();
    const raw = server.raw();
    raw.send(`PUT /webdav/f HTTP/1.1\r\n${HEAD}Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n`);
    await raw.until(/100 Continue/);
    raw.send('x'.repeat(50_000));
    const stopped = server.stop(30_000);
    raw.send('x'.repeat(50_000));
    const received = await raw.until(/HTTP\/1\.1 201 [\s\S]*\r\n\r\n/);
    expect(received).toMatch(/\r\nConnection: close\r\n/i);
    await stopped;
    await server.run();
    expect((await server.call('GET', '/webdav/f')).body.length).toBe(100_000);
  });

  test('ends what does not end by itself, and nothing half is left', async () => {
    server = await TestServer.start();
    const raw = server.raw();
    raw.send(`PUT /webdav/f HTTP/1.1\r\n${HEAD}Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n`);
    await raw.until(/100 Continue/);
    raw.send('x'.repeat(50_000));
    await server.stop(50);
    await raw.untilClosed();
    await server.run();
    expect((await server.call('GET', '/webdav/f')).status).toBe(404);
  });

  test('ends connections that only wait', async () => {
    server = await TestServer.start();
    const raw = server.raw();
    raw.send('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    await raw.until(/"ok"/);
    await server.stop(30_000);
    await raw.untilClosed();
  });

  test('twice is once', async () => {
    server = await TestServer.start();
    const { running } = server;
    await Promise.all([running.close(), running.close()]);
    await running.close();
  });
});
