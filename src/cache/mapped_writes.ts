// Who maps a passed-through file maps the content file itself, and may close the descriptor and store on: the kernel tells
// nobody, of the mapping or of its end. So the content of a file that was open for writing that way is looked at until
// nobody else has it.
//
// A page moves the file's time with the first store after it was written to the disk, not with the next: all that is taken
// over is synced before it may be sent, so that whatever is stored later shows.

import type { Log } from '../log.js';
import type { ActiveContent } from './active_content.js';
import type { ContentStat } from './content/content_file.js';
import type { Contents } from './contents.js';

/** The kernel closes what a program closed a moment later than it says so. */
const FIRST_LOOK_MS = 25;
const SLOWEST_LOOK_MS = 1_000;

/** What shows that bytes were stored. */
export type ContentState = Pick<ContentStat, 'size_bytes' | 'mtime_ns'>;

export interface MappedWritesOptions {
  readonly contents: Contents;
  readonly log: Log;
  /** Something was stored: it counts as written, and is to be sent. Resolves with what it looked like. */
  readonly takeOver: (content: ActiveContent) => Promise<ContentState>;
}

interface Watch {
  seen: ContentState;
  timer: NodeJS.Timeout | null;
}

export class MappedWrites {
  readonly #o: MappedWritesOptions;
  readonly #watched = new Map<ActiveContent, Watch>();

  constructor(options: MappedWritesOptions) {
    this.#o = options;
  }

  /** The last writer has closed a passed-through file, which was as it was `seen`. */
  follow(content: ActiveContent, seen: ContentState): void {
    const watch = this.#watched.get(content);
    if (watch !== undefined) {
      watch.seen = seen;
      void this.#settle(content);
      return;
    }
    if (!isHeld(content)) return;
    content.users += 1;
    const begun: Watch = { seen, timer: null };
    this.#watched.set(content, begun);
    void this.#settle(content);
    this.#lookIn(FIRST_LOOK_MS, content, begun);
  }

  /** A mapping may have this content: its bytes must stay where they are. */
  isFollowing(content: ActiveContent): boolean {
    return this.#watched.has(content);
  }

  /** Looks for the last time. */
  async close(): Promise<void> {
    for (const [content, watch] of [...this.#watched]) {
      if (watch.timer !== null) clearTimeout(watch.timer);
      await this.#look(content, watch);
      this.#end(content);
    }
  }

  #lookIn(delay_ms: number, content: ActiveContent, watch: Watch): void {
    watch.timer = setTimeout(async () => {
      watch.timer = null;
      const held = isHeld(content); // before the look: what was stored until then is seen
      await this.#look(content, watch);
      if (!this.#watched.has(content)) return; // closed meanwhile
      if (held || isHeld(content)) this.#lookIn(Math.min(2 * delay_ms, SLOWEST_LOOK_MS), content, watch);
      else this.#end(content);
    }, delay_ms);
  }

  async #look(content: ActiveContent, watch: Watch): Promise<void> {
    if (content.kernelWrites !== null) return; // it is open for writing again, and looked at by that
    try {
      const { size_bytes, mtime_ns } = content.file.stat();
      if (size_bytes === watch.seen.size_bytes && mtime_ns === watch.seen.mtime_ns) return;
      watch.seen = await this.#o.takeOver(content);
      await this.#settle(content);
    } catch (error) {
      this.#o.log.warn(
        { err: error, ino: content.ino },
        'what was stored through a mapping could not be taken over yet',
      );
    }
  }

  /** Until the disk has what was stored, it may go on being stored unseen: till then nothing of it is sent. */
  #settle(content: ActiveContent): Promise<void> {
    return content.announce(content.file.sync()).catch((error: unknown) => {
      this.#o.log.debug({ err: error, ino: content.ino }, 'syncing what was stored through a mapping failed');
    });
  }

  #end(content: ActiveContent): void {
    if (!this.#watched.delete(content)) return;
    if (content.handles === 0) content.access = 'undecided';
    this.#o.contents.release(content);
  }
}

/** By a handle, or by a mapping that has outlasted all of them. */
function isHeld({ handles, file }: ActiveContent): boolean {
  return handles > 0 || file.isHeldElsewhere();
}
