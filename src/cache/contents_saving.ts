// Making contents durable: bytes first, then the record that claims them, then the journal.

import { type ActiveContent, countedBytes } from './active_content.js';
import type { ContentFile } from './content/content_file.js';
import { isSummed } from './content/verify.js';
import type { ContentsOptions } from './contents.js';
import { crashPoint } from './crash_points.js';

export interface ContentSaverOptions extends Pick<ContentsOptions, 'store' | 'space'> {
  isActive(content: ActiveContent): boolean;
  /** It failed: to be tried again in a while. */
  saveAgain(): void;
}

export class ContentSaver {
  readonly #o: ContentSaverOptions;

  constructor(options: ContentSaverOptions) {
    this.#o = options;
  }

  /** Everything written to these so far is on the disk and in the journal when it resolves. */
  async save(contents: readonly ActiveContent[]): Promise<void> {
    let left = contents;
    while (left.length > 0) left = await this.#saveOnce(left);
  }

  /** Bytes, then records, then the journal. Returns those that lost bytes meanwhile and must be looked at again. */
  async #saveOnce(contents: readonly ActiveContent[]): Promise<ActiveContent[]> {
    const captured = contents.map((content) => {
      content.unsaved = false;
      content.savesBegun += 1;
      return {
        content,
        number: content.savesBegun,
        extents: content.extents.clone(),
        removals: content.extents.removals,
        writeSeq: content.writeSeq,
        settling: content.users === 0 && content.node.contentDirty,
      };
    });
    const again: ActiveContent[] = [];
    let unsaved = contents;
    try {
      const failures = await this.#syncAll(captured);
      crashPoint('content.before_extents');
      this.#o.store.transaction(() => {
        for (const { content, number, extents, removals, writeSeq, settling } of captured) {
          const { node } = content;
          if (!this.#o.isActive(content) || node.gen !== content.gen) continue;
          if (failures.has(content) || number < content.saveShown) continue;
          if (content.extents.removals !== removals) {
            again.push(content);
            continue;
          }
          content.saveShown = number;
          if (content.cutting_bytes !== null) extents.clip(content.cutting_bytes);
          else node.torn = false;
          if (!node.contentDirty) extents.markClean();
          node.extents = extents.isEmpty ? null : extents.serialise();
          const quiet = content.users === 0 && writeSeq === content.writeSeq && !content.unsaved;
          // Of dirty content these two come together, when it has settled: mostly later, see `Contents`. What is not all
          // here is written to by fetches, which nobody need wait for: a record that does not fit looks like damage.
          const settled =
            settling &&
            quiet &&
            extents.isComplete(node.size_bytes) &&
            isSummed(extents, node.size_bytes, content.sums);
          node.sums = settled || !node.contentDirty ? content.sums.serialise() : null;
          node.fingerprint = settled || (quiet && !node.contentDirty) ? content.file.fingerprint() : null;
          this.#reconcile(content);
          node.cached_bytes = content.accounted_bytes;
          this.#o.store.save(node);
        }
      });
      await this.#o.store.durable();
      unsaved = [...failures.keys(), ...again];
      for (const [content, error] of failures) this.#notStored(content, error);
      const [failure] = failures.values();
      if (failure !== undefined) throw failure;
    } catch (error) {
      for (const content of unsaved) content.unsaved = true;
      this.#o.saveAgain();
      throw error;
    }
    return again;
  }

  /** Which could not be synced, and why. Of many files the writing is started first: then they share commits. */
  async #syncAll(
    captured: readonly { readonly content: ActiveContent; readonly settling: boolean }[],
  ): Promise<Map<ActiveContent, unknown>> {
    const failures = new Map<ActiveContent, unknown>();
    if (captured.length >= MANY) await startSyncs(captured.map(({ content }) => content));
    await Promise.all(
      captured.map(async ({ content, settling }) => {
        try {
          await (settling ? content.file.syncTimes() : content.file.sync());
        } catch (error) {
          failures.set(content, error);
        }
      }),
    );
    return failures;
  }

  /** The disk did not take what was written: said where the user looks, tried again by whoever saves next. */
  #notStored(content: ActiveContent, error: unknown): void {
    const { node } = content;
    if (!node.contentDirty) return;
    node.error = error instanceof Error ? error.message : String(error);
    this.#o.store.save(node);
  }

  /** What the budget counts for this file follows what it takes on the disk: holes are free. */
  #reconcile(content: ActiveContent): void {
    const allocated = countedBytes(content.file.stat().allocated_bytes, content.extents);
    const difference = content.accounted_bytes - allocated;
    if (difference > 0) this.#o.space().refund(difference);
    else if (difference < 0) this.#o.space().charge(-difference);
    content.accounted_bytes = allocated;
  }
}

const MANY = 4;
/** What is no larger is handed to the disk on this thread, which costs a fifth of what the way to another and back does. */
const SHORT_BYTES = 64 * 1024;
/** So long in all: a disk that has much to do makes each of hundreds of calls wait, and the drive with them. */
const HERE_MS = 10;

/** Starts writing all of these to the disk. */
export async function startSyncs(
  contents: readonly {
    readonly file: Pick<ContentFile, 'startSync' | 'startSyncHere'>;
    readonly size_bytes: number;
  }[],
): Promise<void> {
  const until_ms = performance.now() + HERE_MS;
  const left = contents.filter(({ file, size_bytes }) => {
    if (size_bytes > SHORT_BYTES || performance.now() >= until_ms) return true;
    file.startSyncHere();
    return false;
  });
  await Promise.all(left.map(({ file }) => file.startSync()));
}
