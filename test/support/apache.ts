// Apache mod_dav on a loopback port of its own, with a private configuration, in one temporary folder. Runs as the user
// of the test (as root it drops to the owner Apache insists on), is stopped by its pid, leaves nothing behind.

import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free_port.js';
import { eventually, spawnTracked, stop } from './processes.js';

const BINARY = '/usr/sbin/apache2';
const MODULES = '/usr/lib/apache2/modules';

export function hasApache(): boolean {
  return existsSync(BINARY) && existsSync(join(MODULES, 'mod_dav_fs.so'));
}

export interface ApacheOptions {
  readonly port?: number;
  /** Basic authentication with this account; none without. */
  readonly user?: string;
  readonly password?: string;
  /** Folder to serve; a temporary one without. Must be writable by `www-data` when run as root. */
  readonly root?: string;
}

export interface Apache {
  /** Collection URL of the DAV root, slash at the end. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** The folder that is served. */
  readonly root: string;
  readonly user: string | null;
  readonly password: string | null;
  stop(): Promise<void>;
}

const AS_ROOT = process.getuid?.() === 0;

export async function startApache(options: ApacheOptions = {}): Promise<Apache> {
  const dir = await mkdtemp(join(tmpdir(), 'cloudmount-apache-'));
  await chmod(dir, 0o755);
  const root = options.root ?? join(dir, 'files');
  for (const folder of [root, join(dir, 'locks')]) {
    await mkdir(folder, { recursive: true });
    if (AS_ROOT) await chmod(folder, 0o777);
  }
  const port = options.port ?? (await freePort());
  const user = options.user ?? null;
  const password = options.password ?? null;
  if (user !== null) {
    // {SHA} needs no htpasswd program.
    const { createHash } = await import('node:crypto');
    const hash = createHash('sha1')
      .update(password ?? '')
      .digest('base64');
    await writeFile(join(dir, 'users'), `${user}:{SHA}${hash}\n`);
  }
  await writeFile(join(dir, 'apache.conf'), configuration({ dir, root, port, auth: user !== null }));
  const log = join(dir, 'stdout.log');
  const child = spawnTracked(BINARY, ['-f', join(dir, 'apache.conf'), '-DFOREGROUND'], { log });
  const url = `http://127.0.0.1:${port}/dav/`;
  await eventually('Apache to answer', async () => {
    if (child.exitCode !== null) {
      const said = (await readFile(log, 'utf8')) + (await readFile(join(dir, 'error.log'), 'utf8').catch(() => ''));
      throw new Error(`Apache ended with ${child.exitCode}: ${said}`);
    }
    return (await fetch(url, { method: 'OPTIONS' })).status > 0;
  });
  return {
    url,
    port,
    pid: child.pid ?? 0,
    root,
    user,
    password,
    async stop() {
      await stop(child);
      await rm(dir, { recursive: true, force: true });
    },
  };
}

function configuration(at: { dir: string; root: string; port: number; auth: boolean }): string {
  const modules = ['mpm_event', 'authz_core', 'authn_core', 'authn_file', 'auth_basic', 'authz_user', 'alias', 'mime'];
  const load = [...modules, 'dav', 'dav_fs'].map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`);
  return `${load.join('\n')}
ServerName 127.0.0.1
Listen 127.0.0.1:${at.port}
${AS_ROOT ? 'User www-data\nGroup www-data' : ''}
PidFile ${at.dir}/apache.pid
DefaultRuntimeDir ${at.dir}
ErrorLog ${at.dir}/error.log
LogLevel error
TypesConfig /dev/null
DocumentRoot ${at.root}
DavLockDB ${at.dir}/locks/db
LimitXMLRequestBody 0
AllowEncodedSlashes NoDecode
KeepAlive On
MaxKeepAliveRequests 0
Alias /dav ${at.root}
<Directory />
  Require all denied
</Directory>
<Directory ${at.root}>
  Dav On
  DavDepthInfinity On
  ${at.auth ? `AuthType Basic\n  AuthName test\n  AuthUserFile ${at.dir}/users\n  Require valid-user` : 'Require all granted'}
</Directory>
`;
}
