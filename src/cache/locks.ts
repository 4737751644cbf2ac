// Locks we hold on the server: taken, refreshed before they run out, released, remembered across restarts.

import { type Clock, formatTime } from '../clock.js';
import { CloudError, isCloudError } from '../errors.js';
import type { RemotePath } from '../ids.js';
import type { Log } from '../log.js';
import { ANY_LOCK, type LockInfo, type Remote } from '../remote/remote.js';
import type { Invalidation } from './cache_api.js';
import type { Connection } from './connection.js';
import type { NodeRecord } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';
import type { Mirror } from './mirror.js';
import type { RecentOperations } from './recent_operations.js';

const LOCK_TIMEOUT_S = 600;
const REFRESH_EVERY_MS = 120_000;

export interface LocksOptions {
  readonly store: NodeStore;
  readonly mirror: Mirror;
  readonly remote: Remote;
  readonly connection: Connection;
  /** What was listed before a lock was taken or given back would undo that here. */
  readonly recent: RecentOperations;
  readonly clock: Clock;
  readonly log: Log;
  readonly invalidate: (event: Invalidation) => void;
}

export class Locks {
  readonly #o: LocksOptions;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | null = null;

  constructor(options: LocksOptions) {
    this.#o = options;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.refresh().catch((error: unknown) => this.#o.log.warn({ err: error }, 'refreshing locks failed'));
    }, REFRESH_EVERY_MS);
  }

  /** `auto`: not asked for by the user, whose own wish for a lock outlives it. */
  async lock(node: NodeRecord, { auto = false }: { readonly auto?: boolean } = {}): Promise<LockInfo> {
    const held = node.heldLock;
    if (held !== null && !held.mine) throw heldByOther(node, held);
    if (held !== null && held.token !== null) {
      // From now on it is this drive that keeps it.
      const kept = held.auto === true || held.elsewhere === true;
      if (kept && !auto && held === node.lockInfo) this.#remember(node, { ...held, auto: false, elsewhere: false });
      return held;
    }
    // What is sent from here carries the lock of the file itself; one of a folder would keep its holder out, too.
    if (node.kind !== 'file') {
      throw new CloudError(
        'is_dir',
        `locking "${node.name}": a file is required, found a ${node.kind === 'dir' ? 'folder' : 'link'}`,
      );
    }
    const path = await this.#path(node);
    try {
      const info = await this.#o.remote.lock(path, { timeout_s: LOCK_TIMEOUT_S, signal: this.#stop.signal });
      this.#o.recent.note(path);
      this.#remember(node, { ...info, mine: true, ...(auto ? { auto } : {}) });
      return info;
    } catch (error) {
      this.#o.connection.suspect(error);
      throw error;
    }
  }

  /** `force` breaks what others hold, as far as the server lets one. The lock of a folder frees all that is in it: who wants
   * that names the folder. Was it locked? */
  async unlock(node: NodeRecord, { force = false }: { readonly force?: boolean } = {}): Promise<boolean> {
    const info = node.heldLock;
    if (info === null && (!force || this.#o.mirror.remotePath(node) === null)) return false;
    const folder = this.#lockedBy(node);
    if (info !== null && folder !== node) throw lockedWith(node, info, this.#o.mirror.remotePath(folder));
    const token = info?.mine === true ? (info.token ?? ANY_LOCK) : null;
    if (info !== null && token === null && !force) throw heldByOther(node, info);
    const path = await this.#path(node);
    const { signal } = this.#stop;
    try {
      // A lock that another program has just taken may not be known here yet.
      if (info === null) {
        const { lock, lockRoot } = await this.#o.remote.stat(path, { signal });
        if (lock === null) return false;
        if (lockRoot !== undefined) throw lockedWith(node, lock, lockRoot);
      }
      await this.#o.remote.unlock(path, token ?? ANY_LOCK, { signal });
    } catch (error) {
      this.#o.connection.suspect(error);
      // Already free (expired, broken by an administrator): what was wanted is so.
      if (!isCloudError(error, 'not_found', 'precondition')) throw error;
    }
    this.#o.recent.note(path);
    this.#remember(node, null);
    return true;
  }

  /** The node that has the lock which counts for this one: itself, or a folder above it. */
  #lockedBy(node: NodeRecord): NodeRecord {
    if (node.heldLock === node.lockInfo) return node;
    const covering = this.#o.store.cover.at(node.parent);
    return (covering === null ? null : this.#o.store.get(covering.folder)) ?? node;
  }

  /** The server has dropped our lock with a move: takes it again. Somebody else may have been faster; then it is theirs.
   * `stayed`: of what it replaced; some servers (nginx) lock names, so that it is still there. */
  async again(node: NodeRecord, stayed: string | null): Promise<void> {
    const held = node.lockInfo;
    const path = this.#o.mirror.remotePath(node);
    if (held?.mine !== true || path === null) return;
    const { signal } = this.#stop;
    try {
      const kept = stayed === null ? null : await this.#ifKept(path, stayed);
      if (kept !== null) {
        this.#o.recent.note(path);
        this.#remember(node, refreshed({ ...held, token: stayed }, kept));
        return;
      }
      const info = await this.#o.remote.lock(path, { timeout_s: LOCK_TIMEOUT_S, signal });
      this.#o.recent.note(path);
      this.#remember(node, { ...held, ...info, mine: true });
    } catch (error) {
      this.#o.connection.suspect(error);
      this.#o.log.warn({ ino: node.ino, name: node.name, err: error }, 'a lock of ours is lost with a move');
      // Of anything else the next refreshing finds out.
      if (isCloudError(error, 'locked', 'no_access', 'not_found', 'not_permitted')) this.#remember(node, null);
    }
  }

  /** The lock of this token, refreshed, if it is still there. lighttpd says so of any token: what it shows counts. */
  async #ifKept(path: RemotePath, token: string): Promise<LockInfo | null> {
    const { signal } = this.#stop;
    const fresh = await this.#o.remote.refreshLock(path, token, { signal }).catch(() => null);
    if (fresh === null) return null;
    const { lock } = await this.#o.remote.stat(path, { signal });
    return lock === null ? null : fresh;
  }

  /** Keeps our locks alive; also right after coming back online. */
  async refresh(): Promise<void> {
    if (!this.#o.connection.online) return;
    // Asked of the store: a lock goes along when an editor puts a new file in the place of the old one.
    for (const node of this.#o.store.locked()) {
      const info = node.lockInfo;
      if (info === null || !info.mine || info.token === null || info.elsewhere === true) continue;
      const path = this.#o.mirror.remotePath(node);
      if (path === null) continue;
      try {
        const fresh = await this.#o.remote.refreshLock(path, info.token, { signal: this.#stop.signal });
        this.#remember(node, refreshed(info, fresh));
      } catch (error) {
        this.#o.connection.suspect(error);
        if (!isCloudError(error, 'precondition', 'not_found', 'locked')) continue;
        this.#o.log.warn({ ino: node.ino, name: node.name }, 'a lock of ours is gone on the server');
        this.#remember(node, null);
      }
    }
  }

  close(): void {
    this.#stop.abort();
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  async #path(node: NodeRecord): Promise<RemotePath> {
    await this.#o.connection.reach(`locking "${node.name}"`, this.#stop.signal);
    if (!this.#o.remote.capabilities.locks) {
      throw new CloudError('unsupported', `locking "${node.name}": this server has no locks`);
    }
    const path = this.#o.mirror.remotePath(node);
    if (path === null) throw new CloudError('busy', `locking "${node.name}": it is not on the server yet`);
    return path;
  }

  #remember(node: NodeRecord, info: LockInfo | null): void {
    node.lockInfo = info;
    this.#o.store.save(node);
    this.#o.invalidate({ kind: 'inode', ino: node.ino, data: false });
  }
}

/** Our lock as a refreshing answers it: what the server leaves out is as it was. */
function refreshed(held: LockInfo, fresh: LockInfo): LockInfo {
  const { token, sinceEpoch_s } = held;
  return {
    ...held,
    ...fresh,
    sinceEpoch_s: fresh.sinceEpoch_s ?? sinceEpoch_s,
    token: fresh.token ?? token,
    mine: true,
  };
}

function lockedWith(node: NodeRecord, info: LockInfo, folder: RemotePath | null): CloudError {
  const by = info.mine ? 'you' : info.owner;
  return new CloudError(
    'not_permitted',
    `"${node.name}" is locked by ${by} with the folder "${folder || '/'}": unlock that`,
  );
}

export function heldByOther(node: NodeRecord, info: LockInfo, code: 'locked' | 'no_access' = 'locked'): CloudError {
  const since = info.sinceEpoch_s === null ? '' : ` since ${formatTime(info.sinceEpoch_s * 1000)}`;
  return new CloudError(code, `"${node.name}" is locked by ${info.owner}${since}`, { lockOwner: info.owner });
}
