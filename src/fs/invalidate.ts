// From what changed in the cache to what the kernel must forget. Events of one turn of the event loop are put together,
// duplicates and what the kernel does not know are dropped, and the rest goes to the notification thread. A flood of
// names (a whole tree refreshed) becomes one new epoch: the kernel then looks every name up again when it is used.

import { Worker } from 'node:worker_threads';
import type { Invalidation } from '../cache/cache_api.js';
import type { Ino, Name } from '../ids.js';
import type { Log } from '../log.js';
import type { InodeTable } from './inode_table.js';
import { INC_EPOCH_MINOR_VERSION } from './wire/abi.js';
import { encodeNotification, type Notification } from './wire/notification.js';

/** Takes encoded notifications, one behind the other, in memory that becomes its own. Must not block. */
export interface NotificationSink {
  post(batch: Uint8Array<ArrayBuffer>): void;
  close(): Promise<void>;
}

const FLOOD = 2_000;

export class Invalidator {
  readonly #inodes: Pick<InodeTable, 'has' | 'knowsNamesIn'>;
  readonly #sink: NotificationSink;
  /** Inodes to be forgotten, and whether their data too. */
  #staleInodes = new Map<Ino, boolean>();
  #staleNames = new Map<string, Notification>();
  #kernelMinor = 0;
  #sent = 0;
  #open = true;

  constructor(inodes: Pick<InodeTable, 'has' | 'knowsNamesIn'>, sink: NotificationSink) {
    this.#inodes = inodes;
    this.#sink = sink;
  }

  /** After INIT: which notifications the kernel understands. */
  kernelSpeaks(minor: number): void {
    this.#kernelMinor = minor;
  }

  onInvalidation(event: Invalidation): void {
    switch (event.kind) {
      case 'inode':
        this.inode(event.ino, event.data);
        break;
      case 'entry':
        this.#entry(event.parent, { kind: 'inval_entry', parent: event.parent, name: event.name });
        break;
      case 'delete':
        this.#entry(event.parent, { kind: 'delete', parent: event.parent, child: event.child, name: event.name });
        break;
    }
  }

  inode(ino: Ino, data: boolean): void {
    if (!this.#inodes.has(ino) || !this.#open) return;
    const before = this.#staleInodes.get(ino);
    if (this.#staleInodes.size === 0) setImmediate(() => this.flush());
    this.#staleInodes.set(ino, data || before === true);
  }

  /** A name of `parent` changed: its dentry goes, and with it the listing the kernel may have kept of `parent`. So names are
   * never alone. Who was never told a name has neither: most folders of a tree that is listed for the first time. */
  #entry(parent: Ino, notification: Notification & { readonly name: Name }): void {
    if (!this.#inodes.has(parent) || !this.#inodes.knowsNamesIn(parent) || !this.#open) return;
    this.inode(parent, true);
    const key = `${parent}/${notification.name}`;
    // "Gone" says more than "changed", but what came last is true: a name that was deleted and made again is not gone.
    this.#staleNames.delete(key);
    this.#staleNames.set(key, notification);
  }

  flush(): void {
    const [inodes, names] = [this.#staleInodes, this.#staleNames];
    if (inodes.size === 0 || !this.#open) return;
    this.#staleInodes = new Map();
    this.#staleNames = new Map();
    const flood = names.size > FLOOD && this.#kernelMinor >= INC_EPOCH_MINOR_VERSION;
    const parts: Buffer[] = flood ? [encodeNotification({ kind: 'inc_epoch' })] : [];
    for (const [ino, data] of inodes) parts.push(encodeNotification({ kind: 'inval_inode', ino, data }));
    if (!flood) for (const notification of names.values()) parts.push(encodeNotification(notification));
    this.#sent += parts.length;
    this.#sink.post(joined(parts));
  }

  get sent(): number {
    return this.#sent;
  }

  async close(): Promise<void> {
    this.#open = false;
    this.#staleInodes.clear();
    this.#staleNames.clear();
    await this.#sink.close();
  }
}

/** In memory of its own, so that it can be handed to another thread. */
function joined(parts: readonly Buffer[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** The thread, started from the compiled file beside this one. Restarted if it should ever end by itself. */
export class NotifyThread implements NotificationSink {
  readonly #fd: number;
  readonly #log: Log;
  #worker: Worker;
  #closing = false;

  constructor(fd: number, log: Log) {
    this.#fd = fd;
    this.#log = log;
    this.#worker = this.#start();
  }

  #start(): Worker {
    const worker = new Worker(new URL('./notify_worker.js', import.meta.url), { workerData: { fd: this.#fd } });
    worker.unref();
    worker.on('error', (error) => {
      this.#log.error({ err: error }, 'the notification thread ended; starting another');
      if (!this.#closing) this.#worker = this.#start();
    });
    return worker;
  }

  post(batch: Uint8Array<ArrayBuffer>): void {
    this.#worker.postMessage(batch, [batch.buffer]);
  }

  async close(): Promise<void> {
    this.#closing = true;
    await this.#worker.terminate();
  }
}
