// Unmounts when the daemon dies, however it dies. A detached shell waits on a pipe: the word "done" on it is a clean
// end; its end without that word is the daemon's death. It then asks the mount (statfs, which no cache answers):
// only a mount that nobody serves is taken away, so that a daemon started in the meantime keeps its own.

import { type ChildProcess, spawn } from 'node:child_process';

// TERM, INT and HUP are ignored: whoever stops a whole process group must not stop the one that cleans up after it.
const SCRIPT = `
trap '' TERM INT HUP
read -r word
[ "$word" = done ] && exit 0
stat -f -- "$1" >/dev/null 2>&1 && exit 0
case $2 in
  privileged) exec umount -l -- "$1" ;;
  *) exec fusermount3 -u -z -q -- "$1" ;;
esac
`;

export class Guard {
  readonly #child: ChildProcess;

  constructor(mountPoint: string, privileged: boolean) {
    this.#child = spawn('/bin/sh', ['-c', SCRIPT, 'cloudmount-guard', mountPoint, privileged ? 'privileged' : 'user'], {
      cwd: '/',
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.#child.on('error', () => undefined); // no shell, no guard: the next start clears the mount
    this.#child.stdin?.on('error', () => undefined);
    this.#child.unref();
    (this.#child.stdin as { unref?: () => void } | null)?.unref?.();
  }

  /** The mount is gone in an orderly way: nothing is left to guard. */
  dismiss(): void {
    this.#child.stdin?.end('done\n');
  }
}
