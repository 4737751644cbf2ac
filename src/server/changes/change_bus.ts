// From committed transactions to whoever listens for one user (the push connections). Changes of the same turn of the
// event loop, and those within `quiet_ms` of the last notice, arrive as one: a subscriber learns that something changed
// and which nodes, and asks the feed for the rest. A listener that throws hurts nobody else.

import type { CommittedChange, MetadataStore, NodeId } from '../storage/metadata/metadata_store.js';

export interface ChangeNotice {
  /** The newest number of the sequence this notice covers. */
  readonly seq: number;
  /** Nodes that changed, appeared or went, their collections included; null = too many to name. */
  readonly fileIds: readonly NodeId[] | null;
}

export type ChangeListener = (notice: ChangeNotice) => void;

export interface ChangeBusOptions {
  /** Shortest time between two notices to one user. The first one after a pause goes out at once. */
  readonly quiet_ms?: number;
  readonly onError?: (error: unknown) => void;
}

interface Channel {
  readonly listeners: Set<ChangeListener>;
  pending: { seq: number; ids: Set<NodeId> | null } | null;
  timer: NodeJS.Timeout | null;
  last_ms: number;
}

const QUIET_MS = 50;
const MAX_IDS = 500;

export class ChangeBus {
  readonly #channels = new Map<string, Channel>();
  readonly #quiet_ms: number;
  readonly #onError: (error: unknown) => void;
  readonly #detach: () => void;

  constructor(metadata: Pick<MetadataStore, 'onCommit'>, options: ChangeBusOptions = {}) {
    this.#quiet_ms = options.quiet_ms ?? QUIET_MS;
    this.#onError = options.onError ?? (() => undefined);
    this.#detach = metadata.onCommit((changes) => this.publish(changes));
  }

  /** Until the returned function is called, `listener` hears of every change in the user's tree. */
  subscribe(userId: string, listener: ChangeListener): () => void {
    let channel = this.#channels.get(userId);
    if (channel === undefined) {
      channel = { listeners: new Set(), pending: null, timer: null, last_ms: Number.NEGATIVE_INFINITY };
      this.#channels.set(userId, channel);
    }
    const { listeners } = channel;
    // One subscription each, also when the same function comes twice.
    const own: ChangeListener = (notice) => listener(notice);
    listeners.add(own);
    return () => {
      listeners.delete(own);
      if (listeners.size > 0 || this.#channels.get(userId)?.listeners !== listeners) return;
      clearTimeout(this.#channels.get(userId)?.timer ?? undefined);
      this.#channels.delete(userId);
    };
  }

  publish(changes: readonly CommittedChange[]): void {
    for (const { userId, seq, fileIds } of changes) {
      const channel = this.#channels.get(userId);
      if (channel === undefined) continue;
      channel.pending ??= { seq, ids: new Set() };
      channel.pending.seq = Math.max(channel.pending.seq, seq);
      for (const id of fileIds) channel.pending.ids?.add(id);
      if ((channel.pending.ids?.size ?? 0) > MAX_IDS) channel.pending.ids = null;
      if (channel.timer !== null) continue;
      const wait_ms = Math.max(0, channel.last_ms + this.#quiet_ms - performance.now());
      channel.timer = setTimeout(() => this.#deliver(channel), wait_ms);
      channel.timer.unref();
    }
  }

  /** Something changed for somebody, and it is not known for whom: all are told to look. */
  publishToAll(seq: number): void {
    const changes = [...this.#channels.keys()].map((userId) => ({ userId, seq, fileIds: [] }));
    for (const { userId } of changes) {
      const channel = this.#channels.get(userId);
      if (channel !== undefined) channel.pending = { seq: Math.max(channel.pending?.seq ?? 0, seq), ids: null };
    }
    this.publish(changes);
  }

  close(): void {
    this.#detach();
    for (const channel of this.#channels.values()) clearTimeout(channel.timer ?? undefined);
    this.#channels.clear();
  }

  #deliver(channel: Channel): void {
    channel.timer = null;
    channel.last_ms = performance.now();
    const { pending } = channel;
    channel.pending = null;
    if (pending === null) return;
    const notice: ChangeNotice = { seq: pending.seq, fileIds: pending.ids === null ? null : [...pending.ids] };
    for (const listener of [...channel.listeners]) {
      try {
        listener(notice);
      } catch (error) {
        this.#onError(error);
      }
    }
  }
}
