// `--auto-lock`: locks that nobody takes by hand. In mode `office` the lock file that LibreOffice (`.~lock.NAME#`) and
// Microsoft Office (`~$NAME`) put beside an open document becomes a lock on the server; in mode `write` opening a file for
// writing takes one, too. Either is given back when the lock file is gone, nobody has the file open for writing and the
// server has what was written.
//
// What the drive took itself is marked in the lock's record (`auto`), so it moves along when an editor puts a new file in
// the place of the old one, and a later start knows what to give back.

import { isCloudError } from '../errors.js';
import type { Ino } from '../ids.js';
import type { Log } from '../log.js';
import type { MaybePromise } from '../maybe_promise.js';
import type { Contents } from './contents.js';
import { documentNameOf, isLockFile, lockFilesOf } from './lock_files.js';
import { heldByOther, type Locks } from './locks.js';
import type { NodeRecord } from './metadata/node.js';
import type { NodeStore } from './metadata/node_store.js';

export const AUTO_LOCK_MODES = ['off', 'office', 'write'] as const;
export type AutoLockMode = (typeof AUTO_LOCK_MODES)[number];

/** How long an open waits for the server to say whose lock it is. */
const OPEN_WAIT_MS = 3_000;
/** Editors close and open again while they save. */
const LINGER_MS = 2_000;
const AGAIN_MS = 30_000;

export interface AutoLockOptions {
  readonly mode: AutoLockMode;
  readonly store: NodeStore;
  readonly locks: Locks;
  readonly contents: Contents;
  readonly online: () => boolean;
  readonly log: Log;
}

export class AutoLock {
  readonly #o: AutoLockOptions;
  readonly #later = new Map<Ino, NodeJS.Timeout>();
  /** Lock files whose document could not be locked yet. */
  readonly #missed = new Set<Ino>();
  /** Locks that the server is being asked for. */
  readonly #asking = new Map<Ino, Promise<unknown>>();
  #timer: NodeJS.Timeout | null = null;

  constructor(options: AutoLockOptions) {
    this.#o = options;
  }

  start(): void {
    this.settleAll();
    this.#timer = setInterval(() => {
      this.#tryMissed();
      this.settleAll();
    }, AGAIN_MS);
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    for (const timer of this.#later.values()) clearTimeout(timer);
    this.#later.clear();
  }

  /** Before a file is opened for writing. Rejects with `no_access` when somebody else has the lock. */
  beforeWrite(node: NodeRecord): MaybePromise<void> {
    if (this.#o.mode !== 'write' || !this.#canBeLocked(node)) return undefined;
    const late = new Promise<void>((resolve) => {
      setTimeout(resolve, OPEN_WAIT_MS).unref();
    });
    return Promise.race([this.#take(node, 'refuse'), late]);
  }

  /** Something about a node changed: it was made, removed, closed, sent. */
  changed(node: NodeRecord): void {
    if (this.#o.mode !== 'off' && isLockFile(node.name)) this.#lockFile(node);
    else if (node.lockInfo?.auto === true) this.#settleLater(node);
    else if (this.#missed.size > 0 && this.#canBeLocked(node)) this.#tryMissed(node.parent);
  }

  /** Gives back what is not needed any more, whoever took it: an earlier run, or one with another mode. */
  settleAll(): void {
    for (const node of this.#o.store.locked()) if (node.lockInfo?.auto === true) this.#settleLater(node);
  }

  /** Lock files (of one folder) again, whose document was not on the server yet, or the server out of reach. */
  #tryMissed(folder?: Ino | null): void {
    for (const ino of [...this.#missed]) {
      const lockFile = this.#o.store.get(ino);
      if (lockFile === null) this.#missed.delete(ino);
      else if (folder === undefined || lockFile.parent === folder) this.#lockFile(lockFile);
    }
  }

  #lockFile(lockFile: NodeRecord): void {
    this.#missed.delete(lockFile.ino);
    if (lockFile.parent === null) {
      this.settleAll();
      return;
    }
    const documents = this.#documentsOf(lockFile, lockFile.parent);
    for (const document of documents) {
      if (!this.#canBeLocked(document)) {
        if (document.heldLock === null) this.#missed.add(lockFile.ino);
        continue;
      }
      this.#take(document, 'log').catch((error: unknown) =>
        this.#o.log.warn({ err: error }, 'locking a document failed'),
      );
    }
  }

  /** Word's lock files may be of several documents: then of those that are open here, or of none. */
  #documentsOf({ name }: NodeRecord, parent: Ino): readonly NodeRecord[] {
    const { store, contents } = this.#o;
    const wanted = documentNameOf(name);
    const named = store.child(parent, wanted.name);
    const longer = wanted.orEndsIn === null ? [] : store.membersEndingIn(parent, wanted.orEndsIn);
    const found = [...(named === null ? [] : [named]), ...longer].filter(
      (node) => node.kind === 'file' && !isLockFile(node.name) && lockFilesOf(node.name).includes(name),
    );
    return found.length > 1 ? found.filter((node) => contents.isOpen(node)) : found;
  }

  #canBeLocked({ kind, base, heldLock, rights }: NodeRecord): boolean {
    return kind === 'file' && base !== null && heldLock === null && rights.write && this.#o.online();
  }

  async #take(node: NodeRecord, onOther: 'refuse' | 'log'): Promise<void> {
    // Who asks twice at the same time would be told of its own lock as of a foreign one.
    const asking = this.#asking.get(node.ino) ?? this.#o.locks.lock(node, { auto: true });
    this.#asking.set(node.ino, asking);
    try {
      await asking;
      this.#settleLater(node);
    } catch (error) {
      const holder = node.heldLock;
      if (onOther === 'refuse' && isCloudError(error, 'locked')) {
        if (holder !== null && !holder.mine) throw heldByOther(node, holder, 'no_access');
        throw heldByOther(node, { ...NOBODY, owner: error.details.lockOwner ?? 'somebody else' }, 'no_access');
      }
      this.#o.log.info({ name: node.name, err: error }, 'no lock was taken');
    } finally {
      if (this.#asking.get(node.ino) === asking) this.#asking.delete(node.ino);
    }
  }

  #settleLater(node: NodeRecord): void {
    const { ino } = node;
    const waiting = this.#later.get(ino);
    if (waiting !== undefined) clearTimeout(waiting);
    const timer = setTimeout(() => {
      this.#later.delete(ino);
      const now = this.#o.store.get(ino);
      if (now !== null) this.#settle(now);
    }, LINGER_MS);
    timer.unref();
    this.#later.set(ino, timer);
  }

  #settle(node: NodeRecord): void {
    if (node.lockInfo?.auto !== true || this.#isNeeded(node) || !this.#o.online()) return;
    this.#o.locks.unlock(node).catch((error: unknown) => {
      this.#o.log.info({ name: node.name, err: error }, 'a lock could not be given back; it is tried again');
    });
  }

  #isNeeded(node: NodeRecord): boolean {
    if (node.contentDirty || node.parent === null) return node.contentDirty;
    if ((this.#o.contents.peek(node.ino)?.writers ?? 0) > 0 && this.#o.mode === 'write') return true;
    const { parent, name } = node;
    if (this.#o.mode === 'off') return false;
    return lockFilesOf(name).some((lockFile) => this.#o.store.child(parent, lockFile) !== null);
  }
}

const NOBODY = { owner: '', sinceEpoch_s: null, expiresEpoch_s: null, token: null, mine: false };
