// The disk takes the bytes of a file while they are already being sent: what must wait until it has, and what must not go on
// when it does not.

type State = { readonly kind: 'under way' | 'done' | 'no room' } | { readonly kind: 'failed'; readonly error: unknown };

export class Saving {
  /** Rejects with why the disk, or a note, failed. */
  readonly done: Promise<void>;
  #state: State = { kind: 'under way' };
  #last: (() => void) | null = null;

  /** `saved`: whether the disk has the bytes; false where it is full, which is no reason not to send them. */
  constructor(saved: Promise<boolean>) {
    this.done = this.#settle(saved);
    this.done.catch(() => undefined);
  }

  async #settle(saved: Promise<boolean>): Promise<void> {
    try {
      const isStored = await saved;
      if (isStored) this.#last?.();
      this.#state = { kind: isStored ? 'done' : 'no room' };
    } catch (error) {
      this.#state = { kind: 'failed', error };
      throw error;
    }
  }

  /** Once the disk has the bytes, perhaps now; of several that wait the last. */
  afterwards(note: () => void): void {
    if (this.#state.kind === 'done') note();
    else this.#last = note;
  }

  /** No gigabytes for what the disk did not take: rejects as `done`. */
  async *guard(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      if (this.#state.kind === 'failed') throw this.#state.error;
      yield chunk;
    }
  }
}
