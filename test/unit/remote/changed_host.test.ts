// Behind a proxy that passes requests on with another host (nginx's proxy_pass unless it is told otherwise) or ends TLS: the
// server does not know the address that the drive knows.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { createServer } from 'node:tls';
import { dir as tempDir } from 'tmp-promise';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRemote, type WebdavRemote } from '../../../src/remote/connect.js';
import { codeOf, movesOverLocked, path, put, readAll } from '../../contract/remote_contract.js';
import { startApache } from '../../support/apache.js';
import { FaultProxy } from '../../support/fault_proxy.js';
import { must } from '../../support/processes.js';
import { startRclone } from '../../support/rclone.js';
import { startLighttpd, startNginx } from '../../support/small_dav_servers.js';

const ACCOUNT = { user: 'alice', password: 'pass word' };
const STARTS = {
  apache: () => startApache(),
  rclone: () => startRclone(),
  nginx: () => startNginx(ACCOUNT),
  lighttpd: () => startLighttpd(ACCOUNT),
} as const;

describe.each(['apache', 'rclone', 'nginx', 'lighttpd'] as const)('%s, by another host', (kind) => {
  let server: { readonly url: string; readonly port: number; stop(): Promise<void> };
  let proxy: FaultProxy;
  let remote: WebdavRemote;
  let honest: WebdavRemote;
  let counter = 0;
  const fresh = () => `f${++counter}`;
  const renew = async () => {
    await remote?.close();
    remote = createRemote({ url: proxy.url + new URL(server.url).pathname, auth: ACCOUNT, timeout_ms: 4000 });
    await remote.connect();
  };

  beforeAll(async () => {
    server = await STARTS[kind]();
    proxy = await FaultProxy.open({ targetPort: server.port });
    proxy.add({ fault: { kind: 'request_headers', set: { host: 'inner.example:8080' } } });
    honest = createRemote({ url: server.url, auth: ACCOUNT });
    await honest.connect();
    await renew();
  });
  afterAll(async () => {
    await remote.close();
    await honest.close();
    await proxy.close();
    await server.stop();
  });

  it('moves a file and a folder, and asks no further move twice', async () => {
    const [from, to] = [fresh(), fresh()];
    await put(remote, from, 'ours');
    await remote.move(path(from), path(to), { overwrite: null, sourceEtag: null });
    expect((await readAll(honest, to)).toString()).toBe('ours');
    const [dir, moved] = [fresh(), fresh()];
    await remote.mkdir(path(dir), {});
    const before = proxy.count('MOVE');
    await remote.move(path(dir), path(moved), { overwrite: null, sourceEtag: null });
    expect((await honest.stat(path(moved))).kind).toBe('dir');
    expect(proxy.count('MOVE') - before).toBe(1);
  });

  it('moves over a file of the version that is known, no other', async () => {
    await renew();
    const [from, to] = [fresh(), fresh()];
    await put(remote, from, 'ours');
    await put(honest, to, 'replaced');
    const over = (etag: string) =>
      remote.move(path(from), path(to), { overwrite: { etag }, sourceEtag: null }).then(() => undefined);
    expect(await codeOf(over('"another"'))).toBe('precondition');
    expect((await readAll(honest, to)).toString()).toBe('replaced');
    await over((await honest.stat(path(to))).etag ?? '');
    expect((await readAll(honest, to)).toString()).toBe('ours');
    expect(await codeOf(honest.stat(path(from)))).toBe('not_found');
  });

  it.each(['what is moved', 'what is replaced', 'both'] as const)(
    'moves a file over another, locked by us: %s',
    async (which) => {
      await renew();
      await movesOverLocked({ remote, other: honest }, fresh(), fresh(), which);
    },
  );

  it('removes a folder', async () => {
    await renew();
    const dir = fresh();
    await remote.mkdir(path(dir), {});
    await remote.remove(path(dir), null);
    expect(await codeOf(honest.stat(path(dir)))).toBe('not_found');
  });
});

it.each(['apache', 'rclone', 'nginx', 'lighttpd'] as const)('moves a file on %s behind what ends TLS', async (kind) => {
  const { path: folder, cleanup } = await tempDir({ unsafeCleanup: true });
  const [key, ca] = [join(folder, 'key'), join(folder, 'cert')];
  await must('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-keyout', key],
    ...['-out', ca, '-subj', '/CN=front', '-addext', 'subjectAltName=IP:127.0.0.1'],
  ]);
  const server = await STARTS[kind]();
  const front = createServer({ key: await readFile(key), cert: await readFile(ca) }, (socket) => {
    const inner = connect(server.port, '127.0.0.1');
    pipeline(socket, inner, socket, () => undefined);
  });
  front.listen(0, '127.0.0.1');
  await once(front, 'listening');
  const { port } = front.address() as AddressInfo;
  const url = `https://127.0.0.1:${port}${new URL(server.url).pathname}`;
  const remote = createRemote({ url, auth: ACCOUNT, timeout_ms: 4000, tls: { ca: await readFile(ca, 'utf8') } });
  try {
    await remote.connect();
    await put(remote, 'a', 'ours');
    await remote.move(path('a'), path('b'), { overwrite: null, sourceEtag: null });
    expect((await readAll(remote, 'b')).toString()).toBe('ours');
  } finally {
    await remote.close();
    front.close();
    await server.stop();
    await cleanup();
  }
});
