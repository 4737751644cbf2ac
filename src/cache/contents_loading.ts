// Opening the content of a node: what lies on the disk is checked against its record before anybody sees it.

import { createHash } from 'node:crypto';
import { CloudError } from '../errors.js';
import type { MaybePromise } from '../maybe_promise.js';
import { ActiveContent } from './active_content.js';
import { BlockSums } from './content/block_sums.js';
import type { ContentStore } from './content/content_store.js';
import { type ByteRange, ExtentSet } from './content/extents.js';
import { verifyContent } from './content/verify.js';
import type { ContentsOptions } from './contents.js';
import type { NodeRecord } from './metadata/node.js';

export interface ContentLoaderOptions extends Pick<ContentsOptions, 'store' | 'files' | 'log' | 'mirror'> {
  /** Takes the content file of a clean node away. */
  dropFile(node: NodeRecord): void;
}

export class ContentLoader {
  readonly #o: ContentLoaderOptions;

  constructor(options: ContentLoaderOptions) {
    this.#o = options;
  }

  /** At once when there is nothing to check. `corrupt` when bytes that exist only here are damaged or gone: they are kept
   * as they are, and the node says so. */
  load(node: NodeRecord): MaybePromise<ActiveContent> {
    const content = this.#open(node);
    const verify = this.#mustVerify(content);
    return verify || mayGrowUnseen(content) ? this.#ready(content, verify) : content;
  }

  #open(node: NodeRecord): ActiveContent {
    const extents = ExtentSet.parse(node.extents);
    const sums = BlockSums.parse(node.sums);
    const file = extents.isEmpty
      ? this.#o.files.open(node.ino, node.gen, { create: true, size_bytes: node.size_bytes })
      : this.#openExisting(node, extents);
    if (file.stat().size_bytes !== node.size_bytes && !node.contentDirty) file.truncate(node.size_bytes);
    if (node.unstored) file.doubt();
    const content = new ActiveContent(node, file, extents, sums, (of) => {
      const path = this.#o.mirror().remotePath(of);
      if (path === null) throw new CloudError('stale', `reading "${of.name}": its version is no longer on the server`);
      return path;
    });
    // What lies beyond the server's version can only have been made here.
    const remote = content.remoteSize_bytes;
    if (node.size_bytes > remote) {
      for (const gap of extents.missing(Math.min(remote, node.size_bytes), node.size_bytes)) {
        extents.insertDirty(gap.start, gap.end);
      }
    }
    return content;
  }

  #openExisting(node: NodeRecord, extents: ExtentSet): ReturnType<ContentStore['open']> {
    try {
      const file = this.#o.files.open(node.ino, node.gen, { create: false });
      const size = file.stat().size_bytes;
      if (size >= extents.end) return file;
      file.close();
      if (node.contentDirty) throw damaged(node, `should have at least ${extents.end} bytes, found ${size}`);
    } catch (error) {
      if (!(error instanceof CloudError) || error.code !== 'corrupt') throw error;
      if (node.contentDirty) {
        const gone = error.cause === undefined ? error : damaged(node, 'is gone');
        this.#markDamaged(node, gone);
        throw gone;
      }
    }
    this.#o.log.warn(
      { ino: node.ino, name: node.name },
      'cached content is gone or cut short; it will be fetched again',
    );
    extents.clear();
    this.#o.dropFile(node);
    return this.#o.files.open(node.ino, node.gen, { create: true, size_bytes: node.size_bytes });
  }

  async #ready(content: ActiveContent, verify: boolean): Promise<ActiveContent> {
    if (verify) await this.#verify(content);
    if (!mayGrowUnseen(content)) return content;
    const { node } = content;
    try {
      node.fingerprint = null;
      node.sums = null;
      this.#o.store.save(node);
      await this.#o.store.durable();
    } catch (error) {
      content.file.close();
      throw error;
    }
    return content;
  }

  #mustVerify(content: ActiveContent): boolean {
    const { node } = content;
    if (content.extents.isEmpty || node.fingerprint === content.file.fingerprint()) return false;
    // Dirty content without a fingerprint was being written when the daemon ended: nothing to compare with.
    return !(node.contentDirty && node.fingerprint === null);
  }

  /** The content file is not as we left it: believe only what its sums prove. */
  async #verify(content: ActiveContent): Promise<void> {
    const { node, file, extents, sums } = content;
    if (node.contentDirty) {
      try {
        await this.#verifyDirty(content);
      } catch (error) {
        file.close();
        if (error instanceof CloudError && error.code === 'corrupt') this.#markDamaged(node, error);
        throw error;
      }
      return;
    }
    const good = await this.#provenRanges(content);
    const before = extents.presentBytes;
    extents.clear();
    for (const range of good) extents.insert(range.start, range.end);
    for (const gap of extents.missing(0, node.size_bytes)) {
      file.punchHole(gap.start, gap.end);
      sums.forget(gap.start, gap.end);
    }
    if (extents.presentBytes < before) {
      this.#o.log.warn(
        { ino: node.ino, name: node.name, lost_bytes: before - extents.presentBytes },
        'cached content was altered or cannot be proven; the rest is fetched again',
      );
    }
    content.unsaved = true;
  }

  /** Bytes that exist only here are served only when all of them are proven; damaged ones of the server's are dropped. */
  async #verifyDirty(content: ActiveContent): Promise<void> {
    const { node, file, extents, sums } = content;
    const found = await verifyContent(file, extents, sums);
    const lost = [...found.damagedDirty, ...found.unproven.flatMap((at) => extents.dirtyWithin(at.start, at.end))];
    const [first] = lost;
    if (first !== undefined) {
      throw damaged(node, `was altered from outside: bytes ${first.start} to ${first.end} are not the ones written`);
    }
    for (const range of [...found.damaged, ...found.unproven]) {
      extents.remove(range.start, range.end);
      sums.forget(range.start, range.end);
      file.punchHole(range.start, range.end);
    }
    content.unsaved = true;
  }

  async #provenRanges(content: ActiveContent): Promise<readonly ByteRange[]> {
    const { node, file, extents, sums } = content;
    const checksum = node.checksum?.startsWith('SHA256:') ? node.checksum.slice(7).toLowerCase() : null;
    if (checksum !== null && extents.isComplete(node.size_bytes)) {
      const hash = createHash('sha256');
      for (let at = 0; at < node.size_bytes; at += HASH_STEP_BYTES) {
        hash.update(await file.readAsync(at, Math.min(HASH_STEP_BYTES, node.size_bytes - at)));
      }
      if (hash.digest('hex') === checksum) return [{ start: 0, end: node.size_bytes }];
    }
    const { proven } = await verifyContent(file, extents, sums);
    return proven;
  }

  #markDamaged(node: NodeRecord, error: unknown): void {
    node.error = error instanceof Error ? error.message : String(error);
    node.errorCode = 'corrupt';
    this.#o.store.save(node);
    this.#o.log.error({ ino: node.ino, name: node.name }, 'cached content with unsent changes is damaged');
  }
}

const HASH_STEP_BYTES = 1024 * 1024;

/** Changed here, and closed in good order, with parts that are not here: a fetch will write to the file, whose fingerprint
 * must not be believed then. Changes would look like damage after a crash: not every part of a block can have a sum. */
function mayGrowUnseen({ node, complete }: ActiveContent): boolean {
  return node.contentDirty && !complete && (node.fingerprint !== null || node.sums !== null);
}

function damaged(node: NodeRecord, what: string): CloudError {
  return new CloudError(
    'corrupt',
    `opening "${node.name}": its cached content (${node.ino}.${node.gen}) has unsent changes and ${what}; it is kept as it is, see "cloudmount check" and "cloudmount discard"`,
  );
}
