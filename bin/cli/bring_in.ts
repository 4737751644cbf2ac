// What is to be shared but lies outside every drive is copied into the drive's folder "My shares" and sent, both with
// progress; then it can be shared like anything else there.

import { constants } from 'node:fs';
import { copyFile, lstat, mkdir, readdir, readlink, rm, symlink, utimes } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import type { FlushProgress } from '../../src/daemon/drive_methods.js';
import { type RunningMount, runningMounts } from '../../src/daemon/mount_registry.js';
import { driveOf, readMountTable } from '../../src/daemon/mount_table.js';
import { makeFolder } from '../../src/make_folder.js';
import type { Context } from './context.js';
import { CommandError, EXIT } from './exit_codes.js';
import { boundedRealpath, followParents, listMounts, withDrive } from './find_drive.js';
import { printable } from './output.js';
import { type Progress, startProgress } from './progress.js';
import { plural } from './sizes.js';

export const MY_SHARES = 'My shares';

export interface BroughtIn {
  readonly path: string;
  /** False: it was brought in before, and neither has changed since. */
  readonly copied: boolean;
}

/** Null when `path` lies in a drive already (or is nowhere at all); else where it is in a drive now. `check` rejects when
 * the drive's account could not share it anyhow, before anything is copied. */
export async function bringIn(
  context: Context,
  path: string,
  account: string | undefined,
  check: (account: string) => Promise<void>,
): Promise<BroughtIn | null> {
  const absolute = await followParents(resolve(path));
  const table = readMountTable();
  const real = (await boundedRealpath(absolute)) ?? absolute;
  if (driveOf(absolute, table) !== null || driveOf(real, table) !== null) return null;
  const found = await lstat(real).catch(() => null);
  if (found === null) throw new CommandError(EXIT.failed, `${printable(path)}: there is no such file or folder.`);
  if (!found.isFile() && !found.isDirectory()) {
    throw new CommandError(EXIT.failed, `${printable(path)}: only files and folders can be shared.`);
  }
  const mount = await theDrive(context, path, account);
  if (isWithin(mount.mountPoint, real)) {
    throw new CommandError(EXIT.failed, `${printable(path)}: the drive ${printable(mount.mountPoint)} is in it.`);
  }
  await check(mount.account);
  const place = await placeFor(real, join(mount.mountPoint, MY_SHARES));
  const target = place.path;
  if (!place.copied) {
    await send(context, mount, target);
    return place;
  }
  const progress = startProgress(`Copying ${printable(basename(real))}`);
  try {
    const total_bytes = await sizeOf(real);
    await new Copy(total_bytes, progress).run(real, target);
  } catch (error) {
    progress.end();
    await rm(target, { recursive: true, force: true }).catch(() => undefined);
    throw new CommandError(
      EXIT.failed,
      `${printable(path)} could not be copied into the drive: ${error instanceof Error ? printable(error.message) : error}`,
    );
  }
  progress.end();
  await send(context, mount, target);
  return place;
}

async function theDrive(context: Context, path: string, account: string | undefined): Promise<RunningMount> {
  const all = await runningMounts(context.dirs);
  const mounts = account === undefined ? all : all.filter((mount) => mount.account === account);
  const [only] = mounts;
  if (only !== undefined && mounts.length === 1) return only;
  const what = `${printable(path)} is in no drive; it would be copied into one first. ${listMounts(all)}`;
  if (only === undefined) throw new CommandError(EXIT.notRunning, what);
  const isOneAccount = mounts.every((mount) => mount.account === only.account);
  const advice = isOneAccount
    ? 'Several are of that account: copy it into one of them, then share it there.'
    : 'Say into which with --account.';
  throw new CommandError(EXIT.usage, `${what} ${advice}`);
}

/** `Plan.ods`, `Plan (2).ods`, …: the first that is free, or the same already. So who shares one thing with several people
 * shares one copy, in which they meet. */
async function placeFor(from: string, folder: string): Promise<BroughtIn> {
  await makeFolder(folder);
  const name = basename(from);
  const end = extname(name);
  const stem = end === '' ? name : name.slice(0, -end.length);
  for (let n = 1; ; n += 1) {
    const path = join(folder, n === 1 ? name : `${stem} (${n})${end}`);
    if ((await lstat(path).catch(() => null)) === null) return { path, copied: true };
    if (await isSame(from, path)) return { path, copied: false };
  }
}

/** Names, sizes and times to the second (some servers keep no more) as rsync compares them. */
async function isSame(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([lstat(one), lstat(other)]);
  if (a.isDirectory()) {
    if (!b.isDirectory()) return false;
    const names = (await readdir(one)).sort();
    if (names.join('/') !== (await readdir(other)).sort().join('/')) return false;
    for (const name of names) if (!(await isSame(join(one, name), join(other, name)))) return false;
    return true;
  }
  if (a.isSymbolicLink()) return b.isSymbolicLink() && (await readlink(one)) === (await readlink(other));
  const inSeconds = (ms: number) => Math.floor(ms / 1000);
  return a.isFile() && b.isFile() && a.size === b.size && inSeconds(a.mtimeMs) === inSeconds(b.mtimeMs);
}

async function sizeOf(path: string): Promise<number> {
  const found = await lstat(path);
  if (!found.isDirectory()) return found.isFile() ? found.size : 0;
  let size_bytes = 0;
  for (const name of await readdir(path)) size_bytes += await sizeOf(join(path, name));
  return size_bytes;
}

class Copy {
  readonly #total_bytes: number;
  readonly #progress: Progress;
  #done_bytes = 0;
  #files = 0;

  constructor(total_bytes: number, progress: Progress) {
    this.#total_bytes = total_bytes;
    this.#progress = progress;
  }

  async run(from: string, to: string): Promise<void> {
    const found = await lstat(from);
    if (found.isDirectory()) {
      await mkdir(to);
      for (const name of await readdir(from)) await this.run(join(from, name), join(to, name));
    } else if (found.isSymbolicLink()) {
      await symlink(await readlink(from), to);
      return;
    } else if (found.isFile()) {
      await copyFile(from, to, constants.COPYFILE_EXCL);
      this.#done_bytes += found.size;
      this.#files += 1;
      this.#progress.update({
        done_bytes: this.#done_bytes,
        total_bytes: this.#total_bytes,
        note: plural(this.#files, 'file'),
      });
    } else throw new Error(`${printable(from)} is no file, folder or symbolic link`);
    await utimes(to, found.atime, found.mtime);
  }
}

async function send(context: Context, mount: RunningMount, target: string): Promise<void> {
  const progress = startProgress(`Sending ${printable(basename(target))}`);
  try {
    await withDrive(context.dirs, mount, (client) =>
      client.call(
        'flush',
        { path: target.slice(mount.mountPoint.length + 1), wait: true },
        {
          onProgress: (value) => {
            const { pending } = value as FlushProgress;
            const note = plural(pending.changes, 'change');
            progress.update({ done_bytes: pending.sent_bytes, total_bytes: pending.size_bytes, note });
          },
        },
      ),
    );
  } catch (error) {
    const why = error instanceof Error ? printable(error.message) : String(error);
    throw new CommandError(
      EXIT.unfinished,
      `It is in the drive as ${printable(target)} but not on the server yet, so it is not shared: ${why}. ` +
        'Share it from there once it is.',
    );
  } finally {
    progress.end();
  }
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}
