// Which drives run on this machine for this user: one small JSON file per daemon beside its control socket, written when
// the drive answers, removed when it stops. What counts is whether the socket answers. A note whose process is gone tells
// of a drive that ended without unmounting: whoever reads it keeps it as such, until the drive is mounted again.
// A note names a socket that is told passwords, or that is removed. So none is believed in a folder (in /tmp, without a
// login session) that another user may have made before us.

import { createHash } from 'node:crypto';
import { readFileSync, renameSync, rmSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { startTime } from '../process_state.js';
import { writePrivateFile } from './private_file.js';
import { privateDir, requirePrivate, type UserDirs } from './user_dirs.js';

export interface RunningMount {
  readonly pid: number;
  readonly account: string;
  readonly url: string;
  readonly mountPoint: string;
  readonly cacheDir: string;
  readonly socket: string;
  readonly logFile: string;
  readonly startedAt: string;
}

/** As it is written down. */
interface Note extends RunningMount {
  /** Tells the process from a later one of the same number (see `startTime`). Absent: an earlier version's. */
  readonly processStart?: string;
}

/** One daemon per cache folder, so the folder's name is the daemon's. */
export function mountId(cacheDir: string): string {
  return createHash('sha256').update(resolve(cacheDir)).digest('hex').slice(0, 16);
}

export function socketPath(dirs: UserDirs, cacheDir: string): string {
  return join(dirs.runtime, `${mountId(cacheDir)}.sock`);
}

function notePath(dirs: UserDirs, cacheDir: string): string {
  return join(dirs.runtime, `${mountId(cacheDir)}.json`);
}

function deathPath(dirs: UserDirs, cacheDir: string): string {
  return join(dirs.runtime, `${mountId(cacheDir)}.died`);
}

/** Its process ended without saying so: a crash, or `kill -9`. Takes it off the list, remembered for `deadMounts`. The
 * drive may run again by now, where the reader was slow: note and socket of that one stay. */
export function markDead(dirs: UserDirs, mount: RunningMount): void {
  withNoteOf(dirs, mount, (path) => {
    rmSync(mount.socket, { force: true });
    renameSync(path, deathPath(dirs, mount.cacheDir));
  });
}

/** Nothing waits between the look and what is done. */
function withNoteOf(dirs: UserDirs, mount: RunningMount, act: (path: string) => void): void {
  const path = notePath(dirs, mount.cacheDir);
  try {
    const note = parseNote(readFileSync(path, 'utf8'));
    if (note?.pid === mount.pid && note.startedAt === mount.startedAt) act(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error; // by another process
  }
}

/** The drives that ended without being unmounted and were not mounted again since. */
export async function deadMounts(dirs: UserDirs): Promise<readonly RunningMount[]> {
  await runningMounts(dirs);
  const found: RunningMount[] = [];
  for (const name of await notes(dirs, '.died')) {
    const note = parseNote(await readFile(join(dirs.runtime, name), 'utf8').catch(() => ''));
    if (note === null) continue;
    const { processStart: _, ...mount } = note;
    found.push(mount);
  }
  return found;
}

/** It was looked at, or the account is gone: nobody is told again. */
export async function forgetDeath(dirs: UserDirs, cacheDir: string): Promise<void> {
  await rm(deathPath(dirs, cacheDir), { force: true });
}

async function notes(dirs: UserDirs, ending: '.json' | '.died'): Promise<readonly string[]> {
  try {
    await requirePrivate(dirs.runtime);
    return (await readdir(dirs.runtime)).filter((name) => name.endsWith(ending));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

export async function registerMount(dirs: UserDirs, mount: RunningMount): Promise<void> {
  await privateDir(dirs.runtime);
  const processStart = startTime(mount.pid);
  const note: Note = { ...mount, ...(processStart === null ? {} : { processStart }) };
  await writePrivateFile(notePath(dirs, mount.cacheDir), `${JSON.stringify(note)}\n`);
  await rm(deathPath(dirs, mount.cacheDir), { force: true });
}

/** The drive may have been mounted again by now, by another process: the note of that one stays. */
export function unregisterMount(dirs: UserDirs, mount: RunningMount): void {
  withNoteOf(dirs, mount, (path) => rmSync(path));
}

/** All drives of this user whose process lives, ordered by mount point. */
export async function runningMounts(dirs: UserDirs): Promise<readonly RunningMount[]> {
  const found: RunningMount[] = [];
  for (const name of await notes(dirs, '.json')) {
    const note = parseNote(await readFile(join(dirs.runtime, name), 'utf8').catch(() => ''));
    if (note === null) continue;
    const { processStart, ...mount } = note;
    const started = startTime(mount.pid);
    if (started !== null && started === (processStart ?? started)) found.push(mount);
    else markDead(dirs, mount);
  }
  return found.sort((a, b) => (a.mountPoint < b.mountPoint ? -1 : 1));
}

function parseNote(text: string): Note | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const note = value as Record<string, unknown>;
  const texts = ['account', 'url', 'mountPoint', 'cacheDir', 'socket', 'logFile', 'startedAt'] as const;
  if (typeof note['pid'] !== 'number' || texts.some((key) => typeof note[key] !== 'string')) return null;
  return note as unknown as Note;
}
