import type { DriveConfig } from '../../src/daemon/drive_config.js';
import { LOG_LEVELS, type LogLevel } from '../../src/daemon/log/logger.js';
import { deadMounts, runningMounts } from '../../src/daemon/mount_registry.js';
import type { UserDirs } from '../../src/daemon/user_dirs.js';
import { DRIVE_PROCESS, keepDrive, type Started, serveInBackground, startInBackground } from '../cli/background.js';
import { type Command, jsonOption } from '../cli/command.js';
import { type Context, commandContext } from '../cli/context.js';
import { describeDeath, loginAgain } from '../cli/describe.js';
import { planDrive, resolveLogin } from '../cli/drive_plan.js';
import { EXIT } from '../cli/exit_codes.js';
import { type MountOptions, parseMountOptions } from '../cli/mount_options.js';
import { note, printable, printJson, printLine } from '../cli/output.js';
import { refuseIfMissing } from '../cli/refuse.js';
import { mountRequirements } from '../cli/requirements.js';
import { parseDuration, parseSize } from '../cli/sizes.js';
import { isSamePlace, type StrandedCache, strandedCaches } from '../cli/stranded.js';

export interface DriveOptions {
  readonly cacheDir?: string | undefined;
  readonly cacheSize?: string | undefined;
  readonly minFree?: string | undefined;
  readonly readOnly?: boolean | undefined;
  readonly allowOther?: boolean | undefined;
  readonly writeThrough?: boolean | undefined;
  readonly autoLock?: boolean | undefined;
  readonly autoLockOffice?: boolean | undefined;
  readonly dirCacheTime?: string | undefined;
  readonly timeout?: string | undefined;
  readonly logLevel?: LogLevel | undefined;
  readonly o?: readonly string[] | undefined;
}

/** Options of a drive, for `mount` and `up`. */
export const driveOptions = {
  'cache-dir': {
    type: 'string',
    requiresArg: true,
    describe: 'Where contents and the queue are kept [default: ~/.local/share/cloudmount/cache/ACCOUNT]',
  },
  'cache-size': {
    type: 'string',
    requiresArg: true,
    describe: 'Most room for contents that could be fetched again [default: 10G]',
  },
  'min-free': {
    type: 'string',
    requiresArg: true,
    describe: 'Room that is always left on the disk of the cache [default: 1G]',
  },
  'read-only': { type: 'boolean', describe: 'Nothing can be changed' },
  'allow-other': { type: 'boolean', describe: 'Other users may enter the drive, as its modes allow' },
  'write-through': { type: 'boolean', describe: 'close() returns when the server has the file' },
  'auto-lock': { type: 'boolean', describe: 'Lock a file on the server while it is open for writing' },
  'auto-lock-office': {
    type: 'boolean',
    describe: 'Lock a document on the server while LibreOffice or MS Office has it open',
  },
  'dir-cache-time': {
    type: 'string',
    requiresArg: true,
    describe: 'Seconds a listing is taken as fresh, on servers that do not tell of changes [default: 60]',
  },
  timeout: { type: 'string', requiresArg: true, describe: 'Seconds a read may wait for the network [default: 20]' },
  'log-level': { choices: LOG_LEVELS, describe: 'How much goes to the log [default: info]' },
  o: {
    type: 'string',
    array: true,
    nargs: 1,
    requiresArg: true,
    describe: 'The same as in fstab: -o ro,cache-size=5G,uid=1000',
  },
} as const;

/** The command's own options win over `-o`. */
export function mergeOptions(options: DriveOptions): MountOptions & { readonly logLevel?: LogLevel | undefined } {
  const merged: MountOptions = Object.assign({}, ...(options.o ?? []).map(parseMountOptions));
  return {
    ...merged,
    ...(options.cacheDir === undefined ? {} : { cacheDir: options.cacheDir }),
    ...(options.cacheSize === undefined ? {} : { cacheSize_bytes: parseSize(options.cacheSize, '--cache-size') }),
    ...(options.minFree === undefined ? {} : { minFree_bytes: parseSize(options.minFree, '--min-free') }),
    ...(options.readOnly === undefined ? {} : { readOnly: options.readOnly }),
    ...(options.allowOther === undefined ? {} : { allowOther: options.allowOther }),
    ...(options.autoLockOffice === true ? { autoLock: 'office' } : {}),
    ...(options.autoLock === undefined ? {} : { autoLock: options.autoLock ? 'write' : 'off' }),
    ...(options.writeThrough === undefined ? {} : { writeThrough: options.writeThrough }),
    ...(options.dirCacheTime === undefined
      ? {}
      : { dirCacheTime_ms: parseDuration(options.dirCacheTime, '--dir-cache-time') }),
    ...(options.timeout === undefined ? {} : { timeout_ms: parseDuration(options.timeout, '--timeout') }),
    logLevel: options.logLevel,
  };
}

interface Options extends DriveOptions {
  readonly account: string;
  readonly dir: string;
  readonly user?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly passwordStdin: boolean;
  readonly cacert?: string | undefined;
  readonly clientCert?: string | undefined;
  readonly clientKey?: string | undefined;
  readonly adoptCache: boolean;
  readonly foreground: boolean;
  readonly json: boolean;
}

/** For a server that is named by its address. */
export const loginOptions = {
  user: { type: 'string', requiresArg: true, describe: 'User name on the server' },
  'password-file': { type: 'string', requiresArg: true, describe: 'File whose first line is the password' },
  'password-stdin': { type: 'boolean', default: false, describe: 'Read the password from standard input' },
  cacert: { type: 'string', requiresArg: true, describe: 'PEM file of certificate authorities to trust' },
  'client-cert': { type: 'string', requiresArg: true, describe: 'PEM file of a client certificate' },
  'client-key': { type: 'string', requiresArg: true, describe: 'PEM file of its key' },
} as const;

export const mount: Command<Options> = {
  command: 'mount <account> <dir>',
  describe: 'Mount an account, or a server by its address, on a folder',
  builder: (yargs) =>
    yargs
      .positional('account', {
        type: 'string',
        demandOption: true,
        describe: 'An account (see `accounts`) or an address, https://…',
      })
      .positional('dir', { type: 'string', demandOption: true, describe: 'An empty folder' })
      .options({
        foreground: {
          alias: 'f',
          type: 'boolean',
          default: false,
          describe: 'Stay in the foreground; Ctrl-C unmounts',
        },
        'adopt-cache': {
          type: 'boolean',
          default: false,
          describe: 'Go on with a cache of another address: the server moved, or was restored from a backup',
        },
        ...loginOptions,
        ...driveOptions,
        ...jsonOption,
      })
      .example('$0 mount work ~/Work', 'Returns when the drive answers')
      .example('$0 mount https://cloud.example.org ~/Cloud --user anna --password-file ~/.anna', 'Without an account')
      .example('$0 mount work ~/Work --foreground --read-only', ''),
  handler: async (options) => {
    refuseIfMissing(mountRequirements());
    const context = commandContext();
    const merged = mergeOptions(options);
    const login = await resolveLogin(
      options.account,
      {
        ...merged,
        passwordStdin: options.passwordStdin,
        ...(options.user === undefined ? {} : { user: options.user }),
        ...(options.passwordFile === undefined ? {} : { passwordFile: options.passwordFile }),
        ...(options.cacert === undefined ? {} : { caFile: options.cacert }),
        ...(options.clientCert === undefined ? {} : { clientCert: options.clientCert }),
        ...(options.clientKey === undefined ? {} : { clientKey: options.clientKey }),
      },
      context,
    );
    const config = await planDrive(login, options.dir, { ...merged, adoptCache: options.adoptCache }, context);
    const stranded = await strandedCaches(config, context.dirs);
    const where = printable(config.mountPoint);
    const whose = `${printable(login.user)} at ${printable(login.url)}`;
    await tellOfDeath(config, context.dirs);
    if (options.foreground) {
      return keepDrive(config, context.dirs, async (started) => {
        note(`${where} is mounted (${whose})${whileOffline(started)}; Ctrl-C unmounts.`);
        await tellOfStranded(stranded, config, context);
      });
    }
    const started = await startInBackground(config);
    if (options.json) printJson({ mountPoint: config.mountPoint, account: login.account, url: login.url, ...started });
    else printLine(`${where} is mounted (${whose})${whileOffline(started)}.`);
    await tellOfStranded(stranded, config, context);
    if (started.connection !== 'unauthorized') return EXIT.ok;
    const saved = (await context.accounts.get(login.account)) !== null;
    note(
      `${login.url} does not let ${printable(login.user)} in (${printable(started.connectionError ?? 'login refused')}): only what is here can be used, and changes wait; ` +
        (saved ? loginAgain(login) : 'unmount, and mount with the right password'),
    );
    return EXIT.auth;
  },
};

function whileOffline({ connection, connectionError }: Started): string {
  if (connection !== 'offline') return '';
  const why = connectionError === null ? 'the server has not answered yet' : printable(connectionError);
  return `, offline (${why}): what is here can be used, changes are sent later`;
}

/** Before the drive starts and what is known of the last one is replaced. */
export async function tellOfDeath(config: Pick<DriveConfig, 'cacheDir'>, dirs: UserDirs): Promise<void> {
  const dead = (await deadMounts(dirs)).find((mount) => mount.cacheDir === config.cacheDir);
  if (dead !== undefined) note(describeDeath(dead));
}

/** Told once the drive runs, and its address on the server is known. */
async function tellOfStranded(found: readonly StrandedCache[], config: DriveConfig, { dirs }: Context): Promise<void> {
  if (found.length === 0) return;
  const running = (await runningMounts(dirs)).find((mount) => mount.cacheDir === config.cacheDir);
  for (const cache of found.filter((one) => running !== undefined && isSamePlace(one.url, running.url))) {
    const dir = printable(config.mountPoint);
    note(
      `${printable(cache.dir)} holds changes that were never sent to ${printable(cache.url)}: ${printable(cache.unsent)}. ` +
        `If that is this server under an earlier address, they go out with: cloudmount unmount '${dir}', then the same mount ` +
        `again with --cache-dir '${printable(cache.dir)}'`,
    );
  }
}

export const driveProcess: Command<{ readonly dir: string }> = {
  command: `${DRIVE_PROCESS} <dir>`,
  describe: false,
  builder: (yargs) => yargs.positional('dir', { type: 'string', demandOption: true }),
  handler: () => serveInBackground(commandContext().dirs),
};
