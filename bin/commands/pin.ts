import { join } from 'node:path';
import type { PathStatus, PinInfo } from '../../src/cache/cache_api.js';
import type { Listed, PinProgress } from '../../src/daemon/drive_methods.js';
import { type Command, changing, jsonOption } from '../cli/command.js';
import { commandContext } from '../cli/context.js';
import { EXIT } from '../cli/exit_codes.js';
import { drivesFor, placeInDrive, withDrive } from '../cli/find_drive.js';
import { formatTable, note, printable, printJson, printLine } from '../cli/output.js';
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
    const pinned: (PinInfo & { mountPoint: string })[] = [];
    for (const path of paths) {
      const place = await placeInDrive(dirs, path);
      const progress = startProgress(printable(path));
      try {
        const info = await withDrive(dirs, place.mount, (client) =>
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
        );
        if (info !== null) pinned.push({ mountPoint: place.mount.mountPoint, ...(info as PinInfo) });
      } finally {
        progress.end();
      }
      if (!json) printLine(`${printable(path)} is pinned${wait ? ' and here' : '; it is being fetched'}.`);
    }
    if (json) printJson(pinned);
    return EXIT.ok;
  },
};

const UNPINNED: Readonly<Record<PathStatus['pin'], string>> = {
  pinned: 'is not pinned any more',
  inherited: 'is pinned by a folder above: unpin that one (see `cloudmount pins`)',
  none: 'was not pinned',
};

export const unpin = changing<{ readonly paths: readonly string[] }>({
  command: 'unpin <paths..>',
  describe: 'Stop keeping files here (they stay until the room is needed)',
  builder: (yargs) =>
    yargs
      .positional('paths', { type: 'string', array: true, demandOption: true, describe: 'Pinned files or folders' })
      .example('$0 unpin ~/Cloud/Projects', ''),
  handler: async ({ paths }) => {
    const { dirs } = commandContext();
    const done: { readonly mountPoint: string; readonly path: string; readonly before: PathStatus['pin'] }[] = [];
    const lines: string[] = [];
    for (const path of paths) {
      const place = await placeInDrive(dirs, path);
      const before = await withDrive(dirs, place.mount, async (client) => {
        const { pin: state } = (await client.call('pathStatus', { path: place.path })) as PathStatus;
        if (state === 'pinned') await client.call('unpin', { path: place.path });
        return state;
      });
      done.push({ mountPoint: place.mount.mountPoint, path: place.path, before });
      lines.push(`${printable(path)} ${UNPINNED[before]}.`);
    }
    return { json: done, text: lines.join('\n') };
  },
});

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

async function showPins(drive: string | undefined, json: boolean): Promise<typeof EXIT.ok> {
  const { dirs } = commandContext();
  const found: (PinInfo & { mountPoint: string })[] = [];
  for (const mount of await drivesFor(dirs, drive)) {
    const { items } = (await withDrive(dirs, mount, (client) => client.call('pins'))) as Listed<PinInfo>;
    found.push(...items.map((item) => ({ mountPoint: mount.mountPoint, ...item })));
  }
  if (json) printJson(found);
  else if (found.length === 0) printLine('Nothing is pinned.');
  else {
    printLine(
      formatTable(
        ['PATH', 'FILES', 'HERE', 'STATE'],
        found.map((item) => [
          printable(join(item.mountPoint, item.path)),
          item.kind === 'dir' ? String(item.files) : '1',
          `${formatSize(item.cached_bytes)} of ${formatSize(item.size_bytes)}`,
          item.complete ? 'complete' : 'being fetched',
        ]),
      ),
    );
  }
  return EXIT.ok;
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
  handler: async ({ paths, json }) => {
    const { dirs } = commandContext();
    const results: object[] = [];
    for (const path of paths) {
      const place = await placeInDrive(dirs, path);
      const result = (await withDrive(dirs, place.mount, (client) =>
        client.call('free', { path: place.path }),
      )) as FreeResult;
      results.push({
        mountPoint: place.mount.mountPoint,
        path: place.path,
        freed_bytes: result.freed_bytes,
        kept: result.kept.items,
      });
      if (json) continue;
      printLine(`${printable(path)}: ${formatSize(result.freed_bytes)} freed.`);
      for (const kept of result.kept.items.slice(0, KEPT_SHOWN))
        printLine(`  kept ${printable(kept.path)}: ${kept.reason}`);
      if (result.kept.total > KEPT_SHOWN)
        printLine(`  … and ${plural(result.kept.total - KEPT_SHOWN, 'more file', 'more files')} kept`);
    }
    if (json) printJson(results);
  },
};
