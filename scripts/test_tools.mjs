// Run by `npm test` before anything else: the tests mount real drives and use real programs, so what is missing is said
// at once, with the command that installs it, instead of in fifty failures.

import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Program -> Debian/Ubuntu package. */
const TOOLS = {
  fusermount3: 'fuse3',
  python3: 'python3',
  git: 'git',
  gcc: 'gcc',
  make: 'make',
  curl: 'curl',
  openssl: 'openssl',
  rsync: 'rsync',
  sqlite3: 'sqlite3',
  vim: 'vim',
  getfattr: 'attr',
  'stress-ng': 'stress-ng',
  fio: 'fio',
  apache2: 'apache2',
  htpasswd: 'apache2-utils',
  nginx: 'nginx libnginx-mod-http-dav-ext',
  lighttpd: 'lighttpd lighttpd-mod-webdav',
  rclone: 'rclone',
  'mount.davfs': 'davfs2',
  cadaver: 'cadaver',
  litmus: 'litmus',
  nextcloudcmd: 'nextcloud-desktop-cmd',
  chromium: 'chromium',
  'dbus-daemon': 'dbus',
  'gnome-keyring-daemon': 'gnome-keyring',
  'secret-tool': 'libsecret-tools',
  'systemd-inhibit': 'systemd',
};

const PATH = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];

function isThere(program) {
  return PATH.some((dir) => {
    try {
      accessSync(join(dir, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

const problems = [];
const packages = Object.entries(TOOLS)
  .filter(([program]) => !isThere(program))
  .map(([, name]) => name);
// A module of the distribution's own python.
if (!existsSync('/usr/lib/python3/dist-packages/dbusmock')) packages.push('python3-dbusmock');
if (packages.length > 0) {
  problems.push(
    `Programs are missing. On Debian and Ubuntu:\n  sudo apt-get install --no-install-recommends ${packages.join(' ')}`,
  );
}
try {
  accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
} catch {
  problems.push(
    '/dev/fuse cannot be opened: sudo modprobe fuse; sudo chmod 666 /dev/fuse\n' +
      '  (in a container: --device /dev/fuse --cap-add SYS_ADMIN)',
  );
}
if (process.getuid?.() !== 0) {
  problems.push('Drives are mounted as root and as other users: run the tests as root, e.g. sudo -E npm test');
}
if (problems.length > 0) {
  process.stderr.write(`The tests cannot run here yet.\n\n${problems.join('\n\n')}\n`);
  process.exit(1);
}
