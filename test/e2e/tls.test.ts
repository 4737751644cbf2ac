// TLS from both ends: `serve` with a certificate, drives that trust its authority, and a server that asks who comes.

import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { cli, mustCli, PROGRAM } from '../support/cli.js';
import { freePort } from '../support/free_port.js';
import { mountAt } from '../support/mounts.js';
import { eventually, must, spawnTracked, stop } from '../support/processes.js';
import { useStage } from '../support/world.js';

const stage = useStage();

interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** Signed by itself: it is its own authority. */
async function certificate(dir: string, name: string): Promise<Certificate> {
  const [cert, key] = [join(dir, `${name}.pem`), join(dir, `${name}.key`)];
  await must('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
    ...['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert],
  ]);
  return { cert, key };
}

it('serve with a certificate: a drive mounts by --cacert and by nothing less', async () => {
  const dir = stage().folder('tls');
  const own = await certificate(dir, 'server');
  const data = join(dir, 'data');
  const password = join(dir, 'password');
  await must('sh', ['-c', 'umask 077; echo "long enough 1" > "$0"', password]);
  const port = await freePort();
  const serve = ['serve', '--listen', `127.0.0.1:${port}`, '--data', data];

  // What cannot work makes nothing.
  const other = await certificate(dir, 'other');
  const mismatched = await cli([...serve, '--tls-cert', own.cert, '--tls-key', other.key]);
  expect(mismatched.code).toBe(2);
  expect(mismatched.stderr).toContain('the key that belongs to it');
  expect(mismatched.stderr).not.toContain('    at ');
  expect((await cli([...serve, '--tls-cert', own.cert])).code).toBe(2);
  expect(existsSync(data)).toBe(false);

  await mustCli(['user', 'add', 'anna', '--password-file', password, '--data', data]);
  const log = join(dir, 'serve.log');
  const server = spawnTracked(process.execPath, [PROGRAM, ...serve, '--tls-cert', own.cert, '--tls-key', own.key], {
    log,
  });
  stage().defer(async () => void (await stop(server, 'SIGTERM')));
  await eventually('the server to listen', async () =>
    (await readFile(log, 'utf8').catch(() => '')).includes(`https://127.0.0.1:${port}`),
  );
  const url = `https://127.0.0.1:${port}/`;
  expect(await must('curl', ['-sS', '--cacert', own.cert, `${url}healthz`])).toContain('ok');

  const drive = stage().drive(await stage().ownServer());
  const { env } = drive;
  const login = ['login', url, '--user', 'anna', '--password-file', password, '--name', 'tls', '--store', 'file'];
  const untrusted = await cli(login, { env });
  expect(untrusted.code).toBe(1);
  expect(untrusted.stderr).toContain('--cacert');
  const plain = await cli(['login', `http://127.0.0.1:${port}/`, ...login.slice(2)], { env });
  expect([plain.code, plain.stderr]).toEqual([4, expect.stringContaining(`try https://127.0.0.1:${port}/`)]);
  // No authority helps where the name is another.
  const elsewhere = ['login', `https://localhost:${port}/`, ...login.slice(2), '--cacert', own.cert];
  const misnamed = await cli(elsewhere, { env });
  expect([misnamed.code, misnamed.stderr]).toEqual([1, expect.stringContaining('is for other names than')]);
  expect(misnamed.stderr).not.toContain('--cacert');
  await mustCli([...login, '--cacert', own.cert], { env });
  await mustCli(['mount', 'tls', drive.dir], { env });
  const fs = stage().fs();
  await fs.writeFile(join(drive.dir, 'sealed'), 'letter');
  await mustCli(['flush', '--wait', drive.dir], { env });
  const status = JSON.parse(await mustCli(['status', drive.dir, '--json'], { env })) as { cache: { pushed: boolean } };
  expect(status.cache.pushed).toBe(true);
  await mustCli(['unmount', drive.dir], { env });
});

it('a server that wants a client certificate lets in who shows it', async () => {
  const dir = stage().folder('tls');
  const [face, client] = [await certificate(dir, 'face'), await certificate(dir, 'client')];
  const server = await stage().ownServer(['--trust-proxy']);
  const proxy = createServer(
    {
      cert: readFileSync(face.cert),
      key: readFileSync(face.key),
      ca: readFileSync(client.cert),
      requestCert: true,
      rejectUnauthorized: true,
    },
    (incoming, answer) => {
      const { method, url: path, headers } = incoming;
      const onward = request({ port: server.port, host: '127.0.0.1', method, path, headers }, (response) => {
        answer.writeHead(response.statusCode ?? 502, response.headers);
        response.pipe(answer);
      });
      onward.on('error', () => answer.destroy());
      incoming.pipe(onward);
    },
  );
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  stage().defer(async () => {
    proxy.closeAllConnections();
    proxy.close();
  });
  const url = `https://127.0.0.1:${(proxy.address() as AddressInfo).port}/`;
  const drive = stage().drive(server);
  const { env } = drive;
  const options = ['--user', 'alice', '--password-stdin', '--cacert', face.cert];
  const input = server.login.password;
  const unknown = await cli(['mount', url, drive.dir, ...options], { env, input });
  expect(unknown.code).not.toBe(0);
  expect(mountAt(drive.dir)).toBeUndefined();
  await mustCli(['mount', url, drive.dir, ...options, '--client-cert', client.cert, '--client-key', client.key], {
    env,
    input,
  });
  await stage().fs().writeFile(join(drive.dir, 'known'), 'by face');
  await mustCli(['flush', '--wait', drive.dir], { env });
  expect(await server.dav.text('known')).toBe('by face');
  await mustCli(['unmount', drive.dir], { env });
});
