// The options of `mount -o …` and of the fourth field of fstab, so that `cloudmount mount` can be a mount helper
// (mount(8), "External helpers"). Every option is one of ours, one that systemd and mount(8) use themselves and leave in
// the list, or a mistake, which is refused rather than ignored.

import { AUTO_LOCK_MODES, type AutoLockMode } from '../../src/cache/auto_lock.js';
import { CloudError } from '../../src/errors.js';
import { parseDuration, parseSize } from './sizes.js';

export interface MountOptions {
  readonly user?: string;
  readonly passwordFile?: string;
  readonly cacheDir?: string;
  readonly cacheSize_bytes?: number;
  readonly minFree_bytes?: number;
  readonly dirCacheTime_ms?: number;
  readonly timeout_ms?: number;
  readonly readOnly?: boolean;
  readonly allowOther?: boolean;
  readonly nonEmpty?: boolean;
  readonly writeThrough?: boolean;
  readonly autoLock?: AutoLockMode;
  readonly fsname?: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly umask?: number;
  readonly caFile?: string;
  readonly clientCert?: string;
  readonly clientKey?: string;
}

type Entry = (value: string | null, name: string) => MountOptions;

const flag =
  (options: MountOptions): Entry =>
  (value, name) => {
    if (value !== null) throw new CloudError('invalid', `mount option ${name}: it takes no value, found "${value}"`);
    return options;
  };
const text =
  (make: (value: string) => MountOptions): Entry =>
  (value, name) => {
    if (value === null || value === '')
      throw new CloudError('invalid', `mount option ${name}: it needs a value, ${name}=…`);
    return make(value);
  };

function integer(value: string, name: string, base: 8 | 10, max: number): number {
  const shape = base === 8 ? /^[0-7]{1,4}$/ : /^\d{1,10}$/;
  const number = shape.test(value) ? Number.parseInt(value, base) : Number.NaN;
  if (Number.isNaN(number) || number > max) {
    throw new CloudError(
      'invalid',
      `mount option ${name}: expected ${base === 8 ? 'an octal mode' : 'a number'}, found "${value}"`,
    );
  }
  return number;
}

const OURS: Readonly<Record<string, Entry>> = {
  ro: flag({ readOnly: true }),
  rw: flag({ readOnly: false }),
  allow_other: flag({ allowOther: true }),
  nonempty: flag({ nonEmpty: true }),
  write_through: flag({ writeThrough: true }),
  auto_lock: (value, name) => ({ autoLock: autoLockMode(value ?? '', `mount option ${name}`) }),
  username: text((user) => ({ user })),
  user: (value, name) => (value === null ? {} : text((user) => ({ user }))(value, name)),
  'password-file': text((passwordFile) => ({ passwordFile })),
  'cache-dir': text((cacheDir) => ({ cacheDir })),
  'cache-size': text((value) => ({ cacheSize_bytes: parseSize(value, 'mount option cache-size') })),
  'min-free': text((value) => ({ minFree_bytes: parseSize(value, 'mount option min-free') })),
  'dir-cache-time': text((value) => ({ dirCacheTime_ms: parseDuration(value, 'mount option dir-cache-time') })),
  timeout: text((value) => ({ timeout_ms: parseDuration(value, 'mount option timeout') })),
  fsname: text((fsname) => ({ fsname })),
  uid: text((value) => ({ uid: integer(value, 'uid', 10, 0xfffffffe) })),
  gid: text((value) => ({ gid: integer(value, 'gid', 10, 0xfffffffe) })),
  umask: text((value) => ({ umask: integer(value, 'umask', 8, 0o777) })),
  cacert: text((caFile) => ({ caFile })),
  'client-cert': text((clientCert) => ({ clientCert })),
  'client-key': text((clientKey) => ({ clientKey })),
};

/** Without a value: the most it can do. Throws `invalid`. */
function autoLockMode(value: string, name: string): AutoLockMode {
  const mode = value === '' ? 'write' : AUTO_LOCK_MODES.find((known) => known === value);
  if (mode !== undefined) return mode;
  throw new CloudError('invalid', `${name}: one of ${AUTO_LOCK_MODES.join(', ')} is required, found "${value}"`);
}

/** Said to mount(8), systemd or the kernel, not to us; `default_permissions`, nosuid and nodev hold for every drive. */
const OTHERS = new Set([
  'defaults',
  'auto',
  'noauto',
  'nouser',
  'users',
  'group',
  'owner',
  '_netdev',
  'nofail',
  'exec',
  'noexec',
  'suid',
  'nosuid',
  'dev',
  'nodev',
  'async',
  'atime',
  'noatime',
  'diratime',
  'nodiratime',
  'relatime',
  'norelatime',
  'strictatime',
  'lazytime',
  'default_permissions',
  'subtype',
]);

/** `text` as given to one `-o`. Throws `invalid`. Later options win. */
export function parseMountOptions(list: string): MountOptions {
  let options: MountOptions = {};
  for (const item of splitOptions(list)) {
    const equals = item.indexOf('=');
    const name = equals === -1 ? item : item.slice(0, equals);
    const value = equals === -1 ? null : item.slice(equals + 1);
    const entry = Object.hasOwn(OURS, name) ? OURS[name] : undefined;
    if (entry !== undefined) options = { ...options, ...entry(value, name) };
    else if (!OTHERS.has(name) && !/^(?:x-|comment$)/.test(name)) {
      throw new CloudError('invalid', `mount option "${name}": not known. Ours are: ${Object.keys(OURS).join(', ')}`);
    }
  }
  return options;
}

/** Splits at commas; one inside double quotes (as mount(8) has it) or after a backslash belongs to the value. */
export function splitOptions(list: string): readonly string[] {
  const items: string[] = [];
  let item = '';
  let quoted = false;
  for (let i = 0; i < list.length; i++) {
    const character = list.charAt(i);
    if (character === '\\' && i + 1 < list.length && /[\\",]/.test(list.charAt(i + 1))) item += list.charAt(++i);
    else if (character === '"') quoted = !quoted;
    else if (character === ',' && !quoted) {
      items.push(item);
      item = '';
    } else item += character;
  }
  items.push(item);
  return items.map((text) => text.trim()).filter((text) => text !== '');
}
