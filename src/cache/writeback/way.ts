import type { NodeRecord } from '../metadata/node.js';
import type { NodeStore } from '../metadata/node_store.js';

/** The first of `node` and the collections above it, as the server has the tree and without the root, that `test` is true
 * of. */
export function firstOnWay(
  node: NodeRecord | null,
  store: NodeStore,
  test: (node: NodeRecord) => boolean,
): NodeRecord | null {
  for (let at = node; at !== null && at.ino !== 1; at = at.base === null ? null : store.get(at.base.parent)) {
    if (test(at)) return at;
  }
  return null;
}
