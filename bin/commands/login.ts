import { hostname } from 'node:os';
import { describeUnsent, unsentIn } from '../../src/cache/unsent.js';
import { type Account, checkAccountName, suggestAccountName } from '../../src/daemon/accounts/account_book.js';
import { requestAppToken, revokeAppToken } from '../../src/daemon/accounts/app_password.js';
import type { ServerAddress } from '../../src/daemon/accounts/ask_server.js';
import { readTlsFiles } from '../../src/daemon/accounts/tls_files.js';
import { beginWebLogin, type WebCredentials } from '../../src/daemon/accounts/web_login.js';
import { deadMounts, forgetDeath, runningMounts } from '../../src/daemon/mount_registry.js';
import { CloudError, isCloudError, toCloudError } from '../../src/errors.js';
import { silentLog } from '../../src/log.js';
import { createRemote } from '../../src/remote/connect.js';
import type { RemoteCapabilities } from '../../src/remote/remote.js';
import { isSameAddress, parseAccountUrl, plainTextWarning, type TypedUrl } from '../cli/account_url.js';
import { type Command, changing, jsonOption } from '../cli/command.js';
import { type Context, commandContext } from '../cli/context.js';
import { cacheDirOf, givenPassword, type Login, type LoginOptions, tlsOf } from '../cli/drive_plan.js';
import { CommandError, EXIT } from '../cli/exit_codes.js';
import { withDrive } from '../cli/find_drive.js';
import { formatTable, note, printable, printJson, printLine } from '../cli/output.js';
import { ask, askSecret } from '../cli/prompt.js';
import { userAgent } from '../cli/version.js';
import { loginOptions } from './mount.js';

interface Options {
  readonly url: string;
  readonly name?: string | undefined;
  readonly user?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly passwordStdin: boolean;
  readonly web: boolean;
  readonly cacert?: string | undefined;
  readonly clientCert?: string | undefined;
  readonly clientKey?: string | undefined;
  readonly store: 'auto' | 'keyring' | 'file';
  readonly json: boolean;
}

const CONNECT_TIMEOUT_MS = 20_000;

export const login: Command<Options> = {
  command: 'login <url>',
  describe: 'Add an account: finds out what the server is, checks the password and keeps it safe',
  builder: (yargs) =>
    yargs
      .positional('url', { type: 'string', demandOption: true, describe: 'Address of the server, https://…' })
      .options({
        ...loginOptions,
        web: {
          type: 'boolean',
          default: false,
          describe: 'Log in on a page in a browser (a second factor is asked for there)',
        },
        name: { type: 'string', requiresArg: true, describe: 'What to call the account [default: USER@HOST]' },
        store: {
          choices: ['auto', 'keyring', 'file'] as const,
          default: 'auto' as const,
          describe: 'Where the password is kept. A system service (fstab) can only read "file"',
        },
        ...jsonOption,
      })
      .example('$0 login https://cloud.example.org', 'Asks for name and password')
      .example('$0 login https://cloud.example.org --web', 'Prints an address to open in a browser')
      .example('pass cloud | $0 login https://cloud.example.org --user anna --password-stdin --name work', ''),
  handler: async (options) => {
    const context = commandContext();
    const typed = parseAccountUrl(options.url);
    const warning = plainTextWarning(typed.url);
    if (warning !== null) note(warning);
    const given: LoginOptions = {
      passwordStdin: options.passwordStdin,
      ...(options.passwordFile === undefined ? {} : { passwordFile: options.passwordFile }),
      ...(options.cacert === undefined ? {} : { caFile: options.cacert }),
      ...(options.clientCert === undefined ? {} : { clientCert: options.clientCert }),
      ...(options.clientKey === undefined ? {} : { clientKey: options.clientKey }),
    };
    const entry = options.web ? loginByPage : loginByPassword;
    const { attempt, capabilities, token } = await entry(context, options, typed, given);
    const { account: name, user, password, tls } = attempt;
    const before = await context.accounts.get(name);
    const oldToken = before?.appToken ? await earlierToken(context, before) : null;
    const account = await keep(context, attempt, token, options.store).catch(async (error: unknown) => {
      if (token !== null) await giveBack(attempt, token);
      throw error;
    });
    const { credential } = account;
    if (before !== null && before.credential !== credential) await removeSecret(context, before);
    const { renewed, left } = await renewDrives(context, name, token ?? password);
    // Not before: a running drive must not be refused in between.
    if (oldToken !== null && left === 0) {
      await revokeAppToken({ ...attempt, password: oldToken, tls: await readTlsFiles(tls) }, userAgent(), silentLog);
    } else if (oldToken !== null) {
      note(
        `Its app token was therefore not revoked: remove it on the server afterwards, in the list of devices of ${printable(user)}.`,
      );
    }
    if (options.json) {
      printJson({ ...account, dialect: capabilities.dialect });
      return;
    }
    const kept = token === null ? 'The password' : 'An app token of its own (not your password)';
    printLine(`Logged in to ${typed.url} as ${printable(user)} (${capabilities.dialect} server). Account: ${name}`);
    printLine(
      `${kept} is kept in the ${credential === 'keyring' ? 'keyring' : 'credentials file, readable by you alone'}.`,
    );
    if (renewed.length > 0) printLine(`Used by the running drive from now on: ${renewed.map(printable).join(', ')}`);
    else if (left === 0) printLine(`Mount it with: cloudmount mount ${name} DIR`);
  },
};

interface Entered {
  readonly attempt: Login;
  readonly capabilities: RemoteCapabilities;
  /** Null: the server gives none, and the password itself has to be kept. */
  readonly token: string | null;
}

async function loginByPassword(
  context: Context,
  options: Options,
  { url, user: inAddress }: TypedUrl,
  given: LoginOptions,
): Promise<Entered> {
  const user = options.user ?? inAddress ?? (await ask(`User name at ${url}:`, 'use --user'));
  const account = await chooseName(context, options.name, url, user);
  const password = (await givenPassword(given)) ?? (await askSecret(`Password of ${user}:`, 'use --password-stdin'));
  const attempt: Login = { account, url, user, password, tls: tlsOf(given) };
  const capabilities = await verify(attempt);
  return { attempt, capabilities, token: await tradeForToken(attempt, capabilities) };
}

async function loginByPage(
  context: Context,
  options: Options,
  { url, user: inAddress }: TypedUrl,
  given: LoginOptions,
): Promise<Entered> {
  if (given.passwordStdin || given.passwordFile !== undefined) {
    throw new CommandError(EXIT.usage, 'Either --web or a password is required, found both.');
  }
  const tls = tlsOf(given);
  const { user, password: token } = await throughPage({ url, tls: await readTlsFiles(tls) }).catch((error: unknown) => {
    throw refusal(error, { url, user: '' });
  });
  const attempt = { account: '', url, user, password: token, tls };
  try {
    const wanted = options.user ?? inAddress ?? user;
    if (wanted.toLowerCase() !== user.toLowerCase()) {
      throw new CommandError(EXIT.auth, `${printable(wanted)} is required, on the page ${printable(user)} logged in.`);
    }
    const account = await chooseName(context, options.name, url, user);
    return { attempt: { ...attempt, account }, capabilities: await verify(attempt), token };
  } catch (error) {
    await giveBack(attempt, token);
    throw error;
  }
}

async function throughPage(server: ServerAddress): Promise<WebCredentials> {
  const { page, done } = await beginWebLogin(server, deviceName());
  note(`Open this page in a browser, on any device, and log in there:\n  ${printable(page)}`);
  return await done();
}

/** A token that nobody has. */
async function giveBack(attempt: Login, token: string): Promise<void> {
  const tls = await readTlsFiles(attempt.tls);
  await revokeAppToken({ ...attempt, password: token, tls }, userAgent(), silentLog);
}

/** The server's list of devices shows this name. */
function deviceName(): string {
  return `cloudmount on ${hostname()}`;
}

async function keep(
  context: Context,
  { account: name, url, user, password, tls }: Login,
  token: string | null,
  store: Options['store'],
): Promise<Account> {
  const credential = await context.credentials.set(name, token ?? password, store);
  const addedAt = new Date().toISOString();
  const account: Account = { name, url, user, credential, appToken: token !== null, tls, addedAt };
  await context.accounts.put(account);
  return account;
}

interface Renewal {
  readonly renewed: readonly string[];
  /** So many go on with the old login. */
  readonly left: number;
}

/** The drives that run with this account take the new login over; a drive that cannot is left to the next mount. */
async function renewDrives({ dirs }: Context, account: string, password: string): Promise<Renewal> {
  const renewed: string[] = [];
  let left = 0;
  for (const mount of await runningMounts(dirs)) {
    if (mount.account !== account) continue;
    try {
      await withDrive(dirs, mount, (client) => client.call('usePassword', { password }));
      renewed.push(mount.mountPoint);
    } catch (error) {
      if (error instanceof CommandError && error.exitCode === EXIT.notRunning) continue;
      left += 1;
      note(
        `${printable(mount.mountPoint)} goes on with the old login (${messageOf(error)}): unmount it and mount it again.`,
      );
    }
  }
  return { renewed, left };
}

async function chooseName(context: Context, wanted: string | undefined, url: string, user: string): Promise<string> {
  const name = wanted === undefined ? suggestAccountName(url, user) : checkAccountName(wanted);
  const other = await context.accounts.get(name);
  if (other === null || (isSameAddress(other.url, url) && other.user === user)) return name;
  const moved =
    other.user === user
      ? ` If the server has moved: cloudmount logout ${name}, then log in again with --name ${name}; contents and unsent changes stay.`
      : '';
  throw new CommandError(
    EXIT.conflict,
    `There is already an account ${name}, for ${printable(other.user)} at ${other.url}. Choose another with --name, or: cloudmount logout ${name}.${moved}`,
  );
}

async function verify(attempt: Login): Promise<RemoteCapabilities> {
  const remote = createRemote({
    url: attempt.url,
    auth: { kind: 'basic', user: attempt.user, password: attempt.password },
    timeout_ms: CONNECT_TIMEOUT_MS,
    tls: await readTlsFiles(attempt.tls),
    userAgent: userAgent(),
    log: silentLog,
  });
  try {
    return await remote.connect({ signal: AbortSignal.timeout(2 * CONNECT_TIMEOUT_MS) });
  } catch (error) {
    throw refusal(error, attempt);
  } finally {
    await remote.close();
  }
}

function refusal(error: unknown, attempt: Pick<Login, 'url' | 'user'>): CloudError {
  const known = toCloudError(error, 'connecting');
  const hint = /certificate or TLS is not accepted/.test(known.message)
    ? '. If you trust it, name its authority with --cacert FILE'
    : '';
  return new CloudError(known.code, `logging in to ${attempt.url}: ${whyRefused(known, attempt)}${hint}`, {
    cause: error,
  });
}

function whyRefused(error: CloudError, { url, user }: Pick<Login, 'url' | 'user'>): string {
  switch (error.code) {
    case 'unauthorized':
      return `wrong user name or password for ${printable(user)} (${error.message})`;
    case 'not_found':
      return `there is no cloud at this address (${error.message})${new URL(url).pathname === '/' ? '' : `; try ${new URL('/', url).href}`}`;
    case 'network':
      if (/ENOTFOUND|EAI_/.test(error.message)) {
        return `no computer of the name ${new URL(url).hostname} is known here, or there is no network (${error.message})`;
      }
      return /other side closed/.test(error.message) && url.startsWith('http:')
        ? `the server takes no plain HTTP; try ${url.replace('http:', 'https:')} (${error.message})`
        : error.message;
    default:
      return error.message;
  }
}

/** So that the password itself is kept nowhere. Only used once the token has proven itself. */
async function tradeForToken(attempt: Login, capabilities: RemoteCapabilities): Promise<string | null> {
  if (capabilities.dialect === 'generic') return null;
  const tls = await readTlsFiles(attempt.tls);
  const token = await requestAppToken({ ...attempt, tls }, deviceName(), silentLog);
  if (token === null) return null;
  try {
    await verify({ ...attempt, password: token });
    return token;
  } catch (error) {
    if (isCloudError(error, 'unauthorized')) return null;
    throw error;
  }
}

export const logout = changing<{ readonly account: string }>({
  command: 'logout <account>',
  describe: 'Forget an account: its password, and its app token on the server',
  builder: (yargs) =>
    yargs
      .positional('account', { type: 'string', demandOption: true, describe: 'Name of the account (see `accounts`)' })
      .example('$0 logout work', ''),
  handler: async ({ account: name }) => {
    const context = commandContext();
    const account = await context.accounts.get(name);
    if (account === null) throw new CommandError(EXIT.notRunning, `There is no account "${printable(name)}".`);
    const mount = (await runningMounts(context.dirs)).find((running) => running.account === name);
    if (mount !== undefined) {
      throw new CommandError(
        EXIT.busy,
        `${name} is mounted: cloudmount unmount '${printable(mount.mountPoint)}' first.`,
      );
    }
    if (account.appToken) await revoke(context, account);
    await removeSecret(context, account);
    await context.accounts.remove(name);
    for (const dead of await deadMounts(context.dirs)) {
      if (dead.account === name) await forgetDeath(context.dirs, dead.cacheDir);
    }
    const cacheDir = cacheDirOf(name, {}, context);
    const waiting = unsentIn(cacheDir);
    const unsent = waiting === null ? null : describeUnsent(waiting);
    return {
      json: { account: name, url: account.url, cacheDir, unsent: waiting?.changes ?? 0 },
      text:
        unsent === null
          ? `Logged out of ${account.url}.${waiting === null ? '' : ` Contents stay in ${printable(cacheDir)}; nothing unsent is there.`}`
          : `Logged out of ${account.url}. In ${printable(cacheDir)} stay contents, and unsent changes: ${printable(unsent)}. They go out once you have logged in with --name ${name} again and mounted it.`,
    };
  },
});

async function earlierToken(context: Context, account: Account): Promise<string | null> {
  return await context.credentials.get(account).catch((error: unknown) => {
    note(
      `The app token of the earlier login is not revoked (${messageOf(error)}): remove it on the server, in the list of devices of ${printable(account.user)}.`,
    );
    return null;
  });
}

async function removeSecret(context: Context, account: Account): Promise<void> {
  await context.credentials.remove(account).catch((error: unknown) => {
    note(`The entry in the ${account.credential} stays there: ${messageOf(error)}`);
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function revoke(context: Context, account: Account): Promise<void> {
  const password = await context.credentials.get(account).catch((error: unknown) => {
    note(messageOf(error));
    return null;
  });
  const tls = await readTlsFiles(account.tls);
  const login = password === null ? null : { url: account.url, user: account.user, password, tls };
  if (login !== null && (await revokeAppToken(login, userAgent(), silentLog))) return;
  note(
    `The server did not confirm that the app token is revoked; remove it there, in the list of devices of ${account.user}.`,
  );
}

export const accounts: Command<{ readonly json: boolean }> = {
  command: 'accounts',
  describe: 'List the accounts of this computer',
  builder: (yargs) => yargs.options(jsonOption).example('$0 accounts --json', ''),
  handler: async ({ json }) => {
    const context = commandContext();
    const list = await context.accounts.list();
    const mounts = await runningMounts(context.dirs);
    const mountPoints = (name: string) =>
      mounts.filter((mount) => mount.account === name).map((mount) => mount.mountPoint);
    if (json) printJson(list.map((account) => ({ ...account, mountPoints: mountPoints(account.name) })));
    else if (list.length === 0) printLine('No accounts. Add one with: cloudmount login https://…');
    else {
      printLine(
        formatTable(
          ['ACCOUNT', 'USER', 'SERVER', 'MOUNTED ON'],
          list.map((account) => [
            account.name,
            printable(account.user),
            account.url,
            mountPoints(account.name).map(printable).join(', ') || '-',
          ]),
        ),
      );
    }
  },
};
