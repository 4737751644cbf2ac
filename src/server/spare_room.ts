// Room on the disk that is ours, as a file that is given up when others have filled the disk: the database has to write to
// be opened at all, and to remove anything.

import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { type FileHandle, open, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { DataDir } from './data_dir.js';

const SPARE_BYTES = 16 << 20;
/** A small disk's part. */
const SPARE_PART = 1 / 80;
/** What opening the database takes, and then some. */
const TIGHT_BYTES = 1 << 20;
const BLOCK_BYTES = 1 << 18;

/** Gives the room up. False: there is none. */
export function useSpareRoom({ spare }: Pick<DataDir, 'spare'>): boolean {
  try {
    rmSync(spare);
    return true;
  } catch {
    return false;
  }
}

/** As `useSpareRoom`, if nearly nothing else is left. */
export async function useSpareRoomIfTight(dir: DataDir): Promise<void> {
  if (await isTight(dir)) useSpareRoom(dir);
}

/** Hardly a file can be written. */
async function isTight({ root }: Pick<DataDir, 'root'>): Promise<boolean> {
  // A file system that does not tell says so when it is written to.
  const disk = await statfs(root).catch(() => null);
  return disk !== null && disk.bavail * disk.bsize < TIGHT_BYTES;
}

/** Takes the room (again), if so much is free: bytes of the disk that may be filled, null = without a known end. */
export async function keepSpareRoom(dir: DataDir, free_bytes: number | null): Promise<void> {
  const { blocks, bsize } = await statfs(dir.root);
  const wanted_bytes = Math.floor(Math.min(SPARE_BYTES, blocks * bsize * SPARE_PART));
  const has_bytes = await stat(dir.spare).then(
    ({ size }) => size,
    () => 0,
  );
  if (has_bytes >= wanted_bytes || free_bytes === null || free_bytes < 2 * wanted_bytes) return;
  const path = join(dir.tmp, 'spare');
  const file = await open(path, 'w', 0o600);
  try {
    await fill(file, wanted_bytes);
    await rename(path, dir.spare);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}

async function fill(file: FileHandle, size_bytes: number): Promise<void> {
  // Of zeros a file system may keep nothing.
  for (let at = 0; at < size_bytes; at += BLOCK_BYTES) {
    await file.write(randomBytes(Math.min(BLOCK_BYTES, size_bytes - at)));
  }
  await file.datasync();
}
