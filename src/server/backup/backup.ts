// A copy of the data folder that is consistent while the server serves it. The database first, as one snapshot by
// SQLite's online backup; then every content that snapshot refers to, which are immutable, so they may be copied in any
// order and time; the manifest last. A target that holds a backup already is brought up to date: what it has is not
// copied again, and it stays the old backup until the new manifest replaces the old one.

import { closeSync, constants, openSync } from 'node:fs';
import { access, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { CloudError, toCloudError } from '../../errors.js';
import { makeFolder } from '../../make_folder.js';
import { type DataDir, dataDirLayout } from '../data_dir.js';
import { tryLock } from '../server_lock.js';
import { syncPath } from '../storage/sync_path.js';
import { type BlobRef, blobFile, copyBlobFile, hasBlobFile, linkBlobFile, sha256OfFile } from './blob_files.js';
import { takeBackupLease } from './lease.js';
import { type BackupFiles, type BackupManifest, readManifest, writeManifest } from './manifest.js';

export interface BackupProgress {
  readonly done: number;
  readonly total: number;
  readonly done_bytes: number;
  readonly total_bytes: number;
}

export interface BackupOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: BackupProgress) => void;
}

export interface BackupResult {
  readonly target: string;
  readonly manifest: BackupManifest;
  /** Contents copied or linked now; the others were there already. */
  readonly added: number;
  readonly added_bytes: number;
}

/** In the folder of the backup, held locked by who writes it. */
const LOCK_FILE = 'backup.lock';
/** More pages than any database has: the snapshot is taken in one step, writers go on meanwhile. */
const ALL_PAGES = 0x7fff_ffff;

/** Writes or updates the backup in `target`. Rejects with `not_found` when `dataDir` holds no server's data, with
 * `exists` when `target` holds anything else than a backup, with `corrupt` when a content is damaged or missing. */
export async function backup(dataDir: string, target: string, options: BackupOptions = {}): Promise<BackupResult> {
  const dir = dataDirLayout(dataDir);
  const into = resolve(target);
  await requireDatabase(dir);
  if (into === dir.root || into.startsWith(`${dir.root}/`)) {
    throw new CloudError('invalid', `backup to ${into}: it must be outside of the data folder ${dir.root}`);
  }
  await prepareTarget(into);
  const unlock = lockTarget(into);
  const created = new Date();
  const file = `metadata-${created.toISOString().replace(/[:.]/g, '-')}.db`;
  let giveBack: (() => void) | null = null;
  try {
    giveBack = await takeBackupLease(dir);
    await copyDatabase(dir.database, join(into, file));
    const blobs = referencedBlobs(join(into, file));
    const { added, added_bytes } = await copyBlobs(dir.blobs, join(into, 'blobs'), blobs, options);
    const manifest: BackupManifest = {
      format: 'cloudmount-backup',
      version: 1,
      created: created.toISOString(),
      database: {
        file,
        sha256: await sha256OfFile(join(into, file), options.signal),
        size_bytes: (await stat(join(into, file))).size,
      },
      contents: { count: blobs.length, size_bytes: blobs.reduce((sum, { size_bytes }) => sum + size_bytes, 0) },
      files: filesIn(join(into, file)),
    };
    await writeManifest(into, manifest);
    await prune(into, manifest, new Set(blobs.map(({ sha256 }) => sha256)));
    return { target: into, manifest, added, added_bytes };
  } catch (error) {
    // The old backup is still whole, or the new one is already; what was added is used by the next try.
    await removeUnused(into, file).catch(() => undefined);
    throw toCloudError(error, `backup of ${dir.root}`);
  } finally {
    giveBack?.();
    unlock();
  }
}

/** One at a time writes into a backup: each takes what the other has not finished for left-overs. */
function lockTarget(into: string): () => void {
  const file = join(into, LOCK_FILE);
  closeSync(openSync(file, 'a', 0o600));
  const lock = tryLock(file);
  if (lock !== null) return () => lock.close();
  throw new CloudError('busy', `backup to ${into}: another backup into this folder runs; wait for its end`);
}

async function requireDatabase(dir: DataDir): Promise<void> {
  try {
    await access(dir.database, constants.R_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw toCloudError(error, `backup of ${dir.root}`);
    throw new CloudError(
      'not_found',
      `backup of ${dir.root}: a server's data folder is required, it has no cloudmount.db`,
      {
        cause: error,
      },
    );
  }
}

async function prepareTarget(into: string): Promise<void> {
  try {
    await makeFolder(into, 0o700);
    await access(into, constants.W_OK);
  } catch (error) {
    throw new CloudError(
      'io',
      `backup to ${into}: it must be a folder this user can write to; ${(error as Error).message}`,
      { cause: error },
    );
  }
  if ((await readManifest(into)) !== null) return;
  // A first backup that was interrupted leaves only these.
  const foreign = (await readdir(into)).filter(
    (name) => name !== 'blobs' && name !== LOCK_FILE && !/^metadata-.*\.db(-journal)?$/.test(name),
  );
  if (foreign.length > 0) {
    throw new CloudError(
      'exists',
      `backup to ${into}: an empty folder or an earlier backup is required, found ${foreign.slice(0, 3).join(', ')}`,
    );
  }
}

async function copyDatabase(from: string, to: string): Promise<void> {
  await writeFile(to, '', { mode: 0o600, flag: 'wx' }); // the hashes of passwords are in it
  const source = new Database(from, { readonly: true, fileMustExist: true, timeout: 10_000 });
  try {
    await source.backup(to, { progress: () => ALL_PAGES });
  } finally {
    source.close();
  }
  // A backup is one file: without a log beside it, and readable from a read-only medium.
  const copy = new Database(to);
  try {
    copy.pragma('journal_mode = DELETE');
    const [check] = copy.pragma('quick_check') as { quick_check: string }[];
    if (check?.quick_check !== 'ok') throw new CloudError('corrupt', `the database is damaged: ${check?.quick_check}`);
  } finally {
    copy.close();
  }
  await syncPath(to);
}

/** Everything a snapshot needs from the blob store. */
export function referencedBlobs(database: string): readonly BlobRef[] {
  const db = new Database(database, { readonly: true, fileMustExist: true });
  try {
    return db
      .prepare<[], BlobRef>(
        `SELECT sha256, size AS size_bytes FROM contents
         WHERE data IS NULL AND unused_since_ms IS NULL ORDER BY sha256`,
      )
      .all();
  } finally {
    db.close();
  }
}

/** Contents are no files: equal ones are kept once, and small ones in the database. People count files. */
function filesIn(database: string): BackupFiles {
  const db = new Database(database, { readonly: true, fileMustExist: true });
  try {
    const [users = 0, count = 0, size_bytes = 0] =
      db
        .prepare<[], [number, number, number]>(
          `SELECT (SELECT count(*) FROM account), count(*), coalesce(sum(size), 0) FROM nodes WHERE kind = 0`,
        )
        .raw()
        .get() ?? [];
    return { users, count, size_bytes };
  } finally {
    db.close();
  }
}

async function copyBlobs(
  from: string,
  to: string,
  blobs: readonly BlobRef[],
  options: BackupOptions,
): Promise<{ added: number; added_bytes: number }> {
  const total_bytes = blobs.reduce((sum, { size_bytes }) => sum + size_bytes, 0);
  const folders = new Set<string>();
  let done = 0;
  let done_bytes = 0;
  let added = 0;
  let added_bytes = 0;
  for (const blob of blobs) {
    options.signal?.throwIfAborted();
    const source = blobFile(from, blob.sha256);
    const target = blobFile(to, blob.sha256);
    if (!(await hasBlobFile(target, blob.size_bytes))) {
      if (!(await hasBlobFile(source, blob.size_bytes))) {
        throw new CloudError('corrupt', `content ${blob.sha256}: ${blob.size_bytes} bytes are required at ${source}`);
      }
      if (!(await linkBlobFile(source, target))) await copyBlobFile(source, target, blob, options.signal);
      folders.add(join(target, '..'));
      added += 1;
      added_bytes += blob.size_bytes;
    }
    done += 1;
    done_bytes += blob.size_bytes;
    options.onProgress?.({ done, total: blobs.length, done_bytes, total_bytes });
  }
  for (const folder of folders) await syncPath(folder);
  if (folders.size > 0) await syncPath(join(to, 'objects'));
  return { added, added_bytes };
}

/** What only the previous backup needed. */
async function prune(into: string, manifest: BackupManifest, keep: ReadonlySet<string>): Promise<void> {
  await removeDatabases(into, (name) => name !== manifest.database.file);
  const objects = join(into, 'blobs', 'objects');
  for (const shard of await readdir(objects, { withFileTypes: true }).catch(() => [])) {
    if (!shard.isDirectory()) continue;
    for (const entry of await readdir(join(objects, shard.name), { withFileTypes: true })) {
      if (!entry.isFile() || keep.has(shard.name + entry.name)) continue;
      await rm(join(objects, shard.name, entry.name), { force: true });
    }
  }
}

/** Of a backup that failed, its database, unless the manifest is of it already: then only what comes after has failed. */
async function removeUnused(into: string, file: string): Promise<void> {
  if ((await readManifest(into))?.database.file === file) return;
  await removeDatabases(into, (name) => name.startsWith(file));
}

async function removeDatabases(into: string, isUnused: (name: string) => boolean): Promise<void> {
  for (const name of await readdir(into).catch(() => [])) {
    if (name.startsWith('metadata-') && isUnused(name)) await rm(join(into, name), { force: true });
  }
}
