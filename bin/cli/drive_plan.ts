// From `mount`'s words to the configuration of a drive: which account, which password, which folders.

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Account, suggestAccountName } from '../../src/daemon/accounts/account_book.js';
import type { TlsFiles } from '../../src/daemon/accounts/tls_files.js';
import { DRIVE_DEFAULTS, type DriveConfig } from '../../src/daemon/drive_config.js';
import type { LogLevel } from '../../src/daemon/log/logger.js';
import { isSameAddress, looksLikeUrl, parseAccountUrl, plainTextWarning } from './account_url.js';
import type { Context } from './context.js';
import { CommandError, EXIT } from './exit_codes.js';
import { boundedRealpath, followParents } from './find_drive.js';
import type { MountOptions } from './mount_options.js';
import { note, printable } from './output.js';
import { ask, askSecret, secretFromFile, secretFromStdin } from './prompt.js';

export interface Login {
  /** Names folders and shows in `status`. */
  readonly account: string;
  readonly url: string;
  readonly user: string;
  readonly password: string;
  readonly tls: TlsFiles;
  /** What the cache belongs to if the address may change. */
  readonly identity?: string;
}

export interface LoginOptions
  extends Pick<MountOptions, 'user' | 'passwordFile' | 'caFile' | 'clientCert' | 'clientKey'> {
  readonly passwordStdin?: boolean | undefined;
}

/** `spec`: the name of an account, or a server's address. */
export async function resolveLogin(spec: string, options: LoginOptions, context: Context): Promise<Login> {
  const byName = await context.accounts.get(spec);
  if (byName !== null) return savedLogin(byName, options, context);
  if (!looksLikeUrl(spec)) {
    const known = (await context.accounts.list()).map((account) => account.name);
    const list = known.length === 0 ? 'There are no accounts yet.' : `Accounts: ${known.join(', ')}.`;
    throw new CommandError(
      EXIT.notRunning,
      `"${printable(spec)}" is no account and no address. ${list} Log in with: cloudmount login https://…, or give an address that starts with https://`,
    );
  }
  const typed = parseAccountUrl(spec);
  const wantedUser = options.user ?? typed.user;
  const saved = (await context.accounts.list()).find(
    (account) => isSameAddress(account.url, typed.url) && (wantedUser === null || account.user === wantedUser),
  );
  if (saved !== undefined) return savedLogin(saved, options, context);
  const warning = plainTextWarning(typed.url);
  if (warning !== null) note(warning);
  const user = wantedUser ?? (await ask(`User name at ${typed.url}:`, 'use --user'));
  const password = (await givenPassword(options)) ?? (await askSecret(`Password of ${user}:`, 'use --password-file'));
  return { account: unsavedName(typed.url, user, context), url: typed.url, user, password, tls: tlsOf(options) };
}

/** Two addresses may suggest one name; the cache must not be shared. One that is spelled with a slash at its end and once
 * without is the same, and has the cache it began with. */
function unsavedName(url: string, user: string, context: Context): string {
  const other = url.endsWith('/') ? url.slice(0, -1) : `${url}/`;
  const [name, otherName] = [url, other].map((spelled) => {
    const tag = createHash('sha256').update(`${user}\n${spelled}`).digest('hex').slice(0, 8);
    return `${suggestAccountName(spelled, user).slice(0, 55)}-${tag}`;
  }) as [string, string];
  const hasCache = (account: string) => existsSync(cacheDirOf(account, {}, context));
  return !hasCache(name) && hasCache(otherName) ? otherName : name;
}

async function savedLogin(account: Account, options: LoginOptions, context: Context): Promise<Login> {
  const password = (await givenPassword(options)) ?? (await context.credentials.get(account));
  const login = loginOf(account, password);
  return { ...login, user: options.user ?? account.user, tls: { ...account.tls, ...tlsOf(options) } };
}

export function loginOf(account: Account, password: string): Login {
  const { name, url, user, tls, serverDir } = account;
  const identity = serverDir === undefined ? {} : { identity: localIdentity(user, serverDir) };
  return { account: name, url, user, password, tls, ...identity };
}

/** The server of `up` is known by its data folder: its port may be another one tomorrow. */
export function localIdentity(user: string, serverDir: string): string {
  return `${user} on the server in ${serverDir}`;
}

export async function givenPassword(options: LoginOptions): Promise<string | null> {
  if (options.passwordStdin === true) return secretFromStdin();
  if (options.passwordFile !== undefined) return secretFromFile(options.passwordFile);
  return null;
}

export function tlsOf(options: LoginOptions): TlsFiles {
  return {
    ...(options.caFile === undefined ? {} : { caFile: resolve(options.caFile) }),
    ...(options.clientCert === undefined ? {} : { certFile: resolve(options.clientCert) }),
    ...(options.clientKey === undefined ? {} : { keyFile: resolve(options.clientKey) }),
  };
}

export function cacheDirOf(account: string, options: Pick<MountOptions, 'cacheDir'>, { dirs }: Context): string {
  return options.cacheDir === undefined ? join(dirs.data, 'cache', account) : resolve(options.cacheDir);
}

export async function planDrive(
  login: Login,
  dir: string,
  options: MountOptions & { readonly logLevel?: LogLevel | undefined; readonly adoptCache?: boolean },
  context: Context,
): Promise<DriveConfig> {
  const wanted = resolve(dir);
  // A dead mount has no real path; its name is then taken as it stands.
  const mountPoint = (await boundedRealpath(wanted)) ?? (await followParents(wanted));
  const standard = cacheDirOf(login.account, {}, context);
  const cacheDir = cacheDirOf(login.account, options, context);
  const tag = cacheDir === standard ? '' : `-${createHash('sha256').update(cacheDir).digest('hex').slice(0, 8)}`;
  return {
    ...login,
    identity: login.identity ?? null,
    adoptCache: options.adoptCache ?? false,
    mountPoint,
    cacheDir,
    stateDir: join(context.dirs.state, `${login.account}${tag}`),
    cacheSize_bytes: options.cacheSize_bytes ?? DRIVE_DEFAULTS.cacheSize_bytes,
    minFree_bytes: options.minFree_bytes ?? DRIVE_DEFAULTS.minFree_bytes,
    dirCacheTime_ms: options.dirCacheTime_ms ?? DRIVE_DEFAULTS.dirCacheTime_ms,
    timeout_ms: options.timeout_ms ?? DRIVE_DEFAULTS.timeout_ms,
    quiet_ms: DRIVE_DEFAULTS.quiet_ms,
    readOnly: options.readOnly ?? false,
    writeThrough: options.writeThrough ?? false,
    autoLock: options.autoLock ?? 'off',
    allowOther: options.allowOther ?? false,
    nonEmpty: options.nonEmpty ?? false,
    fsname: options.fsname ?? login.account,
    uid: options.uid ?? null,
    gid: options.gid ?? null,
    umask: options.umask ?? null,
    logLevel: options.logLevel ?? 'info',
  };
}
