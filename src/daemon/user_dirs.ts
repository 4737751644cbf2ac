// Where things live on this machine: the XDG base directories (XDG Base Directory Specification 0.8), each with a
// `cloudmount` folder of its own that only the user can enter.
//
//   config   accounts.json, credentials.json
//   data     cache/ACCOUNT: content, mirror of the tree, journal. Not under ~/.cache: it holds unsent work and pins, and
//            cleaning programs empty ~/.cache.
//   state    ACCOUNT/drive.log, ACCOUNT/remote.json
//   runtime  control sockets and the list of running mounts; gone after a reboot

import { lstat } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { CloudError, toCloudError } from '../errors.js';
import { makeFolder } from '../make_folder.js';

export interface UserDirs {
  readonly config: string;
  readonly data: string;
  readonly state: string;
  readonly runtime: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Computes, creates nothing. A relative path in an XDG variable is ignored, as the specification asks. */
export function userDirs(environment: Environment = process.env, uid = process.getuid?.() ?? 0): UserDirs {
  const home = environment['HOME'] ?? homedir();
  const base = (variable: string, fallback: string): string => {
    const value = environment[variable];
    return join(value !== undefined && isAbsolute(value) ? value : fallback, 'cloudmount');
  };
  return {
    config: base('XDG_CONFIG_HOME', join(home, '.config')),
    data: base('XDG_DATA_HOME', join(home, '.local', 'share')),
    state: base('XDG_STATE_HOME', join(home, '.local', 'state')),
    // Without a login session there is no XDG_RUNTIME_DIR; root has /run, others a folder of their own in /tmp that
    // `privateDir` only accepts if it is theirs.
    runtime:
      environment['XDG_RUNTIME_DIR'] !== undefined && isAbsolute(environment['XDG_RUNTIME_DIR'])
        ? join(environment['XDG_RUNTIME_DIR'], 'cloudmount')
        : uid === 0
          ? '/run/cloudmount'
          : join(tmpdir(), `cloudmount-${uid}`),
  };
}

/** Makes `path` a folder of this user that nobody else can enter, or rejects with `no_access` if it is somebody else's. */
export async function privateDir(path: string): Promise<string> {
  try {
    await makeFolder(path, 0o700);
  } catch (error) {
    throw toCloudError(error, `making the folder ${path}`);
  }
  await requirePrivate(path);
  return path;
}

/** Rejects with `no_access` unless `path` is a folder of this user that nobody else can write to. */
export async function requirePrivate(path: string): Promise<void> {
  const found = await lstat(path);
  const uid = process.getuid?.();
  if (!found.isDirectory() || (uid !== undefined && found.uid !== uid) || (found.mode & 0o022) !== 0) {
    throw new CloudError(
      'no_access',
      `using the folder ${path}: it must be a folder that belongs to user ${uid} and that nobody else can write to; ` +
        `found ${found.isDirectory() ? 'a folder' : 'no folder'} of user ${found.uid} with mode ${(found.mode & 0o7777).toString(8)}`,
    );
  }
}
