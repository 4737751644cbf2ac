// Attributes of all that is below a folder are others than before (its lock covers them, or no longer does): whatever of
// it the kernel knows it must ask for again. Who listens drops what the kernel does not know; a large tree is walked in
// steps between which others run.

import type { Ino } from '../ids.js';
import type { Invalidation } from './cache_api.js';
import type { NodeStore } from './metadata/node_store.js';

const AT_ONCE = 5_000;

export function invalidateBelow(
  folder: Ino,
  store: Pick<NodeStore, 'memberInos'>,
  invalidate: (event: Invalidation) => void,
): void {
  const folders: Ino[] = [folder];
  const step = () => {
    for (let told = 0; told < AT_ONCE; ) {
      const next = folders.pop();
      if (next === undefined) return;
      const { dirs, others } = store.memberInos(next);
      for (const ino of others) invalidate({ kind: 'inode', ino, data: false });
      for (const ino of dirs) invalidate({ kind: 'inode', ino, data: false });
      folders.push(...dirs);
      told += dirs.length + others.length + 1;
    }
    setImmediate(step);
  };
  step();
}
