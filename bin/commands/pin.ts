import { join } from 'node:path';
import type { PathStatus, PinInfo } from '../../src/cache/cache_api.js';
import type { Listed, PinProgress } from '../../src/daemon/drive_methods.js';
import { type Command, jsonOption } from '../cli/command.js';
import { commandContext } from '../cli/context.js';
import { type InDrive, listFromEach } from '../cli/each_drive.js';
import { eachPath } from '../cli/each_path.js';
import { EXIT, type ExitCode } from '../cli/exit_codes.js';
import { placeInDrive, withDrive } from '../cli/find_drive.js';
import { formatTable, note, printable, printLine } from '../cli/output.js';
import { startProgress } from '../cli/progress.js';
import { formatSize, plural } from '../cli/sizes.js';

interface PinOptions {
  readonly paths?: readonly string[] | undefined;
  readonly wait: boolean;
  readonly list: boolean;
  readonly json: boolean;
}

export const pin: Command<PinOptions> = {
  command: 'pin [paths..]',
  describe: 'Keep files and folders here, for use without a network',
  builder: (yargs) =>
    yargs
      .positional('paths', {
        type: 'string',
        array: true,
        describe: 'Files or folders in a drive; folders with all that is and will be in them',
      })
      .options({
        wait: {
          type: 'boolean',
          default: true,
          describe: 'Wait until everything is here (--no-wait: fetch in the background)',
        },
        list: { type: 'boolean', default: false, describe: 'Show what is pinned, as `pins` does' },
        ...jsonOption,
      })
      .example('$0 pin ~/Cloud/Projects', 'Fetch the folder now and keep it complete'),
  handler: async ({ paths = [], wait, list, json }) => {
    if (list) return showPins(undefined, json);
    if (paths.length === 0) {
      note('Name at least one file or folder; `cloudmount pin --help` explains.');
      return EXIT.usage;
    }
    const { dirs } = commandContext();
    return eachPath(paths, json, async (path) => {
      const place = await placeInDrive(dirs, path);
      const progress = startProgress(printable(path));
      try {
        const info = (await withDrive(dirs, place.mount, (client) =>
          client.call(
            'pin',
            { path: place.path, wait },
            {
              onProgress: (value) => {
                const state = value as PinProgress | null;
                if (state !== null) progress.update({ done_bytes: state.cached_bytes, total_bytes: state.size_bytes });
              },
            },
          ),
        )) as PinInfo | null;
        return {
          json: { mountPoint: place.mount.mountPoint, path: place.path, ...info },
          text: `${printable(path)} is pinned${wait ? ' and here' : '; it is being fetched'}.`,
        };
      } finally {
        progress.end();
      }
    });
  },
};

const UNPINNED: Readonly<Record<PathStatus['pin'], string>> = {
  pinned: 'is not pinned any more',
  inherited: 'is pinned by a folder above: unpin that one (see `cloudmount pins`)',
  none: 'was not pinned',
};

export const unpin: Command<{ readonly paths: readonly string[]; readonly json: boolean }> = {
  command: 'unpin <paths..>',
  describe: 'Stop keeping files here (they stay until the room is needed)',
  builder: (yargs) =>
    yargs
      .positional('paths', { type: 'string', array: true, demandOption: true, describe: 'Pinned files or folders' })
      .options(jsonOption)
      .example('$0 unpin ~/Cloud/Projects', ''),
  handler: ({ paths, json }) => {
    const { dirs } = commandContext();
    return eachPath(paths, json, async (path) => {
      const place = await placeInDrive(dirs, path);
      const before = await withDrive(dirs, place.mount, async (client) => {
        const { pin: state } = (await client.call('pathStatus', { path: place.path })) as PathStatus;
        if (state === 'pinned') await client.call('unpin', { path: place.path });
        return state;
      });
      return {
        json: { mountPoint: place.mount.mountPoint, path: place.path, before },
        text: `${printable(path)} ${UNPINNED[before]}.`,
      };
    });
  },
};

export const pins: Command<{ readonly drive?: string | undefined; readonly json: boolean }> = {
  command: 'pins [drive]',
  describe: 'Show what is pinned and how much of it is here',
  builder: (yargs) =>
    yargs
      .positional('drive', { type: 'string', describe: 'A mount point or an account [default: all drives]' })
      .options(jsonOption)
      .example('$0 pins --json', ''),
  handler: ({ drive, json }) => showPins(drive, json),
};

async function showPins(drive: string | undefined, json: boolean): Promise<ExitCode> {
  const { dirs } = commandContext();
  return await listFromEach<PinInfo>('pins', { dirs, target: drive, json }, (found, isAll) => {
    if (found.length > 0) printLine(tableOf(found));
    else if (isAll) printLine('Nothing is pinned.');
  });
}

function tableOf(found: readonly (PinInfo & InDrive)[]): string {
  return formatTable(
    ['PATH', 'FILES', 'HERE', 'STATE'],
    found.map((item) => [
      printable(join(item.mountPoint, item.path)),
      item.kind === 'dir' ? String(item.files) : '1',
      `${formatSize(item.cached_bytes)} of ${formatSize(item.size_bytes)}`,
      item.complete ? 'complete' : 'being fetched',
    ]),
  );
}

interface FreeResult {
  readonly freed_bytes: number;
  readonly kept: Listed<{ readonly path: string; readonly reason: string }>;
}

const KEPT_SHOWN = 20;

export const free: Command<{ readonly paths: readonly string[]; readonly json: boolean }> = {
  command: 'free <paths..>',
  describe: 'Give local room back now: contents stay on the server (never touches what is not there yet)',
  builder: (yargs) =>
    yargs
      .positional('paths', { type: 'string', array: true, demandOption: true, describe: 'Files or folders in a drive' })
      .options(jsonOption)
      .example('$0 free ~/Cloud/Videos', ''),
  handler: ({ paths, json }) => {
    const { dirs } = commandContext();
    return eachPath(paths, json, async (path) => {
      const place = await placeInDrive(dirs, path);
      const { freed_bytes, kept } = (await withDrive(dirs, place.mount, (client) =>
        client.call('free', { path: place.path }),
      )) as FreeResult;
      return {
        json: { mountPoint: place.mount.mountPoint, path: place.path, freed_bytes, kept: kept.items },
        text: [`${printable(path)}: ${formatSize(freed_bytes)} freed.`, ...describeKept(kept)].join('\n'),
      };
    });
  },
};

function describeKept({ items, total }: FreeResult['kept']): string[] {
  const lines = items.slice(0, KEPT_SHOWN).map((kept) => `  kept ${printable(kept.path)}: ${kept.reason}`);
  if (total > KEPT_SHOWN) lines.push(`  … and ${plural(total - KEPT_SHOWN, 'more file', 'more files')} kept`);
  return lines;
}
