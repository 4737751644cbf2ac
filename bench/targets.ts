// What is measured: the local folder as the reference, our drive, `rclone mount` with its full cache, and davfs2. Each
// is a folder that can be made cold (nothing cached anywhere) and be asked how much memory its daemon took.

import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DriveTarget } from '../test/support/drive.js';
import { Drive } from '../test/support/drive.js';
import { mountAt } from '../test/support/mounts.js';
import { eventually, must, type RunOptions, run, spawnTracked, stop } from '../test/support/processes.js';
import { dropPageCache } from './probe.js';

export type TargetName = 'local' | 'cloudmount' | 'cloudmount-user' | 'rclone' | 'davfs2';

export interface Target {
  readonly name: TargetName;
  readonly dir: string;
  /** Who may enter it, for the commands that measure. */
  readonly as: RunOptions;
  /** Nothing of the drive is cached any more, neither by the kernel nor on the disk. */
  cold(): Promise<void>;
  /** The drive was stopped and started; its cache on the disk is kept. */
  remount(): Promise<void>;
  /** The most memory its daemon ever had, bytes; null where there is none. */
  peakMemory_bytes(): number | null;
  stop(): Promise<void>;
}

/** `nobody`, for the measurement without privileges. */
const NOBODY = { uid: 65_534, gid: 65_534 };

export async function startTarget(name: TargetName, base: string, server: DriveTarget): Promise<Target> {
  await mkdir(base, { recursive: true });
  switch (name) {
    case 'local':
      return new LocalFolder(base);
    case 'cloudmount':
    case 'cloudmount-user':
      return OurDrive.start(name, base, server);
    case 'rclone':
      return RcloneMount.start(base, server);
    case 'davfs2':
      return DavfsMount.start(base, server);
  }
}

class LocalFolder implements Target {
  readonly name = 'local';
  readonly as = {};
  readonly dir: string;

  constructor(base: string) {
    this.dir = join(base, 'files');
    mkdirSync(this.dir);
  }

  async cold(): Promise<void> {
    await dropPageCache();
  }
  async remount(): Promise<void> {
    await dropPageCache();
  }
  peakMemory_bytes(): null {
    return null;
  }
  async stop(): Promise<void> {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

class OurDrive implements Target {
  readonly name: 'cloudmount' | 'cloudmount-user';
  readonly as: RunOptions;
  readonly #drive: Drive;
  #peak_bytes = 0;

  private constructor(name: 'cloudmount' | 'cloudmount-user', drive: Drive) {
    this.name = name;
    this.as = name === 'cloudmount' ? {} : { user: NOBODY };
    this.#drive = drive;
  }

  static async start(name: 'cloudmount' | 'cloudmount-user', base: string, server: DriveTarget): Promise<OurDrive> {
    const drive = new Drive(base, server, {
      dirCacheTime_s: 300,
      // In the foreground, with the memory of a drive in the background (bin/cli/background.ts).
      env: { NODE_ENV: 'production', NODE_OPTIONS: '--max-semi-space-size=4 --v8-pool-size=1' },
      ...(name === 'cloudmount' ? {} : { user: NOBODY }),
    });
    await drive.mount();
    return new OurDrive(name, drive);
  }

  get dir(): string {
    return this.#drive.dir;
  }

  async cold(): Promise<void> {
    this.peakMemory_bytes();
    await this.#drive.unmount();
    this.#drive.forgetCache();
    await dropPageCache();
    await this.#drive.mount();
  }

  async remount(): Promise<void> {
    this.peakMemory_bytes();
    await this.#drive.unmount();
    await dropPageCache();
    await this.#drive.mount();
  }

  peakMemory_bytes(): number {
    this.#peak_bytes = Math.max(this.#peak_bytes, this.#drive.peakRss_bytes());
    return this.#peak_bytes;
  }

  async stop(): Promise<void> {
    await this.#drive.unmount();
    rmSync(this.#drive.base, { recursive: true, force: true });
  }
}

/** The settings of the two peers are their defaults, but for what a fair comparison needs (named at each). */
class RcloneMount implements Target {
  readonly name = 'rclone';
  readonly as = {};
  readonly dir: string;
  readonly #base: string;
  #child: ReturnType<typeof spawnTracked> | null = null;
  #peak_bytes = 0;

  private constructor(base: string) {
    this.#base = base;
    this.dir = join(base, 'drive');
  }

  static async start(base: string, server: DriveTarget): Promise<RcloneMount> {
    const target = new RcloneMount(base);
    await mkdir(target.dir);
    const { root, user, password } = server.login;
    const obscured = (await must('rclone', ['obscure', password])).trim();
    const config = `[bench]\ntype = webdav\nurl = ${root}\nvendor = other\nuser = ${user}\npass = ${obscured}\n`;
    await writeFile(join(base, 'rclone.conf'), config, { mode: 0o600 });
    await target.#mount();
    return target;
  }

  async #mount(): Promise<void> {
    const args = ['mount', 'bench:', this.dir, '--vfs-cache-mode', 'full', '--allow-other', '--config'];
    this.#child = spawnTracked('rclone', [...args, join(this.#base, 'rclone.conf')], {
      env: { RCLONE_CACHE_DIR: join(this.#base, 'cache') },
      log: join(this.#base, 'rclone.log'),
    });
    await eventually('rclone to mount', () => mountAt(this.dir) !== undefined);
    await must('ls', [this.dir]);
  }

  async #unmount(): Promise<void> {
    this.peakMemory_bytes();
    await must('fusermount3', ['-u', this.dir]);
    if (this.#child !== null) await stop(this.#child, 'SIGTERM', 30_000);
  }

  async cold(): Promise<void> {
    await this.#unmount();
    await rm(join(this.#base, 'cache'), { recursive: true, force: true });
    await dropPageCache();
    await this.#mount();
  }

  async remount(): Promise<void> {
    await this.#unmount();
    await dropPageCache();
    await this.#mount();
  }

  peakMemory_bytes(): number {
    this.#peak_bytes = Math.max(this.#peak_bytes, peakOf(this.#child?.pid));
    return this.#peak_bytes;
  }

  async stop(): Promise<void> {
    await this.#unmount();
    rmSync(this.#base, { recursive: true, force: true });
  }
}

class DavfsMount implements Target {
  readonly name = 'davfs2';
  readonly as = {};
  readonly dir: string;
  readonly #base: string;
  readonly #server: DriveTarget;
  #pid: number | undefined;
  #peak_bytes = 0;

  private constructor(base: string, server: DriveTarget) {
    this.#base = base;
    this.#server = server;
    this.dir = join(base, 'drive');
  }

  static async start(base: string, server: DriveTarget): Promise<DavfsMount> {
    const target = new DavfsMount(base, server);
    await mkdir(target.dir);
    const cache = join(base, 'cache');
    await mkdir(cache);
    // mount.davfs works as the user davfs2 and wants its folder group-writable.
    await must('chown', ['root:davfs2', cache]);
    await must('chmod', ['1775', cache]);
    // The cache large enough for the files read, as the others have it. The buffer, because newer kernels ask for more
    // of a directory at once than its default takes. The rest are its defaults.
    await writeFile(join(base, 'davfs2.conf'), `cache_dir ${cache}\ncache_size 4000\nbuf_size 1024\nask_auth 1\n`);
    await target.#mount();
    return target;
  }

  async #mount(): Promise<void> {
    const { root, user, password } = this.#server.login;
    await must(
      'mount',
      ['-t', 'davfs', '-o', `conf=${join(this.#base, 'davfs2.conf')},username=${user}`, root, this.dir],
      {
        input: `${password}\n`,
      },
    );
    await eventually('davfs2 to mount', () => mountAt(this.dir) !== undefined);
    const { stdout } = await run('pgrep', ['-f', `mount.davfs ${root} ${this.dir}`]);
    this.#pid = Number(stdout.trim().split('\n')[0]);
  }

  async #unmount(): Promise<void> {
    this.peakMemory_bytes();
    await must('umount', [this.dir], { timeout_ms: 300_000 });
    await eventually('davfs2 to be unmounted', () => mountAt(this.dir) === undefined);
  }

  async cold(): Promise<void> {
    await this.#unmount();
    await must('sh', ['-c', 'rm -rf "$0"/*', join(this.#base, 'cache')]);
    await dropPageCache();
    await this.#mount();
  }

  async remount(): Promise<void> {
    await this.#unmount();
    await dropPageCache();
    await this.#mount();
  }

  peakMemory_bytes(): number {
    this.#peak_bytes = Math.max(this.#peak_bytes, peakOf(this.#pid));
    return this.#peak_bytes;
  }

  async stop(): Promise<void> {
    await this.#unmount();
    rmSync(this.#base, { recursive: true, force: true });
  }
}

function peakOf(pid: number | undefined): number {
  if (pid === undefined || Number.isNaN(pid)) return 0;
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch {
    return 0; // already gone
  }
}
