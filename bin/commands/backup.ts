import { resolve } from 'node:path';
import { formatTime } from '../../src/clock.js';
import { backup as backUp } from '../../src/server/backup/backup.js';
import type { BackupFiles } from '../../src/server/backup/manifest.js';
import { restore as restoreFrom } from '../../src/server/backup/restore.js';
import { type Command, jsonOption } from '../cli/command.js';
import { note, printable, printJson, printLine } from '../cli/output.js';
import { startProgress } from '../cli/progress.js';
import { dataOption, serverDir } from '../cli/server_options.js';
import { formatSize, plural } from '../cli/sizes.js';

interface BackupOptions {
  readonly target: string;
  readonly data?: string | undefined;
  readonly json: boolean;
}

interface Copied {
  readonly done: number;
  readonly total: number;
  readonly done_bytes: number;
  readonly total_bytes: number;
}

/** Long work with a progress line that Ctrl-C ends cleanly: what was half done is no backup and no data folder. */
async function copying<T>(
  label: string,
  work: (options: { signal: AbortSignal; onProgress: (progress: Copied) => void }) => Promise<T>,
): Promise<T> {
  const interrupted = new AbortController();
  const stop = (): void => interrupted.abort();
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  const progress = startProgress(label);
  try {
    return await work({
      signal: interrupted.signal,
      onProgress: ({ done, total, done_bytes, total_bytes }) =>
        progress.update({ done_bytes, total_bytes, note: `${done} of ${plural(total, 'large content')}` }),
    });
  } finally {
    progress.end();
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
  }
}

export const backup: Command<BackupOptions> = {
  command: 'backup <target>',
  describe: 'Back up a server’s data folder, also while it serves; a second time copies only what is new',
  builder: (yargs) =>
    yargs
      .positional('target', {
        type: 'string',
        demandOption: true,
        describe: 'A new folder, or the backup to bring up to date',
      })
      .options({ ...dataOption, ...jsonOption })
      .example('$0 backup /mnt/disk/cloud-backup --data /srv/cloud', ''),
  handler: async ({ target, data, json }) => {
    const result = await copying('backup', (options) => backUp(serverDir(data), resolve(target), options));
    if (json) {
      printJson(result);
      return;
    }
    const { files, created } = result.manifest;
    printLine(`${printable(result.target)}: ${describeFiles(files)}, as of ${formatTime(Date.parse(created))}.`);
    note(
      result.added_bytes === 0
        ? 'Copied now: the database only; all large files were in the backup already.'
        : `Copied now: the database, and ${formatSize(result.added_bytes)} of files that the backup did not have.`,
    );
  },
};

function describeFiles(files: BackupFiles | null | undefined): string {
  if (files == null) return 'all files';
  return `${plural(files.count, 'file')}, ${formatSize(files.size_bytes)}, of ${plural(files.users, 'user')}`;
}

interface RestoreOptions {
  readonly source: string;
  readonly data?: string | undefined;
  readonly force: boolean;
  readonly json: boolean;
}

export const restore: Command<RestoreOptions> = {
  command: 'restore <source>',
  describe: 'Make a data folder out of a backup; nothing is overwritten',
  builder: (yargs) =>
    yargs
      .positional('source', { type: 'string', demandOption: true, describe: 'A backup made by `backup`' })
      .options({
        ...dataOption,
        force: { type: 'boolean', default: false, describe: 'Put a data folder that is in the way aside (it is kept)' },
        ...jsonOption,
      })
      .example('$0 restore /mnt/disk/cloud-backup --data /srv/cloud', ''),
  handler: async ({ source, data, force, json }) => {
    const result = await copying('restore', (options) =>
      restoreFrom(resolve(source), serverDir(data), { ...options, force }),
    );
    if (json) {
      printJson(result);
      return;
    }
    const when = formatTime(Date.parse(result.created));
    printLine(`${printable(result.dataDir)} is as it was at ${when}: ${describeFiles(result.files)}.`);
    if (result.previous !== null) note(`What was there before is in ${printable(result.previous)}.`);
  },
};
