// What this machine must have, what it should have, and how to get what is missing. Asked before anything is started,
// and by `cloudmount doctor`.

import { accessSync, closeSync, constants, openSync, readFileSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { findProgram } from '../../src/daemon/accounts/secret_tool.js';

/** `missing` = the drive cannot work; `warning` = something is lost, the drive works. */
export interface Finding {
  readonly id: string;
  readonly state: 'ok' | 'warning' | 'missing';
  readonly found: string;
  /** What to do; present unless `ok`. */
  readonly fix?: string;
}

const MIN_NODE = [20, 19] as const;
const CAP_SYS_ADMIN = 21;
/** FUSE_PASSTHROUGH came with Linux 6.9. */
const PASSTHROUGH_KERNEL = [6, 9] as const;

/** Everything without which no drive can be mounted. */
export function mountRequirements(): readonly Finding[] {
  return [checkNode(), checkFuseDevice(), checkFusermount()];
}

export function checkNode(version = process.versions.node): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const found = `Node ${version}`;
  if (major > MIN_NODE[0] || (major === MIN_NODE[0] && minor >= MIN_NODE[1])) return { id: 'node', state: 'ok', found };
  return {
    id: 'node',
    state: 'missing',
    found,
    fix: `install Node ${MIN_NODE.join('.')} or newer (nodejs.org, or your distribution)`,
  };
}

export function checkFuseDevice(path = '/dev/fuse', open = openAndClose): Finding {
  const id = 'fuse-device';
  try {
    open(path);
    return { id, state: 'ok', found: `${path} can be opened` };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENXIO' || code === 'ENODEV') {
      return {
        id,
        state: 'missing',
        found: `${path} does not exist`,
        fix: 'sudo modprobe fuse; in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN',
      };
    }
    if (code === 'EACCES') {
      const mode = (statSync(path).mode & 0o777).toString(8);
      return {
        id,
        state: 'missing',
        found: `${path} may not be opened (mode ${mode})`,
        fix: `sudo chmod 666 ${path} (udev does this where it runs)`,
      };
    }
    return {
      id,
      state: 'missing',
      found: `${path} cannot be opened: ${(error as Error).message}`,
      fix: 'in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN',
    };
  }
}

function openAndClose(path: string): void {
  closeSync(openSync(path, 'r+'));
}

/** Root mounts by itself; everybody else needs the set-uid helper. */
export function checkFusermount(privileged = hasSysAdmin()): Finding {
  const id = 'fusermount3';
  const program = findProgram('fusermount3');
  const fix = 'sudo apt install fuse3 (Debian, Ubuntu), sudo dnf install fuse3 (Fedora), sudo pacman -S fuse3 (Arch)';
  if (program === null) {
    if (privileged)
      return {
        id,
        state: 'warning',
        found: 'fusermount3 is not installed; not needed by root, needed by everybody else',
        fix,
      };
    return { id, state: 'missing', found: 'fusermount3 is not installed', fix };
  }
  if (!privileged && (statSync(program).mode & 0o4000) === 0) {
    return {
      id,
      state: 'missing',
      found: `${program} is not set-uid root`,
      fix: `sudo chown root ${program} && sudo chmod 4755 ${program}`,
    };
  }
  try {
    accessSync(program, constants.X_OK);
  } catch {
    return { id, state: 'missing', found: `${program} may not be run by this user`, fix: `sudo chmod 4755 ${program}` };
  }
  return { id, state: 'ok', found: program };
}

export function hasSysAdmin(status = readFileSync('/proc/self/status', 'utf8')): boolean {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return mask !== undefined && ((BigInt(`0x${mask}`) >> BigInt(CAP_SYS_ADMIN)) & 1n) === 1n;
}

export function checkPassthrough(kernel = release(), privileged = hasSysAdmin()): Finding {
  const id = 'passthrough';
  const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  if (major < PASSTHROUGH_KERNEL[0] || (major === PASSTHROUGH_KERNEL[0] && minor < PASSTHROUGH_KERNEL[1])) {
    return {
      id,
      state: 'warning',
      found: `Linux ${kernel} has no FUSE passthrough: cached files are read through the page cache`,
      fix: `a kernel of version ${PASSTHROUGH_KERNEL.join('.')} or newer`,
    };
  }
  if (!privileged) {
    return {
      id,
      state: 'ok',
      found: `Linux ${kernel} has FUSE passthrough, used by drives that root mounts; yours use the page cache`,
    };
  }
  return { id, state: 'ok', found: `Linux ${kernel}: cached files are read at the speed of the local file system` };
}

export function checkAllowOther(path = '/etc/fuse.conf', uid = process.getuid?.() ?? 0): Finding {
  const id = 'allow-other';
  let text = '';
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    // No file is as good as an empty one.
  }
  if (uid === 0 || /^\s*user_allow_other\s*$/m.test(text))
    return { id, state: 'ok', found: '--allow-other can be used' };
  return {
    id,
    state: 'ok',
    found: `--allow-other cannot be used: ${path} has no line "user_allow_other" (only needed to show your drive to other users)`,
  };
}
