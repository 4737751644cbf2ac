// What a power cut may leave of a cache folder: of everything that was not synced each page is there or not, as chance
// has it. Content files: per page the last synced state or the last written one; unsynced files or names may be missing,
// unsynced removals undone. The WAL: synced up to its last sync, cut anywhere after.

import { access, cp, mkdir, readdir, readFile, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import Sqlite from 'better-sqlite3';
import type { Random } from '../support/random.js';

const PAGE = 4096;

export async function powerCut(dir: string, shadow: string, out: string, random: Random): Promise<void> {
  await mkdir(out, { mode: 0o700 });
  for (const name of await readdir(dir)) {
    if (name !== 'content' && name !== 'metadata.db-shm')
      await cp(join(dir, name), join(out, name), { recursive: true });
  }
  await cutWal(join(out, 'metadata.db-wal'), shadow, random);
  const written = await filesIn(join(dir, 'content'));
  const synced = await filesIn(join(shadow, 'data/content'));
  await mkdir(join(out, 'content'), { mode: 0o700 });
  for (const name of new Set([...written, ...synced])) {
    const now = written.includes(name) ? await readFile(join(dir, 'content', name)) : null;
    const before = synced.includes(name) ? await readFile(join(shadow, 'data/content', name)) : null;
    const named = await exists(join(shadow, 'names/content', name));
    const left = whatIsLeft(now, before, named, random);
    if (left === null) continue;
    const path = join(out, 'content', name);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(path, left, { mode: 0o600 });
    if (now !== null && left.equals(now)) {
      const { atime, mtime } = await stat(join(dir, 'content', name));
      await utimes(path, atime, mtime);
    }
  }
  await anotherBoot(join(out, 'metadata.db'));
}

/** `now` null = removed, `before` null = never synced. */
function whatIsLeft(now: Buffer | null, before: Buffer | null, named: boolean, random: Random): Buffer | null {
  if (now === null) return random.chance(0.5) ? before : null;
  if (!named && random.chance(0.5)) return null;
  const old = before ?? Buffer.alloc(0);
  const size = random.chance(0.5) ? old.length : now.length;
  const left = Buffer.alloc(size);
  const mode = random.below(3);
  for (let at = 0; at < size; at += PAGE) {
    const source = mode === 0 ? old : mode === 1 ? now : random.chance(0.5) ? old : now;
    if (at < source.length) source.copy(left, at, at, Math.min(at + PAGE, size, source.length));
  }
  return left;
}

async function cutWal(path: string, shadow: string, random: Random): Promise<void> {
  const wal = await readFile(path).catch(() => null);
  if (wal === null) return;
  const known = await readFile(join(shadow, 'wal.json'), 'utf8').catch(() => null);
  if (known === null) return; // before the first sync: nothing was promised yet
  const synced = JSON.parse(known) as { size: number; salt: string };
  if (wal.subarray(16, 24).toString('hex') !== synced.salt) return; // begun anew: SQLite has synced what was before
  const rest = wal.length - synced.size;
  await truncate(path, synced.size + (random.chance(0.4) ? 0 : random.below(rest + 1)));
}

/** The process that opens it must see that the machine was restarted. */
async function anotherBoot(path: string): Promise<void> {
  const db = new Sqlite(path);
  const has = db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'setting'").get();
  if (has !== undefined) db.prepare("UPDATE setting SET value = 'an earlier boot' WHERE key = 'boot'").run();
  db.close();
}

async function filesIn(dir: string): Promise<string[]> {
  const found: string[] = [];
  for (const folder of await readdir(dir).catch(() => [])) {
    if (!/^[0-9a-f]{2}$/.test(folder)) continue;
    for (const name of await readdir(join(dir, folder))) {
      if (/^\d+\.\d+$/.test(name)) found.push(join(folder, name));
    }
  }
  return found;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
