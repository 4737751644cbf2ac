// Making contents durable: bytes first, then the record that claims them, then the journal.

import { CloudError } from '../errors.js';
import { type ActiveContent, countedBytes } from './active_content.js';
import type { ContentFile } from './content/content_file.js';
import { isSummed } from './content/verify.js';
import type { ContentsOptions } from './contents.js';
import { crashPoint } from './crash_points.js';
import type { NodeRecord } from './metadata/node.js';

export interface ContentSaverOptions extends Pick<ContentsOptions, 'store' | 'space' | 'log'> {
  isActive(content: ActiveContent): boolean;
  /** It failed: to be tried again in a while. */
  saveAgain(): void;
}

export class ContentSaver {
  readonly #o: ContentSaverOptions;

  constructor(options: ContentSaverOptions) {
    this.#o = options;
  }

  /** Everything written to these so far is on the disk and in the journal when it resolves. What the disk does not take is
   * told to each who asks for this file; to who saves all (`told once`) only the first time. */
  async save(contents: readonly ActiveContent[], refused: 'told' | 'told once' = 'told'): Promise<void> {
    let left = contents;
    while (left.length > 0) left = await this.#saveOnce(left, refused);
  }

  /** Bytes, then records, then the journal. Returns those that lost bytes meanwhile and must be looked at again. */
  async #saveOnce(contents: readonly ActiveContent[], refused: 'told' | 'told once'): Promise<ActiveContent[]> {
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
        known: content.node.unstored && refused === 'told once',
      };
    });
    const again: ActiveContent[] = [];
    let unsaved = contents;
    let forgotten = false;
    try {
      const failures = await this.#syncAll(captured);
      crashPoint('content.before_extents');
      this.#o.store.transaction(() => {
        for (const { content, number, extents, removals, writeSeq, settling, known } of captured) {
          const { node } = content;
          if (!this.#o.isActive(content) || node.gen !== content.gen) continue;
          if (number < content.saveShown) continue;
          const failure = failures.get(content);
          if (failure !== undefined && !node.contentDirty) {
            // Nobody's failure: the server has it.
            failures.delete(content);
            this.#forget(content, failure);
            forgotten = true;
            continue;
          }
          if (content.extents.removals !== removals) {
            again.push(content);
            continue;
          }
          content.saveShown = number;
          if (content.cutting_bytes !== null) extents.clip(content.cutting_bytes);
          else if (failure === undefined) node.torn = false;
          if (!node.contentDirty) extents.markClean();
          node.extents = extents.isEmpty ? null : extents.serialise();
          const quiet = content.users === 0 && writeSeq === content.writeSeq && !content.unsaved;
          // Of dirty content these two come together, when it has settled: mostly later, see `Contents`. What is not all
          // here is written to by fetches, which nobody need wait for: a record that does not fit looks like damage.
          const settled =
            failure === undefined &&
            settling &&
            quiet &&
            extents.isComplete(node.size_bytes) &&
            isSummed(extents, node.size_bytes, content.sums);
          node.sums = settled || !node.contentDirty ? content.sums.serialise() : null;
          node.fingerprint = settled || (quiet && !node.contentDirty) ? content.file.fingerprint() : null;
          this.#judge(node, failure);
          if (known) failures.delete(content);
          this.reconcile(content);
          node.cached_bytes = content.accounted_bytes;
          this.#o.store.save(node);
        }
      });
      await this.#o.store.durable();
      unsaved = [...failures.keys(), ...again];
      const [failure] = failures.values();
      if (failure !== undefined) throw failure;
      if (forgotten) this.#o.saveAgain();
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
  ): Promise<Map<ActiveContent, CloudError>> {
    const failures = new Map<ActiveContent, CloudError>();
    if (captured.length >= MANY) await startSyncs(captured.map(({ content }) => content));
    await Promise.all(
      captured.map(async ({ content, settling }) => {
        try {
          await (settling ? content.file.syncTimes() : content.file.sync());
        } catch (error) {
          failures.set(content, notStored(content.node, error));
        }
      }),
    );
    return failures;
  }

  /** Did the disk take what was written? If not that is said where the user looks, and outlasts this run: no later sync
   * would say so again. The record claims the bytes all the same: where nothing is claimed the file would be made anew. */
  #judge(node: NodeRecord, failure: CloudError | undefined): void {
    if (failure === undefined && !node.unstored) return;
    node.unstored = failure !== undefined;
    node.error = failure?.message ?? null;
    node.errorCode = failure?.code ?? null;
  }

  /** The disk did not take what was fetched: it comes again. Not while the kernel reads the file by itself. */
  #forget(content: ActiveContent, failure: CloudError): void {
    const { ino } = content;
    this.#o.log.warn(
      { err: failure.cause, ino },
      'the disk of the cache did not take what was fetched; it comes again',
    );
    content.unsaved = true;
    if (content.isReadByKernel) return;
    content.extents.clear();
    content.sums.clip(0);
    content.file.truncate(0);
    content.file.truncate(content.node.size_bytes);
    content.node.unstored = false;
    this.reconcile(content);
  }

  /** What the budget counts for this file follows what it takes on the disk: holes are free. */
  reconcile(content: ActiveContent): void {
    const allocated = countedBytes(content.file.stat().allocated_bytes, content.extents);
    const difference = content.accounted_bytes - allocated;
    if (difference > 0) this.#o.space().refund(difference);
    else if (difference < 0) this.#o.space().charge(-difference);
    content.accounted_bytes = allocated;
  }
}

/** Not `no_space`, whatever the disk said: of a full disk all is well that could be written, and may be sent. */
export function notStored(node: NodeRecord, cause: unknown): CloudError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new CloudError(
    'io',
    `storing "${node.name}": the disk of the cache did not take all that was written (${reason}), so what is here may not be ` +
      'that any more. None of it is sent: look at it and write it anew (a copy put in its place will do), or "cloudmount discard" it',
    { cause },
  );
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
