// What a backup folder says of itself:
//
//   TARGET/manifest.json       this; replaced by rename as the last step, so it always describes a whole backup
//   TARGET/metadata-STAMP.db   the database as it was at one moment
//   TARGET/blobs/objects/…     every content that database refers to, by SHA-256
//   TARGET/backup.lock         held locked while a backup is written
//
// Unfinished chunked uploads are not part of it: their clients send them again.

import { open, readFile, rename } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CloudError, toCloudError } from '../../errors.js';
import { syncPath } from '../storage/sync_path.js';

export interface BackupManifest {
  readonly format: 'cloudmount-backup';
  readonly version: 1;
  readonly created: string;
  readonly database: { readonly file: string; readonly sha256: string; readonly size_bytes: number };
  readonly contents: { readonly count: number; readonly size_bytes: number };
  /** What people have in it; not told by the first backups. */
  readonly files?: BackupFiles;
}

export interface BackupFiles {
  readonly users: number;
  readonly count: number;
  readonly size_bytes: number;
}

export function manifestFile(target: string): string {
  return join(target, 'manifest.json');
}

/** Null when there is none. Rejects with `corrupt` or `unsupported` when it is not one we can read. */
export async function readManifest(target: string): Promise<BackupManifest | null> {
  let text: string;
  try {
    text = await readFile(manifestFile(target), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw toCloudError(error, `reading ${manifestFile(target)}`);
  }
  const value = parse(text);
  const { format, version, created, database, contents, files } = value as unknown as Partial<BackupManifest>;
  if (format !== 'cloudmount-backup') throw broken(target, 'its format is not "cloudmount-backup"');
  if (version !== 1) {
    throw new CloudError(
      'unsupported',
      `backup ${target}: this program reads version 1, found ${JSON.stringify(version)}; use the newer program`,
    );
  }
  if (
    typeof created !== 'string' ||
    typeof database?.file !== 'string' ||
    basename(database.file) !== database.file ||
    typeof database.sha256 !== 'string' ||
    typeof database.size_bytes !== 'number' ||
    typeof contents?.count !== 'number' ||
    typeof contents.size_bytes !== 'number'
  ) {
    throw broken(target, 'fields are missing');
  }
  return { format, version, created, database, contents, ...(isFiles(files) ? { files } : {}) };
}

function isFiles(files: Partial<BackupFiles> | undefined): files is BackupFiles {
  return [files?.users, files?.count, files?.size_bytes].every((number) => typeof number === 'number');
}

/** Durable when it resolves; the old manifest stays in force until then. */
export async function writeManifest(target: string, manifest: BackupManifest): Promise<void> {
  const file = manifestFile(target);
  const handle = await open(`${file}.new`, 'w', 0o600);
  try {
    await handle.writeFile(`${JSON.stringify(manifest, null, 2)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.new`, file);
  await syncPath(target);
}

function parse(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function broken(target: string, problem: string): CloudError {
  return new CloudError('corrupt', `backup ${target}: manifest.json is not the manifest of a backup, ${problem}`);
}
