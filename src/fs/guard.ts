// Unmounts when the daemon dies, however it dies. A detached shell waits on a pipe: the word "done" on it is a clean
// end; its end without that word is the daemon's death. It then asks the mount (statfs, which no cache answers):
// only a mount that nobody serves is taken away, so that a daemon started in the meantime keeps its own.
//
// A killed daemon may linger: a thread that tells the kernel of a change waits for a directory, whose lock a program
// holds, which waits for the daemon's answer. Its descriptors stay open then, and everybody on the mount waits for ever.
// So the shell also hears of the death of the main thread (prctl(2), PR_SET_PDEATHSIG), and ends the connection. Woken
// without that reason it goes on waiting.

import { type ChildProcess, spawn } from 'node:child_process';
import { connectionOf, mountLine } from './mount.js';

// TERM, INT and HUP are ignored: whoever stops a whole process group must not stop the one that cleans up after it.
const SCRIPT = `
trap '' TERM INT HUP
trap 'woken=yes' URG
while :; do
  woken=
  read -r word
  [ "$word" = done ] && exit 0
  timeout -s KILL 3 stat -f -- "$1" >/dev/null 2>&1
  case $? in
    0) [ -n "$woken" ] || exit 0 ;;
    137) grep -qF -- "$3" /proc/self/mountinfo && break || exit 0 ;;
    *) break ;;
  esac
done
if [ -n "$4" ] && [ -w "$4/abort" ]; then echo 1 > "$4/abort"; fi
case $2 in
  privileged) exec umount -f -l -- "$1" ;;
  *) exec fusermount3 -u -z -q -- "$1" ;;
esac
`;
const SHELL = ['/bin/sh', '-c', SCRIPT, 'cloudmount-guard'];
const HEARING = ['setpriv', '--pdeathsig', 'URG'];

export class Guard {
  #child: ChildProcess;
  #dismissed = false;

  /** `mountPoint` is mounted. */
  constructor(mountPoint: string, privileged: boolean) {
    const line = mountLine(mountPoint) ?? '';
    const what = [mountPoint, privileged ? 'privileged' : 'user', line, connectionOf(mountPoint) ?? ''];
    this.#child = start([...HEARING, ...SHELL, ...what], () => {
      // No setpriv, or one that knows no such option: the end of the pipe has to do.
      if (!this.#dismissed) this.#child = start([...SHELL, ...what], () => undefined); // else the next start clears it
    });
  }

  /** The mount is gone in an orderly way: nothing is left to guard. */
  dismiss(): void {
    this.#dismissed = true;
    this.#child.stdin?.end('done\n');
  }
}

function start([program = '', ...args]: readonly string[], onFailed: () => void): ChildProcess {
  const child = spawn(program, args, { cwd: '/', stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  child.once('error', onFailed);
  child.once('exit', (code) => {
    if (code !== 0 && code !== null) onFailed();
  });
  child.stdin?.on('error', () => undefined);
  child.unref();
  (child.stdin as { unref?: () => void } | null)?.unref?.();
  return child;
}
