// nginx (its dav module with dav-ext) and lighttpd (mod_webdav) on a loopback port of their own: what many people have on a
// small machine. With a private configuration in one temporary folder; ended by their pid.

import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free_port.js';
import { eventually, spawnTracked, stop } from './processes.js';

export interface SmallServerOptions {
  readonly user: string;
  readonly password: string;
  readonly port?: number;
  /** Folder to serve; a temporary one without. */
  readonly root?: string;
  /** nginx: how long locks last; its own time is a minute, whatever is asked for. */
  readonly lock_s?: number;
  /** lighttpd: a folder of the root in which it is told to make no ETags. */
  readonly untagged?: string;
}

export interface SmallServer {
  /** Collection URL of the DAV root, slash at the end. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** The folder that is served. */
  readonly root: string;
  stop(): Promise<void>;
}

interface Place {
  readonly dir: string;
  readonly root: string;
  readonly port: number;
  readonly lock_s: number;
  readonly untagged: string | null;
}

interface Kind {
  readonly binary: string;
  /** A line of the file of users. */
  readonly login: (user: string, password: string) => string;
  readonly configuration: (at: Place) => string;
  readonly args: (configuration: string) => readonly string[];
}

const AS_ROOT = process.getuid?.() === 0;

const NGINX: Kind = {
  binary: '/usr/sbin/nginx',
  login: (user, password) => `${user}:{PLAIN}${password}\n`,
  args: (configuration) => ['-c', configuration],
  configuration: ({ dir, root, port, lock_s }) => `
daemon off;
${AS_ROOT ? 'user root;' : ''}
worker_processes 1;
pid ${dir}/pid;
error_log stderr warn;
load_module /usr/lib/nginx/modules/ngx_http_dav_ext_module.so;
events { }
http {
  access_log off;
  client_body_temp_path ${dir}/body;
  proxy_temp_path ${dir}/proxy;
  fastcgi_temp_path ${dir}/fastcgi;
  uwsgi_temp_path ${dir}/uwsgi;
  scgi_temp_path ${dir}/scgi;
  client_max_body_size 0;
  dav_ext_lock_zone zone=locks:4m timeout=${lock_s}s;
  server {
    listen 127.0.0.1:${port};
    root ${root};
    location / {
      auth_basic test;
      auth_basic_user_file ${dir}/users;
      dav_methods PUT DELETE MKCOL COPY MOVE;
      dav_ext_methods PROPFIND OPTIONS LOCK UNLOCK;
      dav_ext_lock zone=locks;
      dav_access user:rw;
    }
  }
}
`,
};

const WITHOUT_ETAGS = ['inode', 'mtime', 'size'].map((part) => `etag.use-${part} = "disable"`).join('\n');

const LIGHTTPD: Kind = {
  binary: '/usr/sbin/lighttpd',
  login: (user, password) => `${user}:${password}\n`,
  args: (configuration) => ['-D', '-f', configuration],
  configuration: ({ dir, root, port, untagged }) => `
server.modules = ("mod_auth", "mod_authn_file", "mod_webdav")
server.bind = "127.0.0.1"
server.port = ${port}
server.document-root = "${root}"
server.upload-dirs = ("${dir}")
auth.backend = "plain"
auth.backend.plain.userfile = "${dir}/users"
auth.require = ("/" => ("method" => "basic", "realm" => "test", "require" => "valid-user"))
mimetype.assign = (".txt" => "text/plain")
webdav.activate = "enable"
webdav.sqlite-db-name = "${dir}/locks.db"
${untagged === null ? '' : `$HTTP["url"] =~ "^/${untagged}/" { ${WITHOUT_ETAGS} }`}
`,
};

export const startNginx = (options: SmallServerOptions): Promise<SmallServer> => start(NGINX, options);
export const startLighttpd = (options: SmallServerOptions): Promise<SmallServer> => start(LIGHTTPD, options);

async function start(kind: Kind, { user, password, ...options }: SmallServerOptions): Promise<SmallServer> {
  const dir = await mkdtemp(join(tmpdir(), 'cloudmount-small-'));
  await chmod(dir, 0o755);
  const root = options.root ?? join(dir, 'files');
  await mkdir(root, { recursive: true });
  const port = options.port ?? (await freePort());
  const configuration = join(dir, 'server.conf');
  await writeFile(join(dir, 'users'), kind.login(user, password));
  await writeFile(
    configuration,
    kind.configuration({ dir, root, port, lock_s: options.lock_s ?? 60, untagged: options.untagged ?? null }),
  );
  const log = join(dir, 'log');
  const child = spawnTracked(kind.binary, kind.args(configuration), { log });
  const url = `http://127.0.0.1:${port}/`;
  await eventually(`${kind.binary} to answer`, async () => {
    if (child.exitCode !== null) {
      throw new Error(`${kind.binary} ended with ${child.exitCode}: ${await readFile(log, 'utf8')}`);
    }
    return (await fetch(url, { method: 'OPTIONS' })).status > 0;
  });
  return {
    url,
    port,
    pid: child.pid ?? 0,
    root,
    async stop() {
      await stop(child);
      await rm(dir, { recursive: true, force: true });
    },
  };
}
