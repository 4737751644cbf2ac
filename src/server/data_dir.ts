// The server's data folder, and nothing but its layout:
//
//   DIR/cloudmount.db   all metadata: accounts, tokens, the file tree, changes, locks (SQLite, WAL)
//   DIR/blobs/          file contents, named by their SHA-256, immutable
//   DIR/uploads/        unfinished chunked uploads, one folder per user and upload
//   DIR/tmp/            bodies that are being received; emptied at every start
//   DIR/server.lock     held locked by the server that serves this folder (server_lock.ts)
//   DIR/spare           room on the disk for when others have filled it (spare_room.ts)
//   DIR/server.json     who that is: pid and URL, for `cloudmount status` and error messages
//
// Everything of one server lives in here, so that copying it with `cloudmount backup` copies the server. Mode 0700:
// file contents are readable for the server's user only.

import { access, chmod, mkdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { CloudError } from '../errors.js';
import { makeFolder } from '../make_folder.js';
import { useSpareRoomIfTight } from '../spare_room.js';
import { manifestFile } from './backup/manifest.js';

export interface DataDir {
  /** Absolute. */
  readonly root: string;
  readonly database: string;
  readonly blobs: string;
  readonly uploads: string;
  readonly tmp: string;
  readonly spare: string;
  readonly lockFile: string;
  readonly stateFile: string;
}

export function dataDirLayout(dir: string): DataDir {
  const root = resolve(dir);
  return {
    root,
    database: join(root, 'cloudmount.db'),
    blobs: join(root, 'blobs'),
    uploads: join(root, 'uploads'),
    tmp: join(root, 'tmp'),
    spare: join(root, 'spare'),
    lockFile: join(root, 'server.lock'),
    stateFile: join(root, 'server.json'),
  };
}

/** Makes what is missing. A folder that others may look into is closed (0700): it holds everybody's files. */
export async function prepareDataDir(dir: string): Promise<DataDir> {
  const layout = dataDirLayout(dir);
  try {
    await makeFolder(layout.root, 0o700);
    const found = await stat(layout.root);
    if (!found.isDirectory()) throw new CloudError('not_dir', `data folder ${layout.root}: it is not a folder`);
    await refuseBackup(layout);
    useSpareRoomIfTight(layout);
    if ((found.mode & 0o077) !== 0) await chmod(layout.root, 0o700);
    for (const part of [layout.blobs, layout.uploads, layout.tmp]) await mkdir(part, { recursive: true, mode: 0o700 });
  } catch (error) {
    if (error instanceof CloudError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    throw new CloudError(
      code === 'EEXIST' || code === 'ENOTDIR' ? 'not_dir' : 'io',
      `preparing the data folder ${layout.root}: it must be a folder this user can write to; ${
        error instanceof Error ? error.message : String(error)
      }`,
      { cause: error },
    );
  }
  return layout;
}

/** Serving from a backup would show an empty cloud, and change the backup. */
async function refuseBackup({ root, database }: DataDir): Promise<void> {
  const has = (path: string) =>
    access(path).then(
      () => true,
      () => false,
    );
  if ((await has(database)) || !(await has(manifestFile(root)))) return;
  throw new CloudError(
    'invalid',
    `data folder ${root}: it is a backup, not the data of a server; bring it back into a new folder first: cloudmount restore ${root} --data NEW`,
  );
}
