import { afterEach, expect, test } from 'vitest';
import { AccessLines } from '../../../../src/server/access_log.js';
import { basic, TestServer } from './test_server.js';

let server: TestServer;
afterEach(async () => {
  await server.end();
});

test('one JSON line per request, those of one moment written at once, nothing secret in them', async () => {
  const written: string[] = [];
  const lines = new AccessLines({ write: (text) => written.push(text) }, (text) =>
    text.replace('hidden', '[redacted]'),
  );
  server = await TestServer.start({ access: lines.note });
  await server.call('PUT', '/webdav/a%22b?x=secret', { body: 'hello' });
  await server.call('GET', '/webdav/hidden', { user: null });
  await server.call('GET', '/healthz', { user: null });
  const raw = server.raw();
  const head = `Host: x\r\nAuthorization: ${basic('bert')}\r\n`;
  raw.send(`GET /webdav/1 HTTP/1.1\r\n${head}\r\nGET /webdav/2 HTTP/1.1\r\n${head}Connection: close\r\n\r\n`);
  await raw.untilClosed();
  await server.stop();
  lines.flush();
  const text = written.join('');
  expect(text.endsWith('\n')).toBe(true);
  const said = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(said).toMatchObject([
    {
      level: 30,
      msg: 'request',
      method: 'PUT',
      path: '/webdav/a%22b',
      status: 201,
      user: 'Alice',
      address: '127.0.0.1',
    },
    { method: 'GET', path: '/webdav/[redacted]', status: 401, user: null },
    { method: 'GET', path: '/webdav/1', status: 404, user: 'bert' },
    { method: 'GET', path: '/webdav/2', status: 404, user: 'bert', address: '127.0.0.1' },
  ]);
  for (const line of said) {
    expect(line).toMatchObject({ id: expect.any(String), time: expect.any(Number), duration_ms: expect.any(Number) });
    expect(line['sent_bytes']).toEqual(expect.any(Number));
  }
  // Pipelined requests share what their connection moved.
  expect(said.reduce((sum, line) => sum + Number(line['sent_bytes']), 0)).toBeGreaterThan(200);
  expect(said.reduce((sum, line) => sum + Number(line['received_bytes']), 0)).toBeGreaterThan(200);
  expect(text).not.toMatch(/secret|Basic/);
});
