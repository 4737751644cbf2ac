// `log`: who did what, as the account's server has noted it.

import type { PathStatus } from '../../src/cache/cache_api.js';
import { formatTime } from '../../src/clock.js';
import { accountOption, type Command, jsonOption } from '../cli/command.js';
import { type Context, commandContext } from '../cli/context.js';
import { CommandError, EXIT } from '../cli/exit_codes.js';
import { type PlaceInDrive, withDrive } from '../cli/find_drive.js';
import { type OcsClient, ocsAccount, ocsPlace, withOcs } from '../cli/ocs_client.js';
import { note, printable, printJson, printLine } from '../cli/output.js';

interface ActivityItem {
  readonly activity_id: number;
  readonly datetime: string;
  readonly subject: string;
  readonly client?: string | null;
  /** Where it was before (our server). */
  readonly from?: string;
}

interface LogOptions {
  readonly path?: string;
  readonly account?: string;
  readonly limit: number;
  readonly json: boolean;
}

/** As many as servers give at a time. */
const PAGE = 200;

export const log: Command<LogOptions> = {
  command: 'log [path]',
  describe: 'Who did what with a file, or with all that is yours, newest first',
  builder: (yargs) =>
    yargs
      .positional('path', { type: 'string', describe: 'A file or folder in a mounted drive' })
      .options({
        limit: { type: 'number', requiresArg: true, default: PAGE, describe: 'How many entries at most' },
        ...accountOption,
        ...jsonOption,
      })
      .example('$0 log ~/Cloud/budget.ods', ''),
  handler: async (options) => {
    const { path, limit } = options;
    if (!Number.isSafeInteger(limit) || limit < 1) {
      throw new CommandError(EXIT.usage, '--limit: a number of entries is required, 1 or more.');
    }
    const context = commandContext();
    const place = path === undefined ? null : await ocsPlace(context, path);
    const account = place?.account ?? (await ocsAccount(context, options.account));
    const fileid = place === null ? null : await fileIdOf(context, place.inDrive);
    const of = fileid === null ? {} : { object_type: 'files', object_id: fileid };
    const items = await withOcs(context, account, (client) => newest(client, of, limit));
    if (options.json) printJson(items);
    else if (items.length === 0) printLine('Nothing is noted.');
    else for (const item of items) printLine(entry(item));
    if (items.length === limit) note(`There may be older entries; to see more: --limit ${limit * 5}`);
  },
};

/** The number its server gave a file, by which the activity knows it. Null for a drive of all that is the user's: servers
 * number what is in it. */
async function fileIdOf({ dirs }: Context, { mount, path }: PlaceInDrive): Promise<string | null> {
  const { fileid } = (await withDrive(dirs, mount, (client) => client.call('pathStatus', { path }))) as PathStatus;
  if (typeof fileid === 'string') return fileid;
  if (path === '') return null;
  throw new CommandError(
    EXIT.failed,
    `"${printable(path)}" is not on the server yet, or the server numbers no files: nothing can be noted of it.`,
  );
}

/** The newest `limit` entries, asked for page by page. */
async function newest(
  client: OcsClient,
  of: Readonly<Record<string, string>>,
  limit: number,
): Promise<readonly ActivityItem[]> {
  const items: ActivityItem[] = [];
  for (let since = ''; items.length < limit; ) {
    const wanted = Math.min(PAGE, limit - items.length);
    const page = await client.activity({ ...of, limit: String(wanted), ...(since === '' ? {} : { since }) });
    const found = page.items as readonly ActivityItem[];
    items.push(...found);
    // A server may make one entry of several: fewer than wanted are not the end, none are.
    if (found.length === 0 || page.since === '' || page.since === since) break;
    since = page.since;
  }
  return items;
}

function entry({ datetime, subject, client, from }: ActivityItem): string {
  const before = from === undefined ? '' : ` (from ${printable(from.replace(/^\//, ''))})`;
  const by = client == null || client === '' ? '' : `  [${printable(client)}]`;
  return `${formatTime(Date.parse(datetime))}  ${printable(subject)}${before}${by}`;
}
