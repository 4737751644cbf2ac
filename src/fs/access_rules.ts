// The server's rights and locks, asked by the operations themselves: modes do not bind root, and no mode can say "may
// not be deleted". Each function throws `no_access` (or `locked`) and says which right is missing.

import type { NodeView } from '../cache/cache_api.js';
import { CloudError } from '../errors.js';

function refuse(what: string, node: NodeView, right: string): CloudError {
  return new CloudError('no_access', `${what} "${node.name}": the server does not grant the right to ${right}`);
}

/** open(2) for reading. */
export function checkRead(node: NodeView): void {
  if (!node.rights.read) throw refuse('reading', node, 'read it');
}

/** open(2) for writing, truncate(2), chmod(2), utimensat(2). */
export function checkWrite(node: NodeView): void {
  if (node.kind === 'dir') {
    if (!node.rights.createFile && !node.rights.createDir) throw refuse('changing', node, 'change it');
    checkUnlocked('changing', node);
    return;
  }
  if (!node.rights.write) throw refuse('writing', node, 'write it');
  checkUnlocked('writing', node);
}

/** open(2) with O_CREAT, mknod(2), symlink(2), and a file's way into another directory. */
export function checkCreateFile(dir: NodeView): void {
  if (!dir.rights.createFile) throw refuse('creating a file in', dir, 'create files in it');
  checkUnlocked('creating a file in', dir);
}

/** mkdir(2), and a directory's way into another directory. */
export function checkCreateDir(dir: NodeView): void {
  if (!dir.rights.createDir) throw refuse('creating a directory in', dir, 'create directories in it');
  checkUnlocked('creating a directory in', dir);
}

/** unlink(2), rmdir(2). */
export function checkRemove(node: NodeView): void {
  if (!node.rights.remove) throw refuse('removing', node, 'remove it');
  checkUnlocked('removing', node, 'locked');
}

/** rename(2) of `node` from its directory to `target`; `replaced` is what has the new name now. */
export function checkRename(node: NodeView, target: NodeView, replaced: NodeView | null): void {
  const stays = node.parent === target.ino;
  if (stays && !node.rights.rename) throw refuse('renaming', node, 'rename it');
  if (!stays && !node.rights.move) throw refuse('moving', node, 'move it');
  checkUnlocked('renaming', node, 'locked');
  if (replaced !== null && replaced.ino !== node.ino) {
    // A file renamed over a file is new content of that file: the atomic save of editors.
    if (replaced.kind === 'dir') checkRemove(replaced);
    else checkWrite(replaced);
    // The old name is gone: more than another name, unless it may have been made for this.
    if (stays && !node.rights.remove && !target.rights.createFile) throw refuse('renaming', node, 'remove it');
  } else if (!stays) {
    if (node.kind === 'dir') checkCreateDir(target);
    else checkCreateFile(target);
  }
}

function checkUnlocked(what: string, node: NodeView, code: 'no_access' | 'locked' = 'no_access'): void {
  if (node.lock === 'other') throw new CloudError(code, `${what} "${node.name}": somebody else holds a lock on it`);
}
