// Room on the disk that is ours, as a file that is given up when others have filled the disk: a database has to write to
// be opened at all, and to remove anything.

import { randomBytes } from 'node:crypto';
import { rmSync, statfsSync, statSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';

/** `spare`: the file, somewhere on the disk of the folder `root`. */
export interface SpareRoom {
  readonly root: string;
  readonly spare: string;
}

const SPARE_BYTES = 16 << 20;
/** A small disk's part. */
const SPARE_PART = 1 / 80;
/** What opening a database takes, and then some. */
export const TIGHT_BYTES = 1 << 20;
const BLOCK_BYTES = 1 << 18;

/** Gives the room up. False: there is none. */
export function useSpareRoom({ spare }: SpareRoom): boolean {
  try {
    rmSync(spare);
    return true;
  } catch {
    return false;
  }
}

/** As `useSpareRoom`, if nearly nothing else is left. */
export function useSpareRoomIfTight(room: SpareRoom): boolean {
  return isTight(room) && useSpareRoom(room);
}

/** Hardly a file can be written. */
function isTight({ root }: SpareRoom): boolean {
  try {
    const { bavail, bsize } = statfsSync(root);
    return bavail * bsize < TIGHT_BYTES;
  } catch {
    return false; // a file system that does not tell says so when it is written to
  }
}

/** How much of the room is not there. */
export function lackingSpareRoom_bytes(room: SpareRoom): number {
  const has_bytes = statSync(room.spare, { throwIfNoEntry: false })?.size ?? 0;
  return Math.max(0, wantedBytes(room) - has_bytes);
}

function wantedBytes({ root }: SpareRoom): number {
  const { blocks, bsize } = statfsSync(root);
  return Math.floor(Math.min(SPARE_BYTES, blocks * bsize * SPARE_PART));
}

/** Takes the room (again), if so much is free: bytes of the disk that may be filled, null = without a known end. */
export async function keepSpareRoom(room: SpareRoom, free_bytes: number | null): Promise<void> {
  const wanted_bytes = wantedBytes(room);
  if (lackingSpareRoom_bytes(room) === 0 || free_bytes === null || free_bytes < 2 * wanted_bytes) return;
  const path = `${room.spare}.new`;
  const file = await open(path, 'w', 0o600);
  try {
    await fill(file, wanted_bytes);
    await rename(path, room.spare);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}

async function fill(file: FileHandle, size_bytes: number): Promise<void> {
  try {
    const { fallocate } = await import('./libc.js');
    fallocate(file.fd, 0, 0, size_bytes);
    return;
  } catch {} // not here, or not on this file system: then by writing, and of zeros one may keep nothing
  for (let at = 0; at < size_bytes; at += BLOCK_BYTES) {
    await file.write(randomBytes(Math.min(BLOCK_BYTES, size_bytes - at)));
  }
  await file.datasync();
}
