// `rclone serve webdav` on a loopback port of its own: the generic server that ignores If-Match on PUT.

import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free_port.js';
import { eventually, spawnTracked, stop } from './processes.js';

const BINARY = '/usr/bin/rclone';

export function hasRclone(): boolean {
  return existsSync(BINARY);
}

export interface RcloneOptions {
  readonly port?: number;
  readonly user?: string;
  readonly password?: string;
  /** Folder to serve; a temporary one without. */
  readonly root?: string;
}

export interface Rclone {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly root: string;
  readonly user: string | null;
  readonly password: string | null;
  stop(): Promise<void>;
}

export async function startRclone(options: RcloneOptions = {}): Promise<Rclone> {
  const dir = await mkdtemp(join(tmpdir(), 'cloudmount-rclone-'));
  const root = options.root ?? join(dir, 'files');
  await mkdir(root, { recursive: true });
  await writeFile(join(dir, 'rclone.conf'), '');
  const port = options.port ?? (await freePort());
  const user = options.user ?? null;
  const password = options.password ?? null;
  const log = join(dir, 'rclone.log');
  const env = {
    RCLONE_CONFIG: join(dir, 'rclone.conf'),
    RCLONE_CACHE_DIR: join(dir, 'cache'),
    ...(user === null ? {} : { RCLONE_USER: user, RCLONE_PASS: password ?? '' }),
  };
  const args = [
    'serve',
    'webdav',
    root,
    '--addr',
    `127.0.0.1:${port}`,
    '--vfs-cache-mode',
    'off',
    '--dir-cache-time',
    '0s',
  ];
  const child = spawnTracked(BINARY, args, { log, env });
  const url = `http://127.0.0.1:${port}/`;
  await eventually('rclone to answer', async () => {
    if (child.exitCode !== null) throw new Error(`rclone ended with ${child.exitCode}: ${await readFile(log, 'utf8')}`);
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
