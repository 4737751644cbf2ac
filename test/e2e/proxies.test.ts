// Drives through a reverse proxy that is set up as docs/server.md says, word by word but for addresses and certificates.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { freePort } from '../support/free_port.js';
import { eventually, must, spawnTracked, stop } from '../support/processes.js';
import type { OwnServer } from '../support/servers.js';
import { useStage } from '../support/world.js';

const PAGE = readFileSync(new URL('../../docs/server.md', import.meta.url), 'utf8');
const MODULES = '/usr/lib/apache2/modules';
/** Of Apache's, what `a2enmod` and Debian's own configuration load. */
const LOADED = ['mpm_event', 'authz_core', 'ssl', 'headers', 'proxy', 'proxy_http'];

const stage = useStage();
let server: OwnServer;

beforeAll(async () => {
  server = await stage().ownServer(['--trust-proxy']);
});

/** The example in that language, for this place. */
function example(language: string, dir: string, port: number): string {
  const text = new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 's').exec(PAGE)?.[1] ?? '';
  return text
    .replaceAll('/etc/ssl', dir)
    .replaceAll('127.0.0.1:8080', `127.0.0.1:${server.port}`)
    .replace('listen 443', `listen 127.0.0.1:${port}`)
    .replace('*:443', `127.0.0.1:${port}`);
}

/** The rest of the proxy's configuration, and the line that starts it. */
const PROXIES = {
  nginx: (dir: string, port: number) => ({
    config: `daemon off; pid ${dir}/pid; error_log ${dir}/error.log; events {}
      http { access_log off; client_body_temp_path ${dir}/body; proxy_temp_path ${dir}/proxy;
      fastcgi_temp_path ${dir}/fastcgi; uwsgi_temp_path ${dir}/uwsgi; scgi_temp_path ${dir}/scgi;
      ${example('nginx', dir, port)} }`,
    line: ['/usr/sbin/nginx', '-c', join(dir, 'config')],
  }),
  apache: (dir: string, port: number) => ({
    config: [
      `ServerRoot ${dir}`,
      `PidFile ${dir}/pid`,
      `ErrorLog ${dir}/error.log`,
      `Listen 127.0.0.1:${port}`,
      'User www-data',
      'Group www-data',
      ...LOADED.map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`),
      example('apache', dir, port),
    ].join('\n'),
    line: ['/usr/sbin/apache2', '-f', join(dir, 'config'), '-DFOREGROUND'],
  }),
} as const;

it.each(['nginx', 'apache'] as const)(
  'a drive through %s: large files, odd and long names, news, links',
  async (kind) => {
    const dir = stage().folder(kind);
    const [cert, port] = [join(dir, 'cloud.pem'), await freePort()];
    await must('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...[
        '-subj',
        '/CN=proxy',
        '-addext',
        'subjectAltName=IP:127.0.0.1',
        '-keyout',
        join(dir, 'cloud.key'),
        '-out',
        cert,
      ],
    ]);
    const { config, line } = PROXIES[kind](dir, port);
    writeFileSync(join(dir, 'config'), config);
    const [program, ...args] = line;
    const child = spawnTracked(program as string, args, { log: join(dir, 'said') });
    stage().defer(async () => void (await stop(child, 'SIGTERM')));
    const url = `https://127.0.0.1:${port}`;
    const curl = (...more: readonly string[]) => must('curl', ['-sS', '--fail', '--cacert', cert, ...more]);
    await eventually('the proxy to answer', () => curl(`${url}/healthz`).catch(() => null));

    const { user, password } = server.login;
    const drive = stage().drive({ url, login: server.login }, { args: ['--cacert', cert] });
    await drive.mount();
    const fs = stage().fs();
    const pushed = async () => {
      const { cache } = JSON.parse(await drive.mustCli(['status', drive.dir, '--json'])) as {
        cache: { pushed: boolean };
      };
      return cache.pushed;
    };
    await eventually('changes to be pushed', pushed);

    // More than each takes by itself, and in one request: of a program that knows no pieces.
    const large = Buffer.alloc(20 * 1024 ** 2, kind);
    await fs.writeFile(drive.path(`${kind}-large`), large);
    await drive.flush();
    expect((await server.dav.get(`${kind}-large`)).equals(large)).toBe(true);
    const put = ['-u', `${user}:${password}`, '-T', join(dir, 'blob'), `${url}/dav/files/${user}/${kind}-put`];
    writeFileSync(join(dir, 'blob'), large);
    await curl(...put);
    await eventually('it to be seen', () => fs.exists(drive.path(`${kind}-put`)));

    // Three bytes for each of a name's when it is written in an address: 12 kB of them.
    const deep = [`${kind} x;y?z#&%2F+"`, ...Array.from({ length: 18 }, () => 'ü'.repeat(100))];
    for (let at = 1; at <= deep.length; at += 1) await fs.mkdir(drive.path(...deep.slice(0, at)));
    await fs.writeFile(drive.path(...deep, 'note'), 'deep');
    await drive.flush();
    await fs.rename(drive.path(...deep, 'note'), drive.path(...deep, 'renamed'));
    await drive.flush();
    expect(await server.dav.text([...deep, 'renamed'].join('/'))).toBe('deep');

    // What the server says of itself is the address of the proxy.
    const share = ['-u', `${user}:${password}`, '-H', 'OCS-APIRequest: true', '-d', `path=/${kind}-put&shareType=3`];
    const said = await curl(...share, `${url}/ocs/v2.php/apps/files_sharing/api/v1/shares?format=json`);
    expect(said.replaceAll('\\/', '/')).toContain(`"${url}/s/`);
  },
);
