// What `cloudmount doctor` looks at beyond the bare requirements of mounting.

import { execFile } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { Agent, request } from 'undici';
import type { Account } from '../../src/daemon/accounts/account_book.js';
import { serverBase } from '../../src/daemon/accounts/ask_server.js';
import { findProgram, keyringReachable, SecretTool } from '../../src/daemon/accounts/secret_tool.js';
import { readTlsFiles } from '../../src/daemon/accounts/tls_files.js';
import { DRIVE_DEFAULTS } from '../../src/daemon/drive_config.js';
import type { RunningMount } from '../../src/daemon/mount_registry.js';
import type { MountEntry } from '../../src/daemon/mount_table.js';
import type { Finding } from './requirements.js';
import { formatSize } from './sizes.js';
import { packageRoot } from './version.js';

/** The two packages with machine code: compiled or fetched at installation, and broken by a change of Node. */
export async function checkNative(): Promise<readonly Finding[]> {
  const checks: readonly [string, () => Promise<unknown>][] = [
    [
      'better-sqlite3',
      async () => {
        const { default: Database } = await import('better-sqlite3');
        new Database(':memory:').close();
      },
    ],
    [
      'koffi',
      async () => {
        const { default: koffi } = await import('koffi');
        koffi.load('libc.so.6').func('int getpid()')();
      },
    ],
  ];
  return Promise.all(
    checks.map(async ([id, load]): Promise<Finding> => {
      try {
        await load();
        return { id, state: 'ok', found: 'loads' };
      } catch (error) {
        const found = `does not load: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`;
        return {
          id,
          state: 'missing',
          found,
          fix: 'sudo apt install python3 make g++, then npm rebuild in the folder of cloudmount',
        };
      }
    }),
  );
}

export async function checkKeyring(): Promise<Finding> {
  const id = 'keyring';
  const without = 'passwords are kept in a file that only you can read';
  if (findProgram('secret-tool') === null) {
    return {
      id,
      state: 'warning',
      found: `secret-tool is not installed: ${without}`,
      fix: 'sudo apt install libsecret-tools',
    };
  }
  if (!keyringReachable()) {
    return { id, state: 'ok', found: `no D-Bus session here: ${without}` };
  }
  try {
    await new SecretTool('secret-tool', () => undefined, KEYRING_MS).get('doctor');
    return { id, state: 'ok', found: 'the keyring answers' };
  } catch (error) {
    return {
      id,
      state: 'warning',
      found: `the keyring does not answer (${error instanceof Error ? error.message : String(error)}): ${without}`,
      fix: 'install and unlock a keyring, such as gnome-keyring or KWallet',
    };
  }
}

export function checkInhibitor(): Finding {
  const id = 'shutdown-inhibitor';
  if (findProgram('systemd-inhibit') === null || !existsSync('/run/systemd/system')) {
    return {
      id,
      state: 'warning',
      found:
        'no systemd-logind: the computer can be switched off while uploads are pending (they continue at the next start)',
      fix: 'nothing to do where there is no systemd',
    };
  }
  return { id, state: 'ok', found: 'a shutdown waits for pending uploads' };
}

export async function checkFreeSpace(dataDir: string): Promise<Finding> {
  const id = 'free-space';
  let dir = dataDir;
  while (!existsSync(dir) && dir !== dirname(dir)) dir = dirname(dir);
  const { bavail, bsize } = await statfs(dir);
  const free_bytes = bavail * bsize;
  const found = `${formatSize(free_bytes)} free for the cache on the disk of ${dir}`;
  if (free_bytes > 2 * DRIVE_DEFAULTS.minFree_bytes) return { id, state: 'ok', found };
  return {
    id,
    state: 'warning',
    found: `${found}; ${formatSize(DRIVE_DEFAULTS.minFree_bytes)} are always left free, so little can be cached`,
    fix: 'make room, or put the cache elsewhere with --cache-dir',
  };
}

/** A clock that stands before this program was installed is wrong; times of files would be too. */
export function checkClock(
  now_ms = Date.now(),
  installed_ms = statSync(join(packageRoot(), 'package.json')).mtimeMs,
): Finding {
  const id = 'clock';
  const found = new Date(now_ms).toISOString();
  if (now_ms > installed_ms - 86_400_000) return { id, state: 'ok', found };
  return {
    id,
    state: 'warning',
    found: `${found} is before cloudmount was installed`,
    fix: 'set the clock: sudo timedatectl set-ntp true',
  };
}

const KEYRING_MS = 10_000;
const SERVER_TIMEOUT_MS = 5_000;
const MAX_SKEW_S = 120;

/** Does each account's server answer, and is its clock ours? No credentials are sent. */
export function checkServers(accounts: readonly Account[]): Promise<readonly Finding[]> {
  return Promise.all(accounts.map(checkServer));
}

async function checkServer(account: Account): Promise<Finding> {
  const id = `server ${account.name}`;
  let agent: Agent | null = null;
  try {
    agent = new Agent({ connect: { ...(await readTlsFiles(account.tls)), timeout: SERVER_TIMEOUT_MS } });
    const { headers, statusCode, body } = await request(serverBase(account.url), {
      method: 'HEAD',
      dispatcher: agent,
      headersTimeout: SERVER_TIMEOUT_MS,
      bodyTimeout: SERVER_TIMEOUT_MS,
    });
    await body.dump();
    const date = Date.parse(String(headers['date']));
    const skew_s = Math.round((Date.now() - date) / 1000);
    if (Math.abs(skew_s) > MAX_SKEW_S) {
      const found = `${account.url} answers, but its clock and ours differ by ${Math.abs(skew_s)} s`;
      return { id, state: 'warning', found, fix: 'set the clocks; times of files depend on them' };
    }
    return { id, state: 'ok', found: `${account.url} answers (${statusCode})` };
  } catch (error) {
    return {
      id,
      state: 'warning',
      found: `${account.url} does not answer: ${error instanceof Error ? error.message : String(error)}`,
      fix:
        account.serverDir === undefined
          ? 'check the network, the address and the certificate'
          : 'start it: cloudmount up',
    };
  } finally {
    await agent?.destroy();
  }
}

const ANSWER_TIMEOUT_MS = 3_000;

/** Drives whose daemon has gone. Those that live are left alone, whoever mounted them; what another user's drive is cannot
 * be seen from here, nor is it ours to end. */
export async function checkDeadMounts(
  entries: readonly MountEntry[],
  running: readonly RunningMount[],
  ask: (mountPoint: string) => Promise<'alive' | 'dead' | 'silent'> = askMount,
): Promise<readonly Finding[]> {
  const others = entries.filter((entry) => !running.some((mount) => mount.mountPoint === entry.mountPoint));
  const findings = await Promise.all(
    others.map(async ({ mountPoint }): Promise<Finding | null> => {
      const state = await ask(mountPoint);
      if (state === 'alive') return null;
      const found =
        state === 'dead'
          ? `${mountPoint} is mounted, but its daemon is gone`
          : `${mountPoint} is mounted and does not answer within ${ANSWER_TIMEOUT_MS / 1000} s`;
      return { id: 'mounts', state: 'warning', found, fix: `cloudmount unmount --force '${mountPoint}'` };
    }),
  );
  return findings.filter((finding) => finding !== null);
}

/** statfs(2), which no cache answers; in a process of its own, because a mount that hangs would hold a thread of this one. */
async function askMount(mountPoint: string): Promise<'alive' | 'dead' | 'silent'> {
  try {
    await promisify(execFile)('stat', ['-f', '--', mountPoint], {
      timeout: ANSWER_TIMEOUT_MS,
      killSignal: 'SIGKILL',
      env: { ...process.env, LC_ALL: 'C' },
    });
    return 'alive';
  } catch (error) {
    const { killed, stderr } = error as { killed?: boolean; stderr?: string };
    if (killed === true) return 'silent';
    // Anything else, such as "Permission denied", comes from the kernel on behalf of a mount of somebody else.
    return /Transport endpoint is not connected|Software caused connection abort/.test(stderr ?? '') ? 'dead' : 'alive';
  }
}
