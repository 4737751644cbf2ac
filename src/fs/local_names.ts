// Names that desktops ask for at the root of every mount before they show it. They are answered from what is known
// here and now: a file manager must not hang at its start because a server is slow. The trash folders of the
// freedesktop.org trash specification are not made: what is deleted goes to the server's own trash.

import type { DriveCache, NodeView } from '../cache/cache_api.js';
import { CloudError } from '../errors.js';
import { type Ino, type Name, ROOT_INO } from '../ids.js';

const PROBES = new Set(['.Trash', '.hidden', 'autorun.inf', '.xdg-volume-info', '.directory', 'desktop.ini']);
const USER_TRASH = /^\.Trash-\d+$/;
const SCAN_PAGE = 1_000;

/** Must this lookup be answered without the network? */
export function isDesktopProbe(parent: Ino, name: Name): boolean {
  return parent === ROOT_INO && (PROBES.has(name) || USER_TRASH.test(name));
}

/** The entry, if it is known locally. */
export function findLocally(cache: DriveCache, parent: Ino, name: Name): NodeView | null {
  let after: Ino | 0 = 0;
  for (;;) {
    const page: readonly NodeView[] = cache.listDir(parent, after, SCAN_PAGE);
    for (const node of page) {
      if (node.name === name) return node;
      after = node.ino;
    }
    if (page.length < SCAN_PAGE) return null;
  }
}

/** Throws `not_permitted` for the directories a desktop would make to keep its own trash in. */
export function refuseTrashFolder(parent: Ino, name: Name): void {
  if (parent === ROOT_INO && (name === '.Trash' || USER_TRASH.test(name))) {
    throw new CloudError(
      'not_permitted',
      `mkdir "${name}": deleted files go to the server's trash, not into the drive`,
    );
  }
}
