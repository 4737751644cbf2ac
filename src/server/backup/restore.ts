// A backup becomes a data folder again. Everything is put together and verified beside the place where it goes, and
// takes it in one rename: there is no moment at which half of it is there. What stood there before is never deleted:
// without `force` it is in the way, with `force` it is moved aside and named in the result.

import { constants } from 'node:fs';
import { copyFile, readdir, realpath, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { systemClock } from '../../clock.js';
import { CloudError, toCloudError } from '../../errors.js';
import { makeFolder } from '../../make_folder.js';
import { SERVER_SCHEMA } from '../accounts/open_accounts.js';
import { dataDirLayout, prepareDataDir } from '../data_dir.js';
import { ServerLock } from '../server_lock.js';
import { SqliteDatabase } from '../storage/metadata/sqlite/database.js';
import { SqliteMetadataStore } from '../storage/metadata/sqlite/sqlite_metadata_store.js';
import { syncPath } from '../storage/sync_path.js';
import { type BackupProgress, referencedBlobs } from './backup.js';
import { blobFile, copyBlobFile, sha256OfFile } from './blob_files.js';
import { type BackupFiles, readManifest } from './manifest.js';

export interface RestoreOptions {
  /** Put what is in the way aside instead of refusing. */
  readonly force?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: BackupProgress) => void;
}

export interface RestoreResult {
  readonly dataDir: string;
  readonly created: string;
  readonly contents: number;
  /** Null: the backup is of a program that did not count them. */
  readonly files: BackupFiles | null;
  /** Where the folder that was in the way is now; null if there was none. */
  readonly previous: string | null;
}

/** Rejects with `not_found` when `source` is no backup, `not_empty` when `dataDir` holds something and `force` was not
 * said, `busy` when a server runs on it, `corrupt` when anything in the backup is not what it should be. */
export async function restore(source: string, dataDir: string, options: RestoreOptions = {}): Promise<RestoreResult> {
  const from = resolve(source);
  // Where a symlink leads, to the disk it was chosen for; not in its place.
  const into = await realpath(dataDir).catch(() => resolve(dataDir));
  const manifest = await readManifest(from);
  if (manifest === null) {
    throw new CloudError('not_found', `restore from ${from}: a backup is required, there is no manifest.json`);
  }
  const occupied = await isOccupied(into);
  if (occupied && options.force !== true) {
    throw new CloudError(
      'not_empty',
      `restore to ${into}: an empty or missing folder is required, it holds files. ` +
        'With --force it is moved aside (not deleted) and the backup takes its place.',
    );
  }
  await mustBeReplaceable(into);
  const lock = occupied ? await ServerLock.acquire(dataDirLayout(into), 'restore') : null;
  const stamp = new Date().toISOString().replace(/[:.]/g, '-');
  const staging = join(dirname(into), `.${into.slice(dirname(into).length + 1)}.restoring-${stamp}`);
  try {
    await makeFolder(dirname(into));
    const dir = await prepareDataDir(staging);
    const database = join(from, manifest.database.file);
    if ((await sha256OfFile(database, options.signal)) !== manifest.database.sha256) {
      throw new CloudError('corrupt', `${database}: its SHA-256 is not the one in the manifest`);
    }
    await copyFile(database, dir.database, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    verifyDatabase(dir.database);
    const blobs = referencedBlobs(dir.database);
    const total_bytes = blobs.reduce((sum, { size_bytes }) => sum + size_bytes, 0);
    let done = 0;
    let done_bytes = 0;
    for (const blob of blobs) {
      await copyBlobFile(
        blobFile(join(from, 'blobs'), blob.sha256),
        blobFile(dir.blobs, blob.sha256),
        blob,
        options.signal,
      );
      done += 1;
      done_bytes += blob.size_bytes;
      options.onProgress?.({ done, total: blobs.length, done_bytes, total_bytes });
    }
    await startNewHistory(dir.database);
    await syncTree(dir.root, dir.blobs);
    const previous = occupied ? `${into}.before-restore-${stamp}` : null;
    if (previous !== null) await rename(into, previous);
    else await rmdir(into).catch(ignoreMissing);
    await rename(staging, into).catch(async (error: unknown) => {
      if (previous !== null) await rename(previous, into);
      throw error;
    });
    await syncPath(dirname(into));
    return {
      dataDir: into,
      created: manifest.created,
      contents: blobs.length,
      files: manifest.files ?? null,
      previous,
    };
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    throw toCloudError(error, `restore to ${into}`);
  } finally {
    await lock?.release();
  }
}

/** Rejects, before anything is copied, where no folder can take the place of another: the mount point of a disk or volume
 * does not go away, whether it is empty or not. A folder that is empty does, it would anyway. */
async function mustBeReplaceable(dir: string): Promise<void> {
  try {
    await rmdir(dir);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTEMPTY' || code === 'EEXIST') return;
    if (code !== 'EBUSY') throw toCloudError(error, `restore to ${dir}`);
    throw new CloudError(
      'invalid',
      `restore to ${dir}: a disk or volume is mounted there, which no folder can take the place of. ` +
        `Restore into a folder in it, like ${join(dir, 'cloud')}.`,
      { cause: error },
    );
  }
}

async function isOccupied(dir: string): Promise<boolean> {
  try {
    return (await readdir(dir)).length > 0;
  } catch (error) {
    ignoreMissing(error);
    return false;
  }
}

function verifyDatabase(file: string): void {
  const db = new Database(file, { fileMustExist: true });
  try {
    const [check] = db.pragma('integrity_check') as { integrity_check: string }[];
    if (check?.integrity_check !== 'ok') {
      throw new CloudError('corrupt', `the backup's database is damaged: ${check?.integrity_check}`);
    }
  } finally {
    db.close();
  }
}

/** Clients have seen a later state than the backup's: their sync tokens must not be taken for its own. */
async function startNewHistory(file: string): Promise<void> {
  const database = SqliteDatabase.open(file, SERVER_SCHEMA);
  const store = new SqliteMetadataStore(database, { clock: systemClock });
  await store.newEpoch();
  await store.close();
  await database.close();
}

async function syncTree(root: string, blobs: string): Promise<void> {
  const objects = join(blobs, 'objects');
  for (const shard of await readdir(objects).catch(() => [])) await syncPath(join(objects, shard));
  await syncPath(objects).catch(ignoreMissing);
  await syncPath(blobs);
  await syncPath(root);
}

function ignoreMissing(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
