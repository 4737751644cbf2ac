// Rows of a real store, made from a few words: where the drive shows a node and where the server has it.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Database } from '../../../../src/cache/metadata/database.js';
import { Dirty, type NodeRecord } from '../../../../src/cache/metadata/node.js';
import { NodeStore } from '../../../../src/cache/metadata/node_store.js';
import type { Name } from '../../../../src/ids.js';
import { silentLog } from '../../../../src/log.js';

const NOW = { s: 1_700_000_000, ns: 0 };

interface Place {
  readonly in: NodeRecord;
  readonly name: string;
}

export class Rows {
  readonly store: NodeStore;
  readonly root: NodeRecord;
  readonly close: () => Promise<void>;

  private constructor(store: NodeStore, close: () => Promise<void>) {
    this.store = store;
    this.root = store.insertRoot(NOW);
    this.close = close;
  }

  static async open(): Promise<Rows> {
    const dir = await mkdtemp(join(tmpdir(), 'cloudmount-test-rows-'));
    const database = await Database.open(join(dir, 'metadata.db'), silentLog);
    return new Rows(new NodeStore(database), async () => {
      await database.close(false);
      await rm(dir, { recursive: true });
    });
  }

  /** `here: null` = removed in the drive; `there: null` = unknown to the server. */
  add(kind: 'file' | 'dir', here: Place | null, there: Place | null, dirty = 0): NodeRecord {
    const name = (here?.name ?? there?.name ?? '') as Name;
    return this.store.insert(kind, here?.in.ino ?? null, name, NOW, (node) => {
      node.base = there === null ? null : { parent: there.in.ino, name: there.name as Name };
      node.baseEtag = there === null ? null : '"etag"';
      node.dirty = there === null && kind === 'file' ? Dirty.content : dirty;
      if (node.differs) node.pending = this.store.nextPending();
    });
  }

  /** In place and unchanged. */
  both(kind: 'file' | 'dir', parent: NodeRecord, name: string): NodeRecord {
    return this.add(kind, { in: parent, name }, { in: parent, name });
  }
}
